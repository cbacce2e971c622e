// SPDX-License-Identifier: Apache-2.0
// What is delivered to a guest before its next instruction: exceptions that handlers raise, events whose
// delivery an exit interrupted, NMIs, interrupts. One event an entry; the rest waits behind a window.
#pragma once

#include "arch/x86/guest/vcpu.h"

// Raises an exception. Merged with one that waits already: #DF, or a triple fault (SDM vol. 3, 6.15,
// table 6-5 "Conditions for Generating a Double Fault").
__cold void guest_exception(struct vcpu *vcpu, uint8_t vector);
__cold void guest_exception_error(struct vcpu *vcpu, uint8_t vector, uint32_t error);
// Sets CR2 and raises #PF.
__cold void guest_page_fault(struct vcpu *vcpu, uint32_t error, uint64_t address);
static inline void guest_gp(struct vcpu *vcpu) { guest_exception_error(vcpu, VEC_GP, 0); }
static inline void guest_ud(struct vcpu *vcpu) { guest_exception(vcpu, VEC_UD); }

// By the backend, at exit: this event was on its way and has to be delivered again.
__cold void guest_event_requeue(struct vcpu *vcpu, const struct guest_event *event);
// Serves VCPU_REQ_EVENT: fills the injection field and sets the windows.
void guest_event_deliver(struct vcpu *vcpu);
// True when a halted vCPU has an event that wakes it (an enabled interrupt, or an NMI).
bool guest_event_wakes(const struct vcpu *vcpu);
// An instruction with RFLAGS.TF set was completed in software: #DB with DR6.BS follows it.
__cold void guest_trap_step(struct vcpu *vcpu);
