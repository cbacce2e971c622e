// SPDX-License-Identifier: Apache-2.0
// Formats log lines on the caller's stack and hands them whole to the one sink. Sink and level are set
// once at boot (or by a test), so any CPU may log at any time; ordering and locking of output are the
// sink's business.
#include "kernel/lib/log.h"

#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

static log_sink_fn *log_sink;
static enum log_level log_most = LOG_INFO;

void log_sink_set(log_sink_fn *sink) { log_sink = sink; }

void log_level_set(enum log_level most) { log_most = most; }

static const char *level_name(enum log_level level) {
	switch (level) {
	case LOG_ERROR: return "error";
	case LOG_WARN: return "warn";
	case LOG_INFO: return "info";
	case LOG_DEBUG: return "debug";
	}
	return "?";
}

bool log_wanted(enum log_level level) { return log_sink != NULL && level <= log_most; }

void log_print(enum log_level level, const char *subsystem, const char *format, ...) {
	char line[LOG_LINE_BYTES];
	va_list args;

	if (!log_wanted(level)) return;

	size_t len =
	    subsystem != NULL ? fmt_print(line, sizeof line, "%s %s: ", level_name(level), subsystem) : 0;
	if (len >= sizeof line) len = sizeof line - 1;
	va_start(args, format);
	len += fmt_vprint(line + len, sizeof line - len, format, args);
	va_end(args);
	if (len >= sizeof line) {
		len = sizeof line - 1;
		memcpy(line + len - 3, "...", 3);
	}
	log_sink(level, line, len);
}

// Relaxed: the figures only bound output, they order nothing.
bool log_allow(struct log_bucket *bucket) {
	if (__atomic_load_n(&bucket->used, __ATOMIC_RELAXED) >= LOG_BURST) {
		__atomic_fetch_add(&bucket->suppressed, 1, __ATOMIC_RELAXED);
		return false;
	}
	__atomic_fetch_add(&bucket->used, 1, __ATOMIC_RELAXED);

	uint32_t suppressed = __atomic_exchange_n(&bucket->suppressed, 0, __ATOMIC_RELAXED);
	if (suppressed != 0) log_print(LOG_WARN, "log", "%u lines suppressed before the next one", suppressed);
	return true;
}

void log_refill(struct log_bucket *bucket) { __atomic_store_n(&bucket->used, 0, __ATOMIC_RELAXED); }
