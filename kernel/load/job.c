// SPDX-License-Identifier: Apache-2.0
// Placement and bounded writing for the loaders. The list of taken ranges is what keeps the pieces apart;
// every write goes to RAM of the caller's map, checked here once more than the loaders need.
#include "kernel/load/job.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

int load_fail(struct load_why *why, enum load_blame blame, int code, const char *format, ...) {
	va_list args;

	why->blame = blame;
	va_start(args, format);
	fmt_vprint(why->text, sizeof why->text, format, args);
	va_end(args);
	return code;
}

int job_init(struct load_job *job, const struct load_request *request, struct load_why *why) {
	*job = (struct load_job){.request = request, .why = why};
	if (request->map_count == 0 || request->map_count > LOAD_MAP_MAX) return -ERR_INVAL;
	for (uint32_t i = 0; i < request->map_count; i++) {
		struct range here = {request->map[i].base, request->map[i].bytes};

		if (!range_valid(here)) return -ERR_INVAL;
		if (i != 0 && request->map[i - 1].base + (request->map[i - 1].bytes - 1) >= here.base)
			return -ERR_INVAL;
	}
	job->taken[job->taken_count++] = (struct range){0, PAGE_BYTES};
	return 0;
}

uint64_t job_ram_from(const struct load_job *job, uint64_t base) {
	for (uint32_t i = 0; i < job->request->map_count; i++) {
		const struct load_range *ram = &job->request->map[i];

		if (ram->type == LOAD_RAM && base >= ram->base && base - ram->base < ram->bytes)
			return ram->bytes - (base - ram->base);
	}
	return 0;
}

bool job_is_ram(const struct load_job *job, uint64_t base, uint64_t len) {
	return len != 0 && len <= job_ram_from(job, base);
}

static const struct range *taken_by(const struct load_job *job, struct range range) {
	for (uint32_t i = 0; i < job->taken_count; i++)
		if (range_overlaps(job->taken[i], range)) return &job->taken[i];
	return NULL;
}

bool job_is_taken(const struct load_job *job, uint64_t base, uint64_t len) {
	return taken_by(job, (struct range){base, len}) != NULL;
}

int job_take(struct load_job *job, uint64_t base, uint64_t len, const char *what) {
	if (!job_is_ram(job, base, len))
		return load_fail(job->why, LOAD_BLAME_MEMORY, -ERR_NOMEM,
		                 "%s needs %lu KiB at 0x%lx, which is not all memory of the VM", what,
		                 (len + KIB - 1) / KIB, base);
	if (job_is_taken(job, base, len))
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "has parts that overlap: %s at 0x%lx",
		                 what, base);
	if (job->taken_count >= LOAD_TAKEN_IMAGE)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "has more than %u parts",
		                 LOAD_TAKEN_IMAGE - 1);
	job->taken[job->taken_count++] = (struct range){base, len};
	return 0;
}

// The lowest or highest free place inside one window of RAM; each step goes past one taken range, so the
// number of steps is bounded by their count.
static bool place_in(const struct load_job *job, const struct load_place *place, struct range window,
                     uint64_t *base) {
	if (window.len < place->len) return false;
	uint64_t low = window.base, last = range_last(window);
	uint64_t at =
	    place->high ? align_down(last - (place->len - 1), place->align) : align_up(low, place->align);

	for (;;) {
		if (at < low || at > last || place->len - 1 > last - at) return false;
		const struct range *in_way = taken_by(job, (struct range){at, place->len});

		if (in_way == NULL) {
			*base = at;
			return true;
		}
		if (place->high) {
			if (in_way->base < place->len) return false;
			at = align_down(in_way->base - place->len, place->align);
		} else {
			at = align_up(range_last(*in_way) + 1, place->align);
		}
	}
}

int job_place(struct load_job *job, const struct load_place *place, uint64_t *base) {
	struct range bounds = {place->first, place->last - place->first + 1};
	uint32_t count = job->request->map_count;

	if (job->taken_count == LOAD_TAKEN_MAX) return -ERR_NOMEM;
	for (uint32_t i = 0; i < count; i++) {
		const struct load_range *map = &job->request->map[place->high ? count - 1 - i : i];

		if (map->type != LOAD_RAM) continue;
		if (!place_in(job, place, range_intersect(bounds, (struct range){map->base, map->bytes}), base))
			continue;
		job->taken[job->taken_count++] = (struct range){*base, place->len};
		return 0;
	}
	return -ERR_NOMEM;
}

int job_place_small(struct load_job *job, uint64_t len, const char *what, uint64_t *base) {
	const struct load_place place = {.len = len, .align = PAGE_BYTES, .first = 0, .last = LOAD_LAST_32BIT};

	if (job_place(job, &place, base) == 0) return 0;
	return load_fail(job->why, LOAD_BLAME_MEMORY, -ERR_NOMEM, "no room in the VM's memory for %s (%lu bytes)",
	                 what, len);
}

int job_place_initrd(struct load_job *job, uint64_t last, uint64_t *base, uint64_t *len) {
	const struct source *initrd = job->request->initrd;
	struct load_place place = {.align = PAGE_BYTES, .first = MIB, .last = last, .high = true};

	*base = *len = 0;
	if (initrd == NULL) return 0;
	if (initrd->bytes == 0) return load_fail(job->why, LOAD_BLAME_INITRD, -ERR_FORMAT, "is an empty file");
	*len = place.len = initrd->bytes;
	if (last <= MIB || job_place(job, &place, base) != 0)
		return load_fail(job->why, LOAD_BLAME_INITRD, -ERR_NOMEM,
		                 "has %lu KiB, which do not fit into the VM's memory beside the kernel: raise memory",
		                 (initrd->bytes + KIB - 1) / KIB);
	return job_copy(job, *base, initrd, 0, initrd->bytes);
}

static int op_result(struct load_job *job, int rc, uint64_t at) {
	if (rc == 0) return 0;
	return load_fail(job->why, LOAD_BLAME_MEMORY, rc, "guest memory at 0x%lx cannot be written", at);
}

int job_write(struct load_job *job, uint64_t at, const void *bytes, size_t len) {
	assert(job_is_ram(job, at, len));
	return op_result(job, job->request->ops->write(job->request->context, gpa(at), bytes, len), at);
}

int job_zero(struct load_job *job, uint64_t at, uint64_t len) {
	if (len == 0) return 0;
	assert(job_is_ram(job, at, len));
	return op_result(job, job->request->ops->zero(job->request->context, gpa(at), len), at);
}

int job_copy(struct load_job *job, uint64_t at, const struct source *file, uint64_t offset, uint64_t len) {
	if (len == 0) return 0;
	assert(job_is_ram(job, at, len) && offset <= file->bytes && len <= file->bytes - offset);
	return op_result(job, job->request->ops->copy(job->request->context, gpa(at), file, offset, len), at);
}

int load_find_magic(const struct source *file, uint32_t magic, uint32_t align, uint64_t limit,
                    uint64_t *offset) {
	uint64_t end = min_u64(limit, file->bytes);
	uint8_t chunk[256];

	for (uint64_t at = *offset; at + 4 <= end;) {
		size_t len = (size_t)min_u64(sizeof chunk, end - at);
		int rc = source_read(file, at, chunk, len);

		if (rc != 0) return rc;
		for (size_t i = 0; i + 4 <= len; i += align) {
			if (le32(chunk + i) != magic) continue;
			*offset = at + i;
			return 0;
		}
		at += len;
	}
	return -ERR_NOENT;
}
