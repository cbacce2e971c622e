// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer (SDM 10.5.4): one-shot, periodic and TSC-deadline. At divide 1 a tick is 1 ns
// of the VM's clock (VLAPIC_BUS_HZ), so the running count is computed from the end of its period and
// nothing ticks. Periods stay in phase however late they are served; what was missed merges into one
// interrupt, as IRR would have merged it.
#include "drivers/vdev/vlapic.h"

// A guest cannot make us serve its periodic timer more often than this; faster periods skip whole
// periods, in phase, and the current count still runs at the programmed speed.
#define PERIOD_SERVED_MIN_NS UINT64_C(50000)

_Static_assert(VLAPIC_BUS_HZ == UINT64_C(1000000000), "counts are used as nanoseconds");

static bool mode_is_deadline(uint32_t lvt) {
	return (lvt & VLAPIC_LVT_TIMER_MODE) == VLAPIC_LVT_TSC_DEADLINE;
}

static bool mode_is_periodic(uint32_t lvt) { return (lvt & VLAPIC_LVT_TIMER_MODE) == VLAPIC_LVT_PERIODIC; }

// Figure 10-10: bits 3, 1 and 0 give divide by 2, 4, ... 128, and 111 by 1.
static unsigned divide_shift(uint32_t divide) {
	unsigned code = (divide & 3) | (divide >> 1 & 4);
	return (code + 1) & 7;
}

static uint64_t period_ns(const struct vlapic *v) {
	return (uint64_t)vlapic_get(v, VLAPIC_REG_TIMER_INITIAL) << divide_shift(v->timer_divide);
}

// The end of a period in phase with deadline_ns, the first that is later than `after_ns`.
static uint64_t period_end_after(const struct vlapic *v, uint64_t after_ns) {
	if (v->deadline_ns > after_ns) return v->deadline_ns;
	uint64_t period = period_ns(v);
	return v->deadline_ns + ((after_ns - v->deadline_ns) / period + 1) * period;
}

void vlapic_timer_rearm(struct vlapic *v) {
	struct vm *vm = v->head.vdev.vm;
	uint32_t lvt = v->lvt_timer;
	uint64_t deadline_ns = v->deadline_ns;
	if (mode_is_deadline(lvt)) {
		deadline_ns = v->tsc_deadline ? vm_tsc_to_ns(vm, v->tsc_deadline) : TIMER_NEVER;
	} else if (mode_is_periodic(lvt) && lvt & VLAPIC_LVT_MASK) {
		deadline_ns = TIMER_NEVER; // it counts, and nobody is to be told
	}
	if (deadline_ns == TIMER_NEVER)
		vm_timer_cancel(vm, &v->timer);
	else
		vm_timer_arm(vm, &v->timer, deadline_ns);
}

static void timer_interrupt(struct vlapic *v) {
	uint32_t lvt = v->lvt_timer;
	if (!(lvt & VLAPIC_LVT_MASK)) (void)vlapic_accept_fixed(v, (uint8_t)lvt, false);
}

static void timer_fire(void *ctx) {
	struct vlapic *v = ctx;
	uint32_t lvt = v->lvt_timer;
	if (mode_is_deadline(lvt)) {
		v->tsc_deadline = 0; // 10.5.4.1: firing disarms
	} else if (mode_is_periodic(lvt)) {
		uint64_t now_ns = vm_now_ns(v->head.vdev.vm);
		uint64_t period = period_ns(v);
		uint64_t served_ns = period < PERIOD_SERVED_MIN_NS ? PERIOD_SERVED_MIN_NS - period : 0;
		v->deadline_ns = period_end_after(v, now_ns + served_ns);
		vlapic_timer_rearm(v);
	} else {
		v->deadline_ns = TIMER_NEVER;
	}
	timer_interrupt(v);
}

void vlapic_timer_create(struct vlapic *v) { timer_init(&v->timer, timer_fire, v); }

void vlapic_timer_reset(struct vlapic *v) {
	*vlapic_reg(v, VLAPIC_REG_TIMER_INITIAL) = 0;
	v->tsc_deadline = 0;
	v->deadline_ns = TIMER_NEVER;
	vm_timer_cancel(v->head.vdev.vm, &v->timer);
}

void vlapic_timer_initial_set(struct vlapic *v, uint32_t count) {
	if (mode_is_deadline(v->lvt_timer)) count = 0; // 10.5.4.1: ignored; it is 0 in this mode
	*vlapic_reg(v, VLAPIC_REG_TIMER_INITIAL) = count;
	if (mode_is_deadline(v->lvt_timer)) return;
	v->deadline_ns = count ? vm_now_ns(v->head.vdev.vm) + period_ns(v) : TIMER_NEVER;
	vlapic_timer_rearm(v);
}

uint32_t vlapic_timer_current(const struct vlapic *v) {
	uint32_t lvt = v->lvt_timer;
	if (mode_is_deadline(lvt) || v->deadline_ns == TIMER_NEVER) return 0;
	uint64_t now_ns = vm_now_ns(v->head.vdev.vm);
	uint64_t left_ns;
	if (mode_is_periodic(lvt)) {
		left_ns = period_end_after(v, now_ns) - now_ns;
		// Periods that will not be served still reload the count.
		left_ns = left_ns % period_ns(v) ? left_ns % period_ns(v) : period_ns(v);
	} else {
		left_ns = v->deadline_ns > now_ns ? v->deadline_ns - now_ns : 0;
	}
	unsigned shift = divide_shift(v->timer_divide);
	return (uint32_t)((left_ns + BIT64(shift) - 1) >> shift);
}

void vlapic_timer_divide_set(struct vlapic *v, uint32_t value) {
	uint32_t current = vlapic_timer_current(v);
	*vlapic_reg(v, VLAPIC_REG_TIMER_DIVIDE) = v->timer_divide = value & VLAPIC_DIVIDE_WRITABLE;
	if (v->deadline_ns == TIMER_NEVER || current == 0) return;
	// The count goes on from where it is, at the new speed.
	uint64_t left_ns = (uint64_t)current << divide_shift(v->timer_divide);
	v->deadline_ns = vm_now_ns(v->head.vdev.vm) + left_ns;
	vlapic_timer_rearm(v);
}

void vlapic_timer_lvt_set(struct vlapic *v, uint32_t lvt) {
	uint32_t before = v->lvt_timer;
	v->lvt_timer = lvt;
	if (mode_is_deadline(before) != mode_is_deadline(lvt)) {
		// 10.5.4.1: a change to or from TSC-deadline mode disarms the timer.
		vlapic_timer_reset(v);
		return;
	}
	if (((before ^ lvt) & (VLAPIC_LVT_TIMER_MODE | VLAPIC_LVT_MASK)) == 0 || mode_is_deadline(lvt)) return;
	if (v->deadline_ns == TIMER_NEVER) return;
	uint64_t now_ns = vm_now_ns(v->head.vdev.vm);
	// Periods that ended while masked are gone; the phase is not.
	if (mode_is_periodic(before) && before & VLAPIC_LVT_MASK) v->deadline_ns = period_end_after(v, now_ns);
	vlapic_timer_rearm(v);
}

uint64_t vlapic_deadline_read(const struct vdev *vlapic) { return vlapic_of_const(vlapic)->tsc_deadline; }

void vlapic_deadline_write(struct vdev *vlapic, uint64_t tsc) {
	struct vlapic *v = vlapic_of(vlapic);
	if (!mode_is_deadline(v->lvt_timer)) return; // 10.5.4.1: ignored, reads 0
	v->tsc_deadline = tsc;
	if (tsc != 0 && tsc <= vm_guest_tsc(vlapic->vm)) {
		vm_timer_cancel(vlapic->vm, &v->timer);
		timer_fire(v);
	} else {
		vlapic_timer_rearm(v);
	}
}

void vlapic_tsc_changed(struct vdev *vlapic) {
	struct vlapic *v = vlapic_of(vlapic);
	if (v->tsc_deadline != 0) vlapic_timer_rearm(v);
}
