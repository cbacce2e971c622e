// SPDX-License-Identifier: Apache-2.0
// A VM that is alone has the console as it is: its serial port is the host's, byte for byte, after the boot log.
// Several share it by lines; a line that is not ended is shown after a while, so that a prompt can be answered, and
// goes on where it stopped unless another line came between. When VMs write faster than the slowest sink sends, their
// transmitters stay full meanwhile; a sink that takes nothing at all is not waited for, and what it loses is counted
// (drivers/host/console).
#include "kernel/console.h"

#include "arch/x86/cpu/percpu.h"
#include "drivers/host/console.h"
#include "drivers/host/hostconsole.h"
#include "kernel/clock.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/lock.h"
#include "kernel/lib/ring.h"
#include "kernel/lib/string.h"
#include "kernel/run.h"
#include "kernel/vcpu.h"

// No byte in this time: a real port sends always, and a reader behind an emulated one may rest for a moment.
#define DEAD_NS UINT64_C(10000000000)
#define LINE_BYTES 200u
#define INPUT_BYTES 256u
#define KEY_MENU 0x1du // Ctrl-]
#define PROMPT_TICKS 3u
#define REST_TICKS 50u

struct port {
	struct chardev chardev;
	struct vm *vm;
	bool held; // the guest waits for output_ready
	bool gone; // its VM ended for good
	// Shared console only:
	struct ring input;
	uint8_t input_bytes[INPUT_BYTES];
	uint8_t line[LINE_BYTES]; // not shown yet
	uint32_t length;
	uint32_t quiet; // ticks since the last byte
};

static struct lock lock = LOCK_INIT(LOCK_RANK_PORTS); // lines, `open`, output
static struct port port[CONFIG_VM_MAX];
static unsigned sharing;
static unsigned focus;    // index of the port that has the input
static struct port *open; // its line stands on the console, not ended

static struct {
	bool waiting; // the console is behind, and a port held
	bool dead;    // as sinks are: guests need not wait
	uint64_t sent, sent_ns;
} output;

void console_share(unsigned vms) { sharing = vms; }
static bool shared(void) { return sharing > 1; }

// ---- output ----------------------------------------------------------------------------------------------------

// Looks at the backlog anew; true when guests should not wait.
static bool output_room(void) {
	uint64_t sent, now = clock_now_ns();
	if (!console_backlog(&sent)) return true;
	if (!output.waiting || sent != output.sent) {
		if (sent != output.sent) output.dead = false;
		output.sent = sent;
		output.sent_ns = now;
	}
	output.waiting = true;
	if (now - output.sent_ns >= DEAD_NS) output.dead = true;
	return output.dead;
}

// What is kept of the line, behind the name unless it goes on.
static bool line_show(struct port *p, bool ended) {
	uint8_t text[CONFIG_NAME_MAX + LINE_BYTES + 8];
	size_t length = 0;
	if (open != p)
		length = fmt_print((char *)text, sizeof text, "%s%s| ", open != NULL ? "\r\n" : "", p->vm->name);
	memcpy(text + length, p->line, p->length);
	length += p->length;
	p->length = 0;
	open = p;
	if (ended) {
		text[length++] = '\r';
		text[length++] = '\n';
		open = NULL;
	}
	return console_write(text, length);
}

static bool line_put(struct port *p, uint8_t byte) {
	if (byte == '\r') return true;
	if (byte == '\n') return line_show(p, true);
	p->quiet = 0;
	p->line[p->length++] = byte;
	return p->length < LINE_BYTES || line_show(p, true);
}

static bool lines_write(struct port *p, const uint8_t *bytes, size_t count) {
	bool room = true;
	for (size_t i = 0; i < count; i++) room = line_put(p, bytes[i]) && room;
	return room;
}

static bool guest_write(struct chardev *self, const uint8_t *bytes, size_t count) {
	struct port *p = container_of(self, struct port, chardev);
	lock_acquire(&lock);
	bool room = (shared() ? lines_write(p, bytes, count) : console_write(bytes, count)) || output_room();
	p->held = !room;
	bool later = p->length > 0;
	lock_release(&lock);
	// A screen is painted by steps, a dead port is noticed by looking: neither interrupts.
	if (!room || later || hostconsole_has_screen()) run_tick_request();
	return room;
}

static bool output_release(void) {
	bool held = false;
	lock_acquire(&lock);
	bool room = !output.waiting || output_room();
	if (room) output.waiting = false;
	lock_release(&lock);
	for (unsigned i = 0; i < sharing; i++) {
		if (!__atomic_load_n(&port[i].held, __ATOMIC_RELAXED)) continue;
		held = true;
		if (room) vcpu_request(port[i].vm->vcpu[0], VCPU_REQ_CONSOLE);
	}
	return held && !room;
}

// A line that is not ended is shown when its writer has rested: who has the input, because a prompt is to be answered;
// others only after long, so that lines stay whole. True while one waits.
static bool lines_show(void) {
	bool waits = false;
	lock_acquire(&lock);
	for (unsigned i = 0; i < sharing; i++) {
		struct port *p = &port[i];
		if (p->length > 0 && ++p->quiet >= (i == focus ? PROMPT_TICKS : REST_TICKS))
			(void)line_show(p, false);
		waits = waits || p->length > 0;
	}
	lock_release(&lock);
	return waits;
}

// ---- input -----------------------------------------------------------------------------------------------------

static size_t guest_read(struct chardev *self, uint8_t *bytes, size_t count) {
	struct port *p = container_of(self, struct port, chardev);
	return shared() ? ring_get(&p->input, bytes, (uint32_t)count) : console_read(bytes, count);
}

static void focus_next(void) {
	for (unsigned i = 0; i < sharing; i++) {
		focus = (focus + 1) % sharing;
		if (!port[focus].gone) break;
	}
	log_line("input goes to vm \"%s\" (Ctrl-] for the next)", port[focus].vm->name);
}

// To the one that has the input, as long as it has room; what does not fit is lost, and said, so that Ctrl-] always comes
// through.
static void input_share(void) {
	uint8_t byte;
	uint32_t lost = 0;
	if (port[focus].gone) focus_next();
	while (console_read(&byte, 1) == 1) {
		if (byte == KEY_MENU)
			focus_next();
		else
			lost += 1 - ring_put(&port[focus].input, &byte, 1);
	}
	if (lost > 0)
		log_warn("console", "%u bytes of input lost: vm \"%s\" does not read", lost, port[focus].vm->name);
}

// ---- from the run loop -----------------------------------------------------------------------------------------

void console_vm_serve(struct vm *vm) {
	struct port *p = &port[vm->id];
	if (p->held) {
		p->held = false;
		p->chardev.output_ready(p->chardev.device);
	}
	if (p->chardev.input_ready != NULL && (!shared() || ring_used(&p->input) > 0))
		p->chardev.input_ready(p->chardev.device);
}

void console_vm_gone(struct vm *vm) {
	struct port *p = &port[vm->id];
	lock_acquire(&lock);
	if (p->length > 0) (void)line_show(p, true);
	lock_release(&lock);
	p->gone = true;
}

void console_serve(void) {
	if (console_poll() && sharing > 0) {
		if (shared()) input_share();
		vcpu_request(port[focus].vm->vcpu[0], VCPU_REQ_CONSOLE);
	}
	(void)console_step();
	(void)output_release();
}

bool console_idle(void) {
	bool more = console_step();
	(void)output_release();
	return more;
}

void console_tick(void) {
	bool waits = shared() && lines_show(), more = console_step(), held = output_release();
	if (held || waits || (more && hostconsole_has_screen())) run_tick_request();
}

struct chardev *console_chardev(struct vm *vm) {
	struct port *p = &port[vm->id];
	*p = (struct port){.chardev = {.write = guest_write, .read = guest_read}, .vm = vm};
	ring_init(&p->input, p->input_bytes, INPUT_BYTES, 1);
	return &p->chardev;
}
