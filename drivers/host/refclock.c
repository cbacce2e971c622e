// SPDX-License-Identifier: Apache-2.0
// HPET, PM timer and PIT as reference clocks, best first.
#include "drivers/host/refclock.h"

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"
#include "drivers/host/hostio.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"

// ---- HPET (IA-PC HPET specification 1.0a, 2.3) -----------------------------------------------------------

#define HPET_PAGE_BYTES 1024u
#define HPET_CAPABILITIES 0x000u
#define HPET_PERIOD 0x004u // high half of the capabilities: femtoseconds per tick
#define HPET_CONFIG 0x010u
#define HPET_COUNTER 0x0f0u
#define HPET_CONFIG_ENABLE BIT32(0)
#define HPET_CONFIG_LEGACY BIT32(1)
#define FS_PER_SECOND UINT64_C(1000000000000000)
#define HPET_PERIOD_MOST 100000000u // 2.3.4: at least 10 MHz
#define HPET_PERIOD_LEAST 100000u   // 10 GHz: beyond any chip

static void *hpet_page; // set once at boot

// The low half only: a 32-bit read is atomic on every bus, and 32 bits outlast the window by far.
static uint64_t hpet_read(void *ctx) { return mmio_read32((uint8_t *)ctx + HPET_COUNTER); }

int hpet_init(struct refclock *clock, hpa_t base) {
	if (base.v == 0) return -ERR_UNSUP;
	if (hpet_page == NULL) hpet_page = hostio_map(base, HPET_PAGE_BYTES, PT_UC);
	if (hpet_page == NULL) return -ERR_NOMEM;
	const uint32_t period = mmio_read32((uint8_t *)hpet_page + HPET_PERIOD);
	if (period < HPET_PERIOD_LEAST || period > HPET_PERIOD_MOST) return -ERR_UNSUP;
	const uint32_t config = mmio_read32((uint8_t *)hpet_page + HPET_CONFIG);
	// Counting, without taking the PIT's and the RTC's interrupts away.
	mmio_write32((uint8_t *)hpet_page + HPET_CONFIG, (config | HPET_CONFIG_ENABLE) & ~HPET_CONFIG_LEGACY);
	*clock = (struct refclock){
	    .name = "HPET", .read = hpet_read, .ctx = hpet_page, .hz = FS_PER_SECOND / period, .bits = 32};
	return 0;
}

// ---- ACPI PM timer (ACPI 4.8.2.1, 4.8.3.3) -----------------------------------------------------------------

#define PM_TIMER_HZ UINT64_C(3579545)
#define PM_TIMER_BITS_SHORT 24u

static uint16_t pmtimer_port; // set once at boot
static void *pmtimer_page;

static uint64_t pmtimer_read(void *ctx) {
	(void)ctx;
	return pmtimer_page != NULL ? mmio_read32(pmtimer_page) : in32(pmtimer_port);
}

int pmtimer_init(struct refclock *clock, const struct acpi_fixed *fixed) {
	const struct acpi_gas *at = &fixed->pm_timer;
	if (at->address == 0) return -ERR_UNSUP;
	if (at->space == ACPI_SPACE_IO && at->address <= UINT16_MAX - 3) {
		pmtimer_port = (uint16_t)at->address;
	} else if (at->space == ACPI_SPACE_MEMORY && is_aligned(at->address, 4)) {
		pmtimer_page = hostio_map(hpa(at->address), sizeof(uint32_t), PT_UC);
		if (pmtimer_page == NULL) return -ERR_NOMEM;
	} else {
		return -ERR_UNSUP;
	}
	// 24 bits are always there and outlast the window; the upper byte is undefined on 24-bit timers.
	*clock = (struct refclock){
	    .name = "PM timer", .read = pmtimer_read, .hz = PM_TIMER_HZ, .bits = PM_TIMER_BITS_SHORT};
	return 0;
}

// ---- PIT (8254 data sheet), channel 2, whose output goes nowhere but the speaker ---------------------------

#define PIT_CHANNEL2 0x42u
#define PIT_CONTROL 0x43u
#define PIT_CH2_MODE2 0xb4u // channel 2, low then high byte, mode 2, binary
#define PIT_CH2_LATCH 0x80u
#define PIT_HZ UINT64_C(1193182)
#define PIT_BITS 16u
#define PORT_B 0x61u
#define PORT_B_GATE2 0x01u
#define PORT_B_SPEAKER 0x02u

static uint64_t pit_read(void *ctx) {
	(void)ctx;
	out8(PIT_CONTROL, PIT_CH2_LATCH);
	const unsigned low = in8(PIT_CHANNEL2), high = in8(PIT_CHANNEL2);
	return (uint16_t)(0 - (high << 8 | low)); // it counts down
}

int pit_init(struct refclock *clock) {
	out8(PORT_B, (uint8_t)((in8(PORT_B) & 0x0cu & ~PORT_B_SPEAKER) | PORT_B_GATE2));
	out8(PIT_CONTROL, PIT_CH2_MODE2);
	out8(PIT_CHANNEL2, 0); // 65536: the longest period, reloaded by itself
	out8(PIT_CHANNEL2, 0);
	*clock = (struct refclock){.name = "PIT", .read = pit_read, .hz = PIT_HZ, .bits = PIT_BITS};
	return 0;
}

// ---- this machine's TSC ------------------------------------------------------------------------------------

static uint64_t tsc_read(void *ctx) {
	(void)ctx;
	return rdtsc();
}

// SDM vol. 2, CPUID leaf 15h: crystal * EBX / EAX; 0 when the leaf or its crystal is not given.
static uint64_t nominal_khz(void) {
	if (features.max_basic < CPUID_TSC_CRYSTAL) return 0;
	const struct cpuid_regs r = cpuid(CPUID_TSC_CRYSTAL, 0);
	if (r.eax == 0 || r.ebx == 0 || r.ecx == 0) return 0;
	return (uint64_t)r.ecx * r.ebx / r.eax / 1000;
}

int refclock_calibrate_tsc(struct tsccal_result *result, const struct acpi_info *info) {
	struct refclock clock[3];
	unsigned count = 0;
	if (hpet_init(&clock[count], hpa(info->hpet_base)) == 0) count++;
	if (pmtimer_init(&clock[count], &info->fixed) == 0) count++;
	if (pit_init(&clock[count]) == 0) count++;
	const struct tsccal_counter tsc = {.read = tsc_read};
	const int err = tsccal_run(result, &tsc, clock, count, nominal_khz());
	if (err == 0)
		log_info("tsc", "%llu kHz by %s (samples within %u ppm)", (unsigned long long)result->khz,
		         result->source, result->spread_ppm);
	return err;
}
