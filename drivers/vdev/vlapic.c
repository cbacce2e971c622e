// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC as its vCPU sees it: acceptance by the CPU, EOI, TPR, LVT and pins.
#include "drivers/vdev/vlapic.h"
#include "kernel/lib/assert.h"

// ---- priorities ----------------------------------------------------------------------------------------

int vlapic_vector_top(const struct vlapic *v, unsigned set) {
	unsigned w = 8;
	while (w-- > 0)
		if (vlapic_get(v, set + w) != 0) return (int)(w * 32 + bit_last(vlapic_get(v, set + w)));
	return -1;
}

int vlapic_highest_irr(const struct vdev *vlapic) {
	return vlapic_vector_top(vlapic_of_const(vlapic), VLAPIC_REG_IRR);
}
int vlapic_highest_isr(const struct vdev *vlapic) {
	return vlapic_vector_top(vlapic_of_const(vlapic), VLAPIC_REG_ISR);
}

static __attribute__((noinline)) uint32_t vectors_count(const struct vlapic *v, unsigned set) {
	uint32_t count = 0;
	for (unsigned i = 0; i < 8; i++) count += (uint32_t)__builtin_popcount(vlapic_get(v, set + i));
	return count;
}

void vlapic_summaries_take(struct vlapic *v) {
	v->irr_count = vectors_count(v, VLAPIC_REG_IRR);
	v->isr_count = vectors_count(v, VLAPIC_REG_ISR);
	v->isr_top = vlapic_vector_top(v, VLAPIC_REG_ISR);
	vlapic_publish_irr_top(v, vlapic_vector_top(v, VLAPIC_REG_IRR));
	vlapic_publish_pending(v);
}

void vlapic_summaries_leave(struct vlapic *v) {
	if (!v->virtual) return;
	v->isr_top = -1;
	vlapic_publish_irr_top(v, VLAPIC_PARKED);
	__atomic_store_n(&v->head.pending, -1, __ATOMIC_RELAXED);
}

void vlapic_virtual_set(struct vdev *vlapic, bool on) {
	struct vlapic *v = vlapic_of(vlapic);
	if (v->virtual == on) return;
	v->virtual = on;
	vlapic_summaries_take(v);
	vlapic_summaries_leave(v);
	vm_vcpu_event(vlapic->vm, v->vcpu_id);
}

int vlapic_look(struct vdev *vlapic) {
	struct vlapic *v = vlapic_of(vlapic);
	if (!v->virtual) {
		vlapic_publish_pending(v);
		return v->head.pending;
	}
	vlapic_summaries_take(v);
	int pending = v->head.pending;
	vlapic_summaries_leave(v);
	return pending;
}

// 10.8.3.1: the higher of TPR and the class in service; TPR wins a tie with its sub-class.
uint8_t vlapic_ppr(const struct vlapic *v) {
	int top = vlapic_vector_top(v, VLAPIC_REG_ISR);
	int in_service = top < 0 ? 0 : top & 0xF0, tpr = vlapic_tpr(v);
	return (uint8_t)(in_service > (tpr & 0xF0) ? in_service : tpr);
}

// Hardware that watches the TPR for what waits has to look at it anew.
void vlapic_tpr_set(struct vlapic *v, uint8_t tpr) {
	*vlapic_reg(v, VLAPIC_REG_TPR) = tpr;
	(void)vlapic_look(&v->head.vdev);
	if (v->head.irr_top < 0) return;
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
	vm_vcpu_apic_mode(v->head.vdev.vm, v->vcpu_id);
}

uint8_t vlapic_cr8_read(const struct vdev *vlapic) { return vlapic_tpr(vlapic_of_const(vlapic)) >> 4; }

// 10.8.6.1: CR8 sets the class and clears the sub-class.
void vlapic_cr8_write(struct vdev *vlapic, uint8_t cr8) {
	vlapic_tpr_set(vlapic_of(vlapic), (uint8_t)(cr8 << 4));
}

static uint8_t take(struct vlapic *v, uint8_t vector) {
	uint32_t bit = BIT32(vector % 32);
	*vlapic_vector_word(v, VLAPIC_REG_IRR, vector) &= ~bit;
	vlapic_publish_irr_top(v, --v->irr_count ? vlapic_vector_top(v, VLAPIC_REG_IRR) : -1);
	*vlapic_vector_word(v, VLAPIC_REG_ISR, vector) |= bit;
	v->isr_count++;
	v->isr_top = vector; // it was above what is in service, or it would have been held back
	if (likely(v->head.irr_top <= (int)vector))
		__atomic_store_n(&v->head.pending, -1, __ATOMIC_RELAXED);
	else
		vlapic_publish_pending(v);
	return vector;
}

// Something higher may have come in since; gone or held back, the vector is spurious (10.9). Or hardware delivers
// and the caller is in its way.
static uint8_t __attribute__((noinline)) ack_other(struct vlapic *v, uint8_t vector) {
	vlapic_summaries_take(v);
	bool waits = vlapic_vector_test(v, VLAPIC_REG_IRR, vector) && (int)vector > vlapic_held_back(v);
	uint8_t taken = waits ? take(v, vector) : (uint8_t)vlapic_get(v, VLAPIC_REG_SVR);
	vlapic_summaries_leave(v);
	return taken;
}

uint8_t vlapic_ack(struct vdev *vlapic, uint8_t vector) {
	struct vlapic *v = vlapic_of(vlapic);
	return likely(vector == v->head.pending) ? take(v, vector) : ack_other(v, vector);
}

// The caller ends in it, so that it keeps nothing over a call.
void __attribute__((noinline)) vlapic_irr_set_flipped(struct vlapic *v, unsigned vector, bool level) {
	*vlapic_vector_word(v, VLAPIC_REG_TMR, vector) ^= BIT32(vector % 32);
	v->tmr_changed = true;
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
	vlapic_irr_set(v, vector, level);
}

const uint32_t *vlapic_levels(struct vdev *vlapic) {
	struct vlapic *v = vlapic_of(vlapic);
	bool changed = v->tmr_changed;
	v->tmr_changed = false;
	return changed ? vlapic_reg(v, VLAPIC_REG_TMR) : NULL;
}

static void lint0_remote_irr_set(struct vlapic *v, bool on) {
	uint32_t *lint0 = vlapic_reg(v, VLAPIC_REG_LVT + VLAPIC_LVT_LINT0);
	v->lint0_remote_irr = on;
	*lint0 = on ? *lint0 | VLAPIC_LVT_REMOTE_IRR : *lint0 & ~VLAPIC_LVT_REMOTE_IRR;
}

// 10.8.5. A level-triggered vector is told to the I/O APIC unless software does that itself, and to a
// LINT0 that is programmed so.
static void __attribute__((noinline)) eoi_level(struct vlapic *v, uint8_t vector) {
	if (v->lint0_remote_irr && (uint8_t)vlapic_lvt(v, VLAPIC_LVT_LINT0) == vector) {
		lint0_remote_irr_set(v, false);
		if (v->lint[0]) {
			v->lint[0] = false;
			vlapic_lint_set(&v->head.vdev, 0, true);
		}
	}
	struct vdev *ioapic = vm_ioapic(v->head.vdev.vm);
	if (ioapic && !(vlapic_get(v, VLAPIC_REG_SVR) & VLAPIC_SVR_DIRECTED_EOI)) vioapic_eoi(ioapic, vector);
}

// Whatever waits: a lower TPR than a while ago may let it through, or hardware is to be told what it waits for.
static int __attribute__((noinline)) eoi_wakes(struct vlapic *v) {
	vlapic_publish_pending(v);
	if (v->head.irr_top >= 0) vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
	return 0;
}

static int __attribute__((noinline)) eoi_tells(struct vlapic *v, uint8_t vector) {
	eoi_level(v, vector);
	return eoi_wakes(v);
}

// An EOI for a spurious interrupt has no effect; or one that hardware left to us.
static int __attribute__((noinline)) eoi_other(struct vlapic *v) {
	if (!v->virtual) return 0;
	vlapic_summaries_take(v);
	if (v->isr_top >= 0) (void)vlapic_eoi(v);
	vlapic_summaries_leave(v);
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
	return 0;
}

int vlapic_eoi(struct vlapic *v) {
	int vector = v->isr_top;
	if (unlikely(vector < 0)) return eoi_other(v);
	uint32_t *isr = vlapic_vector_word(v, VLAPIC_REG_ISR, (unsigned)vector);
	*isr &= ~BIT32((unsigned)vector % 32);
	v->isr_top = --v->isr_count ? vlapic_vector_top(v, VLAPIC_REG_ISR) : -1;
	if (unlikely(vlapic_vector_test(v, VLAPIC_REG_TMR, (unsigned)vector)))
		return eoi_tells(v, (uint8_t)vector);
	return likely(v->head.irr_top < 0) ? 0 : eoi_wakes(v);
}

void vlapic_eoi_done(struct vdev *vlapic, uint8_t vector) {
	struct vlapic *v = vlapic_of(vlapic);
	if (vlapic_vector_test(v, VLAPIC_REG_TMR, vector)) eoi_level(v, vector);
}

// ---- local vector table and pins -------------------------------------------------------------------------

// The PC wires INTR to LINT0 of the bootstrap processor; with the APIC disabled the pin is INTR (10.4.3).
void vlapic_extint_update(struct vlapic *v) {
	uint32_t lint0 = vlapic_lvt(v, VLAPIC_LVT_LINT0);
	bool programmed = (lint0 & (VLAPIC_LVT_MASK | VLAPIC_LVT_MODE)) == (unsigned)IRQ_MODE_EXTINT
	                                                                       << VLAPIC_LVT_MODE_SHIFT;
	bool extint = v->vcpu_id == 0 && (programmed || !vlapic_enabled_hw(v));
	if (extint == v->head.extint) return;
	__atomic_store_n(&v->head.extint, extint, __ATOMIC_RELAXED);
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
}

uint32_t vlapic_lvt_writable(enum vlapic_lvt which) {
	const uint32_t always = VLAPIC_LVT_VECTOR | VLAPIC_LVT_MASK;
	switch (which) { // Figure 10-8
	case VLAPIC_LVT_TIMER: return always | VLAPIC_LVT_TIMER_MODE;
	case VLAPIC_LVT_THERMAL:
	case VLAPIC_LVT_PERF: return always | VLAPIC_LVT_MODE;
	case VLAPIC_LVT_LINT0:
	case VLAPIC_LVT_LINT1: return always | VLAPIC_LVT_MODE | VLAPIC_LVT_POLARITY | VLAPIC_LVT_LEVEL;
	default: // the error entry
		return always;
	}
}

// The level-triggered, fixed form that only LINT0 has (10.5.1).
static bool lint0_is_level(const struct vlapic *v) {
	const uint32_t mode = VLAPIC_LVT_LEVEL | VLAPIC_LVT_MODE;
	return (vlapic_lvt(v, VLAPIC_LVT_LINT0) & mode) == VLAPIC_LVT_LEVEL;
}

static void lint0_level_send(struct vlapic *v) {
	uint32_t lint0 = vlapic_lvt(v, VLAPIC_LVT_LINT0);
	if (!v->lint[0] || v->lint0_remote_irr || lint0 & VLAPIC_LVT_MASK) return;
	if (vlapic_accept_fixed(v, (uint8_t)lint0, true)) lint0_remote_irr_set(v, true);
}

void vlapic_lvt_set(struct vlapic *v, enum vlapic_lvt which, uint32_t value) {
	// 10.4.7.2: while software-disabled the mask bits cannot be cleared.
	if (!v->enabled) value |= VLAPIC_LVT_MASK;
	value &= vlapic_lvt_writable(which);
	*vlapic_reg(v, VLAPIC_REG_LVT + which) = value;
	if (which == VLAPIC_LVT_TIMER) vlapic_timer_lvt_set(v, value);
	if (which == VLAPIC_LVT_LINT0) {
		lint0_remote_irr_set(v, v->lint0_remote_irr && lint0_is_level(v));
		if (lint0_is_level(v)) lint0_level_send(v);
		vlapic_extint_update(v);
	}
}

void vlapic_lint_set(struct vdev *vlapic, unsigned pin, bool level) {
	struct vlapic *v = vlapic_of(vlapic);
	assert(pin < array_count(v->lint));
	if (v->lint[pin] == level) return;
	v->lint[pin] = level;
	if (!vlapic_enabled_hw(v)) { // the pins are INTR and NMI (10.4.3)
		if (pin == 0)
			vm_vcpu_event(vlapic->vm, v->vcpu_id);
		else if (level)
			vm_vcpu_nmi(vlapic->vm, v->vcpu_id);
		return;
	}
	uint32_t lvt = vlapic_lvt(v, pin == 0 ? VLAPIC_LVT_LINT0 : VLAPIC_LVT_LINT1);
	unsigned mode = (lvt & VLAPIC_LVT_MODE) >> VLAPIC_LVT_MODE_SHIFT;
	if (lvt & VLAPIC_LVT_MASK) return;
	if (mode == IRQ_MODE_EXTINT) {
		vm_vcpu_event(vlapic->vm, v->vcpu_id);
	} else if (pin == 0 && lint0_is_level(v)) {
		lint0_level_send(v);
	} else if (level) { // LINT1 is edge-triggered whatever its trigger bit says
		if (mode == IRQ_MODE_FIXED) (void)vlapic_accept_fixed(v, (uint8_t)lvt, false);
		if (mode == IRQ_MODE_NMI) vm_vcpu_nmi(vlapic->vm, v->vcpu_id);
		if (mode == IRQ_MODE_INIT) vm_vcpu_init_signal(vlapic->vm, v->vcpu_id);
	}
}

void vlapic_svr_set(struct vlapic *v, uint32_t value) {
	bool is = (value & VLAPIC_SVR_ENABLE) != 0;
	*vlapic_reg(v, VLAPIC_REG_SVR) = value & VLAPIC_SVR_WRITABLE;
	if (v->enabled == is) return;
	v->enabled = is;
	vm_vcpu_apic_mode(v->head.vdev.vm, v->vcpu_id);
	if (!is) // 10.4.7.2: all mask bits are set; what is in IRR and ISR is held and still served
		for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++)
			vlapic_lvt_set(v, (enum vlapic_lvt)i, vlapic_lvt(v, (enum vlapic_lvt)i));
	struct vdev *ioapic = vm_ioapic(v->head.vdev.vm);
	if (is && ioapic) vioapic_resample(ioapic);
}

void vlapic_error(struct vlapic *v, uint32_t esr_bit) {
	if (v->esr_pending & esr_bit) return;
	v->esr_pending |= esr_bit;
	uint32_t lvt = vlapic_lvt(v, VLAPIC_LVT_ERROR);
	// An illegal vector here comes back once, as a receive error that is then not new.
	if (!(lvt & VLAPIC_LVT_MASK)) (void)vlapic_accept_fixed(v, (uint8_t)lvt, false);
}
