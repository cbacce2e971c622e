// SPDX-License-Identifier: Apache-2.0
// The comparison of two TSCs: TSCSYNC_ROUNDS round trips over one shared word.
#include "kernel/tscsync.h"

#include "kernel/lib/bits.h"

static void turn_wait(const struct tscsync *s, uint32_t turn) {
	while (__atomic_load_n(&s->turn, __ATOMIC_ACQUIRE) != turn) __builtin_ia32_pause();
}

static void turn_pass(struct tscsync *s, uint64_t tsc) {
	s->tsc = tsc;
	__atomic_fetch_add(&s->turn, 1, __ATOMIC_RELEASE);
}

static uint64_t backwards(uint64_t earlier, uint64_t later) {
	return (int64_t)(later - earlier) < 0 ? earlier - later : 0;
}

void tscsync_boot(struct tscsync *s, tscsync_read_fn *read, struct tscsync_result *result) {
	*result = (struct tscsync_result){.round_trip = UINT64_MAX};
	for (uint32_t round = 0; round < TSCSYNC_ROUNDS; round++) {
		turn_wait(s, 2 * round);
		uint64_t before = read();
		turn_pass(s, before);
		turn_wait(s, 2 * round + 2);
		uint64_t other = s->tsc, after = read();
		result->warp = max_u64(result->warp, max_u64(backwards(before, other), backwards(other, after)));
		if (after - before >= result->round_trip) continue;
		result->round_trip = after - before;
		result->ahead = (int64_t)(other - before - (after - before) / 2);
	}
}

void tscsync_other(struct tscsync *s, tscsync_read_fn *read) {
	for (uint32_t round = 0; round < TSCSYNC_ROUNDS; round++) {
		turn_wait(s, 2 * round + 1);
		turn_pass(s, read());
	}
}
