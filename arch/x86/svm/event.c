// SPDX-License-Identifier: Apache-2.0
// Event injection and the windows that wait for it (APM vol. 2, 15.20 "Event Injection", 15.21 "Interrupt
// and Local APIC Support").
#include "arch/x86/guest/event.h"
#include "arch/x86/svm/svm.h"

// The shadow ends: what waited for it is looked at. RF covers one instruction; TF traps after it.
static __cold __attribute__((noinline)) void advance_rest(struct vcpu *vcpu, struct vmcb *v) {
	if ((v->interrupt_shadow & SVM_SHADOW) != 0) vcpu_request(vcpu, VCPU_REQ_EVENT);
	v->interrupt_shadow &= ~SVM_SHADOW;
	v->rflags &= ~RFLAGS_RF;
	if ((v->rflags & RFLAGS_TF) != 0 && !svm_of(vcpu)->stepping) guest_trap_step(vcpu);
}

// Outside 64-bit code EIP wraps (APM vol. 1, 2.2.4 "Instruction Pointer"); inside, the carry goes on.
static void advance_carry(struct vmcb *v) {
	if ((v->efer & EFER_LMA) != 0 && (v->cs.attrib & SVM_ATTRIB_L) != 0) v->rip_high++;
}

void svm_advance(struct vcpu *vcpu, unsigned insn_len) {
	struct vmcb *v = vmcb_of(vcpu);
	if (unlikely(__builtin_add_overflow(v->eip, insn_len, &v->eip))) advance_carry(v);
	if (unlikely((v->interrupt_shadow & SVM_SHADOW) != 0 || (v->rflags & (RFLAGS_TF | RFLAGS_RF)) != 0))
		advance_rest(vcpu, v);
}

bool svm_event_waiting(const struct vcpu *vcpu) {
	return (vmcb_of(vcpu)->event_inject & SVM_EVENT_VALID) != 0;
}

bool svm_irq_allowed(const struct vcpu *vcpu) {
	const struct vmcb *v = vmcb_of(vcpu);
	return (v->rflags & RFLAGS_IF) != 0 && (v->interrupt_shadow & SVM_SHADOW) == 0;
}

bool svm_nmi_allowed(const struct vcpu *vcpu) {
	const struct svm_vcpu *svm = svm_of(vcpu);
	if ((svm->vmcb->interrupt_shadow & SVM_SHADOW) != 0 || svm->nmi_masked) return false;
	return !(svm->iret_wait && svm->vmcb->rip == svm->iret_rip);
}

// One instruction with RFLAGS.TF, so that its end is an exit. What would store the flags exits before it does.
#define STEP_INTERCEPTS (SVM_ICPT1_PUSHF | SVM_ICPT1_TASK_SWITCH)
static void step_end(struct svm_vcpu *svm) {
	if (!svm->stepping) return;
	svm->stepping = false;
	svm->vmcb->intercept_misc1 &= ~STEP_INTERCEPTS;
	if ((svm->guest_flags & RFLAGS_TF) == 0) svm->vmcb->rflags &= ~RFLAGS_TF;
}

static __cold void step_start(struct svm_vcpu *svm) {
	if (svm->stepping) return;
	svm->stepping = true;
	svm->guest_flags = svm->vmcb->rflags & (RFLAGS_TF | RFLAGS_RF);
	svm->vmcb->rflags |= RFLAGS_TF | RFLAGS_RF;
	svm->vmcb->intercept_misc1 |= STEP_INTERCEPTS;
}

// A virtual interrupt that nobody delivers: the intercept of its delivery is the window. In an interrupt shadow it is
// one step instead, since a CPU that does not load the shadow back at VMRUN would deliver between STI and HLT, and
// the guest would sleep on (docs/QUIRKS.md).
void svm_irq_window(struct vcpu *vcpu, bool on) {
	struct vmcb *v = vmcb_of(vcpu);
	if (on && (v->interrupt_shadow & SVM_SHADOW) != 0) {
		step_start(svm_of(vcpu));
	} else if (on) {
		v->intercept_misc1 |= SVM_ICPT1_VINTR;
		v->vintr = SVM_VINTR_MASKING | SVM_VINTR_IRQ | SVM_VINTR_PRIO_MAX | SVM_VINTR_IGN_TPR;
	} else {
		v->intercept_misc1 &= ~SVM_ICPT1_VINTR;
		v->vintr = SVM_VINTR_MASKING;
	}
}

// While the mask stands the IRET intercept is the window; when only an IRET or a shadow has to complete, one
// single step is. Behind another event it is an interrupt of our own, pending at VMRUN (svm_prepare): a step's flags
// would be in the event's frame. A CPU that does not see it at once (docs/QUIRKS.md) sees the end of the handler.
void svm_nmi_window(struct vcpu *vcpu, bool on) {
	struct svm_vcpu *svm = svm_of(vcpu);
	if (!on || svm->nmi_masked) return;
	if (svm_event_waiting(vcpu)) {
		svm->vmcb->intercept_misc1 |= SVM_ICPT1_IRET;
		svm->exit_soon = true;
		svm->asid_generation = TLBID_GENERATION_NONE; // so that the entry asks
	} else {
		step_start(svm);
	}
}

// A CPU that does not load the shadow back at VMRUN has lost it when a second interrupt of the host comes before the
// guest's next instruction (docs/QUIRKS.md). The guest is where it was, so the shadow still stands; should it have
// come back there in a loop, the interrupt waits for one instruction too many, which no guest can tell.
static void shadow_keep(struct svm_vcpu *svm) {
	struct vmcb *v = svm->vmcb;
	if ((v->interrupt_shadow & SVM_SHADOW) != 0)
		svm->shadow_rip = v->rip;
	else if (v->rip == svm->shadow_rip)
		v->interrupt_shadow |= SVM_SHADOW;
}

static __cold void iret_begin(struct svm_vcpu *svm) {
	svm->vmcb->intercept_misc1 &= ~SVM_ICPT1_IRET;
	svm->iret_wait = svm->nmi_masked;
	svm->nmi_masked = false;
	svm->iret_rip = svm->vmcb->rip;
}

enum exit_kind svm_event_exit(struct vcpu *vcpu, enum exit_kind kind) {
	if (kind == EXIT_IRET)
		iret_begin(svm_of(vcpu));
	else
		shadow_keep(svm_of(vcpu));
	return kind;
}

void svm_step_leave(struct vcpu *vcpu) {
	step_end(svm_of(vcpu));
	vmcb_of(vcpu)->interrupt_shadow &= ~SVM_SHADOW;
}

bool svm_step_exit(struct vcpu *vcpu) {
	struct svm_vcpu *svm = svm_of(vcpu);
	if (!svm->stepping) return false;
	step_end(svm);
	svm->iret_wait = false;
	if ((svm->guest_flags & RFLAGS_TF) != 0) return false; // the guest steps too: this #DB is also its own
	// Not every CPU has put BS into DR6 when the intercept is taken (docs/QUIRKS.md).
	if ((svm->vmcb->dr6 & DR6_BREAKPOINTS) != 0) return false;
	svm->vmcb->dr6 &= ~DR6_BS;
	return true;
}

void svm_inject(struct vcpu *vcpu, const struct guest_event *event) {
	struct svm_vcpu *svm = svm_of(vcpu);
	enum svm_event_type type = event->type == EVENT_IRQ        ? SVM_EVENT_INTR
	                           : event->type == EVENT_NMI      ? SVM_EVENT_NMI
	                           : event->type == EVENT_SOFT_IRQ ? SVM_EVENT_SOFT
	                                                           : SVM_EVENT_EXCEPTION;
	svm_step_leave(vcpu); // the frame that delivery stores must hold the guest's own flags; it ends a shadow
	svm->vmcb->event_inject = event->vector | (uint64_t)type << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID |
	                          (event->has_error ? SVM_EVENT_HAS_ERROR | (uint64_t)event->error << 32 : 0);
	if (event->type == EVENT_NMI) {
		svm->nmi_masked = true;
		svm->iret_wait = false;
		svm->vmcb->intercept_misc1 |= SVM_ICPT1_IRET;
	}
}

// ---- for records ----------------------------------------------------------------------------------------------------

bool svm_event_get(const struct vcpu *vcpu, struct guest_event *event) {
	uint64_t info = vmcb_of(vcpu)->event_inject;
	uint64_t type = info >> SVM_EVENT_TYPE_SHIFT & SVM_EVENT_TYPE_MASK;
	if ((info & SVM_EVENT_VALID) == 0) return false;
	// The codes of the neutral types are the same, but for software interrupts.
	*event = (struct guest_event){
	    .type = (uint8_t)(type == SVM_EVENT_SOFT ? EVENT_SOFT_IRQ : type),
	    .vector = (uint8_t)info,
	    .has_error = (info & SVM_EVENT_HAS_ERROR) != 0,
	    .error = (uint32_t)(info >> 32),
	};
	return true;
}

// The VMCB does not tell the shadow of STI from that of MOV SS; only the latter is possible with IF = 0.
uint8_t svm_blocking_get(const struct vcpu *vcpu) {
	const struct svm_vcpu *svm = svm_of(vcpu);
	const struct vmcb *v = svm->vmcb;
	struct guest_event waiting;
	uint8_t blocking = 0;
	if ((v->interrupt_shadow & SVM_SHADOW) != 0)
		blocking = (v->rflags & RFLAGS_IF) != 0 ? GUEST_BLOCK_STI : GUEST_BLOCK_MOV_SS;
	bool nmi_waits = svm_event_get(vcpu, &waiting) && waiting.type == EVENT_NMI;
	bool iret_ahead = svm->iret_wait && v->rip == svm->iret_rip;
	if ((svm->nmi_masked && !nmi_waits) || iret_ahead) blocking |= GUEST_BLOCK_NMI;
	return blocking;
}

void svm_blocking_set(struct vcpu *vcpu, uint8_t blocking) {
	struct svm_vcpu *svm = svm_of(vcpu);
	struct vmcb *v = svm->vmcb;
	bool shadow = (blocking & (GUEST_BLOCK_STI | GUEST_BLOCK_MOV_SS)) != 0;
	v->interrupt_shadow = (v->interrupt_shadow & ~SVM_SHADOW) | (shadow ? SVM_SHADOW : 0);
	svm->shadow_rip = shadow ? v->rip : UINT64_MAX;
	svm->nmi_masked = (blocking & GUEST_BLOCK_NMI) != 0;
	svm->iret_wait = false;
	v->intercept_misc1 = (v->intercept_misc1 & ~SVM_ICPT1_IRET) | (svm->nmi_masked ? SVM_ICPT1_IRET : 0);
}
