// SPDX-License-Identifier: Apache-2.0
// The multiboot2 tag parser, see mb2.h. The tags are foreign bytes: every length is checked against what
// encloses it before it is used, and what is wrong is named. Section numbers are those of the Multiboot2
// specification, version 2.0.
#include "boot/mb2/mb2.h"

#include "boot/memmap.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define MB2_PAGE_BYTES UINT64_C(4096)
#define MB2_CONFIG_NAME "bulkhead.toml"

// Boot information tags (section 3.6).
enum mb2_tag {
	MB2_TAG_END = 0,
	MB2_TAG_CMDLINE = 1,
	MB2_TAG_LOADER = 2,
	MB2_TAG_MODULE = 3,
	MB2_TAG_MMAP = 6,
	MB2_TAG_FRAMEBUFFER = 8,
	MB2_TAG_EFI64 = 12,
	MB2_TAG_RSDP_OLD = 14,
	MB2_TAG_RSDP_NEW = 15,
	MB2_TAG_EFI_MMAP = 17,
	MB2_TAG_EFI_ALIVE = 18,
};

// Bytes of a tag up to and including its fixed part.
enum mb2_tag_bytes {
	MB2_HEAD_BYTES = 8,
	MB2_MODULE_BYTES = 16,
	MB2_MMAP_BYTES = 16,
	MB2_MMAP_ENTRY_BYTES = 24,
	MB2_FRAMEBUFFER_BYTES = 38,
	MB2_EFI64_BYTES = 16,
	MB2_RSDP_OLD_BYTES = MB2_HEAD_BYTES + 20, // ACPI 6.5, section 5.2.5.3: revision 0
	MB2_RSDP_NEW_BYTES = MB2_HEAD_BYTES + 36,
};

enum mb2_mmap_type { MB2_MMAP_USABLE = 1, MB2_MMAP_ACPI = 3, MB2_MMAP_NVS = 4, MB2_MMAP_BAD = 5 };

#define MB2_FRAMEBUFFER_RGB 1u

// One tag: bytes [0, size) are readable, size >= MB2_HEAD_BYTES.
struct tag {
	const uint8_t *at;
	uint32_t type, size;
};

struct parse {
	struct boot_info *out;
	struct tag mmap, efi_mmap, rsdp_old, rsdp_new; // .at == NULL: not seen
	bool efi_alive;                                // boot services were left running
	char *why;
	size_t why_bytes;
};

#define refuse(p, err, ...) (fmt_print((p)->why, (p)->why_bytes, "multiboot2: " __VA_ARGS__), -(err))

static uint64_t address_of(const void *p) { return (uint64_t)(uintptr_t)p; }

// Copies the string that a tag holds from `offset` on; the tag's end bounds it, a missing 0 is forgiven.
static void tag_string(const struct tag *tag, uint32_t offset, char *dst, size_t dst_bytes) {
	size_t len = strnlen((const char *)tag->at + offset, tag->size - offset);
	if (len > dst_bytes - 1) len = dst_bytes - 1;
	memcpy(dst, tag->at + offset, len);
	dst[len] = 0;
}

static int read_module(struct parse *p, const struct tag *tag) {
	struct boot_info *out = p->out;
	if (tag->size < MB2_MODULE_BYTES) return refuse(p, ERR_TRUNC, "a module tag of %u bytes", tag->size);
	const char *name = (const char *)tag->at + MB2_MODULE_BYTES;
	size_t len = strnlen(name, tag->size - MB2_MODULE_BYTES);
	// The name is the first word; what follows it is left for later use.
	for (size_t i = 0; i < len; i++)
		if (name[i] == ' ') len = i;
	if (len == 0) return refuse(p, ERR_FORMAT, "module %u has no name", out->file_count);
	if (len >= BOOT_NAME_BYTES)
		return refuse(p, ERR_RANGE, "module name \"%.*s...\" is longer than %u bytes", 32, name,
		              BOOT_NAME_BYTES - 1);
	uint64_t start = le32(tag->at + 8), end = le32(tag->at + 12);
	if (end < start) return refuse(p, ERR_RANGE, "module \"%.*s\" ends before it starts", (int)len, name);
	if (!is_aligned(start, MB2_PAGE_BYTES))
		return refuse(p, ERR_FORMAT, "module \"%.*s\" is not page aligned", (int)len, name);
	if (out->file_count == BOOT_FILE_MAX)
		return refuse(p, ERR_NOMEM, "more than %u modules (files in the bulkhead folder)", BOOT_FILE_MAX);
	struct boot_file *file = &out->file[out->file_count++];
	*file = (struct boot_file){.base = start, .bytes = end - start};
	memcpy(file->name, name, len);
	return 0;
}

// The colour layouts that the console draws; any other leaves us without a screen, which is no error.
static void read_framebuffer(struct boot_info *out, const struct tag *tag) {
	if (tag->size < MB2_FRAMEBUFFER_BYTES) return;
	const uint8_t *at = tag->at;
	if (at[28] != 32 || at[29] != MB2_FRAMEBUFFER_RGB) return;
	// Field position and size of red, green, blue.
	static const uint8_t xrgb[6] = {16, 8, 8, 8, 0, 8}, xbgr[6] = {0, 8, 8, 8, 16, 8};
	uint32_t format = BOOT_FB_NONE;
	if (memcmp(at + 32, xrgb, sizeof xrgb) == 0) format = BOOT_FB_XRGB8888;
	if (memcmp(at + 32, xbgr, sizeof xbgr) == 0) format = BOOT_FB_XBGR8888;
	uint64_t base = le64(at + 8), pitch = le32(at + 16), width = le32(at + 20), height = le32(at + 24);
	if (format == BOOT_FB_NONE || width == 0 || height == 0 || pitch < width * 4) return;
	if (range_wraps(base, pitch * height)) return;
	out->fb = (struct boot_framebuffer){.base = base,
	                                    .bytes = pitch * height,
	                                    .width = (uint32_t)width,
	                                    .height = (uint32_t)height,
	                                    .pitch = (uint32_t)pitch,
	                                    .format = format};
}

static int read_tag(struct parse *p, const struct tag *tag) {
	switch (tag->type) {
	case MB2_TAG_CMDLINE: tag_string(tag, MB2_HEAD_BYTES, p->out->cmdline, sizeof p->out->cmdline); return 0;
	case MB2_TAG_LOADER: tag_string(tag, MB2_HEAD_BYTES, p->out->loader, sizeof p->out->loader); return 0;
	case MB2_TAG_MODULE: return read_module(p, tag);
	case MB2_TAG_MMAP: p->mmap = *tag; return 0;
	case MB2_TAG_EFI_MMAP: p->efi_mmap = *tag; return 0;
	case MB2_TAG_EFI_ALIVE: p->efi_alive = true; return 0;
	case MB2_TAG_FRAMEBUFFER: read_framebuffer(p->out, tag); return 0;
	case MB2_TAG_EFI64:
		if (tag->size >= MB2_EFI64_BYTES) p->out->efi_system_table = le64(tag->at + 8);
		return 0;
	case MB2_TAG_RSDP_OLD:
		if (tag->size >= MB2_RSDP_OLD_BYTES) p->rsdp_old = *tag;
		return 0;
	case MB2_TAG_RSDP_NEW:
		if (tag->size >= MB2_RSDP_NEW_BYTES) p->rsdp_new = *tag;
		return 0;
	default: return 0; // section 3.6: unknown tags are skipped
	}
}

static int walk_tags(struct parse *p, const uint8_t *tags, uint32_t total) {
	uint32_t offset = 8;
	while (total - offset >= MB2_HEAD_BYTES) {
		struct tag tag = {tags + offset, le32(tags + offset), le32(tags + offset + 4)};
		if (tag.size < MB2_HEAD_BYTES || tag.size > total - offset)
			return refuse(p, ERR_TRUNC, "tag %u at offset %u claims %u bytes", tag.type, offset, tag.size);
		if (tag.type == MB2_TAG_END) return 0;
		int err = read_tag(p, &tag);
		if (err) return err;
		// Tags start at multiples of 8; the padding of the last one may be missing.
		uint64_t step = align_up(tag.size, 8);
		if (step > total - offset) break;
		offset += (uint32_t)step;
	}
	return refuse(p, ERR_TRUNC, "the boot information has no end tag");
}

static enum boot_mem_type mmap_type(uint32_t type) {
	switch (type) {
	case MB2_MMAP_USABLE: return BOOT_MEM_USABLE;
	case MB2_MMAP_ACPI: return BOOT_MEM_ACPI;
	case MB2_MMAP_NVS: return BOOT_MEM_NVS;
	case MB2_MMAP_BAD: return BOOT_MEM_BAD;
	default: return BOOT_MEM_RESERVED;
	}
}

static int add_e820(struct parse *p) {
	const struct tag *tag = &p->mmap;
	uint32_t entry_bytes = tag->size >= MB2_MMAP_BYTES ? le32(tag->at + 8) : 0;
	if (entry_bytes < MB2_MMAP_ENTRY_BYTES || !is_aligned(entry_bytes, 8))
		return refuse(p, ERR_FORMAT, "memory map entries of %u bytes", entry_bytes);
	const uint8_t *at = tag->at + MB2_MMAP_BYTES;
	for (uint32_t left = tag->size - MB2_MMAP_BYTES; left >= entry_bytes;
	     left -= entry_bytes, at += entry_bytes) {
		int err = memmap_add(p->out, le64(at), le64(at + 8), mmap_type(le32(at + 16)));
		if (err)
			return refuse(p, -err, "memory map entry at 0x%llx of 0x%llx bytes: %s",
			              (unsigned long long)le64(at), (unsigned long long)le64(at + 8), err_name(err));
	}
	return 0;
}

// The UEFI map is the finer one, but it is final only once boot services were left.
static int add_memory(struct parse *p) {
	if (p->efi_mmap.at && !p->efi_alive) {
		const struct tag *tag = &p->efi_mmap;
		int err = -ERR_TRUNC;
		if (tag->size >= MB2_MMAP_BYTES)
			err = memmap_add_efi(p->out, tag->at + MB2_MMAP_BYTES, tag->size - MB2_MMAP_BYTES,
			                     le32(tag->at + 8));
		return err ? refuse(p, -err, "the UEFI memory map is unusable: %s", err_name(err)) : 0;
	}
	if (p->mmap.at) return add_e820(p);
	return refuse(p, ERR_NOENT, "the boot loader passed no memory map");
}

static int claim(struct parse *p, const char *what, uint64_t base, uint64_t bytes) {
	int err = memmap_claim(p->out, base, bytes);
	return err ? refuse(p, -err, "cannot reserve %s at 0x%llx: %s", what, (unsigned long long)base,
	                    err_name(err))
	           : 0;
}

static int claim_all(struct parse *p, const void *tags, uint32_t total) {
	int err = claim(p, "the kernel image", p->out->kernel_base, p->out->kernel_bytes);
	if (!err) err = claim(p, "the boot information", address_of(tags), total);
	for (uint32_t i = 0; !err && i < p->out->file_count; i++)
		err = claim(p, p->out->file[i].name, p->out->file[i].base, p->out->file[i].bytes);
	memmap_sort(p->out);
	return err;
}

// bootinfo.h: file 0 is always bulkhead.toml, whatever order the modules came in.
static int config_first(struct parse *p) {
	struct boot_info *out = p->out;
	for (uint32_t i = 0; i < out->file_count; i++) {
		if (strcmp(out->file[i].name, MB2_CONFIG_NAME) != 0) continue;
		struct boot_file config = out->file[i];
		out->file[i] = out->file[0];
		out->file[0] = config;
		return 0;
	}
	return refuse(p, ERR_NOENT, "no module is named %s: is the file in the bulkhead folder?",
	              MB2_CONFIG_NAME);
}

int mb2_to_boot_info(const void *tags, uint64_t tags_bytes_max, uint64_t kernel_phys_base,
                     struct boot_info *out, char *why, size_t why_bytes) {
	struct parse p = {.out = out, .why = why, .why_bytes = why_bytes};
	uint64_t kernel_bytes = out->kernel_bytes, tsc_entry = out->tsc_entry, tsc_handoff = out->tsc_handoff;
	memset(out, 0, sizeof *out);
	out->magic = BOOT_INFO_MAGIC;
	out->version = BOOT_INFO_VERSION;
	out->bytes = sizeof *out;
	out->path = BOOT_PATH_MB2;
	out->secure_boot = BOOT_SECURE_UNKNOWN;
	out->kernel_base = kernel_phys_base;
	out->kernel_bytes = kernel_bytes;
	out->tsc_entry = tsc_entry;
	out->tsc_handoff = tsc_handoff;

	if (kernel_bytes == 0) return refuse(&p, ERR_INVAL, "the length of the kernel image was not given");
	if (tags_bytes_max < 16) return refuse(&p, ERR_TRUNC, "the boot information is out of reach");
	uint32_t total = le32(tags);
	if (total < 16 || total > tags_bytes_max)
		return refuse(&p, ERR_TRUNC, "the boot information claims %u bytes", total);

	int err = walk_tags(&p, tags, total);
	if (!err) err = config_first(&p);
	if (!err) err = add_memory(&p);
	if (!err) err = claim_all(&p, tags, total);
	if (err) return err;
	// The tags carry copies of the RSDP; the newer revision is the better one.
	if (p.rsdp_old.at) out->rsdp = address_of(p.rsdp_old.at + MB2_HEAD_BYTES);
	if (p.rsdp_new.at) out->rsdp = address_of(p.rsdp_new.at + MB2_HEAD_BYTES);
	return 0;
}
