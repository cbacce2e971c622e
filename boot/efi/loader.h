// SPDX-License-Identifier: Apache-2.0
// What the parts of BOOTX64.EFI share: the loader's state, its memory, its words. Everything runs on the
// boot CPU under UEFI boot services until handoff() has left them. Functions return an EFI_STATUS and have
// printed the reason themselves (once, where it arose) when that is an error.
#pragma once

#include <efi.h>

#include "boot/efi/image.h"
#include "kernel/abi/bootinfo.h"
#include "kernel/lib/types.h"

#define LOADER_NAME "bulkhead-efi 1"
#define LOADER_FOLDER "\\bulkhead\\"
#define LOADER_CONFIG "bulkhead.toml"
#define LOADER_KERNEL "bulkhead.elf"
#define LOADER_OPTIONS                                                                                       \
	"options.txt" // words for the hypervisor itself (kernel/option.h); most volumes have none

#define LOADER_SPAN_MAX (BOOT_FILE_MAX + 8u)

// Pages that this loader allocated.
struct loader_span {
	uint64_t base, pages;
	bool keep; // the kernel gets them: BOOT_MEM_LOADER in its memory map
};

struct loader {
	EFI_HANDLE image;
	EFI_SYSTEM_TABLE *system;
	EFI_BOOT_SERVICES *boot;
	EFI_LOADED_IMAGE *self;
	EFI_FILE_HANDLE root; // of the volume that this loader came from
	struct boot_info *info;
	uint64_t entry; // physical address of the kernel's entry point
	uint32_t span_count;
	struct loader_span span[LOADER_SPAN_MAX];
};

// ---- say.c: the UEFI console, and COM1 unless the console already goes there --------------------
void say_init(EFI_SYSTEM_TABLE *system);
// One line, "bulkhead-efi: " before it.
void say(const char *format, ...) __printf_like(1, 2);
// The last line, where no way leads back: on COM1, which needs no firmware; then, when `console`, on the UEFI
// console as well, which may not come back. Stops the machine.
noreturn void say_last(bool console, const char *format, ...) __printf_like(2, 3);
// What a status means, in words; never NULL.
const char *say_status(EFI_STATUS status);
// Waits for a key, at most 10 seconds.
void say_wait(EFI_SYSTEM_TABLE *system);

// ---- memory.c --------------------------------------------------------------------------------------
// Boot services run with memory mapped one to one (UEFI 2.10, 2.3.4): all casts between the two stand here.
static inline void *memory_at(uint64_t address) { return (void *)(uintptr_t)address; }
static inline uint64_t memory_address(const void *at) { return (uint64_t)(uintptr_t)at; }

// Pages of EfiLoaderData, `align_pages` (a power of two) aligned, below 4 GiB when there is room; recorded in
// loader->span. `what` names them in the error line; NULL: none is said.
EFI_STATUS memory_take(struct loader *loader, uint64_t pages, uint64_t align_pages, bool low, bool keep,
                       const char *what, uint64_t *base);
// Gives back everything that memory_take took, or what was taken since span_count was `first`.
void memory_release(struct loader *loader, uint32_t first);
// info->mem from a UEFI memory map, with all kept spans claimed. 0 or a negative enum err.
__must_check int memory_map_build(struct loader *loader, const void *map, uint64_t map_bytes,
                                  uint64_t descriptor_bytes);

// ---- volume.c --------------------------------------------------------------------------------------
EFI_STATUS volume_open(struct loader *loader);
struct volume_file {
	uint64_t base, bytes;
};
// Reads the whole file (a name of boot_info, relative to the bulkhead folder) into pages of its own.
// EFI_NOT_FOUND without a word when there is no such file or it is a directory.
EFI_STATUS volume_read(struct loader *loader, const char *name, bool keep, struct volume_file *file);

// ---- firmware.c: what the firmware knows, into loader->info --------------------------------------
void firmware_read(struct loader *loader);

// ---- handoff.c -------------------------------------------------------------------------------------
// Leaves boot services and enters the kernel. Returns only before the point of no return.
EFI_STATUS handoff(struct loader *loader);
