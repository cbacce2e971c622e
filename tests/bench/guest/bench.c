// SPDX-License-Identifier: Apache-2.0
// The benchmark guest: loops of one operation each, timed with RDTSC. Under QEMU's icount and in Bochs the
// TSC counts instructions, so a line `BENCH name n` is instructions per round, the loop's own included
// (`empty` says how many those are). tests/bench/run.py boots it and prints the table.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define ROUNDS 1000u
#define WARM_UP 20u
#define VEC_XAPIC 0x41
#define VEC_X2APIC 0x42
#define VEC_LATENCY 0x43

typedef void loop_fn(uint64_t rounds);
typedef uint64_t latency_fn(uint64_t rounds); // the sum of all rounds' ticks

// bench.asm: each runs its operation `rounds` times.
loop_fn loop_empty, loop_cpuid, loop_rdtsc, loop_out_pic, loop_in_pic, loop_out_uart, loop_in_none,
    loop_out_none, loop_mmio_read, loop_mmio_write, loop_rdmsr, loop_wrmsr, loop_vmmcall, loop_vmcall,
    loop_ipi_xapic, loop_ipi_icr, loop_ipi_x2apic, loop_x2_read, loop_x2_write, loop_timer_xapic,
    loop_timer_deadline, loop_deadline_irq, loop_hlt_ipi;
latency_fn latency_ipi, latency_deadline;
extern uint8_t irq_xapic[], irq_x2apic[], irq_latency[];

static void report(const char *name, uint64_t ticks) {
	uint64_t tenths = ticks * 10 / ROUNDS;
	print("BENCH %s %llu.%llu\n", name, (unsigned long long)(tenths / 10), (unsigned long long)(tenths % 10));
}

static void measure(const char *name, loop_fn *loop) {
	loop(WARM_UP);
	uint64_t start = rdtsc();
	loop(ROUNDS);
	report(name, rdtsc() - start);
}

static void measure_latency(const char *name, latency_fn *latency) {
	latency(WARM_UP);
	report(name, latency(ROUNDS));
}

static void measure_exits(void) {
	measure("empty", loop_empty);
	measure("rdtsc", loop_rdtsc);
	measure("cpuid", loop_cpuid);
	if (on_bulkhead()) measure("hypercall", cpu_is_intel() ? loop_vmcall : loop_vmmcall);
	measure("port_write_pic", loop_out_pic);
	measure("port_read_pic", loop_in_pic);
	measure("port_write_uart", loop_out_uart);
	measure("port_read_unclaimed", loop_in_none);
	measure("port_write_unclaimed", loop_out_none);
	measure("rdmsr_apic_base", loop_rdmsr);
	measure("wrmsr_apic_base", loop_wrmsr);
	measure("lapic_mmio_read", loop_mmio_read);
	measure("lapic_mmio_write_tpr", loop_mmio_write);
	measure("timer_arm_xapic", loop_timer_xapic);
}

static void measure_interrupts(void) {
	irq_on();
	measure("self_ipi_eoi_xapic", loop_ipi_xapic);
	irq_off();
	if (!lapic_x2_supported()) return;
	lapic_x2_enable();
	measure("x2apic_read_tpr", loop_x2_read);
	measure("x2apic_write_tpr", loop_x2_write);
	irq_on();
	measure("self_ipi_eoi_x2apic", loop_ipi_x2apic);
	measure("icr_self_eoi_x2apic", loop_ipi_icr);
	measure_latency("ipi_to_handler_x2apic", latency_ipi);
	irq_off();
	measure("self_ipi_hlt_eoi_x2apic", loop_hlt_ipi);
	if (!(cpuid(1, 0).ecx >> 24 & 1)) return;
	lapic_write(LAPIC_LVT_TIMER, LVT_DEADLINE | VEC_X2APIC);
	measure("timer_arm_deadline", loop_timer_deadline);
	wrmsr(MSR_TSC_DEADLINE, 0);
	irq_on();
	measure("deadline_past_eoi_x2apic", loop_deadline_irq);
	lapic_write(LAPIC_LVT_TIMER, LVT_DEADLINE | VEC_LATENCY);
	measure_latency("deadline_to_handler", latency_deadline);
	irq_off();
}

// What hardware that delivers interrupts does without an exit; a HLT is not among it (docs/QUIRKS.md).
static void measure_delivery(void) {
	irq_on();
	measure("self_ipi_eoi_xapic", loop_ipi_xapic);
	irq_off();
	lapic_x2_enable();
	irq_on();
	measure("self_ipi_eoi_x2apic", loop_ipi_x2apic);
	irq_off();
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	trap_gate(VEC_XAPIC, irq_xapic, GATE_INTERRUPT);
	trap_gate(VEC_X2APIC, irq_x2apic, GATE_INTERRUPT);
	trap_gate(VEC_LATENCY, irq_latency, GATE_INTERRUPT);
	if (boot_has_word("delivery")) {
		measure_delivery();
	} else {
		measure_exits();
		measure_interrupts();
	}
	CHECK(true, "done");
	finish();
}
