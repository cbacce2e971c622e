// SPDX-License-Identifier: Apache-2.0
// Scan code set 1 by table (IBM PS/2 technical reference, "Keyboard"): make codes 0x01 to 0x58, the break bit,
// the E0 prefix for the keys that came with the 101-key keyboard, E1 for Pause.
#include "drivers/host/keyboard.h"

#include "kernel/lib/string.h"

#define CODE_BREAK 0x80u
#define CODE_E0 0xe0u
#define CODE_E1 0xe1u
#define CODE_ERROR_LOW 0x00u
#define CODE_ERROR_HIGH 0xffu
#define E1_BYTES 2u // what follows E1
#define KEY_ENTER 0x1cu
#define KEY_CTRL 0x1du
#define KEY_SHIFT_LEFT 0x2au
#define KEY_SLASH 0x35u
#define KEY_SHIFT_RIGHT 0x36u
#define KEY_ALT 0x38u
#define KEY_CAPS 0x3au
#define ESC 0x1bu

#define KEY_COUNT 0x3au
// Indexed by make code; 0: no character. The keypad is handled apart.
static const char plain[] = "\0\0331234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";

_Static_assert(sizeof plain == KEY_COUNT + 1 && sizeof shifted == KEY_COUNT + 1, "layout tables");

void keyboard_init(struct keyboard *keyboard) { memset(keyboard, 0, sizeof *keyboard); }

static size_t emit(uint8_t *bytes, const char *text) {
	const size_t len = strlen(text);
	memcpy(bytes, text, len);
	return len;
}

// Keys that send an escape sequence (what a VT220 or xterm sends): the E0 keys, and the keypad without E0.
static const char *key_sequence(uint8_t code) {
	switch (code) {
	case 0x47: return "\033[H";  // Home
	case 0x48: return "\033[A";  // up
	case 0x49: return "\033[5~"; // Page Up
	case 0x4b: return "\033[D";  // left
	case 0x4d: return "\033[C";  // right
	case 0x4f: return "\033[F";  // End
	case 0x50: return "\033[B";  // down
	case 0x51: return "\033[6~"; // Page Down
	case 0x52: return "\033[2~"; // Insert
	case 0x53: return "\033[3~"; // Delete
	default: return NULL;
	}
}

// F1 to F10 are 0x3b to 0x44, F11 and F12 0x57 and 0x58.
static const char *function_key(uint8_t code) {
	static const char *const low[] = {"\033OP",   "\033OQ",   "\033OR",   "\033OS",   "\033[15~",
	                                  "\033[17~", "\033[18~", "\033[19~", "\033[20~", "\033[21~"};
	if (code >= 0x3b && code <= 0x44) return low[code - 0x3b];
	if (code == 0x57) return "\033[23~";
	if (code == 0x58) return "\033[24~";
	return NULL;
}

// True when the code is a modifier; its state is then kept.
static bool modifier(struct keyboard *k, uint8_t code, bool extended, bool pressed) {
	switch (code) {
	case KEY_SHIFT_LEFT:
	case KEY_SHIFT_RIGHT:
		// E0 2A and E0 36 are shifts that the keyboard itself puts around cursor keys: no key of the user's.
		if (!extended && code == KEY_SHIFT_LEFT) k->shift_left = pressed;
		if (!extended && code == KEY_SHIFT_RIGHT) k->shift_right = pressed;
		return true;
	case KEY_CTRL: k->ctrl = pressed; return true;
	case KEY_ALT: k->alt = pressed; return true;
	case KEY_CAPS:
		if (pressed) k->caps = !k->caps;
		return true;
	default: return false;
	}
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The character of a printing key with the modifiers applied; false when the key has none.
static bool character(const struct keyboard *k, uint8_t code, uint8_t *out) {
	if (code >= KEY_COUNT || plain[code] == 0) return false;
	const bool shift = k->shift_left || k->shift_right;
	const bool upper = is_letter(plain[code]) ? shift != k->caps : shift;
	const char c = upper ? shifted[code] : plain[code];
	*out = (uint8_t)c;
	// Control characters are the columns 4 and 5 of ASCII with the upper bits gone; Ctrl-Space is NUL.
	if (k->ctrl && ((c >= '@' && c <= '_') || is_letter(c) || c == ' ')) *out = (uint8_t)(c & 0x1f);
	return true;
}

// Keypad digits, their cursor meaning ignored: Num Lock is taken as on.
static const char keypad[] = "789-456+1230.";
#define KEYPAD_FIRST 0x47u

static size_t key_press(const struct keyboard *k, uint8_t code, bool extended, uint8_t *bytes) {
	size_t n = 0;
	const char *text = extended ? key_sequence(code) : function_key(code);
	if (text != NULL) return emit(bytes, text);
	if (k->alt) bytes[n++] = ESC; // what terminals send for Meta
	if (!extended && code >= KEYPAD_FIRST && code < KEYPAD_FIRST + sizeof keypad - 1) {
		bytes[n++] = (uint8_t)keypad[code - KEYPAD_FIRST];
		return n;
	}
	// Of the E0 keys only the keypad's Enter and slash print.
	if ((extended && code != KEY_ENTER && code != KEY_SLASH) || !character(k, code, &bytes[n])) return 0;
	return n + 1;
}

size_t keyboard_decode(struct keyboard *keyboard, uint8_t code, uint8_t bytes[static KEYBOARD_BYTES_MAX]) {
	if (keyboard->prefix != 0) { // inside Pause, which has no break code and no meaning here
		keyboard->prefix--;
		return 0;
	}
	if (code == CODE_E1) {
		keyboard->prefix = E1_BYTES;
		return 0;
	}
	if (code == CODE_E0) {
		keyboard->extended = true;
		return 0;
	}
	const bool extended = keyboard->extended;
	keyboard->extended = false;
	if (code == CODE_ERROR_LOW || code == CODE_ERROR_HIGH) return 0; // overrun: keys were lost
	const bool pressed = !(code & CODE_BREAK);
	const uint8_t key = (uint8_t)(code & ~CODE_BREAK);
	if (modifier(keyboard, key, extended, pressed) || !pressed) return 0;
	return key_press(keyboard, key, extended, bytes);
}
