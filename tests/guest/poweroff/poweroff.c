// SPDX-License-Identifier: Apache-2.0
// ACPI power-off as an operating system does it: RSDP, XSDT or RSDT, FADT, \_S5 in the DSDT, then SLP_TYP and
// SLP_EN in PM1a_CNT (ACPI 6.4, 4.8.3.2 and 7.4.2). Checks every checksum on the way.
#include "tests/guest/lib/chips.h"

#define RSDP_FIRST 0xE0000u
#define RSDP_END 0x100000u
#define SLP_EN (1u << 13)
#define SCI_EN 1u
#define FADT_DSDT 40
#define FADT_SMI_CMD 48
#define FADT_ACPI_ENABLE 52
#define FADT_PM1A_CNT 64
#define WAIT_US 200000u

static uint32_t le32(const uint8_t *p) {
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool same(const uint8_t *p, const char *text, unsigned n) {
	for (unsigned i = 0; i < n; i++)
		if (p[i] != (uint8_t)text[i]) return false;
	return true;
}

static uint8_t sum(const uint8_t *p, unsigned n) {
	uint8_t s = 0;
	for (unsigned i = 0; i < n; i++) s = (uint8_t)(s + p[i]);
	return s;
}

static const uint8_t *pointer(uint64_t address) { return (const uint8_t *)(uintptr_t)address; }

static const uint8_t *checked(const uint8_t *t) {
	print("  %c%c%c%c at %lx, %u bytes\n", t[0], t[1], t[2], t[3], (unsigned long)(uintptr_t)t, le32(t + 4));
	CHECK_EQ(sum(t, le32(t + 4)), 0);
	return t;
}

static const uint8_t *find_rsdp(void) {
	for (uint32_t a = RSDP_FIRST; a < RSDP_END; a += 16)
		if (same(pointer(a), "RSD PTR ", 8) && sum(pointer(a), 20) == 0) return pointer(a);
	result_failure("no RSDP");
}

static const uint8_t *find_table(const uint8_t *rsdp, const char *name) {
	bool wide = rsdp[15] >= 2 && (le32(rsdp + 24) || le32(rsdp + 28));
	unsigned entry_bytes = wide ? 8 : 4;
	if (wide) CHECK_EQ(sum(rsdp, le32(rsdp + 20)), 0);
	const uint8_t *root = checked(pointer(le32(rsdp + (wide ? 24 : 16))));
	for (unsigned at = 36; at + entry_bytes <= le32(root + 4); at += entry_bytes)
		if (same(pointer(le32(root + at)), name, 4)) return checked(pointer(le32(root + at)));
	result_failure("no %s", name);
}

// SLP_TYPa: the first element of the package after the name _S5_ (ACPI 6.4, 20.2.5).
static unsigned sleep_type(const uint8_t *dsdt) {
	for (unsigned i = 36; i + 10 < le32(dsdt + 4); i++) {
		const uint8_t *p = dsdt + i;
		if (!same(p, "_S5_\x12", 5)) continue;
		p += 5;
		p += 1 + (*p >> 6); // PkgLength
		p++;                // NumElements
		if (*p == 0x0A) return p[1];
		if (*p <= 1) return *p;
	}
	result_failure("no _S5_ in the DSDT");
}

void guest_main(void);
void guest_main(void) {
	const uint8_t *rsdp = find_rsdp(), *fadt = find_table(rsdp, "FACP");
	checked(find_table(rsdp, "APIC"));
	const uint8_t *dsdt = checked(pointer(le32(fadt + FADT_DSDT)));
	uint16_t control = (uint16_t)le32(fadt + FADT_PM1A_CNT);
	unsigned type = sleep_type(dsdt);
	print("  PM1a_CNT %x, SLP_TYP %u\n", control, type);
	if (!(in16(control) & SCI_EN) && le32(fadt + FADT_SMI_CMD)) {
		out8((uint16_t)le32(fadt + FADT_SMI_CMD), fadt[FADT_ACPI_ENABLE]);
		CHECK(WAIT_FOR(in16(control) & SCI_EN, WAIT_US), "ACPI mode was not entered");
	}
	print("READY\n");
	out16(control, (uint16_t)(type << 10 | SLP_EN | SCI_EN));
	delay_us(WAIT_US);
	result_failure("still on");
}
