// SPDX-License-Identifier: Apache-2.0
// Puts a guest's kernel and initrd into its memory and says how its first CPU begins. The kind of kernel is
// told from its bytes alone. Loaders know guest memory only as the caller's map and ops, and files only as
// struct source, so a load can be gone through without a guest (kernel/config_check does, on the host and at
// boot) and the caller may put the copying off until later.
//
// How the kind is told, in this order:
//  1. ELF: with the note "Xen" 18, PVH; else with a multiboot 2 header; else with a multiboot 1 header; else
//     refused.
//  2. The bzImage magic "HdrS" at 0x202 with 0xAA55 at 0x1FE.
//  3. A multiboot 2 header with an address tag, then a multiboot 1 header with address fields (flag 16).
//  4. Flat real-mode code, if it fits between 0x7C00 and the end of low memory.
#pragma once

#include "kernel/lib/source.h"
#include "kernel/lib/types.h"
#include "mm/addr.h"

enum load_kind {
	LOAD_KIND_ELF_PVH,
	LOAD_KIND_MULTIBOOT2,
	LOAD_KIND_MULTIBOOT,
	LOAD_KIND_BZIMAGE,
	LOAD_KIND_FLAT,
};
// "bzImage", "PVH ELF", ...
const char *load_kind_name(enum load_kind kind);

// ---- What the loaders are given ---------------------------------------------------------------------------

// Types as BIOS function E820 numbers them (ACPI 6.4, 15.4).
enum load_range_type { LOAD_RAM = 1, LOAD_RESERVED = 2, LOAD_ACPI = 3, LOAD_NVS = 4, LOAD_UNUSABLE = 5 };
struct load_range {
	uint64_t base, bytes;
	uint32_t type; // enum load_range_type
};
#define LOAD_MAP_MAX 64u

// The memory map of a VM's PC without devices of its own: low memory, the firmware area where its ACPI tables
// lie, RAM up to the device hole at 3 GiB, the rest from 4 GiB on. memory_bytes: a multiple of 4 KiB, at least
// 1 MiB. Returns the number of ranges.
#define LOAD_MAP_STANDARD_MAX 4u
uint32_t load_map_standard(uint64_t memory_bytes, struct load_range map[LOAD_MAP_STANDARD_MAX]);

// Guest memory, already all zero. Each call lies inside RAM ranges of the map. Loaders never read back, so
// the caller may queue calls and do them in order before the guest starts. 0 or a negative error, which ends
// the load.
struct load_ops {
	int (*write)(void *context, gpa_t at, const void *bytes, size_t len); // small; bytes go away after it
	int (*zero)(void *context, gpa_t at, uint64_t len);
	int (*copy)(void *context, gpa_t at, const struct source *file, uint64_t offset, uint64_t len);
};

struct load_request {
	const struct source *kernel;
	const struct source *initrd;  // NULL: none
	const char *initrd_name;      // the module's string for PVH and multiboot; not NULL
	const char *cmdline;          // not NULL
	const struct load_range *map; // what the guest is told: sorted, disjoint, neighbours of one type merged
	uint32_t map_count;           // at most LOAD_MAP_MAX
	gpa_t rsdp;                   // 0: no ACPI
	const void *rsdp_bytes;       // a copy of the RSDP for multiboot 2, NULL: none
	uint32_t rsdp_len;
	const struct load_ops *ops;
	void *context; // for ops
};

// ---- What they give ---------------------------------------------------------------------------------------

enum load_mode {
	LOAD_MODE_REAL,        // segments 0, base 0, limit 0xFFFF
	LOAD_MODE_PROTECTED32, // paging off; flat 4 GiB 32-bit code and data segments
	LOAD_MODE_LONG64,      // paging on; flat 64-bit code, flat data
};

struct load_entry {
	enum load_kind kind;
	enum load_mode mode;
	uint64_t rip, rflags;
	uint64_t rax, rbx, rcx, rdx, rsp, rbp, rsi, rdi; // r8 to r15 are 0
	uint64_t cr0, cr3, cr4, efer;
	uint16_t code_selector, data_selector; // CS; DS ES SS FS GS
	gpa_t gdt; // in guest memory, with these two selectors in it; limit 0: none was written
	uint16_t gdt_limit;
};

// What a refusal is about, so that the configuration's line can be named.
enum load_blame { LOAD_BLAME_KERNEL, LOAD_BLAME_INITRD, LOAD_BLAME_CMDLINE, LOAD_BLAME_MEMORY };
struct load_why {
	enum load_blame blame;
	char text[224]; // one sentence without the file's name
};

// Both return 0 or a negative error with *why filled: -ERR_FORMAT, -ERR_TRUNC (kernel), -ERR_NOMEM (memory),
// -ERR_UNSUP (a feature the image demands), or what a source or an op returned.
__must_check int load_probe(const struct source *kernel, enum load_kind *kind, struct load_why *why);
__must_check int load_guest(const struct load_request *request, struct load_entry *entry,
                            struct load_why *why);
