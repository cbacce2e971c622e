// SPDX-License-Identifier: Apache-2.0
// BOOTX64.EFI: reads bulkhead.toml, the kernel and every file the configuration names from the volume it was
// started from, and enters the kernel with struct boot_info. What stops it is said in one line that names the
// file, then the firmware gets control back with an error. Judging the configuration and the CPU is the
// kernel's business; this loader only finds, reads and hands over.
#include <efi.h>

#include "boot/efi/insn.h"
#include "boot/efi/loader.h"
#include "boot/efi/names.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

// UEFI 2.0: the oldest with the Graphics Output Protocol and x64.
#define FIRMWARE_REVISION_MIN (2u << 16)
#define CONFIG_BYTES_MAX MIB
#define KERNEL_ALIGN_PAGES (2 * MIB / EFI_PAGE_SIZE)

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static EFI_STATUS take_info(struct loader *loader, uint64_t tsc_entry) {
	uint64_t at, pages = (sizeof(struct boot_info) + EFI_PAGE_SIZE - 1) / EFI_PAGE_SIZE;
	EFI_STATUS status = memory_take(loader, pages, 1, true, true, "the boot record", &at);
	if (EFI_ERROR(status)) return status;
	struct boot_info *info = memory_at(at);
	memset(info, 0, pages * EFI_PAGE_SIZE);
	info->magic = BOOT_INFO_MAGIC;
	info->version = BOOT_INFO_VERSION;
	info->bytes = sizeof *info;
	info->path = BOOT_PATH_EFI;
	info->tsc_entry = tsc_entry;
	memcpy(info->loader, LOADER_NAME, sizeof LOADER_NAME);
	loader->info = info;
	return EFI_SUCCESS;
}

static EFI_STATUS read_needed(struct loader *loader, const char *name, bool keep, struct volume_file *file) {
	EFI_STATUS status = volume_read(loader, name, keep, file);
	if (status == EFI_NOT_FOUND) say("\\bulkhead\\%s is not on this volume", name);
	return status;
}

static EFI_STATUS load_kernel(struct loader *loader) {
	struct volume_file file;
	struct image image;
	char why[128];
	uint64_t base;
	uint32_t spans = loader->span_count;
	EFI_STATUS status = read_needed(loader, LOADER_KERNEL, false, &file);
	if (EFI_ERROR(status)) return status;
	struct source source = source_memory(memory_at(file.base), file.bytes);
	int err = image_check(&image, &source, why, sizeof why);
	if (err) {
		say("%s: %s", LOADER_KERNEL, why);
		return EFI_LOAD_ERROR;
	}
	status = memory_take(loader, image.bytes / EFI_PAGE_SIZE, KERNEL_ALIGN_PAGES, true, true, LOADER_KERNEL,
	                     &base);
	if (EFI_ERROR(status)) return status;
	err = image_load(&image, memory_at(base));
	if (err) {
		say("%s: it changed while it was read", LOADER_KERNEL);
		return EFI_LOAD_ERROR;
	}
	loader->info->kernel_base = base;
	loader->info->kernel_bytes = image.bytes;
	loader->entry = base + image.entry_offset;
	// The file's own pages are not needed any more: they are the first span of the two.
	loader->boot->FreePages(loader->span[spans].base, loader->span[spans].pages);
	loader->span[spans] = loader->span[--loader->span_count];
	return EFI_SUCCESS;
}

static bool have_file(const struct boot_info *info, const char *name) {
	for (uint32_t i = 0; i < info->file_count; i++)
		if (strcmp(info->file[i].name, name) == 0) return true;
	return false;
}

static void add_file(struct boot_info *info, const char *name, const struct volume_file *file) {
	struct boot_file *slot = &info->file[info->file_count++];
	slot->base = file->base;
	slot->bytes = file->bytes;
	str_copy(slot->name, sizeof slot->name, name);
}

// A file of boot_info, when the volume has it: not every name that was tried is a file.
static EFI_STATUS load_file(struct loader *loader, const char *name, uint64_t *total) {
	struct volume_file file;
	struct boot_info *info = loader->info;
	if (have_file(info, name)) return EFI_SUCCESS;
	EFI_STATUS status = volume_read(loader, name, true, &file);
	if (status == EFI_NOT_FOUND) return EFI_SUCCESS;
	if (EFI_ERROR(status)) return status;
	if (info->file_count == BOOT_FILE_MAX) {
		say("%s names more than %u files", LOADER_CONFIG, BOOT_FILE_MAX - 1);
		return EFI_OUT_OF_RESOURCES;
	}
	add_file(info, name, &file);
	*total += file.bytes;
	return EFI_SUCCESS;
}

static EFI_STATUS load_files(struct loader *loader, uint64_t *total) {
	struct volume_file config;
	struct names names;
	char name[BOOT_NAME_BYTES];
	struct boot_info *info = loader->info;
	EFI_STATUS status = read_needed(loader, LOADER_CONFIG, true, &config);
	if (EFI_ERROR(status)) return status;
	if (config.bytes > CONFIG_BYTES_MAX) {
		say("%s: %llu bytes is no configuration (at most 1 MiB)", LOADER_CONFIG,
		    (unsigned long long)config.bytes);
		return EFI_LOAD_ERROR;
	}
	add_file(info, LOADER_CONFIG, &config);
	*total = config.bytes;
	names_init(&names, memory_at(config.base), config.bytes);
	status = load_file(loader, LOADER_OPTIONS, total);
	while (!EFI_ERROR(status) && names_next(&names, name)) status = load_file(loader, name, total);
	return status;
}

static EFI_STATUS load_all(struct loader *loader, uint64_t tsc_entry) {
	EFI_STATUS status = volume_open(loader);
	if (!EFI_ERROR(status)) status = take_info(loader, tsc_entry);
	if (!EFI_ERROR(status)) status = load_kernel(loader);
	uint64_t total = 0;
	if (!EFI_ERROR(status)) status = load_files(loader, &total);
	if (EFI_ERROR(status)) return status;
	firmware_read(loader);
	say("kernel %llu KiB, %u files, %llu KiB", (unsigned long long)(loader->info->kernel_bytes / KIB),
	    loader->info->file_count, (unsigned long long)((total + KIB - 1) / KIB));
	return handoff(loader);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
	uint64_t tsc_entry = insn_rdtsc();
	struct loader loader = {.image = image, .system = system, .boot = system->BootServices};
	EFI_STATUS status = EFI_UNSUPPORTED;
	say_init(system);
	// The boot manager's watchdog would reset the machine while a slow stick is read.
	loader.boot->SetWatchdogTimer(0, 0, 0, NULL);
	if (system->Hdr.Revision < FIRMWARE_REVISION_MIN)
		// Before 2.0 the lower half was the minor number as it is written: 1.02, 1.10.
		say("this firmware is too old: EFI %u.%02u, needed is UEFI 2.0", system->Hdr.Revision >> 16,
		    system->Hdr.Revision & 0xffff);
	else
		status = load_all(&loader, tsc_entry);
	memory_release(&loader, 0);
	if (loader.root) loader.root->Close(loader.root);
	say_wait(system);
	return status;
}
