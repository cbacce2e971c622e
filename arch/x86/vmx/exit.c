// SPDX-License-Identifier: Apache-2.0
// Entering a guest, and turning a VM exit into the neutral record (SDM vol. 3, 27.2 "Recording VM-Exit Information
// and Updating VM-Entry Control Fields"). A VMREAD is the price of a fact: the table says which facts an exit needs.
#include "arch/x86/guest/event.h"
#include "arch/x86/vmx/vmx.h"
#include "kernel/lib/log.h"
#include "kernel/run.h"

static __attribute__((noinline)) void prepare_enter(struct vcpu *vcpu) {
	vmx_prepare(vcpu);
	vmx_enter(vcpu->arch);
}

void vmx_vcpu_enter(struct vcpu *vcpu) {
	if (unlikely(vmx_of(vcpu)->deferred != 0))
		prepare_enter(vcpu);
	else
		vmx_enter(vcpu->arch);
}

// What has to be read besides the reason.
enum exit_need {
	NEED_LENGTH = 1 << 0,    // of the instruction that exited
	NEED_VECTORING = 1 << 1, // the exit can interrupt the delivery of an event (27.2.4)
	NEED_DECODE = 1 << 2,    // a function of its own
};

// Every reason of the manual: name, neutral kind, needs. No dual-monitor treatment, PML or trap
// flag is turned on, so their exits are NOT_ENABLED; what is not offered in CPUID is #UD, as VIRT_INSN.
// clang-format off
#define REASON_ROWS(ROW) \
	ROW(EXCEPTION_NMI, EXCEPTION, NEED_VECTORING | NEED_DECODE) \
	ROW(EXTERNAL_INTERRUPT, INTERRUPT, 0) \
	ROW(TRIPLE_FAULT, TRIPLE_FAULT, 0) \
	ROW(INIT, INIT, 0) \
	ROW(SIPI, NOT_ENABLED, 0) \
	ROW(IO_SMI, NOT_ENABLED, 0) \
	ROW(OTHER_SMI, NOT_ENABLED, 0) \
	ROW(INTERRUPT_WINDOW, IRQ_WINDOW, 0) \
	ROW(NMI_WINDOW, NMI_WINDOW, 0) \
	ROW(TASK_SWITCH, TASK_SWITCH, NEED_DECODE) \
	ROW(CPUID, CPUID, NEED_LENGTH) \
	ROW(GETSEC, VIRT_INSN, 0) \
	ROW(HLT, HLT, NEED_LENGTH) \
	ROW(INVD, INVD, NEED_LENGTH) \
	ROW(INVLPG, INVLPG, NEED_LENGTH) \
	ROW(RDPMC, RDPMC, NEED_LENGTH) \
	ROW(RDTSC, RDTSC, NEED_LENGTH) \
	ROW(RSM, VIRT_INSN, 0) \
	ROW(VMCALL, HYPERCALL, NEED_LENGTH) \
	ROW(VMCLEAR, VIRT_INSN, 0) \
	ROW(VMLAUNCH, VIRT_INSN, 0) \
	ROW(VMPTRLD, VIRT_INSN, 0) \
	ROW(VMPTRST, VIRT_INSN, 0) \
	ROW(VMREAD, VIRT_INSN, 0) \
	ROW(VMRESUME, VIRT_INSN, 0) \
	ROW(VMWRITE, VIRT_INSN, 0) \
	ROW(VMXOFF, VIRT_INSN, 0) \
	ROW(VMXON, VIRT_INSN, 0) \
	ROW(CR_ACCESS, CR_ACCESS, NEED_LENGTH | NEED_DECODE) \
	ROW(DR_ACCESS, DR_ACCESS, NEED_LENGTH | NEED_DECODE) \
	ROW(IO, PIO, NEED_LENGTH) \
	ROW(RDMSR, RDMSR, NEED_LENGTH) \
	ROW(WRMSR, WRMSR, NEED_LENGTH) \
	ROW(ENTRY_GUEST_STATE, ENTRY_FAILED, 0) \
	ROW(ENTRY_MSR_LOAD, ENTRY_FAILED, 0) \
	ROW(MWAIT, MWAIT, NEED_LENGTH) \
	ROW(MONITOR_TRAP, NOT_ENABLED, 0) \
	ROW(MONITOR, MONITOR, NEED_LENGTH) \
	ROW(PAUSE, PAUSE, NEED_LENGTH) \
	ROW(ENTRY_MACHINE_CHECK, MACHINE_CHECK, 0) \
	ROW(TPR_BELOW_THRESHOLD, TPR_FALL, 0) \
	ROW(APIC_ACCESS, NESTED_FAULT, NEED_VECTORING | NEED_DECODE) \
	ROW(VIRTUALIZED_EOI, APIC_EOI, NEED_DECODE) \
	ROW(GDTR_IDTR, DT_ACCESS, NEED_LENGTH) \
	ROW(LDTR_TR, DT_ACCESS, NEED_LENGTH) \
	ROW(EPT_VIOLATION, NESTED_FAULT, NEED_VECTORING | NEED_DECODE) \
	ROW(EPT_MISCONFIG, MISCONFIG, NEED_DECODE) \
	ROW(INVEPT, VIRT_INSN, 0) \
	ROW(RDTSCP, RDTSC, NEED_LENGTH) \
	ROW(PREEMPTION_TIMER, PREEMPT, 0) \
	ROW(INVVPID, VIRT_INSN, 0) \
	ROW(WBINVD, INVD, NEED_LENGTH) \
	ROW(XSETBV, XSETBV, NEED_LENGTH) \
	ROW(APIC_WRITE, APIC_WRITE, NEED_DECODE) \
	ROW(RDRAND, NOT_ENABLED, 0) \
	ROW(INVPCID, VIRT_INSN, 0) \
	ROW(VMFUNC, VIRT_INSN, 0) \
	ROW(ENCLS, VIRT_INSN, 0) \
	ROW(RDSEED, NOT_ENABLED, 0) \
	ROW(PML_FULL, NOT_ENABLED, 0) \
	ROW(XSAVES, VIRT_INSN, 0) \
	ROW(XRSTORS, VIRT_INSN, 0) \
	ROW(PCONFIG, VIRT_INSN, 0) \
	ROW(SPP, NOT_ENABLED, 0) \
	ROW(UMWAIT, VIRT_INSN, 0) \
	ROW(TPAUSE, VIRT_INSN, 0) \
	ROW(LOADIWKEY, VIRT_INSN, 0) \
	ROW(ENCLV, VIRT_INSN, 0) \
	ROW(ENQCMD_PASID, VIRT_INSN, 0) \
	ROW(ENQCMDS_PASID, VIRT_INSN, 0) \
	ROW(BUS_LOCK, NOT_ENABLED, 0) \
	ROW(NOTIFY, NOT_ENABLED, 0) \
	ROW(SEAMCALL, VIRT_INSN, 0) \
	ROW(TDCALL, VIRT_INSN, 0) \
	ROW(RDMSRLIST, VIRT_INSN, 0) \
	ROW(WRMSRLIST, VIRT_INSN, 0)

struct exit_row {
	uint8_t kind, need;
};
#define ROW_ENTRY(reason, exit_kind, needs) [VMX_REASON_##reason] = {EXIT_##exit_kind, needs},
static const struct exit_row row[VMX_REASON_COUNT] = {
	REASON_ROWS(ROW_ENTRY)
	// These numbers are in no manual.
	[35] = {EXIT_UNKNOWN, 0}, [38] = {EXIT_UNKNOWN, 0}, [42] = {EXIT_UNKNOWN, 0}, [71] = {EXIT_UNKNOWN, 0},
};
#define ROW_NAME(reason, exit_kind, needs) [VMX_REASON_##reason] = #reason,
static const char *const reason_name[VMX_REASON_COUNT] = {REASON_ROWS(ROW_NAME)};
// clang-format on

const char *vmx_reason_name(uint32_t reason) {
	uint32_t basic = reason & VMX_REASON_BASIC_MASK;
	const char *name = basic < array_count(reason_name) ? reason_name[basic] : NULL;
	return name != NULL ? name : "of no manual we know";
}

static void decode_pio(struct exit *x) {
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	x->pio.port = (uint16_t)(q >> VMX_IO_PORT_SHIFT);
	x->pio.bytes = (uint8_t)((q & VMX_IO_SIZE_MASK) + 1);
	x->pio.in = (q & VMX_IO_IN) != 0;
	x->pio.string = (q & VMX_IO_STRING) != 0;
}

// The IRET that ended NMI blocking faulted: the blocking was not over (32.7.1.2).
static __cold void nmi_block_again(void) {
	vmcs_write32(VMCS_GUEST_INTERRUPTIBILITY, vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY) | VMX_BLOCKED_NMI);
}

static bool event_interrupted(void) { return (vmcs_read32(VMCS_IDT_VECTORING_INFO) & VMX_INTR_VALID) != 0; }

static void decode_nested_fault(struct exit *x) {
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	const uint64_t own = VMX_EPT_LINEAR_VALID | VMX_EPT_TRANSLATED;
	x->fault.gpa = vmcs_read64(VMCS_GUEST_PHYSICAL_ADDR);
	x->fault.access = (q & VMX_EPT_WRITE) != 0   ? EXIT_ACCESS_WRITE
	                  : (q & VMX_EPT_FETCH) != 0 ? EXIT_ACCESS_FETCH
	                                             : EXIT_ACCESS_READ;
	x->fault.table_walk = (q & own) != own;
	if (unlikely((q & VMX_EPT_NMI_UNBLOCKED) != 0) && !event_interrupted()) nmi_block_again();
}

static void decode_cr(struct exit *x) {
	static const uint8_t op[] = {[VMX_CR_TO] = EXIT_CR_WRITE,
	                             [VMX_CR_FROM] = EXIT_CR_READ,
	                             [VMX_CR_CLTS] = EXIT_CR_CLTS,
	                             [VMX_CR_LMSW] = EXIT_CR_LMSW};
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	x->cr.op = op[q >> VMX_CR_TYPE_SHIFT & VMX_CR_TYPE_MASK];
	x->cr.reg = (uint8_t)(q & VMX_CR_REG_MASK);
	x->cr.gpr = (uint8_t)(q >> VMX_CR_GPR_SHIFT & VMX_CR_GPR_MASK);
	x->cr.write = x->cr.op != EXIT_CR_READ;
	x->cr.lmsw = (uint16_t)(q >> VMX_CR_LMSW_SHIFT);
}

static __cold void decode_dr(struct exit *x) {
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	x->cr.write = (q & VMX_DR_FROM) == 0;
	x->cr.op = x->cr.write ? EXIT_CR_WRITE : EXIT_CR_READ;
	x->cr.reg = (uint8_t)(q & VMX_DR_REG_MASK);
	x->cr.gpr = (uint8_t)(q >> VMX_CR_GPR_SHIFT & VMX_CR_GPR_MASK);
}

// Through a task gate in the IDT only the software's events are instructions, to be moved past.
static __cold void decode_task(struct exit *x) {
	uint64_t q = vmcs_readn(VMCS_EXIT_QUALIFICATION);
	x->task.selector = (uint16_t)(q & VMX_TASK_SELECTOR_MASK);
	x->task.cause = (uint8_t)(q >> VMX_TASK_CAUSE_SHIFT & VMX_TASK_CAUSE_MASK);
	x->task.event = (struct guest_event){0};
	if (vmx_event_interrupted(&x->task.event))
		x->insn_len = x->task.event.insn_len;
	else
		x->insn_len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
}

static __cold void decode_exception(struct vcpu *vcpu, struct exit *x) {
	uint32_t info = vmcs_read32(VMCS_EXIT_INTR_INFO);
	uint8_t vector = (uint8_t)(info & VMX_INTR_VECTOR_MASK);
	if ((info >> VMX_INTR_TYPE_SHIFT & VMX_INTR_TYPE_MASK) == EVENT_NMI) {
		x->kind = EXIT_NMI;
		vmx_nmi_take();
		return;
	}
	if (vector == VEC_MC) {
		x->kind = EXIT_MACHINE_CHECK;
		return;
	}
	x->exception.vector = vector;
	x->exception.has_error = (info & VMX_INTR_HAS_ERROR) != 0;
	x->exception.error = x->exception.has_error ? vmcs_read32(VMCS_EXIT_INTR_ERROR) : 0;
	if (unlikely((info & VMX_INTR_NMI_UNBLOCKED) != 0) && vector != VEC_DF && !event_interrupted())
		nmi_block_again();
	if (vector == VEC_DB) vmx_debug_exit(vcpu, info);
}

static void decode_other(struct vcpu *vcpu, uint32_t reason, struct exit *x) {
	switch (reason) {
	case VMX_REASON_EPT_VIOLATION: decode_nested_fault(x); break;
	case VMX_REASON_APIC_ACCESS:
	case VMX_REASON_APIC_WRITE:
	case VMX_REASON_VIRTUALIZED_EOI: vmx_apic_decode(vcpu, reason, x); break;
	case VMX_REASON_EPT_MISCONFIG: x->fault.gpa = vmcs_read64(VMCS_GUEST_PHYSICAL_ADDR); break;
	case VMX_REASON_CR_ACCESS: decode_cr(x); break;
	case VMX_REASON_DR_ACCESS: decode_dr(x); break;
	case VMX_REASON_TASK_SWITCH: decode_task(x); break;
	default: decode_exception(vcpu, x); break;
	}
}

static noreturn void handle(struct vcpu *vcpu, const struct exit *x) {
	guest_exit(vcpu, x);
	run_loop();
}

// Of its own, so that the common exits save no registers.
static noreturn __attribute__((noinline)) void decode_handle(struct vcpu *vcpu, uint32_t reason, uint8_t need,
                                                             struct exit *x) {
	if ((need & NEED_DECODE) != 0) decode_other(vcpu, reason, x);
	if ((need & NEED_VECTORING) != 0) vmx_event_requeue(vcpu);
	handle(vcpu, x);
}

// Reasons that no row has. Bit 31: the entry did not come about (27.8 "Machine-Check Events During VM Entry" among them).
enum exit_kind vmx_kind_of_failure(uint32_t reason) {
	if (reason == (VMX_REASON_ENTRY_FAILED | VMX_REASON_ENTRY_MACHINE_CHECK)) return EXIT_MACHINE_CHECK;
	return (reason & VMX_REASON_ENTRY_FAILED) != 0 ? EXIT_ENTRY_FAILED : EXIT_UNKNOWN;
}

void vmx_exit(struct arch_vcpu *arch) {
	struct vcpu *vcpu = arch->vcpu;
	struct vmx_vcpu *vmx = arch->vendor;
	struct exit *x = &vmx->exit;
	uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
	x->reason = reason;
	if (likely(reason < array_count(row))) {
		const struct exit_row *r = &row[reason];
		uint8_t need = r->need;
		arch->launched = 1;
		vmx->event_waiting = false; // the entry took it
		x->kind = (enum exit_kind)r->kind;
		x->insn_len = 0;
		if (likely((need & NEED_LENGTH) != 0)) x->insn_len = (uint8_t)vmcs_read32(VMCS_EXIT_INSN_LEN);
		if (reason == VMX_REASON_IO)
			decode_pio(x);
		else if ((need & (NEED_DECODE | NEED_VECTORING)) != 0)
			decode_handle(vcpu, reason, need, x);
	} else {
		x->kind = vmx_kind_of_failure(reason);
		x->insn_len = 0;
	}
	handle(vcpu, x);
}

// VMLAUNCH or VMRESUME itself failed: a control or host field is wrong, or the launch state (26.1, 26.2).
void vmx_enter_failed(struct arch_vcpu *arch, uint64_t rflags) {
	uint64_t error = 0;
	bool known = (rflags & RFLAGS_ZF) != 0 && vmcs_read_quiet(VMCS_INSN_ERROR, &error);
	log_error("vmx", "%s failed: %s %llu", arch->launched != 0 ? "VMRESUME" : "VMLAUNCH",
	          known ? "VM-instruction error" : "no current VMCS", (unsigned long long)error);
	struct exit x = {.kind = EXIT_ENTRY_FAILED, .reason = error};
	handle(arch->vcpu, &x);
}

// A request came, or an NMI, between the last look and the entry.
void vmx_enter_cancelled(struct arch_vcpu *arch __unused_arg) { run_loop(); }
