// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC: modes, registers, priorities and records case by case, and random traffic against
// a plain model of the priority logic, with saving and loading at random points.
#include "tests/unit/vlapic_rig.h"

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

#define CASE(name, prepare) cmocka_unit_test_setup_teardown(name, prepare, teardown)

// ---- hardware that delivers --------------------------------------------------------------------------------

static uint32_t *page_register(unsigned reg) { return (uint32_t *)vlapic_page(apic(0)) + 4 * reg; }

// What the hardware does when it delivers a vector, and at its EOI.
static void hardware_move(unsigned from, unsigned to, uint8_t vector) {
	uint32_t bit = BIT32(vector % 32);
	if (from) *page_register(from + vector / 32) &= ~bit;
	if (to) *page_register(to + vector / 32) |= bit;
}

static void virtual_delivery_offers_nothing_and_keeps_state(void **state) {
	(void)state;
	enable(0);
	assert_true(send_fixed(0, 0x51, false));
	assert_int_equal(vlapic_pending(apic(0)), 0x51);
	vlapic_virtual_set(apic(0), true);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_look(apic(0)), 0x51);
	hardware_move(VLAPIC_REG_IRR, VLAPIC_REG_ISR, 0x51);
	uint32_t events = vm.events[0];
	assert_true(send_fixed(0, 0x41, false));
	assert_int_equal(vm.events[0], events + 1);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_look(apic(0)), -1); // 0x51 is in service
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(PPR)), 0x50);
	assert_int_equal(vlapic_highest_irr(apic(0)), 0x41);
	assert_int_equal(vlapic_highest_isr(apic(0)), 0x51);
	eoi(0); // one that was left to us
	assert_int_equal(vlapic_highest_isr(apic(0)), -1);
	assert_int_equal(vlapic_look(apic(0)), 0x41);
	assert_int_equal(vlapic_ack(apic(0), 0x41), 0x41); // by hand
	assert_int_equal(vlapic_highest_isr(apic(0)), 0x41);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	hardware_move(VLAPIC_REG_ISR, 0, 0x41);
	hardware_move(0, VLAPIC_REG_IRR, 0x61); // a self-IPI
	vlapic_virtual_set(apic(0), false);
	assert_int_equal(vlapic_pending(apic(0)), 0x61);
	assert_int_equal(vlapic_ack(apic(0), 0x61), 0x61);
	eoi(0);
	assert_int_equal(vlapic_highest_isr(apic(0)), -1);
}

static void virtual_delivery_level_is_told(void **state) {
	(void)state;
	enable(0);
	vlapic_virtual_set(apic(0), true);
	(void)vlapic_levels(apic(0));
	assert_null(vlapic_levels(apic(0)));
	assert_true(send_fixed(0, 0x51, true));
	const uint32_t *tmr = vlapic_levels(apic(0));
	assert_non_null(tmr);
	assert_int_equal(tmr[4 * (0x51 / 32)], BIT32(0x51 % 32));
	hardware_move(VLAPIC_REG_IRR, 0, 0x51);
	vlapic_eoi_done(apic(0), 0x51);
	assert_int_equal(eoi_count, 1);
	assert_int_equal(eoi_vector, 0x51);
	vlapic_eoi_done(apic(0), 0x52); // came as an edge
	assert_int_equal(eoi_count, 1);
}

static void page_written_does_what_a_write_does(void **state) {
	(void)state;
	enable(0);
	uint32_t modes = vm.apic_modes[0];
	*page_register(VLAPIC_REG_SVR) = 0xFFFF00AA;
	vlapic_page_written(apic(0), MMIO(SVR));
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(SVR)), 0xAA);
	assert_int_equal(vm.apic_modes[0], modes + 1);
	assert_false(vlapic_enabled(apic(0)));
	*page_register(VLAPIC_REG_LVT + VLAPIC_LVT_LINT1) = 0x400; // stays masked while disabled
	vlapic_page_written(apic(0), LVT_MMIO(LINT1));
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT1)), 0x400 | VLAPIC_LVT_MASK);
	*page_register(VLAPIC_REG_ID) = UINT32_MAX;
	vlapic_page_written(apic(0), MMIO(ID));
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(ID)), 0);
	enable(0);
	*page_register(VLAPIC_REG_ICR) = 1u << 18 | 0x61; // to itself
	vlapic_page_written(apic(0), MMIO(ICR));
	assert_int_equal(vlapic_pending(apic(0)), 0x61);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(virtual_delivery_offers_nothing_and_keeps_state, setup, teardown),
	    cmocka_unit_test_setup_teardown(virtual_delivery_level_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(page_written_does_what_a_write_does, setup, teardown),
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
	    CASE(load_bad_record_leaves_device_alone, setup),
	    CASE(load_disabled_with_cr8_written_is_taken, setup),
	    CASE(priorities_random_traffic_matches_model, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
