// SPDX-License-Identifier: Apache-2.0
// The VM double of vm_double.h: plain memory behind the vm_* functions.
#include "tests/unit/vm_double.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"

#define PAGE 4096u
#define NS_PER_S UINT64_C(1000000000)
#define WALL_2026 UINT64_C(1767225600) // 2026-01-01 00:00:00 UTC

void vm_double_init(struct vm *vm) {
	*vm = (struct vm){.tsc_khz = 1000000, .wall_base_seconds = WALL_2026, .vcpu_count = 1};
	timerq_init(&vm->timers);
	iobus_init(&vm->pio);
	iobus_init(&vm->mmio);
	list_init(&vm->devices);
}

void vm_double_destroy(struct vm *vm) {
	while (!list_empty(&vm->devices)) {
		struct vdev *device = container_of(vm->devices.next, struct vdev, node);
		list_remove(&device->node);
		free(device);
	}
}

struct vdev *vm_double_create(struct vm *vm, const struct vdev_class *class, const struct vdev_config *config,
                              int *err) {
	const struct vdev_config none = {0};
	const struct vdev_config *used = config ? config : &none;
	size_t bytes = (class->object_bytes + PAGE - 1) / PAGE * PAGE; // an object may ask for that alignment
	struct vdev *device = aligned_alloc(PAGE, bytes);
	assert(device);
	memset(device, 0, bytes);
	device->class = class;
	device->vm = vm;
	list_push_back(&vm->devices, &device->node);
	// Compared by name, so that a test links only the classes it uses.
	if (strcmp(class->name, "vlapic") == 0) vm->lapic[used->index] = device;
	if (strcmp(class->name, "vioapic") == 0) vm->ioapic = device;
	if (strcmp(class->name, "vpic") == 0) vm->pic = device;
	int result = class->create(device, used);
	if (err) *err = result;
	return result ? NULL : device;
}

void vm_double_run(struct vm *vm, uint64_t ns) {
	uint64_t end = vm->now_ns + ns;
	while (timerq_next(&vm->timers) <= end) {
		vm->now_ns = max_u64(vm->now_ns, timerq_next(&vm->timers));
		timerq_expire(&vm->timers, vm->now_ns);
	}
	vm->now_ns = end;
}

void vm_double_jump(struct vm *vm, uint64_t ns) {
	vm->now_ns += ns;
	timerq_expire(&vm->timers, vm->now_ns);
}

void *vm_double_save(const struct vdev *device) {
	void *record = malloc(device->class->state_bytes);
	assert(record);
	memset(record, 0xA5, device->class->state_bytes); // a byte that save leaves out shows
	device->class->save(device, record);
	return record;
}

int vm_double_load(struct vdev *device, const void *record) {
	return device->class->load(device, record, device->class->state_bytes, device->class->state_version);
}

uint64_t vm_double_in(struct vm *vm, uint64_t port, unsigned bytes) {
	uint64_t value;
	return iobus_read(&vm->pio, port, bytes, &value) ? value : trunc_bytes(UINT64_MAX, bytes);
}

void vm_double_out(struct vm *vm, uint64_t port, unsigned bytes, uint64_t value) {
	(void)iobus_write(&vm->pio, port, bytes, value);
}

uint64_t vm_double_mmio_read(struct vm *vm, uint64_t addr, unsigned bytes) {
	uint64_t value;
	return iobus_read(&vm->mmio, addr, bytes, &value) ? value : trunc_bytes(UINT64_MAX, bytes);
}

void vm_double_mmio_write(struct vm *vm, uint64_t addr, unsigned bytes, uint64_t value) {
	(void)iobus_write(&vm->mmio, addr, bytes, value);
}

// ---- kernel/vdev.h -------------------------------------------------------------------------------

uint64_t vm_now_ns(const struct vm *vm) { return vm->now_ns; }

uint64_t vm_tsc_khz(const struct vm *vm) { return vm->tsc_khz; }

uint64_t vm_guest_tsc(const struct vm *vm) {
	return (uint64_t)((unsigned __int128)vm->now_ns * vm->tsc_khz / 1000000) + vm->tsc_offset;
}

uint64_t vm_tsc_to_ns(const struct vm *vm, uint64_t tsc) {
	if (tsc <= vm_guest_tsc(vm)) return vm->now_ns;
	// Rounded up: at the returned instant the TSC has reached the value.
	unsigned __int128 scaled = (unsigned __int128)(tsc - vm->tsc_offset) * 1000000 + vm->tsc_khz - 1;
	unsigned __int128 ns = scaled / vm->tsc_khz;
	return ns >= TIMER_NEVER ? TIMER_NEVER - 1 : (uint64_t)ns;
}

uint64_t vm_wall_seconds(const struct vm *vm) { return vm->wall_base_seconds + vm->now_ns / NS_PER_S; }

void vm_timer_arm(struct vm *vm, struct timer *t, uint64_t deadline_ns) {
	timerq_arm(&vm->timers, t, deadline_ns);
}

void vm_timer_cancel(struct vm *vm, struct timer *t) {
	(void)vm;
	timerq_cancel(t);
}

void vm_gsi_set(struct vm *vm, uint32_t gsi, bool level) {
	assert(gsi < VM_DOUBLE_GSIS);
	if (vm->gsi_level[gsi] == level) return;
	vm->gsi_level[gsi] = level;
	if (level)
		vm->gsi_rises[gsi]++;
	else
		vm->gsi_falls[gsi]++;
	if (vm->gsi_hook) vm->gsi_hook(vm, gsi, level);
}

struct iobus *vm_pio(struct vm *vm) {
	return &vm->pio;
}

struct iobus *vm_mmio(struct vm *vm) {
	return &vm->mmio;
}

void vm_end_request(struct vm *vm, enum vm_end how, uint32_t code) {
	vm->end_how = how;
	vm->end_code = code;
	vm->end_count++;
}

void vm_guest_error(struct vm *vm, const char *subsystem, const char *format, ...) {
	vm->guest_errors++;
	int used = snprintf(vm->guest_error_text, sizeof vm->guest_error_text, "%s: ", subsystem);
	va_list args;
	va_start(args, format);
	(void)vsnprintf(vm->guest_error_text + used, sizeof vm->guest_error_text - (size_t)used, format, args);
	va_end(args);
}

// ---- kernel/vintc.h ------------------------------------------------------------------------------

struct vdev *vm_lapic(const struct vm *vm, unsigned vcpu_id) {
	assert(vcpu_id < VM_DOUBLE_VCPUS);
	return vm->lapic[vcpu_id];
}

unsigned vm_vcpu_count(const struct vm *vm) { return vm->vcpu_count; }

struct vdev *vm_ioapic(const struct vm *vm) {
	return vm->ioapic;
}

struct vdev *vm_pic(const struct vm *vm) {
	return vm->pic;
}

void vm_vcpu_event(struct vm *vm, unsigned vcpu_id) { vm->events[vcpu_id]++; }
void vm_vcpu_apic_mode(struct vm *vm, unsigned vcpu_id) { vm->apic_modes[vcpu_id]++; }

void vm_vcpu_init_signal(struct vm *vm, unsigned vcpu_id) { vm->inits[vcpu_id]++; }

void vm_vcpu_startup(struct vm *vm, unsigned vcpu_id, uint8_t vector) {
	vm->startups[vcpu_id]++;
	vm->startup_vector[vcpu_id] = vector;
}

void vm_vcpu_nmi(struct vm *vm, unsigned vcpu_id) { vm->nmis[vcpu_id]++; }
