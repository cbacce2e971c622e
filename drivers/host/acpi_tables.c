// SPDX-License-Identifier: Apache-2.0
// Contents of MADT, FADT, HPET and MCFG, and the search for \_S5 in AML. All input is hostile: entries that are
// too short, out of place, double or beyond our fixed arrays are skipped, with a line where it matters.
#include "drivers/host/acpi_tables.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

// ---- MADT (ACPI 5.2.12) ----------------------------------------------------------------------------------

enum madt_type {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_LAPIC_ADDRESS = 5,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};

#define MADT_FIXED_BYTES 44u
#define MADT_PCAT_COMPAT BIT32(0)
#define MADT_CPU_ENABLED BIT32(0)
#define MADT_UID_ALL_8 0xffu
#define ISA_IRQ_COUNT 16u

static void madt_add_cpu(struct acpi_info *info, uint32_t apic_id, uint32_t uid, uint32_t flags) {
	if (!(flags & MADT_CPU_ENABLED)) {
		info->cpu_disabled++;
		return;
	}
	for (uint32_t i = 0; i < info->cpu_count; i++) {
		// A CPU with a small id may be listed as local APIC and as x2APIC (ACPI 5.2.12.12).
		if (info->cpu[i].apic_id == apic_id) return;
	}
	if (info->cpu_count == ACPI_CPU_MAX) {
		log_warn("acpi", "MADT: more than %u CPUs, APIC id %u left out", ACPI_CPU_MAX, apic_id);
		return;
	}
	info->cpu[info->cpu_count++] = (struct acpi_cpu){.apic_id = apic_id, .uid = uid};
}

static void madt_add_ioapic(struct acpi_info *info, const uint8_t *e) {
	const struct acpi_ioapic new = {.id = e[2], .base = le32(e + 4), .gsi_base = le32(e + 8)};
	if (new.base == 0 || !is_aligned(new.base, 16)) {
		log_warn("acpi", "MADT: I/O APIC %u at 0x%llx ignored", new.id, (unsigned long long)new.base);
		return;
	}
	for (uint32_t i = 0; i < info->ioapic_count; i++) {
		if (info->ioapic[i].base == new.base || info->ioapic[i].gsi_base == new.gsi_base) {
			log_warn("acpi", "MADT: I/O APIC %u listed twice", new.id);
			return;
		}
	}
	if (info->ioapic_count == ACPI_IOAPIC_MAX) {
		log_warn("acpi", "MADT: more than %u I/O APICs, id %u left out", ACPI_IOAPIC_MAX, new.id);
		return;
	}
	info->ioapic[info->ioapic_count++] = new;
}

static void madt_add_override(struct acpi_info *info, const uint8_t *e) {
	const struct acpi_override new = {.source = e[3], .gsi = le32(e + 4), .flags = le16(e + 8)};
	if (e[2] != 0 || new.source >= ISA_IRQ_COUNT) {
		log_warn("acpi", "MADT: override of bus %u IRQ %u ignored", e[2], new.source);
		return;
	}
	for (uint32_t i = 0; i < info->override_count; i++) {
		if (info->override[i].source == new.source) {
			log_warn("acpi", "MADT: IRQ %u overridden twice, the first one stays", new.source);
			return;
		}
	}
	info->override[info->override_count++] = new; // at most one per ISA IRQ: always fits
}

static void madt_add_nmi(struct acpi_info *info, uint32_t uid, uint16_t flags, uint8_t lint) {
	if (lint > 1 || info->nmi_count == ACPI_NMI_MAX) {
		log_warn("acpi", "MADT: NMI entry for processor %u ignored", uid);
		return;
	}
	info->nmi[info->nmi_count++] = (struct acpi_nmi){.uid = uid, .flags = flags, .lint = lint};
}

_Static_assert(ACPI_OVERRIDE_MAX >= ISA_IRQ_COUNT, "one override per ISA interrupt");

// Shortest legal length of an entry of each type we read; 0 for the others.
static uint8_t madt_entry_bytes(uint8_t type) {
	switch (type) {
	case MADT_LAPIC: return 8;
	case MADT_IOAPIC: return 12;
	case MADT_OVERRIDE: return 10;
	case MADT_LAPIC_NMI: return 6;
	case MADT_LAPIC_ADDRESS: return 12;
	case MADT_X2APIC: return 16;
	case MADT_X2APIC_NMI: return 12;
	default: return 0;
	}
}

static void madt_entry(struct acpi_info *info, const uint8_t *e) {
	switch (e[0]) {
	case MADT_LAPIC: madt_add_cpu(info, e[3], e[2], le32(e + 4)); break;
	case MADT_IOAPIC: madt_add_ioapic(info, e); break;
	case MADT_OVERRIDE: madt_add_override(info, e); break;
	case MADT_LAPIC_NMI:
		madt_add_nmi(info, e[2] == MADT_UID_ALL_8 ? ACPI_NMI_ALL_CPUS : e[2], le16(e + 3), e[5]);
		break;
	case MADT_LAPIC_ADDRESS: info->lapic_base = le64(e + 4); break;
	case MADT_X2APIC: madt_add_cpu(info, le32(e + 4), le32(e + 12), le32(e + 8)); break;
	case MADT_X2APIC_NMI: madt_add_nmi(info, le32(e + 4), le16(e + 2), e[8]); break;
	default: break; // memory-affinity, SAPIC, GIC and newer entries do not concern us
	}
}

int acpi_parse_madt(struct acpi_info *info, const uint8_t *table, uint32_t bytes) {
	if (bytes < MADT_FIXED_BYTES) return -ERR_TRUNC;
	info->lapic_base = le32(table + 36);
	info->pic_present = (le32(table + 40) & MADT_PCAT_COMPAT) != 0;
	info->cpu_count = 0;
	info->ioapic_count = 0;
	uint32_t at = MADT_FIXED_BYTES;
	while (bytes - at >= 2) {
		const uint8_t *e = table + at;
		if (e[1] < 2 || e[1] > bytes - at) {
			log_warn("acpi", "MADT: entry at %u has length %u, the rest is ignored", at, e[1]);
			break;
		}
		if (e[1] >= madt_entry_bytes(e[0]))
			madt_entry(info, e);
		else
			log_warn("acpi", "MADT: entry at %u, type %u is too short (%u bytes)", at, e[0], e[1]);
		at += e[1];
	}
	return 0;
}

// ---- FADT (ACPI 5.2.9) -----------------------------------------------------------------------------------

#define FADT_BYTES_REV1 116u // ACPI 1.0: up to and including Flags
#define FADT_PM1_CONTROL_BITS 16u
#define FADT_PM_TIMER_BITS 32u

static struct acpi_gas gas_read(const uint8_t *p) {
	return (struct acpi_gas){
	    .space = p[0], .width = p[1], .offset = p[2], .access = p[3], .address = le64(p + 4)};
}

// A register block given twice: as a 64-bit generic address (when the table is long enough and it is not
// zero) and as a 32-bit port (ACPI 5.2.9: the X_ field wins).
static struct acpi_gas fadt_block(const uint8_t *table, uint32_t bytes, unsigned at64, unsigned at32,
                                  uint8_t bits) {
	if (bytes >= at64 + 12) {
		const struct acpi_gas wide = gas_read(table + at64);
		if (wide.address != 0) return wide;
	}
	const uint32_t port = le32(table + at32);
	return (struct acpi_gas){.space = ACPI_SPACE_IO, .width = bits, .address = port};
}

int acpi_parse_fadt(struct acpi_info *info, struct acpi_fadt_refs *refs, const uint8_t *table,
                    uint32_t bytes) {
	if (bytes < FADT_BYTES_REV1) return -ERR_TRUNC;
	struct acpi_fixed *f = &info->fixed;
	refs->dsdt = hpa(le32(table + 40));
	if (bytes >= 148 && le64(table + 140) != 0) refs->dsdt = hpa(le64(table + 140));
	f->revision = table[8];
	f->sci = le16(table + 46);
	f->smi_command = le32(table + 48);
	f->acpi_enable = table[52];
	f->century = table[108];
	// ACPI 1.0 tables have no boot flags there, and every machine of that time had the legacy devices.
	f->boot_arch = f->revision >= 2 ? le16(table + 109) : ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_8042;
	f->flags = le32(table + 112);
	f->pm1a_event = fadt_block(table, bytes, 148, 56, table[88] <= 31 ? (uint8_t)(table[88] * 8) : 0);
	f->pm1b_event = fadt_block(table, bytes, 160, 60, table[88] <= 31 ? (uint8_t)(table[88] * 8) : 0);
	f->pm1a_control = fadt_block(table, bytes, 172, 64, FADT_PM1_CONTROL_BITS);
	f->pm1b_control = fadt_block(table, bytes, 184, 68, FADT_PM1_CONTROL_BITS);
	f->pm_timer = fadt_block(table, bytes, 208, 76, FADT_PM_TIMER_BITS);
	f->pm_timer_32bit = (f->flags & ACPI_FADT_TMR_VAL_EXT) != 0;
	if (bytes >= 129 && (f->flags & ACPI_FADT_RESET_REG_SUP)) {
		f->reset = gas_read(table + 116);
		f->reset_value = table[128];
	}
	return 0;
}

// ---- HPET (IA-PC HPET specification 3.2.4), MCFG (PCI Firmware Specification 4.1.2) -----------------------

#define HPET_TABLE_BYTES 56u
#define MCFG_FIXED_BYTES 44u
#define MCFG_ENTRY_BYTES 16u

int acpi_parse_hpet(struct acpi_info *info, const uint8_t *table, uint32_t bytes) {
	if (bytes < HPET_TABLE_BYTES) return -ERR_TRUNC;
	const struct acpi_gas at = gas_read(table + 40);
	if (at.space != ACPI_SPACE_MEMORY || at.address == 0 || !is_aligned(at.address, 8)) {
		log_warn("acpi", "HPET: address space %u, address 0x%llx ignored", at.space,
		         (unsigned long long)at.address);
		return 0;
	}
	info->hpet_base = at.address;
	return 0;
}

int acpi_parse_mcfg(struct acpi_info *info, const uint8_t *table, uint32_t bytes) {
	if (bytes < MCFG_FIXED_BYTES) return -ERR_TRUNC;
	for (uint32_t at = MCFG_FIXED_BYTES; bytes - at >= MCFG_ENTRY_BYTES; at += MCFG_ENTRY_BYTES) {
		const uint8_t *e = table + at;
		const struct acpi_mcfg new = {
		    .base = le64(e), .segment = le16(e + 8), .bus_first = e[10], .bus_last = e[11]};
		// One bus has 1 MiB of configuration space and the window starts on such a border.
		if (new.base == 0 || !is_aligned(new.base, MIB) || new.bus_first > new.bus_last ||
		    range_wraps(new.base, ((uint64_t) new.bus_last + 1) * MIB) || info->mcfg_count == ACPI_MCFG_MAX) {
			log_warn("acpi", "MCFG: segment %u buses %u-%u at 0x%llx ignored", new.segment, new.bus_first,
			         new.bus_last, (unsigned long long)new.base);
			continue;
		}
		info->mcfg[info->mcfg_count++] = new;
	}
	return 0;
}

// ---- \_S5 (ACPI 7.4.2; AML encoding 20.2) ----------------------------------------------------------------

enum aml {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_PACKAGE = 0x12,
	AML_ROOT = '\\',
};

struct aml_cursor {
	const uint8_t *at, *end;
};

// An integer element of a package; false for anything else or when it ends too early.
static bool aml_integer(struct aml_cursor *c, uint32_t *value) {
	if (c->at == c->end) return false;
	const uint8_t op = *c->at++;
	unsigned width;
	switch (op) {
	case AML_ZERO:
	case AML_ONE: *value = op; return true;
	case AML_BYTE: width = 1; break;
	case AML_WORD: width = 2; break;
	case AML_DWORD: width = 4; break;
	default: return false;
	}
	if ((size_t)(c->end - c->at) < width) return false;
	*value = 0;
	for (unsigned i = 0; i < width; i++) *value |= (uint32_t)c->at[i] << (8 * i);
	c->at += width;
	return true;
}

// PkgLength (20.2.4): the two top bits of the lead byte count the bytes that follow. The package reaches from
// the lead byte on; the cursor ends up behind the length, its end cut to the package's.
static bool aml_package_length(struct aml_cursor *c) {
	if (c->at == c->end) return false;
	const uint8_t *start = c->at;
	const uint8_t lead = *c->at++;
	const unsigned follow = lead >> 6;
	if ((size_t)(c->end - c->at) < follow) return false;
	uint32_t length = follow == 0 ? lead & 0x3fu : lead & 0xfu;
	for (unsigned i = 0; i < follow; i++) length |= (uint32_t)c->at[i] << (4 + 8 * i);
	c->at += follow;
	if (length < 1 + follow || length > (size_t)(c->end - start)) return false;
	c->end = start + length;
	return true;
}

// What stands behind the name: PackageOp, length, element count, SLP_TYPa, SLP_TYPb.
static bool aml_s5_package(struct aml_cursor c, struct acpi_sleep *s5) {
	if (c.at == c.end || *c.at++ != AML_PACKAGE || !aml_package_length(&c) || c.at == c.end) return false;
	const uint8_t elements = *c.at++;
	uint32_t a = 0, b = 0;
	if (elements < 1 || !aml_integer(&c, &a)) return false;
	// Old firmware packs both types into one element: the low byte for PM1a, the next for PM1b.
	if (elements == 1) {
		b = a >> 8 & 0xff;
		a &= 0xff;
	} else if (!aml_integer(&c, &b)) {
		return false;
	}
	if (a > 7 || b > 7) return false; // SLP_TYPx has three bits
	*s5 = (struct acpi_sleep){.valid = true, .type_a = (uint8_t)a, .type_b = (uint8_t)b};
	return true;
}

void acpi_scan_s5(struct acpi_info *info, const uint8_t *table, uint32_t bytes) {
	if (info->s5.valid || bytes < ACPI_HEADER_BYTES) return;
	const uint8_t *aml = table + ACPI_HEADER_BYTES, *end = table + bytes;
	for (const uint8_t *p = aml; end - p >= 4; p++) {
		if (memcmp(p, "_S5_", 4) != 0) continue;
		// NameOp must stand before it, with or without the root character: the four letters alone can be
		// data, or a reference to the name.
		const bool name =
		    (p - aml >= 1 && p[-1] == AML_NAME) || (p - aml >= 2 && p[-1] == AML_ROOT && p[-2] == AML_NAME);
		if (name && aml_s5_package((struct aml_cursor){.at = p + 4, .end = end}, &info->s5)) return;
	}
}
