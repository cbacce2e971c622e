// SPDX-License-Identifier: Apache-2.0
// The record comes from our own loader or from our own parser of GRUB's tags, but memory between them and here
// is the firmware's: every count and range is checked before it is used.
#include "kernel/bootcheck.h"

#include "boot/mb2/mb2.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define TAGS_BYTES_MAX (UINT64_C(1) << 20)

#define REFUSE(code, ...)                                                                                    \
	do {                                                                                                     \
		fmt_print(why, why_bytes, __VA_ARGS__);                                                              \
		return -(code);                                                                                      \
	} while (0)

static bool terminated(const char *text, size_t bytes) { return strnlen(text, bytes) < bytes; }

static int memory_check(const struct boot_info *b, char *why, size_t why_bytes) {
	for (uint32_t i = 0; i < b->mem_count; i++) {
		const struct boot_mem *m = &b->mem[i];
		if (m->bytes == 0 || range_wraps(m->base, m->bytes))
			REFUSE(ERR_RANGE, "memory map entry %u [%#llx, +%#llx) is empty or wraps", i,
			       (unsigned long long)m->base, (unsigned long long)m->bytes);
		if (m->type < BOOT_MEM_USABLE || m->type > BOOT_MEM_MMIO)
			REFUSE(ERR_FORMAT, "memory map entry %u has the unknown type %u", i, m->type);
	}
	return 0;
}

static int files_check(const struct boot_info *b, char *why, size_t why_bytes) {
	for (uint32_t i = 0; i < b->file_count; i++) {
		const struct boot_file *f = &b->file[i];
		if (!terminated(f->name, sizeof f->name) || f->name[0] == '\0')
			REFUSE(ERR_FORMAT, "boot file %u has no valid name", i);
		if (range_wraps(f->base, f->bytes) || !is_aligned(f->base, 4096))
			REFUSE(ERR_RANGE, "boot file \"%s\" at [%#llx, +%#llx) wraps or is not page aligned", f->name,
			       (unsigned long long)f->base, (unsigned long long)f->bytes);
	}
	if (b->file_count == 0 || strcmp(b->file[0].name, "bulkhead.toml") != 0)
		REFUSE(ERR_NOENT, "the boot path handed over no bulkhead.toml");
	return 0;
}

int bootcheck(const struct boot_info *b, char *why, size_t why_bytes) {
	if (b->magic != BOOT_INFO_MAGIC)
		REFUSE(ERR_FORMAT, "boot_info has the wrong magic %#llx", (unsigned long long)b->magic);
	if (b->version != BOOT_INFO_VERSION || b->bytes != sizeof *b)
		REFUSE(ERR_VERSION,
		       "boot_info is version %u of %u bytes, this kernel reads version %u of %u: loader and kernel "
		       "do not belong together",
		       b->version, b->bytes, BOOT_INFO_VERSION, (unsigned)sizeof *b);
	if (b->mem_count == 0 || b->mem_count > BOOT_MEM_MAX)
		REFUSE(ERR_RANGE, "%u memory map entries", b->mem_count);
	if (b->secure_boot > BOOT_SECURE_SETUP) REFUSE(ERR_FORMAT, "Secure Boot state %u", b->secure_boot);
	if (b->file_count > BOOT_FILE_MAX) REFUSE(ERR_RANGE, "%u boot files", b->file_count);
	if (!terminated(b->cmdline, sizeof b->cmdline) || !terminated(b->loader, sizeof b->loader))
		REFUSE(ERR_FORMAT, "a boot_info string is not terminated");
	if (!is_aligned(b->kernel_base, UINT64_C(2) << 20))
		REFUSE(ERR_INVAL, "the kernel lies at %#llx, which is not 2 MiB aligned",
		       (unsigned long long)b->kernel_base);
	int err = memory_check(b, why, why_bytes);
	return err < 0 ? err : files_check(b, why, why_bytes);
}

int bootcheck_take(const void *at, uint64_t magic, uint64_t kernel_base, uint64_t kernel_bytes,
                   struct boot_info *out, char *why, size_t why_bytes) {
	if (magic == MB2_MAGIC) {
		*out = (struct boot_info){.kernel_bytes = kernel_bytes};
		int err = mb2_to_boot_info(at, TAGS_BYTES_MAX, kernel_base, out, why, why_bytes);
		if (err < 0) return err;
	} else if (magic == BOOT_INFO_MAGIC) {
		memcpy(out, at, sizeof *out);
	} else {
		REFUSE(ERR_FORMAT, "entered by an unknown boot path (magic %#llx)", (unsigned long long)magic);
	}
	int err = bootcheck(out, why, why_bytes);
	if (out->magic != BOOT_INFO_MAGIC) out->fb.format = BOOT_FB_NONE;
	if (err == 0 && out->kernel_base != kernel_base)
		REFUSE(ERR_INVAL, "boot_info says the kernel is at %#llx, it runs at %#llx",
		       (unsigned long long)out->kernel_base, (unsigned long long)kernel_base);
	if (err == 0 && out->kernel_bytes < kernel_bytes)
		REFUSE(ERR_INVAL, "boot_info keeps %#llx bytes for the kernel, it has %#llx",
		       (unsigned long long)out->kernel_bytes, (unsigned long long)kernel_bytes);
	return err;
}

unsigned bootcheck_overlaps(const struct boot_info *boot, unsigned *a, unsigned *b) {
	unsigned pairs = 0;
	for (unsigned i = 0; i < boot->mem_count; i++)
		for (unsigned j = i + 1; j < boot->mem_count; j++) {
			const struct boot_mem *x = &boot->mem[i], *y = &boot->mem[j];
			bool apart = x->base < y->base ? y->base - x->base >= x->bytes : x->base - y->base >= y->bytes;
			if (apart || x->type == y->type) continue;
			if (pairs++ == 0) {
				*a = i;
				*b = j;
			}
		}
	return pairs;
}
