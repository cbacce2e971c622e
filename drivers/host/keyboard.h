// SPDX-License-Identifier: Apache-2.0
// Decoder of PS/2 scan code set 1 (what the i8042 delivers with translation on) into the bytes a terminal
// would send: ASCII by a US layout with Shift, Ctrl, Alt and Caps Lock, escape sequences for the cursor and
// editing keys. Pure; drivers/host/ps2 reads the controller.
#pragma once

#include "kernel/lib/types.h"

#define KEYBOARD_BYTES_MAX 5u

struct keyboard {
	bool shift_left, shift_right, ctrl, alt, caps;
	uint8_t prefix; // bytes of an E0 or E1 sequence still expected
	bool extended;
};

void keyboard_init(struct keyboard *keyboard);
// One scan code byte in; up to KEYBOARD_BYTES_MAX input bytes out; returns how many.
size_t keyboard_decode(struct keyboard *keyboard, uint8_t code, uint8_t bytes[static KEYBOARD_BYTES_MAX]);
