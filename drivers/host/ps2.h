// SPDX-License-Identifier: Apache-2.0
// The i8042 keyboard controller: brought to "keyboard on, translated, interrupt on", then read. All waits are
// bounded. The caller serialises.
#pragma once

#include "drivers/host/keyboard.h"

#define PS2_KEYBOARD_IRQ 1u

struct ps2 {
	bool present;
	struct keyboard keyboard;
};

// -ERR_UNSUP: no controller answers; reads then give nothing.
__must_check int ps2_init(struct ps2 *ps2);
// Takes what was typed, without waiting; returns how many bytes (a multiple of whole keys; count of at least
// KEYBOARD_BYTES_MAX).
size_t ps2_read(struct ps2 *ps2, uint8_t *bytes, size_t count);
