// SPDX-License-Identifier: Apache-2.0
// Bounded reading, and the view of memory.
#include "kernel/lib/source.h"

#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

int source_read(const struct source *source, uint64_t offset, void *dst, size_t len) {
	if (offset > source->bytes || len > source->bytes - offset) return -ERR_TRUNC;
	if (len == 0) return 0;
	return source->read(source, offset, dst, len);
}

static int memory_read(const struct source *self, uint64_t offset, void *dst, size_t len) {
	memcpy(dst, (const uint8_t *)self->context + offset, len);
	return 0;
}

struct source source_memory(const void *bytes, uint64_t len) {
	return (struct source){.read = memory_read, .context = bytes, .bytes = len};
}
