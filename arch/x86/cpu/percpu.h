// SPDX-License-Identifier: Apache-2.0
// The per-CPU area, reached through GS base. The first fields are known to assembly.
#pragma once

#include "arch/x86/cpu/gdt.h"
#include "kernel/lib/types.h"

#define CPU_MAX 64u

struct vcpu;

struct __aligned_to(64) cpu {
	struct cpu *self;   // GS:0
	uint64_t stack_top; // GS:8, where every exit starts
	struct vcpu *vcpu;  // whose state is loaded here, NULL when none
	uint32_t id;        // 0 is the boot CPU
	uint32_t apic_id;
	const void *vm;           // whose vCPU was loaded last: mitigate_vm_switch comes before another's
	uint64_t nmis, nmis_told; // host NMIs since boot; of these the log has heard of
	uint64_t irqs_unexpected;
	uint64_t backend_pa;         // host VMCB (SVM) or VMXON region (VMX)
	uint64_t backend_current_pa; // the current VMCS (VMX), 0 when none is
	struct gdt gdt;
	struct tss tss;
};

_Static_assert(offsetof(struct cpu, stack_top) == 8, "known to the vendors' enter.asm");

static inline struct cpu *this_cpu(void) {
	struct cpu *cpu;
	__asm__("movq %%gs:0, %0" : "=r"(cpu));
	return cpu;
}

// Its loaded vCPU. Read anew each time, so that no register is kept for it.
static inline struct vcpu *this_vcpu(void) {
	struct vcpu *vcpu;
	__asm__ volatile("movq %%gs:%c1, %0" : "=r"(vcpu) : "i"(offsetof(struct cpu, vcpu)));
	return vcpu;
}

// The area of CPU `id`, or NULL.
struct cpu *cpu_get(uint32_t id);
// Sets up GDT, TSS, IDT, GS base, control registers and FPU of the CPU it runs on. `stack_top` and the
// three IST stacks (16-byte aligned tops) belong to this CPU from then on.
struct cpu_stacks {
	void *main, *nmi, *df, *mc;
};

void cpu_setup(uint32_t id, const struct cpu_stacks *stacks);
