// SPDX-License-Identifier: Apache-2.0
// Every exception raised by hand with its error code and CR2, all 256 vectors by INT n, double faults through
// a broken IDT and a missing stack, and faults in the delivery of other events.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"
#include "tests/guest/lib/paging.h"
#include "tests/guest/lib/ring3.h"

#define CR0_TS BIT(3)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_AM BIT(18)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define FLAG_AC BIT(18)
#define SPLIT_VECTOR 0x80 // first vector of the second IDT page
#define FAR_VA UINT64_C(0x500000000000)

extern uint8_t ring3_misaligned[], ring3_exit[]; // exceptions.asm
void int_n(unsigned vector);
void int_n_on_stack(void *stack);

static uint8_t spare[3 * 4096] __attribute__((aligned(4096)));
static volatile uint64_t last_ip, last_error, last_cr2;

static void count_only(struct regs *regs) { last_ip = regs->ip; }

static void test_simple(void) {
	subtest("by instruction");
	EXPECT_TRAP(VEC_DE, 0, asm volatile("div %b0" ::"r"(0), "a"(1)));
	EXPECT_TRAP(VEC_DE, 0, asm volatile("idiv %k0" ::"r"(-1), "a"(0x80000000), "d"(-1)));
	EXPECT_TRAP(VEC_UD, 0, asm volatile("ud2"));
	EXPECT_TRAP(VEC_BP, 0, asm volatile("int3"));
	EXPECT_TRAP(VEC_BP, 0, asm volatile("int $3"));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_DB, 0, asm volatile(".byte 0xF1")); // INT1: TCG says #UD
	EXPECT_TRAP(VEC_GP, 0, (void)*(volatile uint8_t *)BIT(62));
	// TCG says #GP
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_SS, 0,
	                   asm volatile("push %%rbp; mov %0, %%rbp; mov (%%rbp), %%eax; pop %%rbp" ::"r"(BIT(62))
	                                : "rax"));
	EXPECT_TRAP(VEC_GP, 0x1234, asm volatile("mov %w0, %%ds" ::"r"(0x1234)));
	gdt[11] = 0x00CF13000000FFFF; // data, not present
	EXPECT_TRAP(VEC_NP, 0x58, asm volatile("mov %w0, %%es" ::"r"(0x58)));
	EXPECT_TRAP(VEC_SS, 0x58, asm volatile("mov %w0, %%ss" ::"r"(0x58)));
	EXPECT_TRAP(VEC_GP, 0x5C, asm volatile("lldt %w0" ::"r"(0x5C)));
	cr0_write((cr0_read() & ~CR0_EM) | CR0_TS | CR0_MP);
	EXPECT_TRAP(VEC_NM, 0, asm volatile("fninit"));
	EXPECT_TRAP(VEC_NM, 0, asm volatile("fwait"));
	cr0_write(cr0_read() & ~CR0_TS);
	uint16_t control = 0x0300; // all unmasked
	EXPECT_TRAP(VEC_MF, 0, asm volatile("fninit; fldcw %0; fldz; fld1; fdivp; fwait" ::"m"(control)));
	asm volatile("fninit");
	cr4_write(cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	uint32_t mxcsr = 0x1D80, mxcsr_reset = 0x1F80; // #Z unmasked
	EXPECT_TRAP_UNLESS(
	    on_tcg(), VEC_XM, 0, // TCG has no #XM
	    asm volatile("ldmxcsr %0; mov $0x3F800000, %%eax; movd %%eax, %%xmm0; pxor %%xmm1, %%xmm1;"
	                 "divss %%xmm1, %%xmm0" ::"m"(mxcsr)
	                 : "rax"));
	asm volatile("ldmxcsr %0" ::"m"(mxcsr_reset));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, ({
		                   mxcsr = BIT(31);
		                   asm volatile("ldmxcsr %0" ::"m"(mxcsr));
	                   }));
	asm volatile("ldmxcsr %0" ::"m"(mxcsr_reset));
}

static void test_page_faults(void) {
	subtest("page faults");
	volatile uint8_t *p = (volatile uint8_t *)FAR_VA;
	EXPECT_TRAP(VEC_PF, 0, (void)p[5]);
	CHECK_EQ(trap_last.cr2, FAR_VA + 5);
	EXPECT_TRAP(VEC_PF, PF_W, p[6] = 1);
	CHECK_EQ(trap_last.cr2, FAR_VA + 6);
	page_map(FAR_VA, (uintptr_t)spare, PTE_P);
	EXPECT_TRAP(VEC_PF, PF_P | PF_W, p[7] = 1);
	EXPECT_TRAP(VEC_PF, 0, (void)*(volatile uint64_t *)(FAR_VA + 4092)); // crosses into a hole
	CHECK_EQ(trap_last.cr2, FAR_VA + 4096);
	EXPECT_TRAP(VEC_PF, 0, ((void (*)(void))(FAR_VA + 0x200000))());
	CHECK_EQ(trap_last.cr2, FAR_VA + 0x200000);
	CHECK_EQ(trap_last.ip, FAR_VA + 0x200000);
	cr2_write(0x1234567890);
	(void)cpuid(0, 0); // an exit does not lose it
	CHECK_EQ(cr2_read(), 0x1234567890);
	page_map(FAR_VA, 0, 0);
}

static void test_alignment(void) {
	subtest("alignment");
	cr0_write(cr0_read() | CR0_AM);
	trap_gate(0x80, trap_stubs[0x80], GATE_INTERRUPT | GATE_USER);
	trap_handle(0x80, ring3_return);
	CHECK_EQ(ring3_call(ring3_exit, spare + 4096, RING3_FLAGS | FLAG_AC), 1);
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_AC, 0,
	                   ring3_call(ring3_misaligned, spare + 4096, RING3_FLAGS | FLAG_AC)); // TCG has no #AC
	cr0_write(cr0_read() & ~CR0_AM);
	EXPECT_NO_TRAP(ring3_call(ring3_misaligned, spare + 4096, RING3_FLAGS | FLAG_AC));
	trap_handle(0x80, 0);
}

static void test_all_vectors(void) {
	subtest("INT n");
	for (unsigned v = 0; v < 256; v++) {
		bool has_error = v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30;
		if (has_error) continue; // the stubs expect an error code, INT n pushes none
		unsigned before = trap_count[v];
		trap_handle(v, count_only);
		int_n(v);
		trap_handle(v, 0);
		CHECK(trap_count[v] == before + 1, "INT %u", v);
	}
	idt[0x90].type &= (uint16_t)~0x8000;
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_NP, 0x90 * 8 + 2, int_n(0x90)); // TCG says vector * 16
	idt[0x90].type |= 0x8000;
}

static void test_double_fault(void) {
	subtest("double fault");
	struct table whole, cut;
	sidt(&whole);
	cut = whole;
	cut.limit = (VEC_DF + 1) * sizeof(struct gate) - 1; // #GP and above are beyond it
	lidt(&cut);
	struct trap t = CATCH(asm volatile("mov %w0, %%ds" ::"r"(0x1234)));
	lidt(&whole);
	trap_expect(t, VEC_DF, 0, false, __FILE__, __LINE__, "#GP beyond the IDT");

	page_map(FAR_VA, 0, 0);
	t = CATCH(int_n_on_stack((void *)(FAR_VA + 0x800)));
	trap_expect(t, VEC_DF, 0, false, __FILE__, __LINE__, "#PF on the stack of an INT");
	CHECK_EQ(cr2_read() & ~0x7FFUL, FAR_VA);
}

static void map_second_page(struct regs *regs) {
	last_error = regs->error;
	last_ip = regs->ip;
	last_cr2 = cr2_read();
	*page_entry(last_cr2 & ~0xFFFUL) |= PTE_P;
	invlpg((void *)(last_cr2 & ~0xFFFUL));
}

// An IDT whose upper half lies on a page that is not there: the fault comes in the delivery.
static void test_in_delivery(void) {
	subtest("faults in delivery");
	struct gate *split = (struct gate *)(FAR_VA + 0x1000 - SPLIT_VECTOR * sizeof(struct gate));
	struct table whole, moved = {sizeof idt - 1, (unsigned long)split};
	page_map(FAR_VA, (uintptr_t)spare, PTE_P | PTE_W);
	page_map(FAR_VA + 0x1000, (uintptr_t)spare + 0x1000, PTE_P | PTE_W);
	for (unsigned v = 0; v < 256; v++) split[v] = idt[v];
	sidt(&whole);
	trap_handle(VEC_PF, map_second_page);
	trap_handle(0x90, count_only);
	lidt(&moved);

	*page_entry(FAR_VA + 0x1000) &= ~(uint64_t)PTE_P;
	invlpg((void *)(FAR_VA + 0x1000));
	unsigned before = trap_count[0x90];
	asm volatile("int $0x90");
	CHECK_EQ(trap_count[0x90], before + 1);
	CHECK_EQ(last_error, 0);
	CHECK_EQ(last_cr2, (uintptr_t)&split[0x90]);

	// The same for an interrupt that comes by itself; it is acknowledged, so it may be lost.
	pic_init(0x20, 0);
	lapic_enable();
	*page_entry(FAR_VA + 0x1000) &= ~(uint64_t)PTE_P;
	invlpg((void *)(FAR_VA + 0x1000));
	last_cr2 = 0;
	irq_off();
	lapic_self_ipi(0x90);
	irq_on();
	WAIT_FOR(last_cr2 != 0, 10000);
	irq_off();
	CHECK_EQ(last_cr2, (uintptr_t)&split[0x90]);
	CHECK_EQ(last_error, 0);
	lapic_eoi();

	lidt(&whole);
	trap_handle(VEC_PF, 0);
	trap_handle(0x90, 0);
}

void guest_main(void);
void guest_main(void) {
	test_simple();
	test_page_faults();
	test_alignment();
	test_all_vectors();
	test_double_fault();
	test_in_delivery();
	finish();
}
