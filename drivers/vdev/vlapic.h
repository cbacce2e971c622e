// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC: saved record, object, and the priority core as inlines, shared by vlapic.c
// (class, modes, CPU side), vlapic_reg.c (register file), vlapic_msg.c (messages and IPIs) and
// vlapic_timer.c. Everybody else uses kernel/vintc.h. Section numbers are of the Intel SDM, volume 3A.
//
// Invariants: head.irr_top and isr_top are the highest vectors of IRR and ISR (-1 none), irr_count and
// isr_count their sizes; head.pending is irr_top when that is above the held-back ones, else -1, after
// each change of IRR, ISR or TPR; a disabled APIC (APIC_BASE.EN = 0) holds reset values (but TPR, which
// is CR8), so its IRR is empty; vectors 0..15 are never in IRR or ISR.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/vintc.h"

// ---- the saved record ------------------------------------------------------------------------------

#define VLAPIC_STATE_VERSION 1u
#define VLAPIC_LVT_COUNT 6u // timer, thermal, performance counter, LINT0, LINT1, error (no CMCI)

struct vlapic_state {
	uint64_t base; // IA32_APIC_BASE
	uint64_t icr;
	uint64_t irr[4], isr[4], tmr[4]; // bit v % 64 of word v / 64
	uint64_t timer_remaining_ns;     // to the end of the running period; TIMER_NEVER when stopped
	uint64_t timer_late_ns;          // how long that end lies in the past (remaining is then 0)
	uint64_t tsc_deadline;           // guest TSC value, 0 when not armed
	uint64_t lowest_accepted;        // lowest-priority messages accepted (arbitration)
	uint32_t id, tpr, svr, ldr, dfr, esr, esr_pending;
	uint32_t lvt[VLAPIC_LVT_COUNT];
	uint32_t timer_initial, timer_divide;
	uint8_t lint[2]; // pin levels
	uint8_t reserved[2];
};
_Static_assert(sizeof(struct vlapic_state) == 8 * 18 + 4 * 16, "vlapic_state layout");

// ---- registers ---------------------------------------------------------------------------------------

// Offset / 16 in the xAPIC page, MSR - 0x800 in x2APIC mode (Table 10-1, Table 10-6).
enum vlapic_reg {
	VLAPIC_REG_ID = 0x02,
	VLAPIC_REG_VERSION = 0x03,
	VLAPIC_REG_TPR = 0x08,
	VLAPIC_REG_APR = 0x09,
	VLAPIC_REG_PPR = 0x0A,
	VLAPIC_REG_EOI = 0x0B,
	VLAPIC_REG_RRD = 0x0C,
	VLAPIC_REG_LDR = 0x0D,
	VLAPIC_REG_DFR = 0x0E,
	VLAPIC_REG_SVR = 0x0F,
	VLAPIC_REG_ISR = 0x10,
	VLAPIC_REG_TMR = 0x18,
	VLAPIC_REG_IRR = 0x20,
	VLAPIC_REG_ESR = 0x28,
	VLAPIC_REG_ICR = 0x30,
	VLAPIC_REG_ICR_HIGH = 0x31,
	VLAPIC_REG_LVT = 0x32, // 0x32..0x37 in the order of enum vlapic_lvt
	VLAPIC_REG_TIMER_INITIAL = 0x38,
	VLAPIC_REG_TIMER_CURRENT = 0x39,
	VLAPIC_REG_TIMER_DIVIDE = 0x3E,
	VLAPIC_REG_SELF_IPI = 0x3F,
	VLAPIC_REG_COUNT = 0x40,
};
enum vlapic_lvt {
	VLAPIC_LVT_TIMER,
	VLAPIC_LVT_THERMAL,
	VLAPIC_LVT_PERF,
	VLAPIC_LVT_LINT0,
	VLAPIC_LVT_LINT1,
	VLAPIC_LVT_ERROR,
};

#define VLAPIC_X2APIC_MSR 0x800u
// Version 0x14 (integrated APIC, xAPIC), directed EOI offered (10.4.8).
#define VLAPIC_VERSION (0x14u | (VLAPIC_LVT_COUNT - 1) << 16 | BIT32(24))

#define VLAPIC_SVR_ENABLE BIT32(8) // 10.9
#define VLAPIC_SVR_FOCUS BIT32(9)
#define VLAPIC_SVR_DIRECTED_EOI BIT32(12)
#define VLAPIC_SVR_RESET 0xFFu

#define VLAPIC_LVT_VECTOR 0xFFu // 10.5.1
#define VLAPIC_LVT_MODE_SHIFT 8
#define VLAPIC_LVT_MODE (7u << VLAPIC_LVT_MODE_SHIFT)
#define VLAPIC_LVT_STATUS BIT32(12) // read only
#define VLAPIC_LVT_POLARITY BIT32(13)
#define VLAPIC_LVT_REMOTE_IRR BIT32(14) // read only
#define VLAPIC_LVT_LEVEL BIT32(15)
#define VLAPIC_LVT_MASK BIT32(16)
#define VLAPIC_LVT_TIMER_MODE (3u << 17)
#define VLAPIC_LVT_PERIODIC BIT32(17)
#define VLAPIC_LVT_TSC_DEADLINE BIT32(18)

#define VLAPIC_ESR_SEND_ILLEGAL BIT32(5) // 10.5.3
#define VLAPIC_ESR_RECEIVE_ILLEGAL BIT32(6)
#define VLAPIC_ESR_ILLEGAL_REGISTER BIT32(7)
#define VLAPIC_ESR_ALL (VLAPIC_ESR_SEND_ILLEGAL | VLAPIC_ESR_RECEIVE_ILLEGAL | VLAPIC_ESR_ILLEGAL_REGISTER)

#define VLAPIC_ICR_MODE_SHIFT 8 // 10.6.1
#define VLAPIC_ICR_LOGICAL BIT32(11)
#define VLAPIC_ICR_STATUS BIT32(12)
#define VLAPIC_ICR_ASSERT BIT32(14)
#define VLAPIC_ICR_LEVEL BIT32(15)
#define VLAPIC_ICR_SHORTHAND_SHIFT 18
#define VLAPIC_ICR_WRITABLE 0xCCFFFu // vector, mode, destination mode, level, trigger, shorthand

#define VLAPIC_DIVIDE_WRITABLE 0xBu         // 10.5.4
#define VLAPIC_DFR_FLAT 0xFFFFFFFFu         // 10.6.2.2
#define VLAPIC_DFR_FIXED_ONES MASK64(27, 0) // only the model is writable
#define VLAPIC_VECTOR_FIRST 16u             // 10.5.2: 0..15 are illegal

// ---- the object ----------------------------------------------------------------------------------------

struct vlapic {
	struct vlapic_summary head;      // first: kernel/vintc.h reads it
	uint64_t irr[4], isr[4], tmr[4]; // bit v % 64 of word v / 64
	uint32_t irr_count, isr_count;   // bits set
	int32_t isr_top;                 // head.irr_top is IRR's
	uint32_t tpr, svr;
	uint32_t vcpu_id;
	uint32_t id; // APIC id, equal to the vCPU id
	uint32_t ldr, dfr, esr, esr_pending;
	uint64_t icr;
	uint32_t lvt[VLAPIC_LVT_COUNT];
	bool lint[2];
	uint64_t lowest_accepted;
	// Timer: deadline_ns is the end of the running period on the VM's clock, TIMER_NEVER when stopped;
	// in TSC-deadline mode tsc_deadline alone counts.
	struct timer timer;
	uint64_t deadline_ns;
	uint64_t tsc_deadline;
	uint32_t timer_initial, timer_divide;
};

static inline struct vlapic *vlapic_of(struct vdev *vdev) {
	return container_of(vdev, struct vlapic, head.vdev);
}
static inline const struct vlapic *vlapic_of_const(const struct vdev *vdev) {
	return (const struct vlapic *)(const void *)vdev;
}

static inline bool vlapic_enabled_hw(const struct vlapic *v) { return (v->head.base & VLAPIC_BASE_EN) != 0; }
static inline bool vlapic_x2apic(const struct vlapic *v) {
	return (v->head.base & VLAPIC_BASE_EXTD) != 0; // never set without EN
}
// Accepts fixed and lowest-priority interrupts (10.4.7.2). A disabled APIC has SVR at its reset value.
static inline bool vlapic_enabled_sw(const struct vlapic *v) { return (v->svr & VLAPIC_SVR_ENABLE) != 0; }

// ---- the priority core (10.8.3, 10.8.4) ------------------------------------------------------------------

// Highest vector of a set that is not empty.
static inline int vlapic_vector_top(const uint64_t *word) {
	unsigned w = 3;
	while (word[w] == 0) w--;
	return (int)(w * 64 + bit_last(word[w]));
}

// Vectors up to this one are held back: the end of the PPR's priority class.
static inline int vlapic_held_back(const struct vlapic *v) {
	int tpr = (int)v->tpr;
	return (v->isr_top > tpr ? v->isr_top : tpr) | 0xF;
}
static inline void vlapic_publish_irr_top(struct vlapic *v, int vector) {
	__atomic_store_n(&v->head.irr_top, vector, __ATOMIC_RELAXED);
}
static inline void vlapic_publish_pending(struct vlapic *v) {
	int pending = v->head.irr_top > vlapic_held_back(v) ? v->head.irr_top : -1;
	__atomic_store_n(&v->head.pending, pending, __ATOMIC_RELAXED);
}
// A legal vector enters IRR of an enabled APIC; the trigger mode goes to TMR (10.8.4).
static inline void vlapic_irr_set(struct vlapic *v, unsigned vector, bool level) {
	unsigned w = vector / 64;
	uint64_t bit = BIT64(vector % 64);
	v->tmr[w] = level ? v->tmr[w] | bit : v->tmr[w] & ~bit;
	if (v->irr[w] & bit) return; // merges with the one that waits: nothing new to tell
	v->irr[w] |= bit;
	v->irr_count++;
	if ((int)vector > v->head.irr_top) {
		vlapic_publish_irr_top(v, (int)vector);
		vlapic_publish_pending(v);
	}
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
}

// ---- between the files -------------------------------------------------------------------------------------

// vlapic.c
uint8_t vlapic_ppr(const struct vlapic *v);
void vlapic_tpr_set(struct vlapic *v, uint8_t tpr);
// Returns 0, so that a register write can end in it.
int vlapic_eoi(struct vlapic *v);
void vlapic_extint_update(struct vlapic *v);
void vlapic_lvt_set(struct vlapic *v, enum vlapic_lvt which, uint32_t value);
// Writable bits of an LVT entry.
uint32_t vlapic_lvt_writable(enum vlapic_lvt which);
void vlapic_svr_set(struct vlapic *v, uint32_t value);
// Records an error for the ESR and raises the error interrupt when it is new (10.5.3).
void vlapic_error(struct vlapic *v, uint32_t esr_bit);

// vlapic_msg.c
// A fixed interrupt for this APIC alone; false when it is refused (disabled, illegal vector).
bool vlapic_accept_fixed(struct vlapic *v, uint8_t vector, bool level);
// Sends what an ICR value says; the destination in the width of the sender's mode.
void vlapic_icr_send(struct vlapic *v, uint32_t icr, uint32_t dest);
// A fixed interrupt to itself, by whichever register; returns 0.
int vlapic_self_ipi(struct vlapic *v, uint8_t vector);
uint32_t vlapic_x2apic_ldr(const struct vlapic *v);

// vlapic_timer.c
void vlapic_timer_create(struct vlapic *v);
void vlapic_timer_reset(struct vlapic *v);
void vlapic_timer_initial_set(struct vlapic *v, uint32_t count);
void vlapic_timer_divide_set(struct vlapic *v, uint32_t value);
uint32_t vlapic_timer_current(const struct vlapic *v);
// The LVT timer entry changes from `before` to its value now.
void vlapic_timer_lvt_changed(struct vlapic *v, uint32_t before);
// Arms or cancels the VM's timer for what the object says.
void vlapic_timer_rearm(struct vlapic *v);
