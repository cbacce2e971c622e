// SPDX-License-Identifier: Apache-2.0
// A checked reader of little-endian ELF32 and ELF64 executables (System V gABI ch. 4 and 5): header,
// segments, notes, function symbols. It trusts nothing, keeps nothing but the header, and never allocates.
#pragma once

#include "kernel/lib/source.h"
#include "kernel/lib/types.h"

enum elf_machine { ELF_MACHINE_386 = 3, ELF_MACHINE_X86_64 = 62 };
enum elf_type { ELF_TYPE_EXEC = 2, ELF_TYPE_DYN = 3 };
enum elf_segment_type {
	ELF_SEGMENT_LOAD = 1,
	ELF_SEGMENT_DYNAMIC = 2,
	ELF_SEGMENT_INTERP = 3,
	ELF_SEGMENT_NOTE = 4
};
enum elf_segment_flags { ELF_FLAG_X = 1, ELF_FLAG_W = 2, ELF_FLAG_R = 4 };

// "Xen", XEN_ELFNOTE_PHYS32_ENTRY: physical entry point of the PVH protocol.
#define ELF_NOTE_XEN "Xen"
#define ELF_NOTE_XEN_PHYS32_ENTRY 18u

struct elf {
	const struct source *source;
	bool is64;
	uint16_t type, machine;
	uint64_t entry;
	uint64_t segments_offset, sections_offset;
	uint32_t segment_count, section_count;
	uint32_t segment_bytes, section_bytes; // of one header
};

struct elf_segment {
	uint32_t type, flags;
	uint64_t offset, file_bytes; // inside the file, checked
	uint64_t virtual_address, physical_address;
	uint64_t memory_bytes; // >= file_bytes for ELF_SEGMENT_LOAD; neither address wraps
	uint64_t align;
};

// The source must outlive elf. -ERR_FORMAT: not an ELF file of these kinds, -ERR_TRUNC: its header tables
// lie outside the file.
__must_check int elf_open(struct elf *elf, const struct source *source);
// index < segment_count. -ERR_TRUNC, -ERR_FORMAT.
__must_check int elf_segment(const struct elf *elf, uint32_t index, struct elf_segment *segment);
// Copies the descriptor of the first note with this owner and type, at most `size` bytes, its true length to
// *len. -ERR_NOENT when there is none; malformed segments are passed over, a malformed note ends the search
// in its segment.
__must_check int elf_note(const struct elf *elf, const char *owner, uint32_t type, void *desc, size_t size,
                          size_t *len);
