// SPDX-License-Identifier: Apache-2.0
// The choice follows Intel's and AMD's published guidance (CPUID and IA32_ARCH_CAPABILITIES enumeration: SDM vol. 2
// "CPUID" leaf 7, vol. 4 table 2-2; AMD "Indirect Branch Control Extension", APM vol. 3 E.4.7 and E.4.17).
#include "arch/x86/cpu/mitigate.h"

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/cpu/gdt.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/regs.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"

#define LEAF7_EDX_MD_CLEAR BIT32(10)
#define LEAF7_EDX_L1D_FLUSH BIT32(28)
#define LEAF7_EDX_SPEC_CTRL BIT32(26) // IBRS and IBPB
#define EXT8_EBX_IBRS BIT32(14)
#define EXT8_EBX_IBRS_ALWAYS BIT32(16)
#define EXT21_EAX_AUTO_IBRS BIT32(8)
#define ARCH_CAP_RDCL_NO BIT64(0)
#define ARCH_CAP_IBRS_ALL BIT64(1)
#define SPEC_CTRL_IBRS BIT64(0)
#define PRED_CMD_IBPB BIT64(0)
#define FLUSH_CMD_L1D BIT64(0)
#define DE_CFG_LFENCE_SERIALISE BIT64(1)

static uint32_t chosen;

static uint32_t choose_intel(const struct mitigate_facts *f) {
	uint32_t set = 0;
	if ((f->leaf7_edx & LEAF7_EDX_SPEC_CTRL) != 0) set |= MITIGATE_IBPB;
	if ((f->leaf7_edx & LEAF7_EDX_SPEC_CTRL) != 0 && (f->arch_capabilities & ARCH_CAP_IBRS_ALL) != 0)
		set |= MITIGATE_IBRS;
	if ((f->leaf7_edx & LEAF7_EDX_L1D_FLUSH) != 0 && (f->arch_capabilities & ARCH_CAP_RDCL_NO) == 0)
		set |= MITIGATE_L1D;
	// Also where MDS_NO is set: such a CPU may still be open to what came later (MMIO stale data, RFDS).
	if ((f->leaf7_edx & LEAF7_EDX_MD_CLEAR) != 0) set |= MITIGATE_VERW;
	return set;
}

static uint32_t choose_amd(const struct mitigate_facts *f) {
	const uint32_t always = EXT8_EBX_IBRS | EXT8_EBX_IBRS_ALWAYS;
	uint32_t set = MITIGATE_LFENCE;
	if ((f->ext8_ebx & CPUID88_EBX_IBPB) != 0) set |= MITIGATE_IBPB;
	if ((f->ext21_eax & EXT21_EAX_AUTO_IBRS) != 0)
		set |= MITIGATE_AUTO_IBRS;
	else if ((f->ext8_ebx & always) == always)
		set |= MITIGATE_IBRS;
	return set;
}

uint32_t mitigate_choose(const struct mitigate_facts *facts) {
	switch (facts->vendor) {
	case CPU_VENDOR_INTEL: return choose_intel(facts);
	case CPU_VENDOR_AMD: return choose_amd(facts);
	default: return 0;
	}
}

void mitigate_init(void) {
	static const char *const name[MITIGATE_NAMES] = {"IBRS", "automatic IBRS", "serialising LFENCE",
	                                                 "IBPB", "L1D flush",      "VERW"};
	struct mitigate_facts facts = {.vendor = features.vendor};
	if (features.max_basic >= CPUID_MORE_FEATURES) facts.leaf7_edx = cpuid(CPUID_MORE_FEATURES, 0).edx;
	if (features.max_extended >= CPUID_EXT_SIZES) facts.ext8_ebx = cpuid(CPUID_EXT_SIZES, 0).ebx;
	if (features.max_extended >= CPUID_EXT_MORE_FEATURES)
		facts.ext21_eax = cpuid(CPUID_EXT_MORE_FEATURES, 0).eax;
	if (features.arch_capabilities) (void)rdmsr_safe(MSR_ARCH_CAPABILITIES, &facts.arch_capabilities);
	chosen = mitigate_choose(&facts);
	uint64_t de_cfg;
	// Under another hypervisor LFENCE is its business, and it may refuse the write.
	if (features.hypervisor || !rdmsr_safe(MSR_DE_CFG, &de_cfg)) chosen &= ~(uint32_t)MITIGATE_LFENCE;
	char text[96] = "";
	size_t length = 0;
	for (unsigned i = 0; i < MITIGATE_NAMES; i++)
		if ((chosen & BIT32(i)) != 0)
			length += fmt_print(text + length, sizeof text - length, "%s, ", name[i]);
	log_info("cpu", "speculation: %sRSB filled at a change of VM", text);
}

void mitigate_cpu_init(void) {
	if ((chosen & MITIGATE_IBRS) != 0) wrmsr(MSR_SPEC_CTRL, SPEC_CTRL_IBRS);
	if ((chosen & MITIGATE_AUTO_IBRS) != 0) wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_AIBRSE);
	if ((chosen & MITIGATE_LFENCE) != 0) wrmsr(MSR_DE_CFG, rdmsr(MSR_DE_CFG) | DE_CFG_LFENCE_SERIALISE);
}

void mitigate_vm_switch(void) {
	if ((chosen & MITIGATE_IBPB) != 0) wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
	if ((chosen & MITIGATE_L1D) != 0) wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	return_stack_fill();
	if ((chosen & MITIGATE_VERW) != 0) verw(GDT_DATA);
}
