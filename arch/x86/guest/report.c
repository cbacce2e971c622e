// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log.
#include "arch/x86/guest/entrycheck.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/vcpu.h"
#include "arch/x86/guest/walk.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"

static void report_registers(const struct vcpu *vcpu) {
	log_error("vcpu", "rip %016llx rflags %llx cpl %u", (unsigned long long)ops->rip_get(vcpu),
	          (unsigned long long)ops->rflags_get(vcpu), ops->cpl_get(vcpu));
	panic_gprs_log("vcpu", vcpu->arch->gpr);
}

static void report_segments(const struct guest_sregs *s) {
	static const char *const name[SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
	log_error("vcpu", "cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx", (unsigned long long)s->cr0,
	          (unsigned long long)s->cr2, (unsigned long long)s->cr3, (unsigned long long)s->cr4,
	          (unsigned long long)s->efer);
	for (unsigned i = 0; i < SEG_COUNT; i++)
		log_error("vcpu", "%-4s %04x base %llx limit %x access %x", name[i], s->seg[i].selector,
		          (unsigned long long)s->seg[i].base, s->seg[i].limit, s->seg[i].access);
	log_error("vcpu", "gdt %llx/%x idt %llx/%x", (unsigned long long)s->gdt.base, s->gdt.limit,
	          (unsigned long long)s->idt.base, s->idt.limit);
}

static void report_code(struct vcpu *vcpu) {
	uint64_t code[CODE_BYTES / 8];
	const uint8_t *bytes = (const uint8_t *)code;
	char text[3 * CODE_BYTES + 1] = "";
	struct guest_paging paging;
	struct walk_fault fault;
	ops->paging_get(vcpu, &paging);
	unsigned have = guest_fetch(vcpu, &paging, code, &fault);
	for (unsigned i = 0; i < have; i++) fmt_print(text + 3 * i, sizeof text - 3 * i, " %02x", bytes[i]);
	log_error("vcpu", "code at rip:%s", have > 0 ? text : " not readable");
}

void entry_report(const struct entry_broken *broken, unsigned count) {
	for (unsigned i = 0; i < count; i++)
		log_error("entry", "refused: %s: %s%s", broken[i].section->title, broken[i].subject,
		          broken[i].rule->text);
}

void arch_vcpu_report(struct vcpu *vcpu) {
	struct guest_sregs s;
	log_error("vcpu", "vm \"%s\" vcpu %u stopped: %s", vcpu->vm->name, vcpu->id, vcpu->vm->stop.reason);
	vcpu->arch->gpr[GPR_RSP] = ops->rsp_get(vcpu);
	ops->sregs_get(vcpu, &s);
	report_registers(vcpu);
	report_segments(&s);
	report_code(vcpu);
	ops->dump(vcpu);
}

void arch_vcpu_brief(const struct vcpu *vcpu, char *text, size_t bytes) {
	fmt_print(text, bytes, "vm=%u (\"%s\") vcpu=%u was current, guest rax %llx", vcpu->vm->id, vcpu->vm->name,
	          vcpu->id, (unsigned long long)vcpu->arch->gpr[GPR_RAX]);
}
