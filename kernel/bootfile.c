// SPDX-License-Identifier: Apache-2.0
// One read-only mapping a boot file.
#include "kernel/bootfile.h"

#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"

struct bootfile {
	const char *name;
	const void *bytes;
	uint64_t count;
};
static struct bootfile file[BOOT_FILE_MAX];
static unsigned file_count;

int bootfile_init(const struct boot_info *boot) {
	for (uint32_t i = 0; i < boot->file_count; i++) {
		void *va = NULL;
		const struct boot_file *f = &boot->file[i];
		if (f->bytes > 0) {
			int err = hostmap_io(memory_hostpt(), hpa(f->base), f->bytes, PT_WB, HOSTPT_R, &va);
			if (err < 0) {
				log_error("boot", "file \"%s\" (%llu bytes) cannot be mapped: %s", f->name,
				          (unsigned long long)f->bytes, err_name(err));
				return err;
			}
		}
		file[file_count++] = (struct bootfile){.name = f->name, .bytes = va, .count = f->bytes};
	}
	return 0;
}

int bootfile_find(const char *name, struct source *out) {
	for (unsigned i = 0; i < file_count; i++)
		if (strcmp(file[i].name, name) == 0) {
			*out = source_memory(file[i].bytes, file[i].count);
			return 0;
		}
	return -ERR_NOENT;
}

const void *bootfile_bytes(unsigned index, uint64_t *bytes) {
	if (index >= file_count) return NULL;
	*bytes = file[index].count;
	return file[index].bytes;
}
