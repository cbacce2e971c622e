// SPDX-License-Identifier: Apache-2.0
// What a guest sees of IRR, ISR, TMR, TPR and PPR after each step of a fixed script, by xAPIC MMIO and by x2APIC MSRs: the
// same text on every CPU, whoever serves the local APIC (SDM vol. 3, 10.8.3 to 10.8.5, 29.1 and 29.2).
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define LOW 0x51
#define TIMER 0x62
#define PIN 0x73
#define HIGH 0xA4
#define PIN_PIT 2
#define PIT_COMMAND 0x43
#define PIT_OUT_LOW 0x30 // mode 0, no count yet
#define PIT_TICKS 60
#define TIMER_COUNT 50000u
#define WAIT_US 20000u
#define FLAGS_IF 0x200u

// Each line is what `see` must find, in this order.
static const char *const script[] = {
    "begin: irr - isr - tmr - tpr 00 ppr 00",
    // Two wait; one of them is sent twice and merges.
    "self-IPI 51: irr 51 isr - tmr - tpr 00 ppr 00",
    "self-IPI a4: irr a4 51 isr - tmr - tpr 00 ppr 00",
    "self-IPI a4: irr a4 51 isr - tmr - tpr 00 ppr 00",
    // The TPR holds the lower one back, to the end of its class.
    "TPR 60: irr a4 51 isr - tmr - tpr 60 ppr 60",
    "in a4: irr 51 isr a4 tmr - tpr 60 ppr a0",
    "out a4: irr 51 isr - tmr - tpr 60 ppr 60",
    "TPR 5f: irr 51 isr - tmr - tpr 5f ppr 5f",
    "window: irr 51 isr - tmr - tpr 5f ppr 5f",
    "CR8 4: irr 51 isr - tmr - tpr 40 ppr 40",
    // A higher one interrupts the handler.
    "in 51: irr - isr 51 tmr - tpr 40 ppr 50",
    "in a4: irr - isr a4 51 tmr - tpr 40 ppr a0",
    "out a4: irr - isr 51 tmr - tpr 40 ppr 50",
    "out 51: irr - isr - tmr - tpr 40 ppr 40",
    "CR8 0: irr - isr - tmr - tpr 00 ppr 00",
    // A lower one waits for the handler's EOI.
    "in a4: irr - isr a4 tmr - tpr 00 ppr a0",
    "self-IPI 51: irr 51 isr a4 tmr - tpr 00 ppr a0",
    "out a4: irr 51 isr - tmr - tpr 00 ppr 00",
    "in 51: irr - isr 51 tmr - tpr 00 ppr 50",
    "out 51: irr - isr - tmr - tpr 00 ppr 00",
    "EOI of none: irr - isr - tmr - tpr 00 ppr 00",
    "timer: irr 62 isr - tmr - tpr 00 ppr 00",
    "in 62: irr - isr 62 tmr - tpr 00 ppr 60",
    "out 62: irr - isr - tmr - tpr 00 ppr 00",
};
static const char *const pin_script[] = {
    // A level that still stands at its EOI comes again.
    "level: irr 73 isr - tmr 73 tpr 00 ppr 00",
    "in 73: irr - isr 73 tmr 73 tpr 00 ppr 70",
    "out 73: irr 73 isr - tmr 73 tpr 00 ppr 00",
    "in 73: irr - isr 73 tmr 73 tpr 00 ppr 70",
    "out 73: irr - isr - tmr 73 tpr 00 ppr 00",
    // The trigger mode is that of the last one.
    "edge: irr 73 isr - tmr - tpr 00 ppr 00",
    "in 73: irr - isr 73 tmr - tpr 00 ppr 70",
    "out 73: irr - isr - tmr - tpr 00 ppr 00",
};
#define LINES(table) (sizeof(table) / sizeof(table)[0])

static const char *const *wanted;
static unsigned wanted_count;
static volatile unsigned line, in_handler, levels_left;
static volatile bool quiet;
static char seen[160];

// ---- the text ---------------------------------------------------------------------------------------------------

static char *put(char *to, const char *from) {
	while ((*to = *from++) != 0) to++;
	return to;
}

static char *put_hex(char *to, uint8_t v) {
	const char *digits = "0123456789abcdef";
	return put(to, (char[]){digits[v >> 4], digits[v & 15], 0});
}

static char *put_vectors(char *to, const char *name, unsigned reg) {
	char *start = to = put(to, name);
	for (unsigned v = 256; v-- > 0;)
		if (lapic_bit(reg, (uint8_t)v)) to = put_hex(put(to, " "), (uint8_t)v);
	return to == start ? put(to, " -") : to;
}

// One state, named by what led to it; `vector` is a part of the name, or -1.
static void see(const char *what, int value) {
	if (quiet) return;
	char *to = put(seen, what);
	if (value >= 0) to = put_hex(put(to, " "), (uint8_t)value);
	to = put_vectors(put(to, ": "), "irr", LAPIC_IRR);
	to = put_vectors(put(to, " "), "isr", LAPIC_ISR);
	to = put_vectors(put(to, " "), "tmr", LAPIC_TMR);
	to = put_hex(put(to, " tpr "), (uint8_t)lapic_read(LAPIC_TPR));
	put_hex(put(to, " ppr "), (uint8_t)lapic_read(LAPIC_PPR));
	print("  %s\n", seen);
	const char *want = line < wanted_count ? wanted[line++] : "nothing more";
	check_report(text_equal(seen, want), __FILE__, __LINE__, "the state", "expected %s", want);
}

// ---- what comes --------------------------------------------------------------------------------------------------

static const char *nested; // what the handler does in the middle
static uint8_t nested_vector;

static void pit_level(bool up) {
	if (up)
		pit_oneshot(PIT_TICKS); // its output stays up behind the count
	else
		out8(PIT_COMMAND, PIT_OUT_LOW);
}

// With an exit at once: after a change of IF Bochs may let through what waits until there was one (docs/QUIRKS.md).
static void close_window(void) {
	irq_off();
	out8(PORT_POST, 0);
}

static void on_irq(struct regs *regs) {
	int vector = (int)regs->vector;
	in_handler++;
	out8(PORT_POST, 0);
	CHECK(regs->flags & FLAGS_IF, "%x came in with IF = 0", vector);
	see("in", vector);
	if (vector == PIN && levels_left != 0 && --levels_left == 0) pit_level(false);
	if (nested != NULL) {
		const char *name = nested;
		nested = NULL;
		lapic_self_ipi(nested_vector);
		if (*name != 0) see(name, nested_vector);
		irq_on();
		out8(PORT_POST, 0);
		close_window();
	}
	lapic_eoi();
	see("out", vector);
	in_handler--;
}

static void window(void) {
	irq_on();
	for (unsigned i = 0; i < 10; i++) out8(PORT_POST, 0);
	close_window();
}

static void send(uint8_t vector) {
	lapic_self_ipi(vector);
	see("self-IPI", vector);
}

static void level_wait(const char *what, uint32_t entry, unsigned times) {
	pit_level(false);
	ioapic_route(PIN_PIT, IOAPIC_MASKED);
	ioapic_route(PIN_PIT, entry | PIN);
	levels_left = times;
	pit_level(true);
	CHECK(WAIT_FOR(lapic_bit(LAPIC_IRR, PIN), WAIT_US), "%s: nothing came", what);
	see(what, -1);
}

static void follow(const char *const *table, unsigned count) {
	wanted = table;
	wanted_count = count;
	line = 0;
}

static void lines_are_over(void) {
	CHECK(in_handler == 0, "%u handlers did not end", in_handler);
	CHECK(line == wanted_count, "%u of %u lines", line, wanted_count);
}

static void play(void) {
	follow(script, LINES(script));
	see("begin", -1);
	send(LOW);
	send(HIGH);
	send(HIGH);
	lapic_write(LAPIC_TPR, 0x60);
	see("TPR", 0x60);
	window();
	lapic_write(LAPIC_TPR, 0x5F);
	see("TPR", 0x5F);
	window();
	see("window", -1);
	cr8_write(4);
	see("CR8 4", -1);
	nested = "";
	nested_vector = HIGH;
	window();
	cr8_write(0);
	see("CR8 0", -1);
	nested = "self-IPI";
	nested_vector = LOW;
	lapic_self_ipi(HIGH);
	window();
	lapic_eoi();
	see("EOI of none", -1);
	lapic_write(LAPIC_LVT_TIMER, TIMER);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
	lapic_write(LAPIC_TIMER_INITIAL, TIMER_COUNT);
	CHECK(WAIT_FOR(lapic_bit(LAPIC_IRR, TIMER), WAIT_US), "no timer");
	see("timer", -1);
	window();
	lines_are_over();
}

static void play_pin(void) {
	follow(pin_script, LINES(pin_script));
	level_wait("level", IOAPIC_LEVEL, 2);
	window();
	CHECK(!(ioapic_entry(PIN_PIT) & IOAPIC_REMOTE_IRR), "%x", ioapic_entry(PIN_PIT));
	level_wait("edge", 0, 1);
	window();
	lines_are_over();
}

// The one step that differs: a self-IPI that hardware delivers leaves TMR alone (29.1.5), an accepted one clears its bit
// (10.8.4). tests/system/test_apic_state.py knows who delivers where.
static void self_ipi_of_a_level(void) {
	quiet = true;
	level_wait("level", IOAPIC_LEVEL, 1);
	window();
	CHECK(lapic_bit(LAPIC_TMR, PIN), "the level is not in TMR");
	lapic_self_ipi(PIN);
	bool kept = lapic_bit(LAPIC_TMR, PIN);
	print("  NOTE a self-IPI of a level's vector %s its TMR bit\n", kept ? "keeps" : "clears");
	CHECK(!kept || cpu_is_intel(), "accepted as a level");
	window();
	level_wait("edge", 0, 1); // leaves no bit behind
	window();
	ioapic_route(PIN_PIT, IOAPIC_MASKED);
	quiet = false;
}

// The emulators' own chips have levels of other kinds: Bochs clears a bit of TMR at the EOI and sends no level twice.
static void play_all(void) {
	play();
	if (!on_bulkhead()) return;
	play_pin();
	self_ipi_of_a_level();
}

void guest_main(void);
void guest_main(void) {
	(void)tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	for (unsigned i = 0; i < 4; i++) trap_handle((uint8_t[]){LOW, TIMER, PIN, HIGH}[i], on_irq);
	subtest("xAPIC");
	play_all();
	if (lapic_x2_supported()) {
		subtest("x2APIC");
		lapic_x2_enable();
		play_all();
	} else {
		CHECK_UNLESS(!on_bulkhead(), false, "no x2APIC");
	}
	finish();
}
