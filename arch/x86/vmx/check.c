// SPDX-License-Identifier: Apache-2.0
// One function a section of the manual; a rule is a line, with the manual's wording shortened.
#include "arch/x86/vmx/check.h"

#include "arch/x86/vmx/vmcs.h"

struct report {
	const char **why;
	unsigned count;
};

static void rule(struct report *r, bool holds, const char *text) {
	if (!holds && r->count < VMX_CHECK_MAX) r->why[r->count++] = text;
}

static bool canonical(const struct vmx_entry_state *s, uint64_t address) {
	unsigned unused = 64u - s->virt_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}
static bool physical(const struct vmx_entry_state *s, uint64_t value) { return value >> s->phys_bits == 0; }
static bool long_mode(const struct vmx_entry_state *s) { return (s->entry_controls & VMX_ENTRY_IA32E) != 0; }
static bool virtual_8086(const struct vmx_entry_state *s) { return (s->rflags & RFLAGS_VM) != 0; }

// 26.3.1.1 "Checks on Guest Control Registers, Debug Registers, and MSRs"
static void check_registers(struct report *r, const struct vmx_entry_state *s) {
	rule(r, (s->cr0 & s->cr0_fixed) == s->cr0_fixed, "CR0 lacks a bit that VMX operation fixes");
	rule(r, (s->cr0 & CR0_PG) == 0 || (s->cr0 & CR0_PE) != 0, "CR0.PG without CR0.PE");
	rule(r, (s->cr0 & CR0_NW) == 0 || (s->cr0 & CR0_CD) != 0, "CR0.NW without CR0.CD");
	rule(r, (s->cr4 & s->cr4_fixed) == s->cr4_fixed, "CR4 lacks a bit that VMX operation fixes");
	rule(r, !long_mode(s) || (s->cr0 & CR0_PG) != 0, "IA-32e mode guest without CR0.PG");
	rule(r, !long_mode(s) || (s->cr4 & CR4_PAE) != 0, "IA-32e mode guest without CR4.PAE");
	rule(r, long_mode(s) || (s->cr4 & CR4_PCIDE) == 0, "CR4.PCIDE outside IA-32e mode");
	rule(r, physical(s, s->cr3), "CR3 has bits beyond the physical address width");
	rule(r, s->dr7 >> 32 == 0, "DR7 bits 63:32");
	rule(r, canonical(s, s->sysenter_esp) && canonical(s, s->sysenter_eip),
	     "IA32_SYSENTER_ESP or EIP is not canonical");
	rule(r, ((s->efer & EFER_LMA) != 0) == long_mode(s), "EFER.LMA differs from IA-32e mode guest");
	rule(r, (s->cr0 & CR0_PG) == 0 || ((s->efer & EFER_LMA) != 0) == ((s->efer & EFER_LME) != 0),
	     "EFER.LMA differs from EFER.LME with paging on");
	rule(r, (s->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)) == 0, "reserved bits of EFER");
	bool pat_valid = true;
	for (unsigned i = 0; i < 8; i++) {
		uint64_t type = s->pat >> (8 * i) & 0xff;
		pat_valid = pat_valid && (type <= 1 || (type >= 4 && type <= 7));
	}
	rule(r, pat_valid, "a memory type of IA32_PAT");
}

// The type, bits 3:0 of the access rights (SDM vol. 3, table 3-1)
#define TYPE_ACCESSED 1u
#define TYPE_WRITABLE 2u // data
#define TYPE_READABLE 2u // code
#define TYPE_CONFORMING 4u
#define TYPE_CODE 8u
#define TYPE_LDT 2u
#define TYPE_TSS16_BUSY 3u
#define TYPE_TSS32_BUSY 11u
#define ACCESS_RESERVED (MASK64(11, 8) | MASK64(31, 17))

static uint32_t dpl(const struct guest_segment *g) { return g->access >> SEG_DPL_SHIFT & 3; }
static bool usable(const struct guest_segment *g) { return (g->access & SEG_UNUSABLE) == 0; }

static bool granularity_valid(const struct guest_segment *g) {
	bool pages = (g->access & SEG_G) != 0;
	if ((g->limit & 0xfffu) != 0xfffu && pages) return false;
	return g->limit <= 0xfffffu || pages;
}

static void check_data(struct report *r, const struct guest_segment *g) {
	uint32_t type = g->access & SEG_TYPE_MASK;
	if (!usable(g)) return;
	rule(r, (type & TYPE_ACCESSED) != 0, "DS, ES, FS or GS: accessed bit clear");
	rule(r, (type & TYPE_CODE) == 0 || (type & TYPE_READABLE) != 0,
	     "DS, ES, FS or GS: code that is not readable");
	rule(r, (g->access & SEG_S) != 0 && (g->access & SEG_P) != 0, "DS, ES, FS or GS: S or P clear");
}

static void check_code(struct report *r, const struct vmx_entry_state *s) {
	const struct guest_segment *cs = &s->seg[SEG_CS], *ss = &s->seg[SEG_SS];
	uint32_t type = cs->access & SEG_TYPE_MASK;
	bool code = (type & TYPE_CODE) != 0 && (type & TYPE_ACCESSED) != 0;
	rule(r, usable(cs) && (code || type == (TYPE_WRITABLE | TYPE_ACCESSED)), "CS: type, or unusable");
	rule(r, (cs->access & SEG_S) != 0 && (cs->access & SEG_P) != 0, "CS: S or P clear");
	rule(r, (cs->access & SEG_L) == 0 || !long_mode(s) || (cs->access & SEG_DB) == 0, "CS: L and D/B");
	if (!code)
		rule(r, dpl(cs) == 0, "CS: data with a DPL");
	else if ((type & TYPE_CONFORMING) != 0)
		rule(r, dpl(cs) <= dpl(ss), "CS: DPL of conforming code above SS's");
	else
		rule(r, dpl(cs) == dpl(ss), "CS: DPL differs from SS's");
}

static void check_stack(struct report *r, const struct vmx_entry_state *s) {
	const struct guest_segment *ss = &s->seg[SEG_SS];
	uint32_t type = ss->access & SEG_TYPE_MASK;
	bool real = (s->cr0 & CR0_PE) == 0;
	bool cs_data = (s->seg[SEG_CS].access & SEG_TYPE_MASK) == (TYPE_WRITABLE | TYPE_ACCESSED);
	rule(r, dpl(ss) == 0 || (!real && !cs_data), "SS: DPL in real mode");
	if (!usable(ss)) return;
	rule(r, (type & ~4u) == (TYPE_WRITABLE | TYPE_ACCESSED), "SS: type");
	rule(r, (ss->access & SEG_S) != 0 && (ss->access & SEG_P) != 0, "SS: S or P clear");
}

static void check_system(struct report *r, const struct vmx_entry_state *s) {
	const struct guest_segment *tr = &s->seg[SEG_TR], *ldtr = &s->seg[SEG_LDTR];
	uint32_t type = tr->access & SEG_TYPE_MASK;
	rule(r, usable(tr), "TR: unusable");
	rule(r, type == TYPE_TSS32_BUSY || (type == TYPE_TSS16_BUSY && !long_mode(s)), "TR: not a busy TSS");
	rule(r, (tr->access & SEG_S) == 0 && (tr->access & SEG_P) != 0, "TR: S set or P clear");
	rule(r, (tr->selector & 4) == 0, "TR: selector in the LDT");
	rule(r, canonical(s, tr->base), "TR: base is not canonical");
	if (!usable(ldtr)) return;
	rule(r, (ldtr->access & SEG_TYPE_MASK) == TYPE_LDT, "LDTR: type");
	rule(r, (ldtr->access & SEG_S) == 0 && (ldtr->access & SEG_P) != 0, "LDTR: S set or P clear");
	rule(r, (ldtr->selector & 4) == 0, "LDTR: selector in the LDT");
	rule(r, canonical(s, ldtr->base), "LDTR: base is not canonical");
}

// In virtual-8086 mode base, limit and access rights follow from the selector.
static void check_v86(struct report *r, const struct vmx_entry_state *s) {
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		const struct guest_segment *g = &s->seg[i];
		rule(r, g->base == (uint64_t)g->selector << 4 && g->limit == 0xffff && g->access == 0xf3,
		     "a segment of virtual-8086 mode");
	}
}

// 26.3.1.2 "Checks on Guest Segment Registers"
static void check_segments(struct report *r, const struct vmx_entry_state *s) {
	static const enum guest_seg data[] = {SEG_DS, SEG_ES, SEG_FS, SEG_GS};
	check_system(r, s);
	rule(r, canonical(s, s->seg[SEG_FS].base) && canonical(s, s->seg[SEG_GS].base),
	     "FS or GS base is not canonical");
	rule(r, s->seg[SEG_CS].base <= UINT32_MAX, "CS: base above 4 GiB");
	for (unsigned i = 0; i < SEG_COUNT; i++) {
		if (i != SEG_CS && !usable(&s->seg[i])) continue;
		rule(r, granularity_valid(&s->seg[i]), "a segment's limit and granularity");
		rule(r, (s->seg[i].access & ACCESS_RESERVED) == 0, "reserved access rights");
	}
	if (virtual_8086(s)) {
		check_v86(r, s);
		return;
	}
	check_code(r, s);
	check_stack(r, s);
	for (unsigned i = 0; i < array_count(data); i++) check_data(r, &s->seg[data[i]]);
}

// 26.3.1.3 "Checks on Guest Descriptor-Table Registers" and 26.3.1.4 "Checks on Guest RIP, RFLAGS"
static void check_tables_and_flow(struct report *r, const struct vmx_entry_state *s) {
	bool code64 = long_mode(s) && (s->seg[SEG_CS].access & SEG_L) != 0;
	uint32_t type = s->intr_info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK;
	bool interrupt = (s->intr_info & VMX_INTR_VALID) != 0 && type == EVENT_IRQ;
	rule(r, canonical(s, s->gdt_base) && canonical(s, s->idt_base), "GDTR or IDTR base is not canonical");
	rule(r, s->gdt_limit <= 0xffff && s->idt_limit <= 0xffff, "GDTR or IDTR limit above 64 KiB");
	rule(r, code64 || s->rip >> 32 == 0, "RIP bits 63:32 outside 64-bit code");
	rule(r, !code64 || canonical(s, s->rip), "RIP is not canonical");
	rule(r, (s->rflags & RFLAGS_FIXED) != 0, "RFLAGS bit 1 clear");
	rule(r, (s->rflags & (MASK64(63, 22) | BIT64(15) | BIT64(5) | BIT64(3))) == 0, "reserved bits of RFLAGS");
	rule(r, !virtual_8086(s) || (!long_mode(s) && (s->cr0 & CR0_PE) != 0),
	     "RFLAGS.VM in real or IA-32e mode");
	rule(r, !interrupt || (s->rflags & RFLAGS_IF) != 0, "an interrupt is injected with RFLAGS.IF = 0");
}

#define ACTIVITY_ACTIVE 0u
#define ACTIVITY_HLT 1u
#define ACTIVITY_LAST 3u
#define DEBUGCTL_BTF BIT64(1)
#define PENDING_ALLOWED (VMX_DEBUG_BREAKPOINTS | VMX_DEBUG_ENABLED | VMX_DEBUG_BS | BIT64(16) /* RTM */)

// 26.3.1.5 "Checks on Guest Non-Register State"
static void check_non_register(struct report *r, const struct vmx_entry_state *s) {
	uint32_t blocked = s->interruptibility, type = s->intr_info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK;
	bool injected = (s->intr_info & VMX_INTR_VALID) != 0;
	bool nmi = injected && type == EVENT_NMI, interrupt = injected && type == EVENT_IRQ;
	bool step = (s->rflags & RFLAGS_TF) != 0 && (s->debugctl & DEBUGCTL_BTF) == 0;
	bool held = (blocked & VMX_SHADOW) != 0 || s->activity == ACTIVITY_HLT;
	rule(r, s->activity <= ACTIVITY_LAST, "activity state");
	rule(r, s->activity == ACTIVITY_ACTIVE || (blocked & VMX_SHADOW) == 0, "not active inside a shadow");
	rule(r, s->activity != ACTIVITY_HLT || dpl(&s->seg[SEG_SS]) == 0, "HLT state with a DPL of SS");
	rule(r, blocked >> 5 == 0, "reserved bits of the interruptibility state");
	rule(r, (blocked & VMX_SHADOW) != VMX_SHADOW, "shadows of STI and MOV SS at once");
	rule(r, (blocked & VMX_BLOCKED_STI) == 0 || (s->rflags & RFLAGS_IF) != 0,
	     "shadow of STI with RFLAGS.IF = 0");
	rule(r, !interrupt || (blocked & VMX_SHADOW) == 0, "an interrupt is injected inside a shadow");
	rule(r, !nmi || (blocked & (VMX_BLOCKED_MOV_SS | VMX_BLOCKED_NMI)) == 0,
	     "an NMI is injected where NMIs are blocked");
	rule(r, !nmi || (blocked & VMX_BLOCKED_STI) == 0, "an NMI is injected behind STI (some CPUs refuse)");
	rule(r, (s->pending_debug & ~PENDING_ALLOWED) == 0, "reserved bits of the pending debug exceptions");
	rule(r, !held || ((s->pending_debug & VMX_DEBUG_BS) != 0) == step,
	     "pending debug BS differs from RFLAGS.TF inside a shadow");
	rule(r, s->link_pointer == UINT64_MAX, "VMCS link pointer");
}

// 26.3.1.6 "Checks on Guest Page-Directory-Pointer-Table Entries"
static void check_pdptes(struct report *r, const struct vmx_entry_state *s) {
	if ((s->cr0 & CR0_PG) == 0 || (s->cr4 & CR4_PAE) == 0 || long_mode(s)) return;
	const uint64_t reserved = MASK64(63, s->phys_bits) | MASK64(8, 5) | MASK64(2, 1);
	for (unsigned i = 0; i < array_count(s->pdpte); i++)
		rule(r, (s->pdpte[i] & 1) == 0 || (s->pdpte[i] & reserved) == 0, "reserved bits of a PDPTE");
}

#define INSN_LEN_MAX 15u
// 26.2.1.3 "VM-Entry Control Fields"
static void check_event(struct report *r, const struct vmx_entry_state *s) {
	uint32_t info = s->intr_info, vector = info & VMX_INTR_VECTOR_MASK;
	uint32_t type = info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK;
	if ((info & VMX_INTR_VALID) == 0) return;
	bool exception = type == EVENT_EXCEPTION;
	bool wants_error =
	    exception && (s->cr0 & CR0_PE) != 0 && vector < 32 && (VMX_VECTORS_WITH_ERROR >> vector & 1) != 0;
	rule(r, (info & MASK64(30, 12)) == 0, "reserved bits of the injected event");
	rule(r, type != 1 && type != 7, "type of the injected event");
	rule(r, type != EVENT_NMI || vector == VEC_NMI, "an NMI with another vector than 2");
	rule(r, !exception || vector < 32, "an exception with a vector above 31");
	rule(r, ((info & VMX_INTR_HAS_ERROR) != 0) == wants_error, "error code of the injected event");
	bool soft =
	    type == EVENT_SOFT_IRQ || type == EVENT_SOFT_EXCEPTION || type == VMX_INTR_TYPE_PRIVILEGED_SOFT;
	rule(r, !soft || (s->intr_insn_len >= 1 && s->intr_insn_len <= INSN_LEN_MAX),
	     "instruction length of the injected software event");
}

unsigned vmx_entry_check(const struct vmx_entry_state *s, const char *why[static VMX_CHECK_MAX]) {
	struct report r = {.why = why};
	check_registers(&r, s);
	check_segments(&r, s);
	check_tables_and_flow(&r, s);
	check_non_register(&r, s);
	check_pdptes(&r, s);
	check_event(&r, s);
	return r.count;
}
