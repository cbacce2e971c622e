// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC: register semantics case by case, and random traffic against a plain model of
// the priority logic, with saving and loading at random points.
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

static int setup_n(unsigned count) {
	vm_double_init(&vm);
	vm.vcpu_count = count;
	vm.ioapic = &fake_ioapic;
	eoi_count = resample_count = 0;
	for (unsigned i = 0; i < count; i++)
		assert_non_null(vm_double_create(&vm, &vlapic_class, &(struct vdev_config){.index = i}, NULL));
	return 0;
}
static int setup(void **state) {
	(void)state;
	return setup_n(1);
}
static int setup_4(void **state) {
	(void)state;
	return setup_n(4);
}
static int setup_64(void **state) {
	(void)state;
	return setup_n(64);
}
static int teardown(void **state) {
	(void)state;
	vm_double_destroy(&vm);
	return 0;
}

static struct vdev *apic(unsigned id) { return vm.lapic[id]; }
static void enable(unsigned id) { vlapic_mmio_write(apic(id), MMIO(SVR), VLAPIC_SVR_ENABLE | 0xFF); }
static void enable_x2(unsigned id) {
	uint64_t base = vlapic_base_read(apic(id));
	assert_int_equal(vlapic_base_write(apic(id), base | VLAPIC_BASE_EXTD), 0);
	assert_int_equal(vlapic_msr_write(apic(id), MSR(SVR), VLAPIC_SVR_ENABLE | 0xFF), 0);
}
static uint64_t msr(unsigned id, uint32_t index) {
	uint64_t value = 0;
	assert_int_equal(vlapic_msr_read(apic(id), index, &value), 0);
	return value;
}
static bool send_fixed(unsigned id, uint8_t vector, bool level) {
	struct irq_msg msg = {.dest = id, .vector = vector, .level = level};
	return vlapic_deliver(&vm, NULL, &msg);
}
static uint32_t esr_latched(unsigned id) {
	vlapic_mmio_write(apic(id), MMIO(ESR), 0);
	return vlapic_mmio_read(apic(id), MMIO(ESR));
}
static void eoi(unsigned id) { vlapic_mmio_write(apic(id), MMIO(EOI), 0); }

// ---- reset and modes -------------------------------------------------------------------------------------

static void reset_values_as_manual(void **state) {
	(void)state;
	assert_int_equal(vlapic_base_read(apic(0)), 0xFEE00900u);
	assert_int_equal(vlapic_base_read(apic(1)), 0xFEE00800u);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(ID)), 1u << 24);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(VERSION)), 0x01050014);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(SVR)), 0xFF);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(DFR)), 0xFFFFFFFF);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(LDR)), 0);
	for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++)
		assert_int_equal(vlapic_mmio_read(apic(1), (VLAPIC_REG_LVT + i) << 4), VLAPIC_LVT_MASK);
	assert_int_equal(vlapic_pending(apic(1)), -1);
	assert_int_equal(vlapic_highest_irr(apic(1)), -1);
	assert_true(vlapic_accepts_extint(apic(0))); // virtual wire on the bootstrap processor only
	assert_false(vlapic_accepts_extint(apic(1)));
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT0)), 0x700);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT1)), 0x400);
}

static void base_write_every_transition_as_manual(void **state) {
	(void)state;
	// SDM 10.12.5, Figure 10-27: from, to, allowed. 0 disabled, EN xAPIC, EN|EXTD x2APIC.
	const uint64_t modes[] = {0, VLAPIC_BASE_EN, X2APIC_MODE, VLAPIC_BASE_EXTD};
	const bool allowed[3][4] = {{1, 1, 0, 0}, {1, 1, 1, 0}, {1, 0, 1, 0}};
	for (unsigned from = 0; from < 3; from++)
		for (unsigned to = 0; to < 4; to++) {
			apic(0)->class->reset(apic(0));
			if (modes[from] == 0) assert_int_equal(vlapic_base_write(apic(0), 0xFEE00100), 0);
			if (modes[from] == X2APIC_MODE) enable_x2(0);
			int err = vlapic_base_write(apic(0), 0xFEE00100 | modes[to]);
			assert_int_equal(err, allowed[from][to] ? 0 : -ERR_INVAL);
			uint64_t now = allowed[from][to] ? modes[to] : modes[from];
			assert_int_equal(vlapic_base_read(apic(0)), 0xFEE00100 | now);
		}
}

static void base_write_reserved_bits_refused(void **state) {
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		if (bit == 8 || (bit >= 10 && bit < 52)) continue;
		assert_int_equal(vlapic_base_write(apic(0), 0xFEE00900 | BIT64(bit)), -ERR_INVAL);
	}
	assert_int_equal(vlapic_base_write(apic(0), 0xD0000800), 0);
	assert_int_equal(vlapic_base_read(apic(0)), 0xD0000900); // BSP is wired
}

static void base_write_disable_and_enable_starts_from_reset(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x50, false));
	vlapic_mmio_write(apic(0), MMIO(TPR), 0x30);
	assert_int_equal(vlapic_base_write(apic(0), 0xFEE00100), 0);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
	assert_true(vlapic_accepts_extint(apic(0)));
	assert_false(send_fixed(0, 0x50, false));
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(VERSION)), 0);
	assert_int_equal(vlapic_base_write(apic(0), 0xFEE00900), 0);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(SVR)), 0xFF);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TPR)), 0);
	assert_false(vlapic_accepts_extint(apic(0)));
}

static void base_write_to_x2apic_keeps_state(void **state) {
	(void)state;
	enable(1);
	assert_true(send_fixed(1, 0x50, false));
	vlapic_mmio_write(apic(1), MMIO(TPR), 0x30);
	assert_int_equal(vlapic_base_write(apic(1), 0xFEE00C00), 0);
	assert_int_equal(vlapic_pending(apic(1)), 0x50);
	assert_int_equal(msr(1, MSR(TPR)), 0x30);
	assert_int_equal(msr(1, MSR(ID)), 1);
	assert_int_equal(msr(1, MSR(LDR)), 2);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(VERSION)), 0); // the page is gone
}

static void init_reset_keeps_base(void **state) {
	(void)state;
	enable_x2(1);
	assert_true(send_fixed(1, 0x50, false));
	vlapic_init_reset(apic(1));
	assert_int_equal(vlapic_base_read(apic(1)), 0xFEE00C00);
	assert_int_equal(vlapic_highest_irr(apic(1)), -1);
	assert_int_equal(msr(1, MSR(SVR)), 0xFF);
}

// ---- register access ---------------------------------------------------------------------------------------

static void msr_access_outside_x2apic_refused(void **state) {
	(void)state;
	uint64_t value;
	assert_int_equal(vlapic_msr_read(apic(0), MSR(ID), &value), -ERR_INVAL);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(EOI), 0), -ERR_INVAL);
}

static void msr_access_each_number_as_manual(void **state) {
	(void)state;
	enable_x2(0);
	for (uint32_t reg = 0; reg < 0x100; reg++) {
		bool vectors = reg >= 0x10 && reg <= 0x27;
		bool lvt = reg >= 0x32 && reg <= 0x37;
		bool rw = reg == 8 || reg == 0xF || reg == 0x28 || reg == 0x30 || reg == 0x38 || reg == 0x3E || lvt;
		bool ro = reg == 2 || reg == 3 || reg == 0xA || reg == 0xD || reg == 0x39 || vectors;
		bool wo = reg == 0xB;
		uint64_t value;
		assert_int_equal(vlapic_msr_read(apic(0), 0x800 + reg, &value), rw || ro ? 0 : -ERR_INVAL);
		if (reg == 0x3F || reg == 0x30) continue; // these two send
		assert_int_equal(vlapic_msr_write(apic(0), 0x800 + reg, 0), rw || wo ? 0 : -ERR_INVAL);
	}
}

static void msr_write_reserved_bits_refused(void **state) {
	(void)state;
	enable_x2(0);
	const struct {
		uint32_t msr;
		uint64_t bad;
	} cases[] = {
	    {MSR(TPR), 0x100},
	    {MSR(TPR), BIT64(32)},
	    {MSR(EOI), 1},
	    {MSR(SVR), 0x400},
	    {MSR(ESR), 1},
	    {LVT_MSR(TIMER), 0x100},
	    {LVT_MSR(ERROR), 0x100},
	    {LVT_MSR(PERF), 0x8000},
	    {LVT_MSR(LINT0), BIT64(17)},
	    {MSR(TIMER_DIVIDE), 4},
	    {MSR(TIMER_INITIAL), BIT64(32)},
	    {MSR(SELF_IPI), 0x100},
	    {MSR(ICR), BIT64(13)},
	    {MSR(ICR), BIT64(16)},
	    {MSR(ICR), BIT64(20)},
	    {MSR(ICR), 0x40000 | BIT64(31)},
	};
	for (unsigned i = 0; i < array_count(cases); i++)
		assert_int_equal(vlapic_msr_write(apic(0), cases[i].msr, cases[i].bad), -ERR_INVAL);
}

static void mmio_access_unknown_register_sets_esr(void **state) {
	(void)state;
	enable(0);
	assert_int_equal(vlapic_mmio_read(apic(0), 0x40), 0);
	assert_int_equal(esr_latched(0), VLAPIC_ESR_ILLEGAL_REGISTER);
	vlapic_mmio_write(apic(0), 0x3F0, 0x40); // the self-IPI register is x2APIC's
	assert_int_equal(esr_latched(0), VLAPIC_ESR_ILLEGAL_REGISTER);
	(void)vlapic_mmio_read(apic(0), 0xFFC);
	assert_int_equal(esr_latched(0), VLAPIC_ESR_ILLEGAL_REGISTER);
	assert_int_equal(vlapic_mmio_read(apic(0), 0x34), 0); // between registers: undefined, no error
	assert_int_equal(esr_latched(0), 0);
}

static void esr_read_without_write_keeps_old(void **state) {
	(void)state;
	enable(0);
	assert_false(send_fixed(0, 5, false));
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(ESR)), 0);
	assert_int_equal(esr_latched(0), VLAPIC_ESR_RECEIVE_ILLEGAL);
	assert_int_equal(esr_latched(0), 0);
}

static void error_lvt_illegal_vector_does_not_recurse(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(ERROR), 3);
	vlapic_mmio_write(apic(0), MMIO(ICR), 0x40000 | 7);
	assert_int_equal(esr_latched(0), VLAPIC_ESR_SEND_ILLEGAL | VLAPIC_ESR_RECEIVE_ILLEGAL);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
}

static void error_lvt_delivers_once_until_esr_written(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(ERROR), 0xFE);
	vlapic_mmio_write(apic(0), MMIO(ICR), 0x40000 | 7);
	assert_int_equal(vlapic_pending(apic(0)), 0xFE);
	assert_int_equal(vlapic_ack(apic(0), 0xFE), 0xFE);
	eoi(0);
	vlapic_mmio_write(apic(0), MMIO(ICR), 0x40000 | 7);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(esr_latched(0), VLAPIC_ESR_SEND_ILLEGAL);
	vlapic_mmio_write(apic(0), MMIO(ICR), 0x40000 | 7);
	assert_int_equal(vlapic_pending(apic(0)), 0xFE);
}

static void svr_disable_masks_lvts_and_refuses(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	assert_true(send_fixed(0, 0x60, false));
	vlapic_mmio_write(apic(0), MMIO(SVR), 0xFF);
	for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++)
		assert_true(vlapic_mmio_read(apic(0), (VLAPIC_REG_LVT + i) << 4) & VLAPIC_LVT_MASK);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(TIMER)), 0x40 | VLAPIC_LVT_MASK);
	assert_false(vlapic_accepts_extint(apic(0)));
	assert_false(send_fixed(0, 0x70, false));
	assert_int_equal(vlapic_pending(apic(0)), 0x60); // what waits is held and served
	enable(0);
	assert_int_equal(resample_count, 2);
}

// ---- priorities --------------------------------------------------------------------------------------------

static void pending_higher_class_only_preempts(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x51, false));
	assert_int_equal(vlapic_ack(apic(0), 0x51), 0x51);
	assert_true(send_fixed(0, 0x5F, false)); // same class: waits
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_highest_irr(apic(0)), 0x5F);
	assert_true(send_fixed(0, 0x60, false));
	assert_int_equal(vlapic_pending(apic(0)), 0x60);
	assert_int_equal(vlapic_ack(apic(0), 0x60), 0x60);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(PPR)), 0x60);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(APR)), 0x60);
	eoi(0);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	uint32_t events = vm.events[0];
	eoi(0);
	assert_int_equal(vlapic_pending(apic(0)), 0x5F);
	assert_int_equal(vm.events[0], events + 1);
}

static void tpr_holds_back_and_releases(void **state) {
	(void)state;
	enable(0);
	vlapic_cr8_write(apic(0), 6);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TPR)), 0x60);
	assert_true(send_fixed(0, 0x6F, false));
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_highest_irr(apic(0)), 0x6F);
	vlapic_mmio_write(apic(0), MMIO(TPR), 0x5F);
	assert_int_equal(vlapic_pending(apic(0)), 0x6F);
	assert_int_equal(vlapic_cr8_read(apic(0)), 5);
}

static void ack_vanished_vector_is_spurious(void **state) {
	(void)state;
	vlapic_mmio_write(apic(0), MMIO(SVR), VLAPIC_SVR_ENABLE | 0xEF);
	assert_true(send_fixed(0, 0x50, false));
	assert_int_equal(vlapic_pending(apic(0)), 0x50);
	vlapic_cr8_write(apic(0), 5);
	assert_int_equal(vlapic_ack(apic(0), 0x50), 0xEF);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(ISR) + 0x20), 0);
	vlapic_cr8_write(apic(0), 0);
	assert_int_equal(vlapic_ack(apic(0), 0x50), 0x50);
	assert_int_equal(vlapic_ack(apic(0), 0x50), 0xEF);
}

static void ack_below_newcomer_leaves_newcomer_pending(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x50, false));
	int taken = vlapic_pending(apic(0));
	assert_true(send_fixed(0, 0x90, false)); // another CPU, after the look
	assert_int_equal(vlapic_ack(apic(0), (uint8_t)taken), 0x50);
	assert_int_equal(vlapic_pending(apic(0)), 0x90);
}

static void eoi_level_vector_reaches_ioapic(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x50, true));
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TMR) + 0x20), 1u << 16);
	(void)vlapic_ack(apic(0), 0x50);
	eoi(0);
	assert_int_equal(eoi_count, 1);
	assert_int_equal(eoi_vector, 0x50);
	assert_true(send_fixed(0, 0x50, false)); // now as an edge
	(void)vlapic_ack(apic(0), 0x50);
	eoi(0);
	eoi(0); // with nothing in service
	assert_int_equal(eoi_count, 1);
}

static void eoi_directed_is_not_broadcast(void **state) {
	(void)state;
	vlapic_mmio_write(apic(0), MMIO(SVR), VLAPIC_SVR_ENABLE | VLAPIC_SVR_DIRECTED_EOI | 0xFF);
	assert_true(send_fixed(0, 0x50, true));
	(void)vlapic_ack(apic(0), 0x50);
	eoi(0);
	assert_int_equal(eoi_count, 0);
}

// ---- messages ------------------------------------------------------------------------------------------------

static uint64_t taken_by(uint8_t vector) { // bit set of the APICs that have it waiting; takes it away
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
static uint64_t icr_taken_by(unsigned from, uint32_t dest, uint32_t icr) {
	if (vlapic_x2apic(vlapic_of(apic(from)))) {
		assert_int_equal(vlapic_msr_write(apic(from), MSR(ICR), (uint64_t)dest << 32 | icr), 0);
	} else {
		vlapic_mmio_write(apic(from), MMIO(ICR_HIGH), dest << 24);
		vlapic_mmio_write(apic(from), MMIO(ICR), icr);
	}
	return taken_by((uint8_t)icr);
}

static void icr_destinations_xapic_as_manual(void **state) {
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		enable(i);
		vlapic_mmio_write(apic(i), MMIO(LDR), 0x01000000u << i);
	}
	assert_int_equal(icr_taken_by(0, 2, 0x40), 4);          // physical
	assert_int_equal(icr_taken_by(0, 9, 0x40), 0);          // nobody
	assert_int_equal(icr_taken_by(1, 0xFF, 0x40), 0xF);     // broadcast
	assert_int_equal(icr_taken_by(1, 0, 0x40040), 2);       // self
	assert_int_equal(icr_taken_by(1, 0, 0x80040), 0xF);     // all
	assert_int_equal(icr_taken_by(1, 0, 0xC0040), 0xD);     // others
	assert_int_equal(icr_taken_by(1, 0x0A, 0x840), 0xA);    // logical, flat
	assert_int_equal(icr_taken_by(1, 0xFF, 0x840), 0xF);    // logical broadcast
	assert_int_equal(icr_taken_by(1, 1, 0x40 | 0xC000), 2); // a level IPI goes as an edge
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(TMR) + 0x20), 0);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(ICR)), 0x40 | 0xC000);
	for (unsigned i = 0; i < 4; i++) {
		vlapic_mmio_write(apic(i), MMIO(DFR), 0x0FFFFFFF); // clusters 0 and 1 of two
		vlapic_mmio_write(apic(i), MMIO(LDR), (i / 2 << 28) | (1u << (24 + i % 2)));
	}
	assert_int_equal(icr_taken_by(0, 0x13, 0x840), 0xC);
	assert_int_equal(icr_taken_by(0, 0x01, 0x840), 0x1);
	assert_int_equal(icr_taken_by(0, 0x0F, 0x840), 0x3);
	assert_int_equal(icr_taken_by(0, 0x2F, 0x840), 0);
}

static void icr_destinations_x2apic_as_manual(void **state) {
	(void)state;
	for (unsigned i = 0; i < 64; i++) enable_x2(i);
	assert_int_equal(msr(63, MSR(LDR)), 0x38000);
	assert_int_equal(icr_taken_by(5, 63, 0x40), BIT64(63));
	assert_int_equal(icr_taken_by(5, 0xFF, 0x40), 0);
	assert_int_equal(icr_taken_by(5, 0xFFFFFFFF, 0x40), UINT64_MAX);
	assert_int_equal(icr_taken_by(5, 0xFFFFFFFF, 0x840), UINT64_MAX);
	assert_int_equal(icr_taken_by(5, 0x2000F, 0x840), BIT64(32) * 0xF);
	assert_int_equal(icr_taken_by(5, 0, 0x40040), BIT64(5));
	assert_int_equal(icr_taken_by(5, 0, 0xC0040), ~BIT64(5));
	assert_int_equal(msr(5, MSR(ICR)), 0xC0040);
	assert_int_equal(vlapic_msr_write(apic(5), MSR(SELF_IPI), 0x77), 0);
	assert_int_equal(taken_by(0x77), BIT64(5));
	struct irq_msg msi = {.dest = 0xFF, .vector = 0x55}; // an 8-bit device broadcast
	assert_true(vlapic_deliver(&vm, NULL, &msi));
	assert_int_equal(taken_by(0x55), UINT64_MAX);
}

static void icr_illegal_vector_sets_send_error(void **state) {
	(void)state;
	enable_x2(0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ICR), 0x4000F), 0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ESR), 0), 0);
	assert_int_equal(msr(0, MSR(ESR)), VLAPIC_ESR_SEND_ILLEGAL);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(SELF_IPI), 0xF), 0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ESR), 0), 0);
	assert_int_equal(msr(0, MSR(ESR)), VLAPIC_ESR_SEND_ILLEGAL);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
}

static void icr_lifecycle_messages_reach_vcpu(void **state) {
	(void)state;
	enable(0); // receivers are software-disabled: they take these nevertheless
	(void)icr_taken_by(0, 2, 0x4500 | 0x8000); // INIT, assert
	(void)icr_taken_by(0, 2, 0x8500);          // INIT level de-assert: nothing
	(void)icr_taken_by(0, 2, 0x4608);          // STARTUP at page 8
	(void)icr_taken_by(0, 3, 0x4400);          // NMI
	assert_int_equal(vm.inits[2], 1);
	assert_int_equal(vm.startups[2], 1);
	assert_int_equal(vm.startup_vector[2], 8);
	assert_int_equal(vm.nmis[3], 1);
	(void)icr_taken_by(0, 0, 0xC4500); // INIT to the others
	assert_int_equal(vm.inits[0], 0);
	assert_int_equal(vm.inits[1] + vm.inits[2] + vm.inits[3], 4);
	(void)icr_taken_by(0, 0, 0x44500); // INIT to itself, reserved modes: refused
	(void)icr_taken_by(0, 1, 0x4300);
	(void)icr_taken_by(0, 1, 0x4700);
	assert_int_equal(vm.inits[0], 0);
	assert_int_equal(vm.guest_errors, 3);
}

static void deliver_lowest_prefers_low_priority_then_turns(void **state) {
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		if (i != 3) enable(i);
		vlapic_mmio_write(apic(i), MMIO(LDR), 0x01000000u << i);
	}
	vlapic_cr8_write(apic(0), 2);
	struct irq_msg msg = {.dest = 0xF, .vector = 0x61, .mode = IRQ_MODE_LOWEST, .logical = true};
	uint64_t seen[4];
	for (unsigned i = 0; i < 4; i++) {
		assert_true(vlapic_deliver(&vm, NULL, &msg));
		seen[i] = taken_by(0x61);
	}
	assert_int_equal(seen[0] | seen[1], 6); // 1 and 2 in turns; 0 is busy, 3 disabled
	assert_int_equal(seen[2] | seen[3], 6);
	vlapic_cr8_write(apic(1), 3);
	vlapic_cr8_write(apic(2), 3);
	assert_true(vlapic_deliver(&vm, NULL, &msg));
	assert_int_equal(taken_by(0x61), 1);
}

static void deliver_repeated_vector_signals_once(void **state) {
	(void)state;
	enable(0);
	uint32_t events = vm.events[0];
	assert_true(send_fixed(0, 0x50, false));
	assert_true(send_fixed(0, 0x50, false));
	assert_int_equal(vm.events[0], events + 1);
}

static void lint_pins_follow_lvt(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x30); // fixed, edge: the 8259A "virtual wire" by vector
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT1), 0x400);
	assert_false(vlapic_accepts_extint(apic(0)));
	vlapic_lint_set(apic(0), 0, true);
	vlapic_lint_set(apic(0), 0, true);
	vlapic_lint_set(apic(0), 1, true);
	assert_int_equal(taken_by(0x30), 1);
	assert_int_equal(vm.nmis[0], 1);
	vlapic_lint_set(apic(0), 0, false);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x8031); // fixed, level
	vlapic_lint_set(apic(0), 0, true);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT0)), 0xC031);
	assert_int_equal(taken_by(0x31), 1); // EOI: still asserted, comes again
	assert_int_equal(vlapic_pending(apic(0)), 0x31);
	vlapic_lint_set(apic(0), 0, false);
	assert_int_equal(taken_by(0x31), 1);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT0)), 0x8031);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x700);
	assert_true(vlapic_accepts_extint(apic(0)));
}

// ---- timer ---------------------------------------------------------------------------------------------------

static void timer_oneshot_counts_down_and_fires_once(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	const unsigned divide[8] = {2, 4, 8, 16, 32, 64, 128, 1};
	for (uint32_t code = 0; code < 8; code++) {
		vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), (code & 3) | (code & 4) << 1);
		vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 1000);
		vm_double_run(&vm, 400 * divide[code]);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 600);
		vm_double_run(&vm, 600 * divide[code] - 1);
		assert_int_equal(vlapic_pending(apic(0)), -1);
		vm_double_run(&vm, 1);
		assert_int_equal(taken_by(0x40), 1);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 0);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_INITIAL)), 1000);
		assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	}
}

static void timer_masked_runs_silently(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x10040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
	vm_double_run(&vm, 999);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 1);
	vm_double_run(&vm, 10);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	vm_double_run(&vm, 10000);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
}

static void timer_periodic_late_merges_and_keeps_phase(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000000);
	for (unsigned i = 0; i < 3; i++) {
		vm_double_run(&vm, 1000000);
		assert_int_equal(taken_by(0x40), 1);
	}
	vm_double_jump(&vm, 5300000);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(timerq_next(&vm.timers), 9000000);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 700000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x30040); // masked: no host timer, the count goes on
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vm_double_run(&vm, 10000000);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 700000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	assert_int_equal(timerq_next(&vm.timers), 19000000);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 0);
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
}

static void timer_periodic_tiny_period_is_bounded(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1);
	unsigned fired = 0;
	uint64_t end = vm.now_ns + 1000000;
	while (timerq_next(&vm.timers) <= end) {
		vm.now_ns = timerq_next(&vm.timers);
		timerq_expire(&vm.timers, vm.now_ns);
		fired++;
		assert_int_equal(taken_by(0x40), 1);
	}
	assert_in_range(fired, 10, 25);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 7);
	vm_double_run(&vm, 16);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 5);
}

static void timer_divide_change_goes_on_from_count(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
	vm_double_run(&vm, 400);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0x1);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 600);
	assert_int_equal(timerq_next(&vm.timers), 400 + 2400);
}

static void deadline_write_fires_when_tsc_reaches(void **state) {
	(void)state;
	enable(0);
	vm.tsc_khz = 2500000;
	vm.tsc_offset = 12345;
	vlapic_deadline_write(apic(0), 1); // not in the mode: ignored
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	vlapic_deadline_write(apic(0), 12345 + 2500);
	assert_int_equal(vlapic_deadline_read(apic(0)), 12345 + 2500);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 5); // ignored
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 0);
	vm_double_run(&vm, 999);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	vm_double_run(&vm, 1);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
	vlapic_deadline_write(apic(0), 1); // past: at once
	assert_int_equal(taken_by(0x40), 1);
	vlapic_deadline_write(apic(0), vm_guest_tsc(&vm) + 1000);
	vlapic_deadline_write(apic(0), 0);
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vlapic_deadline_write(apic(0), vm_guest_tsc(&vm) + 1000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40); // leaving the mode disarms
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
}

static void tsc_changed_moves_deadline(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	vlapic_deadline_write(apic(0), 1000);
	vm.tsc_offset = 400;
	vlapic_tsc_changed(apic(0));
	assert_int_equal(timerq_next(&vm.timers), 600);
}

// ---- records -------------------------------------------------------------------------------------------------

static void load_bad_record_leaves_device_alone(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x50, false));
	struct vlapic_state *good = vm_double_save(apic(0));
	struct vlapic_state *kept = vm_double_save(apic(0));
#define REFUSED(change)                                                                                      \
	do {                                                                                                     \
		struct vlapic_state bad = *good;                                                                     \
		bad.change;                                                                                          \
		assert_int_equal(vm_double_load(apic(0), &bad), -ERR_FORMAT);                                        \
	} while (0)
	REFUSED(base |= 1);
	REFUSED(base = 0xFEE00D00 ^ VLAPIC_BASE_EN);
	REFUSED(base = 0xFEE00100); // disabled, and yet a vector waits
	REFUSED(base = 0xFEE00800);
	REFUSED(id = 1);
	REFUSED(irr[0] = 1);
	REFUSED(isr[0] = 0x8000);
	REFUSED(tpr = 256);
	REFUSED(dfr = 0);
	REFUSED(lvt[VLAPIC_LVT_ERROR] = BIT32(17));
	REFUSED(esr = 1);
	REFUSED(timer_divide = 4);
	REFUSED(timer_remaining_ns = 5); // runs with an initial count of 0
	REFUSED(timer_late_ns = 1);
	REFUSED(tsc_deadline = 1);
	REFUSED(lint[0] = 2);
#undef REFUSED
	assert_int_equal(apic(0)->class->load(apic(0), good, sizeof *good, 2), -ERR_VERSION);
	assert_int_equal(apic(0)->class->load(apic(0), good, sizeof *good - 1, 1), -ERR_FORMAT);
	struct vlapic_state *after = vm_double_save(apic(0));
	assert_memory_equal(after, kept, sizeof *kept);
	free(good);
	free(kept);
	free(after);
}

static void load_disabled_with_cr8_written_is_taken(void **state) {
	(void)state;
	assert_int_equal(vlapic_base_write(apic(0), 0xFEE00100), 0);
	vlapic_cr8_write(apic(0), 7);
	void *record = vm_double_save(apic(0));
	assert_int_equal(vm_double_load(apic(0), record), 0);
	assert_int_equal(vlapic_cr8_read(apic(0)), 7);
	free(record);
}

static void load_late_periodic_keeps_phase(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000000);
	vm.now_ns = 1200000; // due, not yet served
	struct vlapic_state *record = vm_double_save(apic(0));
	apic(0)->class->reset(apic(0));
	assert_int_equal(vm_double_load(apic(0), record), 0);
	vm_double_run(&vm, 0);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(timerq_next(&vm.timers), 2000000);
	free(record);
}

// ---- random traffic against a plain model ----------------------------------------------------------------------

struct model {
	bool irr[256], isr[256], level[256];
	unsigned tpr;
};
static int model_top(const bool *set) {
	for (int i = 255; i >= 0; i--)
		if (set[i]) return i;
	return -1;
}
static unsigned model_ppr(const struct model *m) {
	int isr = model_top(m->isr);
	unsigned class = isr < 0 ? 0 : (unsigned)isr / 16;
	return m->tpr / 16 >= class ? m->tpr : class * 16;
}
static int model_pending(const struct model *m) {
	int top = model_top(m->irr);
	return top >= 0 && (unsigned)top / 16 > model_ppr(m) / 16 ? top : -1;
}

static void model_check(const struct model *m) {
	assert_int_equal(vlapic_pending(apic(0)), model_pending(m));
	assert_int_equal(vlapic_highest_irr(apic(0)), model_top(m->irr));
	assert_int_equal(msr(0, MSR(PPR)), model_ppr(m));
	for (uint32_t w = 0; w < 8; w++) {
		uint32_t irr = 0, isr = 0;
		for (unsigned b = 0; b < 32; b++) {
			irr |= (uint32_t)m->irr[32 * w + b] << b;
			isr |= (uint32_t)m->isr[32 * w + b] << b;
		}
		assert_int_equal(msr(0, MSR(IRR) + w), irr);
		assert_int_equal(msr(0, MSR(ISR) + w), isr);
	}
}

static void model_step(struct model *m, struct rng *rng) {
	uint8_t vector = (uint8_t)(16 + rng_below(rng, 240));
	bool level = rng_below(rng, 2);
	int pending = model_pending(m), served = model_top(m->isr);
	switch (rng_below(rng, 8)) {
	case 0:
	case 1: // a device
		assert_true(send_fixed(0, vector, level));
		m->irr[vector] = true;
		m->level[vector] = level;
		break;
	case 2: // itself
		if (level)
			assert_int_equal(vlapic_msr_write(apic(0), MSR(SELF_IPI), vector), 0);
		else
			assert_int_equal(vlapic_msr_write(apic(0), MSR(ICR), 0x40000u | vector), 0);
		m->irr[vector] = true;
		m->level[vector] = false;
		break;
	case 3:
	case 4:
		if (pending < 0) break;
		assert_int_equal(vlapic_ack(apic(0), (uint8_t)pending), pending);
		m->irr[pending] = false;
		m->isr[pending] = true;
		break;
	case 5: {
		unsigned before = eoi_count;
		assert_int_equal(vlapic_msr_write(apic(0), MSR(EOI), 0), 0);
		bool told = served >= 0 && m->level[served];
		assert_int_equal(eoi_count, before + told);
		if (told) assert_int_equal(eoi_vector, served);
		if (served >= 0) m->isr[served] = false;
		break;
	}
	case 6:
		m->tpr = (unsigned)rng_below(rng, 256) & (unsigned)rng_below(rng, 256);
		assert_int_equal(vlapic_msr_write(apic(0), MSR(TPR), m->tpr), 0);
		break;
	default:
		if (rng_below(rng, 8)) break;
		void *record = vm_double_save(apic(0));
		apic(0)->class->reset(apic(0));
		assert_int_equal(vm_double_load(apic(0), record), 0);
		void *again = vm_double_save(apic(0));
		assert_memory_equal(record, again, apic(0)->class->state_bytes);
		free(record);
		free(again);
		break;
	}
}

static void priorities_random_traffic_matches_model(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0xA91C);
	for (unsigned round = 0; round < 40; round++) {
		struct model m = {0};
		apic(0)->class->reset(apic(0));
		enable_x2(0);
		for (unsigned step = 0; step < 1000; step++) {
			model_step(&m, &rng);
			model_check(&m);
		}
	}
}

// The same timer operations on two VMs, one saved, reset and loaded all the time: the same interrupts.
static void timer_random_saving_changes_nothing(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0x71BE);
	static struct vm other;
	vm_double_init(&other);
	struct vdev *plain = vm_double_create(&other, &vlapic_class, NULL, NULL);
	struct vdev *saved = apic(0);
	vlapic_mmio_write(plain, MMIO(SVR), 0x1FF);
	vlapic_mmio_write(saved, MMIO(SVR), 0x1FF);
	for (unsigned step = 0; step < 20000; step++) {
		uint32_t offset = 0, value = 0;
		uint64_t ns = 0;
		switch (rng_below(&rng, 6)) {
		case 0:
			offset = LVT_MMIO(TIMER);
			value = 0x40 | (uint32_t)rng_below(&rng, 8) << 16;
			break;
		case 1:
			offset = MMIO(TIMER_INITIAL);
			value = (uint32_t)rng_below(&rng, 1000000);
			break;
		case 2:
			offset = MMIO(TIMER_DIVIDE);
			value = (uint32_t)rng_below(&rng, 16);
			break;
		default: ns = rng_below(&rng, 3000000); break;
		}
		bool late = rng_below(&rng, 2);
		for (unsigned i = 0; i < 2; i++) {
			struct vm *target = i ? &vm : &other;
			if (offset)
				vlapic_mmio_write(i ? saved : plain, offset, value);
			else if (late)
				vm_double_jump(target, ns);
			else
				vm_double_run(target, ns);
			if (offset == 0 && value == 0 && late)
				vlapic_deadline_write(i ? saved : plain, target->now_ns + 5000);
		}
		void *record = vm_double_save(saved);
		saved->class->reset(saved);
		assert_int_equal(vm_double_load(saved, record), 0);
		free(record);
		assert_int_equal(vlapic_pending(saved), vlapic_pending(plain));
		assert_int_equal(vlapic_mmio_read(saved, MMIO(TIMER_CURRENT)),
		                 vlapic_mmio_read(plain, MMIO(TIMER_CURRENT)));
		assert_int_equal(timerq_next(&vm.timers), timerq_next(&other.timers));
		if (vlapic_pending(plain) < 0) continue;
		(void)vlapic_ack(plain, 0x40);
		(void)vlapic_ack(saved, 0x40);
		vlapic_mmio_write(plain, MMIO(EOI), 0);
		vlapic_mmio_write(saved, MMIO(EOI), 0);
	}
	vm_double_destroy(&other);
}

#define CASE(name, prepare) cmocka_unit_test_setup_teardown(name, prepare, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(reset_values_as_manual, setup_4),
	    CASE(base_write_every_transition_as_manual, setup),
	    CASE(base_write_reserved_bits_refused, setup),
	    CASE(base_write_disable_and_enable_starts_from_reset, setup),
	    CASE(base_write_to_x2apic_keeps_state, setup_4),
	    CASE(init_reset_keeps_base, setup_4),
	    CASE(msr_access_outside_x2apic_refused, setup),
	    CASE(msr_access_each_number_as_manual, setup),
	    CASE(msr_write_reserved_bits_refused, setup),
	    CASE(mmio_access_unknown_register_sets_esr, setup),
	    CASE(esr_read_without_write_keeps_old, setup),
	    CASE(error_lvt_illegal_vector_does_not_recurse, setup),
	    CASE(error_lvt_delivers_once_until_esr_written, setup),
	    CASE(svr_disable_masks_lvts_and_refuses, setup),
	    CASE(pending_higher_class_only_preempts, setup),
	    CASE(tpr_holds_back_and_releases, setup),
	    CASE(ack_vanished_vector_is_spurious, setup),
	    CASE(ack_below_newcomer_leaves_newcomer_pending, setup),
	    CASE(eoi_level_vector_reaches_ioapic, setup),
	    CASE(eoi_directed_is_not_broadcast, setup),
	    CASE(icr_destinations_xapic_as_manual, setup_4),
	    CASE(icr_destinations_x2apic_as_manual, setup_64),
	    CASE(icr_illegal_vector_sets_send_error, setup),
	    CASE(icr_lifecycle_messages_reach_vcpu, setup_4),
	    CASE(deliver_lowest_prefers_low_priority_then_turns, setup_4),
	    CASE(deliver_repeated_vector_signals_once, setup),
	    CASE(lint_pins_follow_lvt, setup),
	    CASE(timer_oneshot_counts_down_and_fires_once, setup),
	    CASE(timer_masked_runs_silently, setup),
	    CASE(timer_periodic_late_merges_and_keeps_phase, setup),
	    CASE(timer_periodic_tiny_period_is_bounded, setup),
	    CASE(timer_divide_change_goes_on_from_count, setup),
	    CASE(deadline_write_fires_when_tsc_reaches, setup),
	    CASE(tsc_changed_moves_deadline, setup),
	    CASE(load_bad_record_leaves_device_alone, setup),
	    CASE(load_disabled_with_cr8_written_is_taken, setup),
	    CASE(load_late_periodic_keeps_phase, setup),
	    CASE(priorities_random_traffic_matches_model, setup),
	    CASE(timer_random_saving_changes_nothing, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
