// SPDX-License-Identifier: Apache-2.0
// One vCPU's VMCS: creation, set-up from tables, virtual-processor ids.
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/feature.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/panic.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"
#include "mm/ept/ept.h"

noreturn __cold void vmx_insn_failed(const char *insn, uint64_t operand) {
	uint64_t error = 0;
	bool known = this_cpu()->backend_current_pa != 0 && vmcs_read_quiet(VMCS_INSN_ERROR, &error);
	panic("%s %#llx failed, VM-instruction error %lld", insn, (unsigned long long)operand,
	      known ? (long long)error : -1LL);
}

noreturn __cold void vmx_access_failed(uint64_t field, bool write) {
	vmx_insn_failed(write ? "VMWRITE" : "VMREAD", field);
}

// ---- work before an entry ---------------------------------------------------------------------------------------

static struct tlbid_pool vpid_pool[CPU_MAX];

// INVEPT drops every translation made through the VM's nested tables; INVVPID the combined ones of this vCPU,
// which are all it has (SDM vol. 3, 28.3.1 and 28.3.3). Without VPIDs each transition does what INVVPID does.
static void translations_drop(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t cpu = this_cpu()->id;
	uint32_t plan =
	    vmx_drop_plan(vmx, &vpid_pool[cpu], VPID_LIMIT, cpu, nested_generation(&vcpu->vm->nested));
	if (vmx_caps.vpid && (plan & VMX_DROP_ALL_VPIDS) != 0) vmx_invvpid(VMX_INVVPID_ALL, 0);
	if (vmx_caps.vpid && (plan & VMX_DROP_NEW_VPID) != 0) vmcs_write16(VMCS_VPID, vmx->vpid);
	if (vmx_caps.vpid && (plan & VMX_DROP_VPID) != 0)
		vmx_invvpid(vmx_caps.invvpid_single ? VMX_INVVPID_SINGLE : VMX_INVVPID_ALL, vmx->vpid);
	if ((plan & VMX_DROP_NESTED) != 0)
		vmx_invept(vmx_caps.invept_single ? VMX_INVEPT_SINGLE : VMX_INVEPT_ALL,
		           ept_pointer(&vcpu->vm->nested.pt));
}

// A request follows, so the entry is called off.
static __cold void mode_refuse(struct vcpu *vcpu) {
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "CR0 %#llx without paging needs the %s",
	               (unsigned long long)vmx_of(vcpu)->cr0_shadow, guest_features.unpaged_lacks);
}

void vmx_prepare(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t deferred = vmx->deferred;
	vmx->deferred = 0;
	vmx_select(vcpu);
	if (unlikely((deferred & VMX_DEFERRED_MODE) != 0)) mode_refuse(vcpu);
	if ((deferred & VMX_DEFERRED_APIC) != 0) vmx_apicv_prepare(vcpu);
	if ((deferred & VMX_DEFERRED_TSC) != 0) vmcs_write64(VMCS_TSC_OFFSET, vmx->tsc_offset);
	if ((deferred & (VMX_DEFERRED_FLUSH | VMX_DEFERRED_VPID)) != 0) translations_drop(vcpu);
}

void vmx_flush(struct vcpu *vcpu) { vmx_of(vcpu)->deferred |= VMX_DEFERRED_FLUSH; }

void vmx_tsc_offset_set(struct vcpu *vcpu, uint64_t offset) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx->tsc_offset = offset;
	vmx->deferred |= VMX_DEFERRED_TSC;
}

struct field_value {
	enum vmcs_field field;
	uint64_t value;
};

// Set-up is not in a hurry: one VMWRITE in the text serves it all.
__attribute__((noinline)) void vmx_field_set(enum vmcs_field field, uint64_t value) {
	vmcs_write(field, value);
}

static void fields_write(const struct field_value *table, unsigned count) {
	for (unsigned i = 0; i < count; i++) vmx_field_set(table[i].field, table[i].value);
}

// ---- what an entry and an exit load by controls, or by lists ---------------------------------------------------

static const struct {
	uint32_t msr, control; // of VM entry; that of VM exit goes with it
	enum vmcs_field guest_field, host_field;
} listed[LISTED_MSRS] = {
    [LISTED_EFER] = {MSR_EFER, VMX_ENTRY_LOAD_EFER, VMCS_GUEST_EFER, VMCS_HOST_EFER},
    [LISTED_PAT] = {MSR_PAT, VMX_ENTRY_LOAD_PAT, VMCS_GUEST_PAT, VMCS_HOST_PAT},
};

static bool listed_by_control(unsigned i) { return (vmx_caps.control[VMX_ENTRY] & listed[i].control) != 0; }

// The guest changes none of them without an exit, so nothing is stored at exits.
void vmx_listed_set(struct vcpu *vcpu, enum vmx_listed i, uint64_t value) {
	vmx_select(vcpu);
	if (listed_by_control(i))
		vmx_field_set(listed[i].guest_field, value);
	else
		vmx_of(vcpu)->lists->guest[i].value = value;
}

// The MSRs that no control loads are neighbours in the lists: EFER, PAT or both.
static void lists_set(const struct vmx_vcpu *vmx) {
	unsigned first = listed_by_control(LISTED_EFER) ? LISTED_PAT : LISTED_EFER;
	unsigned end = listed_by_control(LISTED_PAT) ? LISTED_PAT : LISTED_MSRS;
	unsigned count = first < end ? end - first : 0;
	vmx_field_set(VMCS_ENTRY_MSR_LOAD_COUNT, count);
	vmx_field_set(VMCS_EXIT_MSR_LOAD_COUNT, count);
	if (count == 0) return;
	for (unsigned i = 0; i < LISTED_MSRS; i++)
		vmx->lists->guest[i].msr = vmx->lists->host[i].msr = listed[i].msr;
	vmx_field_set(VMCS_ENTRY_MSR_LOAD_ADDR, frame_hpa(&vmx->lists->guest[first]).v);
	vmx_field_set(VMCS_EXIT_MSR_LOAD_ADDR, frame_hpa(&vmx->lists->host[first]).v);
}

// ---- the current VMCS ---------------------------------------------------------------------------------------------

// What every exit of a vCPU loads, whichever the CPU (SDM vol. 3, 24.5 "Host-State Area").
static const struct field_value host_fields[] = {
    {VMCS_HOST_CS_SELECTOR, GDT_CODE}, {VMCS_HOST_SS_SELECTOR, GDT_DATA},
    {VMCS_HOST_DS_SELECTOR, GDT_DATA}, {VMCS_HOST_ES_SELECTOR, GDT_DATA},
    {VMCS_HOST_FS_SELECTOR, 0},        {VMCS_HOST_GS_SELECTOR, 0},
    {VMCS_HOST_TR_SELECTOR, GDT_TSS},  {VMCS_HOST_FS_BASE, 0},
    {VMCS_HOST_SYSENTER_CS, 0},        {VMCS_HOST_SYSENTER_ESP, 0},
    {VMCS_HOST_SYSENTER_EIP, 0},
};

// And what it loads on this CPU.
static void host_state_set(const struct vcpu *vcpu) {
	const struct cpu *cpu = this_cpu();
	struct desc_ptr idt;
	sidt(&idt);
	vmx_field_set(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmx_field_set(VMCS_HOST_TR_BASE, (uint64_t)(uintptr_t)&cpu->tss);
	vmx_field_set(VMCS_HOST_GDTR_BASE, (uint64_t)(uintptr_t)&cpu->gdt);
	vmx_field_set(VMCS_HOST_IDTR_BASE, idt.base);
	vmx_field_set(VMCS_HOST_CR0, read_cr0());
	vmx_field_set(VMCS_HOST_CR3, read_cr3()); // a CPU's root never changes, windows hang in it
	vmx_field_set(VMCS_HOST_CR4, read_cr4());
	for (unsigned i = 0; i < LISTED_MSRS; i++) {
		uint64_t value = rdmsr(listed[i].msr);
		if (listed_by_control(i))
			vmx_field_set(listed[i].host_field, value);
		else
			vmx_of(vcpu)->lists->host[i].value = value;
	}
	// enter.asm leaves one word below the top: where the registers go.
	vmx_field_set(VMCS_HOST_RSP, cpu->stack_top - sizeof(uint64_t));
	vmx_field_set(VMCS_HOST_RIP, (uint64_t)(uintptr_t)vmx_exit_entry);
	fields_write(host_fields, array_count(host_fields));
	vmx_of(vcpu)->cpu = cpu->id;
}

void vmx_make_current(const struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	struct cpu *cpu = this_cpu();
	// A VMCS must not be active on two CPUs (SDM vol. 3, 24.1): the one that had it did VMCLEAR.
	assert(vmx->cpu == VMX_CPU_NONE || vmx->cpu == cpu->id);
	uint64_t pa = vcpu->arch->enter_pa;
	if (!vmx_vmptrld(pa)) vmx_insn_failed("VMPTRLD", pa);
	cpu->backend_current_pa = pa;
	// The vCPU whose turn it is gets its own back before it is entered.
	if (cpu->vcpu != NULL && cpu->vcpu != vcpu) vmx_of(cpu->vcpu)->deferred |= VMX_DEFERRED_SELECT;
	if (vmx->cpu == VMX_CPU_NONE) host_state_set(vcpu);
}

static void vmcs_clear(struct vcpu *vcpu) {
	struct cpu *cpu = this_cpu();
	uint64_t pa = vcpu->arch->enter_pa;
	if (!vmx_vmclear(pa)) vmx_insn_failed("VMCLEAR", pa);
	if (cpu->backend_current_pa == pa) cpu->backend_current_pa = 0;
	vmx_of(vcpu)->cpu = VMX_CPU_NONE;
	vcpu->arch->launched = 0;
}

// PAUSEs at CPL 0 no more than the gap apart are one loop, which is left when it has lasted for the window; in TSC
// ticks (SDM vol. 3, 25.1.3 "Instructions That Cause VM Exits Conditionally", on PAUSE).
#define PAUSE_GAP 128u
#define PAUSE_WINDOW 4096u

static void pause_loop_set(bool on) {
	uint32_t bit = vmx_caps.usable[VMX_PROC2] & VMX_PROC2_PAUSE_LOOP;
	if (bit == 0) return;
	uint32_t now = vmcs_read32(VMCS_PROC2_CONTROLS), proc2 = on ? now | bit : now & ~bit;
	if (proc2 == now) return;
	vmx_field_set(VMCS_PLE_GAP, PAUSE_GAP);
	vmx_field_set(VMCS_PLE_WINDOW, PAUSE_WINDOW);
	vmx_field_set(VMCS_PROC2_CONTROLS, proc2);
}

void vmx_vcpu_load(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_select(vcpu);
	vmx_live_load(vmx);
	pause_loop_set(vcpu->shares_cpu);
	if (vmx_vpid_stale(vmx, &vpid_pool[this_cpu()->id], this_cpu()->id)) vmx->deferred |= VMX_DEFERRED_VPID;
}

void vmx_vcpu_select(struct vcpu *vcpu) { vmx_select(vcpu); }

void vmx_vcpu_leave(struct vcpu *vcpu) {
	if (vmx_of(vcpu)->cpu != VMX_CPU_NONE) vmcs_clear(vcpu); // the next CPU may be another one
}

void vmx_vcpu_save(struct vcpu *vcpu) {
	vmx_live_save(vmx_of(vcpu));
	vmx_vcpu_leave(vcpu);
}

// ---- creation and reset -------------------------------------------------------------------------------------------

// The VMCS, and behind it the lists where some are needed.
static unsigned vcpu_pages(void) {
	return listed_by_control(LISTED_EFER) && listed_by_control(LISTED_PAT) ? 1 : 2;
}

int vmx_vcpu_create(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx;
	int err = memory_object(sizeof *vmx, (void **)&vmx);
	if (err < 0) return err;
	hpa_t page;
	err = memory_pool_pages(vcpu_pages(), &page);
	if (err < 0) {
		memory_object_free(vmx, sizeof *vmx);
		return err;
	}
	put_le32(frame_ptr(page), vmx_revision());
	if (vcpu_pages() > 1) vmx->lists = frame_ptr(hpa(page.v + PAGE_BYTES));
	vcpu->arch->vendor = vmx;
	vcpu->arch->enter_pa = page.v;
	vmcs_clear(vcpu);
	return 0;
}

void vmx_vcpu_destroy(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmcs_clear(vcpu);
	memory_pool_pages_free(hpa(vcpu->arch->enter_pa), vcpu_pages());
	memory_object_free(vmx, sizeof *vmx);
	vcpu->arch->vendor = NULL;
}

static const struct field_value control_fields[] = {
    // #DB and #AC always (an endless loop of them would hold the CPU), #MC is the host's.
    {VMCS_EXCEPTION_BITMAP, BIT32(VEC_DB) | BIT32(VEC_AC) | BIT32(VEC_MC)},
    {VMCS_PF_ERROR_MASK, 0},
    {VMCS_PF_ERROR_MATCH, 0},
    {VMCS_CR3_TARGET_COUNT, 0},
    {VMCS_EXIT_MSR_STORE_COUNT, 0},
    {VMCS_ENTRY_INTR_INFO, 0},
    {VMCS_LINK_POINTER, UINT64_MAX}, // no shadow VMCS (SDM vol. 3, 24.4.2)
    {VMCS_CR0_MASK, ~VMX_CR0_OWNED},
};

// State that no setter of guest/reset.c or of a record reaches.
static const struct field_value state_fields[] = {
    {VMCS_GUEST_RSP, 0},           {VMCS_GUEST_DEBUGCTL, 0},
    {VMCS_GUEST_PENDING_DEBUG, 0}, {VMCS_GUEST_INTERRUPTIBILITY, 0},
    {VMCS_GUEST_ACTIVITY, 0},      {VMCS_GUEST_SYSENTER_CS, 0},
    {VMCS_GUEST_SYSENTER_ESP, 0},  {VMCS_GUEST_SYSENTER_EIP, 0},
    {VMCS_GUEST_PDPTE0, 0},        {VMCS_GUEST_PDPTE1, 0},
    {VMCS_GUEST_PDPTE2, 0},        {VMCS_GUEST_PDPTE3, 0},
};

static void controls_set(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_field_set(VMCS_PIN_CONTROLS, vmx_caps.control[VMX_PIN]);
	vmx_field_set(VMCS_PROC_CONTROLS, vmx->proc);
	vmx_field_set(VMCS_PROC2_CONTROLS, vmx_caps.control[VMX_PROC2]);
	vmx_field_set(VMCS_EXIT_CONTROLS, vmx_caps.control[VMX_EXIT]);
	vmx_field_set(VMCS_ENTRY_CONTROLS, vmx->entry);
	vmx_field_set(VMCS_IO_BITMAP_A, vmx_map_pa(MAP_IO_A));
	vmx_field_set(VMCS_IO_BITMAP_B, vmx_map_pa(MAP_IO_B));
	vmx_field_set(VMCS_MSR_BITMAP, vmx_map_pa(MAP_MSR));
	vmx_field_set(VMCS_EPT_POINTER, ept_pointer(&vcpu->vm->nested.pt));
	vmx_field_set(VMCS_TSC_OFFSET, vmx->tsc_offset);
	vmx_field_set(VMCS_CR4_MASK, ~vmx->cr4_owned);
	// No bit of IA32_XSS is offered: whatever used one would exit.
	if (guest_features.xsaves) vmx_field_set(VMCS_XSS_EXIT_BITMAP, UINT64_MAX);
	if (vmx_caps.max_run != 0) vmx_field_set(VMCS_PREEMPTION_TIMER, vmx_caps.max_run);
	fields_write(control_fields, array_count(control_fields));
	lists_set(vmx);
}

// Of CR4 the guest owns what only concerns itself and its CPUID model allows; the rest exits when it changes.
#define CR4_OWNED                                                                                            \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PGE | CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE)

void vmx_vcpu_reset(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	*vmx = (struct vmx_vcpu){
	    .vpid_cpu = VMX_CPU_NONE,
	    .tsc_offset = vcpu->vm->tsc_offset,
	    .deferred = VMX_DEFERRED_VPID,
	    .proc = vmx_caps.control[VMX_PROC],
	    .entry = vmx_caps.control[VMX_ENTRY],
	    .dr6 = DR6_FIXED,
	    .cr4_owned = CR4_OWNED & cr4_allowed(vcpu),
	    .cpu = vmx->cpu,
	    .lists = vmx->lists,
	};
	vcpu->arch->cr2 = 0;
	vmcs_clear(vcpu);
	vmx_make_current(vcpu);
	controls_set(vcpu);
	fields_write(state_fields, array_count(state_fields));
	vmx_apicv_reset(vcpu);
}
