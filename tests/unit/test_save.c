// SPDX-License-Identifier: Apache-2.0
// The sequence of a VM's records, over a VM of two vCPUs and three devices that are a word each.
#include "kernel/save.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "tests/unit/support.h"

#define KHZ UINT64_C(2500000)
#define VCPU_BYTES 12u // not a multiple of 8: padded
#define VCPU_VERSION 3u
#define GOOD 0x600dc0deu

// ---- what kernel/save.c stands on ---------------------------------------------------------------------------

struct arch_vcpu {
	uint32_t word[VCPU_BYTES / 4]; // the first is GOOD in a record that is loaded
};

uint64_t vm_now_ns(const struct vm *vm) {
	return clock_tsc_to_ns(vm->clock_stopped_tsc - vm->clock_base_tsc);
}
uint64_t vm_tsc_khz(const struct vm *vm __unused_arg) { return KHZ; }
uint64_t clock_tsc_to_ns(uint64_t ticks) { return ticks * 1000000 / KHZ; }
uint64_t clock_ns_to_tsc(uint64_t ns) { return ns * KHZ / 1000000 + 1; }
void log_print(const char *format __unused_arg, ...) {}

uint32_t arch_vcpu_record_bytes(void) { return VCPU_BYTES; }
uint16_t arch_vcpu_record_version(void) { return VCPU_VERSION; }
void arch_vcpu_record_save(struct vcpu *vcpu, void *record) { memcpy(record, vcpu->arch, VCPU_BYTES); }
int arch_vcpu_record_check(const struct vcpu *vcpu __unused_arg, const void *record, uint32_t bytes) {
	return bytes == VCPU_BYTES && le32(record) == GOOD ? 0 : -ERR_FORMAT;
}
int arch_vcpu_record_load(struct vcpu *vcpu, const void *record, uint32_t bytes) {
	int err = arch_vcpu_record_check(vcpu, record, bytes);
	if (err == 0) memcpy(vcpu->arch, record, bytes);
	return err;
}

struct device {
	struct vdev vdev;
	uint32_t word;
};

static void device_save(const struct vdev *self, void *record) {
	put_le32(record, container_of(self, const struct device, vdev)->word);
}
static int device_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	if (bytes != 4 || version != self->class->state_version || le32(record) == 0) return -ERR_FORMAT;
	container_of(self, struct device, vdev)->word = le32(record);
	return 0;
}

static const struct vdev_class timer_class = {
    .name = "timer", .state_version = 1, .state_bytes = 4, .save = device_save, .load = device_load};
static const struct vdev_class port_class = {
    .name = "port", .state_version = 2, .state_bytes = 4, .save = device_save, .load = device_load};

// ---- the VM -----------------------------------------------------------------------------------------------------

struct machine {
	struct vm vm;
	struct vcpu vcpu[2];
	struct arch_vcpu arch[2];
	struct device device[3];
};

static struct machine *machine_new(void) {
	static const struct vdev_class *const class[] = {&port_class, &timer_class, &port_class};
	struct machine *m = calloc(1, sizeof *m);
	assert_non_null(m);
	list_init(&m->vm.devices);
	m->vm.vcpu_count = 2;
	m->vm.clock_base_tsc = 1000;
	m->vm.clock_stopped_tsc = 5000000;
	m->vm.routes.asserted[9] = 1;
	for (uint32_t i = 0; i < 2; i++) {
		m->arch[i] = (struct arch_vcpu){{GOOD, 10 + i, 20 + i}};
		m->vcpu[i] = (struct vcpu){.vm = &m->vm, .arch = &m->arch[i], .id = i};
		m->vm.vcpu[i] = &m->vcpu[i];
	}
	for (uint32_t i = 0; i < 3; i++) {
		m->device[i] = (struct device){.vdev = {.class = class[i], .vm = &m->vm}, .word = 100 + i};
		list_push_back(&m->vm.devices, &m->device[i].vdev.node);
	}
	return m;
}

// Everything that a record can change, forgotten.
static void machine_forget(struct machine *m) {
	m->vm.clock_stopped_tsc = 77000000;
	m->vm.clock_base_tsc = 0;
	m->vm.routes.asserted[9] = 0;
	for (unsigned i = 0; i < 2; i++) m->arch[i] = (struct arch_vcpu){{1, 2, 3}};
	for (unsigned i = 0; i < 3; i++) m->device[i].word = 7;
}

static bool machine_forgotten(const struct machine *m) {
	bool same = m->vm.clock_base_tsc == 0 && m->vm.routes.asserted[9] == 0;
	for (unsigned i = 0; i < 2; i++) same = same && m->arch[i].word[0] == 1;
	for (unsigned i = 0; i < 3; i++) same = same && m->device[i].word == 7;
	return same;
}

static void *saved(struct machine *m, uint64_t *bytes) {
	*bytes = save_bytes(&m->vm);
	void *buffer = malloc(*bytes);
	assert_non_null(buffer);
	assert_int_equal(save_write(&m->vm, buffer, *bytes), 0);
	return buffer;
}

static struct save_tag *tag_at(void *buffer, unsigned record) {
	uint8_t *at = (uint8_t *)buffer + sizeof(struct save_head);
	for (; record > 0; record--)
		at += sizeof(struct save_tag) + align_up(((struct save_tag *)(void *)at)->bytes, SAVE_ALIGN);
	return (struct save_tag *)(void *)at;
}

static void save_read_brings_everything_back(void **state) {
	(void)state;
	struct machine *m = machine_new();
	uint64_t bytes, now_ns = vm_now_ns(&m->vm);
	void *buffer = saved(m, &bytes);
	machine_forget(m);
	assert_int_equal(save_read(&m->vm, buffer, bytes), 0);
	assert_int_equal(vm_now_ns(&m->vm), now_ns);
	assert_int_equal(m->vm.routes.asserted[9], 1);
	for (uint32_t i = 0; i < 2; i++) assert_int_equal(m->arch[i].word[2], 20 + i);
	for (uint32_t i = 0; i < 3; i++) assert_int_equal(m->device[i].word, 100 + i);
	free(buffer);
	free(m);
}

static void save_write_is_repeatable_and_bounded(void **state) {
	(void)state;
	struct machine *m = machine_new();
	uint64_t bytes;
	void *one = saved(m, &bytes), *two = malloc(bytes);
	memset(two, 0xA5, bytes);
	assert_int_equal(save_write(&m->vm, two, bytes - 1), -ERR_NOMEM);
	assert_int_equal(save_write(&m->vm, two, bytes), 0);
	assert_memory_equal(one, two, bytes);
	assert_string_equal(tag_at(one, 3)->name, "port");
	assert_int_equal(tag_at(one, 3)->index, 0);
	assert_string_equal(tag_at(one, 5)->name, "port");
	assert_int_equal(tag_at(one, 5)->index, 1);
	free(one);
	free(two);
	free(m);
}

// A changed copy is refused with this error, and nothing was touched.
#define REFUSED(error, change)                                                                               \
	do {                                                                                                     \
		struct machine *m = machine_new();                                                                   \
		uint64_t bytes;                                                                                      \
		void *buffer = saved(m, &bytes);                                                                     \
		struct save_head *head = buffer;                                                                     \
		struct save_vm *vm = (struct save_vm *)(void *)(tag_at(buffer, 0) + 1);                              \
		(void)head, (void)vm;                                                                                \
		change;                                                                                              \
		machine_forget(m);                                                                                   \
		assert_int_equal(save_read(&m->vm, buffer, bytes), error);                                           \
		assert_true(machine_forgotten(m));                                                                   \
		free(buffer);                                                                                        \
		free(m);                                                                                             \
	} while (0)

static void save_read_wrong_sequence_changes_nothing(void **state) {
	(void)state;
	REFUSED(-ERR_TRUNC, bytes = 0);
	REFUSED(-ERR_TRUNC, bytes -= 8);
	REFUSED(-ERR_TRUNC, head->bytes = bytes -= 8);
	REFUSED(-ERR_FORMAT, head->magic ^= 1);
	REFUSED(-ERR_FORMAT, head->records++);
	REFUSED(-ERR_VERSION, head->version++);
	REFUSED(-ERR_FORMAT, tag_at(buffer, 4)->name[0] = 'T');
	REFUSED(-ERR_FORMAT, tag_at(buffer, 5)->index = 0);
	REFUSED(-ERR_VERSION, tag_at(buffer, 3)->version++);
	REFUSED(-ERR_VERSION, tag_at(buffer, 1)->version++);
	REFUSED(-ERR_FORMAT, tag_at(buffer, 2)->bytes = UINT32_MAX);
	REFUSED(-ERR_FORMAT, tag_at(buffer, 2)->reserved = 1);
	REFUSED(-ERR_FORMAT, put_le32(tag_at(buffer, 2) + 1, GOOD + 1)); // what the vCPU's check refuses
}

static void save_read_wrong_vm_changes_nothing(void **state) {
	(void)state;
	REFUSED(-ERR_FORMAT, vm->vcpus = 1);
	REFUSED(-ERR_FORMAT, vm->devices = 4);
	REFUSED(-ERR_FORMAT, vm->asserted[63] = BIT32(3));
	REFUSED(-ERR_FORMAT, vm->clock_ns = UINT64_MAX);
	REFUSED(-ERR_UNSUP, vm->tsc_khz = KHZ + KHZ / 500);
	REFUSED(-ERR_UNSUP, vm->tsc_khz = 0);
}

static void save_read_device_refusal_is_told(void **state) {
	(void)state;
	struct machine *m = machine_new();
	uint64_t bytes;
	void *buffer = saved(m, &bytes);
	put_le32(tag_at(buffer, 5) + 1, 0);
	assert_int_equal(save_read(&m->vm, buffer, bytes), -ERR_FORMAT);
	free(buffer);
	free(m);
}

static void save_read_random_damage_is_judged(void **state) {
	(void)state;
	struct rng rng;
	struct machine *m = machine_new();
	uint64_t bytes;
	void *good = saved(m, &bytes), *bad = malloc(bytes);
	rng_init(&rng, 20260103);
	for (unsigned round = 0; round < 100000; round++) {
		memcpy(bad, good, bytes);
		for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--)
			((uint8_t *)bad)[rng_below(&rng, bytes)] = (uint8_t)rng_next(&rng);
		if (save_read(&m->vm, bad, bytes) == 0) assert_int_equal(m->arch[0].word[0], GOOD);
	}
	free(good);
	free(bad);
	free(m);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(save_read_brings_everything_back),
	    cmocka_unit_test(save_write_is_repeatable_and_bounded),
	    cmocka_unit_test(save_read_wrong_sequence_changes_nothing),
	    cmocka_unit_test(save_read_wrong_vm_changes_nothing),
	    cmocka_unit_test(save_read_device_refusal_is_told),
	    cmocka_unit_test(save_read_random_damage_is_judged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
