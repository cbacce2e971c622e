// SPDX-License-Identifier: Apache-2.0
// arch/x86/cpu/mtrr: sets as firmware leaves them, overlaps and holes; an oracle that asks each page by itself.
#include "arch/x86/cpu/mtrr.h"
#include "kernel/lib/bits.h"
#include "tests/unit/support.h"

#define GIB (UINT64_C(1) << 30)
#define VALID BIT64(11)
#define MASK36(bytes) ((MASK64(35, 12) & ~((bytes)-1)) | VALID)
#define PAIR(base, bytes, type) ((base) | MTRR_TYPE_##type), MASK36(bytes)

static struct mtrr_set make(uint8_t default_type, unsigned count, const uint64_t *pairs) {
	struct mtrr_set m = {.count = count, .default_type = default_type};
	for (unsigned i = 0; i < count; i++) {
		m.base[i] = pairs[2 * i];
		m.mask[i] = pairs[2 * i + 1];
	}
	return m;
}
#define SET(default_type, ...)                                                                               \
	make(MTRR_TYPE_##default_type, sizeof((uint64_t[]){__VA_ARGS__}) / 16, (const uint64_t[]){__VA_ARGS__})

// The runs as memory.c walks them.
static void expect_runs(const struct mtrr_set *m, uint64_t from, const uint64_t *ends, unsigned runs,
                        bool wb) {
	uint64_t at = from, end;
	for (unsigned i = 0; i < runs; i++, wb = !wb)
		while (at < ends[i]) {
			assert_int_equal(mtrr_write_back(m, at, &end), wb);
			assert_true(end == 0 || end > at);
			assert_true(end == 0 || end <= ends[i] || i == runs - 1);
			at = end != 0 ? end : ends[i];
		}
}
#define RUNS(m, from, wb, ...)                                                                               \
	expect_runs(m, from, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8, wb)

// Default write-back, the hole below 4 GiB uncached: QEMU's and Bochs's firmware.
static void write_back_default_device_hole_is_not(void **state __unused_arg) {
	const struct mtrr_set m = SET(WB, PAIR(3 * GIB, GIB, UC), 0, 0);
	RUNS(&m, 0, true, 3 * GIB, 4 * GIB, 64 * GIB);
}

// Default uncached, RAM write-back in pairs, the graphics card's stolen memory cut out again by UC: PCs about 2012.
static void write_back_pairs_cut_by_uncached(void **state __unused_arg) {
	const struct mtrr_set m =
	    SET(UC, PAIR(0, 8 * GIB, WB), PAIR(8 * GIB, GIB / 2, WB), PAIR(3 * GIB + GIB / 2, GIB / 2, UC),
	        PAIR(3 * GIB + GIB / 4, GIB / 4, UC), PAIR(8 * GIB + GIB / 4, GIB / 4, UC));
	RUNS(&m, MIB, true, 3 * GIB + GIB / 4, 4 * GIB, 8 * GIB + GIB / 4, 64 * GIB);
}

static void write_back_under_other_type_is_not(void **state __unused_arg) {
	uint64_t end;
	const struct mtrr_set wt = SET(UC, PAIR(0, 4 * GIB, WB), PAIR(GIB, GIB, WT));
	RUNS(&wt, MIB, true, GIB, 2 * GIB, 4 * GIB, 8 * GIB);
	const struct mtrr_set wc = SET(WB, PAIR(GIB, GIB, WB), PAIR(GIB, GIB, WC)); // undefined in the manual
	assert_false(mtrr_write_back(&wc, GIB, &end));
	const struct mtrr_set twice = SET(UC, PAIR(GIB, GIB, WB), PAIR(GIB, GIB, WB));
	assert_true(mtrr_write_back(&twice, GIB, &end));
	assert_false(mtrr_write_back(&twice, 2 * GIB, &end)); // a hole
}

static void write_back_without_pairs_is_the_default(void **state __unused_arg) {
	uint64_t end;
	const struct mtrr_set none = {.default_type = MTRR_TYPE_WB}, uc = {.default_type = MTRR_TYPE_UC};
	assert_true(mtrr_write_back(&none, MIB, &end));
	assert_int_equal(end, 0);
	assert_false(mtrr_write_back(&uc, MIB, &end));
	assert_true(mtrr_write_back(&uc, 0x9f000, &end));
	assert_int_equal(end, MIB);
}

static void write_back_invalid_pair_is_ignored(void **state __unused_arg) {
	uint64_t end;
	struct mtrr_set m = SET(WB, PAIR(GIB, GIB, UC));
	m.mask[0] &= ~VALID;
	assert_true(mtrr_write_back(&m, GIB, &end));
	assert_int_equal(end, 0);
}

// The same type on the whole piece, also with masks that have gaps.
static void write_back_piece_is_of_one_type(void **state __unused_arg) {
	static const uint8_t types[] = {MTRR_TYPE_UC, MTRR_TYPE_WC, MTRR_TYPE_WT,
	                                MTRR_TYPE_WP, MTRR_TYPE_WB, MTRR_TYPE_WB};
	const uint64_t space = 16 * MIB;
	struct rng rng = {1};
	for (unsigned round = 0; round < 300; round++) {
		struct mtrr_set m = {.count = 1 + (uint32_t)rng_below(&rng, 4),
		                     .default_type = types[rng_below(&rng, 6)]};
		for (unsigned i = 0; i < m.count; i++) {
			m.base[i] = (rng_below(&rng, space) & ~UINT64_C(0xfff)) | types[rng_below(&rng, 6)];
			m.mask[i] = (MASK64(35, 16) & ~(rng_below(&rng, 256) << 16)) | VALID;
		}
		for (uint64_t at = MIB, end, unused; at < space; at = end) {
			bool wb = mtrr_write_back(&m, at, &end);
			if (end == 0 || end > space) end = space;
			assert_true(end > at);
			for (uint64_t page = at; page < end; page += 0x1000) {
				unsigned seen = 0, others = 0;
				for (unsigned i = 0; i < m.count; i++)
					if ((page & m.mask[i] & ~UINT64_C(0xfff)) == (m.base[i] & m.mask[i] & ~UINT64_C(0xfff))) {
						seen++;
						others += (m.base[i] & 0xff) != MTRR_TYPE_WB;
					}
				assert_int_equal(wb, seen == 0 ? m.default_type == MTRR_TYPE_WB : others == 0);
				assert_int_equal(wb, mtrr_write_back(&m, page, &unused));
			}
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(write_back_default_device_hole_is_not),
	    cmocka_unit_test(write_back_pairs_cut_by_uncached),
	    cmocka_unit_test(write_back_under_other_type_is_not),
	    cmocka_unit_test(write_back_without_pairs_is_the_default),
	    cmocka_unit_test(write_back_invalid_pair_is_ignored),
	    cmocka_unit_test(write_back_piece_is_of_one_type),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
