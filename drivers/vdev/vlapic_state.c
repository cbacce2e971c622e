// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC as a device: IA32_APIC_BASE modes, reset and INIT, save and load. Configuration: index =
// vCPU id, which is the APIC id too. vCPU 0 is the bootstrap processor. It decodes no range of a bus: the page is seen
// by one vCPU only and comes through kernel/vintc.h.
#include "drivers/vdev/vlapic.h"
#include "kernel/lib/string.h"

// MAXPHYADDR of the guest is checked by the caller; 52 is the architecture's most.
#define BASE_ADDRESS MASK64(51, 12)
#define BASE_WRITABLE (BASE_ADDRESS | VLAPIC_BASE_EN | VLAPIC_BASE_EXTD)
#define VCPU_ID_LIMIT 64u

// ---- modes -------------------------------------------------------------------------------------------------

// Which registers there are, and where the id is in its own, follows from the mode (10.12.5).
static void mode_changed(struct vlapic *v) {
	bool x2 = vlapic_x2apic(v);
	*vlapic_reg(v, VLAPIC_REG_ID) = x2 ? v->id : v->id << 24;
	if (x2) *vlapic_reg(v, VLAPIC_REG_LDR) = vlapic_x2apic_ldr(v);
	vlapic_extint_update(v);
	vm_vcpu_apic_mode(v->head.vdev.vm, v->vcpu_id);
}

// After IRR, ISR and TMR were replaced.
static void vectors_changed(struct vlapic *v) {
	v->tmr_changed = true;
	vlapic_summaries_take(v);
	vlapic_summaries_leave(v);
}

// 10.4.7.1, Local APIC State After Power-Up or Reset; everything but IA32_APIC_BASE and the id.
static void registers_reset(struct vlapic *v) {
	memset(v->page, 0, sizeof v->page);
	v->esr_pending = 0;
	v->lowest_accepted = 0;
	v->enabled = v->lint0_remote_irr = false;
	*vlapic_reg(v, VLAPIC_REG_VERSION) = VLAPIC_VERSION;
	*vlapic_reg(v, VLAPIC_REG_DFR) = VLAPIC_DFR_FLAT;
	*vlapic_reg(v, VLAPIC_REG_SVR) = VLAPIC_SVR_RESET;
	for (unsigned i = 0; i < VLAPIC_LVT_COUNT; i++) *vlapic_reg(v, VLAPIC_REG_LVT + i) = VLAPIC_LVT_MASK;
	v->lvt_timer = VLAPIC_LVT_MASK;
	v->timer_divide = 0;
	vlapic_timer_reset(v);
	vectors_changed(v);
	mode_changed(v);
}

void *vlapic_page(struct vdev *vlapic) { return vlapic_of(vlapic)->page; }

bool vlapic_enabled(const struct vdev *vlapic) { return vlapic_of_const(vlapic)->enabled; }

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
	value = (value & BASE_WRITABLE) | (v->head.base & VLAPIC_BASE_BSP); // the BSP flag is wired
	if (value == v->head.base) return 0;
	v->head.base = value;
	if (from != 0 && to == 0) registers_reset(v); // 10.4.3: re-enabled, it starts as after reset
	if (from == VLAPIC_BASE_EN && to == mode_bits) *vlapic_reg(v, VLAPIC_REG_ICR_HIGH) = 0; // that mode's
	mode_changed(v);
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
	*vlapic_reg(v, VLAPIC_REG_LVT + VLAPIC_LVT_LINT0) = (uint32_t)IRQ_MODE_EXTINT << VLAPIC_LVT_MODE_SHIFT;
	*vlapic_reg(v, VLAPIC_REG_LVT + VLAPIC_LVT_LINT1) = (uint32_t)IRQ_MODE_NMI << VLAPIC_LVT_MODE_SHIFT;
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

#define VECTORS_LEGAL ~(uint32_t)MASK64(VLAPIC_VECTOR_FIRST - 1, 0)
#define ANY UINT32_MAX
#define AT(field) offsetof(struct vlapic_state, field)
// What of the record is a register of the page, or a run of them; and the bits that may be set in each.
static const struct {
	uint8_t reg, count, at; // `at` in struct vlapic_state
	uint32_t allowed;
} saved[] = {
    {VLAPIC_REG_TPR, 1, AT(tpr), 0xFF},
    {VLAPIC_REG_SVR, 1, AT(svr), VLAPIC_SVR_WRITABLE},
    {VLAPIC_REG_LDR, 1, AT(ldr), VLAPIC_LDR_WRITABLE},
    {VLAPIC_REG_DFR, 1, AT(dfr), ANY},
    {VLAPIC_REG_ESR, 1, AT(esr), VLAPIC_ESR_ALL},
    {VLAPIC_REG_ISR, 1, AT(isr), VECTORS_LEGAL},
    {VLAPIC_REG_ISR + 1, 7, AT(isr) + 4, ANY},
    {VLAPIC_REG_TMR, 1, AT(tmr), VECTORS_LEGAL},
    {VLAPIC_REG_TMR + 1, 7, AT(tmr) + 4, ANY},
    {VLAPIC_REG_IRR, 1, AT(irr), VECTORS_LEGAL},
    {VLAPIC_REG_IRR + 1, 7, AT(irr) + 4, ANY},
    {VLAPIC_REG_LVT, VLAPIC_LVT_COUNT, AT(lvt), ANY},
    {VLAPIC_REG_TIMER_INITIAL, 1, AT(timer_initial), ANY},
    {VLAPIC_REG_TIMER_DIVIDE, 1, AT(timer_divide), VLAPIC_DIVIDE_WRITABLE},
};
_Static_assert(sizeof(struct vlapic_state) <= UINT8_MAX, "offsets in the table");

// One way or the other.
static __cold void registers_copy(struct vlapic *to, const struct vlapic *from, struct vlapic_state *s) {
	for (unsigned i = 0; i < array_count(saved); i++)
		for (unsigned n = 0; n < saved[i].count; n++) {
			uint8_t *word = (uint8_t *)s + saved[i].at + 4 * n;
			if (to != NULL)
				*vlapic_reg(to, saved[i].reg + n) = le32(word);
			else
				put_le32(word, vlapic_get(from, saved[i].reg + n));
		}
}

// The destination's place depends on the mode.
static uint32_t icr_high_word(uint64_t base) {
	return (base & VLAPIC_BASE_EXTD) != 0 ? 4 * VLAPIC_REG_ICR + 1 : 4 * VLAPIC_REG_ICR_HIGH;
}

static __cold void vlapic_save(const struct vdev *self, void *record) {
	const struct vlapic *v = vlapic_of_const(self);
	uint64_t now_ns = vm_now_ns(self->vm);
	struct vlapic_state *s = record;
	*s = (struct vlapic_state){
	    .base = v->head.base,
	    .icr = vlapic_get(v, VLAPIC_REG_ICR) | (uint64_t)v->page[icr_high_word(v->head.base)] << 32,
	    .timer_remaining_ns = TIMER_NEVER,
	    .tsc_deadline = v->tsc_deadline,
	    .lowest_accepted = v->lowest_accepted,
	    .id = v->id,
	    .esr_pending = v->esr_pending,
	    .lint = {v->lint[0], v->lint[1]},
	};
	registers_copy(NULL, v, s);
	if (vlapic_x2apic(v)) s->ldr = 0; // follows from the id
	if (v->deadline_ns == TIMER_NEVER) return;
	s->timer_remaining_ns = v->deadline_ns > now_ns ? v->deadline_ns - now_ns : 0;
	s->timer_late_ns = now_ns > v->deadline_ns ? now_ns - v->deadline_ns : 0;
}

static bool state_registers_valid(const struct vlapic *v, const struct vlapic_state *s) {
	uint64_t mode = s->base & (VLAPIC_BASE_EN | VLAPIC_BASE_EXTD);
	bool bsp = (s->base & VLAPIC_BASE_BSP) != 0;
	if (s->id != v->id || bsp != (v->vcpu_id == 0)) return false;
	if (s->base & ~(BASE_WRITABLE | VLAPIC_BASE_BSP) || mode == VLAPIC_BASE_EXTD) return false;
	for (unsigned i = 0; i < array_count(saved); i++)
		if ((le32((const uint8_t *)s + saved[i].at) & ~saved[i].allowed) != 0) return false;
	if (~s->dfr & VLAPIC_DFR_FIXED_ONES || s->esr_pending & ~VLAPIC_ESR_ALL) return false;
	if (s->lint[0] > 1 || s->lint[1] > 1) return false;
	uint64_t busy = s->svr & VLAPIC_SVR_ENABLE;
	for (unsigned i = 0; i < array_count(s->irr); i++) busy |= s->irr[i] | s->isr[i];
	if (mode == 0 && busy != 0) return false;
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
	memset(v->page, 0, sizeof v->page);
	registers_copy(v, NULL, &s);
	*vlapic_reg(v, VLAPIC_REG_VERSION) = VLAPIC_VERSION;
	*vlapic_reg(v, VLAPIC_REG_ICR) = (uint32_t)s.icr;
	v->page[icr_high_word(s.base)] = (uint32_t)(s.icr >> 32);
	v->enabled = (s.svr & VLAPIC_SVR_ENABLE) != 0;
	v->lvt_timer = s.lvt[VLAPIC_LVT_TIMER];
	v->lint0_remote_irr = (s.lvt[VLAPIC_LVT_LINT0] & VLAPIC_LVT_REMOTE_IRR) != 0;
	v->esr_pending = s.esr_pending;
	v->lint[0] = s.lint[0] != 0;
	v->lint[1] = s.lint[1] != 0;
	v->lowest_accepted = s.lowest_accepted;
	v->timer_divide = s.timer_divide;
	v->tsc_deadline = s.tsc_deadline;
	v->deadline_ns =
	    s.timer_remaining_ns == TIMER_NEVER ? TIMER_NEVER : now_ns + s.timer_remaining_ns - s.timer_late_ns;
	vlapic_timer_rearm(v);
	vectors_changed(v);
	mode_changed(v);
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
