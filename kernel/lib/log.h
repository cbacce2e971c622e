// SPDX-License-Identifier: Apache-2.0
// One log line = level, subsystem, text, no newline given by the caller. A NULL subsystem makes the text alone
// the line: the few that people and scripts wait for ("vm "name" stopped: reason"). Lines go to the sink set at
// boot (console) or by a test; without a sink they are dropped. What a guest can trigger uses
// log_limited with a bucket in the guest's own object, so one VM can never flood the log.
#pragma once

#include "kernel/lib/types.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

// A whole formatted line without newline; called with no lock held by log itself.
typedef void log_sink_fn(enum log_level level, const char *line, size_t len);

// Longest line that is kept whole; longer ones end in "...".
#define LOG_LINE_BYTES 512u

void log_sink_set(log_sink_fn *sink);
// Lines above this level are not formatted at all. Default LOG_INFO.
void log_level_set(enum log_level most);
bool log_wanted(enum log_level level);
__cold void log_print(enum log_level level, const char *subsystem, const char *format, ...)
    __printf_like(3, 4);

// At most LOG_BURST lines a bucket until the owner refills it (once a second of host time); the
// suppressed ones are counted, and the count is printed with the next line that passes.
#define LOG_BURST 10u
struct log_bucket {
	uint32_t used;
	uint32_t suppressed;
};
bool log_allow(struct log_bucket *bucket);
void log_refill(struct log_bucket *bucket);

#define log_error(sub, ...) log_print(LOG_ERROR, sub, __VA_ARGS__)
#define log_warn(sub, ...) log_print(LOG_WARN, sub, __VA_ARGS__)
#define log_info(sub, ...) log_print(LOG_INFO, sub, __VA_ARGS__)
#define log_debug(sub, ...) log_print(LOG_DEBUG, sub, __VA_ARGS__)
#define log_limited(bucket, level, sub, ...)                                                                 \
	do {                                                                                                     \
		if (log_wanted(level) && log_allow(bucket)) log_print(level, sub, __VA_ARGS__);                      \
	} while (0)
