// SPDX-License-Identifier: Apache-2.0
// kernel/lib/string: the freestanding functions, compiled here under other names, against libc's.
#include "tests/unit/support.h"

#define memcpy ours_memcpy
#define memmove ours_memmove
#define memset ours_memset
#define memcmp ours_memcmp
#define strlen ours_strlen
#define strnlen ours_strnlen
#define strcmp ours_strcmp
#define strncmp ours_strncmp
#define strchr ours_strchr
#define STRING_OURS 1
#include "kernel/lib/string.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef strlen
#undef strnlen
#undef strcmp
#undef strncmp
#undef strchr

static int sign(int v) { return (v > 0) - (v < 0); }

static void block_functions_match_libc(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 20000; round++) {
		unsigned char a[96], b[96];

		for (size_t i = 0; i < sizeof a; i++) a[i] = b[i] = (unsigned char)rng_next(&rng);
		size_t len = rng_below(&rng, 48), from = rng_below(&rng, 48), to = rng_below(&rng, 48);

		assert_ptr_equal(ours_memmove(a + to, a + from, len), a + to);
		memmove(b + to, b + from, len);
		assert_memory_equal(a, b, sizeof a);

		assert_ptr_equal(ours_memset(a + to, (int)rng_below(&rng, 1), len), a + to);
		memset(b + to, 0, len);
		assert_memory_equal(a, b, sizeof a);

		size_t left = rng_below(&rng, 48), right = 48;
		assert_ptr_equal(ours_memcpy(a + right, a + left, rng_below(&rng, 48 - left + 1)), a + right);
	}
}

static void memcpy_copies_exactly(void **state __unused_arg) {
	char dst[8] = "zzzzzzz";

	ours_memcpy(dst + 1, "abc", 3);
	assert_string_equal(dst, "zabczzz");
	ours_memcpy(dst, "x", 0);
	assert_string_equal(dst, "zabczzz");
}

static void memset_uses_low_byte(void **state __unused_arg) {
	unsigned char dst[3];

	ours_memset(dst, 0x1ff, sizeof dst);
	assert_int_equal(dst[2], 0xff);
}

static void compare_functions_match_libc(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 2);
	for (int round = 0; round < 20000; round++) {
		char a[12], b[12];

		for (size_t i = 0; i < sizeof a; i++) {
			a[i] = (char)(rng_below(&rng, 3) * 100);
			b[i] = rng_below(&rng, 8) == 0 ? (char)rng_next(&rng) : a[i];
		}
		a[11] = b[11] = 0;
		size_t len = rng_below(&rng, sizeof a + 1);

		assert_int_equal(sign(ours_memcmp(a, b, len)), sign(memcmp(a, b, len)));
		assert_int_equal(sign(ours_strcmp(a, b)), sign(strcmp(a, b)));
		assert_int_equal(sign(ours_strncmp(a, b, len)), sign(strncmp(a, b, len)));
		assert_int_equal(ours_strlen(a), strlen(a));
		assert_int_equal(ours_strnlen(a, len), strnlen(a, len));
		assert_ptr_equal(ours_strchr(a, 100), strchr(a, 100));
		assert_ptr_equal(ours_strchr(a, 0), strchr(a, 0));
	}
}

static void str_copy_fits_copies_whole(void **state __unused_arg) {
	char dst[4];

	assert_true(str_copy(dst, sizeof dst, "abc"));
	assert_string_equal(dst, "abc");
	assert_true(str_copy(dst, sizeof dst, ""));
	assert_string_equal(dst, "");
}

static void str_copy_too_long_is_cut_and_told(void **state __unused_arg) {
	char dst[4];

	assert_false(str_copy(dst, sizeof dst, "abcd"));
	assert_string_equal(dst, "abc");
	assert_false(str_copy(dst, 1, "a"));
	assert_string_equal(dst, "");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(block_functions_match_libc), cmocka_unit_test(memcpy_copies_exactly),
	    cmocka_unit_test(memset_uses_low_byte),       cmocka_unit_test(compare_functions_match_libc),
	    cmocka_unit_test(str_copy_fits_copies_whole), cmocka_unit_test(str_copy_too_long_is_cut_and_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
