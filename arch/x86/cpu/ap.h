// SPDX-License-Identifier: Apache-2.0
// What the trampoline (ap.asm) is given: a CPU that gets a STARTUP interrupt ends in entry(cpu) with paging on and on a
// stack of its own.
#pragma once

#include "kernel/lib/types.h"

// Known to ap.asm. It is laid out there with offsets from the page; ap_params_place adds where the page is.
struct __packed ap_params {
	uint64_t entry;   // noreturn function(uint64_t cpu)
	uint64_t stack;   // top, 16-byte aligned
	uint64_t cpu;     // id, entry's argument
	uint32_t cr0;     // with PG and PE
	uint32_t cr3;     // a root below 4 GiB that maps the page one to one
	uint32_t cr4;     // PAE, and LA57 with 5 levels
	uint32_t efer;    // LME, and NXE when the tables have it
	uint32_t apic_id; // another CPU that comes here halts
	uint32_t far32_offset, far32_selector;
	uint32_t far64_offset, far64_selector;
	uint16_t gdt_limit;
	uint32_t gdt_base;
};

extern const unsigned char ap_trampoline_start[], ap_trampoline_params[], ap_trampoline_end[];
