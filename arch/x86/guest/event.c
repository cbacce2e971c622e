// SPDX-License-Identifier: Apache-2.0
// The order of delivery is fixed: an exception (or an event whose delivery was interrupted), NMI, external
// interrupt (SDM vol. 3, 6.9 "Priority Among Simultaneous Exceptions and Interrupts").
#include "arch/x86/guest/event.h"

#include "arch/x86/guest/ops.h"
#include "kernel/vintc.h"

enum fault_class { FAULT_BENIGN, FAULT_CONTRIBUTORY, FAULT_PAGE };

static enum fault_class fault_class(uint8_t vector) {
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP: return FAULT_CONTRIBUTORY;
	case VEC_PF: return FAULT_PAGE;
	default: return FAULT_BENIGN;
	}
}

static bool makes_double_fault(uint8_t first, uint8_t second) {
	enum fault_class a = fault_class(first), b = fault_class(second);
	return (a == FAULT_CONTRIBUTORY && b == FAULT_CONTRIBUTORY) || (a == FAULT_PAGE && b != FAULT_BENIGN);
}

static __cold void raise(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error) {
	struct arch_vcpu *arch = vcpu->arch;
	struct pending_exception *pending = &arch->exception;
	// No error codes in real mode (SDM vol. 3, 20.1.4).
	struct guest_paging paging;
	ops->paging_get(vcpu, &paging);
	if ((paging.cr0 & CR0_PE) == 0) has_error = false;
	if (pending->valid && pending->event.type == EVENT_EXCEPTION) {
		uint8_t first = pending->event.vector;
		if (first == VEC_DF && fault_class(vector) != FAULT_BENIGN) {
			vm_stop_reason(vcpu->vm, VM_END_CRASH, 0,
			               "triple-fault at rip %#llx (vector %u while delivering #DF)",
			               (unsigned long long)ops->rip_get(vcpu), vector);
			return;
		}
		if (makes_double_fault(first, vector)) {
			vector = VEC_DF;
			has_error = (paging.cr0 & CR0_PE) != 0;
			error = 0;
		}
	}
	pending->valid = true;
	pending->event = (struct guest_event){
	    .type = EVENT_EXCEPTION, .vector = vector, .has_error = has_error, .error = has_error ? error : 0};
	vcpu_request(vcpu, VCPU_REQ_EVENT);
}

void guest_exception(struct vcpu *vcpu, uint8_t vector) { raise(vcpu, vector, false, 0); }
void guest_exception_error(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
	raise(vcpu, vector, true, error);
}

void guest_page_fault(struct vcpu *vcpu, uint32_t error, uint64_t address) {
	ops->cr2_set(vcpu, address);
	raise(vcpu, VEC_PF, true, error);
}

void guest_event_requeue(struct vcpu *vcpu, const struct guest_event *event) {
	struct arch_vcpu *arch = vcpu->arch;
	switch (event->type) {
	case EVENT_IRQ:
		arch->irq_taken = true;
		arch->irq_vector = event->vector;
		break;
	case EVENT_NMI: arch->nmi_pending = true; break;
	default:
		arch->exception.valid = true;
		arch->exception.event = *event;
		break;
	}
	vcpu_request(vcpu, VCPU_REQ_EVENT | VCPU_REQ_AGAIN);
}

// An interrupt that this vCPU could take now: local APIC first, then the PIC through LINT0.
static bool irq_pending_other(const struct vcpu *vcpu) {
	const struct arch_vcpu *arch = vcpu->arch;
	if (arch->irq_taken) return true;
	return vcpu->id == 0 && vpic_output(vcpu->vm->pic) && vlapic_accepts_extint(arch->lapic);
}

static bool irq_pending(const struct vcpu *vcpu) {
	return vlapic_pending(vcpu->arch->lapic) >= 0 || irq_pending_other(vcpu);
}

// One that was taken before; or the PIC's, unless hardware that delivers the local APIC's has one that goes first.
static __cold __attribute__((noinline)) uint8_t irq_take_other(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	uint8_t taken;
	if (arch->irq_taken) {
		arch->irq_taken = false;
		taken = arch->irq_vector;
	} else {
		int vector = vlapic_look(arch->lapic);
		taken = vector < 0 ? vpic_ack(vcpu->vm->pic) : vlapic_ack(arch->lapic, (uint8_t)vector);
	}
	ops->apic_sync(vcpu);
	return taken;
}

static uint8_t irq_take(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	int vector = vlapic_pending(arch->lapic);
	if (unlikely(arch->irq_taken || vector < 0)) return irq_take_other(vcpu);
	return vlapic_ack(arch->lapic, (uint8_t)vector);
}

static void inject_irq(struct vcpu *vcpu) {
	const struct guest_event event = {.type = EVENT_IRQ, .vector = irq_take(vcpu)};
	ops->inject(vcpu, &event);
	vcpu->stat.injected_irqs++;
}

// An exception or an NMI goes first; true when one was put into the injection field.
static __attribute__((noinline)) bool inject_other(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	if (arch->exception.valid) {
		arch->exception.valid = false;
		ops->inject(vcpu, &arch->exception.event);
		vcpu->stat.injected_exceptions++;
		return true;
	}
	if (!arch->nmi_pending || !ops->nmi_allowed(vcpu)) return false;
	arch->nmi_pending = false;
	ops->inject(vcpu, &(struct guest_event){.type = EVENT_NMI, .vector = VEC_NMI});
	vcpu->stat.injected_nmis++;
	return true;
}

void guest_event_deliver(struct vcpu *vcpu) {
	const struct arch_vcpu *arch = vcpu->arch;
	bool busy = ops->event_waiting(vcpu);
	if (unlikely(arch->exception.valid || arch->nmi_pending)) {
		if (!busy) busy = inject_other(vcpu);
		if (arch->nmi_pending) ops->nmi_window(vcpu, true);
	}
	if (!irq_pending(vcpu)) {
		ops->apic_sync(vcpu);
		return;
	}
	if (!busy && ops->irq_allowed(vcpu)) {
		inject_irq(vcpu);
		if (likely(!irq_pending(vcpu))) return;
	}
	ops->irq_window(vcpu, true);
	ops->apic_sync(vcpu);
}

bool guest_event_wakes(const struct vcpu *vcpu) {
	const struct arch_vcpu *arch = vcpu->arch;
	if (arch->exception.valid || (arch->nmi_pending && ops->nmi_allowed(vcpu))) return true;
	if ((ops->rflags_get(vcpu) & RFLAGS_IF) == 0) return false;
	return vlapic_look(arch->lapic) >= 0 || irq_pending_other(vcpu);
}

void guest_trap_step(struct vcpu *vcpu) {
	ops->dr6_set(vcpu, ops->dr6_get(vcpu) | DR6_BS);
	guest_exception(vcpu, VEC_DB);
}
