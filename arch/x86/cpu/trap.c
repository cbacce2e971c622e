// SPDX-License-Identifier: Apache-2.0
// Dispatch of the hypervisor's own traps. A device interrupt goes to the one handler set at boot; a page
// fault or #GP at an address in the fix-up table continues there (guest memory access); an NMI is counted
// and handed on; anything else, a machine check in the hypervisor too, is a bug of ours or broken hardware and panics.
#include "arch/x86/cpu/trap.h"

#include "arch/x86/cpu/gdt.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "kernel/lib/panic.h"
#include "kernel/lib/string.h"

#define IDT_ENTRIES 256u
#define OPCODE_RDMSR 0x320fu         // 0F 32
#define IDT_PRESENT_INT_GATE 0x8e00u // P, DPL 0, type 14 (SDM vol. 3, 6.14.1)

struct idt_gate {
	uint16_t offset_low, selector, attributes, offset_mid;
	uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct idt_gate) == 16, "IDT gate");

extern const unsigned char trap_stubs[], trap_interrupt_stubs[], trap_high_stubs[];
extern const struct trap_fixup __extable_start[], __extable_end[];

static struct idt_gate idt[IDT_ENTRIES];
static trap_irq_fn *irq_handler[IDT_ENTRIES];
static trap_stray_fn *stray_handler;
static uint64_t fixup_base, fixup_bytes;
static struct { uint64_t from, bytes, at; } nmi_restart;

static const char *const exception_name[] = {
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "09",  "#TS",
    "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    "22",  "23",  "24",  "25",  "26",  "27",  "#HV", "#VC", "#SX", "31",
};

// Exceptions, with a jump of HUB_BYTES in the middle; interrupt stubs exist for two blocks of vectors (trap.asm), and
// behind the second one that of the spurious vector, as which every other one is taken.
#define EXCEPTION_STUB_BYTES 6u
#define HUB_BYTES 5u
#define INTERRUPT_STUB_BYTES 4u
#define STUB_BLOCK 32u
#define HIGH_STUBS 3u

static uint64_t stub_of(unsigned vector) {
	const unsigned char *stub = trap_stubs + vector * EXCEPTION_STUB_BYTES + vector / 16 * HUB_BYTES;
	if (vector >= HOST_VEC_FIRST)
		stub = trap_interrupt_stubs + (vector - HOST_VEC_FIRST) * INTERRUPT_STUB_BYTES;
	if (vector >= HOST_VEC_FIRST + STUB_BLOCK)
		stub = trap_high_stubs + min_u64(vector - HOST_VEC_HIGH, HIGH_STUBS) * INTERRUPT_STUB_BYTES;
	return (uint64_t)(uintptr_t)stub;
}

void trap_init(void) {
	for (unsigned v = 0; v < IDT_ENTRIES; v++) {
		uint64_t target = stub_of(v);
		unsigned ist = v == VEC_NMI  ? TRAP_IST_NMI
		               : v == VEC_DF ? TRAP_IST_DF
		               : v == VEC_MC ? TRAP_IST_MC
		                             : 0;
		idt[v] = (struct idt_gate){
		    .offset_low = (uint16_t)target,
		    .selector = GDT_CODE,
		    .attributes = (uint16_t)(IDT_PRESENT_INT_GATE | ist),
		    .offset_mid = (uint16_t)(target >> 16),
		    .offset_high = (uint32_t)(target >> 32),
		};
	}
}

void trap_load(void) {
	struct desc_ptr p = {.limit = sizeof idt - 1, .base = (uint64_t)(uintptr_t)idt};
	lidt(&p);
}

void trap_irq_set(uint8_t vector, trap_irq_fn *handler) { irq_handler[vector] = handler; }

void trap_stray_set(trap_stray_fn *handler) { stray_handler = handler; }

void trap_fixup_range_set(uint64_t base, uint64_t bytes) {
	fixup_base = base;
	fixup_bytes = bytes;
}

void trap_nmi_restart_set(const void *from, const void *to, const void *at) {
	nmi_restart.from = (uint64_t)(uintptr_t)from;
	nmi_restart.bytes = (uint64_t)(uintptr_t)to - nmi_restart.from;
	nmi_restart.at = (uint64_t)(uintptr_t)at;
}

static void nmi(struct trap_frame *frame) {
	this_cpu()->nmis++;
	if (irq_handler[VEC_NMI] != NULL) irq_handler[VEC_NMI]();
	if (frame->rip - nmi_restart.from < nmi_restart.bytes) frame->rip = nmi_restart.at;
}

static uint64_t fixup_address(const int32_t *field) {
	return (uint64_t)(uintptr_t)field + (uint64_t)(int64_t)*field;
}

// A fault that a fix-up is meant for: RDMSR of a stranger, or a page of a guest that is not there. A fault elsewhere,
// or one that finds a reserved bit in our own tables, is a bug to be seen.
static bool fixup_wanted(const struct trap_frame *frame) {
	if (frame->vector == VEC_GP) return le16(trap_code(frame->rip)) == OPCODE_RDMSR;
	return frame->vector == VEC_PF && (frame->error & PF_RSVD) == 0 && read_cr2() - fixup_base < fixup_bytes;
}

static bool fixup_apply(struct trap_frame *frame) {
	if (!fixup_wanted(frame)) return false;
	for (const struct trap_fixup *f = __extable_start; f < __extable_end; f++) {
		if (fixup_address(&f->from) != frame->rip) continue;
		frame->rip = fixup_address(&f->to);
		return true;
	}
	return false;
}

static noreturn void trap_panic(const struct trap_frame *frame) {
	struct panic_regs regs = {
	    .rip = frame->rip,
	    .rflags = frame->rflags,
	    .cr0 = read_cr0(),
	    .cr2 = read_cr2(),
	    .cr3 = read_cr3(),
	    .cr4 = read_cr4(),
	};
	memcpy(regs.gpr, frame->rax_to_rbx, sizeof frame->rax_to_rbx);
	regs.gpr[4] = frame->rsp;
	memcpy(regs.gpr + 5, frame->rbp_to_r15, sizeof frame->rbp_to_r15);
	panic_regs(&regs, "%s error %#llx in the hypervisor", exception_name[frame->vector & 31],
	           (unsigned long long)frame->error);
}

static void stray(uint64_t vector) {
	this_cpu()->irqs_unexpected++;
	if (stray_handler != NULL) stray_handler((uint8_t)vector);
}

void trap_enter(struct trap_frame *frame) {
	uint64_t vector = frame->vector;
	if (vector >= HOST_VEC_FIRST) {
		if (irq_handler[vector] != NULL)
			irq_handler[vector]();
		else
			stray(vector);
		return;
	}
	if (vector == VEC_NMI) {
		nmi(frame);
		return;
	}
	// The hypervisor sets no breakpoint and no TF, and its DR7 is clear after every exit: a #DB here is a guest's that
	// a CPU carried over its exit (docs/QUIRKS.md). It may come before GS is the host's: nothing per-CPU is touched.
	if (vector == VEC_DB) return;
	if (fixup_apply(frame)) return;
	// A machine check respects no GIF: behind #VMEXIT it may find GS still the guest's (docs/RUNLOOP.md).
	if (vector == VEC_MC) wrmsr(MSR_GS_BASE, *(const uint64_t *)(frame + 1));
	trap_panic(frame);
}
