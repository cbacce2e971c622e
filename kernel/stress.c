// SPDX-License-Identifier: Apache-2.0
// The run loop's two steps, each with a cycle of save, reset and load before it when its turn has come. Before an
// entry is the hardest moment: an event may be in the injection field already.
#include "kernel/stress.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "drivers/host/ioapic.h"
#include "kernel/arch.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"
#include "kernel/run.h"
#include "kernel/save.h"

static uint32_t every, steps;
static void *buffer;
static uint64_t buffer_bytes;

static int state_cycle(struct vm *vm) {
	int err = save_write(vm, buffer, buffer_bytes);
	if (err < 0) return err;
	arch_vm_reset(vm);
	vm_clock_zero(vm);
	return save_read(vm, buffer, buffer_bytes);
}

static void cycle(struct vcpu *vcpu) {
	struct vm *vm = vcpu->vm;
	uint32_t requests = __atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED); // the reset drops them
	vm_clock_stop(vm);
	arch_vcpu_save(vcpu);
	int err = state_cycle(vm);
	arch_vcpu_load(vcpu);
	vm_clock_start(vm);
	vcpu_request(vcpu, requests);
	if (err < 0) vm_stop_reason(vm, VM_END_CRASH, 0, "stress=save: state refused: %s", err_name(err));
}

static bool turn(const struct vcpu *vcpu) {
	if (++steps <= every || vcpu->vm->stop.requested) return false;
	steps = 0;
	return true;
}

static void stress_enter(struct vcpu *vcpu) {
	if (turn(vcpu))
		cycle(vcpu);
	else
		run_enter(vcpu);
}

static void stress_rest(struct vcpu *vcpu) {
	if (turn(vcpu))
		cycle(vcpu);
	else
		run_rest(vcpu);
}

#define FAULT_ENTRY 10u
#define OVERFLOW_BYTES 512u
#define PIT_GSI 2u // where a PC has ISA IRQ 0; the firmware leaves it ticking at 18 Hz

static uint32_t fault;

// Never returns: each call takes some stack, the guard page ends it.
static __attribute__((noinline)) uint64_t overflow(uint64_t depth) {
	uint8_t room[OVERFLOW_BYTES];
	memset(room, (int)depth, sizeof room);
	return depth == UINT64_MAX ? 0 : overflow(depth + 1) + room[depth % sizeof room];
}

static __attribute__((noinline)) void fault_make(void) {
	switch ((enum option_fault)fault) {
	case OPTION_FAULT_UD: cpu_undefined(); break;
	case OPTION_FAULT_PF: mmio_write8(NULL, 0); break;
	case OPTION_FAULT_STACK: vcpu_request(this_cpu()->vcpu, (uint32_t)(overflow(0) & 0)); break;
	case OPTION_FAULT_ASSERT: assert(fault == OPTION_FAULT_NONE); break;
	case OPTION_FAULT_NMI:
		if (ioapic_route(PIT_GSI, 0, this_cpu()->apic_id, VEC_NMI) < 0) log_error("stress", "no PIT");
		break;
	case OPTION_FAULT_ENTRY: arch_vcpu_entry_spoil(this_cpu()->vcpu); break;
	case OPTION_FAULT_NONE: break;
	}
}

static void fault_enter(struct vcpu *vcpu) {
	if (++steps == FAULT_ENTRY) fault_make();
	run_enter(vcpu);
}

static void entry_enter(struct vcpu *vcpu) {
	arch_entry_stress_step(vcpu);
	run_enter(vcpu);
}

int stress_start(const struct vm *vm, const struct option *option) {
	if (option->stress_fault != OPTION_FAULT_NONE) {
		fault = option->stress_fault;
		run_steps_set(fault_enter, run_rest);
		return 0;
	}
	int err = 0;
	if (option->stress_entry != 0) {
		run_steps_set(entry_enter, run_rest);
		err = arch_entry_stress_start(option->stress_entry_seed, option->stress_entry);
		if (err < 0) log_error("stress", "no memory");
		return err;
	}
	if (option->stress_save == 0) return 0;
	every = option->stress_save;
	buffer_bytes = save_bytes(vm);
	err = memory_object(buffer_bytes, &buffer);
	if (err < 0) {
		log_error("stress", "no memory for %llu bytes", (unsigned long long)buffer_bytes);
		return err;
	}
	run_steps_set(stress_enter, stress_rest);
	log_info("stress", "vm \"%s\": %llu bytes of state, saved, reset and loaded every %u entries", vm->name,
	         (unsigned long long)buffer_bytes, every);
	return 0;
}
