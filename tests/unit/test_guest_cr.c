// SPDX-License-Identifier: Apache-2.0
// arch/x86/guest/cr.c: which values a control register takes, and arch/x86/guest/cpuid.c: what a guest is never
// offered, on whatever CPU the test runs.
#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "kernel/clock.h"
#include "kernel/vintc.h"
#include "tests/unit/support.h"

static struct vm vm;
static struct arch_vm arch_vm;
static struct vcpu vcpu;
static struct arch_vcpu arch;
static struct guest_paging state_now;
static unsigned flushes, skips;
static int raised; // vector of the last exception, -1: none
static uint8_t tpr;

static void paging_get(const struct vcpu *v, struct guest_paging *out) {
	(void)v;
	*out = state_now;
}
static void sregs_get(const struct vcpu *v, struct guest_sregs *out) {
	(void)v;
	*out = (struct guest_sregs){
	    .cr0 = state_now.cr0, .cr3 = state_now.cr3, .cr4 = state_now.cr4, .efer = state_now.efer};
}
static void cr0_set(struct vcpu *v, uint64_t cr0) {
	(void)v;
	state_now.cr0 = cr0;
}
static void cr3_set(struct vcpu *v, uint64_t cr3) {
	(void)v;
	state_now.cr3 = cr3;
}
static void cr4_set(struct vcpu *v, uint64_t cr4) {
	(void)v;
	state_now.cr4 = cr4;
}
static void efer_set(struct vcpu *v, uint64_t efer) {
	(void)v;
	state_now.efer = efer;
}
static void flush(struct vcpu *v) {
	(void)v;
	flushes++;
}
struct vendor_ops ops[1] = {{.paging_get = paging_get,
                             .sregs_get = sregs_get,
                             .cr0_set = cr0_set,
                             .cr3_set = cr3_set,
                             .cr4_set = cr4_set,
                             .efer_set = efer_set,
                             .flush = flush}};

uint64_t clock_tsc_khz(void) { return 1000000; }
void guest_exception(struct vcpu *v, uint8_t vector) {
	(void)v;
	raised = vector;
}
void guest_exception_error(struct vcpu *v, uint8_t vector, uint32_t error) {
	(void)v;
	assert_int_equal(error, 0);
	raised = vector;
}
void guest_skip(struct vcpu *v, const struct exit *exit) {
	(void)v;
	(void)exit;
	skips++;
}
bool guest_decode(struct vcpu *v, struct emul_insn *insn) {
	(void)v;
	(void)insn;
	abort();
}
bool guest_operand_read(struct vcpu *v, const struct emul_insn *insn, void *dst, unsigned bytes) {
	(void)v;
	(void)insn;
	(void)dst;
	(void)bytes;
	abort();
}
bool guest_operand_write(struct vcpu *v, const struct emul_insn *insn, const void *src, unsigned bytes) {
	(void)v;
	(void)insn;
	(void)src;
	(void)bytes;
	abort();
}
uint8_t vlapic_cr8_read(const struct vdev *vlapic) {
	(void)vlapic;
	return tpr;
}
void vlapic_cr8_write(struct vdev *vlapic, uint8_t cr8) {
	(void)vlapic;
	tpr = cr8;
}

static int setup(void **state) {
	(void)state;
	features_read();
	features.phys_bits = 40;
	vm = (struct vm){.arch = &arch_vm};
	arch = (struct arch_vcpu){.vcpu = &vcpu};
	vcpu = (struct vcpu){.vm = &vm, .arch = &arch};
	cpuid_build(&arch_vm.cpuid, 1);
	state_now = (struct guest_paging){.cr0 = CR0_PE | CR0_ET, .cs_access = SEG_DB};
	flushes = skips = 0;
	raised = -1;
	return 0;
}

static void long_mode(void) {
	state_now.cr0 |= CR0_PG;
	state_now.cr4 = CR4_PAE;
	state_now.efer = EFER_LME | EFER_LMA;
	state_now.cs_access = SEG_L;
}

// ---- CR0 ---------------------------------------------------------------------------------------------------------

static void cr0_write_invalid_combinations_are_refused(void **state) {
	(void)state;
	assert_false(cr0_write(&vcpu, CR0_PG));
	assert_false(cr0_write(&vcpu, CR0_PE | CR0_NW));
	assert_false(cr0_write(&vcpu, CR0_PE | BIT64(32)));
	assert_int_equal(state_now.cr0, CR0_PE | CR0_ET);
	assert_true(cr0_write(&vcpu, CR0_PE | CR0_NW | CR0_CD));
	assert_true(cr0_write(&vcpu, CR0_PE | BIT64(15))); // undefined low bits do not stick
	assert_int_equal(state_now.cr0, CR0_PE | CR0_ET);
}

static void cr0_write_long_mode_goes_on_and_off_with_paging(void **state) {
	(void)state;
	state_now.efer = EFER_LME;
	assert_false(cr0_write(&vcpu, CR0_PE | CR0_PG)); // without PAE
	state_now.cr4 = CR4_PAE;
	state_now.cs_access = SEG_L;
	assert_false(cr0_write(&vcpu, CR0_PE | CR0_PG)); // from a 64-bit segment
	assert_int_equal(state_now.efer, EFER_LME);
	state_now.cs_access = SEG_DB;
	assert_true(cr0_write(&vcpu, CR0_PE | CR0_PG));
	assert_int_equal(state_now.efer, EFER_LME | EFER_LMA);
	assert_true(flushes > 0);
	state_now.cs_access = SEG_L;
	assert_false(cr0_write(&vcpu, CR0_PE)); // out of 64-bit code
	assert_int_equal(state_now.efer, EFER_LME | EFER_LMA);
	state_now.cs_access = SEG_DB;
	assert_true(cr0_write(&vcpu, CR0_PE));
	assert_int_equal(state_now.efer, EFER_LME);
}

// ---- CR3, CR4, EFER ----------------------------------------------------------------------------------------------

static void cr3_write_beyond_the_physical_address_is_refused_in_long_mode(void **state) {
	(void)state;
	long_mode();
	assert_true(cr3_write(&vcpu, BIT64(39)));
	assert_false(cr3_write(&vcpu, BIT64(40)));
	assert_false(cr3_write(&vcpu, BIT64(63))); // PCID is not offered
}

static void cr4_write_takes_what_cpuid_offers(void **state) {
	(void)state;
	const uint64_t never = CR4_VMXE | CR4_SMXE | CR4_PCIDE | CR4_PKE | CR4_LA57 | BIT64(23) /* CET */;
	for (unsigned i = 0; i < 64; i++) {
		bool allowed = (cr4_allowed(&vcpu) & BIT64(i)) != 0;
		assert_int_equal(cr4_write(&vcpu, BIT64(i)), allowed);
		if ((never & BIT64(i)) != 0) assert_false(allowed);
	}
	long_mode();
	assert_false(cr4_write(&vcpu, 0)); // PAE stays in long mode
	assert_true(cr4_write(&vcpu, CR4_PAE | CR4_PGE));
}

static void efer_write_keeps_lma_and_refuses_svme(void **state) {
	(void)state;
	assert_false(efer_write(&vcpu, EFER_SVME));
	assert_false(efer_write(&vcpu, EFER_LMSLE));
	assert_false(efer_write(&vcpu, EFER_TCE));
	assert_false(efer_write(&vcpu, EFER_AIBRSE));
	assert_true(efer_write(&vcpu, EFER_LME | EFER_LMA));
	assert_int_equal(state_now.efer, EFER_LME);
	long_mode();
	assert_false(efer_write(&vcpu, 0)); // LME while paging is on
	assert_true(efer_write(&vcpu, EFER_LME | EFER_SCE));
	assert_int_equal(state_now.efer, EFER_LME | EFER_LMA | EFER_SCE);
}

// ---- exits -------------------------------------------------------------------------------------------------------

static void cr_exit_cr8_is_the_tpr(void **state) {
	(void)state;
	long_mode();
	arch.gpr[GPR_RBX] = 9;
	struct exit x = {.insn_len = 3, .cr = {.op = EXIT_CR_WRITE, .reg = 8, .gpr = GPR_RBX}};
	cr_exit(&vcpu, &x);
	assert_int_equal(tpr, 9);
	x.cr.op = EXIT_CR_READ;
	x.cr.gpr = GPR_R15;
	cr_exit(&vcpu, &x);
	assert_int_equal(arch.gpr[GPR_R15], 9);
	assert_int_equal(skips, 2);
	arch.gpr[GPR_RBX] = 16;
	x.cr.op = EXIT_CR_WRITE;
	x.cr.gpr = GPR_RBX;
	cr_exit(&vcpu, &x);
	assert_int_equal(raised, VEC_GP);
	assert_int_equal(tpr, 9);
}

static void cr_exit_lmsw_cannot_clear_pe(void **state) {
	(void)state;
	state_now.cr0 |= CR0_EM | CR0_WP;
	cr_exit(&vcpu, &(struct exit){.insn_len = 3, .cr = {.op = EXIT_CR_LMSW, .lmsw = 0xfff0 | 8}});
	assert_int_equal(state_now.cr0, CR0_PE | CR0_ET | CR0_WP | CR0_TS);
	cr_exit(&vcpu, &(struct exit){.insn_len = 2, .cr = {.op = EXIT_CR_CLTS}});
	assert_int_equal(state_now.cr0, CR0_PE | CR0_ET | CR0_WP);
	assert_int_equal(raised, -1);
}

static void xsetbv_exit_faults_before_it_reaches_the_cpu(void **state) {
	(void)state;
	const struct exit x = {.insn_len = 3};
	arch.gpr[GPR_RAX] = XCR0_X87;
	xsetbv_exit(&vcpu, &x);
	assert_int_equal(raised, VEC_UD); // CR4.OSXSAVE is off
	state_now.cr4 = CR4_OSXSAVE;
	static const struct {
		uint64_t index, value;
		uint8_t cpl;
	} refused[] = {
	    {0, XCR0_X87, 3},
	    {1, XCR0_X87, 0},
	    {0, 0, 0},
	    {0, XCR0_SSE, 0},
	    {0, XCR0_X87 | XCR0_AVX, 0},
	    {0, XCR0_X87 | XCR0_SSE | XCR0_BNDREGS, 0},
	    {0, XCR0_X87 | XCR0_SSE | XCR0_PKRU, 0},
	    {0, XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK, 0},
	    {0, XCR0_X87 | BIT64(63), 0},
	};
	for (unsigned i = 0; i < array_count(refused); i++) {
		raised = -1;
		arch.gpr[GPR_RCX] = refused[i].index;
		arch.gpr[GPR_RAX] = (uint32_t)refused[i].value;
		arch.gpr[GPR_RDX] = refused[i].value >> 32;
		state_now.cpl = refused[i].cpl;
		xsetbv_exit(&vcpu, &x);
		assert_int_equal(raised, VEC_GP);
	}
	assert_int_equal(skips, 0);
}

// ---- CPUID -------------------------------------------------------------------------------------------------------

static void cpuid_build_never_offers_what_is_not_there(void **state) {
	(void)state;
	const struct cpuid_model *m = &arch_vm.cpuid;
	const struct cpuid_entry *one = cpuid_find(m, 1, 0), *seven = cpuid_find(m, 7, 0);
	assert_non_null(one);
	// MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM, PCID, OSXSAVE (the guest's own CR4 says that).
	assert_int_equal(one->ecx & (BIT32(3) | BIT32(4) | BIT32(5) | BIT32(6) | BIT32(7) | BIT32(8) | BIT32(15) |
	                             BIT32(17) | CPUID1_ECX_OSXSAVE),
	                 0);
	assert_true((one->ecx & CPUID1_ECX_HYPERVISOR) != 0);
	if (seven != NULL) {
		assert_int_equal(seven->ebx & (BIT32(2) | BIT32(4) | BIT32(10) | BIT32(11) | BIT32(12) | BIT32(14) |
		                               BIT32(15) | BIT32(25)), // SGX HLE INVPCID RTM PQM MPX PQE PT
		                 0);
		assert_int_equal(seven->ecx & (BIT32(3) | BIT32(4) | BIT32(5) | BIT32(7) | BIT32(16)),
		                 0);                                                               // PKU.. LA57
		assert_int_equal(seven->edx & (BIT32(26) | BIT32(27) | BIT32(29) | BIT32(31)), 0); // SPEC_CTRL ..
	}
	const struct cpuid_entry *ext = cpuid_find(m, 0x80000001u, 0);
	if (ext != NULL)
		assert_int_equal(ext->ecx & (BIT32(2) | BIT32(12) | BIT32(27) | BIT32(29)), 0); // SVM SKINIT ..
	assert_int_equal(cpuid_xcr0_mask(m) & ~GUEST_XSTATE, 0);
	assert_null(cpuid_find(m, 0x8000000au, 0));
	assert_null(cpuid_find(m, 0xa, 0)); // performance counters
}

static void cpuid_build_every_entry_is_found_once_and_in_range(void **state) {
	(void)state;
	for (unsigned vcpus = 1; vcpus <= 64; vcpus *= 2) {
		struct cpuid_model m;
		cpuid_build(&m, vcpus);
		for (uint32_t i = 0; i < m.count; i++) {
			const struct cpuid_entry *e = &m.entry[i];
			assert_ptr_equal(cpuid_find(&m, e->leaf, e->subleaf), e);
			uint32_t most = e->leaf >= 0x80000000u   ? m.max_extended
			                : e->leaf >= 0x40000000u ? m.max_hypervisor
			                                         : m.max_basic;
			assert_true(e->leaf <= most);
		}
	}
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
	    CASE(cr0_write_invalid_combinations_are_refused),
	    CASE(cr0_write_long_mode_goes_on_and_off_with_paging),
	    CASE(cr3_write_beyond_the_physical_address_is_refused_in_long_mode),
	    CASE(cr4_write_takes_what_cpuid_offers),
	    CASE(efer_write_keeps_lma_and_refuses_svme),
	    CASE(cr_exit_cr8_is_the_tpr),
	    CASE(cr_exit_lmsw_cannot_clear_pe),
	    CASE(xsetbv_exit_faults_before_it_reaches_the_cpu),
	    CASE(cpuid_build_never_offers_what_is_not_there),
	    CASE(cpuid_build_every_entry_is_found_once_and_in_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
