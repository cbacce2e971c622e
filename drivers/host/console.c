// SPDX-License-Identifier: Apache-2.0
// One stream to all sinks, one from all sources. Each sink has a ring; in synchronous mode it is emptied
// within the write. Order inside a sink is never changed: bytes go past the ring only when it is empty.
#include "drivers/host/console.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/lock.h"
#include "kernel/lib/string.h"

// What one step sends at most per sink, so that a step is short on any device.
#define STEP_BYTES 256u

struct sink {
	const struct console_sink_ops *ops;
	void *ctx;
	uint32_t head, tail; // free-running; head - tail bytes wait
	uint64_t lost;       // bytes dropped since the last report
	uint64_t sent;       // bytes the device took
	bool waiting;        // told to ops->pending
	bool deaf;           // told to ops->listening: there is no room for its input
	uint8_t ring[CONSOLE_RING_BYTES];
};

static struct lock console_lock = LOCK_INIT(LOCK_RANK_CONSOLE);
static bool console_broken; // set once, by console_panic

static struct console {
	unsigned sink_count;
	bool deferred;
	bool mid_line; // the last byte written was no line feed
	uint64_t dropped;
	uint32_t early_bytes;
	uint64_t early_lost;
	uint32_t input_head, input_tail;
	uint8_t input[CONSOLE_INPUT_BYTES];
	uint8_t early[CONSOLE_EARLY_BYTES];
	struct sink sink[CONSOLE_SINK_MAX];
} console __guarded_by(console_lock);

_Static_assert((CONSOLE_RING_BYTES & (CONSOLE_RING_BYTES - 1)) == 0, "ring size is a power of two");
_Static_assert((CONSOLE_INPUT_BYTES & (CONSOLE_INPUT_BYTES - 1)) == 0, "ring size is a power of two");

// A panic may come while this or another CPU is inside: from then on nobody waits for the lock.
static void enter(void) __acquires(&console_lock) __no_lock_analysis {
	if (!__atomic_load_n(&console_broken, __ATOMIC_ACQUIRE)) lock_acquire(&console_lock);
}
static void leave(void) __releases(&console_lock) __no_lock_analysis {
	if (!__atomic_load_n(&console_broken, __ATOMIC_ACQUIRE)) lock_release(&console_lock);
}

// ---- one sink --------------------------------------------------------------------------------------------

static uint32_t sink_waiting(const struct sink *s) { return s->head - s->tail; }

static void sink_tell(struct sink *s) {
	const bool waiting = sink_waiting(s) != 0;
	if (waiting == s->waiting) return;
	s->waiting = waiting;
	s->ops->pending(s->ctx, waiting);
}

// Sends at most `most` bytes of the ring, waiting for the device or not; false when the device took less.
static bool sink_send(struct sink *s, uint32_t most, bool wait) {
	uint32_t left = (uint32_t)min_u64(most, sink_waiting(s));
	while (left != 0) {
		const uint32_t at = s->tail % CONSOLE_RING_BYTES;
		const uint32_t run = (uint32_t)min_u64(left, CONSOLE_RING_BYTES - at);
		const size_t sent = wait ? s->ops->write_wait(s->ctx, s->ring + at, run)
		                         : s->ops->write_now(s->ctx, s->ring + at, run);
		s->tail += (uint32_t)sent;
		s->sent += sent;
		left -= (uint32_t)sent;
		if (sent < run) return false;
	}
	return true;
}

static void sink_drop(struct sink *s, uint64_t bytes) __requires_lock(&console_lock) {
	s->lost += bytes;
	console.dropped += bytes;
}

// Sends the whole ring; what a dead device does not take is dropped, so the caller always gets on.
static void sink_send_all(struct sink *s) __requires_lock(&console_lock) {
	if (!sink_send(s, UINT32_MAX, true)) {
		sink_drop(s, sink_waiting(s));
		s->tail = s->head;
	}
}

static void sink_put(struct sink *s, const uint8_t *bytes, size_t count) __requires_lock(&console_lock) {
	while (count != 0) {
		const uint32_t space = CONSOLE_RING_BYTES - sink_waiting(s);
		if (space == 0) {
			if (console.deferred) {
				sink_drop(s, count);
				return;
			}
			sink_send_all(s);
			continue;
		}
		const uint32_t at = s->head % CONSOLE_RING_BYTES;
		const size_t run = (size_t)min_u64(min_u64(count, space), CONSOLE_RING_BYTES - at);
		memcpy(s->ring + at, bytes, run);
		s->head += (uint32_t)run;
		bytes += run;
		count -= run;
	}
}

#define LOST_LINE_BYTES 80u

// The report of a loss goes where the loss was, as soon as it fits.
static void sink_report(struct sink *s) __requires_lock(&console_lock) {
	if (s->lost == 0 || CONSOLE_RING_BYTES - sink_waiting(s) < LOST_LINE_BYTES) return;
	char line[LOST_LINE_BYTES];
	const size_t len = fmt_print(line, sizeof line, "\r\nbulkhead: console: %llu bytes lost on %s\r\n",
	                             (unsigned long long)s->lost, s->ops->name);
	s->lost = 0;
	sink_put(s, (const uint8_t *)line, (size_t)min_u64(len, sizeof line - 1));
}

static void sink_write(struct sink *s, const uint8_t *bytes, size_t count) __requires_lock(&console_lock) {
	sink_report(s);
	if (console.deferred && sink_waiting(s) == 0) {
		const size_t sent = s->ops->write_now(s->ctx, bytes, count);
		s->sent += sent;
		bytes += sent;
		count -= sent;
	}
	sink_put(s, bytes, count);
	if (!console.deferred) {
		sink_send_all(s);
		while (s->ops->step(s->ctx)) {
		}
	}
	sink_tell(s);
}

// ---- output ----------------------------------------------------------------------------------------------

static void early_keep(const uint8_t *bytes, size_t count) __requires_lock(&console_lock) {
	const size_t kept = (size_t)min_u64(count, CONSOLE_EARLY_BYTES - console.early_bytes);
	memcpy(console.early + console.early_bytes, bytes, kept);
	console.early_bytes += (uint32_t)kept;
	console.early_lost += count - kept;
}

int console_attach(const struct console_sink_ops *ops, void *ctx) {
	int err = -ERR_NOMEM;
	enter();
	if (console.sink_count < CONSOLE_SINK_MAX) {
		struct sink *s = &console.sink[console.sink_count++];
		s->ops = ops;
		s->ctx = ctx;
		s->lost = console.early_lost;
		console.dropped += console.early_lost;
		sink_write(s, console.early, console.early_bytes);
		err = 0;
	}
	leave();
	return err;
}

void console_detach(const struct console_sink_ops *ops) {
	enter();
	for (unsigned i = 0; i < console.sink_count; i++) {
		struct sink *s = &console.sink[i];
		if (s->ops != ops) continue;
		sink_send_all(s);
		s->ops->drain(s->ctx);
		console.sink_count--;
		memmove(s, s + 1, (console.sink_count - i) * sizeof *s);
		break;
	}
	leave();
}

void console_reset(void) {
	enter();
	memset(&console, 0, sizeof console);
	leave();
}

static void write_all(const uint8_t *bytes, size_t count) __requires_lock(&console_lock) {
	if (count == 0) return;
	// Kept until the guests run: by then every sink of the machine is attached.
	if (!console.deferred) early_keep(bytes, count);
	for (unsigned i = 0; i < console.sink_count; i++) sink_write(&console.sink[i], bytes, count);
	console.mid_line = bytes[count - 1] != '\n';
}

static bool backlog(uint64_t *sent) __requires_lock(&console_lock) {
	bool any = false;
	*sent = 0;
	for (unsigned i = 0; i < console.sink_count; i++) {
		const struct sink *s = &console.sink[i];
		if (sink_waiting(s) <= CONSOLE_BACKLOG_BYTES) continue;
		*sent += s->sent;
		any = true;
	}
	return any;
}

bool console_write(const uint8_t *bytes, size_t count) {
	uint64_t sent;
	enter();
	write_all(bytes, count);
	const bool full = backlog(&sent);
	leave();
	return !full;
}

bool console_backlog(uint64_t *sent) {
	enter();
	const bool any = backlog(sent);
	leave();
	return any;
}

void console_log(enum log_level level, const char *line, size_t len) {
	(void)level;
	static const uint8_t prefix[] = "\r\nbulkhead: ", end[] = "\r\n";
	enter();
	const size_t skip = console.mid_line ? 0 : 2; // a guest's unfinished line stays readable
	write_all(prefix + skip, sizeof prefix - 1 - skip);
	write_all((const uint8_t *)line, len);
	write_all(end, sizeof end - 1);
	leave();
}

bool console_step(void) {
	bool more = false;
	enter();
	for (unsigned i = 0; i < console.sink_count; i++) {
		struct sink *s = &console.sink[i];
		sink_report(s);
		(void)sink_send(s, STEP_BYTES, false);
		more |= s->ops->step(s->ctx);
		more |= sink_waiting(s) != 0;
		sink_tell(s);
	}
	leave();
	return more;
}

static void flush_all(void) __requires_lock(&console_lock) {
	for (unsigned i = 0; i < console.sink_count; i++) {
		struct sink *s = &console.sink[i];
		sink_send_all(s);
		sink_report(s);
		sink_send_all(s);
		s->ops->drain(s->ctx);
		sink_tell(s);
	}
}

void console_flush(void) {
	enter();
	flush_all();
	leave();
}

void console_set_deferred(bool deferred) {
	enter();
	console.deferred = deferred;
	if (!deferred) flush_all();
	leave();
}

void console_panic(void) {
	__atomic_store_n(&console_broken, true, __ATOMIC_RELEASE);
	console_set_deferred(false);
}

uint64_t console_dropped(void) {
	enter();
	const uint64_t dropped = console.dropped;
	leave();
	return dropped;
}

// ---- input -----------------------------------------------------------------------------------------------

static uint32_t input_room(void) __requires_lock(&console_lock) {
	return CONSOLE_INPUT_BYTES - (console.input_head - console.input_tail);
}

// With its interrupt on, a device whose bytes we leave where they are would hold its line for ever.
static void sink_listen(struct sink *s) __requires_lock(&console_lock) {
	const bool deaf = input_room() == 0;
	if (deaf == s->deaf) return;
	s->deaf = deaf;
	s->ops->listening(s->ctx, !deaf);
}

static void poll_all(void) __requires_lock(&console_lock) {
	for (unsigned i = 0; i < console.sink_count; i++) {
		struct sink *s = &console.sink[i];
		size_t got = 1;
		while (got != 0 && input_room() != 0) { // bounded by the room
			uint8_t byte[64];
			got = s->ops->read(s->ctx, byte, (size_t)min_u64(sizeof byte, input_room()));
			for (size_t k = 0; k < got; k++)
				console.input[console.input_head++ % CONSOLE_INPUT_BYTES] = byte[k];
		}
		sink_listen(s);
	}
}

bool console_poll(void) {
	enter();
	poll_all();
	const bool waits = console.input_head != console.input_tail;
	leave();
	return waits;
}

size_t console_read(uint8_t *bytes, size_t count) {
	size_t done = 0;
	enter();
	poll_all();
	while (done < count && console.input_tail != console.input_head)
		bytes[done++] = console.input[console.input_tail++ % CONSOLE_INPUT_BYTES];
	for (unsigned i = 0; i < console.sink_count; i++) sink_listen(&console.sink[i]);
	leave();
	return done;
}
