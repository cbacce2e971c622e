// SPDX-License-Identifier: Apache-2.0
// Local APIC: one register number for both ways of access (the xAPIC offset is sixteen times the x2APIC MSR's
// index, SDM vol. 3 table 11-6). The mode is chosen once and is the same on every CPU.
#include "drivers/host/apic.h"

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"
#include "arch/x86/cpu/regs.h"
#include "drivers/host/hostio.h"
#include "drivers/host/tsccal.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"

// Registers by x2APIC index (SDM vol. 3, table 11-6).
enum apic_reg {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_EOI = 0x0b,
	APIC_LDR = 0x0d,
	APIC_DFR = 0x0e, // xAPIC only
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_ESR = 0x28,
	APIC_LVT_CMCI = 0x2f,
	APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31, // xAPIC only
	APIC_LVT_TIMER = 0x32,
	APIC_LVT_THERMAL = 0x33,
	APIC_LVT_PERF = 0x34,
	APIC_LVT_LINT0 = 0x35,
	APIC_LVT_LINT1 = 0x36,
	APIC_LVT_ERROR = 0x37,
	APIC_TIMER_INITIAL = 0x38,
	APIC_TIMER_CURRENT = 0x39,
	APIC_TIMER_DIVIDE = 0x3e,
	APIC_SELF_IPI = 0x3f, // x2APIC only
};

#define APIC_PAGE_BYTES 4096u
#define APIC_BASE_ADDRESS_MASK (~UINT64_C(0xfff))
#define SVR_ENABLE BIT32(8)
#define LVT_MASKED BIT32(16)
#define LVT_MODE_MASK (7u << 8)
#define LVT_MODE_SMI (2u << 8)
#define LVT_MODE_NMI (4u << 8)
#define LVT_ACTIVE_LOW BIT32(13)
#define LVT_TIMER_ONE_SHOT 0u
#define LVT_TIMER_DEADLINE (2u << 17)
#define ICR_MODE_FIXED (0u << 8)
#define ICR_MODE_NMI (4u << 8)
#define ICR_MODE_INIT (5u << 8)
#define ICR_MODE_STARTUP (6u << 8)
#define ICR_PENDING BIT32(12)
#define ICR_ASSERT BIT32(14)
#define ICR_SELF (1u << 18)
#define DFR_FLAT 0xffffffffu
#define DIVIDE_BY_1 0xbu
#define VERSION_LVT_MAX(v) ((v) >> 16 & 0xffu)
#define LVT_COUNT_CMCI 7u // "max LVT entry" + 1 of a CPU with the CMCI entry

// An IPI is delivered in microseconds; this many reads take milliseconds.
#define DELIVERY_READS 100000u
// At most 256 interrupts can be in service or requested.
#define STALE_INTERRUPTS 256u

static struct {
	void *page; // xAPIC registers, NULL in x2APIC mode
	hpa_t base;
	bool x2apic;
	uint64_t timer_factor; // timer counts per TSC tick, 32.32 fixed point; 0 in deadline mode
} apic;                    // set once at boot

static uint32_t apic_read(enum apic_reg reg) {
	if (apic.x2apic) return (uint32_t)rdmsr(MSR_X2APIC_FIRST + (uint32_t)reg);
	return mmio_read32((uint8_t *)apic.page + (uint32_t)reg * 16);
}

static void apic_write(enum apic_reg reg, uint32_t value) {
	if (apic.x2apic)
		wrmsr(MSR_X2APIC_FIRST + (uint32_t)reg, value);
	else
		mmio_write32((uint8_t *)apic.page + (uint32_t)reg * 16, value);
}

// ---- enabling ----------------------------------------------------------------------------------------------

static bool apic_told(void) { return (cpuid(CPUID_FEATURES, 0).edx & CPUID1_EDX_APIC) != 0; }

int apic_init(hpa_t base) {
	if (!apic_told()) { // 0 as well while APIC_BASE disables it
		if (!(rdmsr(MSR_APIC_BASE) & APIC_BASE_ENABLE))
			wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE);
		if (!apic_told()) return -ERR_UNSUP;
	}
	apic.x2apic = features.x2apic;
	// Where it really is, said by the CPU; what the tables say is only a hint.
	apic.base = hpa(rdmsr(MSR_APIC_BASE) & APIC_BASE_ADDRESS_MASK & (BIT64(features.phys_bits) - 1));
	if (apic.base.v != base.v)
		log_warn("apic", "local APIC at 0x%llx, the firmware says 0x%llx", (unsigned long long)apic.base.v,
		         (unsigned long long)base.v);
	if (apic.x2apic) return 0;
	apic.page = hostio_map(apic.base, APIC_PAGE_BYTES, PT_UC);
	return apic.page == NULL ? -ERR_NOMEM : 0;
}

// SDM 11.12.5 "x2APIC State Transitions": from disabled to x2APIC only through xAPIC mode.
static bool apic_enable_mode(void) {
	uint64_t base = rdmsr(MSR_APIC_BASE);
	if (!(base & APIC_BASE_ENABLE)) {
		base |= APIC_BASE_ENABLE;
		wrmsr(MSR_APIC_BASE, base);
	}
	if (apic.x2apic && !(base & APIC_BASE_X2)) wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2);
	base = rdmsr(MSR_APIC_BASE);
	return (base & APIC_BASE_ENABLE) && ((base & APIC_BASE_X2) != 0) == apic.x2apic;
}

static void mask_lvt(void) {
	const unsigned count = VERSION_LVT_MAX(apic_read(APIC_VERSION)) + 1;
	apic_write(APIC_LVT_TIMER, LVT_MASKED);
	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	apic_write(APIC_LVT_LINT1, LVT_MASKED);
	if (count > 3) apic_write(APIC_LVT_ERROR, LVT_MASKED);
	if (count > 4) apic_write(APIC_LVT_PERF, LVT_MASKED);
	// A thermal interrupt that goes to system-management mode is the firmware's own.
	if (count > 5 && (apic_read(APIC_LVT_THERMAL) & LVT_MODE_MASK) != LVT_MODE_SMI)
		apic_write(APIC_LVT_THERMAL, LVT_MASKED);
	if (count >= LVT_COUNT_CMCI) apic_write(APIC_LVT_CMCI, LVT_MASKED);
}

static bool any_in_service(void) {
	for (unsigned i = 0; i < 8; i++) {
		if (apic_read((enum apic_reg)(APIC_ISR + i)) != 0) return true;
	}
	return false;
}

int apic_cpu_init(uint8_t spurious_vector, uint8_t error_vector) {
	if (!apic_enable_mode()) return -ERR_UNSUP;
	// While the APIC is software-disabled the LVT entries are masked and cannot be unmasked (SDM 11.4.7.2).
	apic_write(APIC_SVR, SVR_ENABLE | spurious_vector);
	mask_lvt();
	if (!apic.x2apic) {
		apic_write(APIC_DFR, DFR_FLAT);
		apic_write(APIC_LDR, 0);
	}
	apic_write(APIC_TPR, 0);
	for (unsigned i = 0; i < STALE_INTERRUPTS && any_in_service(); i++) apic_eoi();
	(void)apic_esr();
	apic_write(APIC_LVT_ERROR, error_vector);
	return 0;
}

uint32_t apic_id(void) {
	const uint32_t id = apic_read(APIC_ID);
	return apic.x2apic ? id : id >> 24;
}

void apic_eoi(void) { apic_write(APIC_EOI, 0); }

uint32_t apic_esr(void) {
	apic_write(APIC_ESR, 0);
	return apic_read(APIC_ESR);
}

bool apic_in_service(uint8_t vector) {
	return (apic_read((enum apic_reg)(APIC_ISR + vector / 32u)) & BIT32(vector % 32u)) != 0;
}

// A write of the priority that it has; writing it is when priorities are compared (SDM vol. 3, 11.8.3.1).
void apic_recheck(void) { apic_write(APIC_TPR, 0); }

void apic_lint_nmi(unsigned lint, bool active_low) {
	apic_write(lint == 0 ? APIC_LVT_LINT0 : APIC_LVT_LINT1, LVT_MODE_NMI | (active_low ? LVT_ACTIVE_LOW : 0));
}

// ---- inter-processor interrupts ----------------------------------------------------------------------------

static bool icr_idle(void) {
	for (unsigned i = 0; i < DELIVERY_READS; i++) {
		if (!(apic_read(APIC_ICR) & ICR_PENDING)) return true;
		cpu_pause();
	}
	return false;
}

static int send(uint32_t dest, uint32_t low) {
	if (apic.x2apic) {
		// The MSR write is not serialising: earlier stores must be out first (SDM 11.12.3). The receiver's
		// partner is that taking an interrupt serialises it.
		mfence_lfence();
		wrmsr(MSR_X2APIC_FIRST + APIC_ICR, (uint64_t)dest << 32 | low);
		return 0;
	}
	if (!icr_idle()) return -ERR_TIMEOUT;
	apic_write(APIC_ICR_HIGH, dest << 24);
	apic_write(APIC_ICR, low);
	return icr_idle() ? 0 : -ERR_TIMEOUT;
}

int apic_ipi(uint32_t dest, uint8_t vector) { return send(dest, ICR_ASSERT | ICR_MODE_FIXED | vector); }
int apic_ipi_nmi(uint32_t dest) { return send(dest, ICR_ASSERT | ICR_MODE_NMI); }
int apic_ipi_init(uint32_t dest) { return send(dest, ICR_ASSERT | ICR_MODE_INIT); }
int apic_ipi_startup(uint32_t dest, hpa_t start) {
	return send(dest, ICR_ASSERT | ICR_MODE_STARTUP | (uint32_t)(start.v >> PAGE_SHIFT & 0xff));
}

void apic_ipi_self(uint8_t vector) {
	if (apic.x2apic) {
		apic_write(APIC_SELF_IPI, vector);
		return;
	}
	(void)icr_idle(); // a pending IPI to another CPU would be overwritten
	apic_write(APIC_ICR, ICR_SELF | ICR_ASSERT | ICR_MODE_FIXED | vector);
}

// ---- timer -------------------------------------------------------------------------------------------------

bool apic_timer_has_deadline(void) { return features.tsc_deadline; }

// The timer counts down from the largest value; as an up-counter it is the reference's opposite.
static uint64_t timer_elapsed(void *ctx) {
	(void)ctx;
	return UINT32_MAX - apic_read(APIC_TIMER_CURRENT);
}

static uint64_t tsc_read(void *ctx) {
	(void)ctx;
	return rdtsc();
}

int apic_timer_calibrate(uint64_t tsc_khz) {
	const struct tsccal_counter timer = {.read = timer_elapsed};
	const struct refclock tsc = {.name = "TSC", .read = tsc_read, .hz = tsc_khz * 1000, .bits = 64};
	struct tsccal_result result;
	if (features.tsc_deadline) return 0;
	apic_write(APIC_LVT_TIMER, LVT_MASKED | LVT_TIMER_ONE_SHOT);
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
	const int err = tsccal_measure(&result, &timer, &tsc);
	apic_write(APIC_TIMER_INITIAL, 0);
	if (err != 0) return err;
	apic.timer_factor = (result.khz << 32) / tsc_khz;
	log_info("apic", "timer %llu kHz", (unsigned long long)result.khz);
	return 0;
}

void apic_timer_start(uint8_t vector) {
	if (apic.timer_factor == 0) {
		apic_write(APIC_LVT_TIMER, LVT_TIMER_DEADLINE | vector);
		// The LVT write must be done before the MSR may arm the timer (SDM 11.5.4.1).
		mfence_lfence();
		wrmsr(MSR_TSC_DEADLINE, 0);
		return;
	}
	apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
	apic_write(APIC_TIMER_INITIAL, 0);
	apic_write(APIC_LVT_TIMER, LVT_TIMER_ONE_SHOT | vector);
}

void apic_timer_arm(uint64_t tsc_deadline) {
	if (apic.timer_factor == 0) {
		// 0 would disarm; a deadline that has passed fires at once.
		wrmsr(MSR_TSC_DEADLINE, tsc_deadline == 0 ? 1 : tsc_deadline);
		return;
	}
	const uint64_t now = rdtsc();
	uint64_t count = 1; // the shortest: fires at once
	if (tsc_deadline > now) {
		// A deadline beyond the counter is cut: the interrupt comes early, the owner arms again. Plus one, so
		// that rounding is never early.
		const unsigned __int128 exact = (unsigned __int128)(tsc_deadline - now) * apic.timer_factor >> 32;
		count = exact >= UINT32_MAX ? UINT32_MAX : (uint64_t)exact + 1;
	}
	apic_write(APIC_TIMER_INITIAL, (uint32_t)count);
}
