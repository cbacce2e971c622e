// SPDX-License-Identifier: Apache-2.0
// The run loop's two steps, each with a cycle of save, reset and load before it when its turn has come. Before an
// entry is the hardest moment: an event may be in the injection field already.
#include "kernel/stress.h"

#include "kernel/arch.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
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
		arch_vcpu_enter(vcpu);
}

static void stress_rest(struct vcpu *vcpu) {
	if (turn(vcpu))
		cycle(vcpu);
	else
		run_rest(vcpu);
}

int stress_start(const struct vm *vm, const struct option *option) {
	if (option->stress_save == 0) return 0;
	every = option->stress_save;
	buffer_bytes = save_bytes(vm);
	int err = memory_object(buffer_bytes, &buffer);
	if (err < 0) return err;
	run_steps_set(stress_enter, stress_rest);
	log_info("stress", "vm \"%s\": %llu bytes of state, saved, reset and loaded every %u entries", vm->name,
	         (unsigned long long)buffer_bytes, every);
	return 0;
}
