// SPDX-License-Identifier: Apache-2.0
// A queue of one-shot timers ordered by deadline (pairing of a sorted intrusive list: few timers a VM,
// the common one first). Pure data structure in nanoseconds of whatever clock its owner uses; the owner
// programs hardware for timerq_next(). No locking: the owner's lock.
#pragma once

#include "kernel/lib/list.h"

struct timer {
	struct list node;
	uint64_t deadline_ns;
	void (*fire)(void *ctx); // may arm any timer of the queue again, itself included
	void *ctx;
	bool armed;
};

struct timerq {
	struct list head;
};

#define TIMER_NEVER UINT64_MAX

void timerq_init(struct timerq *q);
void timer_init(struct timer *t, void (*fire)(void *ctx), void *ctx);
// Arming an armed timer moves it. A deadline in the past fires at the next timerq_expire.
// Arming for TIMER_NEVER cancels.
void timerq_arm(struct timerq *q, struct timer *t, uint64_t deadline_ns);
void timerq_cancel(struct timer *t);
// Deadline of the first timer, TIMER_NEVER when none is armed.
uint64_t timerq_next(const struct timerq *q);
// Fires every timer due at now_ns, in order of deadline; a timer armed by a handler with a deadline
// already due waits for the next call, so one call is bounded by the timers armed at its start.
void timerq_expire(struct timerq *q, uint64_t now_ns);
