// SPDX-License-Identifier: Apache-2.0
// A VM: memory, vCPUs, buses, devices, clock, and how it ends. Built once by kernel/build from the
// configuration; all its memory is taken then. Everything here is used by the CPU that runs the VM's vCPU,
// interrupts off; interrupt handlers only set requests.
#pragma once

#include "kernel/config.h"
#include "kernel/iobus.h"
#include "kernel/irqroute.h"
#include "kernel/lib/log.h"
#include "kernel/timerq.h"
#include "kernel/vdev.h"
#include "mm/ept/nested.h"
#include "kernel/load/load.h"
#include "mm/gmem.h"

#define VM_VCPU_MAX 64u
#define VM_EXTENT_MAX 64u
#define VM_SLOT_MAX 4u

struct arch_vm;
struct vcpu;

struct vm_stop {
	bool requested;
	enum vm_end how;
	uint32_t code;
	char reason[96]; // "poweroff", "debug-exit 0", "triple-fault at rip ..."
};

struct vm {
	uint32_t id;
	const struct config_vm *config;
	const char *name;
	struct arch_vm *arch;
	struct gspace space; // memory slots and the window
	struct memslot_table slots;
	struct window window;
	struct nested nested;
	struct extent extent[VM_EXTENT_MAX]; // all of the VM's memory, in guest order
	unsigned extent_count;
	struct extent slot_extent[VM_SLOT_MAX][VM_EXTENT_MAX];
	struct load_range map[LOAD_MAP_MAX]; // what the guest is told
	uint32_t map_count;

	struct vcpu *vcpu[VM_VCPU_MAX];
	unsigned vcpu_count;

	struct iobus pio, mmio;
	struct list devices; // struct vdev.node, creation order
	struct vdev *lapic[VM_VCPU_MAX];
	struct vdev *ioapic, *pic;
	struct irqroute routes;
	struct irqroute_table route_table;

	struct timerq timers; // on the VM's clock
	struct timer due;     // in the queue of its home CPU: the first of these
	// The clock stands still while the VM is built, reset or paused: then the host TSC of the stop counts as now.
	bool clock_running;
	uint64_t clock_stopped_tsc; // host TSC at the stop
	uint64_t clock_base_tsc;    // host TSC at which the VM's clock was 0
	uint64_t tsc_offset;        // guest TSC = host TSC + offset
	uint64_t wall_base_s;       // seconds since 1970 when the VM's clock was 0

	struct vm_stop stop;
	uint64_t crash_window_ns; // host time at which the crashes began to be counted
	uint32_t crashes;         // since then
	char crash_reason[96];    // of the last one, as in stop
	uint64_t guest_errors;
	struct log_bucket log; // on the host's clock
};

// Fixed table of VMs; NULL when id is not built.
struct vm *vm_get(uint32_t id);
// Ends the VM for a reason a person reads; the first reason stays. Takes effect before the next entry.
__cold void vm_stop_reason(struct vm *vm, enum vm_end how, uint32_t code, const char *format, ...)
    __printf_like(4, 5);

// True when a line that the guest caused may be logged: LOG_BURST of them a second.
__cold bool vm_log_allow(struct vm *vm, enum log_level level);

// The VM's clock, its guest TSC with it. Stopping a stopped clock or starting a running one does nothing. Both are
// called on the CPU that runs the VM; the wall clock of the VM is set right at each start.
void vm_clock_stop(struct vm *vm);
void vm_clock_start(struct vm *vm);
// Sets the stopped clock and the guest TSC to 0, as after power-on.
void vm_clock_zero(struct vm *vm);

// kernel/build: makes VM `id` from its configuration, ready to run; on error everything is given back and
// one line named the cause.
__must_check int vm_build(uint32_t id, const struct config_vm *config);
void vm_destroy(struct vm *vm);
// The power-on state, first and again: memory scrubbed, the guest loaded from the boot files, devices and
// vCPUs reset, the clock stopped at 0. A cause is logged on error.
__must_check int vm_reset(struct vm *vm);
