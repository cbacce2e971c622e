// SPDX-License-Identifier: Apache-2.0
// The PC that a guest finds: devices, memory layout, firmware tables (docs/GUEST.md).
#pragma once

#include "kernel/arch.h"

// Creates the VM's devices in a fixed order. -ERR_NOMEM; the caller destroys the VM.
__must_check int board_create(struct vm *vm, struct arch_why *why);
// Local APIC of one vCPU.
__must_check int board_lapic_create(struct vm *vm, unsigned vcpu_id, struct vdev **lapic);
void board_destroy(struct vm *vm);
void board_reset(struct vm *vm);

// Guest RAM: below 4 GiB up to this address, the rest from 4 GiB on.
#define BOARD_LOW_RAM_END UINT64_C(0xc0000000)
#define BOARD_HIGH_RAM_BASE (UINT64_C(4) << 30)
