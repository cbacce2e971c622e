// SPDX-License-Identifier: Apache-2.0
// One handler per exit kind. The table is the whole policy of what a guest's exit means; a kind whose answer is
// one line has it here.
#include "arch/x86/guest/exit.h"

#include "arch/x86/cpu/mce.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/hypercall.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/mmio.h"
#include "arch/x86/guest/msr.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/pio.h"
#include "arch/x86/guest/task.h"
#include "kernel/lib/panic.h"
#include "kernel/run.h"
#include "kernel/vintc.h"

_Static_assert(EXIT_KINDS <= VCPU_EXIT_KINDS, "statistics have a slot for every kind");

static const char *const kind_name[EXIT_KINDS] = {
    [EXIT_CPUID] = "cpuid",
    [EXIT_RDMSR] = "rdmsr",
    [EXIT_WRMSR] = "wrmsr",
    [EXIT_PIO] = "port-io",
    [EXIT_NESTED_FAULT] = "nested-fault",
    [EXIT_HLT] = "hlt",
    [EXIT_HYPERCALL] = "hypercall",
    [EXIT_INTERRUPT] = "interrupt",
    [EXIT_NMI] = "nmi",
    [EXIT_MACHINE_CHECK] = "machine-check",
    [EXIT_IRQ_WINDOW] = "irq-window",
    [EXIT_NMI_WINDOW] = "nmi-window",
    [EXIT_EXCEPTION] = "exception",
    [EXIT_CR_ACCESS] = "cr-access",
    [EXIT_DR_ACCESS] = "dr-access",
    [EXIT_TPR_FALL] = "tpr-fall",
    [EXIT_APIC_WRITE] = "apic-write",
    [EXIT_APIC_EOI] = "apic-eoi",
    [EXIT_TRIPLE_FAULT] = "triple-fault",
    [EXIT_INIT] = "init",
    [EXIT_XSETBV] = "xsetbv",
    [EXIT_INVD] = "invd",
    [EXIT_INVLPG] = "invlpg",
    [EXIT_RDTSC] = "rdtsc",
    [EXIT_RDPMC] = "rdpmc",
    [EXIT_PAUSE] = "pause",
    [EXIT_MONITOR] = "monitor",
    [EXIT_MWAIT] = "mwait",
    [EXIT_IRET] = "iret",
    [EXIT_VIRT_INSN] = "virtualisation-insn",
    [EXIT_TASK_SWITCH] = "task-switch",
    [EXIT_DT_ACCESS] = "descriptor-table",
    [EXIT_PREEMPT] = "preempt",
    [EXIT_MISCONFIG] = "nested-misconfig",
    [EXIT_ENTRY_FAILED] = "entry-failed",
    [EXIT_NOT_ENABLED] = "not-enabled",
    [EXIT_UNKNOWN] = "unknown",
};

const char *exit_kind_name(enum exit_kind kind) { return kind < EXIT_KINDS ? kind_name[kind] : "?"; }

static void on_nothing(struct vcpu *vcpu __unused_arg, const struct exit *exit __unused_arg) {}
static void on_skip(struct vcpu *vcpu, const struct exit *exit) { guest_skip(vcpu, exit); }
static void on_pause(struct vcpu *vcpu, const struct exit *exit) {
	guest_skip(vcpu, exit);
	run_yield();
}
static void on_undefined(struct vcpu *vcpu, const struct exit *exit __unused_arg) { guest_ud(vcpu); }
static void on_gp(struct vcpu *vcpu, const struct exit *exit __unused_arg) { guest_gp(vcpu); }

// Hardware that has the guest's TPR may have let it change without a word.
static __cold __attribute__((noinline)) void on_tpr_fall(struct vcpu *vcpu,
                                                         const struct exit *exit __unused_arg) {
	(void)vlapic_look(vcpu->arch->lapic);
	ops->apic_sync(vcpu);
	vcpu_request(vcpu, VCPU_REQ_EVENT);
}

static __cold void on_apic_write(struct vcpu *vcpu, const struct exit *exit) {
	vlapic_page_written(vcpu->arch->lapic, exit->apic);
}

static __cold void on_apic_eoi(struct vcpu *vcpu, const struct exit *exit) {
	vlapic_eoi_done(vcpu->arch->lapic, (uint8_t)exit->apic);
}

static void on_window(struct vcpu *vcpu, const struct exit *exit) {
	ops->irq_window(vcpu, false);
	on_tpr_fall(vcpu, exit);
}

static __cold void on_nmi_window(struct vcpu *vcpu, const struct exit *exit __unused_arg) {
	ops->nmi_window(vcpu, false);
	vcpu_request(vcpu, VCPU_REQ_EVENT);
}

// Exits for the sake of NMIs. A backend that steps over it to see its end could not follow it into another task.
static __cold void on_iret(struct vcpu *vcpu, const struct exit *exit) {
	if (vcpu->arch->nmi_pending) vcpu_request(vcpu, VCPU_REQ_EVENT);
	task_return(vcpu, exit);
}

static void on_hlt(struct vcpu *vcpu, const struct exit *exit) {
	guest_skip(vcpu, exit);
	vcpu->stat.halts++;
	if (guest_event_wakes(vcpu))
		vcpu_request(vcpu, VCPU_REQ_EVENT);
	else
		vcpu->state = VCPU_BLOCKED;
}

static __cold void on_exception(struct vcpu *vcpu, const struct exit *exit) {
	// Intercepted only so that an endless loop of it cannot hold the CPU: the guest gets it as it was.
	if (exit->exception.has_error)
		guest_exception_error(vcpu, exit->exception.vector, exit->exception.error);
	else
		guest_exception(vcpu, exit->exception.vector);
}

static __cold void on_triple_fault(struct vcpu *vcpu, const struct exit *exit __unused_arg) {
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "triple-fault at rip %#llx",
	               (unsigned long long)ops->rip_get(vcpu));
}

static __cold void on_machine_check(struct vcpu *vcpu, const struct exit *exit __unused_arg) {
	switch (mce_take()) {
	case MCE_GO_ON: break;
	case MCE_STOP: vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "machine-check while the guest ran"); break;
	case MCE_FATAL: panic("machine check: the CPU's own state is not sound");
	}
}

// Some CPUs answer a MOV to CR3 with reserved bits set, which is not intercepted, with this exit instead of #GP
// (docs/QUIRKS.md). Carried out here it gets the architectural answer; a state that is really refused is refused
// again at the next entry, with RIP elsewhere.
static __cold bool was_mov_cr3(struct vcpu *vcpu) {
	struct emul_insn insn;
	return guest_decode(vcpu, &insn) && insn.map == EMUL_MAP_0F && insn.opcode == OPCODE_MOV_TO_CR &&
	       (insn.modrm >> 3 & 7) == 3;
}

static __cold void on_entry_failed(struct vcpu *vcpu, const struct exit *exit) {
	if (was_mov_cr3(vcpu)) {
		cr_exit(vcpu, &(struct exit){.kind = EXIT_CR_ACCESS,
		                             .cr = {.op = EXIT_CR_DECODE, .reg = 3, .write = true}});
		return;
	}
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "entry-failed: the CPU refused the guest's state (%#llx)",
	               (unsigned long long)exit->reason);
}

static __cold void on_unknown(struct vcpu *vcpu, const struct exit *exit) {
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "exit %s reason %#llx is not handled",
	               exit_kind_name(exit->kind), (unsigned long long)exit->reason);
}

static __cold void on_misconfig(struct vcpu *vcpu, const struct exit *exit) {
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "the CPU refused a nested page table entry of gpa %#llx",
	               (unsigned long long)exit->fault.gpa);
}

exit_handler_fn *const exit_handler[EXIT_KINDS] = {
    [EXIT_CPUID] = cpuid_exit,
    [EXIT_RDMSR] = msr_read_exit,
    [EXIT_WRMSR] = msr_write_exit,
    [EXIT_PIO] = pio_exit,
    [EXIT_NESTED_FAULT] = mmio_exit,
    [EXIT_HLT] = on_hlt,
    [EXIT_HYPERCALL] = hypercall_exit,
    [EXIT_INTERRUPT] = on_nothing, // taken in the run loop's window
    [EXIT_NMI] = on_nothing,       // taken by the IDT as soon as NMIs are open
    [EXIT_MACHINE_CHECK] = on_machine_check,
    [EXIT_IRQ_WINDOW] = on_window,
    [EXIT_NMI_WINDOW] = on_nmi_window,
    [EXIT_EXCEPTION] = on_exception,
    [EXIT_CR_ACCESS] = cr_exit,
    [EXIT_DR_ACCESS] = on_unknown, // not intercepted
    [EXIT_TPR_FALL] = on_tpr_fall,
    [EXIT_APIC_WRITE] = on_apic_write,
    [EXIT_APIC_EOI] = on_apic_eoi,
    [EXIT_TRIPLE_FAULT] = on_triple_fault,
    [EXIT_INIT] = on_nothing,
    [EXIT_XSETBV] = xsetbv_exit,
    [EXIT_INVD] = on_skip, // guest memory is coherent: nothing to write back or lose
    [EXIT_INVLPG] = on_unknown,
    [EXIT_RDTSC] = on_unknown,
    [EXIT_RDPMC] = on_gp, // no performance counters are offered
    [EXIT_PAUSE] = on_pause,
    [EXIT_MONITOR] = on_undefined, // not offered in CPUID
    [EXIT_MWAIT] = on_undefined,
    [EXIT_IRET] = on_iret,
    [EXIT_VIRT_INSN] = on_undefined,
    [EXIT_TASK_SWITCH] = task_switch_exit,
    [EXIT_DT_ACCESS] = on_unknown,
    [EXIT_PREEMPT] = on_nothing,
    [EXIT_MISCONFIG] = on_misconfig,
    [EXIT_ENTRY_FAILED] = on_entry_failed,
    [EXIT_NOT_ENABLED] = on_unknown,
    [EXIT_UNKNOWN] = on_unknown,
};
