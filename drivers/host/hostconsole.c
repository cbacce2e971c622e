// SPDX-License-Identifier: Apache-2.0
// COM1, screen and keyboard as console sinks. The screen and the keyboard are one sink with its source; the
// serial port is the other.
#include "drivers/host/hostconsole.h"

#include "drivers/host/console.h"
#include "drivers/host/fb.h"
#include "drivers/host/hostio.h"
#include "drivers/host/ioapic.h"
#include "drivers/host/ps2.h"
#include "drivers/host/uart.h"
#include "drivers/host/vgatext.h"
#include "kernel/lib/err.h"

// Cells painted in one step: about 20,000 pixels at scale 1.
#define SCREEN_STEP_CELLS 160u

static struct {
	struct uart uart;
	struct ps2 ps2;
	struct fb fb;
	struct term term;
	bool screen, screen_tried;
	bool interrupts;         // somebody takes them
	bool sending, listening; // what the serial port should interrupt for
} host;

// ---- serial ----------------------------------------------------------------------------------------------

static size_t serial_write_now(void *ctx, const uint8_t *bytes, size_t count) {
	return uart_write_now(ctx, bytes, count);
}
static size_t serial_write_wait(void *ctx, const uint8_t *bytes, size_t count) {
	return uart_write_wait(ctx, bytes, count);
}
static bool serial_step(void *ctx) {
	(void)ctx;
	return false;
}
static void serial_drain(void *ctx) { uart_drain(ctx); }
static size_t serial_read(void *ctx, uint8_t *bytes, size_t count) { return uart_read(ctx, bytes, count); }
static void serial_enable(void) {
	if (host.interrupts) uart_interrupts(&host.uart, host.listening, host.sending);
}
static void serial_pending(void *ctx, bool waiting) {
	(void)ctx;
	host.sending = waiting;
	serial_enable();
}
static void serial_listening(void *ctx, bool room) {
	(void)ctx;
	host.listening = room;
	serial_enable();
}

static const struct console_sink_ops serial_ops = {
    .name = "serial",
    .write_now = serial_write_now,
    .write_wait = serial_write_wait,
    .step = serial_step,
    .drain = serial_drain,
    .read = serial_read,
    .pending = serial_pending,
    .listening = serial_listening,
};

// ---- screen and keyboard -----------------------------------------------------------------------------------

static size_t screen_write(void *ctx, const uint8_t *bytes, size_t count) {
	(void)ctx;
	if (host.screen) term_write(&host.term, bytes, count);
	return count;
}
static bool screen_step(void *ctx) {
	(void)ctx;
	return host.screen && term_paint(&host.term, SCREEN_STEP_CELLS);
}
static void screen_drain(void *ctx) {
	while (screen_step(ctx)) {
	}
}
static size_t screen_read(void *ctx, uint8_t *bytes, size_t count) {
	(void)ctx;
	// The terminal's own answers come first: the program that asked waits for them.
	const size_t replied = host.screen ? term_reply(&host.term, bytes, count) : 0;
	return replied + ps2_read(&host.ps2, bytes + replied, count - replied);
}
static void screen_pending(void *ctx, bool waiting) {
	(void)ctx;
	(void)waiting; // term_write takes everything: nothing waits in the ring
}

// A byte that is not read keeps the keyboard controller from taking the next.
static void screen_listening(void *ctx, bool room) {
	(void)ctx;
	(void)room;
}

static const struct console_sink_ops screen_ops = {
    .name = "screen",
    .write_now = screen_write,
    .write_wait = screen_write,
    .step = screen_step,
    .drain = screen_drain,
    .read = screen_read,
    .pending = screen_pending,
    .listening = screen_listening,
};

// ---- attaching ---------------------------------------------------------------------------------------------

void hostconsole_early(void) {
	host.listening = true;
	if (uart_init(&host.uart, UART_COM1_PORT) == 0 && console_attach(&serial_ops, &host.uart) != 0)
		host.uart.present = false;
	log_sink_set(console_log);
}

int hostconsole_screen(const struct boot_info *boot) {
	if (host.screen_tried) return 0;
	host.screen_tried = true;
	const bool graphics = boot->fb.format != BOOT_FB_NONE;
	// A BIOS machine is in the text mode its boot loader left; by EFI there is no such thing.
	if (!graphics && boot->path != BOOT_PATH_MB2) return -ERR_UNSUP;
	void *pixels = graphics ? hostio_map(hpa(boot->fb.base), boot->fb.bytes, PT_WC)
	                        : hostio_map(hpa(VGATEXT_BASE), VGATEXT_BYTES, PT_UC);
	if (pixels == NULL) return -ERR_NOMEM;
	unsigned columns = VGATEXT_COLUMNS, rows = VGATEXT_ROWS;
	struct term_painter painter;
	if (graphics) {
		const int err = fb_init(&host.fb, &boot->fb, pixels);
		if (err != 0) return err;
		fb_clear(&host.fb);
		painter = fb_painter(&host.fb);
		columns = host.fb.columns;
		rows = host.fb.rows;
	} else {
		painter = vgatext_painter(pixels);
	}
	term_init(&host.term, columns, rows, &painter);
	host.screen = true;
	return console_attach(&screen_ops, &host);
}

int hostconsole_keyboard(const struct acpi_info *info) {
	// The flag is reliable only where it says "yes": some firmware forgets it, so the chip is asked either way.
	if (!(info->fixed.boot_arch & ACPI_BOOT_8042)) log_debug("ps2", "ACPI declares no keyboard controller");
	return ps2_init(&host.ps2);
}

bool hostconsole_has_serial(void) { return host.uart.present; }
bool hostconsole_has_screen(void) { return host.screen; }

void hostconsole_select(bool serial, bool screen) {
	if (!serial && host.uart.present) {
		console_detach(&serial_ops);
		host.uart.present = false;
	}
	if (!screen && host.screen) {
		console_detach(&screen_ops);
		host.screen = false;
	}
}

// ---- interrupts --------------------------------------------------------------------------------------------

static int route(const struct acpi_info *info, unsigned irq, uint32_t apic_id, uint8_t vector,
                 trap_irq_fn *handler) {
	uint16_t flags;
	const uint32_t gsi = acpi_isa_gsi(info, irq, &flags);
	trap_irq_set(vector, handler);
	return ioapic_route(gsi, flags, apic_id, vector);
}

int hostconsole_interrupts(const struct acpi_info *info, uint32_t apic_id, trap_irq_fn *handler) {
	int err = 0;
	if (host.uart.present) {
		err = route(info, UART_COM1_IRQ, apic_id, HOST_VEC_SERIAL, handler);
		if (err != 0) return err;
		host.interrupts = true;
		serial_enable();
	}
	if (host.ps2.present) err = route(info, PS2_KEYBOARD_IRQ, apic_id, HOST_VEC_KEYBOARD, handler);
	// What came before the routing left its line up without an edge: take it now.
	hostconsole_interrupt();
	return err;
}

void hostconsole_interrupt(void) {
	(void)console_poll();
	(void)console_step();
	uart_rearm(&host.uart);
}
