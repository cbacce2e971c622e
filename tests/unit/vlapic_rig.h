// SPDX-License-Identifier: Apache-2.0
// What the tests of the virtual local APIC share: a VM of 1, 4 or 64 of them with a recording I/O APIC, and
// short names for what a guest does.
#pragma once

#include "tests/unit/support.h"
#include "tests/unit/vm_double.h"

#include "drivers/vdev/vlapic.h"

#define MMIO(reg) ((uint32_t)VLAPIC_REG_##reg << 4)
#define MSR(reg) (VLAPIC_X2APIC_MSR + (uint32_t)VLAPIC_REG_##reg)
#define LVT_MMIO(which) (((uint32_t)VLAPIC_REG_LVT + VLAPIC_LVT_##which) << 4)
#define LVT_MSR(which) (VLAPIC_X2APIC_MSR + (uint32_t)VLAPIC_REG_LVT + VLAPIC_LVT_##which)
#define X2APIC_MODE (VLAPIC_BASE_EN | VLAPIC_BASE_EXTD)

// The I/O APIC of these tests only records; tests/unit/test_vioapic.c has the real one.
static unsigned eoi_count, resample_count;
static uint8_t eoi_vector;
void vioapic_eoi(struct vdev *vioapic, uint8_t vector) {
	(void)vioapic;
	eoi_count++;
	eoi_vector = vector;
}
void vioapic_resample(struct vdev *vioapic) {
	(void)vioapic;
	resample_count++;
}

static struct vm vm;
static struct vdev fake_ioapic;

static inline int setup_n(unsigned count) {
	vm_double_init(&vm);
	vm.vcpu_count = count;
	vm.ioapic = &fake_ioapic;
	eoi_count = resample_count = 0;
	for (unsigned i = 0; i < count; i++)
		assert_non_null(vm_double_create(&vm, &vlapic_class, &(struct vdev_config){.index = i}, NULL));
	return 0;
}
static inline int setup(void **state) {
	(void)state;
	return setup_n(1);
}
static inline int setup_4(void **state) {
	(void)state;
	return setup_n(4);
}
static inline int setup_64(void **state) {
	(void)state;
	return setup_n(64);
}
static inline int teardown(void **state) {
	(void)state;
	vm_double_destroy(&vm);
	return 0;
}

static inline struct vdev *apic(unsigned id) { return vm.lapic[id]; }
static inline void enable(unsigned id) { vlapic_mmio_write(apic(id), MMIO(SVR), VLAPIC_SVR_ENABLE | 0xFF); }
static inline void enable_x2(unsigned id) {
	uint64_t base = vlapic_base_read(apic(id));
	assert_int_equal(vlapic_base_write(apic(id), base | VLAPIC_BASE_EXTD), 0);
	assert_int_equal(vlapic_msr_write(apic(id), MSR(SVR), VLAPIC_SVR_ENABLE | 0xFF), 0);
}
static inline uint64_t msr(unsigned id, uint32_t index) {
	uint64_t value = 0;
	assert_int_equal(vlapic_msr_read(apic(id), index, &value), 0);
	return value;
}
static inline bool send_fixed(unsigned id, uint8_t vector, bool level) {
	struct irq_msg msg = {.dest = id, .vector = vector, .level = level};
	return vlapic_deliver(&vm, NULL, &msg);
}
static inline uint32_t esr_latched(unsigned id) {
	vlapic_mmio_write(apic(id), MMIO(ESR), 0);
	return vlapic_mmio_read(apic(id), MMIO(ESR));
}
static inline void eoi(unsigned id) { vlapic_mmio_write(apic(id), MMIO(EOI), 0); }
static inline uint64_t taken_by(uint8_t vector) { // bit set of the APICs that have it waiting; takes it away
	uint64_t set = 0;
	for (unsigned i = 0; i < vm.vcpu_count; i++) {
		if (vlapic_pending(apic(i)) != vector) continue;
		set |= BIT64(i);
		(void)vlapic_ack(apic(i), vector);
		if (vlapic_x2apic(vlapic_of(apic(i))))
			assert_int_equal(vlapic_msr_write(apic(i), MSR(EOI), 0), 0);
		else
			eoi(i);
	}
	return set;
}
