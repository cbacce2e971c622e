// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC as a device and as its vCPU sees it: reset and INIT, IA32_APIC_BASE modes,
// acceptance by the CPU, EOI, TPR, LVT and pins, save and load. Configuration: index = vCPU id, which is
// the APIC id too. vCPU 0 is the bootstrap processor. It decodes no range of a bus: the page is seen
// by one vCPU only and comes through kernel/vintc.h.
#include "drivers/vdev/vlapic.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/string.h"

// MAXPHYADDR of the guest is checked by the caller; 52 is the architecture's most.
#define BASE_ADDRESS MASK64(51, 12)
#define BASE_WRITABLE (BASE_ADDRESS | VLAPIC_BASE_EN | VLAPIC_BASE_EXTD)
#define VCPU_ID_LIMIT 64u

// ---- priorities ----------------------------------------------------------------------------------------

// 10.8.3.1: the higher of TPR and the class in service; TPR wins a tie with its sub-class.
uint8_t vlapic_ppr(const struct vlapic *v) {
	int in_service = v->isr_top < 0 ? 0 : v->isr_top & 0xF0;
	return (uint8_t)(in_service > (int)(v->tpr & 0xF0) ? in_service : (int)v->tpr);
}

void vlapic_tpr_set(struct vlapic *v, uint8_t tpr) {
	v->tpr = tpr;
	vlapic_publish_pending(v);
	if (v->head.pending >= 0) vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
}

uint8_t vlapic_cr8_read(const struct vdev *vlapic) { return (uint8_t)(vlapic_of_const(vlapic)->tpr >> 4); }

// 10.8.6.1: CR8 sets the class and clears the sub-class.
void vlapic_cr8_write(struct vdev *vlapic, uint8_t cr8) {
	vlapic_tpr_set(vlapic_of(vlapic), (uint8_t)(cr8 << 4));
}

uint8_t vlapic_ack(struct vdev *vlapic, uint8_t vector) {
	struct vlapic *v = vlapic_of(vlapic);
	unsigned w = vector / 64;
	uint64_t bit = BIT64(vector % 64);
	// Something higher may have come in since; gone or held back, the vector is spurious (10.9).
	if (unlikely(vector != v->head.pending) && (!(v->irr[w] & bit) || (int)vector <= vlapic_held_back(v)))
		return (uint8_t)v->svr;
	v->irr[w] &= ~bit;
	vlapic_publish_irr_top(v, --v->irr_count ? vlapic_vector_top(v->irr) : -1);
	v->isr[w] |= bit;
	v->isr_count++;
	v->isr_top = vector; // it was above what is in service, or it would have been held back
	if (likely(v->head.irr_top <= (int)vector))
		__atomic_store_n(&v->head.pending, -1, __ATOMIC_RELAXED);
	else
		vlapic_publish_pending(v);
	return vector;
}

// 10.8.5. A level-triggered vector is told to the I/O APIC unless software does that itself, and to a
// LINT0 that is programmed so.
static void __attribute__((noinline)) eoi_level(struct vlapic *v, uint8_t vector) {
	uint32_t *lint0 = &v->lvt[VLAPIC_LVT_LINT0];
	if (*lint0 & VLAPIC_LVT_REMOTE_IRR && (uint8_t)*lint0 == vector) {
		*lint0 &= ~VLAPIC_LVT_REMOTE_IRR;
		if (v->lint[0]) {
			v->lint[0] = false;
			vlapic_lint_set(&v->head.vdev, 0, true);
		}
	}
	struct vdev *ioapic = vm_ioapic(v->head.vdev.vm);
	if (ioapic && !(v->svr & VLAPIC_SVR_DIRECTED_EOI)) vioapic_eoi(ioapic, vector);
}

static int __attribute__((noinline)) eoi_wakes(struct vlapic *v) {
	vlapic_publish_pending(v);
	if (v->head.pending >= 0) vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
	return 0;
}

static int __attribute__((noinline)) eoi_tells(struct vlapic *v, uint8_t vector) {
	eoi_level(v, vector);
	return eoi_wakes(v);
}

int vlapic_eoi(struct vlapic *v) {
	int vector = v->isr_top;
	if (unlikely(vector < 0)) return 0; // an EOI for a spurious interrupt has no effect
	unsigned w = (unsigned)vector / 64;
	uint64_t bit = BIT64((unsigned)vector % 64);
	v->isr[w] &= ~bit;
	v->isr_top = --v->isr_count ? vlapic_vector_top(v->isr) : -1;
	if (unlikely(v->tmr[w] & bit)) return eoi_tells(v, (uint8_t)vector);
	return likely(v->head.irr_top < 0) ? 0 : eoi_wakes(v);
}

// ---- local vector table and pins -------------------------------------------------------------------------

// The PC wires INTR to LINT0 of the bootstrap processor; with the APIC disabled the pin is INTR (10.4.3).
void vlapic_extint_update(struct vlapic *v) {
	uint32_t lint0 = v->lvt[VLAPIC_LVT_LINT0];
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
	return (v->lvt[VLAPIC_LVT_LINT0] & mode) == VLAPIC_LVT_LEVEL;
}

static void lint0_level_send(struct vlapic *v) {
	uint32_t *lint0 = &v->lvt[VLAPIC_LVT_LINT0];
	if (!v->lint[0] || *lint0 & (VLAPIC_LVT_MASK | VLAPIC_LVT_REMOTE_IRR)) return;
	if (vlapic_accept_fixed(v, (uint8_t)*lint0, true)) *lint0 |= VLAPIC_LVT_REMOTE_IRR;
}

void vlapic_lvt_set(struct vlapic *v, enum vlapic_lvt which, uint32_t value) {
	uint32_t before = v->lvt[which];
	uint32_t kept = before & VLAPIC_LVT_REMOTE_IRR;
	// 10.4.7.2: while software-disabled the mask bits cannot be cleared.
	if (!vlapic_enabled_sw(v)) value |= VLAPIC_LVT_MASK;
	v->lvt[which] = (value & vlapic_lvt_writable(which)) | kept;
	if (which == VLAPIC_LVT_TIMER) vlapic_timer_lvt_changed(v, before);
	if (which == VLAPIC_LVT_LINT0) {
		if (!lint0_is_level(v))
			v->lvt[which] &= ~VLAPIC_LVT_REMOTE_IRR;
		else
			lint0_level_send(v);
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
	uint32_t lvt = v->lvt[pin == 0 ? VLAPIC_LVT_LINT0 : VLAPIC_LVT_LINT1];
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
	bool was = vlapic_enabled_sw(v);
	v->svr = value & (0xFFu | VLAPIC_SVR_ENABLE | VLAPIC_SVR_FOCUS | VLAPIC_SVR_DIRECTED_EOI);
	bool is = vlapic_enabled_sw(v);
	if (was && !is) // 10.4.7.2: all mask bits are set; what is in IRR and ISR is held and still served
		for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++) vlapic_lvt_set(v, (enum vlapic_lvt)i, v->lvt[i]);
	struct vdev *ioapic = vm_ioapic(v->head.vdev.vm);
	if (!was && is && ioapic) vioapic_resample(ioapic);
}

void vlapic_error(struct vlapic *v, uint32_t esr_bit) {
	if (v->esr_pending & esr_bit) return;
	v->esr_pending |= esr_bit;
	uint32_t lvt = v->lvt[VLAPIC_LVT_ERROR];
	// An illegal vector here comes back once, as a receive error that is then not new.
	if (!(lvt & VLAPIC_LVT_MASK)) (void)vlapic_accept_fixed(v, (uint8_t)lvt, false);
}

// ---- modes -------------------------------------------------------------------------------------------------

static uint32_t vectors_count(const uint64_t *word) {
	uint32_t count = 0;
	for (unsigned i = 0; i < 4; i++) count += (uint32_t)__builtin_popcountll(word[i]);
	return count;
}

// Brings the summaries up to date after IRR and ISR were replaced.
static void vectors_changed(struct vlapic *v) {
	v->irr_count = vectors_count(v->irr);
	v->isr_count = vectors_count(v->isr);
	v->isr_top = v->isr_count ? vlapic_vector_top(v->isr) : -1;
	vlapic_publish_irr_top(v, v->irr_count ? vlapic_vector_top(v->irr) : -1);
	vlapic_publish_pending(v);
}

// 10.4.7.1, Local APIC State After Power-Up or Reset; everything but IA32_APIC_BASE and the id.
static void registers_reset(struct vlapic *v) {
	vlapic_timer_reset(v);
	memset(v->irr, 0, sizeof v->irr);
	memset(v->isr, 0, sizeof v->isr);
	memset(v->tmr, 0, sizeof v->tmr);
	v->tpr = v->ldr = v->esr = v->esr_pending = 0;
	v->icr = 0;
	v->lowest_accepted = 0;
	v->dfr = VLAPIC_DFR_FLAT;
	v->svr = VLAPIC_SVR_RESET;
	for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++) v->lvt[i] = VLAPIC_LVT_MASK;
	vectors_changed(v);
	vlapic_extint_update(v);
}

void vlapic_init_reset(struct vdev *vlapic) { registers_reset(vlapic_of(vlapic)); }

int vlapic_base_write(struct vdev *vlapic, uint64_t value) {
	const uint64_t mode_bits = VLAPIC_BASE_EN | VLAPIC_BASE_EXTD;
	struct vlapic *v = vlapic_of(vlapic);
	uint64_t from = v->head.base & mode_bits, to = value & mode_bits;
	if (value & ~(BASE_WRITABLE | VLAPIC_BASE_BSP)) return -ERR_INVAL;
	// 10.12.5 and Figure 10-27: EXTD never without EN, x2APIC only from xAPIC, and left only by disabling.
	if (to == VLAPIC_BASE_EXTD) return -ERR_INVAL;
	if (from == mode_bits && to == VLAPIC_BASE_EN) return -ERR_INVAL;
	if (from == 0 && to == mode_bits) return -ERR_INVAL;
	v->head.base = (value & BASE_WRITABLE) | (v->head.base & VLAPIC_BASE_BSP); // the BSP flag is wired
	if (from != 0 && to == 0) registers_reset(v); // 10.4.3: re-enabled, it starts as after reset
	if (from == VLAPIC_BASE_EN && to == mode_bits) v->icr = (uint32_t)v->icr; // no old xAPIC destination
	vlapic_extint_update(v);
	return 0;
}

// ---- class ---------------------------------------------------------------------------------------------------

static __cold void vlapic_reset(struct vdev *self) {
	struct vlapic *v = vlapic_of(self);
	bool bsp = v->vcpu_id == 0;
	v->head.base = VLAPIC_BASE_DEFAULT | VLAPIC_BASE_EN | (bsp ? VLAPIC_BASE_BSP : 0);
	v->lint[0] = v->lint[1] = false;
	registers_reset(v);
	if (!bsp) return;
	// No firmware runs in a guest, so the bootstrap processor comes up in the virtual-wire mode that
	// firmware leaves (MultiProcessor Specification 3.6.2.2): the PIC on LINT0, NMI on LINT1.
	v->lvt[VLAPIC_LVT_LINT0] = (uint32_t)IRQ_MODE_EXTINT << VLAPIC_LVT_MODE_SHIFT;
	v->lvt[VLAPIC_LVT_LINT1] = (uint32_t)IRQ_MODE_NMI << VLAPIC_LVT_MODE_SHIFT;
	vlapic_extint_update(v);
}

static __cold int vlapic_create(struct vdev *self, const struct vdev_config *config) {
	struct vlapic *v = vlapic_of(self);
	if (config->index >= VCPU_ID_LIMIT) return -ERR_RANGE;
	v->vcpu_id = v->id = config->index;
	vlapic_timer_create(v);
	vlapic_reset(self);
	return 0;
}

static __cold void vlapic_save(const struct vdev *self, void *record) {
	const struct vlapic *v = vlapic_of_const(self);
	uint64_t now_ns = vm_now_ns(self->vm);
	struct vlapic_state *s = record;
	*s = (struct vlapic_state){
	    .base = v->head.base,
	    .icr = v->icr,
	    .timer_remaining_ns = TIMER_NEVER,
	    .tsc_deadline = v->tsc_deadline,
	    .lowest_accepted = v->lowest_accepted,
	    .id = v->id,
	    .tpr = v->tpr,
	    .svr = v->svr,
	    .ldr = v->ldr,
	    .dfr = v->dfr,
	    .esr = v->esr,
	    .esr_pending = v->esr_pending,
	    .timer_initial = v->timer_initial,
	    .timer_divide = v->timer_divide,
	    .lint = {v->lint[0], v->lint[1]},
	};
	memcpy(s->irr, v->irr, sizeof s->irr);
	memcpy(s->isr, v->isr, sizeof s->isr);
	memcpy(s->tmr, v->tmr, sizeof s->tmr);
	memcpy(s->lvt, v->lvt, sizeof s->lvt);
	if (v->deadline_ns == TIMER_NEVER) return;
	s->timer_remaining_ns = v->deadline_ns > now_ns ? v->deadline_ns - now_ns : 0;
	s->timer_late_ns = now_ns > v->deadline_ns ? now_ns - v->deadline_ns : 0;
}

static bool state_registers_valid(const struct vlapic *v, const struct vlapic_state *s) {
	uint64_t mode = s->base & (VLAPIC_BASE_EN | VLAPIC_BASE_EXTD);
	bool bsp = (s->base & VLAPIC_BASE_BSP) != 0;
	if (s->id != v->id || bsp != (v->vcpu_id == 0)) return false;
	if (s->base & ~(BASE_WRITABLE | VLAPIC_BASE_BSP) || mode == VLAPIC_BASE_EXTD) return false;
	if (s->tpr > 0xFF || s->ldr & MASK64(23, 0) || ~s->dfr & VLAPIC_DFR_FIXED_ONES) return false;
	if (s->svr & ~(0xFFu | VLAPIC_SVR_ENABLE | VLAPIC_SVR_FOCUS | VLAPIC_SVR_DIRECTED_EOI)) return false;
	if ((s->esr | s->esr_pending) & ~VLAPIC_ESR_ALL) return false;
	if (s->lint[0] > 1 || s->lint[1] > 1) return false;
	const uint64_t illegal = MASK64(VLAPIC_VECTOR_FIRST - 1, 0);
	if ((s->irr[0] | s->isr[0] | s->tmr[0]) & illegal) return false;
	uint64_t waiting = s->irr[0] | s->irr[1] | s->irr[2] | s->irr[3];
	uint64_t served = s->isr[0] | s->isr[1] | s->isr[2] | s->isr[3];
	if (mode == 0 && (waiting | served | (s->svr & VLAPIC_SVR_ENABLE)) != 0) return false;
	for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++) {
		uint32_t allowed = vlapic_lvt_writable((enum vlapic_lvt)i);
		if (i == VLAPIC_LVT_LINT0) allowed |= VLAPIC_LVT_REMOTE_IRR;
		if (s->lvt[i] & ~allowed) return false;
	}
	return true;
}

// A running period needs a length, and ends within one of it.
static bool state_timer_valid(const struct vlapic_state *s) {
	const uint64_t longest_ns = (uint64_t)UINT32_MAX << 7;
	bool deadline_mode = (s->lvt[VLAPIC_LVT_TIMER] & VLAPIC_LVT_TIMER_MODE) == VLAPIC_LVT_TSC_DEADLINE;
	if (s->timer_divide & ~VLAPIC_DIVIDE_WRITABLE) return false;
	if (!deadline_mode && s->tsc_deadline != 0) return false;
	if (s->timer_remaining_ns == TIMER_NEVER) return s->timer_late_ns == 0;
	if (deadline_mode || s->timer_initial == 0) return false;
	return s->timer_remaining_ns <= longest_ns && (s->timer_remaining_ns == 0 || s->timer_late_ns == 0);
}

static __cold int vlapic_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vlapic *v = vlapic_of(self);
	struct vlapic_state s;
	if (version != VLAPIC_STATE_VERSION) return -ERR_VERSION;
	if (bytes != sizeof s) return -ERR_FORMAT;
	memcpy(&s, record, sizeof s);
	uint64_t now_ns = vm_now_ns(self->vm);
	if (!state_registers_valid(v, &s) || !state_timer_valid(&s)) return -ERR_FORMAT;
	if (s.timer_late_ns > now_ns) return -ERR_FORMAT;

	v->head.base = s.base;
	v->icr = s.icr;
	memcpy(v->irr, s.irr, sizeof v->irr);
	memcpy(v->isr, s.isr, sizeof v->isr);
	memcpy(v->tmr, s.tmr, sizeof v->tmr);
	v->tpr = s.tpr;
	v->svr = s.svr;
	v->ldr = s.ldr;
	v->dfr = s.dfr;
	v->esr = s.esr;
	v->esr_pending = s.esr_pending;
	memcpy(v->lvt, s.lvt, sizeof v->lvt);
	v->lint[0] = s.lint[0] != 0;
	v->lint[1] = s.lint[1] != 0;
	v->lowest_accepted = s.lowest_accepted;
	v->timer_initial = s.timer_initial;
	v->timer_divide = s.timer_divide;
	v->tsc_deadline = s.tsc_deadline;
	v->deadline_ns =
	    s.timer_remaining_ns == TIMER_NEVER ? TIMER_NEVER : now_ns + s.timer_remaining_ns - s.timer_late_ns;
	vlapic_timer_rearm(v);
	vectors_changed(v);
	vlapic_extint_update(v);
	vm_vcpu_event(self->vm, v->vcpu_id);
	return 0;
}

const struct vdev_class vlapic_class = {
    .name = "vlapic",
    .state_version = VLAPIC_STATE_VERSION,
    .object_bytes = sizeof(struct vlapic),
    .state_bytes = sizeof(struct vlapic_state),
    .create = vlapic_create,
    .reset = vlapic_reset,
    .save = vlapic_save,
    .load = vlapic_load,
};
