// SPDX-License-Identifier: Apache-2.0
// The arithmetic and the bounded loops of calibration.
#include "drivers/host/tsccal.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"

// Three samples that agree are enough; one that was disturbed (SMI, a busy emulator host) costs another.
#define SAMPLE_MAX 9u
#define SAMPLES_AGREE 3u
#define AGREE_PPM 200u
#define AGREE_PPM_LAST 2000u    // what is still taken after SAMPLE_MAX samples
#define WINDOWS_PER_SECOND 200u // one sample takes 5 ms
// The best of this many bracketed readings opens and closes a window.
#define EDGE_READS 8u
// A live reference changes at least once a microsecond, and no read takes less than a nanosecond.
#define STUCK_READS 100000u
#define WINDOW_READS 20000000u
#define NOMINAL_PPM 1000u
#define KHZ_LEAST UINT64_C(1000)
#define KHZ_MOST UINT64_C(100000000)

struct edge {
	uint64_t counter;   // in the middle of the bracket
	uint64_t reference; // raw
	uint64_t width;     // of the bracket, counter ticks
};

static uint64_t reference_mask(const struct refclock *r) {
	return r->bits >= 64 ? UINT64_MAX : BIT64(r->bits) - 1;
}

static void edge_read(struct edge *e, const struct tsccal_counter *c, const struct refclock *r) {
	const uint64_t before = c->read(c->ctx);
	e->reference = r->read(r->ctx) & reference_mask(r);
	e->width = c->read(c->ctx) - before;
	e->counter = before + e->width / 2;
}

// The narrowest of a few readings: the one that nothing came between.
static void edge_best(struct edge *best, const struct tsccal_counter *c, const struct refclock *r) {
	edge_read(best, c, r);
	for (unsigned i = 1; i < EDGE_READS; i++) {
		struct edge e;
		edge_read(&e, c, r);
		if (e.width < best->width) *best = e;
	}
}

// Waits until the reference went on by `ticks` since `from`, adding up wraps.
static int window_wait(const struct refclock *r, uint64_t from, uint64_t ticks) {
	const uint64_t mask = reference_mask(r);
	uint64_t last = from, passed = 0, still = 0;
	for (uint64_t i = 0; i < WINDOW_READS; i++) {
		const uint64_t now = r->read(r->ctx) & mask;
		const uint64_t step = (now - last) & mask;
		still = step == 0 ? still + 1 : 0;
		if (still == STUCK_READS) return -ERR_TIMEOUT;
		passed += step;
		last = now;
		if (passed >= ticks) return 0;
	}
	return -ERR_TIMEOUT;
}

// One sample in kHz. The window is far shorter than any reference's wrap (PIT: 55 ms), so the difference of
// the two edges modulo its width is the time between them; a hole long enough to break that gives an odd
// sample, which the comparison rejects.
static int sample(uint64_t *khz, const struct tsccal_counter *c, const struct refclock *r) {
	struct edge start, end;
	edge_best(&start, c, r);
	const int err = window_wait(r, start.reference, r->hz / WINDOWS_PER_SECOND);
	if (err != 0) return err;
	edge_best(&end, c, r);
	const uint64_t ticks = (end.reference - start.reference) & reference_mask(r);
	const uint64_t counted = end.counter - start.counter;
	if (ticks == 0) return -ERR_TIMEOUT;
	uint64_t product; // too large to hold: the counter or the wait was absurd, an odd sample
	*khz = __builtin_mul_overflow(counted, r->hz, &product) ? UINT64_MAX : product / ticks / 1000;
	return 0;
}

// a is at most b.
static uint64_t spread_ppm(uint64_t a, uint64_t b) {
	if (a == 0 || b > KHZ_MOST) return UINT64_MAX;
	return (b - a) * 1000000 / a;
}

// Of the sorted samples the SAMPLES_AGREE that lie closest together; their middle one is the answer.
static uint64_t closest(const uint64_t *sorted, unsigned count, uint64_t *middle) {
	uint64_t best = UINT64_MAX;
	for (unsigned i = 0; i + SAMPLES_AGREE <= count; i++) {
		const uint64_t ppm = spread_ppm(sorted[i], sorted[i + SAMPLES_AGREE - 1]);
		if (ppm < best) {
			best = ppm;
			*middle = sorted[i + SAMPLES_AGREE / 2];
		}
	}
	return best;
}

int tsccal_measure(struct tsccal_result *result, const struct tsccal_counter *counter,
                   const struct refclock *reference) {
	uint64_t sorted[SAMPLE_MAX], khz = 0, spread = UINT64_MAX;
	if (reference->hz < WINDOWS_PER_SECOND || reference->bits == 0) return -ERR_RANGE;
	for (unsigned count = 0; count < SAMPLE_MAX;) {
		uint64_t one;
		const int err = sample(&one, counter, reference);
		if (err != 0) return err;
		unsigned at = count++;
		for (; at > 0 && sorted[at - 1] > one; at--) sorted[at] = sorted[at - 1];
		sorted[at] = one;
		spread = closest(sorted, count, &khz);
		if (spread <= AGREE_PPM) break;
	}
	if (spread > AGREE_PPM_LAST || khz < KHZ_LEAST || khz > KHZ_MOST) return -ERR_RANGE;
	*result = (struct tsccal_result){.khz = khz, .spread_ppm = (uint32_t)spread, .source = reference->name};
	return 0;
}

// CPUID's figure is exact where it is true, and on some parts it is another clock's (docs/QUIRKS.md).
static void apply_nominal(struct tsccal_result *result, uint64_t nominal_khz) {
	if (nominal_khz == 0) return;
	const uint64_t low = min_u64(result->khz, nominal_khz), high = max_u64(result->khz, nominal_khz);
	if (spread_ppm(low, high) <= NOMINAL_PPM)
		result->khz = nominal_khz;
	else
		log_warn("tsc", "CPUID claims %llu kHz, measured %llu kHz: measurement used",
		         (unsigned long long)nominal_khz, (unsigned long long)result->khz);
}

int tsccal_run(struct tsccal_result *result, const struct tsccal_counter *counter,
               const struct refclock *references, unsigned count, uint64_t nominal_khz) {
	for (unsigned i = 0; i < count; i++) {
		const int err = tsccal_measure(result, counter, &references[i]);
		if (err == 0) {
			apply_nominal(result, nominal_khz);
			return 0;
		}
		log_warn("tsc", "calibration by %s failed: %s", references[i].name, err_name(err));
	}
	return -ERR_TIMEOUT;
}
