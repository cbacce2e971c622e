// SPDX-License-Identifier: Apache-2.0
// What a vCPU's record may hold: good states of every mode pass, each wrong field is named, and no random damage
// makes the check read outside the record or accept what an entry would refuse.
#include "arch/x86/guest/record.h"
#include "kernel/lib/err.h"
#include "tests/unit/support.h"

#define AREA_BYTES 832u // x87, SSE, AVX
#define RECORD_BYTES (sizeof(struct vcpu_record) + AREA_BYTES)
#define FXSAVE_BYTES 512u
#define HIGH_HALF UINT64_C(0xffff800000000000)
#define NOT_CANONICAL UINT64_C(0x0000800000000000)
#define PAT_RESET UINT64_C(0x0007040600070406)

static const struct vcpu_record_limits limits = {
    .cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXSAVE | CR4_PSE | CR4_SMEP,
    .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
    .xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX,
    .xstate = XCR0_X87 | XCR0_SSE | XCR0_AVX,
    .xsave_bytes = AREA_BYTES,
    .phys_bits = 40,
    .virt_bits = 48,
};

// Segments as access words.
#define CODE64 (0xbu | SEG_S | SEG_P | SEG_L | SEG_G)
#define CODE32 (0xbu | SEG_S | SEG_P | SEG_DB | SEG_G)
#define DATA (0x3u | SEG_S | SEG_P | SEG_DB | SEG_G)
#define TSS_BUSY (0xbu | SEG_P)
#define LDT (0x2u | SEG_P)

static struct vcpu_record *record_new(void) {
	struct vcpu_record *r = calloc(1, RECORD_BYTES);
	assert_non_null(r);
	r->version = VCPU_RECORD_VERSION;
	r->bytes = RECORD_BYTES;
	r->rflags = RFLAGS_FIXED;
	r->cr0 = CR0_ET;
	r->dr6 = DR6_FIXED;
	r->dr7 = DR7_FIXED;
	r->xcr0 = XCR0_X87;
	r->pat = PAT_RESET;
	r->run = VCPU_RECORD_READY;
	r->xsave_bytes = AREA_BYTES;
	put_le32(r->xsave + FXSAVE_MXCSR, 0x1f80);
	for (unsigned n = 0; n < SEG_COUNT; n++)
		r->seg[n] = (struct vcpu_record_segment){.limit = 0xffff, .access = 0x93};
	r->seg[SEG_CS].access = 0x9b;
	r->seg[SEG_LDTR].access = LDT;
	r->seg[SEG_TR].access = TSS_BUSY;
	return r;
}

static struct vcpu_record *record_real(void) { return record_new(); }

static struct vcpu_record *record_protected(void) {
	struct vcpu_record *r = record_new();
	r->cr0 |= CR0_PE;
	for (unsigned n = 0; n < SEG_LDTR; n++)
		r->seg[n] = (struct vcpu_record_segment){
		    .limit = UINT32_MAX, .access = n == SEG_CS ? CODE32 : DATA, .selector = 8};
	return r;
}

static struct vcpu_record *record_v86(void) {
	struct vcpu_record *r = record_protected();
	r->rflags |= RFLAGS_VM;
	for (unsigned n = 0; n < SEG_LDTR; n++)
		r->seg[n] = (struct vcpu_record_segment){.limit = 0xffff, .access = 0xf3};
	r->cpl = 3;
	return r;
}

static struct vcpu_record *record_long(void) {
	struct vcpu_record *r = record_protected();
	r->cr0 |= CR0_PG;
	r->cr4 = CR4_PAE;
	r->efer = EFER_LME | EFER_LMA | EFER_SCE;
	r->rip = 0x401000;
	r->seg[SEG_CS].access = CODE64;
	r->seg[SEG_DS].access = SEG_UNUSABLE;
	r->seg[SEG_SS].access = SEG_UNUSABLE;
	r->seg[SEG_GS].base = HIGH_HALF;
	r->gdt.base = r->idt.base = HIGH_HALF;
	r->lstar = HIGH_HALF;
	return r;
}

typedef struct vcpu_record *maker(void);
static maker *const modes[] = {record_real, record_protected, record_v86, record_long};

static const char *named(struct vcpu_record *r, int expected) {
	const char *field = NULL;
	int err = vcpu_record_check(r, RECORD_BYTES, &limits, &field);
	if (err != expected) print_error("%d (%s), expected %d\n", err, field ? field : "-", expected);
	assert_int_equal(err, expected);
	free(r);
	return field;
}

static void record_check_good_states_pass(void **state) {
	(void)state;
	for (unsigned i = 0; i < array_count(modes); i++) assert_null(named(modes[i](), 0));
}

static void record_check_events_pass(void **state) {
	(void)state;
	struct vcpu_record *r = record_long();
	r->rip = HIGH_HALF;
	r->injected = (struct vcpu_record_event){.valid = 1, .type = EVENT_IRQ, .vector = 0xec};
	r->exception = (struct vcpu_record_event){
	    .valid = 1, .type = EVENT_EXCEPTION, .vector = VEC_PF, .has_error = 1, .error = 2};
	r->blocking = GUEST_BLOCK_MOV_SS | GUEST_BLOCK_NMI;
	r->debug_pending = DR6_BS;
	r->irq_taken = r->nmi_pending = 1;
	r->run = VCPU_RECORD_HALTED;
	assert_null(named(r, 0));
}

static void record_check_lengths_and_versions_are_told_apart(void **state) {
	(void)state;
	const char *field;
	struct vcpu_record *r = record_real();
	assert_int_equal(vcpu_record_check(r, sizeof *r - 1, &limits, &field), -ERR_TRUNC);
	assert_int_equal(vcpu_record_check(r, RECORD_BYTES - 1, &limits, NULL), -ERR_TRUNC);
	r->version++;
	assert_string_equal(named(r, -ERR_VERSION), "version");
	r = record_real();
	r->xsave_bytes--;
	assert_string_equal(named(r, -ERR_FORMAT), "xsave_bytes");
}

// One field of a good record is changed; the check names it.
#define WRONG(make, name, ...)                                                                               \
	do {                                                                                                     \
		struct vcpu_record *r = make();                                                                      \
		__VA_ARGS__;                                                                                         \
		assert_string_equal(named(r, -ERR_FORMAT), name);                                                    \
	} while (0)

static void record_check_modes_are_consistent(void **state) {
	(void)state;
	WRONG(record_long, "efer", r->efer &= ~EFER_LMA; r->rip = 0);
	WRONG(record_protected, "efer", r->efer = EFER_LMA | EFER_LME);
	WRONG(record_long, "efer", r->efer |= EFER_SVME);
	WRONG(record_long, "cr4", r->cr4 = 0);
	WRONG(record_long, "cr4", r->cr4 |= CR4_VMXE);
	WRONG(record_real, "cr0", r->cr0 |= CR0_PG);
	WRONG(record_real, "cr0", r->cr0 |= CR0_NW);
	WRONG(record_real, "cr0", r->cr0 |= BIT64(63));
	WRONG(record_long, "cr3", r->cr3 = BIT64(40));
	WRONG(record_long, "xcr0", r->xcr0 = XCR0_X87 | XCR0_AVX);
	WRONG(record_long, "xcr0", r->xcr0 = XCR0_SSE);
	WRONG(record_long, "xcr0", r->xcr0 |= XCR0_PKRU);
}

static void record_check_flow_is_sane(void **state) {
	(void)state;
	WRONG(record_long, "rip", r->rip = NOT_CANONICAL);
	WRONG(record_protected, "rip", r->rip = BIT64(32));
	WRONG(record_real, "rflags", r->rflags = 0);
	WRONG(record_real, "rflags", r->rflags |= BIT64(3));
	WRONG(record_long, "rflags", r->rflags |= RFLAGS_VM);
	WRONG(record_long, "dr", r->dr7 |= BIT64(32));
	WRONG(record_long, "dr", r->dr7 = 0);
	WRONG(record_long, "dr", r->dr6 |= BIT64(32));
}

static void record_check_segments_are_sane(void **state) {
	(void)state;
	WRONG(record_long, "cs", r->seg[SEG_CS].access |= SEG_DB);
	WRONG(record_long, "cs", r->seg[SEG_CS].access = DATA);
	WRONG(record_long, "cs", r->seg[SEG_CS].access = SEG_UNUSABLE);
	WRONG(record_long, "cs", r->seg[SEG_CS].base = BIT64(32));
	WRONG(record_protected, "ds", r->seg[SEG_DS].access = 0x8u | SEG_S | SEG_P | SEG_G); // not readable
	WRONG(record_protected, "ds", r->seg[SEG_DS].limit = 0xfff0); // G without its low bits
	WRONG(record_protected, "es", r->seg[SEG_ES].access |= BIT32(8));
	WRONG(record_protected, "es", r->seg[SEG_ES].reserved[2] = 1);
	WRONG(record_protected, "es", r->seg[SEG_ES].access &= ~SEG_P);
	WRONG(record_protected, "ss", r->seg[SEG_SS].access = CODE32);
	WRONG(record_long, "fs", r->seg[SEG_FS].base = NOT_CANONICAL);
	WRONG(record_long, "ldtr", r->seg[SEG_LDTR].access = TSS_BUSY);
	WRONG(record_long, "tr", r->seg[SEG_TR].access = SEG_UNUSABLE);
	WRONG(record_long, "tr", r->seg[SEG_TR].access = 3 | SEG_P); // of 16 bits
	WRONG(record_long, "cpl", r->cpl = 3);
	WRONG(record_v86, "cpl", r->cpl = 0; r->seg[SEG_SS].access = 0x93);
	WRONG(record_long, "descriptor tables", r->idt.base = NOT_CANONICAL);
	WRONG(record_long, "descriptor tables", r->gdt.reserved[0] = 1);
}

static void record_check_msrs_are_sane(void **state) {
	(void)state;
	WRONG(record_long, "an address in an MSR", r->lstar = NOT_CANONICAL);
	WRONG(record_long, "an address in an MSR", r->sysenter_eip = NOT_CANONICAL);
	WRONG(record_long, "an MSR of 32 bits", r->tsc_aux = BIT64(32));
	WRONG(record_long, "pat", r->pat = 2);
	WRONG(record_long, "mtrr", r->mtrr_def_type = 7);
	WRONG(record_long, "mtrr", r->mtrr_base[7] = BIT64(40));
	WRONG(record_long, "mtrr", r->mtrr_mask[0] = BIT64(0));
	WRONG(record_long, "mtrr", r->mtrr_fixed[10] = UINT64_C(3) << 56);
}

static void record_check_events_are_sane(void **state) {
	(void)state;
	WRONG(record_long, "injected event", r->injected.valid = 2);
	WRONG(record_long, "injected event", r->injected = (struct vcpu_record_event){.valid = 1, .type = 7});
	WRONG(record_long, "injected event", r->injected.reserved[6] = 1);
	WRONG(record_long, "exception", r->exception = (struct vcpu_record_event){.valid = 1, .type = EVENT_IRQ});
	WRONG(record_long, "exception",
	      r->exception = (struct vcpu_record_event){.valid = 1, .type = EVENT_EXCEPTION, .vector = 32});
	WRONG(record_long, "exception",
	      r->exception = (struct vcpu_record_event){.valid = 1, .type = EVENT_SOFT_IRQ, .vector = 0x80});
	WRONG(record_long, "blocking", r->blocking = GUEST_BLOCK_STI); // IF = 0
	WRONG(record_long, "blocking", r->blocking = 4);
	WRONG(record_long, "blocking", r->rflags |= RFLAGS_IF;
	      r->blocking = GUEST_BLOCK_STI | GUEST_BLOCK_MOV_SS);
	WRONG(record_long, "debug_pending", r->debug_pending = BIT64(16));
	WRONG(record_long, "interrupts", r->irq_taken = 2);
	WRONG(record_long, "interrupts", r->reserved = 1);
	WRONG(record_long, "run", r->run = 0);
	WRONG(record_long, "run", r->run = 4);
}

static void record_check_fpu_cannot_fault_the_host(void **state) {
	(void)state;
	WRONG(record_long, "mxcsr", put_le32(r->xsave + FXSAVE_MXCSR, BIT32(31)));
	WRONG(record_long, "mxcsr", put_le32(r->xsave + FXSAVE_MXCSR, BIT32(6))); // DAZ, which the mask lacks
	WRONG(record_long, "xsave header", put_le64(r->xsave + FXSAVE_BYTES, XCR0_PKRU));
	WRONG(record_long, "xsave header", put_le64(r->xsave + FXSAVE_BYTES + 8, BIT64(63))); // compacted
	WRONG(record_long, "xsave header", put_le64(r->xsave + FXSAVE_BYTES + 56, 1));
	struct vcpu_record *r = record_long();
	put_le32(r->xsave + FXSAVE_MXCSR_MASK, 0xffff);
	put_le32(r->xsave + FXSAVE_MXCSR, BIT32(6));
	put_le64(r->xsave + FXSAVE_BYTES, XCR0_X87 | XCR0_SSE | XCR0_AVX);
	assert_null(named(r, 0));
}

// The rules that would hurt the hypervisor itself, said a second time and simpler.
static void assert_harmless(const struct vcpu_record *r) {
	assert_true((r->efer & ~limits.efer) == 0 && (r->cr4 & ~limits.cr4) == 0 && (r->cr0 >> 32) == 0);
	assert_true(((r->efer & EFER_LMA) != 0) == ((r->efer & EFER_LME) != 0 && (r->cr0 & CR0_PG) != 0));
	assert_true((int64_t)(r->kernel_gs_base << 16) >> 16 == (int64_t)r->kernel_gs_base);
	assert_true(le64(r->xsave + FXSAVE_BYTES + 8) == 0);
	assert_true((r->dr7 >> 32) == 0 && (r->dr6 >> 32) == 0 && r->tsc_aux <= UINT32_MAX);
	assert_true(r->run >= VCPU_RECORD_READY && r->run <= VCPU_RECORD_WAIT_SIPI);
}

static void record_check_random_damage_is_judged(void **state) {
	(void)state;
	struct rng rng;
	unsigned passed = 0;
	rng_init(&rng, 20260101);
	for (unsigned round = 0; round < 200000; round++) {
		struct vcpu_record *r = modes[rng_below(&rng, array_count(modes))]();
		for (uint64_t n = 1 + rng_below(&rng, 3); n > 0; n--)
			((uint8_t *)r)[rng_below(&rng, RECORD_BYTES)] ^= (uint8_t)(1u << rng_below(&rng, 8));
		if (vcpu_record_check(r, RECORD_BYTES, &limits, NULL) == 0) {
			assert_harmless(r);
			passed++;
		}
		free(r);
	}
	assert_in_range(passed, 1000, 199000); // registers and the FPU's contents are free
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(record_check_good_states_pass),
	    cmocka_unit_test(record_check_events_pass),
	    cmocka_unit_test(record_check_lengths_and_versions_are_told_apart),
	    cmocka_unit_test(record_check_modes_are_consistent),
	    cmocka_unit_test(record_check_flow_is_sane),
	    cmocka_unit_test(record_check_segments_are_sane),
	    cmocka_unit_test(record_check_msrs_are_sane),
	    cmocka_unit_test(record_check_events_are_sane),
	    cmocka_unit_test(record_check_fpu_cannot_fault_the_host),
	    cmocka_unit_test(record_check_random_damage_is_judged),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
