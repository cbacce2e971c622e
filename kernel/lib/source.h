// SPDX-License-Identifier: Apache-2.0
// Foreign bytes with a length: a boot module in memory, a file on the host. Parsers of images read through
// it, so every access is bounds-checked in one place and the same parser serves all homes of a file.
#pragma once

#include "kernel/lib/types.h"

struct source {
	// Copies [offset, offset + len) to dst; the range is already known to lie inside. 0 or a negative error.
	int (*read)(const struct source *self, uint64_t offset, void *dst, size_t len);
	const void *context;
	uint64_t bytes; // length of the whole
};

// -ERR_TRUNC when the range is not wholly inside; otherwise what read says.
__must_check int source_read(const struct source *source, uint64_t offset, void *dst, size_t len);
// A view of memory that stays with the caller and outlives the source.
struct source source_memory(const void *bytes, uint64_t len);
