// SPDX-License-Identifier: Apache-2.0
// 32-bit protected mode: segment limits, types and presence with their error codes, 16-bit code, call gates,
// ring 3 with a stack switch, virtual-8086 mode, and paging with 4 KiB, 4 MiB and PAE tables.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/trap.h"

#define SEL_TEST 0x40
#define SEL_TEST2 0x48
#define SEL_GATE 0x50
#define SEL_LDT 0x58
#define TSS_ESP0 4
#define CR0_PG BIT(31)
#define CR0_WP BIT(16)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define HIGH_VA 0x40000000u

// In far.asm.
uint32_t call_code16(void);
uint32_t call_gate(void);
uint32_t ring3_call(void *code, void *stack, uint32_t flags);
uint32_t v86_call(uint32_t ip, uint32_t segment);
void ring3_return(struct regs *regs);
extern uint8_t gate_target[], ring3_int80[];

static uint8_t area[8192] __attribute__((aligned(4096)));
static uint8_t user_stack[4096] __attribute__((aligned(16)));

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
	return (limit & 0xFFFF) | (uint64_t)(base & 0xFFFFFF) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 0xF) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

static void load_es(uint16_t selector) { asm volatile("mov %0, %%es" ::"r"(selector) : "memory"); }

static uint8_t read_es(uint32_t offset) {
	uint8_t v;
	asm volatile("movb %%es:(%1), %0" : "=q"(v) : "r"(offset) : "memory");
	return v;
}

static void write_es(uint32_t offset) { asm volatile("movb $1, %%es:(%0)" ::"r"(offset) : "memory"); }

// TCG checks selectors, but no limits and types of loaded segments.
static void test_segments(void) {
	subtest("segments");
	gdt[SEL_TEST / 8] = descriptor((uintptr_t)area, 0xFFF, 0x93, 0x4);
	area[0xFFF] = 0x77;
	EXPECT_NO_TRAP(load_es(SEL_TEST); CHECK_EQ(read_es(0xFFF), 0x77));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, (load_es(SEL_TEST), read_es(0x1000)));
	gdt[SEL_TEST / 8] = descriptor((uintptr_t)area, 0xFFF, 0x91, 0x4); // read-only
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, (load_es(SEL_TEST), write_es(0)));
	gdt[SEL_TEST / 8] = descriptor((uintptr_t)area, 0xFFF, 0x97, 0x4); // expand-down: above 0xFFF only
	area[0x1234] = 0x66;
	EXPECT_NO_TRAP(load_es(SEL_TEST); CHECK_EQ(read_es(0x1234), 0x66));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, (load_es(SEL_TEST), read_es(0xFFF)));
	gdt[SEL_TEST / 8] = descriptor(0, 0xFFFFF, 0x13, 0xC); // not present
	EXPECT_TRAP(VEC_NP, SEL_TEST, load_es(SEL_TEST));
	EXPECT_TRAP(VEC_SS, SEL_TEST, asm volatile("mov %w0, %%ss" ::"r"(SEL_TEST)));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, (load_es(0), read_es(0)));
	EXPECT_TRAP(VEC_GP, 0, asm volatile("mov %w0, %%ss" ::"r"(0)));
	EXPECT_TRAP(VEC_GP, 0x1230, load_es(0x1230));
	EXPECT_TRAP(VEC_GP, 0x64, load_es(0x64)); // no LDT
	gdt[SEL_LDT / 8] = descriptor((uintptr_t)area, 15, 0x82, 0);
	*(uint64_t *)area = 0;
	*(uint64_t *)(area + 8) = descriptor(0, 0xFFFFF, 0x93, 0xC);
	asm volatile("lldt %w0" ::"r"(SEL_LDT));
	EXPECT_NO_TRAP(load_es(0x0C));
	EXPECT_TRAP(VEC_GP, 0x14, load_es(0x14)); // beyond its limit
	asm volatile("lldt %w0" ::"r"(0));
	EXPECT_TRAP(VEC_GP, 0x80 * 8 + 2 + 0, ({
		            struct table short_idt = {0x7F * 8 + 7, (unsigned long)idt};
		            lidt(&short_idt);
		            asm volatile("int $0x80");
	            }));
	trap_load_idt();
	load_es(0x10);
	EXPECT_TRAP(VEC_BR, 0, ({
		            static const int32_t bounds[2] = {0, 50};
		            asm volatile("bound %0, %1" ::"r"(100), "m"(bounds));
	            }));
	EXPECT_TRAP(VEC_OF, 0, asm volatile("movb $0x7F, %%al; addb $1, %%al; into" ::: "eax", "cc"));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, asm volatile(".byte 0x2E; movb $1, gdt")); // write through CS
}

static void test_far(void) {
	subtest("16-bit code and call gate");
	CHECK_EQ(call_code16(), 0x1616);
	uint32_t target = (uintptr_t)gate_target;
	gdt[SEL_GATE / 8] =
	    (target & 0xFFFF) | UINT64_C(0x08) << 16 | UINT64_C(0x8C00) << 32 | (uint64_t)(target >> 16) << 48;
	CHECK_EQ(call_gate(), 0x6A7E);
	gdt[SEL_GATE / 8] &= ~(UINT64_C(1) << 47);
	EXPECT_TRAP(VEC_NP, SEL_GATE, call_gate());
}

static void test_ring3(void) {
	subtest("ring 3");
	trap_gate(0x80, trap_stubs[0x80], GATE_INTERRUPT | GATE_USER);
	trap_handle(0x80, ring3_return);
	CHECK_EQ(ring3_call(ring3_int80, user_stack + sizeof user_stack, 2), 0x2B);
	static uint8_t hlt[] = {0xF4}, in[] = {0xE4, 0x21}, cli[] = {0xFA}, int81[] = {0xCD, 0x81};
	EXPECT_TRAP(VEC_GP, 0, ring3_call(hlt, user_stack + sizeof user_stack, 2));
	EXPECT_TRAP(VEC_GP, 0, ring3_call(in, user_stack + sizeof user_stack, 2));
	EXPECT_TRAP(VEC_GP, 0, ring3_call(cli, user_stack + sizeof user_stack, 2));
	EXPECT_TRAP(VEC_GP, 0x81 * 8 + 2, ring3_call(int81, user_stack + sizeof user_stack, 2));
	static uint8_t in_then_back[] = {0xE4, 0x21, 0xB8, 0x55, 0, 0, 0, 0xCD, 0x80};
	CHECK_EQ(ring3_call(in_then_back, user_stack + sizeof user_stack, 0x3002), 0x55); // IOPL 3
}

static void test_v86(void) {
	subtest("virtual-8086 mode");
	// MOV AX, 1234; INT 80: with IOPL 3 the gate of ring 0 is used.
	static const uint8_t code[] = {0xB8, 0x34, 0x12, 0xCD, 0x80};
	__builtin_memcpy((void *)0x8000, code, sizeof code);
	CHECK_EQ(v86_call(0, 0x800) & 0xFFFF, 0x1234);
}

static uint32_t directory[1024] __attribute__((aligned(4096))), table[1024] __attribute__((aligned(4096)));
static uint64_t pae_pdpt[4] __attribute__((aligned(32))),
    pae_directory[4][512] __attribute__((aligned(4096)));

static void test_paging(void) {
	subtest("paging");
	for (uint32_t i = 0; i < 1024; i++) directory[i] = i << 22 | 0x83;
	for (uint32_t i = 0; i < 1024; i++) table[i] = i << 12 | 3;
	directory[HIGH_VA >> 22] = (uintptr_t)table | 3;
	table[0] = (uintptr_t)area | 3;
	table[1] = 0;
	table[2] = (uintptr_t)area | 1;
	area[5] = 0x42;
	cr4_write(cr4_read() | CR4_PSE);
	cr3_write((uintptr_t)directory);
	cr0_write(cr0_read() | CR0_PG | CR0_WP);
	volatile uint8_t *p = (volatile uint8_t *)HIGH_VA;
	CHECK_EQ(p[5], 0x42);
	EXPECT_TRAP(VEC_PF, 0, (void)p[0x1000]);
	CHECK_EQ(trap_last.cr2, HIGH_VA + 0x1000);
	EXPECT_TRAP(VEC_PF, PF_P | PF_W, p[0x2000] = 1);
	CHECK_EQ(table[0] & 0x60, 0x20);
	p[5] = 0x43;
	CHECK_EQ(table[0] & 0x60, 0x60);
	CHECK_EQ(area[5], 0x43);
	cr0_write(cr0_read() & ~CR0_PG);

	subtest("PAE");
	for (uint32_t i = 0; i < 2048; i++) pae_directory[i / 512][i % 512] = (uint64_t)i << 21 | 0x83;
	for (uint32_t i = 0; i < 4; i++) pae_pdpt[i] = (uintptr_t)pae_directory[i] | 1;
	pae_directory[1][0] = 0;
	cr4_write(cr4_read() | CR4_PAE);
	cr3_write((uintptr_t)pae_pdpt);
	cr0_write(cr0_read() | CR0_PG);
	EXPECT_TRAP(VEC_PF, PF_W, p[7] = 1);
	CHECK_EQ(trap_last.cr2, HIGH_VA + 7);
	pae_directory[1][0] = ((uintptr_t)area & ~0x1FFFFFu) | 0x83;
	invlpg(p);
	CHECK_EQ(p[((uintptr_t)area & 0x1FFFFF) + 5], 0x43);
	(void)cpuid(0, 0); // an exit keeps the PDPTEs
	CHECK_EQ(p[((uintptr_t)area & 0x1FFFFF) + 5], 0x43);
	pae_pdpt[1] = 0; // the registers hold the old one until CR3 is loaded
	cr3_write((uintptr_t)pae_pdpt);
	EXPECT_TRAP(VEC_PF, 0, (void)p[9]);
	pae_pdpt[1] = (uintptr_t)pae_directory[1] | 1 | BIT(1); // reserved bit
	// With nested paging AMD reads the PDPTEs at the walk and refuses them there (APM vol. 2, 15.25.10).
	if (cpu_is_intel() || !on_bulkhead())
		EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, cr3_write((uintptr_t)pae_pdpt));
	pae_pdpt[1] = (uintptr_t)pae_directory[1] | 1;
	cr3_write((uintptr_t)pae_pdpt);
	CHECK_EQ(p[((uintptr_t)area & 0x1FFFFF) + 5], 0x43);
	cr0_write(cr0_read() & ~CR0_PG);
	pae_pdpt[1] |= BIT(1);
	if (!on_bare_tcg()) EXPECT_TRAP(VEC_GP, 0, cr0_write(cr0_read() | CR0_PG));
	CHECK_EQ(cr0_read() & CR0_PG, 0);
	cr4_write(cr4_read() & ~(CR4_PAE | CR4_PSE));
}

void guest_main(void);
void guest_main(void) {
	test_segments();
	test_far();
	test_ring3();
	test_v86();
	test_paging();
	finish();
}
