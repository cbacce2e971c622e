// SPDX-License-Identifier: Apache-2.0
// Messages to local APICs (SDM 10.6): who is addressed, who of several takes a lowest-priority one,
// and what each delivery mode does to the receiver. Senders are other local APICs (ICR), the I/O APIC
// and MSIs.
#include "drivers/vdev/vlapic.h"

#define BROADCAST_XAPIC 0xFFu
#define BROADCAST_X2APIC UINT32_MAX
#define DFR_MODEL(dfr) ((dfr) >> 28)
#define DFR_MODEL_CLUSTER 0x0u
#define DFR_MODEL_FLAT 0xFu

bool vlapic_accept_fixed(struct vlapic *v, uint8_t vector, bool level) {
	if (unlikely(!v->enabled)) return false;
	if (unlikely(vector < VLAPIC_VECTOR_FIRST)) {
		vlapic_error(v, VLAPIC_ESR_RECEIVE_ILLEGAL);
		return false;
	}
	vlapic_irr_set(v, vector, level);
	return true;
}

static bool accept(struct vlapic *v, const struct irq_msg *msg) {
	struct vm *vm = v->head.vdev.vm;
	if (!vlapic_enabled_hw(v)) return false;
	switch (msg->mode) {
	case IRQ_MODE_FIXED:
	case IRQ_MODE_LOWEST: return vlapic_accept_fixed(v, msg->vector, msg->level);
	case IRQ_MODE_NMI: vm_vcpu_nmi(vm, v->vcpu_id); return true;
	case IRQ_MODE_INIT: vm_vcpu_init_signal(vm, v->vcpu_id); return true;
	case IRQ_MODE_STARTUP: vm_vcpu_startup(vm, v->vcpu_id, msg->vector); return true;
	default: // SMI: guests have no SMM; ExtINT: the PIC is wired to LINT0, not to messages
		return false;
	}
}

// ---- who is addressed ------------------------------------------------------------------------------------

// 10.12.10.2: the logical id follows from the APIC id, 16 to a cluster.
uint32_t vlapic_x2apic_ldr(const struct vlapic *v) { return v->id >> 4 << 16 | BIT32(v->id & 0xF); }

static bool logical_match(const struct vlapic *v, uint32_t dest) {
	if (vlapic_x2apic(v)) {
		uint32_t ldr = vlapic_x2apic_ldr(v);
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xFFFF) != 0;
	}
	uint32_t ldr = vlapic_get(v, VLAPIC_REG_LDR) >> 24, model = DFR_MODEL(vlapic_get(v, VLAPIC_REG_DFR));
	if (dest > 0xFF) return false;
	if (model == DFR_MODEL_FLAT) return (dest & ldr) != 0; // 10.6.2.2
	if (model != DFR_MODEL_CLUSTER) return false;
	return dest >> 4 == ldr >> 4 && (dest & ldr & 0xF) != 0;
}

// Devices address in 8 bits whatever mode the receivers are in, so 0xFF means all of them.
static bool is_broadcast(const struct vdev *source, uint32_t dest) {
	if (source && !vlapic_x2apic(vlapic_of_const(source))) return dest == BROADCAST_XAPIC;
	return dest == BROADCAST_X2APIC || (!source && dest == BROADCAST_XAPIC);
}

static bool addressed(const struct vlapic *v, const struct vdev *source, const struct irq_msg *msg,
                      bool broadcast) {
	switch (msg->shorthand) {
	case IRQ_DEST_SELF: return &v->head.vdev == source;
	case IRQ_DEST_ALL: return true;
	case IRQ_DEST_OTHERS: return &v->head.vdev != source;
	default:
		if (broadcast) return true;
		return msg->logical ? logical_match(v, msg->dest) : v->id == msg->dest;
	}
}

// 10.6.2.4: the lowest processor priority takes it; of equals, who took the fewest so far.
static bool takes_before(const struct vlapic *a, const struct vlapic *b) {
	uint8_t ppr_a = vlapic_ppr(a), ppr_b = vlapic_ppr(b);
	return ppr_a != ppr_b ? ppr_a < ppr_b : a->lowest_accepted < b->lowest_accepted;
}

static bool deliver_lowest(struct vm *vm, const struct vdev *source, const struct irq_msg *msg,
                           bool broadcast) {
	struct vlapic *best = NULL;
	for (unsigned i = 0; i < vm_vcpu_count(vm); i++) {
		struct vdev *vdev = vm_lapic(vm, i);
		if (!vdev) continue;
		struct vlapic *v = vlapic_of(vdev);
		if (!v->enabled || !addressed(v, source, msg, broadcast)) continue;
		if (!best || takes_before(v, best)) best = v;
	}
	if (!best) return false;
	best->lowest_accepted++;
	return accept(best, msg);
}

bool vlapic_deliver(struct vm *vm, struct vdev *source, const struct irq_msg *msg) {
	bool broadcast = msg->shorthand == IRQ_DEST_FIELD && is_broadcast(source, msg->dest);
	if (msg->shorthand == IRQ_DEST_FIELD && !msg->logical && !broadcast) {
		// The APIC id is the vCPU id: one look, and a lowest-priority message has nothing to choose.
		struct vdev *only = msg->dest < vm_vcpu_count(vm) ? vm_lapic(vm, msg->dest) : NULL;
		return only && accept(vlapic_of(only), msg);
	}
	if (msg->mode == IRQ_MODE_LOWEST) return deliver_lowest(vm, source, msg, broadcast);
	bool accepted = false;
	for (unsigned i = 0; i < vm_vcpu_count(vm); i++) {
		struct vdev *vdev = vm_lapic(vm, i);
		if (vdev && addressed(vlapic_of(vdev), source, msg, broadcast))
			accepted |= accept(vlapic_of(vdev), msg);
	}
	return accepted;
}

// ---- the interrupt command register (10.6.1) -----------------------------------------------------------------

void vlapic_icr_send(struct vlapic *v, uint32_t icr, uint32_t dest) {
	struct vm *vm = v->head.vdev.vm;
	struct irq_msg msg = {
	    .dest = dest,
	    .vector = (uint8_t)icr,
	    .mode = icr >> VLAPIC_ICR_MODE_SHIFT & 7,
	    .shorthand = icr >> VLAPIC_ICR_SHORTHAND_SHIFT & 3,
	    .logical = (icr & VLAPIC_ICR_LOGICAL) != 0,
	    .level = false, // Table 10-3: the trigger bit of an IPI is overridden, it is sent as an edge
	    .assert_level = (icr & VLAPIC_ICR_ASSERT) != 0,
	};
	bool with_self = msg.shorthand == IRQ_DEST_SELF || msg.shorthand == IRQ_DEST_ALL;
	switch (msg.mode) {
	case IRQ_MODE_FIXED:
	case IRQ_MODE_LOWEST:
		if (msg.vector < VLAPIC_VECTOR_FIRST) {
			vlapic_error(v, VLAPIC_ESR_SEND_ILLEGAL);
			return;
		}
		break;
	case IRQ_MODE_INIT:
		// The INIT level de-assert does nothing on a processor of this kind (10.6.1).
		if (icr & VLAPIC_ICR_LEVEL && !msg.assert_level) return;
		__attribute__((fallthrough));
	case IRQ_MODE_STARTUP:
		if (!with_self) break; // Table 10-3: invalid with these shorthands
		__attribute__((fallthrough));
	case 3: // reserved
	case IRQ_MODE_EXTINT: vm_guest_error(vm, "vlapic", "vcpu=%u invalid ICR %#x", v->vcpu_id, icr); return;
	default: break;
	}
	(void)vlapic_deliver(vm, &v->head.vdev, &msg);
}

static int __attribute__((noinline)) self_ipi_illegal(struct vlapic *v) {
	vlapic_error(v, VLAPIC_ESR_SEND_ILLEGAL);
	return 0;
}

// The frequent one (irq_work, rescheduling): no message is made. A software-disabled APIC refuses it.
int vlapic_self_ipi(struct vlapic *v, uint8_t vector) {
	if (unlikely(vector < VLAPIC_VECTOR_FIRST)) return self_ipi_illegal(v);
	if (likely(v->enabled)) vlapic_irr_set(v, vector, false);
	return 0;
}
