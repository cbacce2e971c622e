// SPDX-License-Identifier: Apache-2.0
// kernel/load: images made by hand are loaded into an array that stands for guest memory; what the guest would
// then find is checked byte by byte, and every refusal by its text and by whom it blames.
#include "tests/unit/support.h"

#include <elf.h>

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/load/load.h"

#define MEMORY_BYTES (64 * MIB)

static uint8_t *memory; // guest address = index; all of it below 3 GiB
static struct load_range map[LOAD_MAP_STANDARD_MAX];
static uint32_t map_count;
static struct load_why why;
static struct load_entry entry;

static bool in_ram(uint64_t at, uint64_t len) {
	for (uint32_t i = 0; i < map_count; i++)
		if (map[i].type == LOAD_RAM && at >= map[i].base && at - map[i].base < map[i].bytes &&
		    len <= map[i].bytes - (at - map[i].base))
			return true;
	return false;
}
static int fake_write(void *context __unused_arg, gpa_t at, const void *bytes, size_t len) {
	assert_true(len != 0 && in_ram(at.v, len));
	memcpy(memory + at.v, bytes, len);
	return 0;
}
static int fake_zero(void *context __unused_arg, gpa_t at, uint64_t len) {
	assert_true(len != 0 && in_ram(at.v, len));
	memset(memory + at.v, 0, len);
	return 0;
}
static int fake_copy(void *context __unused_arg, gpa_t at, const struct source *file, uint64_t offset,
                     uint64_t len) {
	assert_true(len != 0 && in_ram(at.v, len));
	return source_read(file, offset, memory + at.v, len);
}
static const struct load_ops fake_ops = {.write = fake_write, .zero = fake_zero, .copy = fake_copy};

static int setup(void **state __unused_arg) {
	memory = calloc(1, MEMORY_BYTES);
	map_count = load_map_standard(MEMORY_BYTES, map);
	memset(&why, 0, sizeof why);
	memset(&entry, 0x55, sizeof entry);
	return memory == NULL;
}
static int teardown(void **state __unused_arg) {
	free(memory);
	return 0;
}

static const char rsdp_bytes[36] = "RSD PTR not a real one, 36 bytes...";

struct input {
	const void *kernel;
	size_t kernel_len;
	const char *initrd; // NULL: none
	size_t initrd_len;
	const char *cmdline;
};

static int load(const struct input *input) {
	// Exact heap copies, so that ASan sees any read past the end.
	uint8_t *kernel = malloc(input->kernel_len + 1);
	memcpy(kernel, input->kernel, input->kernel_len);
	struct source kernel_source = source_memory(kernel, input->kernel_len);
	struct source initrd_source = source_memory(input->initrd, input->initrd_len);
	const struct load_request request = {.kernel = &kernel_source,
	                                     .initrd = input->initrd != NULL ? &initrd_source : NULL,
	                                     .initrd_name = "initrd.img",
	                                     .cmdline = input->cmdline != NULL ? input->cmdline : "",
	                                     .map = map,
	                                     .map_count = map_count,
	                                     .rsdp = gpa(0xe0000),
	                                     .rsdp_bytes = rsdp_bytes,
	                                     .rsdp_len = sizeof rsdp_bytes,
	                                     .ops = &fake_ops};
	int rc = load_guest(&request, &entry, &why);
	free(kernel);
	return rc;
}

static void assert_refused(const struct input *input, int rc, enum load_blame blame, const char *text) {
	assert_int_equal(load(input), rc);
	assert_int_equal(why.blame, blame);
	if (strstr(why.text, text) == NULL) fail_msg("\"%s\" lacks \"%s\"", why.text, text);
}

static const uint8_t *guest(uint64_t at, size_t len) {
	assert_true(in_ram(at, len));
	return memory + at;
}
static const char *guest_text(uint64_t at) { return (const char *)guest(at, 1); }

// ---- bzImage ----------------------------------------------------------------------------------------------

#define BODY_BYTES 5000u
#define BZ_BYTES (2 * 512 + BODY_BYTES)

static void make_bzimage(uint8_t image[BZ_BYTES]) {
	memset(image, 0, BZ_BYTES);
	for (unsigned i = 0; i < BODY_BYTES; i++) image[1024 + i] = (uint8_t)(i * 7 + 1);
	image[0x1f1] = 1; // setup sectors
	put_le32(image + 0x1f4, BODY_BYTES / 16);
	put_le16(image + 0x1fe, 0xaa55);
	image[0x201] = 0x6a; // header ends at 0x26c
	memcpy(image + 0x202, "HdrS", 4);
	put_le16(image + 0x206, 0x020f);
	image[0x211] = 1; // loaded high
	put_le32(image + 0x22c, 0x7fffffff);
	put_le32(image + 0x230, 0x200000);
	image[0x234] = 1;
	put_le16(image + 0x236, 1);
	put_le32(image + 0x238, 2047);
	put_le64(image + 0x258, 16 * MIB);
	put_le32(image + 0x260, 20 * MIB);
}

// Walks the tables the loader wrote.
static bool identity_maps(uint64_t at) {
	uint64_t table = entry.cr3;

	for (unsigned shift = 39; shift >= 21; shift -= 9) {
		uint64_t pte = le64(guest(table + ((at >> shift) & 511) * 8, 8));

		if ((pte & 1) == 0) return false;
		if ((pte & 0x80) != 0) return shift == 21 && (pte & ~UINT64_C(0x1fffff)) == align_down(at, 2 * MIB);
		table = pte & ~UINT64_C(0xfff);
	}
	return false;
}

static void bzimage_whole_is_ready_to_run(void **state __unused_arg) {
	uint8_t image[BZ_BYTES];
	char initrd[10000];

	make_bzimage(image);
	memset(initrd, 'i', sizeof initrd);
	assert_int_equal(load(&(struct input){image, sizeof image, initrd, sizeof initrd, "console=ttyS0"}), 0);

	assert_int_equal(entry.kind, LOAD_KIND_BZIMAGE);
	assert_int_equal(entry.mode, LOAD_MODE_LONG64);
	assert_int_equal(entry.rip, 16 * MIB + 0x200);
	assert_int_equal(entry.cr0, CR0_PE | CR0_ET | CR0_PG);
	assert_int_equal(entry.cr4, CR4_PAE);
	assert_int_equal(entry.efer, EFER_LME | EFER_LMA);
	assert_int_equal(entry.rflags, 2);
	assert_memory_equal(guest(16 * MIB, BODY_BYTES), image + 1024, BODY_BYTES);

	const uint8_t *zero = guest(entry.rsi, 4096);
	assert_memory_equal(zero + 0x1f1, image + 0x1f1, 0x1f);
	assert_int_equal(zero[0x210], 0xff);
	assert_int_equal(le64(zero + 0x70), 0xe0000);
	assert_string_equal(guest_text(le32(zero + 0x228)), "console=ttyS0");
	assert_int_equal(le32(zero + 0x21c), sizeof initrd);
	uint32_t at = le32(zero + 0x218);
	assert_memory_equal(guest(at, sizeof initrd), initrd, sizeof initrd);
	assert_true(at >= 36 * MIB && is_aligned(at, 4096)); // above the room for unpacking
	assert_int_equal(zero[0x1e8], map_count);
	for (uint32_t i = 0; i < map_count; i++) {
		assert_int_equal(le64(zero + 0x2d0 + 20 * i), map[i].base);
		assert_int_equal(le64(zero + 0x2d0 + 20 * i + 8), map[i].bytes);
		assert_int_equal(le32(zero + 0x2d0 + 20 * i + 16), map[i].type);
	}

	assert_true(identity_maps(entry.rip) && identity_maps(entry.rsi) && identity_maps(4 * GIB - 1));
	assert_int_equal(entry.code_selector, 0x10);
	assert_int_equal(entry.data_selector, 0x18);
	assert_true(entry.gdt_limit >= 0x1f);
	assert_true((le64(guest(entry.gdt.v + 0x10, 8)) & BIT64(53)) != 0); // L bit
}

static void bzimage_small_memory_is_relocated(void **state __unused_arg) {
	uint8_t image[BZ_BYTES];

	make_bzimage(image);
	map_count = load_map_standard(24 * MIB, map);
	assert_int_equal(load(&(struct input){image, sizeof image, NULL, 0, NULL}), 0);
	assert_int_equal(entry.rip, 2 * MIB + 0x200);
	assert_memory_equal(guest(2 * MIB, BODY_BYTES), image + 1024, BODY_BYTES);

	image[0x234] = 0; // not relocatable
	assert_refused(&(struct input){image, sizeof image, NULL, 0, NULL}, -ERR_NOMEM, LOAD_BLAME_MEMORY,
	               "needs 20 MiB in one piece (best at 16 MiB)");
}

static void bzimage_initrd_limit_is_kept(void **state __unused_arg) {
	uint8_t image[BZ_BYTES];

	make_bzimage(image);
	put_le32(image + 0x22c, 0x2ffffff); // 48 MiB - 1
	assert_int_equal(load(&(struct input){image, sizeof image, "abc", 3, NULL}), 0);
	assert_int_equal(le32(guest(entry.rsi + 0x218, 4)), 48 * MIB - 4096);
}

static void bzimage_initrd_too_big_is_refused(void **state __unused_arg) {
	uint8_t image[BZ_BYTES];
	size_t len = 30 * MIB;
	char *initrd = calloc(1, len);

	make_bzimage(image);
	assert_refused(&(struct input){image, sizeof image, initrd, len, NULL}, -ERR_NOMEM, LOAD_BLAME_INITRD,
	               "do not fit");
	assert_refused(&(struct input){image, sizeof image, "", 0, NULL}, -ERR_FORMAT, LOAD_BLAME_INITRD,
	               "empty");
	free(initrd);
}

static void bzimage_wrong_header_is_refused(void **state __unused_arg) {
	uint8_t image[BZ_BYTES];
	struct input input = {image, sizeof image, NULL, 0, NULL};

	make_bzimage(image);
	put_le16(image + 0x206, 0x020b);
	assert_refused(&input, -ERR_VERSION, LOAD_BLAME_KERNEL, "boot protocol 2.11");
	make_bzimage(image);
	image[0x201] = 0x10;
	assert_refused(&input, -ERR_VERSION, LOAD_BLAME_KERNEL, "boot protocol");
	make_bzimage(image);
	image[0x236] = 0;
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "64-bit entry");
	make_bzimage(image);
	put_le32(image + 0x230, 0x300000);
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "alignment 0x300000");
	make_bzimage(image);
	put_le32(image + 0x238, 3);
	input.cmdline = "four";
	assert_refused(&input, -ERR_RANGE, LOAD_BLAME_CMDLINE, "takes 3");
	make_bzimage(image);
	input.kernel_len -= 30;
	assert_refused(&input, -ERR_TRUNC, LOAD_BLAME_KERNEL, "truncated");
	input.kernel_len = 0x240;
	assert_refused(&input, -ERR_TRUNC, LOAD_BLAME_KERNEL, "ends inside its header");
}

// ---- ELF --------------------------------------------------------------------------------------------------

// One text segment of 256 bytes at 1 MiB with 4 KiB of memory; a note; multiboot headers where a test puts them.
struct elf32 {
	Elf32_Ehdr header;
	Elf32_Phdr load, note;
	uint32_t pvh[5];
	uint8_t text[256] __aligned_to(8);
	uint32_t extra[32] __aligned_to(8); // multiboot headers
};

static struct elf32 make_elf32(bool pvh) {
	struct elf32 e = {
	    .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
	               .e_type = ET_EXEC,
	               .e_machine = EM_386,
	               .e_version = EV_CURRENT,
	               .e_entry = 0xc0100010,
	               .e_phoff = offsetof(struct elf32, load),
	               .e_phentsize = sizeof(Elf32_Phdr),
	               .e_phnum = 2},
	    .load = {.p_type = PT_LOAD,
	             .p_offset = offsetof(struct elf32, text),
	             .p_vaddr = 0xc0100000,
	             .p_paddr = 0x100000,
	             .p_filesz = 256,
	             .p_memsz = 4096},
	    .note = {.p_type = pvh ? PT_NOTE : PT_NULL,
	             .p_offset = offsetof(struct elf32, pvh),
	             .p_filesz = sizeof(uint32_t[5]),
	             .p_memsz = sizeof(uint32_t[5])},
	    .pvh = {4, 4, 18, 0x6e6558, 0x100020},
	};

	for (unsigned i = 0; i < sizeof e.text; i++) e.text[i] = (uint8_t)(i ^ 0x5a);
	return e;
}

static void pvh_whole_is_ready_to_run(void **state __unused_arg) {
	struct elf32 e = make_elf32(true);

	memset(memory + 0x100100, 0xee, 64); // the loader clears what the file does not fill
	assert_int_equal(load(&(struct input){&e, sizeof e, "initrd!", 7, "root=/dev/x"}), 0);
	assert_int_equal(entry.kind, LOAD_KIND_ELF_PVH);
	assert_int_equal(entry.mode, LOAD_MODE_PROTECTED32);
	assert_int_equal(entry.rip, 0x100020);
	assert_int_equal(entry.cr0, CR0_PE | CR0_ET);
	assert_int_equal(entry.cr4 | entry.efer, 0);
	assert_memory_equal(guest(0x100000, 256), e.text, 256);
	assert_int_equal(memory[0x100100], 0);

	const uint8_t *info = guest(entry.rbx, 56);
	assert_int_equal(le32(info), 0x336ec578);
	assert_int_equal(le32(info + 4), 1);
	assert_int_equal(le32(info + 12), 1);
	assert_string_equal(guest_text(le64(info + 24)), "root=/dev/x");
	assert_int_equal(le64(info + 32), 0xe0000);
	const uint8_t *module = guest(le64(info + 16), 32);
	assert_int_equal(le64(module + 8), 7);
	assert_memory_equal(guest(le64(module), 7), "initrd!", 7);
	assert_string_equal(guest_text(le64(module + 16)), "initrd.img");
	assert_int_equal(le32(info + 48), map_count);
	const uint8_t *ranges = guest(le64(info + 40), 24 * map_count);
	for (uint32_t i = 0; i < map_count; i++) {
		assert_int_equal(le64(ranges + 24 * i), map[i].base);
		assert_int_equal(le64(ranges + 24 * i + 8), map[i].bytes);
		assert_int_equal(le32(ranges + 24 * i + 16), map[i].type);
	}
}

static void elf_wrong_is_refused(void **state __unused_arg) {
	struct elf32 e = make_elf32(true);
	struct input input = {&e, sizeof e, NULL, 0, NULL};

	e.pvh[4] = 0x101000;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "entry point 0x101000");
	e = make_elf32(true);
	e.load.p_memsz = (Elf32_Word)MEMORY_BYTES;
	assert_refused(&input, -ERR_NOMEM, LOAD_BLAME_MEMORY, "not all memory of the VM");
	e = make_elf32(true);
	e.load.p_paddr = 0xf0000;
	assert_refused(&input, -ERR_NOMEM, LOAD_BLAME_MEMORY, "an ELF segment needs 4 KiB at 0xf0000");
	e = make_elf32(true);
	e.load.p_filesz = e.load.p_memsz = sizeof e;
	assert_refused(&input, -ERR_TRUNC, LOAD_BLAME_KERNEL, "truncated");
	e = make_elf32(true);
	e.header.e_machine = EM_ARM;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "not for x86");
	e = make_elf32(true);
	e.load.p_type = PT_NULL;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "without a segment");
	e = make_elf32(false);
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "neither a PVH note nor a multiboot");
	e = make_elf32(false);
	e.note = e.load; // the same segment twice
	put_le32(e.extra, 0x1badb002);
	put_le32(e.extra + 2, 0u - 0x1badb002);
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "overlap");
}

// ---- multiboot 1 ------------------------------------------------------------------------------------------

static void put_mb1(uint32_t *at, uint32_t flags) {
	at[0] = 0x1badb002;
	at[1] = flags;
	at[2] = 0u - 0x1badb002 - flags;
}

static void multiboot_elf_is_ready_to_run(void **state __unused_arg) {
	struct elf32 e = make_elf32(false);

	put_mb1(e.extra + 3, 3);
	assert_int_equal(load(&(struct input){&e, sizeof e, "module bytes", 12, "a b"}), 0);
	assert_int_equal(entry.kind, LOAD_KIND_MULTIBOOT);
	assert_int_equal(entry.mode, LOAD_MODE_PROTECTED32);
	assert_int_equal(entry.rip, 0x100010); // physical, of the virtual entry
	assert_int_equal(entry.rax, 0x2badb002);
	assert_memory_equal(guest(0x100000, 256), e.text, 256);

	const uint8_t *info = guest(entry.rbx, 116);
	assert_int_equal(le32(info), 1 | 4 | 8 | 64 | 512);
	assert_int_equal(le32(info + 4), 640);
	assert_int_equal(le32(info + 8), (MEMORY_BYTES - MIB) / 1024);
	assert_string_equal(guest_text(le32(info + 16)), "a b");
	assert_int_equal(le32(info + 20), 1);
	const uint8_t *module = guest(le32(info + 24), 16);
	assert_int_equal(le32(module + 4) - le32(module), 12);
	assert_true(is_aligned(le32(module), 4096));
	assert_memory_equal(guest(le32(module), 12), "module bytes", 12);
	assert_string_equal(guest_text(le32(module + 8)), "initrd.img");
	assert_string_equal(guest_text(le32(info + 64)), "Bulkhead");
	assert_int_equal(le32(info + 44), 24 * map_count);
	for (uint32_t i = 0; i < map_count; i++) {
		const uint8_t *range = guest(le32(info + 48) + 24 * i, 24);

		assert_int_equal(le32(range), 20);
		assert_int_equal(le64(range + 4), map[i].base);
		assert_int_equal(le64(range + 12), map[i].bytes);
		assert_int_equal(le32(range + 20), map[i].type);
	}
}

static void multiboot_addressed_is_loaded(void **state __unused_arg) {
	uint32_t image[64];
	struct input input = {image, sizeof image, NULL, 0, NULL};

	for (unsigned i = 0; i < 64; i++) image[i] = i * 3 + 7;
	put_mb1(image + 4, 0x10000);
	image[7] = 0x200010; // header's address: 16 bytes into the image
	image[8] = 0x200000;
	image[9] = 0; // to the end of the file
	image[10] = 0x201000;
	image[11] = 0x200040;
	memset(memory + 0x200100, 0xee, 64);
	assert_int_equal(load(&input), 0);
	assert_int_equal(entry.kind, LOAD_KIND_MULTIBOOT);
	assert_int_equal(entry.rip, 0x200040);
	assert_memory_equal(guest(0x200000, sizeof image), image, sizeof image);
	assert_int_equal(memory[0x200100], 0);

	image[9] = 0x200080;
	assert_int_equal(load(&input), 0);
	image[9] = 0x200101;
	assert_refused(&input, -ERR_TRUNC, LOAD_BLAME_KERNEL, "truncated");
	image[9] = 0x100000;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "contradict");
	image[9] = 0;
	image[8] = 0x200008; // the image would begin 8 bytes in
	assert_int_equal(load(&input), 0);
	assert_memory_equal(guest(0x200008, 32), image + 2, 32);
	image[7] = 0x300000;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "contradict");
}

static void multiboot_demands_are_refused(void **state __unused_arg) {
	struct elf32 e = make_elf32(false);
	struct input input = {&e, sizeof e, NULL, 0, NULL};

	put_mb1(e.extra, 4);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "video mode");
	put_mb1(e.extra, 8);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "flags 0x8");
	put_mb1(e.extra, 3);
	e.extra[2]++; // checksum
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "neither");
	put_mb1(e.extra, 3);
	Elf64_Ehdr wide = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	                   .e_type = ET_EXEC,
	                   .e_machine = EM_X86_64};
	uint8_t image[128] = {0};
	memcpy(image, &wide, sizeof wide);
	memcpy(image + 64, e.extra, 12);
	assert_refused(&(struct input){image, sizeof image, NULL, 0, NULL}, -ERR_UNSUP, LOAD_BLAME_KERNEL,
	               "64-bit ELF");
}

// ---- multiboot 2 ------------------------------------------------------------------------------------------

// Header with one tag (4 words at most) and the end tag.
static void put_mb2(uint32_t *at, uint16_t type, uint16_t flags, uint32_t bytes, uint32_t first,
                    uint32_t second) {
	uint32_t tag = (uint32_t)align_up(bytes, 8), all = 16 + tag + 8;

	at[0] = 0xe85250d6;
	at[1] = 0;
	at[2] = all;
	at[3] = 0u - 0xe85250d6 - all;
	if (bytes != 0) {
		at[4] = type | (uint32_t)flags << 16;
		at[5] = bytes;
		at[6] = first;
		at[7] = second;
	}
	at[4 + tag / 4] = 0;
	at[5 + tag / 4] = 8;
}

static const uint8_t *find_tag(uint32_t type) {
	uint32_t total = le32(guest(entry.rbx, 8));

	assert_true(is_aligned(entry.rbx, 8));
	for (uint32_t at = 8; at < total;) {
		const uint8_t *tag = guest(entry.rbx + at, 8);

		assert_true(le32(tag + 4) >= 8 && at + le32(tag + 4) <= total);
		if (le32(tag) == type) return tag;
		if (le32(tag) == 0) {
			assert_int_equal(at + 8, total);
			return NULL;
		}
		at += (uint32_t)align_up(le32(tag + 4), 8);
	}
	fail_msg("no end tag");
	return NULL;
}

static void multiboot2_elf_is_ready_to_run(void **state __unused_arg) {
	struct elf32 e = make_elf32(false);

	put_mb2(e.extra, 0, 0, 0, 0, 0);
	put_mb1(e.extra + 8, 3); // version 2 goes first
	assert_int_equal(load(&(struct input){&e, sizeof e, "module bytes", 12, "quiet"}), 0);
	assert_int_equal(entry.kind, LOAD_KIND_MULTIBOOT2);
	assert_int_equal(entry.mode, LOAD_MODE_PROTECTED32);
	assert_int_equal(entry.rip, 0x100010);
	assert_int_equal(entry.rax, 0x36d76289);

	assert_string_equal((const char *)find_tag(1) + 8, "quiet");
	assert_string_equal((const char *)find_tag(2) + 8, "Bulkhead");
	const uint8_t *module = find_tag(3);
	assert_memory_equal(guest(le32(module + 8), 12), "module bytes", 12);
	assert_int_equal(le32(module + 12) - le32(module + 8), 12);
	assert_string_equal((const char *)module + 16, "initrd.img");
	assert_int_equal(le32(find_tag(4) + 8), 640);
	assert_int_equal(le32(find_tag(4) + 12), (MEMORY_BYTES - MIB) / 1024);
	const uint8_t *ranges = find_tag(6);
	assert_int_equal(le32(ranges + 4), 16 + 24 * map_count);
	assert_int_equal(le32(ranges + 8), 24);
	for (uint32_t i = 0; i < map_count; i++) assert_int_equal(le64(ranges + 16 + 24 * i), map[i].base);
	assert_memory_equal(find_tag(14) + 8, rsdp_bytes, 20);
	assert_memory_equal(find_tag(15) + 8, rsdp_bytes, 36);
	assert_int_equal(le32(find_tag(21) + 8), 0x100000);
	assert_null(find_tag(99));
}

static void multiboot2_tags_are_obeyed(void **state __unused_arg) {
	struct elf32 e = make_elf32(false);
	struct input input = {&e, sizeof e, NULL, 0, NULL};

	put_mb2(e.extra, 3, 0, 12, 0x100080, 0); // entry address
	assert_int_equal(load(&input), 0);
	assert_int_equal(entry.rip, 0x100080);
	put_mb2(e.extra, 3, 0, 12, 0x900080, 0);
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "entry point 0x900080");
	put_mb2(e.extra, 5, 0, 20, 0, 0);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "framebuffer");
	put_mb2(e.extra, 5, 1, 20, 0, 0); // optional
	assert_int_equal(load(&input), 0);
	put_mb2(e.extra, 4, 0, 12, 1, 0);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "console");
	put_mb2(e.extra, 4, 0, 12, 2, 0);
	assert_int_equal(load(&input), 0);
	put_mb2(e.extra, 1, 0, 16, 6, 22);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "information request");
	put_mb2(e.extra, 1, 0, 16, 6, 4);
	assert_int_equal(load(&input), 0);
	put_mb2(e.extra, 77, 0, 8, 0, 0);
	assert_refused(&input, -ERR_UNSUP, LOAD_BLAME_KERNEL, "tag 77");
	put_mb2(e.extra, 6, 0, 8, 0, 0);
	e.extra[5] = 4; // shorter than a tag
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "damaged multiboot 2 header");
	put_mb2(e.extra, 6, 0, 8, 0, 0);
	e.extra[6] = 6; // an end tag that is none
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "damaged multiboot 2 header");
}

static void multiboot2_addressed_is_loaded(void **state __unused_arg) {
	uint32_t image[64] = {0x12345678};
	struct input input = {image, sizeof image, NULL, 0, NULL};
	uint32_t *at = image + 2;

	at[0] = 0xe85250d6;
	at[2] = 16 + 24 + 16 + 8;
	at[3] = 0u - 0xe85250d6 - at[2];
	at[4] = 2; // address tag
	at[5] = 24;
	at[6] = 0x300008;
	at[7] = 0x300000;
	at[8] = 0;
	at[9] = 0x302000;
	at[10] = 3; // entry tag
	at[11] = 12;
	at[12] = 0x300020;
	at[15] = 8;
	assert_int_equal(load(&input), 0);
	assert_int_equal(entry.kind, LOAD_KIND_MULTIBOOT2);
	assert_int_equal(entry.rip, 0x300020);
	assert_memory_equal(guest(0x300000, sizeof image), image, sizeof image);
	at[10] = 6;
	assert_refused(&input, -ERR_FORMAT, LOAD_BLAME_KERNEL, "without an entry address");
}

// ---- flat, and the choice ---------------------------------------------------------------------------------

static void flat_is_ready_to_run(void **state __unused_arg) {
	assert_int_equal(load(&(struct input){"\xf4\xeb\xfd", 3, NULL, 0, NULL}), 0);
	assert_int_equal(entry.kind, LOAD_KIND_FLAT);
	assert_int_equal(entry.mode, LOAD_MODE_REAL);
	assert_int_equal(entry.rip, 0x7c00);
	assert_int_equal(entry.rdx, 0x80);
	assert_int_equal(entry.code_selector | entry.data_selector, 0);
	assert_memory_equal(guest(0x7c00, 3), "\xf4\xeb\xfd", 3);
}

static void flat_wrong_is_refused(void **state __unused_arg) {
	size_t len = 0xa0000 - 0x7c00;
	uint8_t *image = calloc(1, len + 1);

	assert_int_equal(load(&(struct input){image, len, NULL, 0, NULL}), 0);
	assert_refused(&(struct input){image, len + 1, NULL, 0, NULL}, -ERR_FORMAT, LOAD_BLAME_KERNEL,
	               "too long for flat real-mode code (at most 623616)");
	assert_refused(&(struct input){image, 5, "x", 1, NULL}, -ERR_UNSUP, LOAD_BLAME_INITRD, "flat");
	assert_refused(&(struct input){image, 5, NULL, 0, "x"}, -ERR_UNSUP, LOAD_BLAME_CMDLINE, "flat");
	assert_refused(&(struct input){image, 0, NULL, 0, NULL}, -ERR_FORMAT, LOAD_BLAME_KERNEL, "empty");
	free(image);
}

static void map_standard_covers_memory(void **state __unused_arg) {
	static const uint64_t sizes[] = {MIB, 2 * MIB, 3 * GIB, 3 * GIB + 4096, 8 * GIB};

	for (unsigned i = 0; i < array_count(sizes); i++) {
		struct load_range ranges[LOAD_MAP_STANDARD_MAX];
		uint32_t count = load_map_standard(sizes[i], ranges);
		uint64_t ram = 0;

		for (uint32_t k = 0; k < count; k++) {
			if (k != 0) assert_true(ranges[k].base >= ranges[k - 1].base + ranges[k - 1].bytes);
			if (ranges[k].type == LOAD_RAM) ram += ranges[k].bytes;
		}
		assert_int_equal(ram, sizes[i] - 0x60000); // without the VGA window and the firmware area
	}
}

static void map_unsorted_is_refused(void **state __unused_arg) {
	map[1].base = map[0].base;
	assert_refused(&(struct input){"x", 1, NULL, 0, NULL}, -ERR_INVAL, LOAD_BLAME_MEMORY, "not sorted");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(bzimage_whole_is_ready_to_run),
	    CASE(bzimage_small_memory_is_relocated),
	    CASE(bzimage_initrd_limit_is_kept),
	    CASE(bzimage_initrd_too_big_is_refused),
	    CASE(bzimage_wrong_header_is_refused),
	    CASE(pvh_whole_is_ready_to_run),
	    CASE(elf_wrong_is_refused),
	    CASE(multiboot_elf_is_ready_to_run),
	    CASE(multiboot_addressed_is_loaded),
	    CASE(multiboot_demands_are_refused),
	    CASE(multiboot2_elf_is_ready_to_run),
	    CASE(multiboot2_tags_are_obeyed),
	    CASE(multiboot2_addressed_is_loaded),
	    CASE(flat_is_ready_to_run),
	    CASE(flat_wrong_is_refused),
	    CASE(map_standard_covers_memory),
	    CASE(map_unsorted_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
