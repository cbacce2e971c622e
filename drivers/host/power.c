// SPDX-License-Identifier: Apache-2.0
// ACPI S5 and the four ways to reset a PC, each tried in turn with a bounded wait.
#include "drivers/host/power.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"
#include "drivers/host/hostio.h"
#include "kernel/lib/log.h"

// PM1 control register (ACPI 4.8.3.2.1).
#define PM1_SCI_EN BIT32(0)
#define PM1_SLP_TYP_SHIFT 10u
#define PM1_SLP_TYP_MASK (7u << PM1_SLP_TYP_SHIFT)
#define PM1_SLP_EN BIT32(13)

#define RESET_CONTROL_PORT 0xcf9u // Intel chipsets' reset control register, and everybody's since
#define RESET_CONTROL_HARD 0x02u
#define RESET_CONTROL_FULL 0x0eu
#define RESET_CONTROL_START 0x06u
#define PCI_ADDRESS_PORT 0xcf8u
#define PCI_DATA_PORT 0xcfcu
#define PCI_ADDRESS_ENABLE BIT32(31)
#define I8042_COMMAND_PORT 0x64u
#define I8042_INPUT_FULL 0x02u
#define I8042_PULSE_RESET 0xfeu
#define DELAY_PORT 0x80u // POST codes: a harmless write of about a microsecond

// Port writes to wait for an order to be obeyed: about a second, or 10 ms.
#define OBEY_LONG 1000000u
#define OBEY_SHORT 10000u

struct reg {
	struct acpi_gas gas; // address 0: none
	void *page;          // memory space
};

static struct {
	struct acpi_fixed fixed;
	struct acpi_sleep s5;
	struct reg pm1a, pm1b, reset;
} power; // set once at boot

static void delay(unsigned writes) {
	for (unsigned i = 0; i < writes; i++) out8(DELAY_PORT, 0);
}

static struct reg reg_prepare(const struct acpi_gas *gas, unsigned bytes) {
	struct reg r = {.gas = *gas};
	if (gas->address == 0) return r;
	if (gas->space == ACPI_SPACE_MEMORY) r.page = hostio_map(hpa(gas->address), bytes, PT_UC);
	const bool usable = r.page != NULL || gas->space == ACPI_SPACE_PCI ||
	                    (gas->space == ACPI_SPACE_IO && gas->address <= UINT16_MAX - 1);
	if (!usable) r.gas.address = 0;
	return r;
}

void power_init(const struct acpi_info *info) {
	power.fixed = info->fixed;
	power.s5 = info->s5;
	power.pm1a = reg_prepare(&info->fixed.pm1a_control, sizeof(uint16_t));
	power.pm1b = reg_prepare(&info->fixed.pm1b_control, sizeof(uint16_t));
	power.reset = reg_prepare(&info->fixed.reset, sizeof(uint8_t));
}

static noreturn void halt(void) {
	irq_disable();
	for (;;) cpu_halt();
}

// ---- power-off -----------------------------------------------------------------------------------------------

static uint16_t pm1_read(const struct reg *r) {
	return r->page != NULL ? mmio_read16(r->page) : in16((uint16_t)r->gas.address);
}

static void pm1_write(const struct reg *r, uint16_t value) {
	if (r->page != NULL)
		mmio_write16(r->page, value);
	else
		out16((uint16_t)r->gas.address, value);
}

static bool pm1_usable(const struct reg *r) { return r->gas.address != 0 && r->gas.space != ACPI_SPACE_PCI; }

// Until SCI_EN is set the chipset belongs to system-management mode, which may ignore SLP_EN (ACPI 4.8.3.2.1).
static void acpi_mode_enter(void) {
	if (power.fixed.smi_command == 0 || power.fixed.smi_command > UINT16_MAX || power.fixed.acpi_enable == 0)
		return;
	if (pm1_read(&power.pm1a) & PM1_SCI_EN) return;
	out8((uint16_t)power.fixed.smi_command, power.fixed.acpi_enable);
	for (unsigned i = 0; i < OBEY_LONG && !(pm1_read(&power.pm1a) & PM1_SCI_EN); i++) delay(1);
}

static void sleep_enter(const struct reg *r, uint8_t type) {
	if (!pm1_usable(r)) return;
	const uint32_t value = (pm1_read(r) & ~(PM1_SLP_TYP_MASK | PM1_SLP_EN)) | (uint32_t)type
	                                                                              << PM1_SLP_TYP_SHIFT;
	pm1_write(r, (uint16_t)value); // type first, then the order: what ACPI 16.1.4 recommends
	pm1_write(r, (uint16_t)(value | PM1_SLP_EN));
}

noreturn void power_off(void) {
	irq_disable();
	if (power.s5.valid && pm1_usable(&power.pm1a) && !(power.fixed.flags & ACPI_FADT_HW_REDUCED)) {
		acpi_mode_enter();
		// The order counts once both blocks have it, so nothing may stand between the two.
		sleep_enter(&power.pm1a, power.s5.type_a);
		sleep_enter(&power.pm1b, power.s5.type_b);
		delay(OBEY_LONG);
	}
	log_warn("power", "cannot power off: halting");
	halt();
}

// ---- reset ---------------------------------------------------------------------------------------------------

static void reset_by_acpi(void) {
	const struct reg *r = &power.reset;
	if (r->gas.address == 0) return;
	if (r->page != NULL) {
		mmio_write8(r->page, power.fixed.reset_value);
	} else if (r->gas.space == ACPI_SPACE_IO) {
		out8((uint16_t)r->gas.address, power.fixed.reset_value);
	} else {
		// Bus 0: device in bits 47-32, function in 31-16, offset in 15-0 (ACPI 5.2.3.2).
		const uint64_t a = r->gas.address;
		out32(PCI_ADDRESS_PORT, PCI_ADDRESS_ENABLE | (uint32_t)(a >> 32 & 0x1f) << 11 |
		                            (uint32_t)(a >> 16 & 7) << 8 | (uint32_t)(a & 0xfc));
		out8((uint16_t)(PCI_DATA_PORT + (a & 3)), power.fixed.reset_value);
	}
	delay(OBEY_SHORT);
}

static void reset_by_keyboard_controller(void) {
	for (unsigned i = 0; i < OBEY_SHORT && (in8(I8042_COMMAND_PORT) & I8042_INPUT_FULL); i++) delay(1);
	out8(I8042_COMMAND_PORT, I8042_PULSE_RESET);
	delay(OBEY_SHORT);
}

noreturn void power_reset(void) {
	irq_disable();
	reset_by_acpi();
	out8(RESET_CONTROL_PORT, RESET_CONTROL_HARD);
	out8(RESET_CONTROL_PORT, RESET_CONTROL_START);
	delay(OBEY_SHORT);
	out8(RESET_CONTROL_PORT, RESET_CONTROL_FULL); // power cycle, for boards that ignore less
	delay(OBEY_SHORT);
	reset_by_keyboard_controller();
	// No IDT: the exception, the #GP for it and the #DF for that have no handler, which is a shutdown.
	const struct desc_ptr none = {0};
	lidt(&none);
	__builtin_trap();
}
