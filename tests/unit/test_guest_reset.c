// SPDX-License-Identifier: Apache-2.0
// The power-on state against the figures of the manuals' table (SDM vol. 3, 9-1; APM vol. 2, 14-1), given to a VMCB
// that was full of other things.
#include "arch/x86/guest/reset.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/svm/svm.h"
#include "kernel/memory.h"
#include "tests/unit/support.h"

struct svm_caps svm_caps;
struct cpu_features features;
struct guest_features guest_features;

// ---- neighbours --------------------------------------------------------------------------------------------------

struct vendor_ops ops[1] = {{
    .vcpu_reset = svm_vcpu_reset,
    .sregs_set = svm_sregs_set,
    .rip_set = svm_rip_set,
    .rflags_set = svm_rflags_set,
    .dr6_set = svm_dr6_set,
    .dr7_set = svm_dr7_set,
    .msr_set = svm_msr_set,
}};

int memory_pool_pages(uint64_t pages, hpa_t *first) {
	(void)pages;
	(void)first;
	return -1;
}
void memory_pool_pages_free(hpa_t first, uint64_t pages) {
	(void)first;
	(void)pages;
}
int memory_object(uint64_t bytes, void **object) {
	(void)bytes;
	(void)object;
	return -1;
}
void memory_object_free(void *object, uint64_t bytes) {
	(void)object;
	(void)bytes;
}
uint64_t svm_host_vmcb_pa(void) { return 0; }
uint64_t svm_iopm_pa(void) { return 0; }
uint64_t svm_msrpm_pa(void) { return 0; }

// ------------------------------------------------------------------------------------------------------------------

static struct vm vm;
static struct vmcb vmcb;
static struct svm_vcpu svm = {.vmcb = &vmcb};
static struct arch_vcpu arch = {.vendor = &svm, .block = &vmcb};
static struct vcpu vcpu = {.vm = &vm, .arch = &arch};

static int setup(void **state) {
	(void)state;
	memset(&vmcb, 0xa5, sizeof vmcb);
	svm.stepping = svm.nmi_masked = true;
	reset_registers(&vcpu);
	return 0;
}

static void reset_registers_segments_are_those_of_the_table(void **state) {
	(void)state;
	for (unsigned n = 0; n < SEG_COUNT; n++) {
		struct guest_segment s;
		svm_seg_get(&vcpu, (enum guest_seg)n, &s);
		assert_int_equal(s.limit, 0xffff);
		assert_int_equal(s.base, n == SEG_CS ? 0xffff0000u : 0);
		assert_int_equal(s.selector, n == SEG_CS ? 0xf000 : 0);
		// Present, read and write, accessed; LDT; busy TSS.
		assert_int_equal(s.access, n == SEG_CS ? 0x9b : n == SEG_LDTR ? 0x82 : n == SEG_TR ? 0x8b : 0x93);
	}
	struct guest_sregs s;
	svm_sregs_get(&vcpu, &s);
	assert_int_equal(s.gdt.base | s.idt.base, 0);
	assert_int_equal(s.gdt.limit, 0xffff);
	assert_int_equal(s.idt.limit, 0xffff);
	assert_int_equal(svm_cpl_get(&vcpu), 0);
}

static void reset_registers_first_instruction_is_at_fffffff0(void **state) {
	(void)state;
	assert_int_equal(vmcb.cs.base + vmcb.rip, 0xfffffff0u);
	assert_int_equal(svm_rflags_get(&vcpu), 2);
	assert_int_equal(svm_rsp_get(&vcpu), 0);
}

static void reset_registers_control_and_debug_registers(void **state) {
	(void)state;
	struct guest_sregs s;
	uint64_t pat;
	svm_sregs_get(&vcpu, &s);
	assert_int_equal(s.cr0, 0x60000010u);
	assert_int_equal(s.cr2 | s.cr3 | s.cr4 | s.efer, 0);
	assert_int_equal(svm_dr6_get(&vcpu), 0xffff0ff0u);
	assert_int_equal(svm_dr7_get(&vcpu), 0x400);
	assert_true(svm_msr_get(&vcpu, MSR_PAT, &pat));
	assert_int_equal(pat, UINT64_C(0x0007040600070406));
}

static void reset_registers_keep_the_cache_on(void **state) {
	(void)state;
	assert_int_equal(vmcb.cr0 & (CR0_CD | CR0_NW), 0);
	assert_true((vmcb.intercept_cr_read & 1) != 0); // the guest reads them as set
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(reset_registers_segments_are_those_of_the_table, setup),
	    cmocka_unit_test_setup(reset_registers_first_instruction_is_at_fffffff0, setup),
	    cmocka_unit_test_setup(reset_registers_control_and_debug_registers, setup),
	    cmocka_unit_test_setup(reset_registers_keep_the_cache_on, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
