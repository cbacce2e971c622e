// SPDX-License-Identifier: Apache-2.0
// From the RSDP to the single tables: finding, bounding and checking them. Each table is asked for twice,
// header first, because its length is known only then; nothing is kept across calls of the callback.
#include "drivers/host/acpi.h"

#include "drivers/host/acpi_tables.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

// Entries of the root table that are looked at; real machines have a few dozen.
#define ROOT_ENTRY_MAX 128u

#define LEGACY_LAPIC_BASE 0xfee00000u  // SDM vol. 3, 11.4.1
#define LEGACY_IOAPIC_BASE 0xfec00000u // 82093AA, MP specification 3.6.5

#define RSDP_BYTES_V1 20u // ACPI 5.2.5.3
#define RSDP_BYTES_V2 36u
#define RSDP_STEP 16u
#define RSDP_WINDOW UINT64_C(1024)
#define BDA_EBDA_SEGMENT 0x40eu
#define EBDA_SEARCH_BYTES 1024u
#define BIOS_SEARCH_BASE 0xe0000u
#define BIOS_SEARCH_BYTES 0x20000u

struct reader {
	struct acpi_info *info;
	acpi_map_fn *map;
	void *ctx;
};

const char *acpi_table_name(enum acpi_table table) {
	static const char *const name[ACPI_TABLE_COUNT] = {"RSDP", "XSDT", "RSDT", "MADT", "FADT",
	                                                   "HPET", "MCFG", "DSDT", "SSDT"};
	return (unsigned)table < ACPI_TABLE_COUNT ? name[table] : "?";
}

const char *acpi_status_name(enum acpi_status status) {
	switch (status) {
	case ACPI_ABSENT: return "absent";
	case ACPI_OK: return "ok";
	case ACPI_BAD_CHECKSUM: return "bad checksum";
	case ACPI_BAD_LENGTH: return "bad length";
	case ACPI_BAD_SIGNATURE: return "bad signature";
	case ACPI_UNREADABLE: return "unreadable";
	}
	return "?";
}

void acpi_defaults(struct acpi_info *info) {
	memset(info, 0, sizeof *info);
	info->lapic_base = LEGACY_LAPIC_BASE;
	info->pic_present = true;
	info->cpu_count = 1;
	info->ioapic_count = 1;
	info->ioapic[0].base = LEGACY_IOAPIC_BASE;
	info->fixed.boot_arch = ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_8042;
}

static bool sums_to_zero(const uint8_t *p, uint64_t bytes) {
	uint8_t sum = 0;
	for (uint64_t i = 0; i < bytes; i++) sum = (uint8_t)(sum + p[i]);
	return sum == 0;
}

static const uint8_t *map_bytes(const struct reader *r, hpa_t at, uint64_t bytes) {
	if (range_wraps(at.v, bytes)) return NULL;
	return r->map(r->ctx, at, bytes);
}

// An OK one stays what it is: of tables that come twice (SSDTs) one good one counts.
static void status_set(struct acpi_info *info, enum acpi_table table, enum acpi_status status, hpa_t at) {
	if (status != ACPI_OK)
		log_warn("acpi", "%s at 0x%llx ignored: %s", acpi_table_name(table), (unsigned long long)at.v,
		         acpi_status_name(status));
	if (info->status[table] != ACPI_OK) info->status[table] = (uint8_t)status;
}

// ---- RSDP ------------------------------------------------------------------------------------------------

struct rsdp {
	hpa_t xsdt, rsdt; // 0 none
};

static enum acpi_status rsdp_check(const struct reader *r, hpa_t at, struct rsdp *out) {
	const uint8_t *p = map_bytes(r, at, RSDP_BYTES_V1);
	if (p == NULL) return ACPI_UNREADABLE;
	if (memcmp(p, "RSD PTR ", 8) != 0) return ACPI_BAD_SIGNATURE;
	if (!sums_to_zero(p, RSDP_BYTES_V1)) return ACPI_BAD_CHECKSUM;
	*out = (struct rsdp){.rsdt = hpa(le32(p + 16))};
	memcpy(r->info->oem, p + 9, 6);
	r->info->oem[6] = 0;
	for (unsigned i = 0; i < 6; i++) {
		if (r->info->oem[i] < 0x20 || r->info->oem[i] > 0x7e) r->info->oem[i] = ' ';
	}
	if (p[15] < 2) return ACPI_OK;
	p = map_bytes(r, at, RSDP_BYTES_V2);
	if (p == NULL) return ACPI_UNREADABLE;
	if (le32(p + 20) < RSDP_BYTES_V2 || le32(p + 20) > PAGE_BYTES) return ACPI_BAD_LENGTH;
	const uint32_t bytes = le32(p + 20);
	p = map_bytes(r, at, bytes);
	if (p == NULL) return ACPI_UNREADABLE;
	if (!sums_to_zero(p, bytes)) return ACPI_BAD_CHECKSUM;
	out->xsdt = hpa(le64(p + 24));
	return ACPI_OK;
}

static hpa_t rsdp_search(const struct reader *r, uint64_t base, uint64_t bytes) {
	// A window at a time, overlapping by what an RSDP at its last step needs.
	for (uint64_t done = 0; done < bytes; done += RSDP_WINDOW) {
		const uint64_t window = min_u64(RSDP_WINDOW + RSDP_STEP, bytes - done);
		const uint8_t *p = map_bytes(r, hpa(base + done), window);
		if (p == NULL) continue;
		for (uint64_t at = 0; at + RSDP_BYTES_V1 <= window; at += RSDP_STEP) {
			if (memcmp(p + at, "RSD PTR ", 8) == 0 && sums_to_zero(p + at, RSDP_BYTES_V1))
				return hpa(base + done + at);
		}
	}
	return hpa(0);
}

// ACPI 5.2.5.1 "Finding the RSDP on IA-PC Systems".
static hpa_t rsdp_search_legacy(const struct reader *r) {
	const uint8_t *segment = map_bytes(r, hpa(BDA_EBDA_SEGMENT), 2);
	const uint64_t ebda = segment == NULL ? 0 : (uint64_t)le16(segment) << 4;
	if (ebda >= 0x80000 && ebda < 0xa0000) {
		const hpa_t at = rsdp_search(r, ebda, EBDA_SEARCH_BYTES);
		if (at.v != 0) return at;
	}
	return rsdp_search(r, BIOS_SEARCH_BASE, BIOS_SEARCH_BYTES);
}

// ---- Tables ----------------------------------------------------------------------------------------------

// Maps a whole table and checks length and checksum; NULL and *status otherwise. signature NULL: any.
static const uint8_t *table_map(const struct reader *r, hpa_t at, const char *signature, uint32_t *bytes,
                                enum acpi_status *status) {
	const uint8_t *p = map_bytes(r, at, ACPI_HEADER_BYTES);
	*status = ACPI_UNREADABLE;
	if (at.v == 0 || p == NULL) return NULL;
	*status = ACPI_BAD_SIGNATURE;
	if (memcmp(p, signature, 4) != 0) return NULL;
	*bytes = le32(p + 4);
	*status = ACPI_BAD_LENGTH;
	if (*bytes < ACPI_HEADER_BYTES || *bytes > ACPI_TABLE_BYTES_MAX) return NULL;
	p = map_bytes(r, at, *bytes);
	*status = ACPI_UNREADABLE;
	if (p == NULL) return NULL;
	*status = ACPI_BAD_CHECKSUM;
	if (!sums_to_zero(p, *bytes)) return NULL;
	*status = ACPI_OK;
	return p;
}

static void read_aml(const struct reader *r, enum acpi_table table, hpa_t at) {
	enum acpi_status status;
	uint32_t bytes;
	const uint8_t *p = table_map(r, at, table == ACPI_DSDT ? "DSDT" : "SSDT", &bytes, &status);
	if (p != NULL) acpi_scan_s5(r->info, p, bytes);
	status_set(r->info, table, status, at);
}

// A table that may come once: the first good one counts.
static void read_single(const struct reader *r, enum acpi_table table, const char *signature, hpa_t at,
                        struct acpi_fadt_refs *refs) {
	if (r->info->status[table] == ACPI_OK) {
		log_warn("acpi", "second %s at 0x%llx ignored", acpi_table_name(table), (unsigned long long)at.v);
		return;
	}
	enum acpi_status status;
	uint32_t bytes;
	const uint8_t *p = table_map(r, at, signature, &bytes, &status);
	if (p != NULL) {
		int err = 0;
		switch (table) {
		case ACPI_MADT: err = acpi_parse_madt(r->info, p, bytes); break;
		case ACPI_FADT: err = acpi_parse_fadt(r->info, refs, p, bytes); break;
		case ACPI_HPET: err = acpi_parse_hpet(r->info, p, bytes); break;
		case ACPI_MCFG: err = acpi_parse_mcfg(r->info, p, bytes); break;
		default: break;
		}
		if (err != 0) status = ACPI_BAD_LENGTH;
	}
	status_set(r->info, table, status, at);
}

static void read_entry(const struct reader *r, hpa_t at, struct acpi_fadt_refs *refs) {
	static const struct {
		char signature[5];
		uint8_t table;
	} known[] = {{"APIC", ACPI_MADT}, {"FACP", ACPI_FADT}, {"HPET", ACPI_HPET}, {"MCFG", ACPI_MCFG}};
	const uint8_t *p = at.v == 0 ? NULL : map_bytes(r, at, ACPI_HEADER_BYTES);
	if (p == NULL) {
		log_warn("acpi", "root table entry 0x%llx is unreadable", (unsigned long long)at.v);
		return;
	}
	if (memcmp(p, "SSDT", 4) == 0) {
		read_aml(r, ACPI_SSDT, at);
		return;
	}
	for (unsigned i = 0; i < array_count(known); i++) {
		if (memcmp(p, known[i].signature, 4) == 0) {
			read_single(r, (enum acpi_table)known[i].table, known[i].signature, at, refs);
			return;
		}
	}
}

// True when the root table could be used. Its entries are copied first: the mapping does not last.
static bool read_root(const struct reader *r, enum acpi_table table, hpa_t at, struct acpi_fadt_refs *refs) {
	if (at.v == 0) return false;
	const unsigned width = table == ACPI_XSDT ? 8 : 4;
	enum acpi_status status;
	uint32_t bytes;
	const uint8_t *p = table_map(r, at, acpi_table_name(table), &bytes, &status);
	status_set(r->info, table, status, at);
	if (p == NULL) return false;
	uint64_t entry[ROOT_ENTRY_MAX];
	unsigned count = (bytes - ACPI_HEADER_BYTES) / width;
	if (count > ROOT_ENTRY_MAX) {
		log_warn("acpi", "%s has %u entries, %u are read", acpi_table_name(table), count, ROOT_ENTRY_MAX);
		count = ROOT_ENTRY_MAX;
	}
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *e = p + ACPI_HEADER_BYTES + i * width;
		entry[i] = width == 8 ? le64(e) : le32(e);
	}
	for (unsigned i = 0; i < count; i++) {
		bool seen = false; // an entry that comes twice is one table
		for (unsigned j = 0; j < i && !seen; j++) seen = entry[j] == entry[i];
		if (!seen) read_entry(r, hpa(entry[i]), refs);
	}
	return true;
}

// ---- All of it -------------------------------------------------------------------------------------------

// What the rest of the hypervisor relies on, whatever the tables said.
static void complete(struct acpi_info *info) {
	if (info->status[ACPI_MADT] == ACPI_OK && info->cpu_count == 0)
		log_warn("acpi", "MADT lists no enabled CPU: one is assumed");
	if (info->cpu_count == 0) {
		info->cpu_count = 1;
		info->cpu[0] = (struct acpi_cpu){0};
	}
	if (info->lapic_base == 0 || !is_aligned(info->lapic_base, PAGE_BYTES)) {
		log_warn("acpi", "local APIC address 0x%llx ignored", (unsigned long long)info->lapic_base);
		info->lapic_base = LEGACY_LAPIC_BASE;
	}
}

void acpi_read(struct acpi_info *info, hpa_t rsdp_at, acpi_map_fn *map, void *ctx) {
	acpi_defaults(info);
	const struct reader r = {.info = info, .map = map, .ctx = ctx};
	struct acpi_fadt_refs refs = {0};
	struct rsdp rsdp = {0};
	if (rsdp_at.v == 0) rsdp_at = rsdp_search_legacy(&r);
	if (rsdp_at.v == 0) {
		log_warn("acpi", "no RSDP: one CPU, legacy addresses");
		return;
	}
	const enum acpi_status status = rsdp_check(&r, rsdp_at, &rsdp);
	// A version 2 part that is broken leaves the version 1 part, which has its own checksum, usable.
	status_set(info, ACPI_RSDP, status, rsdp_at);
	info->rsdp = rsdp_at;
	if (!read_root(&r, ACPI_XSDT, rsdp.xsdt, &refs) && !read_root(&r, ACPI_RSDT, rsdp.rsdt, &refs)) {
		log_warn("acpi", "no usable XSDT or RSDT: one CPU, legacy addresses");
		return;
	}
	info->present = true;
	if (refs.dsdt.v != 0) read_aml(&r, ACPI_DSDT, refs.dsdt);
	complete(info);
}

uint32_t acpi_isa_gsi(const struct acpi_info *info, unsigned irq, uint16_t *flags) {
	for (uint32_t i = 0; i < info->override_count; i++) {
		if (info->override[i].source == irq) {
			*flags = info->override[i].flags;
			return info->override[i].gsi;
		}
	}
	*flags = 0;
	return irq;
}
