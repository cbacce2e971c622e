// SPDX-License-Identifier: Apache-2.0
// The neutral exit record: what a backend decodes a #VMEXIT or VM exit into, and what everything above it
// handles. A backend fills only the fields its kind names.
#pragma once

#include "arch/x86/guest/state.h"
#include "kernel/vcpu.h"

enum exit_kind {
	EXIT_CPUID,
	EXIT_RDMSR,
	EXIT_WRMSR,
	EXIT_PIO,          // .pio
	EXIT_NESTED_FAULT, // .fault
	EXIT_HLT,
	EXIT_HYPERCALL,
	EXIT_INTERRUPT,     // a host interrupt; taken in the run loop's window
	EXIT_NMI,           // a host NMI
	EXIT_MACHINE_CHECK, // a host #MC during guest mode
	EXIT_IRQ_WINDOW,
	EXIT_NMI_WINDOW,
	EXIT_EXCEPTION,  // .exception, intercepted
	EXIT_CR_ACCESS,  // .cr
	EXIT_DR_ACCESS,  // .cr with a debug register
	EXIT_TPR_FALL,   // below the class of what waits
	EXIT_APIC_WRITE, // .apic: offset of the register, which hardware has stored; the instruction is complete
	EXIT_APIC_EOI,   // .apic: vector, of which hardware has ended the service
	EXIT_TRIPLE_FAULT,
	EXIT_INIT,
	EXIT_XSETBV,
	EXIT_INVD, // INVD and WBINVD: nothing to do, guest memory is coherent
	EXIT_INVLPG,
	EXIT_RDTSC,
	EXIT_RDPMC,
	EXIT_PAUSE,
	EXIT_MONITOR,
	EXIT_MWAIT,
	EXIT_IRET,
	EXIT_VIRT_INSN,    // an instruction of VMX or SVM itself, or of a feature that is not offered: #UD
	EXIT_TASK_SWITCH,  // .task
	EXIT_DT_ACCESS,    // descriptor-table register access
	EXIT_PREEMPT,      // max_run_us
	EXIT_MISCONFIG,    // nested table entry the CPU refuses, .fault.gpa: our bug, that VM stops
	EXIT_ENTRY_FAILED, // the CPU refused the guest's state
	EXIT_NOT_ENABLED,  // a reason of the manual whose control or intercept is not set; .reason says which
	EXIT_UNKNOWN,      // a reason no manual we know names; .reason says which
	EXIT_KINDS,
};

// Names in the order above, for statistics and reports.
const char *exit_kind_name(enum exit_kind kind);

enum exit_access { EXIT_ACCESS_READ = 1, EXIT_ACCESS_WRITE = 2, EXIT_ACCESS_FETCH = 4 };
enum exit_cr_op {
	EXIT_CR_READ,
	EXIT_CR_WRITE,
	EXIT_CR_CLTS,
	EXIT_CR_LMSW,
	EXIT_CR_DECODE /* unknown: decode */
};
enum exit_task_cause { EXIT_TASK_CALL, EXIT_TASK_IRET, EXIT_TASK_JMP, EXIT_TASK_GATE /* in the IDT */ };

struct exit {
	enum exit_kind kind;
	uint8_t insn_len; // bytes, 0 when the CPU does not tell
	uint64_t reason;  // the vendor's own code
	union {
		struct {
			uint16_t port;
			uint8_t bytes; // 1, 2, 4
			bool in, string;
		} pio;
		struct {
			uint64_t gpa;
			uint8_t access;  // enum exit_access
			bool table_walk; // the access was to a guest page-table entry
		} fault;
		struct {
			uint8_t vector;
			bool has_error;
			uint32_t error;
			uint64_t address; // CR2 of a #PF
		} exception;
		struct {
			uint8_t op;  // enum exit_cr_op
			uint8_t reg; // CR or DR number
			uint8_t gpr; // operand, x86 order
			bool write;  // DR: direction
			uint16_t lmsw;
		} cr;
		struct {
			uint16_t selector;        // of the new TSS
			uint8_t cause;            // enum exit_task_cause
			struct guest_event event; // through a gate: what was being delivered, it is not queued; else zero
		} task;
		uint16_t apic;
	};
};

// Handles one exit; afterwards the caller goes back to the run loop.
typedef void exit_handler_fn(struct vcpu *vcpu, const struct exit *exit);
extern exit_handler_fn *const exit_handler[EXIT_KINDS];
static inline void guest_exit(struct vcpu *vcpu, const struct exit *exit) {
	enum exit_kind kind = exit->kind;
	vcpu->stat.exits[kind]++;
	exit_handler[kind](vcpu, exit);
}
