// SPDX-License-Identifier: Apache-2.0
// One load under way: where things lie in guest memory, bounded writing, and the refusal text. Shared by the
// loaders of this folder.
#pragma once

#include "kernel/lib/range.h"
#include "kernel/load/load.h"

#define LOAD_TAKEN_MAX 48u
#define LOAD_TAKEN_IMAGE 36u // of these for the image; the rest is for what the loader adds
#define LOAD_LAST_32BIT UINT64_C(0xffffffff)

struct load_job {
	const struct load_request *request;
	struct load_why *why;
	struct range taken[LOAD_TAKEN_MAX];
	uint32_t taken_count;
};

// The first page (interrupt table, BIOS data) is taken from the start. -ERR_INVAL for a broken map.
__must_check int job_init(struct load_job *job, const struct load_request *request, struct load_why *why);

// Fills the refusal and returns `code`, a negative error.
int load_fail(struct load_why *why, enum load_blame blame, int code, const char *format, ...)
    __printf_like(4, 5);

// Whether the bytes lie in one RAM range / are taken already.
bool job_is_ram(const struct load_job *job, uint64_t base, uint64_t len);
bool job_is_taken(const struct load_job *job, uint64_t base, uint64_t len);
// End of the RAM range that contains `base`, minus base; 0 when base is no RAM.
uint64_t job_ram_from(const struct load_job *job, uint64_t base);
// Takes exactly this range for `what`; -ERR_NOMEM when it is not free RAM.
__must_check int job_take(struct load_job *job, uint64_t base, uint64_t len, const char *what);

struct load_place {
	uint64_t len, align;  // bytes; align is a power of two
	uint64_t first, last; // the bytes must lie in [first, last]
	bool high;            // the highest place instead of the lowest
};
// Finds and takes free RAM; -ERR_NOMEM without a text.
__must_check int job_place(struct load_job *job, const struct load_place *place, uint64_t *base);
// The usual small structure: page aligned, as low as possible, below 4 GiB; fills the text.
__must_check int job_place_small(struct load_job *job, uint64_t len, const char *what, uint64_t *base);
// The initrd, page aligned, as high as possible up to `last`, copied there. No initrd: *base = *len = 0.
__must_check int job_place_initrd(struct load_job *job, uint64_t last, uint64_t *base, uint64_t *len);

__must_check int job_write(struct load_job *job, uint64_t at, const void *bytes, size_t len);
__must_check int job_zero(struct load_job *job, uint64_t at, uint64_t len);
__must_check int job_copy(struct load_job *job, uint64_t at, const struct source *file, uint64_t offset,
                          uint64_t len);

// Offset of the first `align`-aligned 32-bit word `magic` at or after *offset in the file's first `limit`
// bytes; -ERR_NOENT when there is none.
__must_check int load_find_magic(const struct source *file, uint32_t magic, uint32_t align, uint64_t limit,
                                 uint64_t *offset);
