// SPDX-License-Identifier: Apache-2.0
// What an instruction that a hypervisor may intercept, or that belongs to a feature a guest is not offered, does in ring
// 0 and in ring 3: the same exception, or none, on both vendors, and the one of the manuals' instruction pages.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/paging.h"
#include "tests/guest/lib/ring3.h"

#define CODE_VA UINT64_C(0x40000000000)
#define CR4_TSD BIT(2)
#define CR4_OSXSAVE BIT(18)
#define NONE (-1)
#define UD VEC_UD
#define GP VEC_GP
#define ASLEEP (-2) // not tried: it would wait
// AMD's own in ring 3: EFER.SVME of a VMCB must be 1, and the check of privilege goes before the intercept (APM vol. 2,
// 15.5.1 and table 15-7), so the guest sees #GP where the CPU it was told of would say #UD.
#define SVM (-3)

enum when {
	ALWAYS,
	TSD,     // with CR4.TSD
	OSXSAVE, // with CR4.OSXSAVE, where XSAVE is offered
	RDTSCP,  // where RDTSCP is offered
	RDTSCP_TSD,
	NO_RDTSCP,
	AMD, // on a CPU of that vendor
	INTEL,
	ON_TCG = 1 << 7, // a bit more: QEMU's TCG is known to answer otherwise
};

// RAX, RCX and RDX are 0, RSP points at zeros.
static const struct insn {
	const char *name;
	uint8_t when, bytes, code[7];
	int8_t ring0, ring3;
} insns[] = {
    {"RDPMC", ALWAYS, 2, {0x0F, 0x33}, GP, GP},
    {"RDTSC", ALWAYS, 2, {0x0F, 0x31}, NONE, NONE},
    {"RDTSC", TSD, 2, {0x0F, 0x31}, NONE, GP},
    {"RDTSCP", RDTSCP, 3, {0x0F, 0x01, 0xF9}, NONE, NONE},
    {"RDTSCP", RDTSCP_TSD, 3, {0x0F, 0x01, 0xF9}, NONE, GP},
    {"RDTSCP", NO_RDTSCP, 3, {0x0F, 0x01, 0xF9}, UD, UD},
    {"RDPRU", ALWAYS, 3, {0x0F, 0x01, 0xFD}, UD, UD},
    {"MONITOR", ALWAYS, 3, {0x0F, 0x01, 0xC8}, UD, UD},
    {"MWAIT", ALWAYS, 3, {0x0F, 0x01, 0xC9}, UD, UD},
    {"MONITORX", ALWAYS, 3, {0x0F, 0x01, 0xFA}, UD, UD},
    {"MWAITX", ALWAYS, 3, {0x0F, 0x01, 0xFB}, UD, UD},
    {"TPAUSE", ALWAYS | ON_TCG, 4, {0x66, 0x0F, 0xAE, 0xF1}, UD, UD},
    {"PAUSE", ALWAYS, 2, {0xF3, 0x90}, NONE, NONE},
    {"HLT", ALWAYS, 1, {0xF4}, ASLEEP, GP},
    {"INVD", ALWAYS, 2, {0x0F, 0x08}, NONE, GP},
    {"WBINVD", ALWAYS, 2, {0x0F, 0x09}, NONE, GP},
    {"XSETBV", ALWAYS | ON_TCG, 3, {0x0F, 0x01, 0xD1}, UD, UD},
    {"XSETBV 0", OSXSAVE, 3, {0x0F, 0x01, 0xD1}, GP, GP},
    {"MOV RAX, DR7", ALWAYS, 3, {0x0F, 0x21, 0xF8}, NONE, GP},
    {"MOV DR0, RAX", ALWAYS, 3, {0x0F, 0x23, 0xC0}, NONE, GP},
    {"MOV RAX, CR0", ALWAYS, 3, {0x0F, 0x20, 0xC0}, NONE, GP},
    {"MOV RAX, CR8", ALWAYS, 4, {0x44, 0x0F, 0x20, 0xC0}, NONE, GP},
    {"SMSW EAX", ALWAYS, 3, {0x0F, 0x01, 0xE0}, NONE, NONE},
    {"LMSW AX", ALWAYS, 3, {0x0F, 0x01, 0xF0}, NONE, GP},
    {"CLTS", ALWAYS, 2, {0x0F, 0x06}, NONE, GP},
    {"INVLPG", ALWAYS, 4, {0x0F, 0x01, 0x3C, 0x24}, NONE, GP},
    {"INVPCID", ALWAYS, 6, {0x66, 0x0F, 0x38, 0x82, 0x04, 0x24}, UD, UD},
    {"GETSEC", ALWAYS, 2, {0x0F, 0x37}, UD, UD},
    {"RSM", ALWAYS, 2, {0x0F, 0xAA}, UD, UD},
    {"ENCLS", ALWAYS, 3, {0x0F, 0x01, 0xCF}, UD, UD},
    {"INVLPGA", ALWAYS, 3, {0x0F, 0x01, 0xDF}, UD, SVM},
    {"VMRUN", ALWAYS, 3, {0x0F, 0x01, 0xD8}, UD, SVM},
    {"VMLOAD", ALWAYS, 3, {0x0F, 0x01, 0xDA}, UD, SVM},
    {"VMSAVE", ALWAYS, 3, {0x0F, 0x01, 0xDB}, UD, SVM},
    {"STGI", ALWAYS, 3, {0x0F, 0x01, 0xDC}, UD, SVM},
    {"CLGI", ALWAYS, 3, {0x0F, 0x01, 0xDD}, UD, SVM},
    {"SKINIT", ALWAYS, 3, {0x0F, 0x01, 0xDE}, UD, SVM},
    {"VMMCALL", INTEL, 3, {0x0F, 0x01, 0xD9}, UD, UD},
    {"VMCALL", AMD, 3, {0x0F, 0x01, 0xC1}, UD, UD},
    {"VMLAUNCH", ALWAYS, 3, {0x0F, 0x01, 0xC2}, UD, UD},
    {"VMXOFF", ALWAYS, 3, {0x0F, 0x01, 0xC4}, UD, UD},
    {"VMFUNC", ALWAYS, 3, {0x0F, 0x01, 0xD4}, UD, UD},
    {"VMREAD", ALWAYS, 3, {0x0F, 0x78, 0xC8}, UD, UD},
    {"VMXON", ALWAYS, 5, {0xF3, 0x0F, 0xC7, 0x34, 0x24}, UD, UD},
    {"INVEPT", ALWAYS, 6, {0x66, 0x0F, 0x38, 0x80, 0x04, 0x24}, UD, UD},
};

static uint8_t page[4096] __attribute__((aligned(4096)));

// A routine for ring 0; for ring 3 it ends with INT 0x80.
static const void *routine(const struct insn *insn, bool ring3) {
	static const uint8_t zero[] = {0x31, 0xC0, 0x31, 0xC9, 0x31, 0xD2}; // XOR EAX, ECX, EDX
	uint8_t *p = page;
	for (unsigned i = 0; i < sizeof zero; i++) *p++ = zero[i];
	for (unsigned i = 0; i < insn->bytes; i++) *p++ = insn->code[i];
	*p++ = ring3 ? 0xCD : 0xC3;
	*p = RING3_VECTOR;
	return (const void *)CODE_VA;
}

static uint64_t call0(const void *code) {
	uint64_t rax;
	asm volatile("sub $64, %%rsp; movq $0, (%%rsp); movq $0, 8(%%rsp); call *%1; add $64, %%rsp"
	             : "=a"(rax)
	             : "r"(code)
	             : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
	return rax;
}

static bool applies(const struct insn *insn) {
	bool rdtscp = (cpuid(0x80000001, 0).edx & BIT(27)) != 0;
	switch ((enum when)insn->when) {
	case OSXSAVE: return (cpuid(1, 0).ecx & BIT(26)) != 0;
	case RDTSCP:
	case RDTSCP_TSD: return rdtscp;
	case NO_RDTSCP: return !rdtscp;
	case AMD: return !cpu_is_intel();
	case INTEL: return cpu_is_intel();
	default: return true;
	}
}

static void expect(const struct insn *insn, unsigned ring, int vector, int wanted) {
	bool ok = vector == wanted;
	if (wanted == SVM) ok = vector == UD || (vector == GP && !cpu_is_intel());
	CHECK_UNLESS((insn->when & ON_TCG) != 0 && on_tcg(), ok, "%s in ring %u: vector %d, not %d", insn->name,
	             ring, vector, wanted);
}

static void try(const struct insn *insn) {
	unsigned long start = cr4_read();
	bool tsd = insn->when == TSD || insn->when == RDTSCP_TSD;
	cr4_write(start | (tsd ? CR4_TSD : 0) | (insn->when == OSXSAVE ? CR4_OSXSAVE : 0));
	const void *code = routine(insn, false);
	if (insn->ring0 != ASLEEP) {
		struct trap t = CATCH(call0(code));
		expect(insn, 0, t.vector, insn->ring0);
	}
	code = routine(insn, true);
	struct trap t = CATCH(ring3_call(code, (void *)(CODE_VA + 0xF00), RING3_FLAGS));
	expect(insn, 3, t.vector, insn->ring3);
	cr4_write(start);
}

void guest_main(void);
void guest_main(void) {
	page_map(CODE_VA, (uintptr_t)page, PTE_P | PTE_W | PTE_U);
	trap_gate(RING3_VECTOR, trap_stubs[RING3_VECTOR], GATE_INTERRUPT | GATE_USER);
	trap_handle(RING3_VECTOR, ring3_return);
	for (unsigned i = 0; i < sizeof insns / sizeof insns[0]; i++)
		if (applies(&insns[i])) try(&insns[i]);
	finish();
}
