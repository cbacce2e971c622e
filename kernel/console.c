// SPDX-License-Identifier: Apache-2.0
// One VM owns the console: its serial port is the host's, byte for byte, after the boot log.
#include "kernel/console.h"

#include "drivers/host/console.h"

static void guest_write(struct chardev *self __unused_arg, const uint8_t *bytes, size_t count) {
	console_write(bytes, count);
}

static size_t guest_read(struct chardev *self __unused_arg, uint8_t *bytes, size_t count) {
	return console_read(bytes, count);
}

static struct chardev guest_port = {.write = guest_write, .read = guest_read};

struct chardev *console_chardev(uint32_t vm_id) {
	return vm_id == 0 ? &guest_port : NULL;
}

void console_serve(void) {
	if (console_poll() && guest_port.input_ready != NULL) guest_port.input_ready(guest_port.device);
	console_step();
}
