// SPDX-License-Identifier: Apache-2.0
// Checking and laying out the kernel image, see image.h. The file comes from a stick that anyone edits: a
// truncated or overwritten one must end in words.
#include "boot/efi/image.h"

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define IMAGE_PAGE_BYTES UINT64_C(4096)
#define IMAGE_SEGMENTS_MAX 32u

#define refuse(err, ...) (fmt_print(why, why_bytes, __VA_ARGS__), -(err))

static bool overlaps_earlier(const struct elf *elf, uint32_t index, const struct elf_segment *segment) {
	for (uint32_t i = 0; i < index; i++) {
		struct elf_segment other;
		if (elf_segment(elf, i, &other) != 0 || other.type != ELF_SEGMENT_LOAD) continue;
		if (segment->virtual_address < other.virtual_address + other.memory_bytes &&
		    other.virtual_address < segment->virtual_address + segment->memory_bytes)
			return true;
	}
	return false;
}

static int check_segment(struct image *image, uint32_t index, bool *has_entry, char *why, size_t why_bytes) {
	struct elf_segment segment;
	int err = elf_segment(&image->elf, index, &segment);
	if (err == -ERR_TRUNC)
		return refuse(ERR_TRUNC, "segment %u ends after the file: the file is cut short", index);
	if (err) return refuse(-err, "segment %u is malformed", index);
	if (segment.type != ELF_SEGMENT_LOAD || segment.memory_bytes == 0) return 0;
	if (segment.virtual_address < KERNEL_VIRT || segment.memory_bytes > IMAGE_BYTES_MAX ||
	    segment.virtual_address - KERNEL_VIRT > IMAGE_BYTES_MAX - segment.memory_bytes)
		return refuse(ERR_RANGE, "segment %u lies outside the kernel's address range", index);
	if (overlaps_earlier(&image->elf, index, &segment))
		return refuse(ERR_OVERLAP, "segment %u overlaps another", index);
	uint64_t start = segment.virtual_address - KERNEL_VIRT;
	image->bytes = max_u64(image->bytes, align_up(start + segment.memory_bytes, IMAGE_PAGE_BYTES));
	// Code is what the file holds, not the zeroes behind it.
	if ((segment.flags & ELF_FLAG_X) && image->elf.entry >= segment.virtual_address &&
	    image->elf.entry - segment.virtual_address < segment.file_bytes)
		*has_entry = true;
	return 0;
}

int image_check(struct image *image, const struct source *file, char *why, size_t why_bytes) {
	*image = (struct image){0};
	int err = elf_open(&image->elf, file);
	if (err == -ERR_TRUNC)
		return refuse(ERR_TRUNC, "its header tables end after the file: the file is cut short");
	if (err) return refuse(-err, "it is not an ELF file");
	const struct elf *elf = &image->elf;
	// Nothing here needs sections, but their table is the end of the file as the linker writes it: elf_open
	// found it cut off, then more may be missing than segments tell.
	if (elf->sections_offset != 0 && elf->section_count == 0)
		return refuse(ERR_TRUNC, "its section table ends after the file: the file is cut short");
	if (!elf->is64 || elf->machine != ELF_MACHINE_X86_64 || elf->type != ELF_TYPE_EXEC)
		return refuse(ERR_FORMAT, "it is not an x86-64 executable");
	if (elf->segment_count == 0 || elf->segment_count > IMAGE_SEGMENTS_MAX)
		return refuse(ERR_FORMAT, "it has %u segments, expected 1 to %u", elf->segment_count,
		              IMAGE_SEGMENTS_MAX);
	bool has_entry = false;
	for (uint32_t i = 0; i < elf->segment_count; i++) {
		err = check_segment(image, i, &has_entry, why, why_bytes);
		if (err) return err;
	}
	if (!has_entry) return refuse(ERR_RANGE, "its entry point lies in no executable segment");
	image->entry_offset = elf->entry - KERNEL_VIRT;
	return 0;
}

int image_load(const struct image *image, void *dst) {
	memset(dst, 0, image->bytes);
	for (uint32_t i = 0; i < image->elf.segment_count; i++) {
		struct elf_segment segment;
		int err = elf_segment(&image->elf, i, &segment);
		if (err) return err;
		if (segment.type != ELF_SEGMENT_LOAD || segment.memory_bytes == 0) continue;
		uint8_t *to = (uint8_t *)dst + (segment.virtual_address - KERNEL_VIRT);
		err = source_read(image->elf.source, segment.offset, to, segment.file_bytes);
		if (err) return err;
	}
	return 0;
}
