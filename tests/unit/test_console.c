// SPDX-License-Identifier: Apache-2.0
// drivers/host/console with sinks in memory: order, replay, both ways of working, and that what is dropped is
// counted and reported.
#include "tests/unit/support.h"

#include "drivers/host/console.h"

struct memory_sink {
	char text[200000];
	size_t bytes;
	size_t budget; // what write_now still takes
	bool dead;     // takes nothing, however long one waits
	bool waiting;
	unsigned work; // steps of its own
	const char *input;
	bool deaf;
};

static size_t take(struct memory_sink *s, const uint8_t *bytes, size_t count) {
	assert_true(s->bytes + count < sizeof s->text);
	memcpy(s->text + s->bytes, bytes, count);
	s->bytes += count;
	s->text[s->bytes] = 0;
	return count;
}
static size_t write_now(void *ctx, const uint8_t *bytes, size_t count) {
	struct memory_sink *s = ctx;
	const size_t now = count < s->budget ? count : s->budget;
	s->budget -= now;
	return take(s, bytes, now);
}
static size_t write_wait(void *ctx, const uint8_t *bytes, size_t count) {
	struct memory_sink *s = ctx;
	return s->dead ? 0 : take(s, bytes, count);
}
static bool step(void *ctx) {
	struct memory_sink *s = ctx;
	if (s->work > 0) s->work--;
	return s->work > 0;
}
static void drain(void *ctx) { ((struct memory_sink *)ctx)->work = 0; }
static size_t read_input(void *ctx, uint8_t *bytes, size_t count) {
	struct memory_sink *s = ctx;
	size_t n = 0;
	while (n < count && s->input != NULL && *s->input != 0) bytes[n++] = (uint8_t)*s->input++;
	return n;
}
static void pending(void *ctx, bool waiting) {
	struct memory_sink *s = ctx;
	assert_true(s->waiting != waiting);
	s->waiting = waiting;
}

static void listening(void *ctx, bool room) {
	struct memory_sink *s = ctx;
	assert_true(s->deaf == room);
	s->deaf = !room;
}

static const struct console_sink_ops ops = {"memory", write_now,  write_wait, step,
                                            drain,    read_input, pending,    listening};
static struct memory_sink a, b;

static int setup(void **state) {
	(void)state;
	console_reset();
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	return 0;
}

static void say(const char *text) { console_write((const uint8_t *)text, strlen(text)); }

static void write_reaches_every_sink_and_replays(void **state) {
	(void)state;
	say("early ");
	assert_int_equal(console_attach(&ops, &a), 0);
	say("one ");
	assert_int_equal(console_attach(&ops, &b), 0);
	say("two");
	assert_string_equal(a.text, "early one two");
	assert_string_equal(b.text, "early one two");
	assert_int_equal(console_attach(&ops, &a), -2);
	assert_int_equal(console_dropped(), 0);
}

static void early_overflow_is_reported(void **state) {
	(void)state;
	for (unsigned i = 0; i < 1000; i++) say("0123456789");
	assert_int_equal(console_attach(&ops, &a), 0);
	assert_non_null(strstr(a.text, "bulkhead: console: 1808 bytes lost on memory"));
	assert_int_equal(console_dropped(), 10000 - CONSOLE_EARLY_BYTES);
}

static void log_lines_stand_alone(void **state) {
	(void)state;
	assert_int_equal(console_attach(&ops, &a), 0);
	console_log(LOG_INFO, "first", 5);
	say("guest says");
	console_log(LOG_WARN, "second", 6);
	say("more\n");
	console_log(LOG_WARN, "third", 5);
	assert_string_equal(a.text,
	                    "bulkhead: first\r\nguest says\r\nbulkhead: second\r\nmore\nbulkhead: third\r\n");
}

static void deferred_output_moves_in_steps(void **state) {
	(void)state;
	assert_int_equal(console_attach(&ops, &a), 0);
	console_set_deferred(true);
	say("hello, world");
	assert_string_equal(a.text, "");
	assert_true(a.waiting);
	a.budget = 5;
	assert_true(console_step());
	assert_string_equal(a.text, "hello");
	say("!");
	a.budget = 100;
	assert_false(console_step());
	assert_string_equal(a.text, "hello, world!");
	assert_false(a.waiting);
	a.work = 2;
	assert_true(console_step());
	assert_false(console_step());
}

static void deferred_overflow_is_counted_and_reported(void **state) {
	(void)state;
	assert_int_equal(console_attach(&ops, &a), 0);
	assert_int_equal(console_attach(&ops, &b), 0);
	console_set_deferred(true);
	b.budget = SIZE_MAX;
	for (unsigned i = 0; i < 2000; i++) {
		say("0123456789");
		while (b.waiting) (void)console_step();
	}
	assert_int_equal(console_dropped(), 20000 - CONSOLE_RING_BYTES); // of the slow sink only
	assert_int_equal(b.bytes, 20000);
	a.budget = SIZE_MAX;
	while (console_step()) {
	}
	say("after");
	while (console_step()) {
	}
	assert_non_null(strstr(a.text, "bulkhead: console: 3616 bytes lost on memory\r\n"));
	assert_string_equal(a.text + a.bytes - 5, "after");
	assert_null(strstr(b.text, "lost"));
}

static void leaving_deferred_sends_what_waits(void **state) {
	(void)state;
	assert_int_equal(console_attach(&ops, &a), 0);
	console_set_deferred(true);
	say("waits");
	console_set_deferred(false);
	assert_string_equal(a.text, "waits");
	assert_false(a.waiting);
}

static void dead_sink_does_not_stop_the_other(void **state) {
	(void)state;
	a.dead = true;
	assert_int_equal(console_attach(&ops, &a), 0);
	assert_int_equal(console_attach(&ops, &b), 0);
	for (unsigned i = 0; i < 3000; i++) say("0123456789");
	assert_int_equal(b.bytes, 30000);
	assert_true(console_dropped() >= 30000);
	console_flush();
	a.dead = false;
	say("back");
	assert_non_null(strstr(a.text, "bytes lost on memory"));
	assert_string_equal(a.text + a.bytes - 4, "back");
}

static void input_of_all_sources_is_merged_and_bounded(void **state) {
	(void)state;
	static char flood[3 * CONSOLE_INPUT_BYTES];
	static uint8_t got[sizeof flood];
	assert_int_equal(console_attach(&ops, &a), 0);
	assert_int_equal(console_attach(&ops, &b), 0);
	assert_false(console_poll());
	a.input = "ab";
	b.input = "cd";
	assert_true(console_poll());
	assert_int_equal(console_read(got, 3), 3);
	assert_memory_equal(got, "abc", 3);
	assert_int_equal(console_read(got, 3), 1);
}

static void input_beyond_the_ring_stays_in_the_device(void **state) {
	(void)state;
	static char flood[3 * CONSOLE_INPUT_BYTES];
	uint8_t got[100];
	assert_int_equal(console_attach(&ops, &a), 0);
	for (size_t i = 0; i < sizeof flood - 1; i++) flood[i] = (char)('a' + i % 23);
	a.input = flood;
	assert_false(a.deaf);
	assert_true(console_poll());
	assert_true(a.deaf);
	assert_int_equal(a.input - flood, CONSOLE_INPUT_BYTES);
	size_t next = 0;
	for (size_t n; (n = console_read(got, sizeof got)) != 0;)
		for (size_t i = 0; i < n; i++) assert_int_equal(got[i], 'a' + (int)(next++ % 23));
	assert_int_equal(next, sizeof flood - 1);
	assert_false(a.deaf);
}

static void backlog_tells_slow_from_dead(void **state) {
	(void)state;
	uint64_t sent, before;
	unsigned written = 0;
	assert_int_equal(console_attach(&ops, &a), 0);
	console_set_deferred(true);
	while (console_write((const uint8_t *)"0123456789", 10)) written += 10;
	assert_in_range(written, CONSOLE_BACKLOG_BYTES - 10, CONSOLE_BACKLOG_BYTES);
	assert_true(console_backlog(&before));
	(void)console_step();
	assert_true(console_backlog(&sent));
	assert_int_equal(sent, before);
	a.budget = 1;
	(void)console_step();
	assert_true(console_backlog(&sent));
	assert_int_equal(sent, before + 1);
	a.budget = 100;
	(void)console_step();
	assert_false(console_backlog(&sent));
	assert_int_equal(console_dropped(), 0);
}

static void deferred_write_goes_out_when_nothing_waits(void **state) {
	(void)state;
	assert_int_equal(console_attach(&ops, &a), 0);
	console_set_deferred(true);
	a.budget = 3;
	say("hello");
	assert_string_equal(a.text, "hel");
	assert_true(a.waiting);
	a.budget = 100;
	say("!");
	assert_string_equal(a.text, "hel"); // not past what waits
	(void)console_step();
	assert_string_equal(a.text, "hello!");
}

static void random_traffic_keeps_order(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 5);
	assert_int_equal(console_attach(&ops, &a), 0);
	unsigned next = 0;
	for (unsigned i = 0; i < 5000; i++) {
		uint8_t bytes[64];
		const size_t n = rng_below(&rng, 40);
		for (size_t k = 0; k < n; k++) bytes[k] = (uint8_t)('a' + next++ % 23);
		console_write(bytes, n);
		a.budget = rng_below(&rng, 60);
		if (rng_below(&rng, 3)) (void)console_step();
		if (rng_below(&rng, 20) == 0) console_set_deferred(rng_below(&rng, 2));
	}
	console_flush();
	assert_int_equal(console_dropped(), 0);
	assert_int_equal(a.bytes, next);
	for (size_t i = 0; i < a.bytes; i++) assert_int_equal(a.text[i], 'a' + (int)(i % 23));
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(write_reaches_every_sink_and_replays, setup),
	    cmocka_unit_test_setup(early_overflow_is_reported, setup),
	    cmocka_unit_test_setup(log_lines_stand_alone, setup),
	    cmocka_unit_test_setup(deferred_output_moves_in_steps, setup),
	    cmocka_unit_test_setup(deferred_overflow_is_counted_and_reported, setup),
	    cmocka_unit_test_setup(leaving_deferred_sends_what_waits, setup),
	    cmocka_unit_test_setup(dead_sink_does_not_stop_the_other, setup),
	    cmocka_unit_test_setup(input_of_all_sources_is_merged_and_bounded, setup),
	    cmocka_unit_test_setup(input_beyond_the_ring_stays_in_the_device, setup),
	    cmocka_unit_test_setup(backlog_tells_slow_from_dead, setup),
	    cmocka_unit_test_setup(deferred_write_goes_out_when_nothing_waits, setup),
	    cmocka_unit_test_setup(random_traffic_keeps_order, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
