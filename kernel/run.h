// SPDX-License-Identifier: Apache-2.0
// The run loop of a CPU (docs/RUNLOOP.md): after every exit it opens one interrupt window, serves what was
// requested and enters again, or idles.
#pragma once

#include "kernel/vcpu.h"
#include "kernel/vm.h"

// Each CPU, itself, before it is online.
void run_cpu_init(void);
// The end of a CPU's bring-up: works for whatever the scheduler gives it.
noreturn void run_cpu(void);
// Gives the VM's vCPU a home and starts it there. Called once, when the VM is built. -ERR_NOENT: none of the CPUs that
// it may use is online.
__must_check int run_vm_start(struct vm *vm);
// The vCPU that is loaded here ended: whose turn is it now?
void run_vcpu_gone(struct vcpu *vcpu);
// The vCPU that is loaded here waits in a loop: another's turn, if one waits for this CPU.
void run_yield(void);
// For vcpu_request: a vCPU that is not the one loaded here got a request.
void run_notify(struct vcpu *vcpu);
// From the backend after every handled exit, on the CPU's empty stack, interrupts off.
noreturn void run_loop(void);

// The loop's last steps: into the guest (returns when something came at the last moment), and to rest when the vCPU
// cannot run. Others may stand before them; once, before run_start.
typedef void run_step_fn(struct vcpu *vcpu);
void run_rest(struct vcpu *vcpu);
void run_steps_set(run_step_fn *enter, run_step_fn *rest);

// The way into the guest for who stands before it, and a bound of every stay there: `us` microseconds after its entry
// a guest is left (option max_run_us, for emulators whose guests an interrupt does not always end; docs/QUIRKS.md).
// By the backend where it can, else by this CPU's timer. Before run_start; where it was never called, it costs nothing.
void run_enter(struct vcpu *vcpu);
void run_max_set(uint32_t us);

// Between two pieces of long work outside a guest: host interrupts are taken, console output goes on. What they leave
// for the run loop waits. Interrupts off, as everywhere; no lock is held.
void run_poll(void);

// What kernel/smp needs of this CPU and its APIC.
extern const struct smp_machine run_smp_machine;

// Interrupt side: something for this CPU's run loop.
void run_kick_interrupt(void);
void run_timer_interrupt(void);
void run_input_interrupt(void);
// From the NMI handler, at any instruction: the log line is written in the run loop's next round.
void run_nmi(void);
// Arms the CPU's one-shot timer for the VM's first timer; on the VM's home, whenever that changed. run_timers_fire is
// what vm->due does.
void run_timer_program(struct vm *vm);
void run_timers_fire(void *vm);
// One console_tick in 20 ms, however busy the guest is; asked for while the console has work of its own.
// On any CPU.
void run_tick_request(void);
