// SPDX-License-Identifier: Apache-2.0
// arch/x86/vmx/check.c: the state of a 64-bit and of a real-mode guest passes, and each way to break it is named.
#include "arch/x86/vmx/check.h"
#include "arch/x86/vmx/vmcs.h"
#include "tests/unit/support.h"

#define DATA 0xc093u
#define CODE64 0xa09bu

static struct vmx_entry_state long_state(void) {
	struct vmx_entry_state s = {
	    .gdt_limit = 0x67,
	    .idt_limit = 0xfff,
	    .cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET,
	    .cr3 = 0x1000,
	    .cr4 = CR4_PAE | CR4_VMXE,
	    .efer = EFER_LME | EFER_LMA,
	    .pat = UINT64_C(0x0007040600070406),
	    .dr7 = DR7_FIXED,
	    .rip = UINT64_C(0xffffffff80001000),
	    .rflags = RFLAGS_FIXED | RFLAGS_IF,
	    .link_pointer = UINT64_MAX,
	    .entry_controls = VMX_ENTRY_IA32E,
	    .cr0_fixed = CR0_NE,
	    .cr4_fixed = CR4_VMXE,
	    .phys_bits = 39,
	    .virt_bits = 48,
	};
	for (unsigned i = 0; i <= SEG_GS; i++)
		s.seg[i] = (struct guest_segment){.limit = UINT32_MAX, .access = DATA, .selector = 0x10};
	s.seg[SEG_CS].access = CODE64;
	s.seg[SEG_LDTR].access = SEG_UNUSABLE;
	s.seg[SEG_TR] = (struct guest_segment){.limit = 0x67, .access = 0x8b, .selector = 0x38};
	return s;
}

static struct vmx_entry_state real_state(void) {
	struct vmx_entry_state s = long_state();
	s.cr0 = CR0_NE | CR0_ET;
	s.cr4 = CR4_VMXE;
	s.efer = 0;
	s.entry_controls = 0;
	s.rip = 0xfff0;
	for (unsigned i = 0; i <= SEG_GS; i++) s.seg[i] = (struct guest_segment){.limit = 0xffff, .access = 0x93};
	s.seg[SEG_CS] =
	    (struct guest_segment){.base = 0xffff0000u, .limit = 0xffff, .access = 0x9b, .selector = 0xf000};
	s.seg[SEG_LDTR] = (struct guest_segment){.limit = 0xffff, .access = 0x82};
	return s;
}

static struct vmx_entry_state pae_state(void) {
	struct vmx_entry_state s = long_state();
	s.efer = 0;
	s.entry_controls = 0;
	s.rip = 0x1000;
	s.seg[SEG_CS].access = 0xc09b;
	for (unsigned i = 0; i < 4; i++) s.pdpte[i] = 0x2001;
	return s;
}

static void vmx_entry_check_valid_state_passes(void **state) {
	(void)state;
	struct vmx_entry_state all[] = {long_state(), real_state(), pae_state()};
	const char *why[VMX_CHECK_MAX];
	for (unsigned i = 0; i < array_count(all); i++) {
		unsigned broken = vmx_entry_check(&all[i], why);
		if (broken != 0) fail_msg("state %u: %s", i, why[0]);
	}
}

#define BREAK(change, text)                                                                                  \
	do {                                                                                                     \
		struct vmx_entry_state s = base();                                                                   \
		const char *why[VMX_CHECK_MAX];                                                                      \
		change;                                                                                              \
		unsigned broken_ = vmx_entry_check(&s, why);                                                         \
		if (broken_ == 0) fail_msg("passes: %s", #change);                                                   \
		if (strstr(why[0], text) == NULL) fail_msg("%s: %s", #change, why[0]);                               \
	} while (0)

#define EVENT(vector, type) ((uint32_t)(vector) | (uint32_t)(type) << VMX_INTR_TYPE_SHIFT | VMX_INTR_VALID)

static void vmx_entry_check_broken_long_state_is_named(void **state) {
	(void)state;
	struct vmx_entry_state (*const base)(void) = long_state;
	BREAK(s.cr0 &= ~CR0_NE, "CR0 lacks");
	BREAK(s.cr4 &= ~CR4_VMXE, "CR4 lacks");
	BREAK(s.cr4 &= ~CR4_PAE, "without CR4.PAE");
	BREAK(s.cr0 &= ~CR0_PG, "without CR0.PG");
	BREAK(s.cr3 = BIT64(40), "CR3");
	BREAK(s.efer = EFER_LME, "EFER.LMA differs from IA-32e");
	BREAK(s.efer = EFER_LMA, "EFER.LMA differs from EFER.LME");
	BREAK(s.efer |= EFER_SVME, "reserved bits of EFER");
	BREAK(s.pat = 2, "IA32_PAT");
	BREAK(s.dr7 |= BIT64(32), "DR7");
	BREAK(s.sysenter_eip = BIT64(50), "SYSENTER");
	BREAK(s.seg[SEG_TR].access = 0x89, "TR: not a busy");
	BREAK(s.seg[SEG_TR].access = 0x83, "TR: not a busy");
	BREAK(s.seg[SEG_TR].access |= SEG_UNUSABLE, "TR: unusable");
	BREAK(s.seg[SEG_TR].selector |= 4, "TR: selector");
	BREAK((s.seg[SEG_LDTR] = (struct guest_segment){.limit = 0xffff, .access = 0x93}), "LDTR: type");
	BREAK(s.seg[SEG_FS].base = BIT64(60), "FS or GS base");
	BREAK(s.seg[SEG_DS].limit = 0x1234, "granularity");
	BREAK(s.seg[SEG_DS].access = 0xc092, "accessed bit");
	BREAK(s.seg[SEG_CS].access |= SEG_DB, "L and D/B");
	BREAK(s.seg[SEG_CS].access = 0xa0fb, "DPL differs");
	BREAK(s.seg[SEG_SS].access = 0xc09b, "SS: type");
	BREAK(s.gdt_limit = 0x10000, "limit above");
	BREAK(s.idt_base = BIT64(47), "GDTR or IDTR base");
	BREAK(s.rip = BIT64(47), "RIP is not canonical");
	BREAK(s.rflags = RFLAGS_IF, "bit 1");
	BREAK(s.rflags |= BIT64(15), "reserved bits of RFLAGS");
	BREAK((s.rflags = RFLAGS_FIXED, s.intr_info = EVENT(0x30, EVENT_IRQ)), "RFLAGS.IF = 0");
	BREAK((s.interruptibility = VMX_BLOCKED_STI, s.rflags |= RFLAGS_TF), "pending debug BS");
	BREAK(s.interruptibility = VMX_SHADOW, "STI and MOV SS");
	BREAK((s.interruptibility = VMX_BLOCKED_NMI, s.intr_info = EVENT(2, EVENT_NMI)), "NMIs are blocked");
	BREAK(s.intr_info = EVENT(VEC_GP, EVENT_EXCEPTION), "error code");
	BREAK(s.intr_info = EVENT(VEC_UD, EVENT_EXCEPTION) | VMX_INTR_HAS_ERROR, "error code");
	BREAK(s.intr_info = EVENT(3, EVENT_SOFT_EXCEPTION), "instruction length");
	BREAK(s.intr_info = EVENT(3, EVENT_NMI), "another vector");
	BREAK(s.link_pointer = 0, "link pointer");
}

static void vmx_entry_check_broken_legacy_state_is_named(void **state) {
	(void)state;
	struct vmx_entry_state (*base)(void) = real_state;
	BREAK(s.rip = BIT64(32), "RIP bits 63:32");
	BREAK(s.seg[SEG_SS].access = 0xf3, "CS: DPL");
	BREAK(s.intr_info = EVENT(VEC_GP, EVENT_EXCEPTION) | VMX_INTR_HAS_ERROR, "error code");
	BREAK(s.cr0 |= CR0_PG, "without CR0.PE");
	base = pae_state;
	BREAK(s.pdpte[3] |= BIT64(1), "PDPTE");
	BREAK(s.rflags |= RFLAGS_VM, "virtual-8086");
	BREAK(s.cr4 |= CR4_PCIDE, "PCIDE");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vmx_entry_check_valid_state_passes),
	    cmocka_unit_test(vmx_entry_check_broken_long_state_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_legacy_state_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
