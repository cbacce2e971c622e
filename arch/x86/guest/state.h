// SPDX-License-Identifier: Apache-2.0
// A guest's architectural state in vendor-neutral form: segments as VMCS access rights keep them, control
// registers, and the event record.
#pragma once

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/types.h"

// Code of one instruction as it is fetched: one byte more than it can have.
#define CODE_BYTES 16u

// clang-format off
enum guest_gpr { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP, GPR_RBP, GPR_RSI, GPR_RDI, GPR_R8, GPR_R15 = 15 };
// clang-format on

// x86 encoding order of segment registers, then the two system ones.
enum guest_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

struct guest_segment {
	uint64_t base;
	uint32_t limit;  // bytes, granularity applied
	uint32_t access; // SEG_* bits of arch/x86/cpu/regs.h
	uint16_t selector;
};

struct guest_table {
	uint64_t base;
	uint16_t limit;
};

struct guest_sregs {
	struct guest_segment seg[SEG_COUNT];
	struct guest_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, efer;
};

struct guest_paging {
	uint64_t cr0, cr3, cr4, efer;
	uint64_t rflags;
	uint32_t cs_access;
	uint8_t cpl;
};

enum guest_event_type { // SDM vol. 3, table 24-16, interruption type
	EVENT_IRQ = 0,
	EVENT_NMI = 2,
	EVENT_EXCEPTION = 3,
	EVENT_SOFT_IRQ = 4,
	EVENT_SOFT_EXCEPTION = 6,
};

// What holds events back (SDM vol. 3, table 24-3 "Format of Interruptibility State").
#define GUEST_BLOCK_STI BIT32(0)    // STI has just set IF: one instruction without interrupts
#define GUEST_BLOCK_MOV_SS BIT32(1) // the same after a load of SS, debug exceptions too
#define GUEST_BLOCK_NMI BIT32(3)    // from the delivery of an NMI to its IRET

struct guest_event {
	uint8_t type; // enum guest_event_type
	uint8_t vector;
	bool has_error;
	uint8_t insn_len; // software events: length of the instruction
	uint32_t error;
};
