// SPDX-License-Identifier: Apache-2.0
// ELF reading. Field offsets are those of the gABI's Elf32_* and Elf64_* structures, written down as
// tables of offsets so that one code path reads both classes.
#include "kernel/lib/elf.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/range.h"
#include "kernel/lib/string.h"

enum {
	IDENT_CLASS = 4,
	IDENT_DATA = 5,
	IDENT_VERSION = 6,
	CLASS_32 = 1,
	CLASS_64 = 2,
	DATA_LITTLE = 1,
	VERSION_CURRENT = 1,
	HEADER_MAX = 64,
	SEGMENT_MAX = 56,
	SECTION32_BYTES = 40,
	SECTION64_BYTES = 64,
	SEGMENT_COUNT_LIMIT = 256,
};

struct header_layout {
	uint8_t bytes, entry, phoff, shoff, phentsize, phnum, shentsize, shnum;
};
static const struct header_layout header32 = {52, 24, 28, 32, 42, 44, 46, 48};
static const struct header_layout header64 = {64, 24, 32, 40, 54, 56, 58, 60};

struct segment_layout {
	uint8_t bytes, flags, offset, vaddr, paddr, filesz, memsz, align;
};
static const struct segment_layout segment32 = {32, 24, 4, 8, 12, 16, 20, 28};
static const struct segment_layout segment64 = {56, 4, 8, 16, 24, 32, 40, 48};

static uint64_t word(const struct elf *elf, const uint8_t *at) { return elf->is64 ? le64(at) : le32(at); }

static bool table_inside(const struct source *source, uint64_t offset, uint64_t count, uint64_t bytes) {
	return count == 0 || (offset <= source->bytes && count * bytes <= source->bytes - offset);
}

int elf_open(struct elf *elf, const struct source *source) {
	uint8_t raw[HEADER_MAX] = {0};
	int rc = source_read(source, 0, raw, header32.bytes);

	if (rc != 0) return rc == -ERR_TRUNC ? -ERR_FORMAT : rc;
	if (memcmp(raw, "\177ELF", 4) != 0 || raw[IDENT_DATA] != DATA_LITTLE ||
	    raw[IDENT_VERSION] != VERSION_CURRENT)
		return -ERR_FORMAT;
	if (raw[IDENT_CLASS] != CLASS_32 && raw[IDENT_CLASS] != CLASS_64) return -ERR_FORMAT;

	*elf = (struct elf){.source = source, .is64 = raw[IDENT_CLASS] == CLASS_64};
	const struct header_layout *layout = elf->is64 ? &header64 : &header32;
	rc = source_read(source, 0, raw, layout->bytes);
	if (rc != 0) return rc;

	elf->type = le16(raw + 16);
	elf->machine = le16(raw + 18);
	elf->entry = word(elf, raw + layout->entry);
	elf->segments_offset = word(elf, raw + layout->phoff);
	elf->sections_offset = word(elf, raw + layout->shoff);
	elf->segment_bytes = le16(raw + layout->phentsize);
	elf->segment_count = le16(raw + layout->phnum);
	elf->section_bytes = le16(raw + layout->shentsize);
	elf->section_count = le16(raw + layout->shnum);

	if (elf->type != ELF_TYPE_EXEC && elf->type != ELF_TYPE_DYN) return -ERR_FORMAT;
	if (elf->segment_count > SEGMENT_COUNT_LIMIT) return -ERR_FORMAT;
	if (elf->segment_count != 0 && elf->segment_bytes < (elf->is64 ? segment64.bytes : segment32.bytes))
		return -ERR_FORMAT;
	if (!table_inside(source, elf->segments_offset, elf->segment_count, elf->segment_bytes))
		return -ERR_TRUNC;
	// Nobody reads sections: a file whose section table is cut off counts as one without.
	if (elf->section_bytes < (elf->is64 ? SECTION64_BYTES : SECTION32_BYTES) ||
	    !table_inside(source, elf->sections_offset, elf->section_count, elf->section_bytes))
		elf->section_count = 0;
	return 0;
}

int elf_segment(const struct elf *elf, uint32_t index, struct elf_segment *segment) {
	const struct segment_layout *layout = elf->is64 ? &segment64 : &segment32;
	uint8_t raw[SEGMENT_MAX];

	if (index >= elf->segment_count) return -ERR_RANGE;
	int rc = source_read(elf->source, elf->segments_offset + (uint64_t)index * elf->segment_bytes, raw,
	                     layout->bytes);
	if (rc != 0) return rc;

	*segment = (struct elf_segment){
	    .type = le32(raw),
	    .flags = le32(raw + layout->flags),
	    .offset = word(elf, raw + layout->offset),
	    .file_bytes = word(elf, raw + layout->filesz),
	    .virtual_address = word(elf, raw + layout->vaddr),
	    .physical_address = word(elf, raw + layout->paddr),
	    .memory_bytes = word(elf, raw + layout->memsz),
	    .align = word(elf, raw + layout->align),
	};
	if (!table_inside(elf->source, segment->offset, 1, segment->file_bytes)) return -ERR_TRUNC;
	if (segment->type == ELF_SEGMENT_LOAD && segment->memory_bytes < segment->file_bytes) return -ERR_FORMAT;
	if (range_wraps(segment->virtual_address, segment->memory_bytes) ||
	    range_wraps(segment->physical_address, segment->memory_bytes))
		return -ERR_FORMAT;
	return 0;
}

// Walks the notes of one segment (gABI ch. 5 "Note Section"): name size, descriptor size, type, then name
// and descriptor, each padded to 4 bytes.
static int note_in(const struct elf *elf, const struct elf_segment *segment, const char *owner, uint32_t type,
                   void *desc, size_t size, size_t *len) {
	uint64_t at = 0, owner_bytes = strlen(owner) + 1;
	char name[16];

	while (segment->file_bytes - at >= 12) {
		uint8_t head[12];
		int rc = source_read(elf->source, segment->offset + at, head, sizeof head);

		if (rc != 0) return rc;
		uint64_t name_bytes = le32(head), desc_bytes = le32(head + 4);
		uint64_t name_at = at + 12, desc_at = name_at + align_up(name_bytes, 4);
		uint64_t next = desc_at + align_up(desc_bytes, 4);

		if (desc_at + desc_bytes > segment->file_bytes) return -ERR_NOENT;
		if (le32(head + 8) == type && name_bytes == owner_bytes && owner_bytes <= sizeof name) {
			rc = source_read(elf->source, segment->offset + name_at, name, name_bytes);
			if (rc != 0) return rc;
			if (memcmp(name, owner, owner_bytes) == 0) {
				*len = desc_bytes;
				return source_read(elf->source, segment->offset + desc_at, desc,
				                   desc_bytes < size ? desc_bytes : size);
			}
		}
		if (next > segment->file_bytes) return -ERR_NOENT;
		at = next;
	}
	return -ERR_NOENT;
}

int elf_note(const struct elf *elf, const char *owner, uint32_t type, void *desc, size_t size, size_t *len) {
	for (uint32_t i = 0; i < elf->segment_count; i++) {
		struct elf_segment segment;
		int rc = elf_segment(elf, i, &segment);

		if (rc == -ERR_FORMAT || rc == -ERR_TRUNC) continue; // judged when it is loaded
		if (rc != 0) return rc;
		if (segment.type != ELF_SEGMENT_NOTE) continue;
		rc = note_in(elf, &segment, owner, type, desc, size, len);
		if (rc != -ERR_NOENT) return rc;
	}
	return -ERR_NOENT;
}
