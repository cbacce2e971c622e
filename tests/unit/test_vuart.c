// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vuart.c: registers, interrupt priorities, FIFO and its timeout, loopback, and records.
#include "tests/unit/support.h"

#include "drivers/vdev/vuart.h"
#include "kernel/backend.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

#define BASE 0x3f8u
#define GSI 4u

static struct vm vm;
static struct vdev *uart;
static char sent[256];
static size_t sent_count;
static uint8_t input[256];
static size_t input_count;

static bool full; // the back end takes a last byte and wants no more

static bool back_write(struct chardev *self, const uint8_t *bytes, size_t count) {
	(void)self;
	for (size_t i = 0; i < count; i++) sent[sent_count++ % sizeof sent] = (char)bytes[i];
	return !full;
}

static size_t back_read(struct chardev *self, uint8_t *bytes, size_t count) {
	(void)self;
	size_t taken = count < input_count ? count : input_count;
	memcpy(bytes, input, taken);
	input_count -= taken;
	memmove(input, input + taken, input_count);
	return taken;
}

static struct chardev back;

static uint8_t in(unsigned reg) { return (uint8_t)vm_double_in(&vm, BASE + reg, 1); }
static void out(unsigned reg, uint8_t value) { vm_double_out(&vm, BASE + reg, 1, value); }

static void type(const char *text) {
	size_t length = strlen(text);
	memcpy(input + input_count, text, length);
	input_count += length;
	back.input_ready(back.device);
}

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	back = (struct chardev){.write = back_write, .read = back_read};
	sent_count = input_count = 0;
	full = false;
	const struct vdev_config config = {.base = BASE, .gsi = GSI, .chardev = &back};
	uart = vm_double_create(&vm, &vuart_class, &config, NULL);
	return uart ? 0 : -1;
}

static int teardown(void **state) {
	(void)state;
	vm_double_destroy(&vm);
	return 0;
}

static void reset_registers_have_data_sheet_values(void **state) {
	(void)state;
	assert_int_equal(in(1), 0);
	assert_int_equal(in(2), 0x01);
	assert_int_equal(in(3), 0);
	assert_int_equal(in(4), 0);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(6), 0xb0);
	out(7, 0x5a);
	assert_int_equal(in(7), 0x5a);
	assert_false(vm.gsi_level[GSI]);
}

static void divisor_latch_hides_data_and_ier(void **state) {
	(void)state;
	out(1, 0x05);
	out(3, 0x83);
	out(0, 0x0c);
	out(1, 0x01);
	assert_int_equal(in(0), 0x0c);
	assert_int_equal(in(1), 0x01);
	out(3, 0x03);
	assert_int_equal(in(1), 0x05);
	assert_int_equal(sent_count, 0);
}

static void write_sends_at_once(void **state) {
	(void)state;
	out(0, 'h');
	out(0, 'i');
	assert_int_equal(sent_count, 2);
	assert_memory_equal(sent, "hi", 2);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(vm.gsi_rises[GSI], 0);
}

static void thre_interrupt_follows_enable_iir_and_write(void **state) {
	(void)state;
	out(1, 0x02);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(2), 0x02);
	assert_false(vm.gsi_level[GSI]); // reading IIR reset it
	assert_int_equal(in(2), 0x01);
	out(0, 'x');
	assert_true(vm.gsi_level[GSI]);
	out(0, 'y');
	assert_int_equal(vm.gsi_rises[GSI], 2);
	out(1, 0);
	assert_false(vm.gsi_level[GSI]);
	out(1, 0x02); // enabling again raises it again
	assert_true(vm.gsi_level[GSI]);
}

static void transmitter_waits_for_the_back_end(void **state) {
	(void)state;
	out(1, 0x02);
	assert_int_equal(in(2), 0x02);
	full = true;
	out(0, 'a');
	assert_int_equal(sent_count, 1);
	assert_int_equal(in(5) & 0x60, 0);
	assert_int_equal(in(2), 0x01);
	assert_false(vm.gsi_level[GSI]);
	out(1, 0);
	out(1, 0x02); // raises the interrupt of an empty transmitter only
	assert_false(vm.gsi_level[GSI]);
	full = false;
	back.output_ready(back.device);
	assert_int_equal(in(5) & 0x60, 0x60);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(2), 0x02);
	back.output_ready(back.device); // it did not wait
	assert_false(vm.gsi_level[GSI]);
}

static void load_after_a_held_transmitter_sends_again(void **state) {
	(void)state;
	out(1, 0x02);
	(void)in(2);
	full = true;
	out(0, 'a');
	struct vuart_state *record = vm_double_save(uart);
	uart->class->reset(uart);
	assert_int_equal(in(5) & 0x60, 0x60);
	assert_int_equal(vm_double_load(uart, record), 0);
	assert_int_equal(in(5) & 0x60, 0x60);
	assert_true(vm.gsi_level[GSI]);
	free(record);
}

static void receive_without_fifo_takes_one_byte_at_a_time(void **state) {
	(void)state;
	out(1, 0x01);
	type("abc");
	assert_int_equal(input_count, 2);
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(2), 0x04);
	assert_int_equal(in(5), 0x61);
	assert_int_equal(in(0), 'a');
	assert_int_equal(in(0), 'b');
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(0), 'c');
	assert_false(vm.gsi_level[GSI]);
	assert_int_equal(in(0), 0);
}

static void receive_fifo_interrupts_at_trigger_and_by_timeout(void **state) {
	(void)state;
	out(2, 0x81); // FIFO, trigger 8
	out(1, 0x01);
	assert_int_equal(in(2), 0xc1);
	type("1234567");
	assert_false(vm.gsi_level[GSI]);
	vm_double_run(&vm, 1000000); // more than four characters at 115200
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(2), 0xcc);
	type("8");
	assert_int_equal(in(2), 0xc4); // the trigger level has priority over the timeout
	assert_int_equal(in(0), '1');
	assert_false(vm.gsi_level[GSI]); // and the read restarted the timeout
	vm_double_run(&vm, 1000000);
	assert_true(vm.gsi_level[GSI]);
	for (char c = '2'; c <= '8'; c++) assert_int_equal(in(0), c);
	assert_false(vm.gsi_level[GSI]);
	vm_double_run(&vm, 1000000);
	assert_int_equal(vm.gsi_rises[GSI], 2);
}

static void receive_more_than_the_fifo_stays_in_the_back_end(void **state) {
	(void)state;
	out(2, 0x01);
	type("abcdefghijklmnopqrstuvwxyz");
	assert_int_equal(input_count, 10);
	for (char c = 'a'; c <= 'z'; c++) assert_int_equal(in(0), c);
	assert_int_equal(in(5), 0x60); // nothing lost, no overrun
}

static void interrupt_sources_are_reported_in_order(void **state) {
	(void)state;
	out(1, 0x0f);
	out(4, 0x10); // loopback: all modem inputs drop
	out(0, 'a');
	out(0, 'b'); // overrun
	assert_int_equal(in(2), 0x06);
	assert_int_equal(in(5), 0x63);
	assert_int_equal(in(2), 0x04);
	assert_int_equal(in(0), 'b');
	assert_int_equal(in(2), 0x02);
	assert_int_equal(in(2), 0x00);
	assert_int_equal(in(6), 0x0b);
	assert_int_equal(in(2), 0x01);
	assert_false(vm.gsi_level[GSI]);
}

static void loopback_modem_lines_follow_mcr(void **state) {
	(void)state;
	out(4, 0x1a); // RTS and OUT2
	assert_int_equal(in(6) & 0xf0, 0x90);
	out(4, 0x15); // DTR and OUT1
	assert_int_equal(in(6) & 0xf0, 0x60);
	(void)in(6);
	out(4, 0x10); // RI falls: its trailing edge
	assert_int_equal(in(6), 0x06);
	type("z"); // nothing comes from outside
	assert_int_equal(in(5) & 1, 0);
	out(4, 0);
	assert_int_equal(in(0), 'z');
}

static void fcr_write_clears_the_receiver(void **state) {
	(void)state;
	out(2, 0x01);
	type("abc");
	out(2, 0x03);
	assert_int_equal(in(5), 0x60);
	type("def");
	out(2, 0x00);
	assert_int_equal(in(5), 0x60);
	assert_int_equal(in(2), 0x01);
}

static void wide_access_is_split_into_bytes(void **state) {
	(void)state;
	vm_double_out(&vm, BASE + 3, 2, 0x0b03);
	assert_int_equal(in(3), 0x03);
	assert_int_equal(in(4), 0x0b);
	assert_int_equal(vm_double_in(&vm, BASE + 3, 2), 0x0b03);
}

static void load_restores_everything(void **state) {
	(void)state;
	out(2, 0xc1);
	out(1, 0x05);
	type("hello");
	vm_double_run(&vm, 100000);
	void *record = vm_double_save(uart);
	uart->class->reset(uart);
	assert_int_equal(in(5), 0x60);
	vm_double_run(&vm, 5000000);
	assert_int_equal(vm_double_load(uart, record), 0);
	assert_false(vm.gsi_level[GSI]);
	vm_double_run(&vm, 300000); // the rest of the timeout, not a whole one
	assert_true(vm.gsi_level[GSI]);
	assert_int_equal(in(2), 0xcc);
	for (const char *c = "hello"; *c; c++) assert_int_equal(in(0), *c);
	free(record);
}

static void load_bad_record_changes_nothing(void **state) {
	(void)state;
	out(7, 0x77);
	struct vuart_state *record = vm_double_save(uart);
	assert_int_equal(uart->class->load(uart, record, sizeof *record - 1, 1), -ERR_FORMAT);
	assert_int_equal(uart->class->load(uart, record, sizeof *record, 2), -ERR_VERSION);
	record->scr = 0x11;
	record->rx_count = 2; // more than the receiver holds without FIFO
	assert_int_equal(vm_double_load(uart, record), -ERR_FORMAT);
	assert_int_equal(in(7), 0x77);
	free(record);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(reset_registers_have_data_sheet_values),
	    TEST(divisor_latch_hides_data_and_ier),
	    TEST(write_sends_at_once),
	    TEST(thre_interrupt_follows_enable_iir_and_write),
	    TEST(transmitter_waits_for_the_back_end),
	    TEST(load_after_a_held_transmitter_sends_again),
	    TEST(receive_without_fifo_takes_one_byte_at_a_time),
	    TEST(receive_fifo_interrupts_at_trigger_and_by_timeout),
	    TEST(receive_more_than_the_fifo_stays_in_the_back_end),
	    TEST(interrupt_sources_are_reported_in_order),
	    TEST(loopback_modem_lines_follow_mcr),
	    TEST(fcr_write_clears_the_receiver),
	    TEST(wide_access_is_split_into_bytes),
	    TEST(load_restores_everything),
	    TEST(load_bad_record_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
