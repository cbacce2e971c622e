// SPDX-License-Identifier: Apache-2.0
// What the loader handed over, whichever protocol it spoke, and where the guest finds itself.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MB1_BOOT_MAGIC 0x2BADB002u
#define MB2_BOOT_MAGIC 0x36D76289u
#define PVH_START_MAGIC 0x336EC578u

extern uint32_t boot_magic, boot_info_addr;

// Multiboot information 1 (Multiboot Specification 0.6.96, 3.3).
struct mb1_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4], mmap_length,
	    mmap_addr;
};
enum { MB1_HAS_MEM = 1, MB1_HAS_CMDLINE = 4, MB1_HAS_MODS = 8, MB1_HAS_MMAP = 64 };

struct mb1_module {
	uint32_t start, end, string, reserved;
};

// One range of the memory map; type 1 is RAM.
struct boot_range {
	uint64_t base, length;
	uint32_t type;
};

// The command line, "" when there is none.
const char *boot_cmdline(void);
// Whether the command line has this word.
bool boot_has_word(const char *word);
// The value after "key=", copied up to the next blank into out; false when there is none.
bool boot_value(const char *key, char *out, unsigned out_bytes);
// Module 0; false when there is none.
bool boot_module(const uint8_t **start, uint32_t *bytes);
// Range number i of the memory map; false past the end.
bool boot_range(unsigned i, struct boot_range *range);

// Which hypervisor's CPUID leaves are there, and what emulates below it (word "host=" of the command line).
bool on_bulkhead(void);
bool on_tcg(void);      // QEMU's TCG is the CPU, directly or under Bulkhead
bool on_bochs(void);    // the same for Bochs
bool on_bare_tcg(void); // the emulator's own chips and MSRs, no Bulkhead
bool on_bare_bochs(void);
bool cpu_is_intel(void);

// Base of the hypervisor leaves with this 12-byte signature (a shorter one is a prefix), 0 when absent.
uint32_t hypervisor_leaf(const char *signature);

bool text_equal(const char *a, const char *b);
