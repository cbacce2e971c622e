// SPDX-License-Identifier: Apache-2.0
// What a boot path (boot/efi, boot/mb2) hands to the kernel. One versioned, self-contained record:
// fixed-width fields, physical addresses, no pointers; compiled by the 64-bit loader and the kernel.
//
// Entry contract (both paths end here, at the ELF entry point `entry`, arch/x86/cpu/entry.asm):
//  - 64-bit long mode, 4- or 5-level paging, interrupts off, any stack;
//  - an identity mapping that covers the kernel image, this record and everything below 4 GiB;
//  - RDI = physical address of struct boot_info, RSI = BOOT_INFO_MAGIC;
//  - the kernel ELF's PT_LOAD segments copied to phys_base + (p_vaddr - KERNEL_VIRT), bss zeroed,
//    phys_base 2 MiB aligned, anywhere in physical memory.
// Everything down to `fb` keeps its place in every version: a kernel that does not fit says so on the screen.
// The record and all it names lie in ranges of type BOOT_MEM_LOADER. The kernel checks every field
// on entry (kernel/bootcheck) and refuses what is inconsistent, by name.
#pragma once

#include <stdint.h>

#define BOOT_INFO_MAGIC 0x31494244484b4c42u // "BLKHDBI1" read as little-endian bytes
#define BOOT_INFO_VERSION 1u

#define KERNEL_VIRT 0xffffffff80000000u

#define BOOT_MEM_MAX 512u
#define BOOT_FILE_MAX 64u
#define BOOT_NAME_BYTES 96u
#define BOOT_CMDLINE_BYTES 1024u

enum boot_path { BOOT_PATH_EFI = 1, BOOT_PATH_MB2 = 2 };

enum boot_mem_type {
	BOOT_MEM_USABLE = 1,   // free RAM, ours (EFI: conventional and boot-services memory)
	BOOT_MEM_RESERVED = 2, // never touched
	BOOT_MEM_ACPI = 3,     // ACPI tables: read, never handed out
	BOOT_MEM_NVS = 4,      // ACPI NVS: never touched
	BOOT_MEM_BAD = 5,
	BOOT_MEM_RUNTIME = 6, // EFI runtime code and data
	BOOT_MEM_LOADER = 7,  // kernel image, boot_info, files, loader page tables
	BOOT_MEM_MMIO = 8,
};

struct boot_mem {
	uint64_t base;  // bytes, any alignment; ranges may come unsorted
	uint64_t bytes; // > 0
	uint32_t type;  // enum boot_mem_type
	uint32_t reserved;
};

struct boot_file {
	uint64_t base;              // physical, page aligned
	uint64_t bytes;             // exact length of the file
	char name[BOOT_NAME_BYTES]; // path relative to bulkhead.toml, '/' separators, 0-terminated
};

enum boot_fb_format { BOOT_FB_NONE = 0, BOOT_FB_XRGB8888 = 1, BOOT_FB_XBGR8888 = 2 };

struct boot_framebuffer {
	uint64_t base; // physical, may be above 4 GiB
	uint64_t bytes;
	uint32_t width, height; // pixels
	uint32_t pitch;         // bytes per line
	uint32_t format;        // enum boot_fb_format
};

enum boot_secure { BOOT_SECURE_UNKNOWN = 0, BOOT_SECURE_OFF = 1, BOOT_SECURE_ON = 2, BOOT_SECURE_SETUP = 3 };

struct boot_info {
	uint64_t magic;            // BOOT_INFO_MAGIC
	uint32_t version;          // BOOT_INFO_VERSION
	uint32_t bytes;            // sizeof(struct boot_info)
	uint32_t path;             // enum boot_path
	uint32_t secure_boot;      // enum boot_secure
	uint64_t rsdp;             // physical address of the RSDP, 0 when the boot path found none
	uint64_t kernel_base;      // physical base of the kernel image (phys_base above)
	uint64_t kernel_bytes;     // image length, bss included
	uint64_t efi_system_table; // physical, 0 when unknown; informational
	uint64_t tsc_entry;        // TSC when the loader started (0: not taken)
	uint64_t tsc_handoff;      // TSC just before entering the kernel
	struct boot_framebuffer fb;
	uint32_t mem_count;
	uint32_t file_count;              // file 0 is always "bulkhead.toml"
	char loader[64];                  // "bulkhead-efi 1", "GRUB 2.06", for the log
	char cmdline[BOOT_CMDLINE_BYTES]; // options for the hypervisor itself ("" by EFI without options)
	struct boot_mem mem[BOOT_MEM_MAX];
	struct boot_file file[BOOT_FILE_MAX];
};

_Static_assert(sizeof(struct boot_mem) == 24, "boot_mem layout");
_Static_assert(sizeof(struct boot_file) == 112, "boot_file layout");
_Static_assert(sizeof(struct boot_framebuffer) == 32, "boot_framebuffer layout");
_Static_assert(sizeof(struct boot_info) == 72 + 32 + 8 + 64 + 1024 + 512 * 24 + 64 * 112, "boot_info layout");
