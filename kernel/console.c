// SPDX-License-Identifier: Apache-2.0
// One VM owns the console: its serial port is the host's, byte for byte, after the boot log. When it writes faster
// than the slowest sink sends, its transmitter stays full meanwhile; a sink that takes nothing at all is not waited
// for, and what it loses is counted (drivers/host/console).
#include "kernel/console.h"

#include "drivers/host/console.h"
#include "drivers/host/hostconsole.h"
#include "kernel/clock.h"
#include "kernel/run.h"
#include "kernel/vm.h"

// No byte in this time: a real port sends always, and a reader behind an emulated one may rest for a moment.
#define DEAD_NS UINT64_C(10000000000)

static struct {
	bool held; // the guest waits for output_ready
	bool dead; // as sinks are: the guest need not wait
	uint64_t sent, sent_ns;
} output;

// Looks at the backlog anew; true when the guest should not wait.
static bool output_room(void) {
	uint64_t sent, now = clock_now_ns();
	if (!console_backlog(&sent)) return true;
	if (!output.held || sent != output.sent) {
		if (sent != output.sent) output.dead = false;
		output.sent = sent;
		output.sent_ns = now;
	}
	if (now - output.sent_ns >= DEAD_NS) output.dead = true;
	return output.dead;
}

static bool guest_write(struct chardev *self __unused_arg, const uint8_t *bytes, size_t count) {
	bool room = console_write(bytes, count) || output_room();
	// A screen is painted by steps, a dead port is noticed by looking: neither interrupts.
	if (!room || hostconsole_has_screen()) run_tick_request(vm_get(0));
	output.held = !room;
	return room;
}

static size_t guest_read(struct chardev *self __unused_arg, uint8_t *bytes, size_t count) {
	return console_read(bytes, count);
}

static struct chardev guest_port = {.write = guest_write, .read = guest_read};

static void output_release(void) {
	if (!output.held || !output_room()) return;
	output.held = false;
	guest_port.output_ready(guest_port.device);
}

struct chardev *console_chardev(uint32_t vm_id) {
	return vm_id == 0 ? &guest_port : NULL;
}

void console_serve(void) {
	if (console_poll() && guest_port.input_ready != NULL) guest_port.input_ready(guest_port.device);
	(void)console_step();
	output_release();
}

bool console_idle(void) {
	bool more = console_step();
	output_release();
	return more;
}

void console_tick(void) {
	bool more = console_step();
	output_release();
	if (output.held || (more && hostconsole_has_screen())) run_tick_request(vm_get(0));
}
