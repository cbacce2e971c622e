// SPDX-License-Identifier: Apache-2.0
// Entering a guest, and turning a #VMEXIT into the neutral record (APM vol. 2, appendix C). Hot path: an exit
// kind that needs nothing but its name costs one table look-up.
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/trap.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/svm/insn.h"
#include "arch/x86/svm/svm.h"
#include "drivers/host/apic.h"
#include "kernel/lib/string.h"
#include "kernel/run.h"

// The kick is not taken before VMRUN, and its handler has what waits looked at again.
void svm_prepare(struct svm_vcpu *svm, struct asid_pool *pool) {
	svm_asid_take(svm, pool);
	if (svm->exit_soon) apic_ipi_self(HOST_VEC_KICK);
	svm->exit_soon = false;
}

void svm_vcpu_enter(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	struct vmcb *v = vmcb_of(vcpu);
	struct svm_vcpu *svm = arch->vendor;
	const struct cpu *cpu = this_cpu();
	struct asid_pool *pool = &svm_asid_pool[cpu->id];
	if (unlikely(svm->asid_generation != pool->ids.generation)) svm_prepare(svm, pool);
	v->rax = arch->gpr[GPR_RAX];
	// From here to VMRUN nothing is taken: GIF = 0 holds interrupts, NMIs and INIT. What set a request before
	// is seen by the test; what comes after pends and exits the guest at once (IF = 1 under V_INTR_MASKING).
	svm_clgi();
	irq_enable();
	if (likely(__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) == 0)) svm_enter(arch, cpu->stack_top);
	irq_disable();
	svm_stgi();
}

// Negative: svm_event_exit has something to do first.
#define KIND(code, kind) [SVM_EXIT_##code] = EXIT_##kind + 1
#define KIND_EVENT(code, kind) [SVM_EXIT_##code] = -(EXIT_##kind + 1)
_Static_assert(EXIT_KINDS < INT8_MAX, "the table's type");
static const int8_t kind_of[0x90] = {
    KIND_EVENT(INTR, INTERRUPT),
    KIND_EVENT(NMI, NMI),
    KIND(SMI, INTERRUPT), // pends and is taken when GIF is set
    KIND(INIT, INIT),
    KIND_EVENT(VINTR, IRQ_WINDOW),
    KIND(RDTSC, RDTSC),
    KIND(RDTSCP, VIRT_INSN), // where it is not offered
    KIND(RDPMC, RDPMC),
    KIND(CPUID, CPUID),
    KIND_EVENT(IRET, IRET),
    KIND(INVD, INVD),
    KIND(WBINVD, INVD),
    KIND(PAUSE, PAUSE),
    KIND(HLT, HLT),
    KIND(INVLPG, INVLPG),
    KIND(IOIO, PIO),
    KIND(FERR_FREEZE, INTERRUPT),
    KIND(SHUTDOWN, TRIPLE_FAULT),
    KIND(VMMCALL, HYPERCALL),
    KIND(INVLPGA, VIRT_INSN),
    KIND(VMRUN, VIRT_INSN),
    KIND(VMLOAD, VIRT_INSN),
    KIND(VMSAVE, VIRT_INSN),
    KIND(STGI, VIRT_INSN),
    KIND(CLGI, VIRT_INSN),
    KIND(SKINIT, VIRT_INSN),
    KIND(RDPRU, VIRT_INSN),
    KIND(MONITOR, MONITOR),
    KIND(MWAIT, MWAIT),
    KIND(MWAIT_ARMED, MWAIT),
    KIND(XSETBV, XSETBV),
};

static void decode_pio(const struct vmcb *v, struct exit *x) {
	uint64_t info = v->exit_info1;
	x->kind = EXIT_PIO;
	x->pio.port = (uint16_t)(info >> SVM_IOIO_PORT_SHIFT);
	x->pio.bytes = (uint8_t)(info >> SVM_IOIO_SIZE_SHIFT & 7);
	x->pio.in = (info & SVM_IOIO_IN) != 0;
	x->pio.string = (info & SVM_IOIO_STRING) != 0;
	x->insn_len = (uint8_t)(v->exit_info2 - v->rip); // EXITINFO2 = next RIP, on every CPU
}

static void decode_nested_fault(const struct vmcb *v, struct exit *x) {
	uint64_t info = v->exit_info1;
	x->kind = EXIT_NESTED_FAULT;
	x->insn_len = 0; // next RIP is not given for faults
	x->fault.gpa = v->exit_info2;
	x->fault.access = (info & PF_WRITE) != 0   ? EXIT_ACCESS_WRITE
	                  : (info & PF_FETCH) != 0 ? EXIT_ACCESS_FETCH
	                                           : EXIT_ACCESS_READ;
	x->fault.table_walk = (info & SVM_NPF_TABLE) != 0;
	if (unlikely((info & PF_RSVD) != 0)) x->kind = EXIT_MISCONFIG; // a reserved bit in our tables
}

// MOV to and from control and debug registers: with decode assists the operand is told.
static __cold void decode_register_access(struct vmcb *v, struct exit *x) {
	uint64_t code = v->exit_code;
	bool debug = code >= SVM_EXIT_DR_READ;
	// Not every CPU exits before a MOV to CR0 has changed LMA (docs/QUIRKS.md), which is LME and PG.
	bool lma = (v->efer & EFER_LME) != 0 && (v->cr0 & CR0_PG) != 0;
	v->efer = (v->efer & ~EFER_LMA) | (lma ? EFER_LMA : 0);
	x->kind = debug ? EXIT_DR_ACCESS : EXIT_CR_ACCESS;
	x->cr.reg = (uint8_t)(code & 0xf);
	x->cr.write = (code & 0x10) != 0;
	x->cr.op = EXIT_CR_DECODE;
	if (!svm_caps.decode || (!debug && (v->exit_info1 & SVM_CR_MOV) == 0)) return;
	x->cr.op = x->cr.write ? EXIT_CR_WRITE : EXIT_CR_READ;
	x->cr.gpr = (uint8_t)(v->exit_info1 & SVM_CR_GPR_MASK);
}

static __cold void decode_exception(struct vcpu *vcpu, const struct vmcb *v, struct exit *x) {
	uint8_t vector = (uint8_t)(v->exit_code - SVM_EXIT_EXCEPTION);
	if (vector == VEC_DB && svm_step_exit(vcpu)) {
		x->kind = EXIT_NMI_WINDOW;
		return;
	}
	if (vector == VEC_MC) {
		x->kind = EXIT_MACHINE_CHECK;
		return;
	}
	// A single step of the guest's own, on a CPU that has not put BS into DR6 yet (docs/QUIRKS.md).
	if (vector == VEC_DB && (v->rflags & RFLAGS_TF) != 0 &&
	    (v->dr6 & (DR6_BREAKPOINTS | DR6_BD | DR6_BS | DR6_BT)) == 0)
		vmcb_of(vcpu)->dr6 |= DR6_BS;
	x->kind = EXIT_EXCEPTION;
	x->exception.vector = vector;
	x->exception.has_error = vector == VEC_AC;
	x->exception.error = (uint32_t)v->exit_info1;
	x->exception.address = v->exit_info2;
}

static __cold void decode_other(struct vcpu *vcpu, struct vmcb *v, struct exit *x) {
	uint64_t code = v->exit_code;
	if (code < SVM_EXIT_EXCEPTION)
		decode_register_access(v, x);
	else if (code < SVM_EXIT_INTR)
		decode_exception(vcpu, v, x);
	else if ((uint32_t)code == UINT32_MAX) // an invalid VMCB; some CPUs write only the low half
		x->kind = EXIT_ENTRY_FAILED;
	else if (code == SVM_EXIT_PUSHF || code == SVM_EXIT_TASK_SWITCH) {
		svm_step_leave(vcpu);
		x->kind = EXIT_NMI_WINDOW;
	} else if (code >= SVM_EXIT_IDTR_READ && code <= SVM_EXIT_TR_WRITE)
		x->kind = EXIT_DT_ACCESS;
	else if (code == SVM_EXIT_INVPCID)
		x->kind = EXIT_VIRT_INSN;
	else
		x->kind = code < SVM_EXIT_KNOWN_END ? EXIT_NOT_ENABLED : EXIT_UNKNOWN;
}

// What was being delivered when the exit came goes back to the neutral queue. Software events are simply
// executed again: RIP still points at the instruction.
static __cold void requeue_event(struct vcpu *vcpu, uint64_t info) {
	uint64_t type = info >> SVM_EVENT_TYPE_SHIFT & SVM_EVENT_TYPE_MASK;
	struct guest_event event = {
	    .type = (uint8_t)type,
	    .vector = (uint8_t)info,
	    .has_error = (info & SVM_EVENT_HAS_ERROR) != 0,
	    .error = (uint32_t)(info >> 32),
	};
	if (type == SVM_EVENT_SOFT) return;
	if (type == SVM_EVENT_EXCEPTION && (event.vector == VEC_BP || event.vector == VEC_OF)) return;
	if (type == SVM_EVENT_NMI) {
		svm_of(vcpu)->nmi_masked = false;
		vmcb_of(vcpu)->intercept_misc1 &= ~SVM_ICPT1_IRET;
	}
	guest_event_requeue(vcpu, &event);
}

// Next RIP is 0 where the exit is no instruction's.
static uint8_t insn_length(struct vcpu *vcpu, const struct vmcb *v, uint64_t code) {
	if (unlikely(!svm_caps.next_rip)) return svm_insn_length(vcpu, code);
	uint64_t length = v->next_rip - v->rip;
	return length <= EMUL_INSN_MAX ? (uint8_t)length : 0;
}

// Told for an access to data that faulted in the nested tables; the count is 0 where the fetch did not succeed, and less
// than 15 at a limit or a page's end (APM vol. 2, 15.33.3 "Nested Page Faults and Intercepted #PF").
unsigned svm_insn_bytes(const struct vcpu *vcpu, uint64_t code[static CODE_BYTES / 8]) {
	const struct vmcb *v = vmcb_of(vcpu);
	unsigned count = v->insn_bytes_count & SVM_INSN_BYTES_MASK;
	if (!svm_caps.decode || v->exit_code != SVM_EXIT_NPF) count = 0;
	code[0] = code[1] = 0;
	memcpy(code, v->insn_bytes, count);
	return count;
}

void svm_exit(struct arch_vcpu *arch) {
	struct vcpu *vcpu = arch->vcpu;
	struct vmcb *v = vmcb_of(vcpu);
	struct exit x;
	uint64_t code = v->exit_code;
	arch->gpr[GPR_RAX] = v->rax;
	if (unlikely(v->tlb_control != SVM_TLB_KEEP) && code != SVM_EXIT_INVALID)
		svm_flushed(v, &svm_asid_pool[this_cpu()->id]);
	v->event_inject = 0;
	x.reason = code;
	if (unlikely((v->exit_int_info & SVM_EVENT_VALID) != 0)) requeue_event(vcpu, v->exit_int_info);
	if (code == SVM_EXIT_IOIO) {
		decode_pio(v, &x);
		goto handle;
	}
	if (code == SVM_EXIT_NPF) {
		decode_nested_fault(v, &x);
		goto handle;
	}
	x.insn_len = insn_length(vcpu, v, code);
	if (code == SVM_EXIT_MSR)
		x.kind = v->exit_info1 != 0 ? EXIT_WRMSR : EXIT_RDMSR;
	else if (code < array_count(kind_of) && kind_of[code] > 0)
		x.kind = (enum exit_kind)(kind_of[code] - 1);
	else if (code < array_count(kind_of) && kind_of[code] < 0)
		x.kind = svm_event_exit(vcpu, (enum exit_kind)(-kind_of[code] - 1));
	else
		decode_other(vcpu, v, &x);
handle:
	guest_exit(vcpu, &x);
	run_loop();
}
