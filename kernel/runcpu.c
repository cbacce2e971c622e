// SPDX-License-Identifier: Apache-2.0
// A CPU's interrupts, timers and turns. An interrupt handler only notes what came; the work is done from the run loop.
#include "kernel/runcpu.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/trap.h"
#include "drivers/host/apic.h"
#include "drivers/host/hostconsole.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/lib/panic.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/quiesce.h"
#include "kernel/smp.h"

struct run runs[CPU_MAX];

// ---- interrupt side --------------------------------------------------------------------------------------------

static void cpu_attention(struct cpu *cpu) {
	if (cpu->vcpu != NULL)
		__atomic_fetch_or(&cpu->vcpu->requests, VCPU_REQ_CPU, __ATOMIC_RELAXED);
	else
		runs[cpu->id].attention = true;
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
	struct cpu *cpu = this_cpu();
	cpu_attention(cpu);
	// A backend's own may be what let the guest go no further than an event (svm_prepare).
	if (cpu->vcpu != NULL) vcpu_request(cpu->vcpu, VCPU_REQ_EVENT);
}

void run_timer_interrupt(void) {
	struct run *run = this_run();
	apic_eoi();
	run->timer_due = true;
	run->armed_tsc = 0;
	cpu_attention(this_cpu());
}

void run_input_interrupt(void) {
	hostconsole_interrupt();
	apic_eoi();
	this_run()->input_due = true;
	cpu_attention(this_cpu());
}

void run_nmi(void) {
	panic_nmi();
	cpu_attention(this_cpu());
}

// ---- timers ----------------------------------------------------------------------------------------------------

static void hardware_program(struct run *run) {
	uint64_t tsc = timerq_next(&run->timers);
	if (tsc == TIMER_NEVER) return;
	if (run->armed_tsc != 0 && run->armed_tsc <= tsc && run->armed_tsc > rdtsc())
		return; // fires earlier anyway
	run->armed_tsc = tsc;
	apic_timer_arm(tsc);
}

static void timer_set(struct run *run, struct timer *t, uint64_t tsc) {
	timerq_arm(&run->timers, t, tsc);
	hardware_program(run);
}

// Of a VM: everything in its own queue that is due on its clock.
void run_timers_fire(void *ctx) {
	struct vm *vm = ctx;
	timerq_expire(&vm->timers, vm_now_ns(vm));
	run_timer_program(vm);
}

void run_timer_program(struct vm *vm) {
	uint64_t ns = timerq_next(&vm->timers);
	// A start of the clock comes back here.
	uint64_t tsc =
	    ns == TIMER_NEVER || !vm->clock_running ? TIMER_NEVER : vm->clock_base_tsc + clock_ns_to_tsc(ns);
	timer_set(this_run(), &vm->due, tsc);
}

#define TICK_NS UINT64_C(20000000)

static void tick_fire(void *ctx __unused_arg) { console_tick(); }
static void slice_fire(void *ctx) { ((struct run *)ctx)->resched = true; }

static bool tick_wanted;

void run_tick_request(void) {
	if (this_cpu()->id != 0) {
		if (!__atomic_exchange_n(&tick_wanted, true, __ATOMIC_RELAXED)) cpu_kick(0);
		return;
	}
	struct run *run = this_run();
	if (!run->tick.armed) timer_set(run, &run->tick, rdtsc() + clock_ns_to_tsc(TICK_NS));
}

// ---- switching --------------------------------------------------------------------------------------------------

static void switch_to(struct cpu *cpu, struct run *run, struct vcpu *next) {
	if (cpu->vcpu != NULL) arch_vcpu_save(cpu->vcpu);
	if (run->window != &next->vm->window) {
		run->window = &next->vm->window;
		window_load(memory_cpu(cpu->id), run->window);
	}
	cpu->vcpu = next;
	arch_vcpu_load(next);
	cpu_attention(cpu); // what came for the one before
}

void run_reschedule(struct cpu *cpu, struct run *run) {
	uint64_t until;
	run->resched = false;
	struct sched_entity *e = sched_pick(cpu->id, clock_now_ns(), &until);
	timer_set(run, &run->slice, until == SCHED_NEVER ? TIMER_NEVER : clock_ns_to_tsc(until));
	if (e == NULL) {
		if (cpu->vcpu == NULL || cpu->vcpu->entity.state != SCHED_THROTTLED) return;
		arch_vcpu_save(cpu->vcpu); // it would run on
		cpu->vcpu = NULL;
		cpu_attention(cpu);
		return;
	}
	struct vcpu *next = container_of(e, struct vcpu, entity);
	next->shares_cpu = until != SCHED_NEVER;
	if (next != cpu->vcpu) switch_to(cpu, run, next);
}

void run_yield(void) {
	sched_give_way(this_cpu()->id, clock_now_ns());
	this_run()->resched = true;
	cpu_attention(this_cpu());
}

void run_wake(struct vcpu *vcpu) {
	uint32_t cpu = sched_wake(&vcpu->entity, clock_now_ns());
	if (cpu == SCHED_CPU_NONE) return;
	if (cpu == this_cpu()->id)
		this_run()->resched = true;
	else
		cpu_kick(cpu);
}

// A vCPU of this home got a request while another, or none, was at work here.
static void woken_look(struct vcpu *vcpu) {
	__atomic_store_n(&vcpu->woken, false, __ATOMIC_SEQ_CST); // before the look: what comes later pushes again
	if (vcpu == this_cpu()->vcpu) return;                    // the loop looks
	// Devices go on while their vCPU sleeps, and may wake it.
	uint32_t requests = __atomic_fetch_and(&vcpu->requests, ~(uint32_t)VCPU_REQ_CONSOLE, __ATOMIC_SEQ_CST);
	if ((requests & VCPU_REQ_CONSOLE) != 0) console_vm_serve(vcpu->vm);
	if (vcpu->state == VCPU_BLOCKED && ((requests & VCPU_REQ_END) != 0 || arch_vcpu_wakeable(vcpu))) {
		vcpu->state = VCPU_READY;
		__atomic_fetch_or(&vcpu->requests, VCPU_REQ_EVENT, __ATOMIC_RELAXED);
	}
	if (vcpu->state == VCPU_READY) run_wake(vcpu);
}

static void woken_serve(struct run *run) {
	struct vcpu *vcpu = __atomic_exchange_n(&run->woken, NULL, __ATOMIC_ACQUIRE);
	while (vcpu != NULL) {
		struct vcpu *next = vcpu->woken_next;
		woken_look(vcpu);
		vcpu = next;
	}
	if (this_cpu()->vcpu != NULL) arch_vcpu_select(this_cpu()->vcpu);
}

void run_notify(struct vcpu *vcpu) {
	if (!vcpu->scheduled || __atomic_exchange_n(&vcpu->woken, true, __ATOMIC_SEQ_CST)) return;
	struct run *home = &runs[vcpu->entity.cpu];
	vcpu->woken_next = __atomic_load_n(&home->woken, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&home->woken, &vcpu->woken_next, vcpu, true, __ATOMIC_RELEASE,
	                                    __ATOMIC_RELAXED)) {
	}
	cpu_kick(vcpu->entity.cpu);
}

void run_serve_cpu(struct cpu *cpu, struct run *run) {
	machine_halt_wanted();
	if (unlikely(quiesce_wanted())) quiesce_pass();
	if (unlikely(cpu->nmis != cpu->nmis_told)) machine_nmis_tell();
	if (run->timer_due) {
		run->timer_due = false;
		timerq_expire(&run->timers, rdtsc());
		hardware_program(run);
	}
	if (run->woken != NULL) woken_serve(run);
	if (run->input_due) {
		run->input_due = false;
		console_serve();
	}
	if (cpu->id == 0 && unlikely(tick_wanted)) {
		tick_wanted = false;
		run_tick_request();
	}
	if (run->resched) run_reschedule(cpu, run);
}

void run_cpu_init(void) {
	struct run *run = this_run();
	timerq_init(&run->timers);
	timer_init(&run->slice, slice_fire, run);
	timer_init(&run->tick, tick_fire, run);
	sched_cpu_init(this_cpu()->id);
}

void run_vcpu_gone(struct vcpu *vcpu) {
	struct run *run = this_run();
	sched_remove(&vcpu->entity, clock_now_ns());
	this_cpu()->vcpu = NULL;
	this_cpu()->vm = NULL;
	run->resched = run->attention = true;
}

#define NS_PER_US UINT64_C(1000)

// ---- the start of a VM -----------------------------------------------------------------------------------------

// On its home CPU.
static void start_here(void *arg) {
	struct vm *vm = arg;
	vm_clock_start(vm);
	run_wake(vm->vcpu[0]);
	cpu_attention(this_cpu());
}

int run_vm_start(struct vm *vm) {
	struct vcpu *vcpu = vm->vcpu[0];
	const struct config_vm *config = vm->config;
	const struct sched_params params = {.cpus = config->cpus[0],
	                                    .weight = config->weight,
	                                    .priority = config->priority,
	                                    .period_ns = config->period_us * NS_PER_US,
	                                    .budget_ns = config->budget_us * NS_PER_US};
	int err = sched_add(&vcpu->entity, &params, smp_online_mask());
	if (err < 0) return err;
	vcpu->scheduled = true;
	arch_vcpu_leave(vcpu); // it was built here
	return smp_call(vcpu->entity.cpu, start_here, vm);
}
