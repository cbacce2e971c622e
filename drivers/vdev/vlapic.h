// SPDX-License-Identifier: Apache-2.0
// The virtual local APIC: saved record, object, and the priority core as inlines, shared by vlapic.c
// (CPU side), vlapic_state.c (class, modes), vlapic_reg.c (register file), vlapic_msg.c (messages and IPIs) and
// vlapic_timer.c. Everybody else uses kernel/vintc.h. Section numbers are of the Intel SDM, volume 3A.
//
// The registers are a 4 KiB page as a guest's CPU lays it out, so that hardware which serves a guest's accesses
// itself (the virtual-APIC page of VMX, 29.1) uses this very page. What such hardware may change behind us is read
// from the page only; what a write must be compared with is kept beside it.
//
// Invariants: head.irr_top and isr_top are the highest vectors of IRR and ISR (-1 none), irr_count and
// isr_count their sizes; head.pending is irr_top when that is above the held-back ones, else -1, after
// each change of IRR, ISR or TPR by us; a disabled APIC (APIC_BASE.EN = 0) holds reset values (but TPR, which
// is CR8), so its IRR is empty; vectors 0..15 are never in IRR or ISR. While hardware delivers the interrupts
// (`virtual`) the summaries are parked: pending and isr_top -1, irr_top above every vector; each function that
// meets them so looks into the page.
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
#define VLAPIC_SVR_WRITABLE (0xFFu | VLAPIC_SVR_ENABLE | VLAPIC_SVR_FOCUS | VLAPIC_SVR_DIRECTED_EOI)
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

#define VLAPIC_LDR_WRITABLE 0xFF000000u     // 10.6.2.2, and the ICR's upper half
#define VLAPIC_DIVIDE_WRITABLE 0xBu         // 10.5.4
#define VLAPIC_DFR_FLAT 0xFFFFFFFFu         // 10.6.2.2
#define VLAPIC_DFR_FIXED_ONES MASK64(27, 0) // only the model is writable
#define VLAPIC_VECTOR_FIRST 16u             // 10.5.2: 0..15 are illegal

// ---- the object ----------------------------------------------------------------------------------------

#define VLAPIC_PAGE_WORDS 1024u
#define VLAPIC_PARKED 256 // head.irr_top while hardware delivers

struct vlapic {
	struct vlapic_summary head;    // first: kernel/vintc.h reads it
	uint32_t irr_count, isr_count; // bits set
	int32_t isr_top;               // head.irr_top is IRR's
	uint32_t vcpu_id;
	uint32_t id; // APIC id, equal to the vCPU id
	uint32_t esr_pending;
	uint32_t lvt_timer;    // the entry in force
	uint32_t timer_divide; // the configuration in force
	bool enabled;          // SVR's, in force: accepts fixed and lowest-priority interrupts (10.4.7.2)
	bool lint0_remote_irr; // LVT LINT0 waits for its EOI
	bool virtual;          // hardware delivers: it moves vectors from IRR to ISR and ends them
	bool tmr_changed;      // since vlapic_levels looked
	bool lint[2];
	uint64_t lowest_accepted;
	// Timer: deadline_ns is the end of the running period on the VM's clock, TIMER_NEVER when stopped;
	// in TSC-deadline mode tsc_deadline alone counts.
	struct timer timer;
	uint64_t deadline_ns;
	uint64_t tsc_deadline;
	// Register n is word 4 * n; the upper half of the x2APIC's ICR is the word behind it, as RDMSR of a virtual-APIC
	// page reads it (29.5).
	uint32_t page[VLAPIC_PAGE_WORDS] __attribute__((aligned(4096)));
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

// A register of the page, by its number; enum vlapic_reg's names.
static inline uint32_t *vlapic_reg(struct vlapic *v, unsigned reg) { return &v->page[reg * 4]; }
static inline uint32_t vlapic_get(const struct vlapic *v, unsigned reg) { return v->page[reg * 4]; }
static inline uint32_t vlapic_lvt(const struct vlapic *v, enum vlapic_lvt which) {
	return vlapic_get(v, VLAPIC_REG_LVT + (unsigned)which);
}
static inline uint8_t vlapic_tpr(const struct vlapic *v) { return (uint8_t)vlapic_get(v, VLAPIC_REG_TPR); }

// ---- the priority core (10.8.3, 10.8.4) ------------------------------------------------------------------

// IRR, ISR and TMR: 32 vectors a register, eight registers each; `set` is the first register.
static inline uint32_t *vlapic_vector_word(struct vlapic *v, unsigned set, unsigned vector) {
	return vlapic_reg(v, set + vector / 32);
}
static inline bool vlapic_vector_test(const struct vlapic *v, unsigned set, unsigned vector) {
	return (vlapic_get(v, set + vector / 32) >> (vector % 32) & 1) != 0;
}
// Highest vector of a set, -1 when it is empty.
int vlapic_vector_top(const struct vlapic *v, unsigned set);

// Vectors up to this one are held back: the end of the PPR's priority class.
static inline int vlapic_held_back(const struct vlapic *v) {
	int tpr = (int)vlapic_tpr(v);
	return (v->isr_top > tpr ? v->isr_top : tpr) | 0xF;
}
static inline void vlapic_publish_irr_top(struct vlapic *v, int vector) {
	__atomic_store_n(&v->head.irr_top, vector, __ATOMIC_RELAXED);
}
static inline void vlapic_publish_pending(struct vlapic *v) {
	int pending = v->head.irr_top > vlapic_held_back(v) ? v->head.irr_top : -1;
	__atomic_store_n(&v->head.pending, pending, __ATOMIC_RELAXED);
}
// The trigger mode of a vector is another one than last time.
void vlapic_irr_set_flipped(struct vlapic *v, unsigned vector, bool level);
// A legal vector enters IRR of an enabled APIC; the trigger mode goes to TMR (10.8.4).
static inline void vlapic_irr_set(struct vlapic *v, unsigned vector, bool level) {
	uint32_t *irr = vlapic_vector_word(v, VLAPIC_REG_IRR, vector);
	uint32_t bit = BIT32(vector % 32);
	if (unlikely(vlapic_vector_test(v, VLAPIC_REG_TMR, vector) != level)) {
		vlapic_irr_set_flipped(v, vector, level);
		return;
	}
	if (*irr & bit) return; // merges with the one that waits: nothing new to tell
	*irr |= bit;
	v->irr_count++;
	if ((int)vector > v->head.irr_top) {
		vlapic_publish_irr_top(v, (int)vector);
		vlapic_publish_pending(v);
	}
	vm_vcpu_event(v->head.vdev.vm, v->vcpu_id);
}

// ---- between the files -------------------------------------------------------------------------------------

// vlapic.c
// Computes the summaries from the page; leaves them behind as the invariant has them. What lies between may use
// them whether hardware delivers or not.
void vlapic_summaries_take(struct vlapic *v);
void vlapic_summaries_leave(struct vlapic *v);
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
// The LVT timer entry becomes `lvt`.
void vlapic_timer_lvt_set(struct vlapic *v, uint32_t lvt);
// Arms or cancels the VM's timer for what the object says.
void vlapic_timer_rearm(struct vlapic *v);
