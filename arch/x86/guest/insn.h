// SPDX-License-Identifier: Apache-2.0
// Completing a guest's instruction in software: lengths where the CPU does not tell, and the emulator
// connected to the vCPU for MMIO, string I/O and whatever else exits without decode help.
#pragma once

#include "arch/x86/guest/vcpu.h"

// Moves past the exiting instruction. Without a length from the CPU the instruction is fetched and
// decoded; when that faults, the fault is raised instead (the guest changed its code or tables in between).
void guest_skip(struct vcpu *vcpu, const struct exit *exit);
// Fetches, decodes and executes the instruction at RIP. A fault it takes is raised; what cannot be emulated
// stops the VM with the bytes in the report.
void guest_emulate(struct vcpu *vcpu);
// The same after a nested fault at `device_gpa`, which is no memory: its translation is not made twice.
void guest_emulate_device(struct vcpu *vcpu, uint64_t device_gpa);
// Fetch and decode only, for handlers that look at the instruction themselves. False: a fault was raised or
// the VM stopped; the handler returns.
bool guest_decode(struct vcpu *vcpu, struct emul_insn *insn);
// The instruction's memory operand as data, all checks and faults of the guest's own access made. False: a
// fault was raised.
bool guest_operand_read(struct vcpu *vcpu, const struct emul_insn *insn, void *dst, unsigned bytes);
bool guest_operand_write(struct vcpu *vcpu, const struct emul_insn *insn, const void *src, unsigned bytes);
// Reads to dst, or writes from src when that is not NULL: up to a page at the linear address, whose upper half is
// ignored, at privilege level `cpl`; 0 also for the CPU's own accesses to its tables. False: a fault was raised.
bool guest_linear_access(struct vcpu *vcpu, uint64_t linear, void *dst, const void *src, unsigned bytes,
                         uint8_t cpl);
