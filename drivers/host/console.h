// SPDX-License-Identifier: Apache-2.0
// The hypervisor's console: one stream out to every attached sink (serial port, screen), one stream in from
// every source (serial port, keyboard). Early output is kept and replayed to a sink that is attached later.
// Two ways of working: synchronous (boot, panic: a write returns when it is out) and deferred (a write goes
// into a ring per sink; interrupts and console_step send it in bounded pieces). What a full ring or a dead
// port makes us drop is counted and reported in the stream itself. Sinks are ops tables: host-testable.
// Callable from any CPU with interrupts off; an innermost lock of its own.
#pragma once

#include "kernel/lib/log.h"

#define CONSOLE_SINK_MAX 2u
#define CONSOLE_RING_BYTES 16384u // per sink, a power of two
#define CONSOLE_EARLY_BYTES 8192u
#define CONSOLE_INPUT_BYTES 4096u
// More than this waiting for a sink: the writer should wait. The rest is for those who do not, and for the log.
#define CONSOLE_BACKLOG_BYTES 12288u

struct console_sink_ops {
	const char *name;
	// Takes what it can without waiting; returns how many bytes.
	size_t (*write_now)(void *ctx, const uint8_t *bytes, size_t count);
	// Takes all, waiting within bounds; returns how many went out (fewer: the device is dead).
	size_t (*write_wait)(void *ctx, const uint8_t *bytes, size_t count);
	// One bounded piece of work of its own (painting); true when more remains.
	bool (*step)(void *ctx);
	// Finishes all work of its own, within bounds (shift register, painting).
	void (*drain)(void *ctx);
	// Received bytes, without waiting; returns how many.
	size_t (*read)(void *ctx, uint8_t *bytes, size_t count);
	// Bytes wait for this sink (true) or no longer (false): turns its transmit interrupt on or off.
	void (*pending)(void *ctx, bool waiting);
	// Whether there is room for input: turns the receive interrupt on or off. Without room nothing is read, and
	// the device keeps what it can (true at first).
	void (*listening)(void *ctx, bool room);
};

// Adds a sink, replays the early output to it. -ERR_NOMEM: all places taken. ops and ctx outlive the console.
__must_check int console_attach(const struct console_sink_ops *ops, void *ctx);
// Sends what waits for the sink with these ops and takes it out: no output, no input any more. Boot only.
void console_detach(const struct console_sink_ops *ops);
// Back to nothing attached, nothing kept (unit tests).
void console_reset(void);

// false: synchronous (the state at boot); true: deferred. Going back to synchronous sends what waits.
void console_set_deferred(bool deferred);

// For a panic: breaks the lock for good (its holder may be the one that died), then synchronous for good.
void console_panic(void);

// A guest's or the hypervisor's bytes as they are. False: the caller should wait until console_backlog says false.
bool console_write(const uint8_t *bytes, size_t count);
// True while a sink has a backlog; *sent is what such sinks have taken so far, which tells a slow one from a dead one.
bool console_backlog(uint64_t *sent);
// A log sink for log_sink_set: "bulkhead: ..." on a line of its own, CR LF.
void console_log(enum log_level level, const char *line, size_t len);
// Polls the sources, then takes up to count bytes of input; returns how many.
size_t console_read(uint8_t *bytes, size_t count);
// Polls the sources into the input ring; true when input waits.
bool console_poll(void);

// One bounded piece of pending output; true when more remains. The job that calls it, and the serial
// interrupt, keep deferred output moving.
bool console_step(void);
// Sends everything, waiting within bounds (before power-off, in a panic).
void console_flush(void);
// Bytes that could not be sent since boot.
uint64_t console_dropped(void);
