// SPDX-License-Identifier: Apache-2.0
// Making a VM's memory zero, as a job: bounded steps, so that whoever takes them can serve the CPU's interrupts, timers
// and console in between (gigabytes take seconds). The VM does not run meanwhile and its window is loaded at each step.
// A job is owned by its caller and needs no end: it may be dropped half done.
#pragma once

#include "kernel/load/load.h"
#include "mm/gmem.h"

#define SCRUB_STEP_BYTES (2 * MIB) // some hundred microseconds

struct scrub {
	struct gspace *space;
	const struct load_range *range, *end; // what is left, the first from `done` bytes on
	uint64_t done;
};

// Everything in `map`, which stays the caller's and unchanged until the job is done.
void scrub_start(struct scrub *job, struct gspace *space, const struct load_range *map, uint32_t count);
// Zeroes at most `bytes` (> 0) more. 1 while something is left, 0 when all is done (and at every call after that).
// -ERR_FAULT: the map names what is no memory.
__must_check int scrub_step(struct scrub *job, uint64_t bytes);
