// SPDX-License-Identifier: Apache-2.0
// Judging a vCPU's record before anything of it is used. The rules are those that an entry into the guest checks
// (SDM vol. 3, 26.3.1 "Checks on the Guest State Area"; APM vol. 2, 15.5.1 "Canonicalization and Consistency
// Checks"), the stricter of the two, so that a record that passes runs on either backend.
#include "arch/x86/guest/record.h"

#include "kernel/lib/err.h"

#define CR0_DEFINED                                                                                          \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define DEBUG_PENDING_DEFINED (MASK64(3, 0) | BIT64(12) | DR6_BS)
#define SEG_DEFINED (0xffu | SEG_AVL | SEG_L | SEG_DB | SEG_G | SEG_UNUSABLE)

#define TYPE_CODE 8u
#define TYPE_LDT 2u
#define TYPE_TSS16 1u // busy or not: LTR makes it so, and some CPUs keep the type from before
#define TYPE_TSS 9u

#define FXSAVE_BYTES 512u
#define XSAVE_HEADER_BYTES 64u

struct check {
	const struct vcpu_record *r;
	const struct vcpu_record_limits *limits;
	bool long_mode, code64, real, v86;
};

static bool canonical(const struct check *c, uint64_t address) {
	unsigned unused = 64u - c->limits->virt_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static bool physical(const struct check *c, uint64_t value) { return value >> c->limits->phys_bits == 0; }

// ---- registers --------------------------------------------------------------------------------------------------

static const char *control_check(const struct check *c) {
	const struct vcpu_record *r = c->r;
	bool paging = (r->cr0 & CR0_PG) != 0;
	if ((r->cr0 & ~CR0_DEFINED) != 0 || (r->cr0 & CR0_ET) == 0) return "cr0";
	if (paging && (r->cr0 & CR0_PE) == 0) return "cr0";
	if ((r->cr0 & CR0_NW) != 0 && (r->cr0 & CR0_CD) == 0) return "cr0";
	if (!physical(c, r->cr3)) return "cr3";
	if ((r->cr4 & ~c->limits->cr4) != 0) return "cr4";
	if ((r->efer & ~c->limits->efer) != 0) return "efer";
	if (c->long_mode != (paging && (r->efer & EFER_LME) != 0)) return "efer";
	if (c->long_mode && (r->cr4 & CR4_PAE) == 0) return "cr4";
	if (!vcpu_record_xcr0_valid(r->xcr0, c->limits->xcr0)) return "xcr0";
	return NULL;
}

static const char *flow_check(const struct check *c) {
	const struct vcpu_record *r = c->r;
	if ((r->rflags & ~RFLAGS_DEFINED) != 0 || (r->rflags & RFLAGS_FIXED) == 0) return "rflags";
	if ((r->rflags & RFLAGS_VM) != 0 && (c->real || c->long_mode)) return "rflags";
	if (c->code64 ? !canonical(c, r->rip) : r->rip > UINT32_MAX) return "rip";
	if ((r->dr6 & ~DR6_DEFINED) != 0 || (r->dr7 & DR7_RESERVED) != 0) return "dr";
	if ((r->dr7 & DR7_FIXED) == 0) return "dr";
	return NULL;
}

// ---- segments ---------------------------------------------------------------------------------------------------

static bool usable(const struct vcpu_record_segment *s) { return (s->access & SEG_UNUSABLE) == 0; }

// What holds for every segment that is in use (26.3.1.2).
static bool segment_form_valid(const struct vcpu_record_segment *s) {
	if ((s->access & ~SEG_DEFINED) != 0) return false;
	if (!usable(s)) return true;
	if ((s->access & SEG_P) == 0) return false;
	return (s->access & SEG_G) != 0 ? (s->limit & 0xfffu) == 0xfffu : s->limit <= 0xfffffu;
}

// The types that a load of the register would have accepted. Real and virtual-8086 mode do not look at them.
static bool segment_type_valid(const struct check *c, unsigned n) {
	const struct vcpu_record_segment *s = &c->r->seg[n];
	unsigned type = s->access & SEG_TYPE_MASK;
	bool system = (s->access & SEG_S) == 0;
	switch (n) {
	case SEG_TR:
		type &= ~SEG_TYPE_BUSY;
		return usable(s) && system && (type == TYPE_TSS || (type == TYPE_TSS16 && !c->long_mode));
	case SEG_LDTR: return !usable(s) || (system && type == TYPE_LDT);
	default: break;
	}
	if (c->real || c->v86) return true;
	if (n == SEG_CS) {
		if (!usable(s) || system || (type & TYPE_CODE) == 0) return false;
		return !c->long_mode || (s->access & (SEG_L | SEG_DB)) != (SEG_L | SEG_DB);
	}
	if (!usable(s)) return true;
	if (n == SEG_SS) return !system && (type & (TYPE_CODE | 2u)) == 2u;
	return !system && ((type & TYPE_CODE) == 0 || (type & 2u) != 0); // readable
}

static bool segment_base_valid(const struct check *c, unsigned n) {
	const struct vcpu_record_segment *s = &c->r->seg[n];
	if (n >= SEG_FS) return (n == SEG_LDTR && !usable(s)) || canonical(c, s->base);
	return !usable(s) || s->base <= UINT32_MAX;
}

static const char *segments_check(const struct check *c) {
	static const char *const name[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
	const struct vcpu_record *r = c->r;
	for (unsigned n = 0; n < SEG_COUNT; n++) {
		const struct vcpu_record_segment *s = &r->seg[n];
		if (!segment_form_valid(s) || !segment_type_valid(c, n) || !segment_base_valid(c, n)) return name[n];
		if ((s->reserved[0] | s->reserved[1] | s->reserved[2]) != 0) return name[n];
	}
	if (r->cpl > 3 || r->cpl != (r->seg[SEG_SS].access >> SEG_DPL_SHIFT & 3)) return "cpl";
	if ((c->real && r->cpl != 0) || (c->v86 && r->cpl != 3)) return "cpl";
	if (!canonical(c, r->gdt.base) || !canonical(c, r->idt.base)) return "descriptor tables";
	for (unsigned i = 0; i < 3; i++)
		if ((r->gdt.reserved[i] | r->idt.reserved[i]) != 0) return "descriptor tables";
	return NULL;
}

// ---- MSRs -------------------------------------------------------------------------------------------------------

static bool memory_type_valid(uint64_t type) { return type <= 1 || (type >= 4 && type <= 6); }

static bool types_valid(uint64_t value, uint64_t extra) {
	for (unsigned i = 0; i < 8; i++) {
		uint64_t type = value >> (8 * i) & 0xff;
		if (!memory_type_valid(type) && type != extra) return false;
	}
	return true;
}

#define MTRR_DEF_DEFINED (UINT64_C(0xff) | BIT64(10) | BIT64(11))
#define PAT_UC_MINUS UINT64_C(7)
#define NO_EXTRA UINT64_C(0)

static bool mtrrs_valid(const struct check *c) {
	const struct vcpu_record *r = c->r;
	uint64_t pages = MASK64(c->limits->phys_bits - 1u, 12);
	if ((r->mtrr_def_type & ~MTRR_DEF_DEFINED) != 0 || !memory_type_valid(r->mtrr_def_type & 0xff))
		return false;
	for (unsigned i = 0; i < VCPU_RECORD_MTRR_VARIABLE; i++) {
		if ((r->mtrr_base[i] & ~(pages | 0xff)) != 0 || !memory_type_valid(r->mtrr_base[i] & 0xff))
			return false;
		if ((r->mtrr_mask[i] & ~(pages | BIT64(11))) != 0) return false;
	}
	for (unsigned i = 0; i < VCPU_RECORD_MTRR_FIXED; i++)
		if (!types_valid(r->mtrr_fixed[i], NO_EXTRA)) return false;
	return true;
}

static const char *msrs_check(const struct check *c) {
	const struct vcpu_record *r = c->r;
	const uint64_t address[] = {r->lstar, r->cstar, r->kernel_gs_base, r->sysenter_esp, r->sysenter_eip};
	for (unsigned i = 0; i < array_count(address); i++)
		if (!canonical(c, address[i])) return "an address in an MSR";
	if (r->sfmask > UINT32_MAX || r->tsc_aux > UINT32_MAX) return "an MSR of 32 bits";
	if (!types_valid(r->pat, PAT_UC_MINUS)) return "pat";
	if (!mtrrs_valid(c)) return "mtrr";
	return NULL;
}

// ---- events -----------------------------------------------------------------------------------------------------

static bool event_valid(const struct vcpu_record_event *e, bool waits_for_entry) {
	for (unsigned i = 0; i < array_count(e->reserved); i++)
		if (e->reserved[i] != 0) return false;
	if (e->valid > 1 || e->has_error > 1) return false;
	if (e->valid == 0) return true;
	switch (e->type) {
	case EVENT_IRQ: return waits_for_entry && e->has_error == 0;
	case EVENT_NMI: return waits_for_entry && e->vector == VEC_NMI && e->has_error == 0;
	case EVENT_EXCEPTION: return e->vector < 32 && e->vector != VEC_NMI;
	case EVENT_SOFT_IRQ: return e->insn_len > 0 && e->insn_len <= 15 && e->has_error == 0;
	case EVENT_SOFT_EXCEPTION:
		return e->insn_len > 0 && e->insn_len <= 15 && (e->vector == VEC_BP || e->vector == VEC_OF);
	default: return false;
	}
}

static const char *events_check(const struct check *c) {
	const struct vcpu_record *r = c->r;
	const uint8_t shadow = r->blocking & (GUEST_BLOCK_STI | GUEST_BLOCK_MOV_SS);
	if (!event_valid(&r->injected, true)) return "injected event";
	if (!event_valid(&r->exception, false)) return "exception";
	if ((r->blocking & ~(GUEST_BLOCK_STI | GUEST_BLOCK_MOV_SS | GUEST_BLOCK_NMI)) != 0) return "blocking";
	if (shadow == (GUEST_BLOCK_STI | GUEST_BLOCK_MOV_SS)) return "blocking";
	if (shadow == GUEST_BLOCK_STI && (r->rflags & RFLAGS_IF) == 0) return "blocking"; // 26.3.1.5
	if ((r->debug_pending & ~DEBUG_PENDING_DEFINED) != 0) return "debug_pending";
	if (r->irq_taken > 1 || r->nmi_pending > 1 || r->reserved != 0) return "interrupts";
	if (r->run < VCPU_RECORD_READY || r->run > VCPU_RECORD_WAIT_SIPI) return "run";
	return NULL;
}

// ---- the FPU ----------------------------------------------------------------------------------------------------

bool vcpu_record_xcr0_valid(uint64_t value, uint64_t allowed) {
	const uint64_t avx512 = XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM, mpx = XCR0_BNDREGS | XCR0_BNDCSR;
	if ((value & ~(allowed | XCR0_X87)) != 0 || (value & XCR0_X87) == 0) return false;
	if ((value & XCR0_AVX) != 0 && (value & XCR0_SSE) == 0) return false;
	if ((value & avx512) != 0 && ((value & avx512) != avx512 || (value & XCR0_AVX) == 0)) return false;
	return (value & mpx) == 0 || (value & mpx) == mpx;
}

// What XRSTOR would refuse with #GP (SDM vol. 1, 13.8), which here would be a fault of the hypervisor.
static const char *fpu_check(const struct check *c) {
	const struct vcpu_record *r = c->r;
	const uint8_t *area = r->xsave;
	if (r->xsave_bytes != c->limits->xsave_bytes) return "xsave_bytes";
	if ((le32(area + FXSAVE_MXCSR) & ~vcpu_record_mxcsr_mask(area)) != 0) return "mxcsr";
	if (c->limits->xstate == 0) return NULL;
	if ((le64(area + FXSAVE_BYTES) & ~c->limits->xstate) != 0) return "xsave header";
	for (unsigned at = 8; at < XSAVE_HEADER_BYTES; at += 8)
		if (le64(area + FXSAVE_BYTES + at) != 0) return "xsave header";
	return NULL;
}

int vcpu_record_check(const struct vcpu_record *record, uint64_t bytes,
                      const struct vcpu_record_limits *limits, const char **field) {
	static const char *(*const part[])(const struct check *) = {control_check, flow_check,   segments_check,
	                                                            msrs_check,    events_check, fpu_check};
	const char *none;
	if (field == NULL) field = &none;
	*field = "length";
	if (bytes < sizeof *record) return -ERR_TRUNC;
	*field = "version";
	if (record->version != VCPU_RECORD_VERSION) return -ERR_VERSION;
	*field = "length";
	if (record->bytes != bytes || bytes - sizeof *record != limits->xsave_bytes) return -ERR_TRUNC;
	struct check c = {.r = record, .limits = limits};
	c.long_mode = (record->efer & EFER_LMA) != 0;
	c.code64 = c.long_mode && (record->seg[SEG_CS].access & SEG_L) != 0;
	c.real = (record->cr0 & CR0_PE) == 0;
	c.v86 = !c.real && (record->rflags & RFLAGS_VM) != 0;
	for (unsigned i = 0; i < array_count(part); i++) {
		*field = part[i](&c);
		if (*field != NULL) return -ERR_FORMAT;
	}
	return 0;
}
