// SPDX-License-Identifier: Apache-2.0
// The firmware's static ACPI tables, read once at boot into one flat record of what the hypervisor needs.
// Tables are hostile bytes: every length, checksum and reference is checked, a bad table costs its feature
// and one log line, never the boot. No AML is executed. Memory is reached only through the caller's
// callback, so tests and the fuzzer feed images. Facts: ACPI specification 6.4, chapters 5 and 7.
#pragma once

#include "mm/addr.h"

#define ACPI_CPU_MAX 256u
#define ACPI_IOAPIC_MAX 8u
#define ACPI_OVERRIDE_MAX 16u
#define ACPI_NMI_MAX 16u
#define ACPI_MCFG_MAX 8u

// Returns `bytes` bytes of physical memory at `at`, readable until the next call, or NULL when any of
// them must not be touched. bytes is 1 to ACPI_TABLE_BYTES_MAX.
typedef const void *acpi_map_fn(void *ctx, hpa_t at, uint64_t bytes);

#define ACPI_TABLE_BYTES_MAX (UINT64_C(4) << 20)

enum acpi_table {
	ACPI_RSDP,
	ACPI_XSDT,
	ACPI_RSDT,
	ACPI_MADT,
	ACPI_FADT,
	ACPI_HPET,
	ACPI_MCFG,
	ACPI_DSDT,
	ACPI_SSDT, // all of them: OK when one was read
	ACPI_TABLE_COUNT,
};

enum acpi_status {
	ACPI_ABSENT,
	ACPI_OK,
	ACPI_BAD_CHECKSUM,
	ACPI_BAD_LENGTH,
	ACPI_BAD_SIGNATURE,
	ACPI_UNREADABLE,
};

enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1, ACPI_SPACE_PCI = 2 };

// Generic address (ACPI 5.2.3.2). An address of 0 means that there is no such register.
struct acpi_gas {
	uint64_t address;
	uint8_t space; // enum acpi_space, or another one we do not drive
	uint8_t width; // bits
	uint8_t offset;
	uint8_t access; // 0 undefined, 1 byte, 2 word, 3 dword, 4 qword
};

struct acpi_cpu {
	uint32_t apic_id;
	uint32_t uid; // processor UID, what LAPIC NMI entries refer to
};

struct acpi_ioapic {
	uint64_t base; // physical
	uint32_t gsi_base;
	uint8_t id;
};

// MPS INTI flags of overrides and NMIs (ACPI table 5.49): 0 means "as the bus does it".
#define ACPI_INTI_POLARITY_MASK 3u
#define ACPI_INTI_ACTIVE_HIGH 1u
#define ACPI_INTI_ACTIVE_LOW 3u
#define ACPI_INTI_TRIGGER_MASK 0xcu
#define ACPI_INTI_EDGE 4u
#define ACPI_INTI_LEVEL 0xcu

struct acpi_override {
	uint8_t source; // ISA IRQ
	uint32_t gsi;
	uint16_t flags;
};

#define ACPI_NMI_ALL_CPUS UINT32_MAX
struct acpi_nmi {
	uint32_t uid; // processor UID, ACPI_NMI_ALL_CPUS for every one
	uint16_t flags;
	uint8_t lint; // 0 or 1
};

struct acpi_mcfg {
	uint64_t base; // of bus 0's window, physical
	uint16_t segment;
	uint8_t bus_first, bus_last;
};

// FADT fixed feature flags (ACPI table 5.10) and IA-PC boot architecture flags (table 5.11).
#define ACPI_FADT_TMR_VAL_EXT BIT32(8)
#define ACPI_FADT_RESET_REG_SUP BIT32(10)
#define ACPI_FADT_HW_REDUCED BIT32(20)
#define ACPI_BOOT_LEGACY_DEVICES BIT32(0)
#define ACPI_BOOT_8042 BIT32(1)
#define ACPI_BOOT_NO_VGA BIT32(2)

struct acpi_fixed { // from the FADT; all zero without one
	struct acpi_gas pm_timer, pm1a_event, pm1b_event, pm1a_control, pm1b_control, reset;
	uint32_t flags;
	uint16_t boot_arch;
	uint16_t sci;
	uint32_t smi_command; // port; 0: always in ACPI mode
	uint8_t acpi_enable;  // value for smi_command
	uint8_t reset_value;
	uint8_t revision;
	uint8_t century; // CMOS index, 0 none
	bool pm_timer_32bit;
};

struct acpi_sleep { // \_S5
	bool valid;
	uint8_t type_a, type_b; // SLP_TYPx values, 0 to 7
};

struct acpi_info {
	bool present;                     // false: every field holds the legacy default of acpi_defaults
	uint8_t status[ACPI_TABLE_COUNT]; // enum acpi_status
	hpa_t rsdp;
	char oem[7];
	uint64_t lapic_base;   // physical
	bool pic_present;      // 8259 pair to be masked (MADT PCAT_COMPAT)
	uint32_t cpu_count;    // at least 1
	uint32_t cpu_disabled; // listed but not enabled
	uint32_t ioapic_count, override_count, nmi_count, mcfg_count;
	struct acpi_cpu cpu[ACPI_CPU_MAX];
	struct acpi_ioapic ioapic[ACPI_IOAPIC_MAX];
	struct acpi_override override[ACPI_OVERRIDE_MAX];
	struct acpi_nmi nmi[ACPI_NMI_MAX];
	struct acpi_mcfg mcfg[ACPI_MCFG_MAX];
	uint64_t hpet_base; // physical, 0 none
	struct acpi_fixed fixed;
	struct acpi_sleep s5;
};

// The machine without ACPI: one CPU, APIC id 0, local APIC and I/O APIC at their legacy addresses, 8259s.
void acpi_defaults(struct acpi_info *info);

// Fills info from the tables at rsdp (physical; 0: the legacy areas are searched, ACPI 5.2.5.1). Never
// fails: without usable tables info holds the defaults, present is false and a log line says why.
void acpi_read(struct acpi_info *info, hpa_t rsdp, acpi_map_fn *map, void *ctx);

// GSI and MPS INTI flags of an ISA interrupt (0 to 15): its override, else identity with flags 0.
uint32_t acpi_isa_gsi(const struct acpi_info *info, unsigned irq, uint16_t *flags);

const char *acpi_table_name(enum acpi_table table);
const char *acpi_status_name(enum acpi_status status);
