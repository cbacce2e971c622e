// SPDX-License-Identifier: Apache-2.0
// A virtual machine for tests of virtual devices: implements every vm_* function of kernel/vdev.h and
// kernel/vintc.h over plain memory and records what the devices asked for. It uses the real
// kernel/iobus.c and kernel/timerq.c. Time stands still unless a test moves it.
#pragma once

#include "kernel/vdev.h"
#include "kernel/vintc.h"

#define VM_DOUBLE_VCPUS 64u
#define VM_DOUBLE_GSIS 64u

struct vm {
	// The clock. The TSC the guest reads is now_ns * tsc_khz / 10^6 + tsc_offset.
	uint64_t now_ns;
	uint64_t tsc_khz;
	uint64_t tsc_offset;
	uint64_t wall_base_seconds; // wall time at now_ns = 0
	struct timerq timers;

	struct iobus pio, mmio;
	struct list devices; // in creation order

	// Lines: level now, changes to 1, changes to 0. gsi_hook (may be NULL) sees every change.
	bool gsi_level[VM_DOUBLE_GSIS];
	uint32_t gsi_rises[VM_DOUBLE_GSIS], gsi_falls[VM_DOUBLE_GSIS];
	void (*gsi_hook)(struct vm *vm, uint32_t gsi, bool level);

	// The last vm_end_request, and how many there were.
	enum vm_end end_how;
	uint32_t end_code, end_count;
	// vm_guest_error calls, and the last text.
	uint32_t guest_errors;
	char guest_error_text[160];

	// Chips: vm_double_create sets these by class (a vlapic by config.index).
	struct vdev *lapic[VM_DOUBLE_VCPUS];
	unsigned vcpu_count; // default 1
	struct vdev *ioapic, *pic;

	// Calls a vCPU, by vCPU id.
	uint32_t events[VM_DOUBLE_VCPUS], apic_modes[VM_DOUBLE_VCPUS], inits[VM_DOUBLE_VCPUS],
	    nmis[VM_DOUBLE_VCPUS];
	uint32_t startups[VM_DOUBLE_VCPUS];
	uint8_t startup_vector[VM_DOUBLE_VCPUS];
};

// Time 0, TSC 1 GHz, wall clock 2026-01-01 00:00:00 UTC, one vCPU, no devices.
void vm_double_init(struct vm *vm);
// Frees all devices.
void vm_double_destroy(struct vm *vm);
// Allocates an instance on the heap, creates it and links it; NULL config means all zero.
// Returns NULL when the class's create failed (the error in *err unless NULL).
struct vdev *vm_double_create(struct vm *vm, const struct vdev_class *class, const struct vdev_config *config,
                              int *err);
// Advances the clock by ns and fires every timer at its exact deadline on the way.
void vm_double_run(struct vm *vm, uint64_t ns);
// The clock jumps by ns at once, then what is due fires, late (one timerq_expire).
void vm_double_jump(struct vm *vm, uint64_t ns);

// Save into a fresh heap buffer of class->state_bytes (the caller frees it), and load it back.
void *vm_double_save(const struct vdev *device);
int vm_double_load(struct vdev *device, const void *record);

// Port and MMIO accesses; reads that nobody claims give all ones of their width.
uint64_t vm_double_in(struct vm *vm, uint64_t port, unsigned bytes);
void vm_double_out(struct vm *vm, uint64_t port, unsigned bytes, uint64_t value);
uint64_t vm_double_mmio_read(struct vm *vm, uint64_t addr, unsigned bytes);
void vm_double_mmio_write(struct vm *vm, uint64_t addr, unsigned bytes, uint64_t value);
