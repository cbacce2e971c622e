// SPDX-License-Identifier: Apache-2.0
// Long mode as the guest sets it up itself: page tables with NX and read-only pages, accessed and dirty bits,
// ring 3 and back, SYSCALL and SYSRET, compatibility mode.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/paging.h"
#include "tests/guest/lib/trap.h"

#define MSR_EFER 0xC0000080u
#define MSR_STAR 0xC0000081u
#define MSR_LSTAR 0xC0000082u
#define MSR_FMASK 0xC0000084u
#define EFER_SCE BIT(0)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define CR0_WP BIT(16)
#define USER_VA UINT64_C(0x40000000000) // 4 TiB
#define HIGH_VA UINT64_C(0x7F0000000000)

// In longmode.asm: code that a test copies or jumps to.
extern uint8_t user_int80[], user_int80_end[], syscall_entry[];
uint64_t user_enter(uint64_t ip, uint64_t sp, uint64_t code_selector);
uint64_t compat_call(void);
void user_return(struct regs *regs);
extern volatile uint64_t syscall_seen_flags;

static uint8_t page[4096] __attribute__((aligned(4096)));

static void test_mode(void) {
	subtest("mode");
	CHECK(rdmsr(MSR_EFER) & EFER_LMA, "EFER %llx", (unsigned long long)rdmsr(MSR_EFER));
	CHECK_EQ(compat_call(), 0x12345678);
}

static void test_paging(void) {
	subtest("paging");
	volatile uint8_t *p = (volatile uint8_t *)HIGH_VA;
	page_map(HIGH_VA, (uintptr_t)page, PTE_P | PTE_W);
	p[1] = 0x5A;
	CHECK_EQ(page[1], 0x5A);
	CHECK_EQ(*page_entry(HIGH_VA) & (PTE_A | PTE_D), PTE_A | PTE_D);

	page_map(HIGH_VA, (uintptr_t)page, PTE_P);
	EXPECT_TRAP(VEC_PF, PF_P | PF_W, p[2] = 1);
	CHECK_EQ(trap_last.cr2, HIGH_VA + 2);
	CHECK_EQ(p[1], 0x5A);
	CHECK_EQ(*page_entry(HIGH_VA) & (PTE_A | PTE_D), PTE_A);
	cr0_write(cr0_read() & ~CR0_WP);
	EXPECT_NO_TRAP(p[2] = 7);
	cr0_write(cr0_read() | CR0_WP);
	CHECK_EQ(page[2], 7);

	page_map(HIGH_VA, 0, 0);
	EXPECT_TRAP(VEC_PF, 0, (void)p[3]);
	CHECK_EQ(trap_last.cr2, HIGH_VA + 3);
	EXPECT_TRAP(VEC_GP, 0, (void)*(volatile uint8_t *)BIT(55));

	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	page[0] = 0xC3; // RET
	page_map(HIGH_VA, (uintptr_t)page, PTE_P | PTE_NX);
	EXPECT_TRAP(VEC_PF, PF_P | PF_I, ((void (*)(void))HIGH_VA)());
	CHECK_EQ(trap_last.cr2, HIGH_VA);
	page_map(HIGH_VA, (uintptr_t)page, PTE_P);
	EXPECT_NO_TRAP(((void (*)(void))HIGH_VA)());
	page_map(HIGH_VA, (uintptr_t)page | BIT(51), PTE_P);
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_PF, PF_P | PF_RSVD, (void)p[0]); // TCG leaves out P

	page_map_2m(HIGH_VA + PAGE_2M, 0x200000, PTE_P | PTE_W);
	*(volatile uint32_t *)(HIGH_VA + PAGE_2M + 0x1FFFFC) = 0xFEEDC0DE;
	CHECK_EQ(*(volatile uint32_t *)(uintptr_t)0x3FFFFC, 0xFEEDC0DE);
}

static void test_ring3(void) {
	subtest("ring 3");
	for (uint8_t *s = user_int80; s < user_int80_end; s++) page[s - user_int80] = *s;
	page_map(USER_VA, (uintptr_t)page, PTE_P | PTE_W | PTE_U);
	trap_gate(0x80, trap_stubs[0x80], GATE_INTERRUPT | GATE_USER);
	trap_handle(0x80, user_return);
	CHECK_EQ(user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3), 0x33); // CS as ring 3 saw it
	CHECK_EQ(trap_count[0x80], 1);

	page[0] = 0xF4; // HLT
	EXPECT_TRAP(VEC_GP, 0, user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3));
	page[0] = 0xCD; // INT 0x81: the gate is for ring 0
	page[1] = 0x81;
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0x81 * 8 + 2, user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3));
	page_map(USER_VA, (uintptr_t)page, PTE_P | PTE_W);
	EXPECT_TRAP(VEC_PF, PF_P | PF_U | (rdmsr(MSR_EFER) & EFER_NXE ? PF_I : 0),
	            user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3));
	CHECK_EQ(trap_last.cr2, USER_VA);
}

static void test_syscall(void) {
	subtest("syscall");
	wrmsr(MSR_STAR, UINT64_C(0x0020000800000000));
	wrmsr(MSR_LSTAR, (uintptr_t)syscall_entry);
	wrmsr(MSR_FMASK, 0x200 | 0x1); // IF and CF
	page[0] = 0x0F;                // SYSCALL
	page[1] = 0x05;
	page[2] = 0xCD; // INT 0x80
	page[3] = 0x80;
	page_map(USER_VA, (uintptr_t)page, PTE_P | PTE_W | PTE_U);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SCE);
	EXPECT_TRAP(VEC_UD, 0, user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3));
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	CHECK_EQ(user_enter(USER_VA, USER_VA + 0x1000, 0x30 | 3), 0xCA11); // what the handler puts in RAX
	CHECK_EQ(syscall_seen_flags & 0x200, 0);
}

void guest_main(void);
void guest_main(void) {
	test_mode();
	test_paging();
	test_ring3();
	test_syscall();
	finish();
}
