// SPDX-License-Identifier: Apache-2.0
// Debug registers and single-stepping, above all across instructions that exit: the #DB comes behind the
// emulated instruction, with its address and DR6.BS (SDM vol. 3, 17.2 and 17.3).
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define DR6_B0 BIT(0)
#define DR6_BD BIT(13)
#define DR6_BS BIT(14)
#define DR6_ONES UINT64_C(0xFFFF0FF0)
#define DR7_L0 BIT(0)
#define DR7_GD BIT(13)
#define DR7_ONES BIT(10)
#define DR7_WRITE4_0 (BIT(16) | BIT(18) | BIT(19))
#define CR4_DE BIT(3)
#define FLAG_TF BIT(8)
#define FLAG_RF BIT(16)
#define STEPS 8u

static volatile uint64_t step_ip[STEPS], step_dr6;
static volatile unsigned steps;

// Records each step; DR6 is the guest's to clear.
static void on_db(struct regs *regs) {
	if (steps < STEPS) step_ip[steps++] = regs->ip;
	step_dr6 = dr6_read();
	dr6_write(DR6_ONES);
	if (step_dr6 & DR6_B0) regs->flags |= FLAG_RF;
	if (step_dr6 & DR6_BD) dr7_write(DR7_ONES);
}

static void test_registers(void) {
	subtest("registers");
	dr0_write(0x1111111122222222);
	dr1_write(0x3333333344444444);
	dr2_write(0x5555555566666666);
	dr3_write(0x7777777788888888);
	(void)cpuid(0, 0);
	(void)in8(0x21);
	CHECK_EQ(dr0_read(), 0x1111111122222222);
	CHECK_EQ(dr1_read(), 0x3333333344444444);
	CHECK_EQ(dr2_read(), 0x5555555566666666);
	CHECK_EQ(dr3_read(), 0x7777777788888888);
	dr6_write(0);
	CHECK_UNLESS(on_tcg(), (dr6_read() & DR6_ONES) == DR6_ONES, "%lx", dr6_read());
	dr6_write(DR6_ONES | DR6_BS);
	(void)cpuid(0, 0);
	CHECK(dr6_read() & DR6_BS, "%lx", dr6_read());
	dr6_write(DR6_ONES);
	dr7_write(0);
	CHECK_UNLESS(on_tcg(), dr7_read() == DR7_ONES, "%lx", dr7_read());
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, dr7_write(BIT(32)));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, dr6_write(BIT(32)));
	cr4_write(cr4_read() | CR4_DE);
	EXPECT_TRAP(VEC_UD, 0, asm volatile("mov %%db4, %%rax" ::: "rax"));
	cr4_write(cr4_read() & ~CR4_DE);
	dr7_write(DR7_ONES);
}

// Steps over one instruction between two NOPs: #DB behind each of the three.
#define STEP(name, before, insn)                                                                             \
	do {                                                                                                     \
		uint64_t first_, behind_;                                                                            \
		steps = 0;                                                                                           \
		asm volatile(before "; lea 1f(%%rip), %0; lea 2f(%%rip), %1; pushf; orl $0x100, (%%rsp); popf; nop;" \
		                    "1: " insn "; 2: nop; pushf; andl $~0x100, (%%rsp); popf"                        \
		             : "=&r"(first_), "=&r"(behind_)                                                         \
		             :                                                                                       \
		             : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");                            \
		check_report(steps >= 3 && step_ip[0] == first_ && step_ip[1] == behind_ &&                          \
		                 step_ip[2] == behind_ + 1 && (step_dr6 & DR6_BS),                                   \
		             __FILE__, __LINE__, name, "%u steps, %llx %llx %llx, expected %llx %llx, DR6 %llx",     \
		             steps, (unsigned long long)step_ip[0], (unsigned long long)step_ip[1],                  \
		             (unsigned long long)step_ip[2], (unsigned long long)first_,                             \
		             (unsigned long long)behind_, (unsigned long long)step_dr6);                             \
	} while (0)

static void test_step(void) {
	subtest("single step");
	trap_handle(VEC_DB, on_db);
	STEP("inc", "", "inc %%eax");
	STEP("cpuid", "xor %%eax, %%eax", "cpuid");
	STEP("in", "", "in $0x21, %%al");
	STEP("out", "mov $0xFF, %%al", "out %%al, $0x21");
	STEP("rdmsr", "mov $0x1B, %%ecx", "rdmsr");
	STEP("wrmsr", "mov $0x277, %%ecx; rdmsr", "wrmsr");
	STEP("MMIO read", "mov $0xFEE00030, %%esi", "mov (%%rsi), %%eax");
	STEP("MMIO write", "mov $0xFEE00080, %%esi; xor %%eax, %%eax", "mov %%eax, (%%rsi)");
	STEP("rdtsc", "", "rdtsc");
	STEP("mov cr8", "xor %%eax, %%eax", "mov %%rax, %%cr8");
	STEP("mov cr0", "mov %%cr0, %%rax", "mov %%rax, %%cr0");
	if (on_bulkhead() && cpu_is_intel()) STEP("vmcall", "xor %%eax, %%eax", "vmcall");
	if (on_bulkhead() && !cpu_is_intel()) STEP("vmmcall", "xor %%eax, %%eax", "vmmcall");
	trap_handle(VEC_DB, 0);
}

static void test_breakpoints(void) {
	subtest("breakpoints");
	static volatile uint32_t cell;
	uint64_t at, behind;
	trap_handle(VEC_DB, on_db);
	steps = 0;
	asm volatile("lea 1f(%%rip), %0; mov %0, %%db0; mov $0x401, %%eax; mov %%rax, %%db7; 1: nop"
	             : "=&r"(at)::"rax");
	CHECK(steps == 1 && step_ip[0] == at && step_dr6 & DR6_B0, "%u at %llx, DR6 %llx", steps,
	      (unsigned long long)step_ip[0], (unsigned long long)step_dr6);
	dr7_write(DR7_ONES);
	steps = 0;
	dr0_write((uintptr_t)&cell);
	dr7_write(DR7_ONES | DR7_L0 | DR7_WRITE4_0);
	asm volatile("lea 1f(%%rip), %0; movl $5, %1; 1: nop" : "=&r"(behind), "=m"(cell));
	CHECK(steps == 1 && step_ip[0] == behind && step_dr6 & DR6_B0, "%u at %llx, DR6 %llx", steps,
	      (unsigned long long)step_ip[0], (unsigned long long)step_dr6);
	CHECK_EQ(cell, 5);
	dr7_write(DR7_ONES);
	subtest("general detect");
	steps = 0;
	dr7_write(DR7_ONES | DR7_GD);
	(void)dr0_read();
	CHECK_UNLESS(on_tcg(), steps == 1 && step_dr6 & DR6_BD, "%u, DR6 %llx", steps,
	             (unsigned long long)step_dr6);
	dr7_write(DR7_ONES);
	trap_handle(VEC_DB, 0);
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	test_registers();
	test_step();
	test_breakpoints();
	finish();
}
