// SPDX-License-Identifier: Apache-2.0
// A vCPU: what KVM's vCPU thread is, an entity of the scheduler without a stack. Its architectural state
// lives in struct arch_vcpu. State changes happen on the CPU that owns it; other CPUs only set requests.
#pragma once

#include "kernel/sched.h"

struct vm;
struct arch_vcpu;

enum vcpu_state {
	VCPU_READY,     // may run, or runs
	VCPU_BLOCKED,   // HLT; an event makes it ready
	VCPU_WAIT_SIPI, // after INIT
	VCPU_STOPPED,   // its VM ended, or it faulted beyond repair
};

// Why the next entry must be preceded by work. One word, tested once with interrupts off just before
// entry; set by vcpu_request from any CPU or interrupt handler.
enum vcpu_request {
	VCPU_REQ_EVENT = 1 << 0,   // look for an interrupt, NMI or exception to inject
	VCPU_REQ_CPU = 1 << 1,     // this physical CPU has something to serve (timer, input)
	VCPU_REQ_END = 1 << 2,     // vm->end is set
	VCPU_REQ_FLUSH = 1 << 3,   // nested translations went stale
	VCPU_REQ_CLOCK = 1 << 4,   // publish the paravirtual clock again
	VCPU_REQ_APIC = 1 << 5,    // the local APIC's mode changed
	VCPU_REQ_CONSOLE = 1 << 7, // its serial port has input, or may send again
	VCPU_REQ_AGAIN =
	    1 << 6, // the last exit cut off the delivery of an event (only this vCPU's own CPU sets it)
};

#define VCPU_EXIT_KINDS 48u

struct vcpu_stat {
	uint64_t exits[VCPU_EXIT_KINDS]; // by enum exit_kind
	uint64_t injected_irqs, injected_nmis, injected_exceptions;
	uint64_t halts;
	uint64_t msr_denied, hypercalls_denied;
	uint64_t emulated;
};

struct vcpu {
	struct vm *vm;
	struct arch_vcpu *arch;
	uint32_t requests; // enum vcpu_request, atomic OR; read with interrupts off before entry
	enum vcpu_state state;
	uint32_t id;     // index in its VM; also its APIC id
	bool shares_cpu; // others wait for its CPU: it leaves a loop of PAUSE (EXIT_PAUSE); looked at when loaded
	struct sched_entity entity;
	bool scheduled; // it has a home: entity is valid
	bool woken;     // it is in its home's list of those that got requests
	struct vcpu *woken_next;
	struct vcpu_stat stat;
};

// Nothing stands before its entry: no request, and it is ready. Both words at once.
_Static_assert(offsetof(struct vcpu, requests) % 8 == 0 && VCPU_READY == 0 &&
                   offsetof(struct vcpu, state) == offsetof(struct vcpu, requests) + 4,
               "one aligned load");
static inline bool vcpu_enterable(const struct vcpu *vcpu) {
	return __atomic_load_n((const uint64_t *)(const void *)&vcpu->requests, __ATOMIC_RELAXED) == 0;
}

// Sets a request; its home CPU sees it soon, also when the vCPU sleeps or another one runs there. Any context.
void vcpu_request(struct vcpu *vcpu, uint32_t requests);
