// SPDX-License-Identifier: Apache-2.0
// The guest computes ns = system_time + ((TSC - tsc_timestamp) << shift) * mult >> 32; an odd version says that
// an update is under way. The VM's clock and its TSC advance together, so one publication lasts until one
// of them is moved.
#include "arch/x86/guest/pvclock.h"

#include "arch/x86/guest/ops.h"
#include "kernel/clock.h"
#include "kernel/lib/string.h"
#include "mm/gmem.h"

#define PVCLOCK_ENABLE BIT64(0)
#define PVCLOCK_TSC_STABLE 1u

struct pvclock_time {
	uint32_t version, pad;
	uint64_t tsc_timestamp, system_time_ns;
	uint32_t mult;
	int8_t shift;
	uint8_t flags;
	uint8_t pad2[2];
};
_Static_assert(sizeof(struct pvclock_time) == 32, "pvclock_vcpu_time_info");

struct pvclock_wall {
	uint32_t version, seconds, ns;
};

void pvclock_publish(struct vcpu *vcpu) {
	struct arch_vcpu *a = vcpu->arch;
	if ((a->system_time_msr & PVCLOCK_ENABLE) == 0) return;
	struct vm *vm = vcpu->vm;
	struct pvclock_time t = {.flags = PVCLOCK_TSC_STABLE};
	uint64_t now_tsc = vm_guest_tsc(vm);
	t.system_time_ns = vm_now_ns(vm);
	t.tsc_timestamp = now_tsc;
	clock_pv_scale(&t.mult, &t.shift);
	gpa_t at = gpa(a->system_time_msr & ~PVCLOCK_ENABLE);
	a->system_time_version += 2;
	t.version = a->system_time_version - 1; // odd: being written
	int err = gmem_write(&vm->space, at, &t, sizeof t);
	if (err == 0) err = gmem_write32(&vm->space, at, a->system_time_version);
	if (err < 0) vm_guest_error(vm, "pvclock", "clock page %#llx is not in memory", (unsigned long long)at.v);
}

bool pvclock_system_time_set(struct vcpu *vcpu, uint64_t value) {
	vcpu->arch->system_time_msr = value;
	pvclock_publish(vcpu);
	return true;
}

bool pvclock_wall_clock_set(struct vcpu *vcpu, uint64_t value) {
	struct vm *vm = vcpu->vm;
	vcpu->arch->wall_clock_msr = value;
	// The wall clock at the VM clock's zero.
	uint64_t now = vm_now_ns(vm);
	uint64_t start_s = vm_wall_seconds(vm) - now / 1000000000u;
	struct pvclock_wall w = {.version = 2, .seconds = (uint32_t)start_s};
	return gmem_write(&vm->space, gpa(value & ~UINT64_C(3)), &w, sizeof w) == 0;
}
