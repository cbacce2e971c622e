// SPDX-License-Identifier: Apache-2.0
// One log line = level, subsystem, text, no newline given by the caller; log_line is for the few lines without the
// first two that people and scripts wait for ("vm "name" stopped: reason"). Lines go to the sink set at boot (console)
// or by a test; without a sink they are dropped. What a guest can trigger asks log_allow with a bucket in the guest's
// own object first, so one VM can never flood the log.
#pragma once

#include "kernel/lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// A whole formatted line without newline; called with no lock held by log itself.
typedef void log_sink_fn(enum log_level level, const char *line, size_t len);

// Longest line that is kept whole; longer ones end in "...".
#define LOG_LINE_BYTES 640u

void log_sink_set(log_sink_fn *sink);
// Lines above this level are not formatted at all. Default LOG_INFO.
void log_level_set(enum log_level most);
bool log_wanted(enum log_level level);
// What the macros below call: the format begins with the level's letter, or with '-' for a line as it is (LOG_INFO).
// Level and subsystem are part of the literal because two arguments fewer a line make the image 1 KiB smaller.
__cold void log_print(const char *format, ...) __printf_like(1, 2);

// At most LOG_BURST lines a bucket and second of the clock that its owner gives the time of; the suppressed ones are
// counted, and the count is printed with the next line that passes. False, and nothing taken, for a level that is not
// wanted. One caller at a time.
#define LOG_BURST 10u
struct log_bucket {
	uint64_t since_ns; // when it was filled last
	uint32_t used;
	uint32_t suppressed;
};
bool log_allow(struct log_bucket *bucket, enum log_level level, uint64_t now_ns);

// `sub` and the format that follows it are literals.
#define log_error(sub, ...) log_print("e" sub ": " __VA_ARGS__)
#define log_warn(sub, ...) log_print("w" sub ": " __VA_ARGS__)
#define log_info(sub, ...) log_print("i" sub ": " __VA_ARGS__)
#define log_debug(sub, ...) log_print("d" sub ": " __VA_ARGS__)
#define log_line(...) log_print("-" __VA_ARGS__)
