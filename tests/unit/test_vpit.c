// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vpit.c: the six modes, latches, read-back, gate and port 0x61, edges on GSI 0, records.
// Times are in ticks of 1.193182 MHz; a count is loaded one tick after it was written.
#include "tests/unit/support.h"

#include "drivers/vdev/ticks.h"
#include "drivers/vdev/vpit.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

#define HZ 1193182u

static struct vm vm;
static struct vdev *pit;
static uint64_t tick;

static uint8_t in(unsigned port) { return (uint8_t)vm_double_in(&vm, port, 1); }
static void out(unsigned port, uint8_t value) { vm_double_out(&vm, port, 1, value); }

static void run(uint64_t ticks) {
	tick += ticks;
	vm_double_run(&vm, ticks_to_ns(tick, HZ) - vm.now_ns);
}

static void program(unsigned channel, unsigned mode, uint16_t count) {
	out(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
	out(0x40 + channel, (uint8_t)count);
	out(0x40 + channel, (uint8_t)(count >> 8));
}

static unsigned count_of(unsigned channel) {
	out(0x43, (uint8_t)(channel << 6));
	unsigned low = in(0x40 + channel);
	return low | (unsigned)in(0x40 + channel) << 8;
}

static bool out_of(unsigned channel) {
	out(0x43, (uint8_t)(0xe0 | 2u << channel));
	return (in(0x40 + channel) & 0x80) != 0;
}

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	tick = 0;
	pit = vm_double_create(&vm, &vpit_class, NULL, NULL);
	return pit ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void mode0_rises_once_after_the_count(void **state) {
	(void)state;
	program(0, 0, 100);
	assert_false(out_of(0));
	run(1);
	assert_int_equal(count_of(0), 100);
	run(99);
	assert_int_equal(count_of(0), 1);
	assert_false(vm.gsi_level[0]);
	run(1);
	assert_true(vm.gsi_level[0]);
	assert_true(out_of(0));
	run(2);
	assert_int_equal(count_of(0), 0xfffe);
	run(200000);
	assert_int_equal(vm.gsi_rises[0], 1);
	out(0x40, 50); // the first byte of a new count lowers the output
	assert_false(vm.gsi_level[0]);
	out(0x40, 0);
	run(51);
	assert_int_equal(vm.gsi_rises[0], 2);
}

static void mode2_gives_an_edge_each_period(void **state) {
	(void)state;
	program(0, 2, 1000);
	assert_true(vm.gsi_level[0]); // OUT goes high with the control word
	uint32_t rises = vm.gsi_rises[0];
	run(1 + 999);
	assert_int_equal(count_of(0), 1);
	assert_false(out_of(0));
	assert_int_equal(vm.gsi_rises[0], rises);
	run(1);
	assert_int_equal(count_of(0), 1000);
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	run(1000 * 50);
	assert_int_equal(vm.gsi_rises[0], rises + 51);
	assert_true(vm.gsi_level[0]);
}

static void mode2_new_count_takes_over_at_the_end_of_the_period(void **state) {
	(void)state;
	program(0, 2, 1000);
	uint32_t rises = vm.gsi_rises[0];
	run(1 + 400);
	out(0x40, 0xf4);
	out(0x40, 0x01); // 500
	assert_int_equal(count_of(0), 600);
	run(600);
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	assert_int_equal(count_of(0), 500);
	run(500);
	assert_int_equal(vm.gsi_rises[0], rises + 2);
}

static void mode3_is_a_square_wave(void **state) {
	(void)state;
	program(0, 3, 7); // odd: four ticks high, three low
	run(1);
	static const bool level[14] = {1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0};
	static const uint8_t count[7] = {6, 4, 2, 0, 6, 4, 2};
	for (unsigned i = 0; i < 14; i++) {
		assert_int_equal(out_of(0), level[i]);
		assert_int_equal(count_of(0), count[i % 7]);
		run(1);
	}
	program(0, 3, 10000);
	uint32_t rises = vm.gsi_rises[0];
	run(1 + 10000 * 20);
	assert_int_equal(vm.gsi_rises[0], rises + 20);
}

static void mode3_new_count_takes_over_at_the_half_period(void **state) {
	(void)state;
	program(0, 3, 1000);
	run(1 + 100);
	out(0x40, 200);
	out(0x40, 0); // from the low half at 500: its rising edge comes at 600
	uint32_t rises = vm.gsi_rises[0];
	run(499 - 100);
	assert_true(out_of(0));
	run(1);
	assert_false(out_of(0));
	run(99);
	assert_false(out_of(0));
	assert_int_equal(vm.gsi_rises[0], rises);
	run(1);
	assert_true(out_of(0));
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	run(200);
	assert_int_equal(vm.gsi_rises[0], rises + 2);
}

static void mode4_strobes_once(void **state) {
	(void)state;
	program(0, 4, 100);
	uint32_t rises = vm.gsi_rises[0];
	run(1 + 100);
	assert_false(out_of(0));
	run(1);
	assert_true(out_of(0));
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	run(300000);
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	out(0x40, 60);
	out(0x40, 0);
	run(62);
	assert_int_equal(vm.gsi_rises[0], rises + 2);
}

static void mode1_and_5_wait_for_the_gate(void **state) {
	(void)state;
	program(2, 1, 50);
	run(1000);
	assert_true(out_of(2));
	out(0x61, 1);
	run(1);
	assert_false(out_of(2));
	run(49);
	assert_false(out_of(2));
	run(1);
	assert_true(out_of(2));
	out(0x61, 0);
	out(0x61, 1); // retrigger
	run(10);
	assert_false(out_of(2));
	out(0x61, 0);
	program(2, 5, 50);
	run(100);
	out(0x61, 1);
	run(51);
	assert_false(out_of(2));
	run(1);
	assert_true(out_of(2));
}

static void gate_low_holds_the_count(void **state) {
	(void)state;
	program(2, 0, 1000); // the gate is low after reset
	run(5000);
	assert_int_equal(count_of(2), 1000);
	out(0x61, 1);
	run(400);
	assert_int_equal(count_of(2), 600);
	out(0x61, 0);
	run(400);
	assert_int_equal(count_of(2), 600);
	assert_int_equal(in(0x61) & 0x20, 0);
	out(0x61, 3);
	run(600);
	assert_int_equal(in(0x61) & 0x2f, 0x23);
	program(2, 2, 1000);
	run(301);
	out(0x61, 0);
	run(50);
	assert_int_equal(count_of(2), 700);
	out(0x61, 1); // a rate generator starts again
	run(1);
	assert_int_equal(count_of(2), 1000);
}

static void calibration_by_channel_2_reads_a_falling_msb(void **state) {
	(void)state;
	out(0x61, 1);
	out(0x43, 0xb0);
	out(0x42, 0xff);
	out(0x42, 0xff);
	unsigned last = 0xff;
	for (unsigned i = 0; i < 2000; i++) {
		run(30);
		(void)in(0x42);
		unsigned msb = in(0x42);
		assert_true(msb <= last && msb + 1 >= last);
		last = msb;
	}
}

static void latch_holds_until_it_was_read(void **state) {
	(void)state;
	program(0, 2, 0);
	run(1 + 0x1234);
	out(0x43, 0x00);
	run(500);
	out(0x43, 0x00); // an unread latch stays
	assert_int_equal(in(0x40), 0xcc);
	run(500);
	assert_int_equal(in(0x40), 0xed);
	out(0x43, 0xd2); // read-back of the count of channel 0, not the status
	run(77);
	assert_int_equal(in(0x40), (0x10000 - 0x1234 - 1000) & 0xff);
	assert_int_equal(in(0x40), (0x10000 - 0x1234 - 1000) >> 8);
}

static void read_back_gives_status_before_count(void **state) {
	(void)state;
	program(2, 3, 100);
	program(0, 2, 100);
	out(0x43, 0xca);                                // status and count of channels 0 and 2
	assert_int_equal(in(0x40), 0x80 | 0x40 | 0x34); // the count is not loaded yet
	assert_int_equal(in(0x40), 100);
	assert_int_equal(in(0x40), 0);
	assert_int_equal(in(0x42), 0x80 | 0x36);
	assert_int_equal(in(0x42), 100);
	run(1);
	out(0x43, 0xe2);
	assert_int_equal(in(0x40), 0x80 | 0x34);
	assert_int_equal(in(0x43), 0xff);
}

static void single_byte_access_and_bcd(void **state) {
	(void)state;
	out(0x43, 0x14); // channel 0, LSB, mode 2
	out(0x40, 0x80);
	run(2);
	assert_int_equal(in(0x40), 0x7f);
	assert_int_equal(in(0x40), 0x7f);
	out(0x43, 0x24); // MSB
	out(0x40, 0x02);
	run(2);
	assert_int_equal(in(0x40), 0x01);
	out(0x43, 0x31); // both, mode 0, BCD
	out(0x40, 0x00);
	out(0x40, 0x10);
	run(2);
	assert_int_equal(count_of(0), 0x0999);
	run(999);
	assert_true(out_of(0));
	run(1);
	assert_int_equal(count_of(0), 0x9999);
}

static void refresh_bit_toggles(void **state) {
	(void)state;
	uint8_t first = in(0x61) & 0x10;
	vm_double_run(&vm, 15085);
	assert_int_equal(in(0x61) & 0x10, first ^ 0x10);
	vm_double_run(&vm, 15085);
	assert_int_equal(in(0x61) & 0x10, first);
}

static void short_period_and_late_timer_make_no_storm(void **state) {
	(void)state;
	program(0, 2, 2);
	vm_double_run(&vm, 1000000);
	assert_in_range(vm.gsi_rises[0], 10, 25);
	program(0, 2, 1); // not a legal count
	uint32_t rises = vm.gsi_rises[0];
	vm_double_run(&vm, 1000000);
	assert_int_equal(vm.gsi_rises[0], rises);
	program(0, 2, 1193);
	rises = vm.gsi_rises[0];
	vm_double_jump(&vm, 100 * NS_PER_SECOND);
	assert_int_equal(vm.gsi_rises[0], rises + 1);
}

static void late_edges_follow_at_twice_the_rate(void **state) {
	(void)state;
	program(0, 2, 1193); // about 1 ms
	uint32_t rises = vm.gsi_rises[0];
	vm_double_jump(&vm, 20100000); // 20 edges are due
	assert_int_equal(vm.gsi_rises[0], rises + 1);
	vm_double_run(&vm, 5000000);
	assert_in_range(vm.gsi_rises[0], rises + 10, rises + 14);
	vm_double_run(&vm, 75000000);
	assert_in_range(vm.gsi_rises[0], rises + 99, rises + 101); // none is missing after 100 ms
}

static void reset_survives_a_clock_that_starts_again(void **state) {
	(void)state;
	vm_double_run(&vm, 5 * NS_PER_SECOND);
	pit->class->reset(pit);
	vm.now_ns = 0;
	program(0, 2, 1000);
	uint32_t rises = vm.gsi_rises[0];
	run(1 + 1000 * 10);
	assert_int_equal(vm.gsi_rises[0], rises + 10);
}

static void load_continues_all_channels(void **state) {
	(void)state;
	program(0, 3, 5000);
	program(2, 0, 30000);
	out(0x61, 1);
	run(7001);
	out(0x40, 0x10); // half a count written
	void *record = vm_double_save(pit);
	unsigned count2 = count_of(2);
	uint32_t rises = vm.gsi_rises[0];
	run(1500);
	unsigned later = count_of(2);
	uint32_t more = vm.gsi_rises[0] - rises;
	pit->class->reset(pit);
	assert_false(vm.gsi_level[0]);
	vm_double_run(&vm, 99999999);
	assert_int_equal(vm_double_load(pit, record), 0);
	assert_int_equal(count_of(2), count2);
	rises = vm.gsi_rises[0];
	vm_double_run(&vm, ticks_to_ns(7001 + 1500, HZ) - ticks_to_ns(7001, HZ));
	assert_int_equal(count_of(2), later);
	assert_int_equal(vm.gsi_rises[0] - rises, more);
	out(0x40, 0x27); // and completed
	((struct vpit_state *)record)->channel[1].mode = 6;
	assert_int_equal(vm_double_load(pit, record), -ERR_FORMAT);
	free(record);
}

// A plain counter that is clocked tick by tick, as the data sheet tells it, for modes 0, 2, 3 and 4.
struct model {
	unsigned mode, reload, loaded, count;
	bool out, loading, counting, strobed;
	uint32_t rises;
};

static void model_out(struct model *m, bool level) {
	m->rises += level && !m->out;
	m->out = level;
}

static void model_control(struct model *m, unsigned mode) {
	uint32_t rises = m->rises;
	bool out = m->out;
	*m = (struct model){.mode = mode, .out = out, .rises = rises};
	model_out(m, mode != 0);
}

// A whole count was written.
static void model_write(struct model *m, unsigned count) {
	m->reload = count;
	if (m->mode == 0) model_out(m, false);
	if (m->counting && (m->mode == 2 || m->mode == 3)) return;
	m->loading = true;
}

static void model_load(struct model *m) {
	m->loaded = m->reload;
	m->count = m->mode == 3 ? m->reload & ~1u : m->reload;
}

static void model_tick(struct model *m) {
	if (m->loading) {
		m->loading = false;
		m->counting = true;
		m->strobed = false;
		model_load(m);
		return;
	}
	if (!m->counting) return;
	if (m->mode == 3) {
		bool odd_high = (m->loaded & 1) && m->out; // an odd count shows 0 for a tick of its high half
		if (m->count == 0 || (m->count == 2 && !odd_high)) {
			model_load(m);
			model_out(m, !m->out);
		} else {
			m->count -= 2;
		}
		return;
	}
	m->count = (m->count - 1) & 0xffff;
	if (m->mode == 0 && m->count == 0) model_out(m, true);
	if (m->mode == 4) {
		model_out(m, m->count != 0 || m->strobed);
		m->strobed |= m->count == 0;
	}
	if (m->mode == 2 && m->count == 1) model_out(m, false);
	if (m->mode == 2 && m->count == 0) {
		model_load(m);
		model_out(m, true);
	}
}

static void random_programs_equal_a_clocked_model(void **state) {
	(void)state;
	static const unsigned modes[] = {0, 2, 3, 4};
	struct rng rng;
	struct model m = {0};
	rng_init(&rng, 11);
	unsigned count = 0;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned what = (unsigned)rng_below(&rng, 20);
		bool steady = !m.loading && !(m.mode == 4 && !m.out);
		if (what == 0 || count == 0) {
			unsigned mode = modes[rng_below(&rng, 4)];
			model_control(&m, mode);
			out(0x43, (uint8_t)(0x30 | mode << 1));
			what = 1;
			steady = true;
		}
		if (what == 1 && steady) {
			count = 100 + (unsigned)rng_below(&rng, 800);
			model_write(&m, count);
			out(0x40, (uint8_t)count);
			out(0x40, (uint8_t)(count >> 8));
		}
		for (uint64_t ticks = rng_below(&rng, what < 10 ? 4 : 300); ticks > 0; ticks--) {
			run(1);
			model_tick(&m);
		}
		assert_int_equal(out_of(0), m.out);
		if (m.counting && !m.loading) assert_int_equal(count_of(0), m.count);
		if (m.mode != 4 || m.out) assert_int_equal(vm.gsi_rises[0], m.rises);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(mode0_rises_once_after_the_count),
	    TEST(mode2_gives_an_edge_each_period),
	    TEST(mode2_new_count_takes_over_at_the_end_of_the_period),
	    TEST(mode3_is_a_square_wave),
	    TEST(mode3_new_count_takes_over_at_the_half_period),
	    TEST(mode4_strobes_once),
	    TEST(mode1_and_5_wait_for_the_gate),
	    TEST(gate_low_holds_the_count),
	    TEST(calibration_by_channel_2_reads_a_falling_msb),
	    TEST(latch_holds_until_it_was_read),
	    TEST(read_back_gives_status_before_count),
	    TEST(single_byte_access_and_bcd),
	    TEST(refresh_bit_toggles),
	    TEST(short_period_and_late_timer_make_no_storm),
	    TEST(late_edges_follow_at_twice_the_rate),
	    TEST(reset_survives_a_clock_that_starts_again),
	    TEST(load_continues_all_channels),
	    TEST(random_programs_equal_a_clocked_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
