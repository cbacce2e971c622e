// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vrtc.c: time and its formats, setting the clock, alarm, periodic and update interrupts, CMOS,
// records.
#include "tests/unit/support.h"

#include "drivers/vdev/vrtc.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

#define SECOND UINT64_C(1000000000)
#define GSI GUEST_RTC_GSI

static struct vm vm;
static struct vdev *rtc;

static uint8_t get(uint8_t index) {
	vm_double_out(&vm, 0x70, 1, index);
	return (uint8_t)vm_double_in(&vm, 0x71, 1);
}

static void set(uint8_t index, uint8_t value) {
	vm_double_out(&vm, 0x70, 1, index);
	vm_double_out(&vm, 0x71, 1, value);
}

static void assert_time(const char *want) { // BCD registers as "ccyy-mm-dd hh:mm:ss w"
	char text[40];
	(void)snprintf(text, sizeof text, "%02x%02x-%02x-%02x %02x:%02x:%02x %x", get(0x32), get(9), get(8),
	               get(7), get(4), get(2), get(0), get(6));
	assert_string_equal(text, want);
}

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	vm.wall_base_seconds = 1767225600 + 86400 * 58 + 23 * 3600 + 59 * 60 + 50; // 2026-02-28 23:59:50
	rtc = vm_double_create(&vm, &vrtc_class, NULL, NULL);
	return rtc ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void time_runs_and_rolls_over(void **state) {
	(void)state;
	assert_time("2026-02-28 23:59:50 7");
	vm_double_run(&vm, 10 * SECOND);
	assert_time("2026-03-01 00:00:00 1");
	assert_int_equal(get(0x0d), 0x80);
	assert_int_equal(get(0x0a), 0x26);
	assert_int_equal(get(0x0b), 0x02);
}

static void formats_follow_register_b(void **state) {
	(void)state;
	set(0x0b, 0x06); // binary, 24 h
	assert_int_equal(get(4), 23);
	assert_int_equal(get(0x32), 20);
	set(0x0b, 0x00); // BCD, 12 h
	assert_int_equal(get(4), 0x91);
	vm_double_run(&vm, 10 * SECOND);
	assert_int_equal(get(4), 0x12);
	vm_double_run(&vm, 12 * 3600 * SECOND);
	assert_int_equal(get(4), 0x92);
}

static void setting_the_clock_while_stopped(void **state) {
	(void)state;
	set(0x0b, 0x82);
	vm_double_run(&vm, 5 * SECOND);
	assert_time("2026-02-28 23:59:50 7"); // stands still
	static const uint8_t regs[][2] = {{0, 0x59}, {2, 0x59}, {4, 0x23},   {7, 0x28},
	                                  {8, 0x02}, {9, 0x24}, {0x32, 0x20}};
	for (size_t i = 0; i < 7; i++) set(regs[i][0], regs[i][1]);
	set(0x0a, 0x76); // divider reset, as Linux does
	set(0x0b, 0x02);
	vm_double_run(&vm, 3 * SECOND);
	assert_int_equal(get(0), 0x59);
	set(0x0a, 0x26);
	vm_double_run(&vm, SECOND);
	assert_time("2024-02-29 00:00:00 5");
	rtc->class->reset(rtc);
	assert_time("2024-02-29 00:00:00 5"); // the battery keeps it
}

static void setting_a_running_clock_takes_effect(void **state) {
	(void)state;
	set(4, 0x12);
	set(9, 0x30);
	assert_time("2030-02-28 12:59:50 5");
}

static void update_in_progress_before_the_second(void **state) {
	(void)state;
	assert_int_equal(get(0x0a) & 0x80, 0);
	vm_double_run(&vm, SECOND - 1000000);
	assert_int_equal(get(0x0a) & 0x80, 0x80);
	assert_int_equal(get(0), 0x50);
	vm_double_run(&vm, 1000000);
	assert_int_equal(get(0x0a) & 0x80, 0);
	assert_int_equal(get(0), 0x51);
}

static void update_interrupt_each_second(void **state) {
	(void)state;
	(void)get(0x0c);
	set(0x0b, 0x12);
	vm_double_run(&vm, SECOND - 1);
	assert_false(vm.gsi_level[GSI]);
	vm_double_run(&vm, 1);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(get(0x0c) & 0xb0, 0x90);
	assert_false(vm.gsi_level[GSI]);
	assert_int_equal(get(0x0c), 0);
	vm_double_run(&vm, 10 * SECOND); // not acknowledged: one edge, no timer
	assert_int_equal(vm.gsi_rises[GSI], 2);
	assert_true(timerq_next(&vm.timers) == TIMER_NEVER);
}

static void alarm_interrupt_at_its_time(void **state) {
	(void)state;
	set(1, 0x05);
	set(3, 0x00);
	set(5, 0x00);
	(void)get(0x0c);
	set(0x0b, 0x22);
	vm_double_run(&vm, 15 * SECOND - 1);
	assert_false(vm.gsi_level[GSI]);
	vm_double_run(&vm, 1);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(get(0x0c) & 0xa0, 0xa0);
	set(5, 0xff); // any hour
	vm_double_run(&vm, 3600 * SECOND);
	assert_int_equal(vm.gsi_rises[GSI], 2);
	(void)get(0x0c);
	set(3, 0xc0); // any minute
	set(1, 0x7a); // no such second
	vm_double_run(&vm, 90000 * SECOND);
	assert_int_equal(vm.gsi_rises[GSI], 2);
	set(1, 0xff); // every second
	vm_double_run(&vm, SECOND);
	assert_int_equal(vm.gsi_rises[GSI], 3);
}

static void alarm_flag_without_interrupt_is_seen_later(void **state) {
	(void)state;
	set(1, 0x00);
	set(3, 0x00);
	set(5, 0x12);
	(void)get(0x0c);
	vm_double_run(&vm, 12 * 3600 * SECOND);
	assert_int_equal(get(0x0c) & 0x20, 0);
	vm_double_run(&vm, 10 * SECOND);
	assert_int_equal(get(0x0c) & 0x20, 0x20);
	vm_double_run(&vm, 30 * 86400 * SECOND);
	assert_int_equal(get(0x0c) & 0x20, 0x20);
}

static void periodic_interrupt_at_its_rate(void **state) {
	(void)state;
	set(0x0a, 0x26); // 1024 Hz
	(void)get(0x0c);
	set(0x0b, 0x42);
	unsigned seen = 0;
	for (unsigned i = 0; i < 10000; i++) {
		vm_double_run(&vm, 100000);
		if (vm.gsi_level[GSI]) assert_int_equal(get(0x0c) & 0xc0, 0xc0), seen++;
	}
	assert_int_equal(seen, 1024);
	set(0x0a, 0x20); // none
	vm_double_run(&vm, SECOND);
	assert_int_equal(vm.gsi_rises[GSI], 1024);
	set(0x0b, 0x02);
	set(0x0a, 0x2f); // 2 Hz, polled
	(void)get(0x0c);
	vm_double_run(&vm, SECOND / 2 - 1);
	assert_int_equal(get(0x0c) & 0x40, 0);
	vm_double_run(&vm, 1);
	assert_int_equal(get(0x0c) & 0x40, 0x40);
}

static void cmos_holds_memory_size_and_checksum(void **state) {
	(void)state;
	vrtc_memory_set(rtc, 3 * GIB, 5 * GIB);
	assert_int_equal(get(0x15) | get(0x16) << 8, 640);
	assert_int_equal(get(0x17) | get(0x18) << 8, 0xfc00);
	assert_int_equal(get(0x34) | get(0x35) << 8, (3 * GIB - 16 * MIB) / 65536);
	assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 * GIB / 65536);
	unsigned sum = 0;
	for (uint8_t i = 0x10; i < 0x2e; i++) sum += get(i);
	assert_int_equal(get(0x2e) << 8 | get(0x2f), sum);
	set(0x7f, 0x42);
	assert_int_equal(get(0x7f), 0x42);
	assert_int_equal(get(0xff), 0x42);
	assert_true(vrtc_nmi_masked(rtc));
	(void)get(0x00);
	assert_false(vrtc_nmi_masked(rtc));
	vm_double_out(&vm, 0x70, 2, 0x337e); // index and data in one access
	assert_int_equal(get(0x7e), 0x33);
}

static void reset_survives_a_clock_that_starts_again(void **state) {
	(void)state;
	vm_double_run(&vm, 100000 * SECOND);
	rtc->class->reset(rtc);
	vm.now_ns = 0;
	assert_int_equal(get(0x0c), 0);
	vm_double_run(&vm, SECOND);
	assert_int_equal(get(0x0c), 0x50);
}

static void load_continues_clock_and_flags(void **state) {
	(void)state;
	set(4, 0x10);
	set(1, 0x55), set(3, 0x59), set(5, 0x10);
	(void)get(0x0c);
	set(0x0b, 0x22);
	void *record = vm_double_save(rtc);
	set(0x0b, 0x02);
	set(4, 0x01);
	assert_int_equal(vm_double_load(rtc, record), 0);
	vm_double_run(&vm, 5 * SECOND);
	assert_true(vm.gsi_level[GSI]);
	assert_time("2026-02-28 10:59:55 7");
	free(record);
	struct vrtc_state *pending = vm_double_save(rtc);
	rtc->class->reset(rtc);
	assert_false(vm.gsi_level[GSI]);
	assert_int_equal(vm_double_load(rtc, pending), 0);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(get(0x0c) & 0xa0, 0xa0);
	pending->cmos[0x0d] = 0;
	assert_int_equal(vm_double_load(rtc, pending), -ERR_FORMAT);
	free(pending);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(time_runs_and_rolls_over),
	    TEST(formats_follow_register_b),
	    TEST(setting_the_clock_while_stopped),
	    TEST(setting_a_running_clock_takes_effect),
	    TEST(update_in_progress_before_the_second),
	    TEST(update_interrupt_each_second),
	    TEST(alarm_interrupt_at_its_time),
	    TEST(alarm_flag_without_interrupt_is_seen_later),
	    TEST(periodic_interrupt_at_its_rate),
	    TEST(cmos_holds_memory_size_and_checksum),
	    TEST(reset_survives_a_clock_that_starts_again),
	    TEST(load_continues_clock_and_flags),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
