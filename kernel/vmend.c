// SPDX-License-Identifier: Apache-2.0
// The end of a VM: the report of a crash, the line that scripts wait for, and then the next start or the end of the
// machine's work, as the configuration says.
#include "kernel/vmend.h"

#include "arch/x86/cpu/percpu.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/machine.h"
#include "kernel/run.h"

// A VM that crashes at once after every restart is stopped: CRASH_MAX times in CRASH_WINDOW_NS.
#define CRASH_MAX 5u
#define NS_PER_MS 1000000u
#define CRASH_WINDOW_NS UINT64_C(10000000000)

// Counts the crash. The report is whole the first time, and one line when the same cause came last in this window.
static void crash_report(struct vm *vm) {
	uint64_t now = clock_now_ns();
	if (vm->crashes == 0 || now - vm->crash_window_ns > CRASH_WINDOW_NS) {
		vm->crash_window_ns = now;
		vm->crashes = 0;
	}
	if (vm->crashes++ > 0 && strcmp(vm->crash_reason, vm->stop.reason) == 0) {
		log_error("run", "vm \"%s\" crashed %u times in %llu ms, for the cause reported above", vm->name,
		          vm->crashes, (unsigned long long)((now - vm->crash_window_ns) / NS_PER_MS));
		return;
	}
	memcpy(vm->crash_reason, vm->stop.reason, sizeof vm->crash_reason);
	for (unsigned i = 0; i < vm->vcpu_count; i++) arch_vcpu_report(vm->vcpu[i]);
}

static bool wants_restart(const struct vm *vm) {
	if (vm->stop.how == VM_END_RESET) return true;
	if (vm->stop.how != VM_END_CRASH || vm->config->on_crash != CONFIG_CRASH_RESTART) return false;
	if (vm->crashes < CRASH_MAX) return true;
	log_warn("run", "vm \"%s\" crashed %u times in %u s: not restarted again", vm->name, vm->crashes,
	         (unsigned)(CRASH_WINDOW_NS / 1000000000u));
	return false;
}

void vm_end_serve(struct vm *vm) {
	uint32_t code = vm->stop.code;
	enum vm_end how = vm->stop.how;
	vm_clock_stop(vm);
	if (how == VM_END_CRASH) crash_report(vm);
	log_line("vm \"%s\" stopped: %s", vm->name, vm->stop.reason);
	machine_vm_ended(vm, how, code);
	if (how == VM_END_CRASH && vm->config->on_crash == CONFIG_CRASH_HALT_MACHINE) {
		log_line("the machine is halted, as on_crash of vm \"%s\" says", vm->name);
		machine_halt();
	}
	if (wants_restart(vm) && vm_reset(vm) == 0) {
		log_line("vm \"%s\" restarted", vm->name);
		arch_vcpu_load(vm->vcpu[0]);
		vm_clock_start(vm);
		return;
	}
	for (unsigned i = 0; i < vm->vcpu_count; i++) vm->vcpu[i]->state = VCPU_STOPPED;
	console_vm_gone(vm);
	run_vcpu_gone(vm->vcpu[0]);
	machine_vm_gone();
}
