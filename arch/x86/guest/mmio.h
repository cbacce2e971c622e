// SPDX-License-Identifier: Apache-2.0
// Guest accesses to what is no memory.
#pragma once

#include "arch/x86/guest/vcpu.h"

// A nested page fault.
void mmio_exit(struct vcpu *vcpu, const struct exit *exit);
// One access at a guest physical address that mm/gmem refused: this vCPU's local APIC page, the VM's MMIO bus,
// or nobody (reads give ones, writes are dropped, as on a PC). 1, 2, 4 or 8 bytes inside one page.
uint64_t mmio_read(struct vcpu *vcpu, uint64_t addr, unsigned bytes);
void mmio_write(struct vcpu *vcpu, uint64_t addr, unsigned bytes, uint64_t value);
