// SPDX-License-Identifier: Apache-2.0
// Event injection, the windows that wait for it, and what an exit leaves of an event (SDM vol. 3, 24.8.3, 25.2,
// 26.6, 27.2.4, 32.7 "Handling VM Exits Due to Exceptions").
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/guest/event.h"
#include "kernel/vintc.h"

// ---- moving on --------------------------------------------------------------------------------------------------

// RF ends with the instruction; TF wants its #DB behind it, which a pending debug exception brings.
static __cold void advance_flags(uint64_t rflags) {
	if ((rflags & RFLAGS_RF) != 0) vmcs_writen(VMCS_GUEST_RFLAGS, rflags & ~RFLAGS_RF);
	if ((rflags & RFLAGS_TF) != 0)
		vmcs_writen(VMCS_GUEST_PENDING_DEBUG, vmcs_readn(VMCS_GUEST_PENDING_DEBUG) | VMX_DEBUG_BS);
}

// Outside 64-bit code EIP wraps; an entry with more would fail (SDM vol. 3, 26.3.1.4).
static __cold uint64_t wrapped(const struct vmx_vcpu *vmx, uint64_t rip) {
	bool code64 = (vmx->efer & EFER_LMA) != 0 && (vmcs_read32(VMCS_GUEST_CS_ACCESS) & SEG_L) != 0;
	return code64 ? rip : (uint32_t)rip;
}

// In an exit's handler, so the VMCS is current.
void vmx_advance(struct vcpu *vcpu, unsigned insn_len) {
	uint64_t rip = vmcs_readn(VMCS_GUEST_RIP), next = rip + insn_len;
	if (unlikely((rip ^ next) >> 32 != 0)) next = wrapped(vmx_of(vcpu), next);
	vmcs_writen(VMCS_GUEST_RIP, next);
	uint32_t blocked = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
	if (unlikely((blocked & VMX_SHADOW) != 0))
		vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocked & ~VMX_SHADOW);
	uint64_t rflags = vmcs_readn(VMCS_GUEST_RFLAGS);
	if (unlikely((rflags & (RFLAGS_RF | RFLAGS_TF)) != 0)) advance_flags(rflags);
}

bool vmx_shadow_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & VMX_SHADOW) != 0;
}

void vmx_shadow_clear(struct vcpu *vcpu) {
	vmx_select(vcpu);
	uint32_t blocked = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY);
	if ((blocked & VMX_SHADOW) != 0) vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, blocked & ~VMX_SHADOW);
}

// Windows and injection serve the vCPU that is about to be entered: its VMCS is current.

// ---- windows ----------------------------------------------------------------------------------------------------

bool vmx_event_waiting(const struct vcpu *vcpu) { return vmx_of(vcpu)->event_waiting; }

// While the window is waited for the guest may raise its TPR unseen, and leave the shadow before the window opens.
static __cold __attribute__((noinline)) bool still_waits(const struct vcpu *vcpu) {
	return vlapic_look(vcpu->arch->lapic) >= 0;
}

bool vmx_irq_allowed(const struct vcpu *vcpu) {
	if (unlikely((vmx_of(vcpu)->proc & VMX_PROC_INTERRUPT_WINDOW) != 0) && !still_waits(vcpu)) return false;
	return (vmcs_readn(VMCS_GUEST_RFLAGS) & RFLAGS_IF) != 0 &&
	       (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & VMX_SHADOW) == 0;
}

// Also asked of one that sleeps and is not loaded.
bool vmx_nmi_allowed(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & (VMX_SHADOW | VMX_BLOCKED_NMI)) == 0;
}

static void proc_set(struct vcpu *vcpu, uint32_t bit, bool on) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t proc = on ? vmx->proc | bit : vmx->proc & ~bit;
	if (proc == vmx->proc) return;
	vmx->proc = proc;
	vmcs_write32(VMCS_PROC_CONTROLS, proc);
}

void vmx_irq_window(struct vcpu *vcpu, bool on) { proc_set(vcpu, VMX_PROC_INTERRUPT_WINDOW, on); }

// The NMI window may open inside the shadow of STI, where an NMI cannot be injected on every CPU (26.3.1.5): there
// the interrupt window, which opens behind the shadow, is waited for instead.
void vmx_nmi_window(struct vcpu *vcpu, bool on) {
	if (on && (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & VMX_BLOCKED_STI) != 0)
		vmx_irq_window(vcpu, true);
	else
		proc_set(vcpu, VMX_PROC_NMI_WINDOW, on);
}

// ---- injection --------------------------------------------------------------------------------------------------

// The entry insists on an error code for these vectors, and on none in real mode (26.2.1.3).
static uint32_t exception_error(const struct vmx_vcpu *vmx, const struct guest_event *event) {
	if ((vmx->cr0_shadow & CR0_PE) == 0 || event->vector >= 32) return 0;
	if ((VMX_VECTORS_WITH_ERROR >> event->vector & 1) == 0) return 0;
	vmcs_write32(VMCS_ENTRY_INTR_ERROR, event->error);
	return VMX_INTR_HAS_ERROR;
}

void vmx_inject(struct vcpu *vcpu, const struct guest_event *event) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t info = event->vector | (uint32_t)event->type << VMX_INTR_TYPE_SHIFT | VMX_INTR_VALID;
	if (event->type == EVENT_EXCEPTION) info |= exception_error(vmx, event);
	if (event->type >= EVENT_SOFT_IRQ) vmcs_write32(VMCS_ENTRY_INSN_LEN, event->insn_len);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, info);
	vmx->event_waiting = true;
}

// ---- what an exit left ------------------------------------------------------------------------------------------

bool vmx_event_interrupted(struct guest_event *event) {
	uint32_t info = vmcs_read32(VMCS_IDT_VECTORING_INFO);
	if (likely((info & VMX_INTR_VALID) == 0)) return false;
	*event = (struct guest_event){
	    .type = (uint8_t)(info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK),
	    .vector = (uint8_t)(info & VMX_INTR_VECTOR_MASK),
	    .has_error = (info & VMX_INTR_HAS_ERROR) != 0,
	};
	if (event->has_error) event->error = vmcs_read32(VMCS_IDT_VECTORING_ERROR);
	if (event->type >= EVENT_SOFT_IRQ) event->insn_len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
	return true;
}

static __cold void requeue(struct vcpu *vcpu) {
	struct guest_event event;
	(void)vmx_event_interrupted(&event);
	if (event.type == VMX_INTR_TYPE_PRIVILEGED_SOFT) return; // INT1 is executed again: RIP points at it
	// An NMI that did not arrive does not block the next try (32.7.1.2).
	if (event.type == EVENT_NMI)
		vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
		             vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~VMX_BLOCKED_NMI);
	guest_event_requeue(vcpu, &event);
}

void vmx_event_requeue(struct vcpu *vcpu) {
	if (unlikely((vmcs_read32(VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID) != 0)) requeue(vcpu);
}

// The exit comes before DR6 and DR7 change (27.1, table 27-1): what the delivery would have done is done here, and
// the shadow ends with it, since with TF and a shadow an entry would want the pending debug exception too (26.3.1.5).
void vmx_debug_exit(struct vcpu *vcpu, uint32_t intr_info) {
	if ((intr_info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK) == VMX_INTR_TYPE_PRIVILEGED_SOFT) {
		vmx_rip_set(vcpu, vmcs_readn(VMCS_GUEST_RIP) + vmcs_read32(VMCS_EXIT_INSN_LEN));
		return;
	}
	uint64_t hit =
	    vmcs_readn(VMCS_EXIT_QUALIFICATION) & (VMX_DEBUG_BREAKPOINTS | VMX_DEBUG_BD | VMX_DEBUG_BS);
	vmx_dr6_set(vcpu, (vmx_dr6_get(vcpu) & ~VMX_DEBUG_BREAKPOINTS) | hit);
	uint64_t dr7 = vmcs_readn(VMCS_GUEST_DR7);
	if ((dr7 & DR7_GD) != 0) vmcs_writen(VMCS_GUEST_DR7, dr7 & ~DR7_GD);
	vmx_shadow_clear(vcpu);
}

// ---- for records ------------------------------------------------------------------------------------------------

bool vmx_event_get(const struct vcpu *vcpu, struct guest_event *event) {
	if (!vmx_of(vcpu)->event_waiting) return false;
	vmx_select(vcpu);
	uint32_t info = vmcs_read32(VMCS_ENTRY_INTR_INFO),
	         type = info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK;
	*event = (struct guest_event){
	    .type = (uint8_t)type,
	    .vector = (uint8_t)(info & VMX_INTR_VECTOR_MASK),
	    .has_error = (info & VMX_INTR_HAS_ERROR) != 0,
	};
	if (event->has_error) event->error = vmcs_read32(VMCS_ENTRY_INTR_ERROR);
	if (type == EVENT_SOFT_IRQ || type == EVENT_SOFT_EXCEPTION)
		event->insn_len = (uint8_t)vmcs_read32(VMCS_ENTRY_INSN_LEN);
	return true;
}

_Static_assert(VMX_BLOCKED_STI == GUEST_BLOCK_STI && VMX_BLOCKED_MOV_SS == GUEST_BLOCK_MOV_SS &&
                   VMX_BLOCKED_NMI == GUEST_BLOCK_NMI,
               "the neutral bits are those of the VMCS");
#define BLOCKING (VMX_SHADOW | VMX_BLOCKED_NMI)

uint8_t vmx_blocking_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return (uint8_t)(vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING);
}

void vmx_blocking_set(struct vcpu *vcpu, uint8_t blocking) {
	vmx_select(vcpu);
	vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY,
	             (vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) & ~BLOCKING) | (blocking & BLOCKING));
}

#define PENDING_BITS (VMX_DEBUG_BREAKPOINTS | VMX_DEBUG_ENABLED | VMX_DEBUG_BS)

uint64_t vmx_debug_pending_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return vmcs_readn(VMCS_GUEST_PENDING_DEBUG) & PENDING_BITS;
}

void vmx_debug_pending_set(struct vcpu *vcpu, uint64_t dr6_bits) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_PENDING_DEBUG, dr6_bits & PENDING_BITS);
}
