// SPDX-License-Identifier: Apache-2.0
// Every reader of kernel/lib/elf over arbitrary bytes.
#include "kernel/lib/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct source source = source_memory(data, len);
	struct elf elf;
	uint8_t desc[16];
	size_t desc_len;

	if (elf_open(&elf, &source) != 0) return 0;
	for (uint32_t i = 0; i < elf.segment_count; i++) {
		struct elf_segment segment;

		if (elf_segment(&elf, i, &segment) == 0 && segment.offset + segment.file_bytes > len)
			__builtin_trap();
	}
	if (elf_note(&elf, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, desc, sizeof desc, &desc_len) == 0 &&
	    desc_len > len)
		__builtin_trap();
	return 0;
}
