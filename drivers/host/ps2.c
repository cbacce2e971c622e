// SPDX-License-Identifier: Apache-2.0
// The i8042 by its two ports (IBM PS/2 technical reference, "Keyboard and Auxiliary Device Controller").
#include "drivers/host/ps2.h"

#include "arch/x86/cpu/insn.h"
#include "kernel/lib/err.h"

#define I8042_DATA 0x60u
#define I8042_STATUS 0x64u
#define I8042_COMMAND 0x64u
#define STATUS_OUTPUT_FULL 0x01u
#define STATUS_INPUT_FULL 0x02u
#define STATUS_FROM_MOUSE 0x20u
#define COMMAND_READ_CONFIG 0x20u
#define COMMAND_WRITE_CONFIG 0x60u
#define COMMAND_DISABLE_MOUSE 0xa7u
#define COMMAND_DISABLE_KEYBOARD 0xadu
#define COMMAND_ENABLE_KEYBOARD 0xaeu
#define CONFIG_KEYBOARD_IRQ 0x01u
#define CONFIG_MOUSE_IRQ 0x02u
#define CONFIG_KEYBOARD_OFF 0x10u
#define CONFIG_MOUSE_OFF 0x20u
#define CONFIG_TRANSLATE 0x40u
#define KEYBOARD_ENABLE_SCANNING 0xf4u
#define KEYBOARD_ACK 0xfau

#define WAIT_READS 100000u
// What may wait in the controller and the keyboard together.
#define FLUSH_BYTES 64u

static bool wait_writable(void) {
	for (unsigned i = 0; i < WAIT_READS; i++) {
		if (!(in8(I8042_STATUS) & STATUS_INPUT_FULL)) return true;
		cpu_pause();
	}
	return false;
}

static bool wait_readable(void) {
	for (unsigned i = 0; i < WAIT_READS; i++) {
		if (in8(I8042_STATUS) & STATUS_OUTPUT_FULL) return true;
		cpu_pause();
	}
	return false;
}

static bool command(uint8_t value) {
	if (!wait_writable()) return false;
	out8(I8042_COMMAND, value);
	return true;
}

static bool data_write(uint8_t value) {
	if (!wait_writable()) return false;
	out8(I8042_DATA, value);
	return true;
}

static void flush(void) {
	for (unsigned i = 0; i < FLUSH_BYTES && (in8(I8042_STATUS) & STATUS_OUTPUT_FULL); i++)
		(void)in8(I8042_DATA);
}

static bool configure(void) {
	if (!command(COMMAND_READ_CONFIG) || !wait_readable()) return false;
	const uint8_t old = in8(I8042_DATA);
	const uint8_t config = (uint8_t)((old | CONFIG_KEYBOARD_IRQ | CONFIG_TRANSLATE | CONFIG_MOUSE_OFF) &
	                                 ~(CONFIG_MOUSE_IRQ | CONFIG_KEYBOARD_OFF));
	return command(COMMAND_WRITE_CONFIG) && data_write(config) && command(COMMAND_ENABLE_KEYBOARD);
}

int ps2_init(struct ps2 *ps2) {
	*ps2 = (struct ps2){0};
	keyboard_init(&ps2->keyboard);
	// An empty bus reads all ones: both buffers full for ever.
	if (in8(I8042_STATUS) == 0xff) return -ERR_UNSUP;
	if (!command(COMMAND_DISABLE_KEYBOARD) || !command(COMMAND_DISABLE_MOUSE)) return -ERR_UNSUP;
	flush();
	if (!configure()) return -ERR_UNSUP;
	// The firmware may have left the keyboard not scanning. Its acknowledgement is taken here, or by ps2_read
	// as an unknown code; a controller without a keyboard stays silent and costs only this wait.
	if (data_write(KEYBOARD_ENABLE_SCANNING) && wait_readable()) (void)in8(I8042_DATA);
	ps2->present = true;
	return 0;
}

size_t ps2_read(struct ps2 *ps2, uint8_t *bytes, size_t count) {
	size_t done = 0;
	if (!ps2->present) return 0;
	for (unsigned i = 0; i < FLUSH_BYTES && count - done >= KEYBOARD_BYTES_MAX; i++) {
		const uint8_t status = in8(I8042_STATUS);
		if (status == 0xff || !(status & STATUS_OUTPUT_FULL)) break;
		const uint8_t code = in8(I8042_DATA);
		if (!(status & STATUS_FROM_MOUSE) && code != KEYBOARD_ACK)
			done += keyboard_decode(&ps2->keyboard, code, bytes + done);
	}
	return done;
}
