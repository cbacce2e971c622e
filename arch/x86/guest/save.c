// SPDX-License-Identifier: Apache-2.0
// A vCPU into its record and back. What backends and emulators may keep differently is written in one form here:
// code and data segments in use are accessed, SS.DPL is the CPL, fixed bits of DR6 and DR7 are set, reserved ones
// and MXCSR's clear. Loading starts from the reset state, so nothing of what was there before stays.
#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/record.h"
#include "kernel/arch.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

_Static_assert(VCPU_RECORD_MTRR_VARIABLE == MTRR_VAR_MAX, "the record holds all of them");
_Static_assert(VCPU_RECORD_MTRR_FIXED == array_count(((struct guest_mtrr *)NULL)->fixed), "the same");

// MSRs that the backend holds.
static const struct {
	uint32_t msr;
	uint32_t at; // offset in the record
} backend_msr[] = {
    {MSR_STAR, offsetof(struct vcpu_record, star)},
    {MSR_LSTAR, offsetof(struct vcpu_record, lstar)},
    {MSR_CSTAR, offsetof(struct vcpu_record, cstar)},
    {MSR_SFMASK, offsetof(struct vcpu_record, sfmask)},
    {MSR_KERNEL_GS_BASE, offsetof(struct vcpu_record, kernel_gs_base)},
    {MSR_SYSENTER_CS, offsetof(struct vcpu_record, sysenter_cs)},
    {MSR_SYSENTER_ESP, offsetof(struct vcpu_record, sysenter_esp)},
    {MSR_SYSENTER_EIP, offsetof(struct vcpu_record, sysenter_eip)},
};

// The record holds them as struct guest_sregs does.
#define SREGS_AT offsetof(struct vcpu_record, seg)
_Static_assert(sizeof(struct vcpu_record_segment) == sizeof(struct guest_segment) &&
                   offsetof(struct vcpu_record_segment, limit) == offsetof(struct guest_segment, limit) &&
                   offsetof(struct vcpu_record_segment, access) == offsetof(struct guest_segment, access) &&
                   offsetof(struct vcpu_record_segment, selector) ==
                       offsetof(struct guest_segment, selector) &&
                   offsetof(struct vcpu_record, idt) - SREGS_AT == offsetof(struct guest_sregs, idt) &&
                   offsetof(struct vcpu_record, efer) - SREGS_AT == offsetof(struct guest_sregs, efer) &&
                   offsetof(struct vcpu_record, dr) - SREGS_AT == sizeof(struct guest_sregs),
               "the same layout");

// What the record holds as struct arch_vcpu does.
#define SAME(own, in_record)                                                                                 \
	{                                                                                                        \
		offsetof(struct arch_vcpu, own), offsetof(struct vcpu_record, in_record),                            \
		    sizeof(                                                                                          \
		        char[sizeof((struct arch_vcpu *)NULL)->own == sizeof((struct vcpu_record *)NULL)->in_record  \
		                 ? (int)sizeof((struct vcpu_record *)NULL)->in_record                                \
		                 : -1])                                                                              \
	}
static const struct {
	uint16_t own, in_record, bytes;
} same[] = {
    SAME(gpr, gpr),
    SAME(dr, dr),
    SAME(xcr0, xcr0),
    SAME(pat, pat),
    SAME(tsc_aux, tsc_aux),
    SAME(tsc_adjust, tsc_adjust),
    SAME(misc_enable, misc_enable),
    SAME(mcg_status, mcg_status),
    SAME(hwcr, hwcr),
    SAME(system_time_msr, system_time),
    SAME(wall_clock_msr, wall_clock),
    SAME(system_time_version, system_time_version),
    SAME(mtrr.def_type, mtrr_def_type),
    SAME(mtrr.base, mtrr_base),
    SAME(mtrr.mask, mtrr_mask),
    SAME(mtrr.fixed, mtrr_fixed),
    SAME(irq_vector, irq_vector),
};

static void same_copy(void *to, const void *from, bool load) {
	for (unsigned i = 0; i < array_count(same); i++)
		memcpy((uint8_t *)to + (load ? same[i].own : same[i].in_record),
		       (const uint8_t *)from + (load ? same[i].in_record : same[i].own), same[i].bytes);
}

uint32_t arch_vcpu_record_bytes(void) { return (uint32_t)sizeof(struct vcpu_record) + features.xsave_bytes; }
uint16_t arch_vcpu_record_version(void) { return VCPU_RECORD_VERSION; }

// ---- saving -----------------------------------------------------------------------------------------------------

// The form that VMRUN and VMLOAD give every address (APM vol. 2, 15.5.1); emulators let a guest hold others.
static uint64_t canonical_form(uint64_t address) {
	unsigned unused = 64u - features.virt_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused);
}

static struct vcpu_record_segment segment_save(const struct guest_segment *s, unsigned n, uint8_t cpl) {
	struct vcpu_record_segment out = {
	    .base = s->base, .limit = s->limit, .access = s->access, .selector = s->selector};
	if (n >= SEG_FS) out.base = canonical_form(out.base);
	if (n == SEG_SS) out.access = (out.access & ~(3u << SEG_DPL_SHIFT)) | (uint32_t)cpl << SEG_DPL_SHIFT;
	if ((out.access & SEG_P) == 0) out.access |= SEG_UNUSABLE;
	if ((out.access & SEG_UNUSABLE) != 0) return out;
	if (n < SEG_LDTR) out.access |= SEG_TYPE_ACCESSED;
	if (out.limit > 0xfffffu) {
		out.access |= SEG_G;
		out.limit |= 0xfffu;
	} else if ((out.limit & 0xfffu) != 0xfffu) {
		out.access &= ~SEG_G;
	}
	return out;
}

static void sregs_save(const struct vcpu *vcpu, struct vcpu_record *r) {
	struct guest_sregs s;
	ops->sregs_get(vcpu, &s);
	memcpy((uint8_t *)r + SREGS_AT, &s,
	       sizeof s); // what the structures have no names for is written again below
	r->cpl = ops->cpl_get(vcpu);
	for (unsigned n = 0; n < SEG_COUNT; n++) r->seg[n] = segment_save(&s.seg[n], n, r->cpl);
	r->gdt = (struct vcpu_record_table){.base = canonical_form(s.gdt.base), .limit = s.gdt.limit};
	r->idt = (struct vcpu_record_table){.base = canonical_form(s.idt.base), .limit = s.idt.limit};
}

static void msrs_save(const struct vcpu *vcpu, struct vcpu_record *r) {
	for (unsigned i = 0; i < array_count(backend_msr); i++) {
		uint64_t value = 0;
		(void)ops->msr_get(vcpu, backend_msr[i].msr, &value);
		put_le64((uint8_t *)r + backend_msr[i].at, value);
	}
	uint64_t *const address[] = {&r->lstar, &r->cstar, &r->kernel_gs_base, &r->sysenter_esp,
	                             &r->sysenter_eip};
	for (unsigned i = 0; i < array_count(address); i++) *address[i] = canonical_form(*address[i]);
	r->sfmask &= UINT32_MAX;
}

static struct vcpu_record_event event_save(bool valid, const struct guest_event *e) {
	if (!valid) return (struct vcpu_record_event){.valid = 0};
	return (struct vcpu_record_event){
	    .error = e->error,
	    .valid = 1,
	    .type = e->type,
	    .vector = e->vector,
	    .has_error = e->has_error,
	    .insn_len = e->insn_len,
	};
}

static void events_save(const struct vcpu *vcpu, struct vcpu_record *r) {
	const struct arch_vcpu *a = vcpu->arch;
	struct guest_event waiting;
	bool waits = ops->event_get(vcpu, &waiting);
	r->injected = event_save(waits, &waiting);
	r->exception = event_save(a->exception.valid, &a->exception.event);
	r->debug_pending = ops->debug_pending_get(vcpu);
	r->blocking = ops->blocking_get(vcpu);
	r->irq_taken = a->irq_taken;
	r->nmi_pending = a->nmi_pending;
	r->run = vcpu->state == VCPU_BLOCKED     ? VCPU_RECORD_HALTED
	         : vcpu->state == VCPU_WAIT_SIPI ? VCPU_RECORD_WAIT_SIPI
	                                         : VCPU_RECORD_READY;
}

void arch_vcpu_record_save(struct vcpu *vcpu, void *record) {
	const struct arch_vcpu *a = vcpu->arch;
	struct vcpu_record *r = record;
	*r = (struct vcpu_record){.version = VCPU_RECORD_VERSION, .bytes = arch_vcpu_record_bytes()};
	same_copy(r, a, false);
	r->gpr[GPR_RSP] = ops->rsp_get(vcpu);
	r->rip = ops->rip_get(vcpu);
	r->rflags = ops->rflags_get(vcpu);
	sregs_save(vcpu, r);
	r->dr6 = (ops->dr6_get(vcpu) & DR6_DEFINED) | DR6_FIXED;
	r->dr7 = (ops->dr7_get(vcpu) & ~DR7_RESERVED) | DR7_FIXED;
	r->tsc = vm_guest_tsc(vcpu->vm);
	msrs_save(vcpu, r);
	events_save(vcpu, r);
	r->xsave_bytes = features.xsave_bytes;
	memcpy(r->xsave, a->fpu, features.xsave_bytes);
	put_le32(r->xsave + FXSAVE_MXCSR, le32(r->xsave + FXSAVE_MXCSR) & vcpu_record_mxcsr_mask(r->xsave));
}

// ---- loading ----------------------------------------------------------------------------------------------------

int arch_vcpu_record_check(const struct vcpu *vcpu, const void *record, uint32_t bytes) {
	const struct vcpu_record_limits limits = {
	    .cr4 = cr4_allowed(vcpu),
	    .efer = efer_allowed(vcpu),
	    .xcr0 = cpuid_xcr0_mask(&vcpu->vm->arch->cpuid),
	    .xstate = features.xsave ? features.xcr0_mask & GUEST_XSTATE : 0,
	    .xsave_bytes = features.xsave_bytes,
	    .phys_bits = features.phys_bits,
	    .virt_bits = features.virt_bits,
	};
	const char *field;
	int err = vcpu_record_check(record, bytes, &limits, &field);
	if (err < 0) log_warn("save", "vm=%u vcpu=%u record refused: %s", vcpu->vm->id, vcpu->id, field);
	return err;
}

static void sregs_load(struct vcpu *vcpu, const struct vcpu_record *r) {
	struct guest_sregs s;
	memcpy(&s, (const uint8_t *)r + SREGS_AT, sizeof s);
	ops->sregs_set(vcpu, &s);
}

static void msrs_load(struct vcpu *vcpu, const struct vcpu_record *r) {
	for (unsigned i = 0; i < array_count(backend_msr); i++)
		(void)ops->msr_set(vcpu, backend_msr[i].msr, le64((const uint8_t *)r + backend_msr[i].at));
	(void)ops->msr_set(vcpu, MSR_PAT, r->pat);
}

static struct guest_event event_load(const struct vcpu_record_event *e) {
	return (struct guest_event){.type = e->type,
	                            .vector = e->vector,
	                            .has_error = e->has_error != 0,
	                            .insn_len = e->insn_len,
	                            .error = e->error};
}

static void events_load(struct vcpu *vcpu, const struct vcpu_record *r) {
	static const enum vcpu_state state[] = {[VCPU_RECORD_READY] = VCPU_READY,
	                                        [VCPU_RECORD_HALTED] = VCPU_BLOCKED,
	                                        [VCPU_RECORD_WAIT_SIPI] = VCPU_WAIT_SIPI};
	struct arch_vcpu *a = vcpu->arch;
	struct guest_event waiting = event_load(&r->injected);
	a->exception =
	    (struct pending_exception){.valid = r->exception.valid != 0, .event = event_load(&r->exception)};
	a->irq_taken = r->irq_taken != 0;
	a->nmi_pending = r->nmi_pending != 0;
	ops->blocking_set(vcpu, r->blocking);
	ops->debug_pending_set(vcpu, r->debug_pending);
	if (r->injected.valid != 0) ops->inject(vcpu, &waiting); // after the blocking that it may begin
	vcpu->state = state[r->run];
}

int arch_vcpu_record_load(struct vcpu *vcpu, const void *record, uint32_t bytes) {
	const struct vcpu_record *r = record;
	struct arch_vcpu *a = vcpu->arch;
	int err = arch_vcpu_record_check(vcpu, record, bytes);
	if (err < 0) return err;
	ops->vcpu_reset(vcpu);
	sregs_load(vcpu, r);
	same_copy(a, r, true);
	ops->rsp_set(vcpu, r->gpr[GPR_RSP]);
	ops->rip_set(vcpu, r->rip);
	ops->rflags_set(vcpu, r->rflags);
	ops->dr6_set(vcpu, r->dr6);
	ops->dr7_set(vcpu, r->dr7);
	memcpy(a->fpu, r->xsave, features.xsave_bytes);
	msrs_load(vcpu, r);
	events_load(vcpu, r);
	for (unsigned i = 0; i < FETCH_WALKS; i++) a->fetch[i].linear_page = FETCH_WALK_NONE;
	uint64_t tsc_delta = r->tsc - vm_guest_tsc(vcpu->vm);
	if (tsc_delta != 0) arch_tsc_shift(vcpu->vm, tsc_delta);
	vcpu_request(vcpu, VCPU_REQ_EVENT | VCPU_REQ_FLUSH | VCPU_REQ_CLOCK);
	return 0;
}
