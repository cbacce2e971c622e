// SPDX-License-Identifier: Apache-2.0
// The run loop. An exit costs here: one interrupt window, one test of the request word, the entry.
#include "kernel/runcpu.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "drivers/host/apic.h"
#include "drivers/host/console.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/sched.h"
#include "kernel/vmend.h"

// ---- the loop --------------------------------------------------------------------------------------------------

// It is ready: if it was given up for asleep meanwhile, it asks for its turn.
static void go_on(struct cpu *cpu, struct vcpu *vcpu) {
	if (likely(vcpu->state != VCPU_READY || vcpu->entity.state != SCHED_BLOCKED)) return;
	run_wake(vcpu);
	run_reschedule(cpu, this_run());
}

static __attribute__((noinline)) void serve(struct cpu *cpu, struct vcpu *vcpu, uint32_t requests) {
	if ((requests & VCPU_REQ_CPU) != 0) {
		run_serve_cpu(cpu, this_run());
		requests &= ~(uint32_t)VCPU_REQ_CPU;
		if (cpu->vcpu != vcpu) { // its turn is over: it finds them later, and what came just now may wake it
			requests |= __atomic_fetch_or(&vcpu->requests, requests, __ATOMIC_RELAXED);
			if (requests != 0) run_notify(vcpu);
			return;
		}
		// What that work asked of this CPU is for the next time round.
		requests |= __atomic_fetch_and(&vcpu->requests, VCPU_REQ_CPU, __ATOMIC_ACQUIRE);
	}
	if (unlikely((requests & VCPU_REQ_END) != 0)) {
		vm_end_serve(vcpu->vm);
		go_on(cpu, vcpu);
		return;
	}
	if ((requests & VCPU_REQ_CONSOLE) != 0) console_vm_serve(vcpu->vm);
	if (vcpu->state == VCPU_BLOCKED) {
		// Nothing is injected into a sleeper; what wakes it is then looked at as a whole.
		requests &= ~(uint32_t)VCPU_REQ_EVENT;
		if (arch_vcpu_wakeable(vcpu)) {
			vcpu->state = VCPU_READY;
			requests |= VCPU_REQ_EVENT;
		}
	}
	arch_vcpu_serve(vcpu, requests);
	go_on(cpu, vcpu);
}

// Nothing to do for the one that is loaded: another's turn, or rest.
void run_rest(struct vcpu *vcpu) {
	struct cpu *cpu = this_cpu();
	if (vcpu->entity.state != SCHED_BLOCKED) {
		sched_block(&vcpu->entity, clock_now_ns());
		run_reschedule(cpu, this_run());
		return;
	}
	if (cpu->id == 0 && console_idle()) return;
	if (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) != 0) return;
	apic_recheck();
	irq_wait();
}

// Until a vCPU is loaded here.
static void idle(struct cpu *cpu) {
	struct run *run = &runs[cpu->id];
	while (cpu->vcpu == NULL) {
		irq_window();
		if (run->attention) {
			run->attention = false;
			run_serve_cpu(cpu, run);
		} else if (cpu->id != 0 || !console_idle()) {
			apic_recheck();
			irq_wait();
		}
	}
}

__cold void run_poll(void) {
	irq_window();
	(void)console_step();
}

static run_step_fn *step_enter = arch_vcpu_enter, *step_rest = run_rest;
static uint64_t max_run_tsc; // 0: no bound, or the backend keeps it

void run_enter(struct vcpu *vcpu) {
	struct run *run = this_run();
	uint64_t tsc = rdtsc() + max_run_tsc;
	if (max_run_tsc != 0 && (run->armed_tsc == 0 || run->armed_tsc > tsc)) {
		run->armed_tsc = tsc;
		apic_timer_arm(tsc);
	}
	arch_vcpu_enter(vcpu);
}

#define NS_PER_US 1000u

void run_max_set(uint32_t us) {
	uint64_t tsc = clock_ns_to_tsc((uint64_t)us * NS_PER_US);
	bool by_backend = arch_max_run_set(tsc);
	log_info("run", "a guest is left after %u us at the latest, by %s", us,
	         by_backend ? "the CPU's preemption timer" : "the APIC's timer");
	if (by_backend) return;
	max_run_tsc = tsc;
	step_enter = run_enter;
}

void run_steps_set(run_step_fn *enter, run_step_fn *rest) {
	step_enter = enter;
	step_rest = rest;
}

// Kept out of the loop, so that the common way through it saves no registers.
static __attribute__((noinline)) void look(struct vcpu *vcpu) {
	uint32_t requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_ACQUIRE);
	if (likely(requests == VCPU_REQ_EVENT && vcpu->state == VCPU_READY &&
	           vcpu->entity.state != SCHED_BLOCKED)) { // the commonest, in short
		arch_vcpu_serve(vcpu, VCPU_REQ_EVENT);
		return;
	}
	struct cpu *cpu = this_cpu();
	if (requests != 0)
		serve(cpu, vcpu, requests);
	else if (vcpu->state != VCPU_READY)
		step_rest(vcpu);
	if (cpu->vcpu == NULL) idle(cpu);
}

noreturn void run_loop(void) {
	for (;;) {
		irq_window();
		struct vcpu *vcpu = this_vcpu();
		if (likely(vcpu_enterable(vcpu)))
			step_enter(vcpu);
		else
			look(vcpu);
	}
}

noreturn void run_cpu(void) {
	this_run()->attention = true; // what came before it looked
	idle(this_cpu());
	run_loop();
}
