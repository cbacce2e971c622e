// SPDX-License-Identifier: Apache-2.0
// The end of the machine's work, and host NMIs. The debug_exit port (QEMU's isa-debug-exit) gets the worst result of all VMs:
// their own debug-exit code, 0 for a power-off, 0x7f for a crash.
#include "kernel/machine.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "drivers/host/console.h"
#include "drivers/host/power.h"
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/log.h"
#include "kernel/smp.h"

#define RESULT_CRASH 0x7fu

static const struct config_machine *machine;
static uint32_t result;

void machine_init(const struct config_machine *config) { machine = config; }

void machine_vm_ended(struct vm *vm __unused_arg, enum vm_end how, uint32_t code) {
	uint32_t own = how == VM_END_DEBUG_EXIT ? code : how == VM_END_CRASH ? RESULT_CRASH : 0;
	uint32_t worst = __atomic_load_n(&result, __ATOMIC_RELAXED);
	while (worst < own &&
	       !__atomic_compare_exchange_n(&result, &worst, own, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
}

static uint32_t vms; // that run

void machine_vm_start(void) { __atomic_fetch_add(&vms, 1, __ATOMIC_RELAXED); }
void machine_vm_gone(void) {
	if (__atomic_sub_fetch(&vms, 1, __ATOMIC_ACQ_REL) == 0) machine_idle();
}

// System control port B: who raised an NMI on a PC.
#define PORT_SYSTEM_CONTROL_B 0x61u
#define SYSTEM_CONTROL_SERR BIT32(7)
#define SYSTEM_CONTROL_IOCHK BIT32(6)

// A host NMI is nobody's request here (a button, a broken board): it is told, and nothing else follows.
void machine_nmis_tell(void) {
	struct cpu *cpu = this_cpu();
	static struct log_bucket bucket;
	uint64_t nmis = cpu->nmis, more = nmis - cpu->nmis_told;
	uint8_t cause = in8(PORT_SYSTEM_CONTROL_B);
	cpu->nmis_told = nmis;
	if (!log_allow(&bucket, LOG_WARN, clock_now_ns())) return;
	log_warn("cpu", "cpu %u: %llu host NMI, %llu since the start, by %s", cpu->id, (unsigned long long)more,
	         (unsigned long long)nmis,
	         (cause & SYSTEM_CONTROL_SERR) != 0    ? "PCI SERR#"
	         : (cause & SYSTEM_CONTROL_IOCHK) != 0 ? "the I/O channel check"
	                                               : "no source that tells");
}

static uint32_t halting, halted; // CPUs

void machine_halt_wanted(void) {
	if (likely(halting == 0)) return;
	__atomic_fetch_add(&halted, 1, __ATOMIC_RELEASE);
	for (;;) cpu_halt();
}

#define HALT_NS UINT64_C(100000000) // the longest handler is far shorter

// Each at the end of what it is at, so that no lock stays held.
static void others_halt(void) {
	uint64_t others = smp_online_mask() & ~BIT64(this_cpu()->id), end = clock_now_ns() + HALT_NS;
	if (others == 0 || __atomic_exchange_n(&halting, 1, __ATOMIC_SEQ_CST) != 0) return;
	for (uint64_t left = others; left != 0; left &= left - 1) smp_kick(bit_first(left));
	while (__atomic_load_n(&halted, __ATOMIC_ACQUIRE) < (uint32_t)__builtin_popcountll(others) &&
	       clock_now_ns() < end)
		cpu_pause();
}

noreturn void machine_halt(void) {
	others_halt();
	console_set_deferred(false);
	console_flush();
	irq_disable();
	for (;;) cpu_halt();
}

noreturn void machine_idle(void) {
	log_line("all VMs ended");
	console_set_deferred(false);
	console_flush();
	if (machine->debug_exit != CONFIG_NO_PORT) out8((uint16_t)machine->debug_exit, (uint8_t)result);
	switch (machine->on_idle) {
	case CONFIG_IDLE_POWEROFF: power_off();
	case CONFIG_IDLE_REBOOT: power_reset();
	default: machine_halt();
	}
}
