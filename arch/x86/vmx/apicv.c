// SPDX-License-Identifier: Apache-2.0
// Hardware that serves a guest's local APIC (SDM vol. 3, ch. 29 "APIC Virtualization and Virtual Interrupts"). The
// virtual-APIC page is the page that drivers/vdev/vlapic keeps its registers in, so whatever the hardware does, or
// leaves to us, there is one state. Five features, each used where the CPU has it:
//
// - TPR shadow: CR8 and TPR are the page's. The threshold tells when what waits may go.
// - APIC-register virtualisation: other registers are read from the page; by MMIO they are written to it, too, and an
//   exit says what else is to be done.
// - virtual-interrupt delivery, while the guest has its APIC enabled: the hardware delivers what is in IRR, and knows
//   EOI and self-IPI. vlapic is told so and offers nothing to inject; the status word and the EOI-exit bitmap follow.
// - x2APIC mode virtualisation: the same for MSRs, which a second MSR bitmap lets through.
// - APIC-access virtualisation: the same for the page at its usual address. All VMs have the same frame there, which
//   nobody ever reads or writes: it is mapped while all vCPUs of the VM are in xAPIC mode only.
//
// Posted interrupts, when a machine to try them on turns up: a descriptor a vCPU beside the page, which vlapic_irr_set
// fills for a vCPU that runs on another CPU; the notification is then the kick, and needs no exit.
#include "arch/x86/vmx/vmx.h"

#include "kernel/lib/assert.h"
#include "kernel/memory.h"
#include "kernel/vintc.h"

#define BY_MODE (VMX_PROC2_X2APIC | VMX_PROC2_APIC_ACCESS | VMX_PROC2_VIRTUAL_INTR)
#define X2APIC_MSRS_AT (MSR_X2APIC_FIRST / 8) // of a part of the MSR bitmap
#define TPR BIT64(0x08)
#define PPR BIT64(0x0a)
#define EOI BIT64(0x0b)
#define TIMER_CURRENT BIT64(0x39)
#define SELF_IPI BIT64(0x3f)

static bool has(uint32_t proc2) { return (vmx_caps.control[VMX_PROC2] & proc2) != 0; }
static bool shadows(void) { return (vmx_caps.control[VMX_PROC] & VMX_PROC_TPR_SHADOW) != 0; }

void vmx_apicv_probe(void) {
	// All the rest asks for the TPR shadow (26.2.1.1).
	if (shadows()) {
		vmx_caps.control[VMX_PROC] &= ~(VMX_PROC_CR8_LOAD | VMX_PROC_CR8_STORE);
	} else {
		vmx_caps.control[VMX_PROC2] &= ~(BY_MODE | VMX_PROC2_APIC_REGISTER);
		vmx_caps.usable[VMX_PROC2] &= ~(BY_MODE | VMX_PROC2_APIC_REGISTER);
	}
}

// The registers that RDMSR and WRMSR may reach (29.5). A PPR is in the page only where the hardware delivers; the
// current count is computed.
void vmx_apicv_msrs_allow(uint8_t *map) {
	uint64_t read = TPR, write = TPR;
	if (has(VMX_PROC2_APIC_REGISTER)) read = vlapic_x2apic_readable & ~(PPR | TIMER_CURRENT);
	if (has(VMX_PROC2_APIC_REGISTER) && has(VMX_PROC2_VIRTUAL_INTR)) read |= PPR;
	if (has(VMX_PROC2_VIRTUAL_INTR)) write |= EOI | SELF_IPI;
	put_le64(map + X2APIC_MSRS_AT, ~read);
	put_le64(map + VMX_MSR_BITMAP_WRITE + X2APIC_MSRS_AT, ~write);
}

// The neighbour stays, read only, so that the table for both is there to stay; it reads as what nobody decodes.
int vmx_vm_create(struct vm *vm) {
	if (!has(VMX_PROC2_APIC_ACCESS)) return 0;
	return nested_page_set(&vm->nested, gpa(VLAPIC_BASE_DEFAULT + PAGE_BYTES),
	                       hpa(vmx_map_pa(MAP_APIC_ACCESS)), PT_READ);
}

// ---- the mode ---------------------------------------------------------------------------------------------------

// What of BY_MODE serves the APIC as it is now.
static uint32_t mode_controls(const struct vcpu *vcpu) {
	const uint64_t mode_bits = VLAPIC_BASE_EN | VLAPIC_BASE_EXTD;
	uint64_t base = vlapic_base_read(vcpu->arch->lapic);
	bool enabled = vlapic_enabled(vcpu->arch->lapic);
	uint32_t controls = enabled ? VMX_PROC2_VIRTUAL_INTR : 0;
	if ((base & mode_bits) == mode_bits && enabled)
		controls |= VMX_PROC2_X2APIC;
	else if ((base & ~VLAPIC_BASE_BSP) == (VLAPIC_BASE_DEFAULT | VLAPIC_BASE_EN))
		controls |= VMX_PROC2_APIC_ACCESS;
	return controls & vmx_caps.control[VMX_PROC2];
}

// The page is there while all vCPUs look at it through their hardware.
static void access_page_update(struct vm *vm) {
	bool want = has(VMX_PROC2_APIC_ACCESS);
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		want = want && (mode_controls(vm->vcpu[i]) & VMX_PROC2_APIC_ACCESS) != 0;
		vcpu_request(vm->vcpu[i], VCPU_REQ_FLUSH);
	}
	if (want == vm->arch->apic_page) return;
	vm->arch->apic_page = want;
	int err = nested_page_set(&vm->nested, gpa(VLAPIC_BASE_DEFAULT), hpa(vmx_map_pa(MAP_APIC_ACCESS)),
	                          want ? PT_READ | PT_WRITE : 0);
	assert(err == 0); // no table has to be made for it
}

void vmx_apic_mode(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	if (!shadows()) return;
	vmx->apic_controls = mode_controls(vcpu);
	vmx->deferred |= VMX_DEFERRED_APIC;
	vlapic_virtual_set(vcpu->arch->lapic, (vmx->apic_controls & VMX_PROC2_VIRTUAL_INTR) != 0);
	access_page_update(vcpu->vm);
}

void vmx_apicv_reset(struct vcpu *vcpu) {
	if (!shadows()) return;
	vmx_field_set(VMCS_VIRTUAL_APIC_ADDR, frame_hpa(vlapic_page(vcpu->arch->lapic)).v);
	vmx_of(vcpu)->tpr_threshold = UINT8_MAX; // what the VMCS has is written at the first look
	if (has(VMX_PROC2_APIC_ACCESS)) vmx_field_set(VMCS_APIC_ACCESS_ADDR, vmx_map_pa(MAP_APIC_ACCESS));
	vmx_apic_mode(vcpu);
}

void vmx_apicv_prepare(struct vcpu *vcpu) {
	uint32_t controls = vmx_of(vcpu)->apic_controls;
	vmx_field_set(VMCS_PROC2_CONTROLS, (vmcs_read32(VMCS_PROC2_CONTROLS) & ~(uint32_t)BY_MODE) | controls);
	vmx_field_set(VMCS_MSR_BITMAP, vmx_map_pa((controls & VMX_PROC2_X2APIC) != 0 ? MAP_MSR_X2APIC : MAP_MSR));
	vmx_apic_sync(vcpu);
}

// ---- what waits -------------------------------------------------------------------------------------------------

static uint16_t vector_or_0(int vector) { return (uint16_t)(vector < 0 ? 0 : vector); }

// RVI and SVI follow from IRR and ISR (29.2), so no record needs them.
static void status_write(struct vdev *lapic) {
	const uint32_t *tmr = vlapic_levels(lapic);
	for (unsigned i = 0; tmr != NULL && i < 4; i++, tmr += 8)
		vmx_field_set(VMCS_EOI_EXIT0 + 2 * i, tmr[0] | (uint64_t)tmr[4] << 32);
	uint16_t requested = vector_or_0(vlapic_highest_irr(lapic)),
	         in_service = vector_or_0(vlapic_highest_isr(lapic));
	vmx_field_set(VMCS_GUEST_INTR_STATUS, (uint16_t)(requested | in_service << 8));
}

// An exit when the TPR falls below the class that it holds back. What is held back by an interrupt in service is
// looked at again after its EOI, which exits here.
static void threshold_write(struct vmx_vcpu *vmx, const struct vdev *lapic) {
	uint32_t waits = vector_or_0(vlapic_highest_irr(lapic)) >> 4;
	if (waits > vlapic_cr8_read(lapic)) waits = 0;
	if (waits == vmx->tpr_threshold) return;
	vmx->tpr_threshold = (uint8_t)waits;
	vmx_field_set(VMCS_TPR_THRESHOLD, waits);
}

void vmx_apic_sync(struct vcpu *vcpu) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	if ((vmx->apic_controls & VMX_PROC2_VIRTUAL_INTR) != 0)
		status_write(vcpu->arch->lapic);
	else if (shadows())
		threshold_write(vmx, vcpu->arch->lapic);
}

// ---- exits ------------------------------------------------------------------------------------------------------

void vmx_apic_decode(const struct vcpu *vcpu, uint32_t reason, struct exit *x) {
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION), type = q >> VMX_APIC_TYPE_SHIFT & VMX_APIC_TYPE_MASK;
	q &= VMX_APIC_OFFSET_MASK;
	if (reason != VMX_REASON_APIC_ACCESS) {
		x->apic = (uint16_t)q;
		return;
	}
	x->fault.gpa = (vlapic_base_read(vcpu->arch->lapic) & ~VMX_APIC_OFFSET_MASK) | q;
	x->fault.access = (uint8_t)(type <= VMX_APIC_FETCH ? EXIT_ACCESS_READ << type : EXIT_ACCESS_READ);
	x->fault.table_walk = type >= VMX_APIC_PHYSICAL;
}
