// SPDX-License-Identifier: Apache-2.0
// Builds the guest's ACPI tables (ACPI 6.4). The block is laid out in a fixed order, FACS aligned to 64
// bytes, the others to 16; every table but FACS has a checksum over all its bytes. The machine that they
// describe is a PC without PCI: legacy devices, one I/O APIC, ACPI fixed hardware in ACPI mode.
#include "arch/x86/guest/acpi_tables.h"

#include "kernel/guestmap.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

// arch/x86/guest/dsdt.asl, compiled at build time.
extern const unsigned char dsdt_aml[];
extern const unsigned long dsdt_aml_bytes;

// ---- layouts (section numbers of ACPI 6.4) ---------------------------------------------------------

struct __packed acpi_header { // 5.2.6
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
};

struct __packed acpi_rsdp { // 5.2.5.3
	char signature[8];
	uint8_t checksum; // of the first 20 bytes
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt, length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
};
enum { RSDP_FIRST_BYTES = 20, RSDP_REVISION = 2 };

struct __packed acpi_gas { // 5.2.3.2, generic address structure
	uint8_t space, bit_width, bit_offset, access;
	uint64_t address;
};
enum { GAS_SPACE_IO = 1, GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };

struct __packed acpi_fadt { // 5.2.9
	struct acpi_header header;
	uint32_t firmware_ctrl, dsdt;
	uint8_t reserved0, preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk,
	    gpe1_blk;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base, cst_cnt;
	uint16_t p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alrm, mon_alrm, century;
	uint16_t iapc_boot_arch;
	uint8_t reserved1;
	uint32_t flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_revision;
	uint64_t x_firmware_ctrl, x_dsdt;
	struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk,
	    x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk, sleep_control, sleep_status;
	char hypervisor_vendor[8];
};
enum { FADT_REVISION = 6, FADT_MINOR = 4 };
// No 8042: nothing is plugged into it, and a guest that looks for more waits long for answers. Its reset works.
enum { BOOT_LEGACY_DEVICES = 0x01, BOOT_NO_VGA = 0x04 };
enum {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_SLP_BUTTON = 1 << 5, // no sleep button among the fixed features; the power button is one
	FADT_FIX_RTC = 1 << 6,    // the RTC's alarm is not among them
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10
};
enum { NO_C2 = 101, NO_C3 = 1001 }; // latencies that say "not supported"

struct __packed acpi_facs { // 5.2.10
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[31];
};
enum { FACS_VERSION = 2 };

struct __packed acpi_madt { // 5.2.12
	struct acpi_header header;
	uint32_t lapic_address, flags;
};
enum { MADT_REVISION = 5, MADT_PCAT_COMPAT = 1, MADT_ENABLED = 1, MADT_ALL_UIDS = 0xff, MADT_NMI_LINT = 1 };
enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10
};
// MPS INTI flags: polarity in bits 1:0, trigger mode in bits 3:2 (table 5.26).
enum { INTI_HIGH_EDGE = 0x5, INTI_HIGH_LEVEL = 0xd };
#define LAPIC_ID_MAX 254u // larger ids need an x2APIC entry (5.2.12.12), and so do larger UIDs

struct __packed madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
};
struct __packed madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
};
struct __packed madt_override {
	uint8_t type, length, bus, source;
	uint32_t gsi;
	uint16_t flags;
};
struct __packed madt_lapic_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
};
struct __packed madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t apic_id, flags, uid;
};
struct __packed madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint, reserved[3];
};

_Static_assert(sizeof(struct acpi_header) == 36 && sizeof(struct acpi_rsdp) == 36, "ACPI layout");
_Static_assert(sizeof(struct acpi_fadt) == 276 && sizeof(struct acpi_facs) == 64, "ACPI layout");
_Static_assert(sizeof(struct madt_lapic) == 8 && sizeof(struct madt_ioapic) == 12, "ACPI layout");
_Static_assert(sizeof(struct madt_override) == 10 && sizeof(struct madt_lapic_nmi) == 6, "ACPI layout");
_Static_assert(sizeof(struct madt_x2apic) == 16 && sizeof(struct madt_x2apic_nmi) == 12, "ACPI layout");

// ---- building ----------------------------------------------------------------------------------------

#define TABLE_ALIGN 16u
#define FACS_ALIGN 64u
#define ROOT_ENTRIES 2u // FADT and MADT

#define GAS_IO(port, bits, size)                                                                             \
	{ .space = GAS_SPACE_IO, .bit_width = bits, .access = size, .address = port }
#define HEADER(name, size, version)                                                                          \
	{                                                                                                        \
		.signature = name, .length = size, .revision = version, .oem_id = "BLKHD ",                          \
		.oem_table_id = "BULKHEAD", .oem_revision = 1, .creator_id = "BLKH", .creator_revision = 1           \
	}

struct __packed acpi_rsdt {
	struct acpi_header header;
	uint32_t entry[ROOT_ENTRIES];
};
struct __packed acpi_xsdt {
	struct acpi_header header;
	uint64_t entry[ROOT_ENTRIES];
};

// The beginning of the block, which is the same for every guest but for addresses and lengths. The CPUs follow.
struct __packed head {
	struct acpi_rsdp rsdp;
	uint8_t pad0[28];
	struct acpi_facs facs;
	struct acpi_rsdt rsdt;
	uint8_t pad1[4];
	struct acpi_xsdt xsdt;
	uint8_t pad2[12];
	struct acpi_fadt fadt;
	uint8_t pad3[12];
	struct acpi_madt madt;
};
#define AT(table) offsetof(struct head, table)
_Static_assert(AT(facs) % FACS_ALIGN == 0 && AT(rsdt) % TABLE_ALIGN == 0 && AT(xsdt) % TABLE_ALIGN == 0 &&
                   AT(fadt) % TABLE_ALIGN == 0 && AT(madt) % TABLE_ALIGN == 0,
               "tables are aligned");

static const struct head head = {
    .rsdp = {.signature = "RSD PTR ",
             .oem_id = "BLKHD ",
             .revision = RSDP_REVISION,
             .length = sizeof head.rsdp},
    .facs = {.signature = "FACS", .length = sizeof head.facs, .version = FACS_VERSION},
    .rsdt = {.header = HEADER("RSDT", sizeof head.rsdt, 1)},
    .xsdt = {.header = HEADER("XSDT", sizeof head.xsdt, 1)},
    .fadt =
        {
            .header = HEADER("FACP", sizeof head.fadt, FADT_REVISION),
            .sci_int = GUEST_SCI_GSI,
            .pm1a_evt_blk = GUEST_PM1A_EVT_PORT,
            .pm1a_cnt_blk = GUEST_PM1A_CNT_PORT,
            .pm_tmr_blk = GUEST_PM_TMR_PORT,
            .pm1_evt_len = 4,
            .pm1_cnt_len = 2,
            .pm_tmr_len = 4,
            .p_lvl2_lat = NO_C2,
            .p_lvl3_lat = NO_C3,
            .century = GUEST_CMOS_CENTURY,
            .iapc_boot_arch = BOOT_LEGACY_DEVICES | BOOT_NO_VGA,
            .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |
                     FADT_RESET_REG_SUP,
            .reset_reg = GAS_IO(GUEST_RESET_PORT, 8, GAS_BYTE),
            .reset_value = GUEST_RESET_VALUE,
            .minor_revision = FADT_MINOR,
            .x_pm1a_evt_blk = GAS_IO(GUEST_PM1A_EVT_PORT, 32, GAS_WORD),
            .x_pm1a_cnt_blk = GAS_IO(GUEST_PM1A_CNT_PORT, 16, GAS_WORD),
            .x_pm_tmr_blk = GAS_IO(GUEST_PM_TMR_PORT, 32, GAS_DWORD),
            .hypervisor_vendor = "BULKHEAD",
        },
    .madt = {.header = HEADER("APIC", 0, MADT_REVISION),
             .lapic_address = GUEST_LAPIC_GPA,
             .flags = MADT_PCAT_COMPAT},
};

// The entries of the MADT behind the CPUs; the last one only where a CPU has an x2APIC entry.
static const struct __packed tail {
	struct madt_ioapic ioapic;
	struct madt_override pit, sci;
	struct madt_lapic_nmi nmi;
	struct madt_x2apic_nmi wide_nmi;
} tail = {
    .ioapic = {MADT_IOAPIC, sizeof tail.ioapic, 0, 0, GUEST_IOAPIC_GPA, 0},
    .pit = {MADT_OVERRIDE, sizeof tail.pit, 0, GUEST_PIT_GSI, GUEST_PIT_IOAPIC_PIN, INTI_HIGH_EDGE},
    .sci = {MADT_OVERRIDE, sizeof tail.sci, 0, GUEST_SCI_GSI, GUEST_SCI_GSI, INTI_HIGH_LEVEL},
    .nmi = {MADT_LAPIC_NMI, sizeof tail.nmi, MADT_ALL_UIDS, INTI_HIGH_EDGE, MADT_NMI_LINT},
    .wide_nmi = {MADT_X2APIC_NMI, sizeof tail.wide_nmi, INTI_HIGH_EDGE, UINT32_MAX, MADT_NMI_LINT, {0}},
};

static uint8_t sum_of(const void *bytes, size_t len) {
	const uint8_t *b = bytes;
	uint8_t sum = 0;
	for (size_t i = 0; i < len; i++) sum = (uint8_t)(sum + b[i]);
	return sum;
}

static bool needs_x2apic_entry(const struct acpi_guest *in, uint32_t vcpu) {
	return vcpu > LAPIC_ID_MAX || in->apic_ids[vcpu] > LAPIC_ID_MAX;
}

static size_t madt_bytes(const struct acpi_guest *in) {
	size_t bytes = sizeof(struct acpi_madt) + offsetof(struct tail, wide_nmi);
	bool wide = false;
	for (uint32_t i = 0; i < in->vcpu_count; i++) {
		bool large = needs_x2apic_entry(in, i);
		bytes += large ? sizeof(struct madt_x2apic) : sizeof(struct madt_lapic);
		wide |= large;
	}
	return bytes + (wide ? sizeof(struct madt_x2apic_nmi) : 0);
}

// Offset of the DSDT, the last table.
static size_t dsdt_offset(const struct acpi_guest *in) {
	return align_up(AT(madt) + madt_bytes(in), TABLE_ALIGN);
}

// Completes the table of `length` bytes at `table`, whose checksum byte is 0.
static void checksum_set(uint8_t *table, size_t length) {
	table[offsetof(struct acpi_header, checksum)] = (uint8_t)-sum_of(table, length);
}

static void head_build(uint8_t *out, uint64_t gpa, size_t dsdt, size_t madt_length) {
	struct head *h = (struct head *)out;
	*h = head;
	h->rsdp.rsdt = (uint32_t)(gpa + AT(rsdt));
	h->rsdp.xsdt = gpa + AT(xsdt);
	h->rsdp.checksum = (uint8_t)-sum_of(&h->rsdp, RSDP_FIRST_BYTES);
	h->rsdp.extended_checksum = (uint8_t)-sum_of(&h->rsdp, sizeof h->rsdp);
	h->xsdt.entry[0] = h->rsdt.entry[0] = (uint32_t)(gpa + AT(fadt)); // the block lies below 1 MiB
	h->xsdt.entry[1] = h->rsdt.entry[1] = (uint32_t)(gpa + AT(madt));
	h->fadt.firmware_ctrl = (uint32_t)(gpa + AT(facs)); // x_firmware_ctrl is for a FACS above 4 GiB only
	h->fadt.x_dsdt = h->fadt.dsdt = (uint32_t)(gpa + dsdt);
	h->madt.header.length = (uint32_t)madt_length;
	checksum_set(out + AT(rsdt), sizeof h->rsdt);
	checksum_set(out + AT(xsdt), sizeof h->xsdt);
	checksum_set(out + AT(fadt), sizeof h->fadt);
}

// Appends one entry of the MADT and returns the place of the next.
static uint8_t *entry_put(uint8_t *at, const void *entry, size_t bytes) {
	memcpy(at, entry, bytes);
	return at + bytes;
}

// The vCPUs' local APICs; true when one of them has an x2APIC entry.
static bool madt_cpus_put(const struct acpi_guest *in, uint8_t **at) {
	bool wide = false;
	for (uint32_t i = 0; i < in->vcpu_count; i++) {
		if (!needs_x2apic_entry(in, i)) {
			struct madt_lapic cpu = {
			    MADT_LAPIC, sizeof cpu, (uint8_t)i, (uint8_t)in->apic_ids[i], MADT_ENABLED,
			};
			*at = entry_put(*at, &cpu, sizeof cpu);
		} else {
			struct madt_x2apic cpu = {MADT_X2APIC, sizeof cpu, 0, in->apic_ids[i], MADT_ENABLED, i};
			*at = entry_put(*at, &cpu, sizeof cpu);
			wide = true;
		}
	}
	return wide;
}

// What follows the head of the MADT.
static void madt_build(const struct acpi_guest *in, uint8_t *out, size_t bytes) {
	uint8_t *at = out + sizeof(struct head);
	bool wide = madt_cpus_put(in, &at);
	memcpy(at, &tail, wide ? sizeof tail : offsetof(struct tail, wide_nmi));
	at[offsetof(struct madt_ioapic, id)] = in->ioapic_id;
	checksum_set(out + AT(madt), bytes);
}

size_t acpi_tables_bytes(const struct acpi_guest *in) { return dsdt_offset(in) + dsdt_aml_bytes; }

int acpi_tables_build(const struct acpi_guest *in, uint8_t *out, size_t out_bytes, uint64_t gpa_of_out,
                      uint64_t *rsdp_gpa) {
	if (in->vcpu_count == 0 || !is_aligned(gpa_of_out, FACS_ALIGN)) return -ERR_INVAL;
	size_t dsdt = dsdt_offset(in), end = dsdt + dsdt_aml_bytes, madt_length = madt_bytes(in);
	uint64_t area_end = ACPI_GUEST_AREA_GPA + ACPI_GUEST_AREA_BYTES;
	if (gpa_of_out < ACPI_GUEST_AREA_GPA || gpa_of_out >= area_end || end > area_end - gpa_of_out) {
		return -ERR_RANGE;
	}
	if (end > out_bytes) return -ERR_NOMEM;
	head_build(out, gpa_of_out, dsdt, madt_length);
	madt_build(in, out, madt_length);
	memcpy(out + dsdt, dsdt_aml, dsdt_aml_bytes);
	*rsdp_gpa = gpa_of_out;
	return 0;
}
