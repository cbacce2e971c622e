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

// Offsets of the tables in the block, and its end.
struct plan {
	size_t facs, rsdt, xsdt, fadt, madt, dsdt, end;
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
	size_t bytes = sizeof(struct acpi_madt) + sizeof(struct madt_ioapic) + 2 * sizeof(struct madt_override) +
	               sizeof(struct madt_lapic_nmi);
	bool wide = false;
	for (uint32_t i = 0; i < in->vcpu_count; i++) {
		bool large = needs_x2apic_entry(in, i);
		bytes += large ? sizeof(struct madt_x2apic) : sizeof(struct madt_lapic);
		wide |= large;
	}
	return bytes + (wide ? sizeof(struct madt_x2apic_nmi) : 0);
}

static struct plan plan_make(const struct acpi_guest *in) {
	struct plan p;
	p.facs = align_up(sizeof(struct acpi_rsdp), FACS_ALIGN);
	p.rsdt = align_up(p.facs + sizeof(struct acpi_facs), TABLE_ALIGN);
	p.xsdt = align_up(p.rsdt + sizeof(struct acpi_header) + ROOT_ENTRIES * sizeof(uint32_t), TABLE_ALIGN);
	p.fadt = align_up(p.xsdt + sizeof(struct acpi_header) + ROOT_ENTRIES * sizeof(uint64_t), TABLE_ALIGN);
	p.madt = align_up(p.fadt + sizeof(struct acpi_fadt), TABLE_ALIGN);
	p.dsdt = align_up(p.madt + madt_bytes(in), TABLE_ALIGN);
	p.end = p.dsdt + dsdt_aml_bytes;
	return p;
}

static struct acpi_header header_make(const char *signature, size_t length, uint8_t revision) {
	struct acpi_header h = {
	    .length = (uint32_t)length,
	    .revision = revision,
	    .oem_revision = 1,
	    .creator_revision = 1,
	};
	memcpy(h.signature, signature, sizeof h.signature);
	memcpy(h.oem_id, "BLKHD ", sizeof h.oem_id);
	memcpy(h.oem_table_id, "BULKHEAD", sizeof h.oem_table_id);
	memcpy(h.creator_id, "BLKH", sizeof h.creator_id);
	return h;
}

// Completes the table of `length` bytes at `table`, whose checksum byte is 0.
static void checksum_set(uint8_t *table, size_t length) {
	table[offsetof(struct acpi_header, checksum)] = (uint8_t)-sum_of(table, length);
}

static struct acpi_gas io_register(uint32_t port, uint8_t bits, uint8_t access) {
	return (struct acpi_gas){.space = GAS_SPACE_IO, .bit_width = bits, .access = access, .address = port};
}

static void rsdp_build(uint8_t *out, uint64_t gpa, const struct plan *p) {
	struct acpi_rsdp r = {
	    .revision = RSDP_REVISION,
	    .rsdt = (uint32_t)(gpa + p->rsdt),
	    .length = sizeof r,
	    .xsdt = gpa + p->xsdt,
	};
	memcpy(r.signature, "RSD PTR ", sizeof r.signature);
	memcpy(r.oem_id, "BLKHD ", sizeof r.oem_id);
	r.checksum = (uint8_t)-sum_of(&r, RSDP_FIRST_BYTES);
	r.extended_checksum = (uint8_t)-sum_of(&r, sizeof r);
	memcpy(out, &r, sizeof r);
}

static void roots_build(uint8_t *out, uint64_t gpa, const struct plan *p) {
	const uint64_t entry[ROOT_ENTRIES] = {gpa + p->fadt, gpa + p->madt};
	size_t rsdt_bytes = sizeof(struct acpi_header) + ROOT_ENTRIES * sizeof(uint32_t);
	size_t xsdt_bytes = sizeof(struct acpi_header) + ROOT_ENTRIES * sizeof(uint64_t);
	struct acpi_header rsdt = header_make("RSDT", rsdt_bytes, 1), xsdt = header_make("XSDT", xsdt_bytes, 1);
	memcpy(out + p->rsdt, &rsdt, sizeof rsdt);
	memcpy(out + p->xsdt, &xsdt, sizeof xsdt);
	for (size_t i = 0; i < ROOT_ENTRIES; i++) {
		put_le32(out + p->rsdt + sizeof rsdt + i * sizeof(uint32_t), (uint32_t)entry[i]);
		put_le64(out + p->xsdt + sizeof xsdt + i * sizeof(uint64_t), entry[i]);
	}
	checksum_set(out + p->rsdt, rsdt_bytes);
	checksum_set(out + p->xsdt, xsdt_bytes);
}

static void fadt_build(uint8_t *out, uint64_t gpa, const struct plan *p) {
	struct acpi_fadt f = {
	    .header = header_make("FACP", sizeof f, FADT_REVISION),
	    .firmware_ctrl = (uint32_t)(gpa + p->facs), // x_firmware_ctrl is for a FACS above 4 GiB only
	    .dsdt = (uint32_t)(gpa + p->dsdt),
	    .x_dsdt = gpa + p->dsdt,
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
	    .reset_reg = io_register(GUEST_RESET_PORT, 8, GAS_BYTE),
	    .reset_value = GUEST_RESET_VALUE,
	    .minor_revision = FADT_MINOR,
	    .x_pm1a_evt_blk = io_register(GUEST_PM1A_EVT_PORT, 32, GAS_WORD),
	    .x_pm1a_cnt_blk = io_register(GUEST_PM1A_CNT_PORT, 16, GAS_WORD),
	    .x_pm_tmr_blk = io_register(GUEST_PM_TMR_PORT, 32, GAS_DWORD),
	};
	memcpy(f.hypervisor_vendor, "BULKHEAD", sizeof f.hypervisor_vendor);
	memcpy(out + p->fadt, &f, sizeof f);
	checksum_set(out + p->fadt, sizeof f);
}

static void facs_build(uint8_t *out, const struct plan *p) {
	struct acpi_facs f = {.length = sizeof f, .version = FACS_VERSION};
	memcpy(f.signature, "FACS", sizeof f.signature);
	memcpy(out + p->facs, &f, sizeof f);
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

static void madt_build(const struct acpi_guest *in, uint8_t *out, const struct plan *p) {
	size_t bytes = madt_bytes(in);
	struct acpi_madt m = {
	    .header = header_make("APIC", bytes, MADT_REVISION),
	    .lapic_address = GUEST_LAPIC_GPA,
	    .flags = MADT_PCAT_COMPAT,
	};
	struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof ioapic, in->ioapic_id, 0, GUEST_IOAPIC_GPA, 0};
	struct madt_override pit = {MADT_OVERRIDE, sizeof pit,           0,
	                            GUEST_PIT_GSI, GUEST_PIT_IOAPIC_PIN, INTI_HIGH_EDGE};
	struct madt_override sci = {MADT_OVERRIDE, sizeof sci, 0, GUEST_SCI_GSI, GUEST_SCI_GSI, INTI_HIGH_LEVEL};
	struct madt_lapic_nmi nmi = {MADT_LAPIC_NMI, sizeof nmi, MADT_ALL_UIDS, INTI_HIGH_EDGE, MADT_NMI_LINT};
	struct madt_x2apic_nmi wide_nmi = {
	    MADT_X2APIC_NMI, sizeof wide_nmi, INTI_HIGH_EDGE, UINT32_MAX, MADT_NMI_LINT, {0},
	};
	uint8_t *at = entry_put(out + p->madt, &m, sizeof m);
	bool wide = madt_cpus_put(in, &at);
	at = entry_put(at, &ioapic, sizeof ioapic);
	at = entry_put(at, &pit, sizeof pit);
	at = entry_put(at, &sci, sizeof sci);
	at = entry_put(at, &nmi, sizeof nmi);
	if (wide) (void)entry_put(at, &wide_nmi, sizeof wide_nmi);
	checksum_set(out + p->madt, bytes);
}

size_t acpi_tables_bytes(const struct acpi_guest *in) { return plan_make(in).end; }

int acpi_tables_build(const struct acpi_guest *in, uint8_t *out, size_t out_bytes, uint64_t gpa_of_out,
                      uint64_t *rsdp_gpa) {
	if (in->vcpu_count == 0 || !is_aligned(gpa_of_out, FACS_ALIGN)) return -ERR_INVAL;
	struct plan p = plan_make(in);
	uint64_t area_end = ACPI_GUEST_AREA_GPA + ACPI_GUEST_AREA_BYTES;
	if (gpa_of_out < ACPI_GUEST_AREA_GPA || gpa_of_out >= area_end || p.end > area_end - gpa_of_out) {
		return -ERR_RANGE;
	}
	if (p.end > out_bytes) return -ERR_NOMEM;
	rsdp_build(out, gpa_of_out, &p);
	facs_build(out, &p);
	roots_build(out, gpa_of_out, &p);
	fadt_build(out, gpa_of_out, &p);
	madt_build(in, out, &p);
	memcpy(out + p.dsdt, dsdt_aml, dsdt_aml_bytes);
	*rsdp_gpa = gpa_of_out;
	return 0;
}
