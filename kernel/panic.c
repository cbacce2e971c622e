// SPDX-License-Identifier: Apache-2.0
// The panic screen. Everything here reads memory and writes the console synchronously; a second panic inside the
// first only halts.
#include "kernel/lib/panic.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mce.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/trap.h"
#include "drivers/host/apic.h"
#include "drivers/host/console.h"
#include "kernel/arch.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"
#include "kernel/smp.h"
#include "kernel/symbols.h"
#include "mm/addr.h"
#include "mm/insn.h"

#define BACKTRACE_MAX 24u
#define BACKTRACE_BYTES (UINT64_C(16) * KIB)
#define CALL_REL32 0xe8u
#define CALL_GROUP 0xffu
#define CALL_MODRM_MASK 0x38u
#define CALL_MODRM 0x10u

extern const unsigned char __image_start[], __text_end[], __rodata_end[], __image_end[];

static bool panicking;

#define say(...) log_error("panic", __VA_ARGS__)

static void say_address(const char *what, uint64_t address) {
	uint64_t offset;
	const char *name = symbol_find(address, &offset);
	if (name != NULL)
		say("%s %#llx %s+%#llx", what, (unsigned long long)address, name, (unsigned long long)offset);
	else
		say("%s %#llx", what, (unsigned long long)address);
}

// A return address is what points into the text, just behind a CALL: E8 rel32, or FF /2 with a register or memory
// operand (2 to 7 bytes; SDM vol. 2 "CALL").
static bool behind_call(uint64_t address) {
	const uint8_t *at = trap_code(address);
	if (at[-5] == CALL_REL32) return true;
	for (unsigned length = 2; length <= 7; length++)
		if (at[-(int)length] == CALL_GROUP && (at[1 - (int)length] & CALL_MODRM_MASK) == CALL_MODRM)
			return true;
	return false;
}

static void say_repeats(unsigned repeats) {
	if (repeats > 0) say("  ... and %u times more", repeats);
}

// The hypervisor keeps no frame pointers (they would cost some forty instructions an exit): the stack is searched for
// return addresses, so a stale one may stand among them. A recursion is one line and its count.
static void backtrace(uint64_t sp) {
	uint64_t text = (uint64_t)(uintptr_t)__image_start + 8, end = (uint64_t)(uintptr_t)__text_end;
	unsigned found = 0, repeats = 0;
	uint64_t value, last = 0;
	uint64_t at = align_up(sp, 8);
	// After an overflow RSP points into the guard below the stack.
	if (mm_load64((uintptr_t)at, &value) < 0) at = align_up(at, PAGE_BYTES);
	for (uint64_t from = at; found < BACKTRACE_MAX && at - from < BACKTRACE_BYTES; at += 8) {
		if (mm_load64((uintptr_t)at, &value) < 0) break; // the end of the stack
		if (value < text || value >= end || !behind_call(value)) continue;
		if (value == last) {
			repeats++;
			continue;
		}
		say_repeats(repeats);
		say_address("  called from", value - 1); // in the CALL: what follows may be another function
		last = value;
		repeats = 0;
		found++;
	}
	say_repeats(repeats);
}

void panic_gprs_log(const char *subsystem, const uint64_t gpr[static 16]) {
	static const char name[16][4] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	                                 "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
	for (unsigned i = 0; i < 16; i += 4)
		log_print("e%s: %s %016llx %s %016llx %s %016llx %s %016llx", subsystem, name[i],
		          (unsigned long long)gpr[i], name[i + 1], (unsigned long long)gpr[i + 1], name[i + 2],
		          (unsigned long long)gpr[i + 2], name[i + 3], (unsigned long long)gpr[i + 3]);
}

static void say_registers(const struct panic_regs *r) {
	panic_gprs_log("panic", r->gpr);
	say("rflags %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx", (unsigned long long)r->rflags,
	    (unsigned long long)r->cr0, (unsigned long long)r->cr2, (unsigned long long)r->cr3,
	    (unsigned long long)r->cr4);
}

static noreturn void halt(void) {
	for (;;) cpu_halt();
}

void panic_nmi(void) {
	if (panicking) halt();
}

// By NMI: they may stand anywhere with interrupts off.
static void others_stop(void) {
	for (uint64_t left = smp_online_mask(); left != 0; left &= left - 1) {
		const struct cpu *cpu = cpu_get(bit_first(left));
		int err = cpu != this_cpu() ? apic_ipi_nmi(cpu->apic_id) : 0;
		if (err < 0) say("cpu %u takes no NMI", cpu->id);
	}
}

static noreturn void stop(const struct panic_regs *r, uint64_t sp, const char *format, va_list args) {
	irq_disable();
	if (__atomic_exchange_n(&panicking, true, __ATOMIC_SEQ_CST)) halt();
	others_stop();
	console_panic();
	trap_fixup_range_set(0, UINT64_MAX); // the stack is read to its end
	char text[LOG_LINE_BYTES];
	fmt_vprint(text, sizeof text, format, args);
	say("PANIC: %s", text);
	if (r != NULL) {
		say_address("rip", r->rip);
		say_registers(r);
	}
	backtrace(sp);
	(void)mce_take();
	const struct vcpu *vcpu = this_cpu()->vcpu;
	if (vcpu != NULL) {
		arch_vcpu_brief(vcpu, text, sizeof text);
		say("%s", text);
	}
	say("the machine is halted: this is a bug of the hypervisor or broken hardware");
	console_flush();
	halt();
}

noreturn void panic(const char *format, ...) {
	va_list args;
	va_start(args, format);
	stop(NULL, read_rsp(), format, args);
}

noreturn void panic_regs(const struct panic_regs *regs, const char *format, ...) {
	va_list args;
	va_start(args, format);
	stop(regs, regs->gpr[4], format, args);
}

noreturn void assert_fail(const char *expr, const char *file, int line) {
	panic("assertion failed: %s at %s:%d", expr, file, line);
}

// GCC's stack protector (-mstack-protector-guard=global).
__attribute__((used)) uintptr_t __stack_chk_guard;
noreturn void __stack_chk_fail(void);
__attribute__((used)) noreturn void __stack_chk_fail(void) { panic("a stack frame was overwritten"); }
