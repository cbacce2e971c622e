// SPDX-License-Identifier: Apache-2.0
// kernel/timerq.c: order, re-arming and cancelling from handlers, and the bound of one expiry.
#include "tests/unit/support.h"

#include "kernel/timerq.h"

static struct timerq queue;
static unsigned fired_count;
static struct timer *fired[64];

struct item {
	struct timer timer;
	struct timer *cancel; // cancelled by the handler
	struct timer *again;  // armed by the handler
	uint64_t again_ns;
};

static void item_fire(void *ctx) {
	struct item *item = ctx;
	fired[fired_count++ % 64] = &item->timer;
	if (item->cancel) timerq_cancel(item->cancel);
	if (item->again) timerq_arm(&queue, item->again, item->again_ns);
}

static void item_init(struct item *item) {
	*item = (struct item){0};
	timer_init(&item->timer, item_fire, item);
}

static int setup(void **state) {
	(void)state;
	timerq_init(&queue);
	fired_count = 0;
	return 0;
}

static void timerq_next_empty_is_never(void **state) {
	(void)state;
	assert_true(timerq_next(&queue) == TIMER_NEVER);
	timerq_expire(&queue, UINT64_MAX);
	assert_int_equal(fired_count, 0);
}

static void timerq_expire_fires_in_order_of_deadline(void **state) {
	(void)state;
	struct item a, b, c, d;
	item_init(&a), item_init(&b), item_init(&c), item_init(&d);
	timerq_arm(&queue, &a.timer, 30);
	timerq_arm(&queue, &b.timer, 10);
	timerq_arm(&queue, &c.timer, 30); // equal to a: after it
	timerq_arm(&queue, &d.timer, 40);
	assert_int_equal(timerq_next(&queue), 10);
	timerq_expire(&queue, 9);
	assert_int_equal(fired_count, 0);
	timerq_expire(&queue, 30);
	assert_int_equal(fired_count, 3);
	assert_ptr_equal(fired[0], &b.timer);
	assert_ptr_equal(fired[1], &a.timer);
	assert_ptr_equal(fired[2], &c.timer);
	assert_false(a.timer.armed);
	assert_true(d.timer.armed);
	assert_int_equal(timerq_next(&queue), 40);
}

static void timerq_arm_armed_timer_moves_it(void **state) {
	(void)state;
	struct item a, b;
	item_init(&a), item_init(&b);
	timerq_arm(&queue, &a.timer, 10);
	timerq_arm(&queue, &b.timer, 20);
	timerq_arm(&queue, &a.timer, 30);
	assert_int_equal(timerq_next(&queue), 20);
	timerq_arm(&queue, &b.timer, TIMER_NEVER);
	assert_false(b.timer.armed);
	assert_int_equal(timerq_next(&queue), 30);
	timerq_cancel(&a.timer);
	timerq_cancel(&a.timer);
	assert_true(timerq_next(&queue) == TIMER_NEVER);
}

static void timerq_expire_rearm_in_the_past_waits(void **state) {
	(void)state;
	struct item a;
	item_init(&a);
	a.again = &a.timer;
	a.again_ns = 5;
	timerq_arm(&queue, &a.timer, 10);
	timerq_expire(&queue, 100);
	assert_int_equal(fired_count, 1);
	assert_int_equal(timerq_next(&queue), 5);
	timerq_expire(&queue, 100);
	assert_int_equal(fired_count, 2);
}

static void timerq_expire_handler_may_cancel_and_move_due_timers(void **state) {
	(void)state;
	struct item a, b, c;
	item_init(&a), item_init(&b), item_init(&c);
	a.cancel = &b.timer;
	a.again = &c.timer;
	a.again_ns = 50;
	timerq_arm(&queue, &a.timer, 1);
	timerq_arm(&queue, &b.timer, 2);
	timerq_arm(&queue, &c.timer, 3);
	timerq_expire(&queue, 10);
	assert_int_equal(fired_count, 1);
	assert_false(b.timer.armed);
	assert_int_equal(timerq_next(&queue), 50);
}

static void timerq_random_operations_equal_a_plain_model(void **state) {
	(void)state;
	enum { N = 12 };
	struct item items[N];
	uint64_t model[N], now = 0;
	struct rng rng;
	rng_init(&rng, 7);
	for (unsigned i = 0; i < N; i++) item_init(&items[i]), model[i] = TIMER_NEVER;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned i = (unsigned)rng_below(&rng, N);
		switch (rng_below(&rng, 3)) {
		case 0: timerq_arm(&queue, &items[i].timer, model[i] = now + rng_below(&rng, 50)); break;
		case 1:
			timerq_cancel(&items[i].timer);
			model[i] = TIMER_NEVER;
			break;
		default:
			now += rng_below(&rng, 20);
			unsigned due = 0;
			for (unsigned k = 0; k < N; k++) {
				if (model[k] <= now) due++, model[k] = TIMER_NEVER;
			}
			fired_count = 0;
			timerq_expire(&queue, now);
			assert_int_equal(fired_count, due);
			for (unsigned k = 1; k < due; k++)
				assert_true(fired[k - 1]->deadline_ns <= fired[k]->deadline_ns);
		}
		uint64_t next = TIMER_NEVER;
		for (unsigned k = 0; k < N; k++) {
			if (model[k] < next) next = model[k];
			assert_int_equal(items[k].timer.armed, model[k] != TIMER_NEVER);
		}
		assert_true(timerq_next(&queue) == next);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(timerq_next_empty_is_never, setup),
	    cmocka_unit_test_setup(timerq_expire_fires_in_order_of_deadline, setup),
	    cmocka_unit_test_setup(timerq_arm_armed_timer_moves_it, setup),
	    cmocka_unit_test_setup(timerq_expire_rearm_in_the_past_waits, setup),
	    cmocka_unit_test_setup(timerq_expire_handler_may_cancel_and_move_due_timers, setup),
	    cmocka_unit_test_setup(timerq_random_operations_equal_a_plain_model, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
