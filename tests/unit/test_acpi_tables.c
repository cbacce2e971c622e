// SPDX-License-Identifier: Apache-2.0
// arch/x86/guest/acpi_tables.c: the block as an operating system walks it, its bounds and checksums, and
// every table that iasl reads (it takes no RSDP): disassembled and compiled again, warnings as errors.
#include "tests/unit/support.h"

#include <stdlib.h>
#include <unistd.h>

#include "arch/x86/guest/acpi_tables.h"
#include "kernel/guestmap.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

#define GPA UINT64_C(0xe0000)
#define CPU_MAX 1000u

static uint8_t block[ACPI_GUEST_AREA_BYTES];
static uint32_t ids[CPU_MAX];

static void build(uint32_t cpus, uint32_t step, uint64_t gpa, uint64_t *rsdp) {
	for (uint32_t i = 0; i < CPU_MAX; i++) ids[i] = i * step;
	const struct acpi_guest guest = {.vcpu_count = cpus, .apic_ids = ids, .ioapic_id = 7};
	memset(block, 0xa5, sizeof block);
	assert_int_equal(acpi_tables_build(&guest, block, sizeof block, gpa, rsdp), 0);
	for (size_t i = acpi_tables_bytes(&guest); i < sizeof block; i++) assert_int_equal(block[i], 0xa5);
}

static unsigned sum_of(const uint8_t *bytes, size_t len) {
	unsigned sum = 0;
	for (size_t i = 0; i < len; i++) sum += bytes[i];
	return sum & 0xff;
}

// The table at a guest address: inside the block, right signature and checksum.
static const uint8_t *table(uint64_t at, const char *signature) {
	assert_true(at >= GPA && at - GPA + 36 <= sizeof block);
	const uint8_t *t = block + (at - GPA);
	assert_memory_equal(t, signature, 4);
	assert_true(at - GPA + le32(t + 4) <= sizeof block);
	if (strcmp(signature, "FACS") != 0) assert_int_equal(sum_of(t, le32(t + 4)), 0);
	return t;
}

static const uint8_t *root_entry(unsigned index, const char *signature) {
	const uint8_t *xsdt = table(le64(block + 24), "XSDT"), *rsdt = table(le32(block + 16), "RSDT");
	assert_int_equal(le32(xsdt + 4), 36 + 16);
	assert_int_equal(le32(rsdt + 4), 36 + 8);
	assert_true(le64(xsdt + 36 + 8 * index) == le32(rsdt + 36 + 4 * index));
	return table(le64(xsdt + 36 + 8 * index), signature);
}

static void rsdp_is_valid_for_both_revisions(void **state) {
	(void)state;
	uint64_t rsdp;
	build(1, 1, GPA, &rsdp);
	assert_true(rsdp == GPA);
	assert_memory_equal(block, "RSD PTR ", 8);
	assert_int_equal(sum_of(block, 20), 0);
	assert_int_equal(sum_of(block, 36), 0);
	assert_int_equal(block[15], 2);
	assert_int_equal(le32(block + 20), 36);
}

static void fadt_names_the_fixed_hardware(void **state) {
	(void)state;
	uint64_t rsdp;
	build(1, 1, GPA, &rsdp);
	const uint8_t *f = root_entry(0, "FACP");
	assert_int_equal(le32(f + 4), 276);
	assert_int_equal(le16(f + 46), 9);      // SCI_INT
	assert_int_equal(le32(f + 48), 0);      // SMI_CMD: always in ACPI mode
	assert_int_equal(le32(f + 56), 0x600);  // PM1a_EVT_BLK
	assert_int_equal(le32(f + 64), 0x604);  // PM1a_CNT_BLK
	assert_int_equal(le32(f + 76), 0x608);  // PM_TMR_BLK
	assert_int_equal(f[108], 0x32);         // CENTURY
	assert_int_equal(le16(f + 109), 0x05);  // legacy devices, no keyboard, no VGA
	assert_int_equal(le32(f + 112), 0x565); // WBINVD, C1, no sleep button, RTC, 32-bit timer, reset
	assert_int_equal(le64(f + 120), 0xcf9);
	assert_int_equal(f[128], 0x06);
	assert_int_equal(le64(f + 152), 0x600);
	assert_int_equal(le64(f + 176), 0x604);
	assert_int_equal(le64(f + 212), 0x608);
	(void)table(le32(f + 36), "FACS");
	assert_int_equal(le32(f + 36) % 64, 0);
	assert_true(le32(f + 40) == le64(f + 140));
	(void)table(le64(f + 140), "DSDT");
}

static void dsdt_s5_equals_the_device(void **state) {
	(void)state;
	uint64_t rsdp;
	build(1, 1, GPA, &rsdp);
	const uint8_t *dsdt = table(le64(root_entry(0, "FACP") + 140), "DSDT");
	const uint8_t s5[] = {
	    0x08, '_', 'S', '5', '_', 0x12, 0x08, 0x04, 0x0a, GUEST_SLP_TYP_S5, 0x0a, GUEST_SLP_TYP_S5};
	bool found = false;
	for (size_t i = 36; i + sizeof s5 <= le32(dsdt + 4); i++) found |= memcmp(dsdt + i, s5, sizeof s5) == 0;
	assert_true(found);
}

struct madt {
	unsigned lapics, x2apics, ioapics, overrides, nmis, wide_nmis;
};

static struct madt madt_walk(void) {
	struct madt seen = {0};
	const uint8_t *m = root_entry(1, "APIC"), *end = m + le32(m + 4);
	assert_int_equal(le32(m + 36), 0xfee00000);
	assert_int_equal(le32(m + 40), 1);
	const uint8_t *e = m + 44;
	for (; e < end; e += e[1]) {
		static const uint8_t length[11] = {8, 12, 10, 0, 6, 0, 0, 0, 0, 16, 12};
		assert_true(e[0] <= 10 && e[1] == length[e[0]] && e[1] != 0);
		uint32_t vcpu = seen.lapics + seen.x2apics;
		switch (e[0]) {
		case 0:
			assert_int_equal(e[2], vcpu);
			assert_int_equal(e[3], ids[vcpu]);
			assert_int_equal(le32(e + 4), 1);
			seen.lapics++;
			break;
		case 1:
			assert_int_equal(e[2], 7);
			assert_int_equal(le32(e + 4), 0xfec00000);
			assert_int_equal(le32(e + 8), 0);
			seen.ioapics++;
			break;
		case 2:
			assert_int_equal(e[3], seen.overrides ? 9 : 0);
			assert_int_equal(le32(e + 4), seen.overrides ? 9 : 2);
			assert_int_equal(le16(e + 8), seen.overrides ? 0xd : 0x5);
			seen.overrides++;
			break;
		case 4:
			assert_int_equal(e[2], 0xff);
			assert_int_equal(e[5], 1);
			seen.nmis++;
			break;
		case 9:
			assert_int_equal(le32(e + 4), ids[vcpu]);
			assert_int_equal(le32(e + 12), vcpu);
			seen.x2apics++;
			break;
		default: seen.wide_nmis++; break;
		}
	}
	assert_ptr_equal(e, end);
	return seen;
}

static void madt_lists_processors_and_lines(void **state) {
	(void)state;
	uint64_t rsdp;
	build(4, 2, GPA, &rsdp);
	struct madt seen = madt_walk();
	assert_int_equal(seen.lapics, 4);
	assert_int_equal(seen.x2apics + seen.wide_nmis, 0);
	assert_int_equal(seen.ioapics, 1);
	assert_int_equal(seen.overrides, 2);
	assert_int_equal(seen.nmis, 1);
}

static void madt_large_ids_have_x2apic_entries(void **state) {
	(void)state;
	uint64_t rsdp;
	build(300, 2, GPA, &rsdp);
	struct madt seen = madt_walk();
	assert_int_equal(seen.lapics, 128); // ids 0..254
	assert_int_equal(seen.x2apics, 172);
	assert_int_equal(seen.wide_nmis, 1);
	build(CPU_MAX, 1, GPA, &rsdp);
	assert_int_equal(madt_walk().lapics, 255);
}

static void build_bad_arguments_are_refused(void **state) {
	(void)state;
	uint64_t rsdp;
	struct acpi_guest guest = {.vcpu_count = 0, .apic_ids = ids};
	assert_int_equal(acpi_tables_build(&guest, block, sizeof block, GPA, &rsdp), -ERR_INVAL);
	guest.vcpu_count = 2;
	assert_int_equal(acpi_tables_build(&guest, block, sizeof block, GPA + 16, &rsdp), -ERR_INVAL);
	assert_int_equal(acpi_tables_build(&guest, block, sizeof block, GPA - 64, &rsdp), -ERR_RANGE);
	assert_int_equal(acpi_tables_build(&guest, block, sizeof block, 0x100000, &rsdp), -ERR_RANGE);
	size_t bytes = acpi_tables_bytes(&guest);
	assert_int_equal(acpi_tables_build(&guest, block, bytes - 1, GPA, &rsdp), -ERR_NOMEM);
	uint64_t last = align_down(0x100000 - bytes, 64);
	assert_int_equal(acpi_tables_build(&guest, block, bytes, last, &rsdp), 0);
	assert_int_equal(acpi_tables_build(&guest, block, bytes, last + 64, &rsdp), -ERR_RANGE);
}

// Runs a shell command that must succeed and whose output must show no warning or error.
static void iasl(const char *format, const char *directory, const char *name) {
	char command[512], line[512];
	(void)snprintf(command, sizeof command, format, directory, name);
	FILE *out = popen(command, "r");
	assert_non_null(out);
	bool clean = true;
	while (fgets(line, sizeof line, out)) {
		bool summary = strstr(line, " 0 Errors, 0 Warnings") != NULL;
		clean &= summary || (!strstr(line, "Error") && !strstr(line, "Warning") && !strstr(line, "nvalid"));
		if (!clean) (void)fputs(line, stderr);
	}
	assert_int_equal(pclose(out), 0);
	assert_true(clean);
}

static void check_with_iasl(const char *directory, const char *name, const uint8_t *bytes, size_t length) {
	char path[128];
	(void)snprintf(path, sizeof path, "%s/%s.dat", directory, name);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	iasl("cd %s && iasl -d %s.dat 2>&1", directory, name);
	iasl("cd %s && iasl -we %s.dsl 2>&1", directory, name);
}

static void every_table_survives_iasl(void **state) {
	(void)state;
	uint64_t rsdp;
	char directory[] = "/tmp/test_acpi_tables.XXXXXX";
	assert_non_null(mkdtemp(directory));
	build(300, 2, GPA, &rsdp);
	const uint8_t *fadt = root_entry(0, "FACP"), *madt = root_entry(1, "APIC");
	const uint8_t *xsdt = table(le64(block + 24), "XSDT"), *rsdt = table(le32(block + 16), "RSDT");
	const uint8_t *facs = table(le32(fadt + 36), "FACS"), *dsdt = table(le64(fadt + 140), "DSDT");
	check_with_iasl(directory, "rsdt", rsdt, le32(rsdt + 4));
	check_with_iasl(directory, "xsdt", xsdt, le32(xsdt + 4));
	check_with_iasl(directory, "fadt", fadt, le32(fadt + 4));
	check_with_iasl(directory, "madt", madt, le32(madt + 4));
	check_with_iasl(directory, "facs", facs, le32(facs + 4));
	check_with_iasl(directory, "dsdt", dsdt, le32(dsdt + 4));
	iasl("rm -r %s%s", directory, "");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rsdp_is_valid_for_both_revisions),
	    cmocka_unit_test(fadt_names_the_fixed_hardware),
	    cmocka_unit_test(dsdt_s5_equals_the_device),
	    cmocka_unit_test(madt_lists_processors_and_lines),
	    cmocka_unit_test(madt_large_ids_have_x2apic_entries),
	    cmocka_unit_test(build_bad_arguments_are_refused),
	    cmocka_unit_test(every_table_survives_iasl),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
