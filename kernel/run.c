// SPDX-License-Identifier: Apache-2.0
// The run loop. An exit costs here: one interrupt window, one test of the request word, the entry.
#include "kernel/run.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/trap.h"
#include "drivers/host/apic.h"
#include "drivers/host/console.h"
#include "drivers/host/hostconsole.h"
#include "drivers/host/power.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/lib/bits.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/quiesce.h"
#include "kernel/smp.h"
#include "kernel/vmend.h"

// ---- interrupt side --------------------------------------------------------------------------------------------

static void cpu_attention(struct cpu *cpu) {
	if (cpu->vcpu != NULL) vcpu_request(cpu->vcpu, VCPU_REQ_CPU);
}

_Static_assert(CPU_MAX <= SMP_CPU_MAX, "every CPU has a mailbox");

static uint32_t cpu_self(void) { return this_cpu()->id; }

static void cpu_kick(uint32_t id) {
	struct cpu *cpu = cpu_get(id);
	if (cpu == this_cpu())
		cpu_attention(cpu);
	else if (apic_ipi(cpu->apic_id, HOST_VEC_KICK) < 0)
		log_error("smp", "the interrupt to CPU %u is not accepted", id);
}

const struct smp_machine run_smp_machine = {.self = cpu_self, .kick = cpu_kick};

void run_kick_interrupt(void) {
	apic_eoi();
	smp_serve();
	cpu_attention(this_cpu());
}

void run_timer_interrupt(void) {
	struct cpu *cpu = this_cpu();
	apic_eoi();
	cpu->timer_due = true;
	cpu->timer_tsc = 0;
	cpu_attention(cpu);
}

void run_input_interrupt(void) {
	struct cpu *cpu = this_cpu();
	hostconsole_interrupt();
	apic_eoi();
	cpu->input_due = true;
	cpu_attention(cpu);
}

void run_nmi(void) { cpu_attention(this_cpu()); }

#define TICK_NS UINT64_C(20000000)

// ---- timers ----------------------------------------------------------------------------------------------------

void run_timer_program(struct vm *vm) {
	struct cpu *cpu = this_cpu();
	uint64_t next_ns = timerq_next(&vm->timers);
	uint64_t tsc = cpu->tick_tsc != 0 ? cpu->tick_tsc : UINT64_MAX;
	if (next_ns != TIMER_NEVER && vm->clock_running) // a start of the clock comes back here
		tsc = min_u64(tsc, vm->clock_base_tsc + clock_ns_to_tsc(next_ns));
	if (tsc == UINT64_MAX) return;
	if (cpu->timer_tsc != 0 && cpu->timer_tsc <= tsc && cpu->timer_tsc > rdtsc())
		return; // fires earlier anyway
	cpu->timer_tsc = tsc;
	apic_timer_arm(tsc);
}

static void timers_serve(struct cpu *cpu, struct vm *vm) {
	cpu->timer_due = false;
	timerq_expire(&vm->timers, vm_now_ns(vm));
	if (cpu->tick_tsc != 0 && rdtsc() >= cpu->tick_tsc) {
		cpu->tick_tsc = 0;
		console_tick();
	}
	run_timer_program(vm);
}

void run_tick_request(struct vm *vm) {
	struct cpu *cpu = this_cpu();
	if (cpu->tick_tsc != 0) return;
	cpu->tick_tsc = rdtsc() + clock_ns_to_tsc(TICK_NS);
	run_timer_program(vm);
}

// ---- the loop --------------------------------------------------------------------------------------------------

// Kept out of the loop, so that the common way through it saves no registers.
static __attribute__((noinline)) void serve(struct cpu *cpu, struct vcpu *vcpu) {
	uint32_t requests = __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_ACQUIRE);
	if (unlikely((requests & VCPU_REQ_END) != 0)) {
		vm_end_serve(vcpu->vm);
		return;
	}
	if ((requests & VCPU_REQ_CPU) != 0) {
		if (unlikely(quiesce_wanted())) quiesce_pass();
		if (unlikely(cpu->nmis != cpu->nmis_told)) machine_nmis_tell();
		if (cpu->timer_due) timers_serve(cpu, vcpu->vm);
		if (cpu->input_due) {
			cpu->input_due = false;
			console_serve();
		}
		requests |= __atomic_exchange_n(&vcpu->requests, 0, __ATOMIC_ACQUIRE);
	}
	if (vcpu->state == VCPU_BLOCKED) {
		// Nothing is injected into a sleeper; what wakes it is then looked at as a whole.
		requests &= ~(uint32_t)VCPU_REQ_EVENT;
		if (arch_vcpu_wakeable(vcpu)) {
			vcpu->state = VCPU_READY;
			requests |= VCPU_REQ_EVENT;
		}
	}
	arch_vcpu_serve(vcpu, requests);
}

void run_rest(struct vcpu *vcpu) {
	if (console_idle()) return;
	if (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) != 0) return;
	apic_recheck();
	irq_wait();
}

__cold void run_poll(void) {
	irq_window();
	(void)console_step();
}

static run_step_fn *step_enter = arch_vcpu_enter, *step_rest = run_rest;
static uint64_t max_run_tsc; // 0: no bound, or the backend keeps it

void run_enter(struct vcpu *vcpu) {
	struct cpu *cpu = this_cpu();
	uint64_t tsc = rdtsc() + max_run_tsc;
	if (max_run_tsc != 0 && (cpu->timer_tsc == 0 || cpu->timer_tsc > tsc)) {
		cpu->timer_tsc = tsc;
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

noreturn void run_loop(void) {
	struct cpu *cpu = this_cpu();
	struct vcpu *vcpu = cpu->vcpu;
	for (;;) {
		irq_window();
		if (unlikely(__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) != 0)) {
			serve(cpu, vcpu);
			continue;
		}
		if (unlikely(vcpu->state != VCPU_READY)) {
			step_rest(vcpu);
			continue;
		}
		step_enter(vcpu);
	}
}

noreturn void run_cpu(void) {
	for (;;) {
		irq_window(); // remote calls are served in the kick
		if (quiesce_wanted())
			quiesce_pass();
		else
			irq_wait();
	}
}

noreturn void run_start(void) {
	struct vm *vm = vm_get(0);
	struct cpu *cpu = this_cpu();
	window_load(memory_cpu(cpu->id), &vm->window);
	cpu->vcpu = vm->vcpu[0];
	arch_vcpu_load(cpu->vcpu);
	vm_clock_start(vm);
	run_loop();
}
