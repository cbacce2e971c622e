// SPDX-License-Identifier: Apache-2.0
// A VM's devices and vCPUs as one sequence of tagged records in a caller's buffer: save_head, then for each record
// a save_tag and its bytes, padded to 8. The order is fixed: the VM itself (its clock comes before everything that
// measures time by it), its vCPUs by id, its devices in creation order. Guest memory is not in it.
// Both calls want the VM at rest: its clock stopped, no vCPU's state in a CPU (arch_vcpu_save).
#pragma once

#include "kernel/vm.h"

#define SAVE_MAGIC 0x56534b42u // "BKSV" read as little-endian bytes
#define SAVE_VERSION 1u
#define SAVE_ALIGN 8u

struct save_head {
	uint32_t magic;
	uint32_t version;
	uint64_t bytes;   // of everything, this head included
	uint32_t records; // tags that follow
	uint32_t reserved;
};
_Static_assert(sizeof(struct save_head) == 24, "save_head layout");

struct save_tag {
	char name[12];    // "vm", "vcpu", or the device's class; zero-padded
	uint32_t index;   // of that name: 0, 1, ...
	uint32_t bytes;   // of the record, without padding
	uint16_t version; // of the record
	uint16_t reserved;
};
_Static_assert(sizeof(struct save_tag) == 24, "save_tag layout");

#define SAVE_VM_VERSION 1u
struct save_vm {
	uint64_t clock_ns; // the VM's clock
	uint64_t tsc_khz;  // of the guest's TSC
	uint32_t vcpus, devices;
	uint32_t asserted[IRQROUTE_GSI_MAX]; // who holds which line, as struct irqroute has it
};
_Static_assert(sizeof(struct save_vm) == 24 + 4 * IRQROUTE_GSI_MAX, "save_vm layout");

// Bytes that save_write needs for this VM; the same all its life.
uint64_t save_bytes(const struct vm *vm);
// -ERR_NOMEM: room is less than save_bytes.
__must_check int save_write(struct vm *vm, void *buffer, uint64_t room);
// Takes the state over, whatever the VM was doing before. Tags, lengths, the VM's record and every vCPU's are checked
// before anything changes: -ERR_FORMAT, -ERR_VERSION, -ERR_TRUNC, -ERR_UNSUP (another TSC frequency). A device that
// then refuses its record ends it with the device's error: the VM is in no defined state and has to be reset. The
// cause is logged. The buffer is 8-byte aligned.
__must_check int save_read(struct vm *vm, const void *buffer, uint64_t bytes);
