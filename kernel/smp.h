// SPDX-License-Identifier: Apache-2.0
// Remote calls: a function run on another CPU, waited for. Every CPU has a mailbox, one bit a sender; what is to be
// run stands in the sender's own record, of which one is enough because a sender waits, and what runs may not call
// in turn. A mailbox is served in the kick interrupt, and by a CPU that itself waits for a call or for a lock, so two
// CPUs that want something of each other both get on. Nothing here takes a lock or allocates. Interrupts are off.
#pragma once

#include "kernel/lib/types.h"

#define SMP_CPU_MAX 64u

// What the machine below does.
struct smp_machine {
	uint32_t (*self)(void); // id of the CPU that we run on
	// Makes a CPU (itself too) look: it comes to smp_serve and soon to its run loop, also from guest mode or idle.
	void (*kick)(uint32_t cpu);
};

typedef void smp_fn(void *arg);

// Boot CPU, once: nobody is online yet. Sets the wait hook of the locks, and in builds with LOCK_DEBUG what each CPU
// holds.
void smp_init(const struct smp_machine *machine);
// The calling CPU can be called from here on.
void smp_online(void);
uint64_t smp_online_mask(void); // bit n: CPU n
uint32_t smp_self(void);
void smp_kick(uint32_t cpu);

// Runs fn(arg) on that CPU and returns when it has; on the calling one at once. fn takes no lock that a caller may
// hold, and makes no remote call. -ERR_NOENT: that CPU is not online.
__must_check int smp_call(uint32_t cpu, smp_fn *fn, void *arg);
// On every online CPU but the calling one; on every one.
void smp_call_others(smp_fn *fn, void *arg);
void smp_call_all(smp_fn *fn, void *arg);
// Serves this CPU's mailbox.
void smp_serve(void);
