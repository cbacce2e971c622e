// SPDX-License-Identifier: Apache-2.0
// One CPU at a time: its stacks, page tables and the trampoline's parameters, INIT, two STARTUPs, and a handshake in
// which it sets itself up and its TSC is compared with the boot CPU's.
#include "kernel/apstart.h"

#include "arch/x86/cpu/ap.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mce.h"
#include "arch/x86/cpu/mitigate.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "arch/x86/cpu/trap.h"
#include "drivers/host/apic.h"
#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"
#include "kernel/run.h"
#include "kernel/smp.h"
#include "kernel/tscsync.h"

// SDM vol. 3, 8.4.4.1: 10 ms behind INIT, 200 us behind the first STARTUP.
#define INIT_NS UINT64_C(10000000)
#define STARTUP_NS UINT64_C(200000)
#define ALIVE_NS UINT64_C(1000000000)
// How far two TSCs may seem apart after they were set right: less than any way of a guest from CPU to CPU.
#define WARP_NS_MAX UINT64_C(1000)
#define SET_TRIES 3u

enum stage {
	STAGE_OFF,     // not started, or given up
	STAGE_ALIVE,   // in C, on its own stack
	STAGE_FAILED,  // `why` says it
	STAGE_READY,   // set up; compares TSCs when told
	STAGE_COMPARE, // told to: tscsync_other
	STAGE_SET,     // told to: take `ahead` off the TSC
	STAGE_GO,      // told to: online, into the run loop
	STAGE_HALT,    // told to: for good
	STAGE_ONLINE,
};

// The CPU that is being started: one at a time.
static struct {
	uint32_t stage; // enum stage
	struct cpu_stacks stacks;
	const struct acpi_info *acpi;
	struct arch_why why;
	struct tscsync sync;
	int64_t ahead;
	uint64_t apart; // ticks that the TSCs of all CPUs so far may differ by
} ap;

static void stage_set(uint32_t stage) { __atomic_store_n(&ap.stage, stage, __ATOMIC_RELEASE); }
static uint32_t stage_get(void) { return __atomic_load_n(&ap.stage, __ATOMIC_ACQUIRE); }

static uint64_t tsc_read(void) { return rdtsc(); }

// Which pin carries NMIs stands in the MADT by processor UID.
static bool is_mine(const struct acpi_info *acpi, const struct acpi_nmi *nmi) {
	if (nmi->uid == ACPI_NMI_ALL_CPUS) return true;
	for (uint32_t i = 0; i < acpi->cpu_count; i++)
		if (acpi->cpu[i].apic_id == this_cpu()->apic_id) return acpi->cpu[i].uid == nmi->uid;
	return false;
}

int apstart_apic(const struct acpi_info *acpi) {
	int err = apic_cpu_init(HOST_VEC_SPURIOUS, HOST_VEC_ERROR);
	if (err < 0) return err;
	this_cpu()->apic_id = apic_id();
	for (uint32_t i = 0; i < acpi->nmi_count; i++) {
		const struct acpi_nmi *nmi = &acpi->nmi[i];
		if (is_mine(acpi, nmi))
			apic_lint_nmi(nmi->lint, (nmi->flags & ACPI_INTI_POLARITY_MASK) == ACPI_INTI_ACTIVE_LOW);
	}
	return 0;
}

// ---- on the CPU that comes up -----------------------------------------------------------------------------------

static int ap_setup(uint32_t id) {
	cpu_setup(id, &ap.stacks);
	wrmsr(MSR_PAT, HOSTPT_PAT);
	hostpt_cpu_low(memory_hostpt(), memory_cpu(id), false);
	mitigate_cpu_init();
	if (!features_same()) {
		fmt_print(ap.why.text, sizeof ap.why.text, "it lacks features of the boot CPU");
		return -ERR_UNSUP;
	}
	if (apstart_apic(ap.acpi) < 0) {
		fmt_print(ap.why.text, sizeof ap.why.text, "its local APIC cannot be enabled");
		return -ERR_UNSUP;
	}
	apic_timer_start(HOST_VEC_TIMER);
	run_cpu_init();
	mce_cpu_init();
	return arch_cpu_enable(&ap.why);
}

static noreturn void ap_entry(uint64_t id) {
	stage_set(STAGE_ALIVE);
	bool failed = ap_setup((uint32_t)id) < 0;
	stage_set(failed ? STAGE_FAILED : STAGE_READY);
	for (;;) {
		switch (stage_get()) {
		case STAGE_COMPARE:
			tscsync_other(&ap.sync, tsc_read);
			stage_set(STAGE_READY);
			break;
		case STAGE_SET:
			wrmsr(MSR_TSC, rdtsc() - (uint64_t)ap.ahead);
			stage_set(STAGE_READY);
			break;
		case STAGE_GO:
			smp_online();
			stage_set(STAGE_ONLINE);
			run_cpu();
		case STAGE_HALT:
			for (;;) cpu_halt();
		default: cpu_pause();
		}
	}
}

// ---- on the boot CPU --------------------------------------------------------------------------------------------

// Waits until the stage is no longer `from`, at most `ns`.
static bool stage_left(uint32_t from, uint64_t ns) {
	uint64_t end = rdtsc() + clock_ns_to_tsc(ns);
	while (stage_get() == from) {
		if ((int64_t)(rdtsc() - end) > 0) return false;
		cpu_pause();
	}
	return true;
}

static void stage_tell(uint32_t stage, uint32_t until) {
	stage_set(stage);
	while (stage_get() != until) cpu_pause();
}

static void params_fill(uint8_t *page, hpa_t base, uint32_t id, uint32_t apic_id) {
	struct ap_params *p = (struct ap_params *)(page + (ap_trampoline_params - ap_trampoline_start));
	memcpy(page, ap_trampoline_start, (size_t)(ap_trampoline_end - ap_trampoline_start));
	p->entry = (uint64_t)(uintptr_t)ap_entry;
	p->stack = (uint64_t)(uintptr_t)ap.stacks.main;
	p->cpu = id;
	p->cr0 = (uint32_t)read_cr0();
	p->cr3 = (uint32_t)hostpt_cpu_cr3(memory_cpu(id));
	p->cr4 = (uint32_t)(read_cr4() & CR4_LA57) | (uint32_t)CR4_PAE;
	p->efer = (uint32_t)(EFER_LME | (rdmsr(MSR_EFER) & EFER_NXE));
	p->apic_id = apic_id;
	p->far32_offset += (uint32_t)base.v;
	p->far64_offset += (uint32_t)base.v;
	p->gdt_base += (uint32_t)base.v;
}

static bool wake(uint32_t apic_id, hpa_t base) {
	if (apic_ipi_init(apic_id) < 0) return false;
	(void)stage_left(STAGE_OFF, INIT_NS);
	for (unsigned i = 0; i < 2; i++) {
		if (apic_ipi_startup(apic_id, base) < 0) return false;
		if (stage_left(STAGE_OFF, i == 0 ? STARTUP_NS : ALIVE_NS)) return true;
	}
	return false;
}

// Compares, and sets the other TSC right where it is not.
static bool tsc_agree(struct tscsync_result *result) {
	uint64_t limit = clock_ns_to_tsc(WARP_NS_MAX);
	for (unsigned i = 0; i <= SET_TRIES; i++) {
		ap.sync = (struct tscsync){.turn = 0};
		stage_set(STAGE_COMPARE);
		tscsync_boot(&ap.sync, tsc_read, result);
		while (stage_get() != STAGE_READY) cpu_pause();
		if (result->warp <= limit) return true;
		ap.ahead = result->ahead;
		if (i < SET_TRIES) stage_tell(STAGE_SET, STAGE_READY);
	}
	return false;
}

static const char *start(uint32_t id, const struct acpi_cpu *cpu, uint8_t *page, hpa_t base) {
	struct tscsync_result tsc;
	ap.why.text[0] = 0;
	stage_set(STAGE_OFF);
	if (hostpt_cpu_init(memory_hostpt(), memory_cpu(id)) < 0 || memory_cpu_stacks(id, &ap.stacks) < 0)
		return "no memory for its stacks and page tables";
	hostpt_cpu_low(memory_hostpt(), memory_cpu(id), true);
	params_fill(page, base, id, cpu->apic_id);
	if (!wake(cpu->apic_id, base)) {
		// What wakes late finds another CPU's id there.
		((struct ap_params *)(page + (ap_trampoline_params - ap_trampoline_start)))->apic_id = UINT32_MAX;
		return apic_ipi_init(cpu->apic_id) < 0 ? "its local APIC takes no message"
		                                       : "it does not answer INIT and STARTUP";
	}
	while (stage_get() == STAGE_ALIVE) cpu_pause();
	if (stage_get() == STAGE_FAILED) {
		stage_set(STAGE_HALT);
		return ap.why.text;
	}
	if (!tsc_agree(&tsc)) {
		fmt_print(ap.why.text, sizeof ap.why.text, "its TSC goes back by %llu ticks and cannot be set right",
		          (unsigned long long)tsc.warp);
		stage_set(STAGE_HALT);
		return ap.why.text;
	}
	ap.apart = max_u64(ap.apart, max_u64(tsc.warp, tsc.round_trip / 2));
	stage_tell(STAGE_GO, STAGE_ONLINE);
	return NULL;
}

void apstart_all(const struct acpi_info *acpi) {
	hpa_t base = memory_trampoline();
	void *page;
	uint32_t online = 1, id = 0, beyond = 0;
	ap.acpi = acpi;
	if (acpi->cpu_count <= 1) return;
	if (base.v == 0 || hostpt_low_map(memory_hostpt(), base, PAGE_BYTES) < 0 ||
	    hostmap_io(memory_hostpt(), base, PAGE_BYTES, PT_WB, HOSTPT_RW, &page) < 0) {
		log_warn("smp", "no page below 1 MiB for the trampoline: %u CPUs are not used", acpi->cpu_count - 1);
		return;
	}
	for (uint32_t i = 0; i < acpi->cpu_count; i++) {
		if (acpi->cpu[i].apic_id == this_cpu()->apic_id) continue;
		if (++id >= CPU_MAX) {
			beyond++;
			continue;
		}
		const char *why = start(id, &acpi->cpu[i], page, base);
		if (why == NULL)
			online++;
		else
			log_warn("smp", "CPU %u (APIC id %u) is left out: %s", id, acpi->cpu[i].apic_id, why);
	}
	memset(page, 0, PAGE_BYTES);
	hostunmap_io(memory_hostpt(), page);
	if (beyond > 0) log_warn("smp", "%u CPUs beyond %u are not used", beyond, CPU_MAX);
	log_info("smp", "%u of %u CPUs, TSCs within %llu ticks", online, acpi->cpu_count,
	         (unsigned long long)ap.apart);
	return;
}
