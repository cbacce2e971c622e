// SPDX-License-Identifier: Apache-2.0
// Brings one CPU into the hypervisor's own state: descriptor tables, GS base, control registers.
#include "arch/x86/cpu/percpu.h"

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/regs.h"
#include "arch/x86/cpu/trap.h"

static struct cpu cpus[CPU_MAX];

struct cpu *cpu_get(uint32_t id) {
	return id < array_count(cpus) ? &cpus[id] : NULL;
}

static void control_registers_set(void) {
	// CR0: caching on, write protection for the hypervisor too (W^X), FPU usable without traps.
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG);
	uint64_t cr4 = read_cr4() & CR4_LA57; // the paging depth stays what the firmware chose
	cr4 |= CR4_PAE | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (features.mce) cr4 |= CR4_MCE;
	if (features.pge) cr4 |= CR4_PGE;
	if (features.smep) cr4 |= CR4_SMEP;
	if (features.smap) cr4 |= CR4_SMAP;
	if (features.umip) cr4 |= CR4_UMIP;
	if (features.xsave) cr4 |= CR4_OSXSAVE;
	write_cr4(cr4);
	uint64_t efer = rdmsr(MSR_EFER) & ~EFER_SCE;
	if (features.nx) efer |= EFER_NXE;
	wrmsr(MSR_EFER, efer);
	if (features.xsave) xsetbv(0, XCR0_X87 | (features.xcr0_mask & XCR0_SSE));
}

void cpu_setup(uint32_t id, const struct cpu_stacks *stacks) {
	struct cpu *cpu = &cpus[id];
	cpu->self = cpu;
	cpu->id = id;
	cpu->stack_top = (uint64_t)(uintptr_t)stacks->main;
	cpu->tss.rsp[0] = cpu->stack_top;
	cpu->tss.ist[TRAP_IST_NMI - 1] = (uint64_t)(uintptr_t)stacks->nmi;
	cpu->tss.ist[TRAP_IST_DF - 1] = (uint64_t)(uintptr_t)stacks->df;
	// Above its frame a machine check finds whose CPU it is: it may come while GS is a guest's (trap.c).
	struct cpu **mc = (struct cpu **)stacks->mc - TRAP_MC_ABOVE / sizeof *mc;
	*mc = cpu;
	cpu->tss.ist[TRAP_IST_MC - 1] = (uint64_t)(uintptr_t)mc;
	gdt_load(&cpu->gdt, &cpu->tss);
	wrmsr(MSR_GS_BASE, (uint64_t)(uintptr_t)cpu);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_KERNEL_GS_BASE, 0);
	trap_load();
	control_registers_set();
	cpu->apic_id = cpuid(CPUID_FEATURES, 0).ebx >> CPUID1_EBX_APIC_ID_SHIFT;
}
