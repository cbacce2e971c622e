// SPDX-License-Identifier: Apache-2.0
// The Linux/x86 boot protocol (Linux: Documentation/x86/boot.rst, "64-bit boot protocol"; zero-page.rst). The
// protected-mode part goes to its preferred address with room to unpack, the initrd as high as the kernel
// allows, zero page, GDT, identity page tables and command line as low as possible.
#include "kernel/load/bzimage.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

// Offsets in the file, and in the zero page: the setup header lies at the same place in both.
enum {
	SETUP_HEADER = 0x1f1,
	SETUP_SECTS = 0x1f1,
	SYSSIZE = 0x1f4, // of the protected-mode part, in 16 bytes
	BOOT_FLAG = 0x1fe,
	JUMP_OFFSET = 0x201, // the header ends at 0x202 + this byte
	HEADER_MAGIC = 0x202,
	VERSION = 0x206,
	TYPE_OF_LOADER = 0x210,
	LOADFLAGS = 0x211,
	RAMDISK_IMAGE = 0x218,
	RAMDISK_SIZE = 0x21c,
	CMD_LINE_PTR = 0x228,
	INITRD_ADDR_MAX = 0x22c,
	KERNEL_ALIGNMENT = 0x230,
	RELOCATABLE_KERNEL = 0x234,
	XLOADFLAGS = 0x236,
	CMDLINE_SIZE = 0x238,
	SETUP_DATA = 0x250,
	PREF_ADDRESS = 0x258,
	INIT_SIZE = 0x260,
	HEADER_NEEDED = 0x264, // end of the last field read here
	HEADER_MAX = 0x290,    // the zero page has room up to here
};
enum {
	ZERO_ACPI_RSDP_ADDR = 0x070,
	ZERO_E820_ENTRIES = 0x1e8,
	ZERO_E820_TABLE = 0x2d0,
	ZERO_E820_ENTRY_BYTES = 20,
};
#define MAGIC_HDRS 0x53726448u // "HdrS"
#define MAGIC_BOOT 0xaa55u
#define VERSION_NEEDED 0x020cu
#define LOADED_HIGH 0x01u
#define XLF_KERNEL_64 0x0001u
#define LOADER_UNDEFINED 0xffu
#define ENTRY_64 0x200u
#define SECTOR_BYTES 512u
#define DEFAULT_SETUP_SECTS 4u // what 0 means

// Selectors and descriptors the protocol asks for: __BOOT_CS 0x10, __BOOT_DS 0x18.
#define BOOT_CS 0x10u
#define BOOT_DS 0x18u
#define DESCRIPTOR_CODE64 UINT64_C(0x00af9b000000ffff)
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)

// Four levels, 2 MiB pages, the first 4 GiB: one PML4, one PDPT, four page directories.
#define TABLE_ENTRIES 512u
#define DIRECTORIES 4u
#define PTE_PRESENT BIT64(0)
#define PTE_WRITE BIT64(1)
#define PTE_LARGE BIT64(7)

struct header {
	uint8_t raw[HEADER_MAX - SETUP_HEADER];
	size_t len;
	uint64_t body_offset, body_bytes; // the protected-mode part in the file
};

static const uint8_t *at(const struct header *header, unsigned offset) {
	return header->raw + (offset - SETUP_HEADER);
}

bool bzimage_probe(const struct source *kernel) {
	uint8_t flag[2], magic[4];

	return source_read(kernel, BOOT_FLAG, flag, sizeof flag) == 0 &&
	       source_read(kernel, HEADER_MAGIC, magic, sizeof magic) == 0 && le16(flag) == MAGIC_BOOT &&
	       le32(magic) == MAGIC_HDRS;
}

static int read_header(struct load_job *job, struct header *header) {
	const struct source *kernel = job->request->kernel;
	uint8_t jump;
	int rc = source_read(kernel, JUMP_OFFSET, &jump, 1);

	header->len = min_u64(HEADER_MAGIC + (uint64_t)jump, HEADER_MAX) - SETUP_HEADER;
	if (rc == 0) rc = source_read(kernel, SETUP_HEADER, header->raw, header->len);
	if (rc != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, rc, "is a bzImage that ends inside its header");

	unsigned version = le16(at(header, VERSION));
	if (version < VERSION_NEEDED || header->len < HEADER_NEEDED - SETUP_HEADER)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_VERSION,
		                 "is a bzImage of boot protocol %u.%02u; 2.12 or later (Linux 3.8) is needed",
		                 version >> 8, version & 0xff);
	if ((le16(at(header, XLOADFLAGS)) & XLF_KERNEL_64) == 0 || (*at(header, LOADFLAGS) & LOADED_HIGH) == 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_UNSUP,
		                 "is a bzImage without a 64-bit entry point");

	uint64_t sectors = *at(header, SETUP_SECTS) == 0 ? DEFAULT_SETUP_SECTS : *at(header, SETUP_SECTS);
	uint64_t body_claimed = (uint64_t)le32(at(header, SYSSIZE)) * 16;
	header->body_offset = (sectors + 1) * SECTOR_BYTES;
	if (header->body_offset >= kernel->bytes || kernel->bytes - header->body_offset + 15 < body_claimed)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_TRUNC,
		                 "is a truncated bzImage: its header speaks of %lu bytes, the file has %lu",
		                 header->body_offset + body_claimed, kernel->bytes);
	header->body_bytes = kernel->bytes - header->body_offset;
	return 0;
}

// The kernel unpacks itself within init_size bytes from its load address.
static int place_kernel(struct load_job *job, const struct header *header, uint64_t *base) {
	uint64_t align = le32(at(header, KERNEL_ALIGNMENT)), preferred = le64(at(header, PREF_ADDRESS));
	struct load_place place = {.len = max_u64(le32(at(header, INIT_SIZE)), header->body_bytes),
	                           .first = MIB,
	                           .last = LOAD_LAST_32BIT};

	if (!is_pow2(align) || align < PAGE_BYTES || align > GIB)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "is a bzImage with the alignment 0x%lx",
		                 align);
	place.align = align;
	if (preferred <= LOAD_LAST_32BIT && preferred >= MIB && is_aligned(preferred, align) &&
	    place.len - 1 <= LOAD_LAST_32BIT - preferred && job_is_ram(job, preferred, place.len)) {
		*base = preferred;
		return job_take(job, preferred, place.len, "the kernel");
	}
	if (*at(header, RELOCATABLE_KERNEL) != 0 && job_place(job, &place, base) == 0) return 0;
	return load_fail(job->why, LOAD_BLAME_MEMORY, -ERR_NOMEM,
	                 "the kernel needs %lu MiB in one piece (best at %lu MiB) to unpack itself: raise memory",
	                 (place.len + MIB - 1) / MIB, preferred / MIB);
}

static int put_cmdline(struct load_job *job, const struct header *header, uint64_t *base) {
	size_t len = strlen(job->request->cmdline);
	uint32_t most = le32(at(header, CMDLINE_SIZE));

	if (len > most)
		return load_fail(job->why, LOAD_BLAME_CMDLINE, -ERR_RANGE, "is %zu bytes long; this kernel takes %u",
		                 len, most);
	int rc = job_place_small(job, len + 1, "the command line", base);
	return rc != 0 ? rc : job_write(job, *base, job->request->cmdline, len + 1);
}

// Identity tables; entries are written a table at a time from one page-sized buffer kept small: 64 entries.
static int put_tables(struct load_job *job, uint64_t *cr3) {
	uint64_t entry[64], base;
	int rc = job_place_small(job, (2 + DIRECTORIES) * PAGE_BYTES, "page tables", &base);

	*cr3 = base;
	if (rc != 0) return rc;
	entry[0] = (base + PAGE_BYTES) | PTE_PRESENT | PTE_WRITE;
	rc = job_write(job, base, entry, sizeof entry[0]);
	for (uint64_t i = 0; i < DIRECTORIES; i++)
		entry[i] = (base + (2 + i) * PAGE_BYTES) | PTE_PRESENT | PTE_WRITE;
	if (rc == 0) rc = job_write(job, base + PAGE_BYTES, entry, DIRECTORIES * sizeof entry[0]);
	for (uint64_t i = 0; rc == 0 && i < DIRECTORIES * TABLE_ENTRIES; i += array_count(entry)) {
		for (uint64_t k = 0; k < array_count(entry); k++)
			entry[k] = (i + k) * PAGE_2M_BYTES | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
		rc = job_write(job, base + 2 * PAGE_BYTES + i * sizeof entry[0], entry, sizeof entry);
	}
	return rc;
}

static int put_gdt(struct load_job *job, struct load_entry *entry) {
	const uint64_t gdt[] = {[BOOT_CS / 8] = DESCRIPTOR_CODE64, [BOOT_DS / 8] = DESCRIPTOR_DATA};
	uint64_t base;
	int rc = job_place_small(job, sizeof gdt, "the GDT", &base);

	if (rc != 0) return rc;
	entry->gdt = gpa(base);
	entry->gdt_limit = sizeof gdt - 1;
	entry->code_selector = BOOT_CS;
	entry->data_selector = BOOT_DS;
	return job_write(job, base, gdt, sizeof gdt);
}

static int put_e820(struct load_job *job, uint64_t zero_page) {
	uint8_t count = (uint8_t)job->request->map_count;
	int rc = job_write(job, zero_page + ZERO_E820_ENTRIES, &count, 1);

	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		const struct load_range *map = &job->request->map[i];
		uint8_t raw[ZERO_E820_ENTRY_BYTES];

		put_le64(raw, map->base);
		put_le64(raw + 8, map->bytes);
		put_le32(raw + 16, map->type);
		rc = job_write(job, zero_page + ZERO_E820_TABLE + i * sizeof raw, raw, sizeof raw);
	}
	return rc;
}

static int put_zero_page(struct load_job *job, struct header *header, uint64_t cmdline, uint64_t initrd,
                         uint64_t initrd_bytes, uint64_t *zero_page) {
	uint8_t *raw = header->raw, rsdp[8];
	int rc = job_place_small(job, PAGE_BYTES, "the zero page", zero_page);

	if (rc != 0) return rc;
	raw[TYPE_OF_LOADER - SETUP_HEADER] = LOADER_UNDEFINED;
	put_le32(raw + (CMD_LINE_PTR - SETUP_HEADER), (uint32_t)cmdline);
	put_le32(raw + (RAMDISK_IMAGE - SETUP_HEADER), (uint32_t)initrd);
	put_le32(raw + (RAMDISK_SIZE - SETUP_HEADER), (uint32_t)initrd_bytes);
	put_le64(raw + (SETUP_DATA - SETUP_HEADER), 0);
	put_le64(rsdp, job->request->rsdp.v);

	rc = job_zero(job, *zero_page, PAGE_BYTES);
	if (rc == 0) rc = job_write(job, *zero_page + SETUP_HEADER, raw, header->len);
	if (rc == 0) rc = job_write(job, *zero_page + ZERO_ACPI_RSDP_ADDR, rsdp, sizeof rsdp);
	return rc != 0 ? rc : put_e820(job, *zero_page);
}

int bzimage_load(struct load_job *job, struct load_entry *entry) {
	uint64_t base, cmdline, initrd, initrd_bytes, zero_page, cr3;
	struct header header;
	int rc = read_header(job, &header);

	if (rc == 0) rc = place_kernel(job, &header, &base);
	if (rc == 0) rc = put_gdt(job, entry);
	if (rc == 0) rc = put_tables(job, &cr3);
	if (rc == 0) rc = put_cmdline(job, &header, &cmdline);
	if (rc == 0) rc = job_copy(job, base, job->request->kernel, header.body_offset, header.body_bytes);
	if (rc == 0) rc = job_place_initrd(job, le32(at(&header, INITRD_ADDR_MAX)), &initrd, &initrd_bytes);
	if (rc == 0) rc = put_zero_page(job, &header, cmdline, initrd, initrd_bytes, &zero_page);
	if (rc != 0) return rc;

	entry->mode = LOAD_MODE_LONG64;
	entry->rip = base + ENTRY_64;
	entry->rsi = zero_page;
	entry->cr0 = CR0_PE | CR0_ET | CR0_PG;
	entry->cr3 = cr3;
	entry->cr4 = CR4_PAE;
	entry->efer = EFER_LME | EFER_LMA;
	return 0;
}
