// SPDX-License-Identifier: Apache-2.0
// Multiboot2 Specification 2.0: header and its tags in the first 32 KiB (section 3.1), machine state of
// section 3.3 "I386 machine state", boot information of section 3.6.
#include "kernel/load/multiboot2.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/load/elfimage.h"
#include "kernel/load/multiboot.h"

#define HEADER_MAGIC 0xe85250d6u
#define BOOT_MAGIC 0x36d76289u
#define HEADER_LIMIT 32768u
#define HEADER_BYTES 16u
#define ARCHITECTURE_I386 0u
#define LOADER_NAME "Bulkhead"
#define TAG_ALIGN 8u

enum header_tag {
	WANT_END = 0,
	WANT_INFORMATION = 1,
	WANT_ADDRESS = 2,
	WANT_ENTRY = 3,
	WANT_CONSOLE = 4,
	WANT_FRAMEBUFFER = 5,
	WANT_MODULE_ALIGN = 6,
	WANT_EFI_BOOT_SERVICES = 7,
	WANT_EFI_ENTRY_I386 = 8,
	WANT_EFI_ENTRY_AMD64 = 9,
	WANT_RELOCATABLE = 10,
};
#define TAG_OPTIONAL 1u
#define CONSOLE_REQUIRED 1u

enum info_tag {
	INFO_END = 0,
	INFO_CMDLINE = 1,
	INFO_LOADER_NAME = 2,
	INFO_MODULE = 3,
	INFO_BASIC_MEMORY = 4,
	INFO_MAP = 6,
	INFO_RSDP_OLD = 14,
	INFO_RSDP_NEW = 15,
	INFO_LOAD_BASE = 21,
	INFO_LAST_KNOWN = 21,
};
#define MAP_ENTRY_BYTES 24u
#define RSDP_OLD_BYTES 20u // without the ACPI 2.0 fields

struct header {
	uint64_t offset, bytes;
	bool has_addresses, has_entry;
	struct multiboot_addresses addresses;
	uint32_t entry;
};

// The fixed part; -ERR_NOENT when there is no header with a right checksum whose tags end in the file.
static int find_header(const struct source *kernel, struct header *header) {
	uint8_t raw[HEADER_BYTES];

	*header = (struct header){0};
	for (;; header->offset += TAG_ALIGN) {
		int rc = load_find_magic(kernel, HEADER_MAGIC, TAG_ALIGN, HEADER_LIMIT, &header->offset);

		if (rc == 0) rc = source_read(kernel, header->offset, raw, sizeof raw);
		if (rc != 0) return rc == -ERR_TRUNC ? -ERR_NOENT : rc;
		uint32_t architecture = le32(raw + 4), bytes = le32(raw + 8), checksum = le32(raw + 12);

		if (architecture != ARCHITECTURE_I386 || HEADER_MAGIC + architecture + bytes + checksum != 0)
			continue;
		if (bytes < HEADER_BYTES || bytes > min_u64(HEADER_LIMIT, kernel->bytes) - header->offset) continue;
		header->bytes = bytes;
		return 0;
	}
}

// Every type up to INFO_LAST_KNOWN is understood; what the VM does not have is left out (section 3.1.5).
static bool information_known(const struct source *kernel, uint64_t at, uint32_t bytes) {
	for (uint32_t i = 8; i + 4 <= bytes; i += 4) {
		uint8_t type[4];

		if (source_read(kernel, at + i, type, sizeof type) != 0 || le32(type) > INFO_LAST_KNOWN) return false;
	}
	return true;
}

// Takes in one tag. -ERR_UNSUP when it must be obeyed and cannot, -ERR_FORMAT when it is too short.
static int header_tag(const struct source *kernel, uint64_t at, const uint8_t raw[24], uint32_t bytes,
                      struct header *header) {
	bool optional = (le16(raw + 2) & TAG_OPTIONAL) != 0;

	switch (le16(raw)) {
	case WANT_INFORMATION: return optional || information_known(kernel, at, bytes) ? 0 : -ERR_UNSUP;
	case WANT_ADDRESS:
		if (bytes < 24) return -ERR_FORMAT;
		header->has_addresses = true;
		header->addresses = (struct multiboot_addresses){.header = le32(raw + 8),
		                                                 .load = le32(raw + 12),
		                                                 .load_end = le32(raw + 16),
		                                                 .bss_end = le32(raw + 20),
		                                                 .header_offset = header->offset};
		return 0;
	case WANT_ENTRY:
		if (bytes < 12) return -ERR_FORMAT;
		header->has_entry = true;
		header->entry = le32(raw + 8);
		return 0;
	case WANT_CONSOLE:
		if (bytes < 12) return -ERR_FORMAT;
		return optional || (le32(raw + 8) & CONSOLE_REQUIRED) == 0 ? 0 : -ERR_UNSUP;
	case WANT_MODULE_ALIGN:    // modules are page aligned anyway
	case WANT_EFI_ENTRY_I386:  // used by EFI boots only
	case WANT_EFI_ENTRY_AMD64: // likewise
	case WANT_RELOCATABLE:     // a permission, not a demand
		return 0;
	default: // framebuffer, EFI boot services, what later versions add
		return optional ? 0 : -ERR_UNSUP;
	}
}

static int read_tags(const struct source *kernel, struct header *header, unsigned *type) {
	uint64_t at = header->offset + HEADER_BYTES, end = header->offset + header->bytes;

	while (end - at >= 8) {
		uint8_t raw[24] = {0};
		int rc = source_read(kernel, at, raw, (size_t)min_u64(sizeof raw, end - at));
		uint32_t bytes = le32(raw + 4);

		if (rc != 0) return rc;
		*type = le16(raw);
		if (*type == WANT_END) return 0;
		if (bytes < 8 || bytes > end - at) return -ERR_FORMAT;
		rc = header_tag(kernel, at, raw, bytes, header);
		if (rc != 0) return rc;
		uint64_t step = align_up(bytes, TAG_ALIGN);
		if (step > end - at) break;
		at += step;
	}
	*type = WANT_END; // the end tag is missing
	return -ERR_FORMAT;
}

bool multiboot2_probe(const struct source *kernel, bool addressed) {
	struct header header;
	unsigned type;

	if (find_header(kernel, &header) != 0) return false;
	return !addressed || (read_tags(kernel, &header, &type) == 0 && header.has_addresses);
}

static int load_image(struct load_job *job, struct load_entry *entry, uint64_t *lowest) {
	const struct source *kernel = job->request->kernel;
	struct header header;
	unsigned type = 0;
	struct elf elf;

	if (find_header(kernel, &header) != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "has no multiboot 2 header");
	int rc = read_tags(kernel, &header, &type);
	if (rc == -ERR_UNSUP)
		return load_fail(job->why, LOAD_BLAME_KERNEL, rc,
		                 "demands what a VM does not have: multiboot 2 header tag %u (%s)", type,
		                 type == WANT_FRAMEBUFFER         ? "framebuffer"
		                 : type == WANT_CONSOLE           ? "console"
		                 : type == WANT_INFORMATION       ? "information request"
		                 : type == WANT_EFI_BOOT_SERVICES ? "EFI boot services"
		                                                  : "unknown");
	if (rc != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, rc, "has a damaged multiboot 2 header (tag %u)", type);
	if (header.has_addresses) {
		if (!header.has_entry)
			return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
			                 "has a multiboot 2 address tag without an entry address tag");
		entry->rip = header.entry;
		*lowest = header.addresses.load;
		return multiboot_load_addressed(job, &header.addresses);
	}
	rc = elfimage_open(job, &elf);
	if (rc == 0) rc = elfimage_load(job, &elf, lowest);
	if (rc != 0 || !header.has_entry) return rc != 0 ? rc : elfimage_entry(job, &elf, &entry->rip);
	entry->rip = header.entry;
	return elfimage_check_entry(job, &elf, entry->rip);
}

// ---- boot information: written tag by tag at a cursor ------------------------------------------------------

struct cursor {
	struct load_job *job;
	uint64_t at;
};

// A tag of `fixed` bytes of payload followed by `more` bytes.
static int put_tag(struct cursor *cursor, uint32_t type, const void *fixed, size_t fixed_len,
                   const void *more, size_t more_len) {
	uint8_t head[8];
	int rc;

	put_le32(head, type);
	put_le32(head + 4, (uint32_t)(sizeof head + fixed_len + more_len));
	rc = job_write(cursor->job, cursor->at, head, sizeof head);
	if (rc == 0 && fixed_len != 0) rc = job_write(cursor->job, cursor->at + sizeof head, fixed, fixed_len);
	if (rc == 0 && more_len != 0)
		rc = job_write(cursor->job, cursor->at + sizeof head + fixed_len, more, more_len);
	cursor->at += align_up(sizeof head + fixed_len + more_len, TAG_ALIGN);
	return rc;
}

static uint64_t tag_bytes(uint64_t payload) { return align_up(8 + payload, TAG_ALIGN); }

static uint64_t info_bytes(const struct load_request *request) {
	return 8 + tag_bytes(strlen(request->cmdline) + 1) + tag_bytes(sizeof LOADER_NAME) +
	       tag_bytes(8 + strlen(request->initrd_name) + 1) + tag_bytes(8) +
	       tag_bytes(8 + (uint64_t)request->map_count * MAP_ENTRY_BYTES) + tag_bytes(RSDP_OLD_BYTES) +
	       tag_bytes(request->rsdp_len) + tag_bytes(4) + tag_bytes(0);
}

static int put_map(struct cursor *cursor) {
	const struct load_request *request = cursor->job->request;
	uint8_t head[16], raw[MAP_ENTRY_BYTES] = {0};

	put_le32(head, INFO_MAP);
	put_le32(head + 4, (uint32_t)sizeof head + request->map_count * MAP_ENTRY_BYTES);
	put_le32(head + 8, MAP_ENTRY_BYTES);
	put_le32(head + 12, 0); // entry version
	int rc = job_write(cursor->job, cursor->at, head, sizeof head);

	cursor->at += sizeof head;
	for (uint32_t i = 0; rc == 0 && i < request->map_count; i++, cursor->at += sizeof raw) {
		put_le64(raw, request->map[i].base);
		put_le64(raw + 8, request->map[i].bytes);
		put_le32(raw + 16, request->map[i].type);
		rc = job_write(cursor->job, cursor->at, raw, sizeof raw);
	}
	return rc;
}

static int put_rsdp(struct cursor *cursor) {
	const struct load_request *request = cursor->job->request;

	if (request->rsdp_bytes == NULL || request->rsdp_len < RSDP_OLD_BYTES) return 0;
	int rc = put_tag(cursor, INFO_RSDP_OLD, request->rsdp_bytes, RSDP_OLD_BYTES, NULL, 0);
	if (rc != 0 || request->rsdp_len == RSDP_OLD_BYTES) return rc;
	return put_tag(cursor, INFO_RSDP_NEW, request->rsdp_bytes, request->rsdp_len, NULL, 0);
}

static int put_info(struct load_job *job, uint64_t module, uint64_t module_bytes, uint64_t lowest,
                    uint64_t *base) {
	const struct load_request *request = job->request;
	uint32_t memory[2], modules[2] = {(uint32_t)module, (uint32_t)(module + module_bytes)};
	uint32_t load_base = (uint32_t)lowest;
	int rc = job_place_small(job, info_bytes(request), "the multiboot information", base);
	struct cursor cursor = {job, *base + 8};

	if (rc != 0) return rc;
	multiboot_basic_memory(job, &memory[0], &memory[1]);
	rc = put_tag(&cursor, INFO_CMDLINE, request->cmdline, strlen(request->cmdline) + 1, NULL, 0);
	if (rc == 0) rc = put_tag(&cursor, INFO_LOADER_NAME, LOADER_NAME, sizeof LOADER_NAME, NULL, 0);
	if (rc == 0 && module_bytes != 0)
		rc = put_tag(&cursor, INFO_MODULE, modules, sizeof modules, request->initrd_name,
		             strlen(request->initrd_name) + 1);
	if (rc == 0) rc = put_tag(&cursor, INFO_BASIC_MEMORY, memory, sizeof memory, NULL, 0);
	if (rc == 0) rc = put_map(&cursor);
	if (rc == 0) rc = put_rsdp(&cursor);
	if (rc == 0) rc = put_tag(&cursor, INFO_LOAD_BASE, &load_base, sizeof load_base, NULL, 0);
	if (rc == 0) rc = put_tag(&cursor, INFO_END, NULL, 0, NULL, 0);
	if (rc != 0) return rc;

	uint32_t head[2] = {(uint32_t)(cursor.at - *base), 0};
	return job_write(job, *base, head, sizeof head);
}

int multiboot2_load(struct load_job *job, struct load_entry *entry) {
	uint64_t lowest = 0, module, module_bytes, base;
	int rc = load_image(job, entry, &lowest);

	if (rc == 0) rc = job_place_initrd(job, LOAD_LAST_32BIT, &module, &module_bytes);
	if (rc == 0) rc = put_info(job, module, module_bytes, lowest, &base);
	if (rc != 0) return rc;

	entry->mode = LOAD_MODE_PROTECTED32;
	entry->rax = BOOT_MAGIC;
	entry->rbx = base;
	entry->cr0 = CR0_PE | CR0_ET;
	return 0;
}
