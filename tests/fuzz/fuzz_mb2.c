// SPDX-License-Identifier: Apache-2.0
// boot/mb2/mb2: any bytes as boot information. What is accepted keeps the record's promises.
#include <stdlib.h>
#include <string.h>

#include "boot/mb2/mb2.h"
#include "kernel/lib/bits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct boot_info info;
	char why[96];
	// A copy of exactly the size, so that reading past it is caught, at an address GRUB could have used.
	uint8_t *tags = malloc(size + (size == 0));
	memcpy(tags, data, size);
	if (size >= 4) put_le32(tags, (uint32_t)size); // else the fuzzer has to guess it
	info.kernel_bytes = 0x40000;
	int err = mb2_to_boot_info(tags, size, 0x200000, &info, why, sizeof why);
	if (err == 0) {
		if (info.file_count == 0 || strcmp(info.file[0].name, "bulkhead.toml") != 0) abort();
		if (info.mem_count > BOOT_MEM_MAX || info.file_count > BOOT_FILE_MAX) abort();
		for (uint32_t i = 0; i < info.mem_count; i++) {
			if (info.mem[i].bytes == 0 || info.mem[i].base + info.mem[i].bytes < info.mem[i].base) abort();
			if (i > 0 && info.mem[i].base < info.mem[i - 1].base) abort();
		}
		for (uint32_t i = 0; i < info.file_count; i++)
			if (memchr(info.file[i].name, 0, BOOT_NAME_BYTES) == NULL || info.file[i].base % 4096 != 0)
				abort();
	} else if (memchr(why, 0, sizeof why) == NULL || why[0] == 0) {
		abort();
	}
	free(tags);
	return 0;
}
