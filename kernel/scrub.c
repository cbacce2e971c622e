// SPDX-License-Identifier: Apache-2.0
// A step stays in one range of the map.
#include "kernel/scrub.h"

#include "kernel/lib/bits.h"

void scrub_start(struct scrub *job, struct gspace *space, const struct load_range *map, uint32_t count) {
	*job = (struct scrub){.space = space, .range = map, .end = map + count};
}

int scrub_step(struct scrub *job, uint64_t bytes) {
	const struct load_range *range = job->range;
	if (range == job->end) return 0;
	bytes = min_u64(bytes, range->bytes - job->done);
	int err = gmem_zero(job->space, gpa(range->base + job->done), bytes);
	if (err < 0) return err;
	job->done += bytes;
	if (job->done == range->bytes) {
		job->done = 0;
		job->range++;
	}
	return job->range != job->end;
}
