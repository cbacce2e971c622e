// SPDX-License-Identifier: Apache-2.0
// Formats log lines on the caller's stack and hands them whole to the one sink. Sink and level are set
// once at boot (or by a test), so any CPU may log at any time; ordering and locking of output are the
// sink's business.
#include "kernel/lib/log.h"

#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define NS_PER_S 1000000000u

static log_sink_fn *log_sink;
static enum log_level log_most = LOG_INFO;

void log_sink_set(log_sink_fn *sink) { log_sink = sink; }

void log_level_set(enum log_level most) { log_most = most; }

// By enum log_level.
static const struct {
	char letter, name[7];
} row[] = {{'e', "error "}, {'w', "warn "}, {'i', "info "}, {'d', "debug "}};

bool log_wanted(enum log_level level) { return log_sink != NULL && level <= log_most; }

void log_print(const char *format, ...) {
	char line[LOG_LINE_BYTES];
	va_list args;
	const char *prefix = "";
	enum log_level level = LOG_INFO;

	for (unsigned i = 0; i < array_count(row); i++) {
		if (row[i].letter != *format) continue;
		level = (enum log_level)i;
		prefix = row[i].name;
	}
	if (!log_wanted(level)) return;

	size_t len = fmt_print(line, sizeof line, "%s", prefix);
	va_start(args, format);
	len += fmt_vprint(line + len, sizeof line - len, format + 1, args);
	va_end(args);
	if (len >= sizeof line) {
		len = sizeof line - 1;
		memcpy(line + len - 3, "...", 3);
	}
	log_sink(level, line, len);
}

bool log_allow(struct log_bucket *bucket, enum log_level level, uint64_t now_ns) {
	if (!log_wanted(level)) return false;
	if (now_ns - bucket->since_ns >= NS_PER_S) {
		bucket->since_ns = now_ns;
		bucket->used = 0;
	}
	if (bucket->used >= LOG_BURST) {
		bucket->suppressed++;
		return false;
	}
	bucket->used++;
	if (bucket->suppressed != 0)
		log_warn("log", "%u lines suppressed before the next one", bucket->suppressed);
	bucket->suppressed = 0;
	return true;
}
