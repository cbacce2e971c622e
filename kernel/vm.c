// SPDX-License-Identifier: Apache-2.0
// What devices and handlers may ask of a VM: its clock, timers, lines, buses, and its end (kernel/vdev.h,
// kernel/vintc.h).
#include "kernel/vm.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/fmt.h"
#include "kernel/run.h"
#include "kernel/vcpu.h"
#include "kernel/vintc.h"
#include "kernel/wallclock.h"

#define NS_PER_S 1000000000u

// ---- the clock -----------------------------------------------------------------------------------------------

// The host TSC as the VM's clock sees it.
static uint64_t tsc_now(const struct vm *vm) {
	return likely(vm->clock_running) ? rdtsc() : vm->clock_stopped_tsc;
}

uint64_t vm_now_ns(const struct vm *vm) { return clock_tsc_to_ns(tsc_now(vm) - vm->clock_base_tsc); }
uint64_t vm_guest_tsc(const struct vm *vm) { return tsc_now(vm) + vm->tsc_offset; }
uint64_t vm_tsc_khz(const struct vm *vm __unused_arg) { return clock_tsc_khz(); }

uint64_t vm_tsc_to_ns(const struct vm *vm, uint64_t tsc) {
	uint64_t host = tsc - vm->tsc_offset, now = tsc_now(vm);
	if ((int64_t)(host - now) < 0) host = now;
	return clock_tsc_to_ns(host - vm->clock_base_tsc);
}

uint64_t vm_wall_seconds(const struct vm *vm) { return vm->wall_base_s + vm_now_ns(vm) / NS_PER_S; }

void vm_clock_stop(struct vm *vm) {
	if (!vm->clock_running) return;
	vm->clock_stopped_tsc = rdtsc();
	vm->clock_running = false;
}

void vm_clock_start(struct vm *vm) {
	if (vm->clock_running) return;
	// To the nearest second, since the seconds of the VM's wall clock are those of its clock.
	vm->wall_base_s = (wallclock_now_ns() - vm_now_ns(vm) + NS_PER_S / 2) / NS_PER_S;
	uint64_t stood = rdtsc() - vm->clock_stopped_tsc;
	vm->clock_base_tsc += stood;
	vm->clock_running = true;
	arch_tsc_shift(vm, 0 - stood);
	run_timer_program(vm);
}

void vm_clock_zero(struct vm *vm) {
	assert(!vm->clock_running);
	vm->clock_base_tsc = vm->clock_stopped_tsc;
	arch_tsc_shift(vm, 0 - vm_guest_tsc(vm));
}

// ---- timers --------------------------------------------------------------------------------------------------

void vm_timer_arm(struct vm *vm, struct timer *t, uint64_t deadline_ns) {
	timerq_arm(&vm->timers, t, deadline_ns);
	run_timer_program(vm);
}

// The hardware timer is left as it is: at worst it fires once with nothing due.
void vm_timer_cancel(struct vm *vm __unused_arg, struct timer *t) { timerq_cancel(t); }

// ---- lines and chips -------------------------------------------------------------------------------------------

void vm_gsi_set(struct vm *vm, uint32_t gsi, bool level) {
	irqroute_set(&vm->routes, vm, IRQROUTE_SOURCE_DEVICE, gsi, level);
}

struct vdev *vm_lapic(const struct vm *vm, unsigned vcpu_id) {
	return vm->lapic[vcpu_id];
}
unsigned vm_vcpu_count(const struct vm *vm) { return vm->vcpu_count; }
struct vdev *vm_ioapic(const struct vm *vm) {
	return vm->ioapic;
}
struct vdev *vm_pic(const struct vm *vm) {
	return vm->pic;
}
struct iobus *vm_pio(struct vm *vm) {
	return &vm->pio;
}
struct iobus *vm_mmio(struct vm *vm) {
	return &vm->mmio;
}

void vm_vcpu_event(struct vm *vm, unsigned vcpu_id) {
	struct vcpu *vcpu = vm->vcpu[vcpu_id];
	if (likely(vcpu != NULL)) vcpu_request(vcpu, VCPU_REQ_EVENT);
}

void vcpu_request(struct vcpu *vcpu, uint32_t requests) {
	// Of the one that is loaded here the word is tested before the next entry.
	__atomic_fetch_or(&vcpu->requests, requests, __ATOMIC_SEQ_CST);
	if (unlikely(this_cpu()->vcpu != vcpu)) run_notify(vcpu);
}

// ---- the end ---------------------------------------------------------------------------------------------------

void vm_stop_reason(struct vm *vm, enum vm_end how, uint32_t code, const char *format, ...) {
	if (vm->stop.requested) return;
	vm->stop.requested = true;
	vm->stop.how = how;
	vm->stop.code = code;
	va_list args;
	va_start(args, format);
	fmt_vprint(vm->stop.reason, sizeof vm->stop.reason, format, args);
	va_end(args);
	for (unsigned i = 0; i < vm->vcpu_count; i++) vcpu_request(vm->vcpu[i], VCPU_REQ_END);
}

void vm_end_request(struct vm *vm, enum vm_end how, uint32_t code) {
	switch (how) {
	case VM_END_POWEROFF: vm_stop_reason(vm, how, code, "poweroff"); break;
	case VM_END_RESET: vm_stop_reason(vm, how, code, "reset"); break;
	case VM_END_DEBUG_EXIT: vm_stop_reason(vm, how, code, "debug-exit %u", code); break;
	case VM_END_CRASH: vm_stop_reason(vm, how, code, "crash %u", code); break;
	}
}

bool vm_log_allow(struct vm *vm, enum log_level level) { return log_allow(&vm->log, level, clock_now_ns()); }

void vm_guest_error(struct vm *vm, const char *subsystem, const char *format, ...) {
	vm->guest_errors++;
	if (!vm_log_allow(vm, LOG_WARN)) return;
	char text[LOG_LINE_BYTES];
	va_list args;
	va_start(args, format);
	fmt_vprint(text, sizeof text, format, args);
	va_end(args);
	log_print("w%s: vm=%u %s", subsystem, vm->id, text);
}
