// SPDX-License-Identifier: Apache-2.0
// Task switch in software (SDM vol. 3, ch. 7 "Task Management"). All that can fault before the commit point comes in
// an order that makes it repeatable: the new TSS is read, the old one written, busy flags last. From the commit point
// on the guest is in the new task, whatever faults.
#include "arch/x86/guest/task.h"

#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "kernel/lib/bits.h"

// Both formats hold the same registers in the same order (figures 7-2 and 7-10), from EIP on; the LDT's selector
// behind the others.
enum slot { SLOT_EIP, SLOT_EFLAGS, SLOT_GPR, SLOT_SEG = SLOT_GPR + 8, SLOTS = SLOT_SEG + SEG_LDTR + 1 };
static const struct form {
	uint8_t width, eip, segments, bytes;
} form_of[2] = {
    {.width = 2, .eip = 0x0e, .segments = SEG_FS, .bytes = 0x2c},
    {.width = 4, .eip = 0x20, .segments = SEG_LDTR, .bytes = 0x68},
};
#define TSS_BYTES 0x68u
#define TSS_CR3 0x1cu
#define TSS_TRAP 0x64u

#define TYPE_TSS 1u // 16 bits; with TYPE_WIDE and SEG_TYPE_BUSY the other forms
#define TYPE_WIDE 8u
#define TYPE_LDT 2u
#define TYPE_CODE 8u
#define TYPE_CONFORMING 4u
#define TYPE_WRITABLE 2u // of data; readable of code
#define TYPE_EXPAND_DOWN 4u
#define SELECTOR_INDEX 0xfff8u
#define SELECTOR_LDT 4u
#define SELECTOR_RPL 3u
#define DR7_LOCAL UINT64_C(0x155) // L0 to L3 and LE

struct task {
	struct vcpu *vcpu;
	const struct exit *exit;
	const struct form *form;  // of the new TSS
	uint32_t external;        // bit 0 of error codes: an event of no instruction was being delivered (6.13)
	uint32_t cpl;             // of the new task
	struct guest_sregs sregs; // of the old task; from the commit point on segments are the new one's
	uint8_t tss[TSS_BYTES];   // the new one
	uint32_t slot[SLOTS];     // of it
};

static bool fault(const struct task *t, uint8_t vector, uint32_t selector) {
	guest_exception_error(t->vcpu, vector, (selector & ~SELECTOR_RPL) | t->external);
	return false;
}

// `src` NULL: a read.
static bool system_access(const struct task *t, uint64_t linear, void *dst, const void *src, unsigned bytes) {
	return guest_linear_access(t->vcpu, linear, dst, src, bytes, 0);
}

static bool access_write(const struct task *t, uint64_t at, uint32_t access) {
	return system_access(t, at + 5, NULL, &access, 1);
}

// The descriptor and its linear address; `vector` is the fault when the selector is beyond its table.
static bool descriptor_read(const struct task *t, uint16_t selector, uint8_t vector, struct guest_segment *s,
                            uint64_t *at) {
	const struct guest_segment *ldt = &t->sregs.seg[SEG_LDTR];
	uint64_t base = t->sregs.gdt.base, raw;
	uint32_t limit = t->sregs.gdt.limit;
	if ((selector & SELECTOR_LDT) != 0) {
		base = ldt->base;
		limit = (ldt->access & SEG_UNUSABLE) != 0 ? 0 : ldt->limit;
	}
	if ((selector | 7u) > limit) return fault(t, vector, selector);
	*at = base + (selector & SELECTOR_INDEX);
	if (!system_access(t, *at, &raw, NULL, sizeof raw)) return false;
	s->selector = selector;
	s->base = (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000u);
	s->access = (uint32_t)(raw >> 40) & (0xffu | SEG_AVL | SEG_L | SEG_DB | SEG_G);
	s->limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000));
	if ((s->access & SEG_G) != 0) s->limit = s->limit << 12 | 0xfffu;
	return true;
}

// ---- before the commit point ------------------------------------------------------------------------------------

// The CPU has made these checks before the exit (25.4.2 "Treatment of Task Switches"), on what was there then.
static bool tss_find(struct task *t, struct guest_segment *tss, uint64_t *at) {
	bool iret = t->exit->task.cause == EXIT_TASK_IRET;
	uint16_t selector = t->exit->task.selector;
	uint8_t vector = iret ? VEC_TS : VEC_GP;
	if (!descriptor_read(t, selector, vector, tss, at)) return false;
	uint32_t kind = tss->access & (SEG_S | (SEG_TYPE_MASK & ~TYPE_WIDE));
	t->form = &form_of[(tss->access & TYPE_WIDE) != 0];
	if ((selector & SELECTOR_LDT) == 0 && kind == (iret ? TYPE_TSS | SEG_TYPE_BUSY : TYPE_TSS)) {
		if ((tss->access & SEG_P) == 0)
			vector = VEC_NP;
		else if (tss->limit < t->form->bytes - 1u)
			vector = VEC_TS;
		else
			return system_access(t, tss->base, t->tss, NULL, t->form->bytes);
	}
	return fault(t, vector, selector);
}

static bool old_save(const struct task *t, uint64_t rflags) {
	const struct guest_segment *tr = &t->sregs.seg[SEG_TR];
	const struct form *f = &form_of[(tr->access & TYPE_WIDE) != 0];
	uint8_t image[SLOTS * sizeof(uint32_t)], *at = image;
	const unsigned slots = SLOT_SEG + f->segments;
	for (unsigned i = SLOT_EIP; i < slots; i++, at += f->width) {
		uint64_t value;
		if (i >= SLOT_SEG)
			value = t->sregs.seg[i - SLOT_SEG].selector;
		else if (i >= SLOT_GPR)
			value = t->vcpu->arch->gpr[i - SLOT_GPR];
		else
			value = i == SLOT_EIP ? ops->rip_get(t->vcpu) + t->exit->insn_len : rflags;
		put_le32(at, (uint32_t)value); // of a narrow one the next takes the upper half
	}
	unsigned bytes = (unsigned)(at - image);
	if (tr->limit < f->eip + bytes - 1) return fault(t, VEC_TS, tr->selector);
	return system_access(t, tr->base + f->eip, NULL, image, bytes);
}

// The old task stays busy when it is to be returned to.
static bool tasks_mark(const struct task *t, const struct guest_segment *tss, uint64_t at, bool nests) {
	const struct guest_segment *tr = &t->sregs.seg[SEG_TR];
	bool done = nests ? system_access(t, tss->base, NULL, &tr->selector, sizeof tr->selector)
	                  : access_write(t, t->sregs.gdt.base + (tr->selector & SELECTOR_INDEX),
	                                 tr->access & ~SEG_TYPE_BUSY);
	return done &&
	       (t->exit->task.cause == EXIT_TASK_IRET || access_write(t, at, tss->access | SEG_TYPE_BUSY));
}

// ---- in the new task --------------------------------------------------------------------------------------------

// Whether the register takes the descriptor (6.15 "Interrupt 10 - Invalid TSS Exception", table 6-6).
static bool segment_fits(const struct task *t, enum guest_seg n, const struct guest_segment *s) {
	uint32_t type = s->access & (SEG_S | SEG_TYPE_MASK), dpl = s->access >> SEG_DPL_SHIFT & 3;
	uint32_t rpl = s->selector & SELECTOR_RPL;
	bool code = (type & TYPE_CODE) != 0, conforming = code && (type & TYPE_CONFORMING) != 0;
	bool writable = (type & TYPE_WRITABLE) != 0;
	if (n == SEG_LDTR) return type == TYPE_LDT && (s->selector & SELECTOR_LDT) == 0;
	if ((type & SEG_S) == 0) return false;
	if (n == SEG_CS) return code && (conforming ? dpl <= rpl : dpl == rpl);
	if (n == SEG_SS) return !code && writable && dpl == t->cpl && rpl == t->cpl;
	return (!code || writable) && (conforming || (dpl >= t->cpl && dpl >= rpl));
}

static bool segment_load(struct task *t, enum guest_seg n) {
	struct guest_segment s;
	uint64_t at;
	uint16_t selector = (uint16_t)t->slot[SLOT_SEG + n];
	uint8_t vector = VEC_TS;
	if ((selector & ~SELECTOR_RPL) == 0) return (n != SEG_CS && n != SEG_SS) || fault(t, vector, selector);
	if (!descriptor_read(t, selector, vector, &s, &at)) return false;
	if (segment_fits(t, n, &s)) {
		if ((s.access & SEG_P) != 0) {
			if (n != SEG_LDTR) s.access |= SEG_TYPE_ACCESSED;
			t->sregs.seg[n] = s;
			return n == SEG_LDTR || access_write(t, at, s.access);
		}
		if (n != SEG_LDTR) vector = n == SEG_SS ? VEC_SS : VEC_NP;
	}
	return fault(t, vector, selector);
}

// What the registers are until their descriptors are known to be good: selectors without a segment, but code at the
// new privilege level, from which a fault can be delivered. In virtual-8086 mode they are what they will be.
static void segments_begin(struct task *t, bool v86) {
	t->cpl = v86 ? 3 : t->slot[SLOT_SEG + SEG_CS] & SELECTOR_RPL;
	for (unsigned n = 0; n <= SEG_LDTR; n++) {
		struct guest_segment *s = &t->sregs.seg[n];
		s->selector = (uint16_t)t->slot[SLOT_SEG + n];
		s->access = t->cpl << SEG_DPL_SHIFT | SEG_UNUSABLE;
		if (n == SEG_LDTR || (!v86 && n != SEG_CS)) continue;
		s->access ^= SEG_UNUSABLE | SEG_P | SEG_S | TYPE_WRITABLE | SEG_TYPE_ACCESSED;
		s->base = (uint64_t)s->selector << 4;
		s->limit = UINT16_MAX;
		if (!v86) s->access |= TYPE_CODE | SEG_DB;
	}
	// A CPU without unrestricted guest insists on this (26.3.1.2).
	if (!v86)
		t->sregs.seg[SEG_SS].selector = (uint16_t)((t->sregs.seg[SEG_SS].selector & ~SELECTOR_RPL) | t->cpl);
}

static void registers_load(struct task *t, bool nests) {
	struct vcpu *vcpu = t->vcpu;
	const struct form *f = t->form;
	const unsigned slots = SLOT_SEG + f->segments;
	for (unsigned i = 0; i <= slots; i++)
		t->slot[i] = le32(t->tss + f->eip + i * f->width) & (f->width == 2 ? UINT16_MAX : UINT32_MAX);
	if (f->width == 2) { // no FS and GS
		t->slot[SLOT_SEG + SEG_LDTR] = t->slot[SLOT_SEG + SEG_FS];
		t->slot[SLOT_SEG + SEG_FS] = t->slot[SLOT_SEG + SEG_GS] = 0;
	}
	for (unsigned i = 0; i < 8; i++) vcpu->arch->gpr[i] = t->slot[SLOT_GPR + i];
	ops->rsp_set(vcpu, t->slot[SLOT_GPR + GPR_RSP]);
	ops->rip_set(vcpu, t->slot[SLOT_EIP]);
	ops->rflags_set(vcpu, (t->slot[SLOT_EFLAGS] & RFLAGS_DEFINED) | (nests ? RFLAGS_NT : 0));
	ops->cr0_set(vcpu, t->sregs.cr0 | CR0_TS);
	ops->dr7_set(vcpu, ops->dr7_get(vcpu) & ~DR7_LOCAL);
}

// NMIs are blocked from their delivery to the IRET; no shadow outlives the switch.
static void blocking_update(const struct task *t) {
	uint8_t blocking = ops->blocking_get(t->vcpu) & GUEST_BLOCK_NMI;
	if (t->exit->task.cause == EXIT_TASK_IRET) blocking = 0;
	if (t->exit->task.event.type == EVENT_NMI) blocking = GUEST_BLOCK_NMI;
	ops->blocking_set(t->vcpu, blocking);
}

// The error code of the exception that came through the task gate (6.13).
static bool error_push(const struct task *t) {
	const struct guest_segment *ss = &t->sregs.seg[SEG_SS];
	uint32_t width = t->form->width, esp = t->slot[SLOT_GPR + GPR_RSP];
	uint32_t mask = (ss->access & SEG_DB) != 0 ? UINT32_MAX : UINT16_MAX, at = (esp - width) & mask;
	uint64_t last = (uint64_t)at + width - 1;
	if ((ss->access & TYPE_EXPAND_DOWN) != 0 ? at <= ss->limit || last > mask : last > ss->limit)
		return fault(t, VEC_SS, 0);
	ops->rsp_set(t->vcpu, (esp & ~mask) | at);
	return guest_linear_access(t->vcpu, ss->base + at, NULL, &t->exit->task.event.error, width,
	                           (uint8_t)t->cpl);
}

static bool cr3_load(const struct task *t) {
	uint32_t cr3 = le32(t->tss + TSS_CR3);
	if (t->form->width == 2 || (t->sregs.cr0 & CR0_PG) == 0 || cr3 == t->sregs.cr3) return true;
	return cr3_write(t->vcpu, cr3) || fault(t, VEC_GP, 0);
}

// The LDT first, where others may come from; then CS and SS, so that a fault of the others can be delivered.
static bool segments_load(struct task *t, bool v86) {
	if (!segment_load(t, SEG_LDTR)) return false;
	for (unsigned n = SEG_CS; !v86 && n <= SEG_LDTR; n++)
		if (!segment_load(t, n == SEG_LDTR ? SEG_ES : (enum guest_seg)n)) return false;
	return true;
}

void task_switch_exit(struct vcpu *vcpu, const struct exit *exit) {
	const struct guest_event *event = &exit->task.event;
	bool gate = exit->task.cause == EXIT_TASK_GATE, nests = gate || exit->task.cause == EXIT_TASK_CALL;
	struct pending_exception *pending = &vcpu->arch->exception;
	struct guest_segment tss;
	uint64_t at;
	struct task t;
	t.vcpu = vcpu;
	t.exit = exit;
	t.external = gate && event->type < EVENT_SOFT_IRQ;
	// Until it has been delivered a fault merges with it.
	if (event->type == EVENT_EXCEPTION) *pending = (struct pending_exception){.valid = true, .event = *event};
	ops->sregs_get(vcpu, &t.sregs);
	vcpu->arch->gpr[GPR_RSP] = ops->rsp_get(vcpu);
	uint64_t rflags = ops->rflags_get(vcpu);
	if (exit->task.cause == EXIT_TASK_IRET) rflags &= ~RFLAGS_NT;
	blocking_update(&t);
	if (!tss_find(&t, &tss, &at) || !old_save(&t, rflags) || !tasks_mark(&t, &tss, at, nests)) return;
	registers_load(&t, nests);
	bool v86 = (t.slot[SLOT_EFLAGS] & RFLAGS_VM) != 0;
	segments_begin(&t, v86);
	tss.access |= SEG_TYPE_BUSY;
	t.sregs.seg[SEG_TR] = tss;
	bool loaded = cr3_load(&t) && segments_load(&t, v86);
	for (unsigned n = 0; n < SEG_COUNT; n++) ops->seg_set(vcpu, (enum guest_seg)n, &t.sregs.seg[n]);
	if (!loaded || (event->has_error && !error_push(&t))) return;
	pending->valid = false;
	if (t.form->width == 2 || (t.tss[TSS_TRAP] & 1) == 0) return;
	ops->dr6_set(vcpu, ops->dr6_get(vcpu) | DR6_BT);
	guest_exception(vcpu, VEC_DB);
}

void task_return(struct vcpu *vcpu, const struct exit *exit) {
	struct exit x = {.insn_len = exit->insn_len, .task = {.cause = EXIT_TASK_IRET}};
	struct guest_paging p;
	struct guest_segment tr;
	struct emul_insn insn;
	ops->paging_get(vcpu, &p);
	if ((p.rflags & (RFLAGS_NT | RFLAGS_VM)) != RFLAGS_NT || (p.cr0 & CR0_PE) == 0 ||
	    (p.efer & EFER_LMA) != 0)
		return;
	if (x.insn_len == 0) {
		if (!guest_decode(vcpu, &insn)) return;
		x.insn_len = insn.length;
	}
	ops->seg_get(vcpu, SEG_TR, &tr);
	if (guest_linear_access(vcpu, tr.base, &x.task.selector, NULL, sizeof x.task.selector, 0))
		task_switch_exit(vcpu, &x);
}
