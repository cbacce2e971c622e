// SPDX-License-Identifier: Apache-2.0
// The contract between a virtual device (drivers/vdev) and the VM it belongs to. A device sees only
// this header, kernel/vintc.h, kernel/iobus.h, kernel/backend.h and guest memory through mm; the kernel
// sees only struct vdev and the class table. Unit tests link their own doubles of the vm_* functions.
//
// All callbacks run on one CPU at a time with the VM's device lock held and interrupts off: devices
// need no locks of their own. Nothing here blocks or allocates.
#pragma once

#include "kernel/iobus.h"
#include "kernel/lib/list.h"
#include "kernel/timerq.h"

struct vm;
struct vdev;
struct chardev;

// ---- What a device implements ------------------------------------------------------------------

// Where and how one instance sits on its VM; each class documents what it reads of it.
struct vdev_config {
	uint64_t base;           // first port or MMIO address
	uint32_t gsi;            // interrupt line
	uint32_t index;          // instance, or vCPU id for a local APIC
	struct chardev *chardev; // character back end, NULL when none
};

struct vdev_class {
	char name[12];          // "uart16550": log lines and state records
	uint16_t state_version; // of the record below
	uint32_t object_bytes;  // size of the instance; struct vdev is its first member
	uint32_t state_bytes;   // size of the saved record, fixed for a version
	// Instance memory is zeroed and self->vm, self->class are set. Registers its ranges, inits timers,
	// resets itself. Errors: what iobus_register says.
	int (*create)(struct vdev *self, const struct vdev_config *config);
	// The power-on state; disarms timers, lowers lines.
	void (*reset)(struct vdev *self);
	// Record layout: a struct of fixed-width fields in the class's header, times as ns relative to
	// vm_now_ns (a deadline is saved as remaining time, TIMER_NEVER when not armed).
	void (*save)(const struct vdev *self, void *record);
	// Validates the whole record first; -ERR_FORMAT / -ERR_VERSION leave the device unchanged.
	// Re-arms timers and raises its lines again.
	int (*load)(struct vdev *self, const void *record, uint32_t bytes, uint16_t version);
};

struct vdev {
	const struct vdev_class *class;
	struct vm *vm;
	struct list node; // the VM's list of devices, in creation order
};

extern const struct vdev_class vlapic_class, vioapic_class, vpic_class, vpit_class, vrtc_class, vpm_class,
    vpci_class, vuart_class, vps2_class, vreset_class, vdebugexit_class;

// ---- What the builder asks of a device ---------------------------------------------------------

// Tells the CMOS the size of the guest's RAM the way a PC's firmware does (bytes; the part below 4 GiB,
// counted from 0, and the part above). Once, after create.
void vrtc_memory_set(struct vdev *vrtc, uint64_t below_4g_bytes, uint64_t above_4g_bytes);

// ---- What a device may ask of its VM -----------------------------------------------------------

// The VM's clock: ns since its start, stopped while it is paused, monotonic on every CPU.
uint64_t vm_now_ns(const struct vm *vm);
// What the guest reads from RDTSC now, and its frequency; the TSC-deadline timer needs them.
uint64_t vm_guest_tsc(const struct vm *vm);
uint64_t vm_tsc_khz(const struct vm *vm);
// ns on the VM's clock at which the guest's TSC reaches `tsc` (now when already past).
uint64_t vm_tsc_to_ns(const struct vm *vm, uint64_t tsc);
// Seconds since 1970-01-01 00:00 UTC at this instant of the VM's clock; the second changes where vm_now_ns
// passes a multiple of 10^9.
uint64_t vm_wall_seconds(const struct vm *vm);

// Timers on the VM's clock; the timer belongs to the caller.
void vm_timer_arm(struct vm *vm, struct timer *t, uint64_t deadline_ns);
void vm_timer_cancel(struct vm *vm, struct timer *t);

// Drives the level of a GSI line (kernel/irqroute takes it to the PIC and the I/O APIC). Idempotent.
void vm_gsi_set(struct vm *vm, uint32_t gsi, bool level);

// The two buses.
struct iobus *vm_pio(struct vm *vm);
struct iobus *vm_mmio(struct vm *vm);

// The end of the VM or its restart, asked for by the guest through a device. Takes effect before the
// guest executes its next instruction.
enum vm_end { VM_END_POWEROFF = 1, VM_END_RESET, VM_END_DEBUG_EXIT, VM_END_CRASH };
void vm_end_request(struct vm *vm, enum vm_end how, uint32_t code);

// A device saw the guest do what no manual allows: counted, and logged rate-limited.
__cold void vm_guest_error(struct vm *vm, const char *subsystem, const char *format, ...) __printf_like(3, 4);
