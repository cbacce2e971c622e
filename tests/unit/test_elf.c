// SPDX-License-Identifier: Apache-2.0
// kernel/lib/elf and source: this test program's own file is the well-formed ELF64; a small ELF32 with a
// PVH note is made by hand and then damaged.
#include "tests/unit/support.h"

#include <elf.h>

#include "kernel/lib/elf.h"
#include "kernel/lib/err.h"

static uint8_t *self_bytes;
static size_t self_len;

static int load_self(void **state __unused_arg) {
	FILE *file = fopen("/proc/self/exe", "rb");

	if (file == NULL) return -1;
	fseek(file, 0, SEEK_END);
	self_len = (size_t)ftell(file);
	rewind(file);
	self_bytes = malloc(self_len);
	size_t got = fread(self_bytes, 1, self_len, file);
	fclose(file);
	return got == self_len ? 0 : -1;
}
static int free_self(void **state __unused_arg) {
	free(self_bytes);
	return 0;
}

static void source_read_outside_is_truncated(void **state __unused_arg) {
	struct source source = source_memory("abcdef", 6);
	char out[8] = "";

	assert_int_equal(source_read(&source, 2, out, 4), 0);
	assert_memory_equal(out, "cdef", 4);
	assert_int_equal(source_read(&source, 6, out, 0), 0);
	assert_int_equal(source_read(&source, 3, out, 4), -ERR_TRUNC);
	assert_int_equal(source_read(&source, 7, out, 0), -ERR_TRUNC);
	assert_int_equal(source_read(&source, UINT64_MAX, out, 2), -ERR_TRUNC);
	assert_int_equal(source_read(&source, 1, out, SIZE_MAX), -ERR_TRUNC);
}

static void open_own_file_reads_header(void **state __unused_arg) {
	struct source source = source_memory(self_bytes, self_len);
	const Elf64_Ehdr *header = (const void *)self_bytes;
	struct elf elf;

	assert_int_equal(elf_open(&elf, &source), 0);
	assert_true(elf.is64);
	assert_int_equal(elf.machine, ELF_MACHINE_X86_64);
	assert_int_equal(elf.entry, header->e_entry);
	assert_int_equal(elf.segment_count, header->e_phnum);
	for (uint32_t i = 0; i < elf.segment_count; i++) {
		const Elf64_Phdr *expected = (const void *)(self_bytes + header->e_phoff + i * sizeof *expected);
		struct elf_segment segment;

		assert_int_equal(elf_segment(&elf, i, &segment), 0);
		assert_int_equal(segment.type, expected->p_type);
		assert_int_equal(segment.flags, expected->p_flags);
		assert_int_equal(segment.offset, expected->p_offset);
		assert_int_equal(segment.virtual_address, expected->p_vaddr);
		assert_int_equal(segment.physical_address, expected->p_paddr);
		assert_int_equal(segment.file_bytes, expected->p_filesz);
		assert_int_equal(segment.memory_bytes, expected->p_memsz);
		assert_int_equal(segment.align, expected->p_align);
	}
	struct elf_segment segment;
	assert_int_equal(elf_segment(&elf, elf.segment_count, &segment), -ERR_RANGE);
}

static void note_own_build_id_is_found(void **state __unused_arg) {
	struct source source = source_memory(self_bytes, self_len);
	struct elf elf;
	uint8_t id[4];
	size_t len = 0;

	assert_int_equal(elf_open(&elf, &source), 0);
	int rc = elf_note(&elf, "GNU", NT_GNU_BUILD_ID, id, sizeof id, &len);
	if (rc == -ERR_NOENT) skip(); // a linker without --build-id
	assert_int_equal(rc, 0);
	assert_true(len >= 8);
	assert_int_equal(elf_note(&elf, "Xen", 18, id, sizeof id, &len), -ERR_NOENT);
}

struct small {
	Elf32_Ehdr header;
	Elf32_Phdr load, note;
	struct {
		uint32_t name_bytes, desc_bytes, type;
		char name[4];
		uint32_t desc;
	} other, pvh;
};

static struct small small_image(void) {
	struct small s = {
	    .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
	               .e_type = ET_EXEC,
	               .e_machine = EM_386,
	               .e_version = EV_CURRENT,
	               .e_entry = 0x100000,
	               .e_phoff = offsetof(struct small, load),
	               .e_ehsize = sizeof(Elf32_Ehdr),
	               .e_phentsize = sizeof(Elf32_Phdr),
	               .e_phnum = 2},
	    .load = {.p_type = PT_LOAD, .p_paddr = 0x100000, .p_vaddr = 0x100000, .p_filesz = 16, .p_memsz = 64},
	    .note = {.p_type = PT_NOTE, .p_offset = offsetof(struct small, other), .p_filesz = 40, .p_memsz = 40},
	    .other = {4, 4, 5, "Xen", 0x1111},
	    .pvh = {4, 4, 18, "Xen", 0x123456},
	};

	return s;
}

static int small_open(const struct small *s, struct source *source, struct elf *elf) {
	*source = source_memory(s, sizeof *s);
	return elf_open(elf, source);
}

static void note_pvh_entry_is_read(void **state __unused_arg) {
	struct small s = small_image();
	struct source source;
	struct elf elf;
	uint32_t entry = 0;
	size_t len = 0;

	assert_int_equal(small_open(&s, &source, &elf), 0);
	assert_false(elf.is64);
	assert_int_equal(elf_note(&elf, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &entry, sizeof entry, &len), 0);
	assert_int_equal(len, 4);
	assert_int_equal(entry, 0x123456);

	s.other.desc_bytes = 0xfffffff0; // runs out of the segment: the rest is not believed
	assert_int_equal(elf_note(&elf, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &entry, sizeof entry, &len),
	                 -ERR_NOENT);
	s.other.desc_bytes = 4;
	s.other.name_bytes = 0xffffffff;
	assert_int_equal(elf_note(&elf, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, &entry, sizeof entry, &len),
	                 -ERR_NOENT);
}

static void open_damaged_header_is_refused(void **state __unused_arg) {
	struct source source;
	struct elf elf;
	struct small s = small_image();

	s.header.e_ident[0] = 0;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_ident[EI_CLASS] = 3;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_ident[EI_DATA] = ELFDATA2MSB;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_type = ET_REL;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_phentsize = 31;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_phnum = 300;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_FORMAT);
	s = small_image();
	s.header.e_phoff = 0xfffffff0;
	assert_int_equal(small_open(&s, &source, &elf), -ERR_TRUNC);
	source = source_memory(&s, 20);
	assert_int_equal(elf_open(&elf, &source), -ERR_FORMAT);
}

static void segment_damaged_is_refused(void **state __unused_arg) {
	struct small s = small_image();
	struct source source;
	struct elf elf;
	struct elf_segment segment;

	assert_int_equal(small_open(&s, &source, &elf), 0);
	assert_int_equal(elf_segment(&elf, 0, &segment), 0);
	s.load.p_filesz = 65;
	assert_int_equal(elf_segment(&elf, 0, &segment), -ERR_FORMAT);
	s.load.p_filesz = s.load.p_memsz = sizeof s + 1;
	assert_int_equal(elf_segment(&elf, 0, &segment), -ERR_TRUNC);
	s.load.p_filesz = 16;
	s.load.p_offset = 0xffffffff;
	assert_int_equal(elf_segment(&elf, 0, &segment), -ERR_TRUNC);
}

static void own_file_truncated_anywhere_is_survived(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 300; round++) {
		size_t len = rng_below(&rng, round % 2 ? self_len : 4096);
		uint8_t *cut = malloc(len + 1);
		struct source source = source_memory(cut, len);
		struct elf elf;
		char name[32];
		size_t desc;

		memcpy(cut, self_bytes, len);
		if (elf_open(&elf, &source) == 0) {
			(void)!elf_note(&elf, "GNU", 3, name, sizeof name, &desc);
		}
		free(cut);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(source_read_outside_is_truncated),
	    cmocka_unit_test(open_own_file_reads_header),
	    cmocka_unit_test(note_own_build_id_is_found),
	    cmocka_unit_test(note_pvh_entry_is_read),
	    cmocka_unit_test(open_damaged_header_is_refused),
	    cmocka_unit_test(segment_damaged_is_refused),
	    cmocka_unit_test(own_file_truncated_anywhere_is_survived),
	};

	return cmocka_run_group_tests(tests, load_self, free_self);
}
