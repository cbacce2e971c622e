// SPDX-License-Identifier: Apache-2.0
// What a CPU does between guests, for the run loop (run.c): its interrupts, its timers, whose turn it is. Everything on
// the CPU itself, interrupts off, but for run_notify.
#pragma once

#include "arch/x86/cpu/percpu.h"
#include "kernel/run.h"
#include "kernel/timerq.h"

// What a CPU has besides struct cpu. Only it touches its own, but for `woken`.
struct run {
	struct timerq timers;     // in host TSC ticks
	struct timer slice, tick; // the scheduler's, the console's
	uint64_t armed_tsc;       // what the hardware timer is armed for, 0: not
	struct vcpu *woken;       // stack of vCPUs of this home that got requests from outside; pushed by any CPU
	const struct window *window; // of the VM worked for last
	bool attention; // something here is to be looked at; for an idle CPU (a vCPU has VCPU_REQ_CPU)
	bool timer_due, input_due;
	bool resched;
};

extern struct run runs[CPU_MAX];
static inline struct run *this_run(void) { return &runs[this_cpu()->id]; }

// Everything that waits for this CPU: timers, requests from outside, input, another's turn. Afterwards another vCPU may
// be loaded.
void run_serve_cpu(struct cpu *cpu, struct run *run);
// The vCPU, of this home, is ready: it gets its turn when the scheduler says so.
void run_wake(struct vcpu *vcpu);
// Asks the scheduler, and switches. When nothing is ready, what is loaded stays: it may be the next one again.
void run_reschedule(struct cpu *cpu, struct run *run);
