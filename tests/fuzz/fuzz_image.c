// SPDX-License-Identifier: Apache-2.0
// boot/efi/image and boot/efi/names: any bytes as kernel file and as configuration. What image_check accepts,
// image_load copies without leaving its memory.
#include <stdlib.h>
#include <string.h>

#include "boot/efi/image.h"
#include "boot/efi/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct source file = source_memory(data, size);
	struct image image;
	char why[128];
	if (image_check(&image, &file, why, sizeof why) == 0) {
		if (image.bytes == 0 || image.bytes > IMAGE_BYTES_MAX || image.entry_offset >= image.bytes) abort();
		uint8_t *memory = malloc(image.bytes);
		if (image_load(&image, memory) != 0) abort();
		free(memory);
	}

	struct names names;
	char name[BOOT_NAME_BYTES];
	uint16_t path[BOOT_NAME_BYTES];
	names_init(&names, data, size);
	while (names_next(&names, name)) {
		if (name[0] == 0 || name[0] == '/' || memchr(name, 0, sizeof name) == NULL) abort();
		(void)names_path(path, sizeof path / sizeof path[0], "\\bulkhead\\", name);
	}
	return 0;
}
