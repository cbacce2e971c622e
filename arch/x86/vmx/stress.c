// SPDX-License-Identifier: Apache-2.0
// stress=entry on VMX. What lets an entry be tried again and again without running the guest: the last thing that an
// entry checks is the MSR-load area (SDM vol. 3, 26.4), and the area given here ends in an MSR that may not be in it. So
// an entry which gets there was found sound in all else, and the exit for that MSR saves nothing of the guest's
// state (26.8). Changes of the host's state that a sound entry would load are kept to what the hypervisor survives
// until the next entry, of a sound state, loads the right one.
#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/entrystress.h"
#include "arch/x86/vmx/check.h"
#include "arch/x86/vmx/vmx.h"
#include "kernel/lib/string.h"
#include "mm/frames.h"

#define AREA_ENTRIES (PAGE_BYTES / 16)
#define AREA_LAST 2u // from this entry on, none may be loaded
#define ACTIVITY_WAIT_SIPI 3u
#define APIC_TPR 0x80 // offset in a virtual-APIC page

// Bits that may be turned over in fields which have to stay right when a sound entry or its exit uses them; with
// `physical` also those above MAXPHYADDR.
static const struct {
	uint64_t bits;
	uint8_t value;
	bool physical;
} limit[] = {
    {MASK64(11, 0), VMX_V_VIRTUAL_APIC_ADDR, true},
    {MASK64(3, 0), VMX_V_EXIT_MSR_LOAD_ADDR, true},
    {MASK64(3, 0), VMX_V_ENTRY_MSR_LOAD_ADDR, true},
    {MASK64(11, 0), VMX_V_LINK_POINTER, true},
    {0, VMX_V_HOST_CR3, true},
    {MASK64(6, 0), VMX_V_EXIT_MSR_LOAD_COUNT, false},
    {MASK64(8, 0) & ~(uint64_t)AREA_LAST, VMX_V_ENTRY_MSR_LOAD_COUNT, false},
    {MASK64(8, 0), VMX_V_EXIT_MSR_STORE_COUNT, false}, // more than 512 are undefined (appendix A.6)
    {~(uint64_t)VMX_EXIT_LOAD_EFER, VMX_V_EXIT_CONTROLS, false},
    {~CR4_LA57, VMX_V_HOST_CR4, false},
    {~EFER_NXE, VMX_V_HOST_EFER, false},
    {MASK64(62, 57), VMX_V_HOST_GS_BASE, false},
    {MASK64(62, 57), VMX_V_HOST_RIP, false},
};

// The first entry of the area: the good one every other time. What it loads is the host's again after the exit.
static const uint64_t load[][2] = {
    {MSR_SYSENTER_CS, 0},
    {MSR_FS_BASE, 0},
    {MSR_GS_BASE, 0},
    {MSR_X2APIC_FIRST + 8, 0},
    {MASK64(32, 32) | MSR_SYSENTER_CS, 0},
    {MSR_KERNEL_GS_BASE, MASK64(62, 62)},
    {MSR_LSTAR, MASK64(62, 62)},
    {MSR_CSTAR, MASK64(62, 62)},
};

// Where most rules meet: changed as often as all the others together.
static const uint8_t favourite[] = {
    VMX_V_PIN_CONTROLS,      VMX_V_PROC_CONTROLS,   VMX_V_PROC2_CONTROLS,
    VMX_V_ENTRY_CONTROLS,    VMX_V_ENTRY_INTR_INFO, VMX_V_ENTRY_INTR_INFO,
    VMX_V_ENTRY_INTR_INFO,   VMX_V_EPT_POINTER,     VMX_V_GUEST_CR0,
    VMX_V_GUEST_CR4,         VMX_V_GUEST_EFER,      VMX_V_GUEST_RFLAGS,
    VMX_V_GUEST_ACTIVITY,    VMX_V_GUEST_ACTIVITY,  VMX_V_GUEST_INTERRUPTIBILITY,
    VMX_V_GUEST_CS_ACCESS,   VMX_V_GUEST_SS_ACCESS, VMX_V_GUEST_TR_ACCESS,
    VMX_V_GUEST_LDTR_ACCESS, VMX_V_GUEST_DS_ACCESS, VMX_V_GUEST_PENDING_DEBUG,
};
#define EVENT_SHAPE                                                                                          \
	(VMX_INTR_VALID | VMX_INTR_HAS_ERROR | VMX_INTR_TYPE_MASK << VMX_INTR_TYPE_SHIFT | MASK64(4, 0))

static uint64_t *area(const struct entry_stress *stress, unsigned page) {
	return (uint64_t *)frame_ptr(hpa(stress->pages.v + page * PAGE_BYTES));
}

// The sound state: pages of ours behind every address that is used, and an exit that comes back here.
static void base_set(struct entry_stress *stress) {
	static const uint16_t at_second[] = {VMCS_EXIT_MSR_LOAD_ADDR, VMCS_VIRTUAL_APIC_ADDR};
	uint64_t *load_area = area(stress, 0), *second = area(stress, 1), unused;
	for (unsigned i = 0; i < AREA_ENTRIES; i++) {
		load_area[2 * i] = MSR_FS_BASE;
		second[2 * i] = MSR_SYSENTER_CS; // as the host has it
		load_area[2 * i + 1] = second[2 * i + 1] = 0;
	}
	for (unsigned i = 0; i < array_count(at_second); i++)
		if (vmcs_read_quiet(at_second[i], &unused)) vmcs_write(at_second[i], stress->pages.v + PAGE_BYTES);
	vmcs_write64(VMCS_ENTRY_MSR_LOAD_ADDR, stress->pages.v);
	vmcs_write32(VMCS_ENTRY_MSR_LOAD_COUNT, AREA_LAST);
	vmcs_writen(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_entry_try_exit);
}

static __attribute__((noinline)) void fields_write(const uint64_t *value) {
	uint64_t now;
	for (unsigned i = VMX_FIELD_FIRST; i < VMX_FIELDS_END; i++) {
		uint32_t field = vmx_check_field[i].field;
		if (vmcs_read_quiet(field, &now) && now != value[i]) vmcs_write(field, value[i]);
	}
}

static __attribute__((noinline)) enum entry_verdict cpu_verdict(const struct vcpu *vcpu) {
	if (vmx_entry_try(vcpu->arch->launched) != 0) switch (vmcs_read32(VMCS_INSN_ERROR)) {
		case 7: return ENTRY_BAD_CONTROLS;
		case 8: return ENTRY_BAD_HOST;
		default: return ENTRY_STRANGE;
		}
	switch (vmcs_read32(VMCS_EXIT_REASON)) {
	case VMX_REASON_ENTRY_FAILED | VMX_REASON_ENTRY_GUEST_STATE: return ENTRY_BAD_GUEST;
	case VMX_REASON_ENTRY_FAILED | VMX_REASON_ENTRY_MSR_LOAD:
		return vmcs_readn(VMCS_EXIT_QUALIFICATION) == AREA_LAST ? ENTRY_TAKEN : ENTRY_BAD_MSR;
	default: return ENTRY_STRANGE;
	}
}

static void change(struct entry_stress *stress, const uint64_t *value, struct entry_change *out) {
	uint64_t r = entry_random(stress);
	unsigned i = VMX_FIELD_FIRST + (unsigned)((r & UINT16_MAX) % (VMX_FIELDS_END - VMX_FIELD_FIRST));
	if ((r & BIT64(16)) != 0) i = favourite[(r >> 17 & 0xff) % array_count(favourite)];
	unsigned other = VMX_FIELD_FIRST + (unsigned)((r >> 32) % (VMX_FIELDS_END - VMX_FIELD_FIRST));
	uint64_t now, bits = UINT64_MAX;
	uint32_t field = vmx_check_field[i].field;
	if (!vmcs_read_quiet(field, &now)) return;
	for (unsigned l = 0; l < array_count(limit); l++)
		if (limit[l].value == i)
			bits = limit[l].bits | (limit[l].physical ? value[ENTRY_BEYOND_PHYSICAL] : 0);
	if (i == VMX_V_ENTRY_INTR_INFO && (r & BIT64(63)) != 0)
		now = VMX_INTR_VALID | ((r >> 32) & EVENT_SHAPE); // most random ones would not be valid
	uint64_t next = (now & ~bits) | (entry_mutate(stress, now, value[other]) & bits);
	if (i == VMX_V_GUEST_ACTIVITY && next == ACTIVITY_WAIT_SIPI)
		next--; // no way back from it everywhere (docs/QUIRKS.md)
	vmcs_write(field, next);
	*out = (struct entry_change){.name = vmx_check_field[i].name, .was = now, .is = vmcs_read(field)};
}

static void round(struct vcpu *vcpu, struct entry_stress *stress, const uint64_t *base) {
	struct vmx_entry_state state;
	struct entry_broken broken[ENTRY_BROKEN_MAX];
	struct entry_change changes[ENTRY_CHANGES_MAX] = {0};
	uint64_t r = entry_random(stress), *first = area(stress, 0);
	unsigned pick = (r & 1) != 0 ? 0 : (unsigned)((r >> 8) % array_count(load));
	memcpy(first, load[pick], sizeof load[pick]);
	for (unsigned i = 0; i < (r >> 32) % (ENTRY_CHANGES_MAX + 1); i++) change(stress, base, &changes[i]);
	vmx_entry_state_read(&state);
	state.v[VMX_V_VTPR] = ((const uint8_t *)area(stress, 1))[APIC_TPR] >> 4;
	unsigned count = vmx_entry_check(&state, broken);
	if (count == 0) count = vmx_msr_load_check(features.virt_bits, first, broken);
	entry_judge(stress, cpu_verdict(vcpu), ENTRY_TAKEN, broken, count, changes);
	fields_write(base);
	first[0] = MSR_SYSENTER_CS;
	first[1] = 0;
	if (cpu_verdict(vcpu) != ENTRY_TAKEN) entry_judge(stress, ENTRY_STRANGE, ENTRY_TAKEN, NULL, 0, changes);
}

void vmx_entry_stress(struct vcpu *vcpu, struct entry_stress *stress, unsigned rounds) {
	struct vmx_entry_state own, base;
	vmx_prepare(vcpu);
	uint64_t rsp = vmcs_readn(VMCS_HOST_RSP);
	vmx_entry_state_read(&own);
	base_set(stress);
	vmx_entry_state_read(&base);
	for (unsigned i = 0; i < rounds; i++) round(vcpu, stress, base.v);
	fields_write(own.v);
	vmcs_writen(VMCS_HOST_RSP, rsp);
}
