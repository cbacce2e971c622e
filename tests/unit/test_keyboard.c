// SPDX-License-Identifier: Apache-2.0
// drivers/host/keyboard: scan codes in, terminal bytes out.
#include "tests/unit/support.h"

#include "drivers/host/keyboard.h"

static struct keyboard kb;

// Feeds codes given as a 0-terminated list and compares the bytes that came out.
static void assert_types(const uint8_t *codes, size_t count, const char *wanted, size_t wanted_bytes) {
	uint8_t out[256];
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		uint8_t bytes[KEYBOARD_BYTES_MAX];
		const size_t got = keyboard_decode(&kb, codes[i], bytes);
		assert_true(got <= KEYBOARD_BYTES_MAX);
		memcpy(out + n, bytes, got);
		n += got;
	}
	assert_int_equal(n, wanted_bytes);
	assert_memory_equal(out, wanted, n);
}
#define TYPES(wanted, ...)                                                                                   \
	do {                                                                                                     \
		const uint8_t codes[] = {__VA_ARGS__};                                                               \
		assert_types(codes, sizeof codes, wanted, sizeof wanted - 1);                                        \
	} while (0)

static int setup(void **state) {
	(void)state;
	keyboard_init(&kb);
	return 0;
}

static void decode_plain_keys(void **state) {
	(void)state;
	TYPES("ls -1\r", 0x26, 0xa6, 0x1f, 0x9f, 0x39, 0xb9, 0x0c, 0x8c, 0x02, 0x82, 0x1c, 0x9c);
	TYPES("\x1b\x7f\t\\`;'/", 0x01, 0x0e, 0x0f, 0x2b, 0x29, 0x27, 0x28, 0x35);
}

static void decode_every_row_is_in_place(void **state) {
	(void)state;
	for (uint8_t i = 0; i < 10; i++) {
		uint8_t bytes[KEYBOARD_BYTES_MAX];
		assert_int_equal(keyboard_decode(&kb, (uint8_t)(0x02 + i), bytes), 1);
		assert_int_equal(bytes[0], "1234567890"[i]);
		assert_int_equal(keyboard_decode(&kb, (uint8_t)(0x10 + i), bytes), 1);
		assert_int_equal(bytes[0], "qwertyuiop"[i]);
		if (i < 9) {
			assert_int_equal(keyboard_decode(&kb, (uint8_t)(0x1e + i), bytes), 1);
			assert_int_equal(bytes[0], "asdfghjkl"[i]);
		}
		assert_int_equal(keyboard_decode(&kb, (uint8_t)(0x2c + i), bytes), 1);
		assert_int_equal(bytes[0], "zxcvbnm,./"[i]);
	}
}

static void decode_shift_and_caps(void **state) {
	(void)state;
	TYPES("A!a", 0x2a, 0x1e, 0x02, 0xaa, 0x1e);
	TYPES("|", 0x36, 0x2b, 0xb6);
	TYPES("A1a", 0x3a, 0xba, 0x1e, 0x02, 0x2a, 0x1e, 0xaa); // Caps: letters only, Shift undoes it
	TYPES("a", 0x3a, 0xba, 0x1e);
}

static void decode_ctrl_and_alt(void **state) {
	(void)state;
	TYPES("\x03\x1d\x1c", 0x1d, 0x2e, 0x1b, 0x2b, 0x9d); // ^C ^] ^backslash
	TYPES("\0", 0x1d, 0x39, 0x9d);
	TYPES("1", 0x1d, 0x02, 0x9d);
	TYPES("\x1bx", 0x38, 0x2d, 0xb8);
	TYPES("\x04", 0xe0, 0x1d, 0x20, 0xe0, 0x9d); // right Ctrl
	TYPES("d", 0x20);
}

static void decode_extended_keys(void **state) {
	(void)state;
	TYPES("\033[A\033[B\033[D\033[C", 0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0x50, 0xe0, 0x4b, 0xe0, 0x4d);
	TYPES("\033[3~", 0xe0, 0x2a, 0xe0, 0x53, 0xe0, 0xd3, 0xe0,
	      0xaa); // with the keyboard's own shift around it
	TYPES("\r/", 0xe0, 0x1c, 0xe0, 0x35);
	TYPES("", 0xe0, 0x5b, 0xe0, 0xdb, 0xe0, 0x37); // Windows key, Print Screen: nothing
	TYPES("\033OP\033[15~\033[24~", 0x3b, 0x3f, 0x58);
	TYPES("789-456+1230.", 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x50, 0x51, 0x52, 0x53);
}

static void decode_pause_and_errors_are_silent(void **state) {
	(void)state;
	TYPES("a", 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e); // Pause is no Ctrl
	TYPES("a", 0x00, 0xff, 0x1e);
}

static void decode_random_codes_stay_in_bounds(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 7);
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t bytes[KEYBOARD_BYTES_MAX];
		assert_true(keyboard_decode(&kb, (uint8_t)rng_next(&rng), bytes) <= KEYBOARD_BYTES_MAX);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(decode_plain_keys, setup),
	    cmocka_unit_test_setup(decode_every_row_is_in_place, setup),
	    cmocka_unit_test_setup(decode_shift_and_caps, setup),
	    cmocka_unit_test_setup(decode_ctrl_and_alt, setup),
	    cmocka_unit_test_setup(decode_extended_keys, setup),
	    cmocka_unit_test_setup(decode_pause_and_errors_are_silent, setup),
	    cmocka_unit_test_setup(decode_random_codes_stay_in_bounds, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
