// SPDX-License-Identifier: Apache-2.0
// drivers/host/acpi on hand-made memory images: good ones, and every way of being broken that must cost a
// feature and not the boot.
#include "tests/unit/support.h"

#include "drivers/host/acpi.h"
#include "kernel/lib/bits.h"

#define MEM_BYTES 0x200000u
#define RSDP_AT 0xf0000u
#define XSDT_AT 0x100000u
#define RSDT_AT 0x101000u
#define MADT_AT 0x102000u
#define FADT_AT 0x103000u
#define HPET_AT 0x104000u
#define MCFG_AT 0x105000u
#define DSDT_AT 0x106000u
#define SSDT_AT 0x107000u
#define EBDA_AT 0x9fc00u

struct image {
	uint8_t *mem;
	uint8_t *window; // what was given out last: freed at the next call, so that ASan sees late reads
};

static struct acpi_info info;

static const void *image_map(void *ctx, hpa_t at, uint64_t bytes) {
	struct image *m = ctx;
	free(m->window);
	m->window = NULL;
	if (bytes == 0 || at.v >= MEM_BYTES || bytes > MEM_BYTES - at.v) return NULL;
	m->window = malloc(bytes);
	memcpy(m->window, m->mem + at.v, bytes);
	return m->window;
}

static void checksum(uint8_t *p, size_t bytes, size_t field) {
	uint8_t sum = 0;
	p[field] = 0;
	for (size_t i = 0; i < bytes; i++) sum = (uint8_t)(sum + p[i]);
	p[field] = (uint8_t)-sum;
}

static void table_seal(uint8_t *p) { checksum(p, le32(p + 4), 9); }

static uint8_t *table_begin(struct image *m, uint32_t at, const char *signature, uint32_t bytes) {
	uint8_t *p = m->mem + at;
	memset(p, 0, bytes);
	memcpy(p, signature, 4);
	put_le32(p + 4, bytes);
	p[8] = 6;
	return p;
}

static void rsdp_make(struct image *m, uint32_t at, uint8_t revision, uint32_t rsdt, uint64_t xsdt) {
	uint8_t *p = m->mem + at;
	memset(p, 0, 36);
	memcpy(p, "RSD PTR ", 8);
	memcpy(p + 9, "BULKHD", 6);
	p[15] = revision;
	put_le32(p + 16, rsdt);
	checksum(p, 20, 8);
	if (revision < 2) return;
	put_le32(p + 20, 36);
	put_le64(p + 24, xsdt);
	checksum(p, 36, 32);
}

static void root_make(struct image *m, uint32_t at, const char *signature, unsigned width,
                      const uint64_t *entry, unsigned count) {
	uint8_t *p = table_begin(m, at, signature, 36 + count * width);
	for (unsigned i = 0; i < count; i++) memcpy(p + 36 + i * width, &entry[i], width);
	table_seal(p);
}

static const uint8_t madt_entries[] = {
    0,  8,  1,   0, 1, 0, 0,    0,                             // local APIC: uid 1, id 0, enabled
    0,  8,  2,   2, 1, 0, 0,    0,                             // uid 2, id 2
    0,  8,  3,   4, 0, 0, 0,    0,                             // uid 3: disabled
    9,  16, 0,   0, 0, 1, 0,    0,    1,  0, 0, 0, 9, 0, 0, 0, // x2APIC id 0x100, uid 9
    9,  16, 0,   0, 2, 0, 0,    0,    1,  0, 0, 0, 2, 0, 0, 0, // id 2 once more
    1,  12, 7,   0, 0, 0, 0xc0, 0xfe, 0,  0, 0, 0,             // I/O APIC 7 at 0xfec00000
    1,  12, 8,   0, 0, 0, 0xc0, 0xfe, 0,  0, 0, 0,             // the same again
    2,  10, 0,   0, 2, 0, 0,    0,    0,  0,                   // IRQ 0 is GSI 2
    2,  10, 0,   9, 9, 0, 0,    0,    13, 0,                   // IRQ 9: level, active high
    4,  6,  255, 5, 0, 1,                                      // NMI on LINT1 of all
    77, 4,  0,   0,                                            // an unknown kind
};

static void madt_make(struct image *m) {
	uint8_t *p = table_begin(m, MADT_AT, "APIC", 44 + sizeof madt_entries);
	put_le32(p + 36, 0xfee00000);
	put_le32(p + 40, 1);
	memcpy(p + 44, madt_entries, sizeof madt_entries);
	table_seal(p);
}

static void fadt_make(struct image *m, uint32_t bytes) {
	uint8_t *p = table_begin(m, FADT_AT, "FACP", 276);
	put_le32(p + 40, DSDT_AT);
	put_le16(p + 46, 9);
	put_le32(p + 48, 0xb2);
	p[52] = 0xf1;
	put_le32(p + 64, 0x604);
	put_le32(p + 76, 0x608);
	p[88] = 4;
	p[89] = 2;
	put_le16(p + 109, 3);
	put_le32(p + 112, ACPI_FADT_RESET_REG_SUP | ACPI_FADT_TMR_VAL_EXT);
	p[116] = ACPI_SPACE_IO;
	p[117] = 8;
	put_le64(p + 120, 0xcf9);
	p[128] = 0x0f;
	p[172] = ACPI_SPACE_IO; // X_PM1a_CNT differs from the 32-bit field and wins
	p[173] = 16;
	put_le64(p + 176, 0x1604);
	put_le32(p + 4, bytes);
	table_seal(p);
}

static void aml_make(struct image *m, uint32_t at, const char *signature, const uint8_t *aml,
                     uint32_t bytes) {
	uint8_t *p = table_begin(m, at, signature, 36 + bytes);
	memcpy(p + 36, aml, bytes);
	table_seal(p);
}

static const uint8_t s5_aml[] = {'x', '_',  'S',  '5',  '_',  0x08, '_',  'S',  '5',
                                 '_', 0x12, 0x07, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00};

static void image_make(struct image *m) {
	m->mem = calloc(1, MEM_BYTES);
	m->window = NULL;
	const uint64_t entries[] = {FADT_AT, MADT_AT, HPET_AT, MCFG_AT, MADT_AT};
	rsdp_make(m, RSDP_AT, 2, RSDT_AT, XSDT_AT);
	root_make(m, XSDT_AT, "XSDT", 8, entries, 5);
	root_make(m, RSDT_AT, "RSDT", 4, entries, 5);
	madt_make(m);
	fadt_make(m, 276);
	uint8_t *p = table_begin(m, HPET_AT, "HPET", 56);
	put_le64(p + 44, 0xfed00000);
	table_seal(p);
	p = table_begin(m, MCFG_AT, "MCFG", 44 + 2 * 16);
	put_le64(p + 44, 0xb0000000);
	p[44 + 11] = 255;
	put_le64(p + 60, 0xc0000001); // not aligned: left out
	table_seal(p);
	aml_make(m, DSDT_AT, "DSDT", s5_aml, sizeof s5_aml);
}

static void image_free(struct image *m) {
	free(m->mem);
	free(m->window);
}

static void image_read(struct image *m, uint64_t rsdp) { acpi_read(&info, hpa(rsdp), image_map, m); }

static void assert_legacy(void) {
	assert_false(info.present);
	assert_int_equal(info.cpu_count, 1);
	assert_int_equal(info.lapic_base, 0xfee00000);
	assert_int_equal(info.ioapic_count, 1);
	assert_int_equal(info.ioapic[0].base, 0xfec00000);
	assert_true(info.pic_present);
	assert_false(info.s5.valid);
}

static void assert_full(void) {
	assert_true(info.present);
	assert_int_equal(info.cpu_count, 3);
	assert_int_equal(info.cpu_disabled, 1);
	assert_int_equal(info.cpu[1].apic_id, 2);
	assert_int_equal(info.cpu[2].apic_id, 0x100);
	assert_int_equal(info.cpu[2].uid, 9);
	assert_int_equal(info.ioapic_count, 1);
	assert_int_equal(info.ioapic[0].id, 7);
	assert_int_equal(info.nmi_count, 1);
	assert_int_equal(info.nmi[0].uid, ACPI_NMI_ALL_CPUS);
	assert_int_equal(info.nmi[0].lint, 1);
	assert_int_equal(info.hpet_base, 0xfed00000);
	assert_int_equal(info.mcfg_count, 1);
	assert_int_equal(info.mcfg[0].bus_last, 255);
	assert_int_equal(info.fixed.pm1a_control.address, 0x1604);
	assert_int_equal(info.fixed.pm_timer.address, 0x608);
	assert_true(info.fixed.pm_timer_32bit);
	assert_int_equal(info.fixed.reset.address, 0xcf9);
	assert_int_equal(info.fixed.reset_value, 0x0f);
	assert_true(info.s5.valid);
	assert_int_equal(info.s5.type_a, 5);
	assert_int_equal(info.s5.type_b, 1);
}

static void read_good_xsdt_full(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	image_read(&m, RSDP_AT);
	assert_full();
	assert_string_equal(info.oem, "BULKHD");
	assert_int_equal(info.status[ACPI_XSDT], ACPI_OK);
	assert_int_equal(info.status[ACPI_RSDT], ACPI_ABSENT);
	uint16_t flags;
	assert_int_equal(acpi_isa_gsi(&info, 0, &flags), 2);
	assert_int_equal(acpi_isa_gsi(&info, 9, &flags), 9);
	assert_int_equal(flags, 13);
	assert_int_equal(acpi_isa_gsi(&info, 4, &flags), 4);
	assert_int_equal(flags, 0);
	image_free(&m);
}

static void read_version_1_uses_rsdt(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	rsdp_make(&m, RSDP_AT, 0, RSDT_AT, 0);
	image_read(&m, RSDP_AT);
	assert_full();
	assert_int_equal(info.status[ACPI_RSDT], ACPI_OK);
	image_free(&m);
}

static void read_bad_xsdt_falls_back_to_rsdt(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	m.mem[XSDT_AT + 20] ^= 1;
	image_read(&m, RSDP_AT);
	assert_full();
	assert_int_equal(info.status[ACPI_XSDT], ACPI_BAD_CHECKSUM);
	image_free(&m);
}

static void read_bad_extended_rsdp_uses_rsdt(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	m.mem[RSDP_AT + 32] ^= 1;
	image_read(&m, RSDP_AT);
	assert_full();
	assert_int_equal(info.status[ACPI_RSDP], ACPI_BAD_CHECKSUM);
	image_free(&m);
}

static void read_no_rsdp_given_searches_legacy_areas(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	image_read(&m, 0);
	assert_full();
	assert_int_equal(info.rsdp.v, RSDP_AT);
	memset(m.mem + RSDP_AT, 0, 36);
	put_le16(m.mem + 0x40e, EBDA_AT >> 4);
	rsdp_make(&m, EBDA_AT + 0x3e0, 0, RSDT_AT, 0);
	image_read(&m, 0);
	assert_full();
	assert_int_equal(info.rsdp.v, EBDA_AT + 0x3e0);
	image_free(&m);
}

static void read_nothing_gives_legacy_machine(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	memset(m.mem, 0, MEM_BYTES);
	image_read(&m, 0);
	assert_legacy();
	image_read(&m, RSDP_AT); // given, but no RSDP there
	assert_legacy();
	assert_int_equal(info.status[ACPI_RSDP], ACPI_BAD_SIGNATURE);
	image_read(&m, MEM_BYTES + 16); // given, but not readable
	assert_legacy();
	assert_int_equal(info.status[ACPI_RSDP], ACPI_UNREADABLE);
	image_read(&m, UINT64_MAX - 4);
	assert_legacy();
	image_free(&m);
}

static void read_bad_checksum_costs_that_table(void **state) {
	(void)state;
	static const struct {
		uint32_t at;
		enum acpi_table table;
	} each[] = {{MADT_AT, ACPI_MADT},
	            {FADT_AT, ACPI_FADT},
	            {HPET_AT, ACPI_HPET},
	            {MCFG_AT, ACPI_MCFG},
	            {DSDT_AT, ACPI_DSDT}};
	for (unsigned i = 0; i < array_count(each); i++) {
		struct image m;
		image_make(&m);
		m.mem[each[i].at + 12] ^= 0x40;
		image_read(&m, RSDP_AT);
		assert_true(info.present);
		for (unsigned t = ACPI_MADT; t < ACPI_DSDT; t++)
			assert_int_equal(info.status[t], t == each[i].table ? ACPI_BAD_CHECKSUM : ACPI_OK);
		if (each[i].table == ACPI_MADT) assert_int_equal(info.cpu_count, 1);
		if (each[i].table == ACPI_HPET) assert_int_equal(info.hpet_base, 0);
		if (each[i].table == ACPI_DSDT || each[i].table == ACPI_FADT) assert_false(info.s5.valid);
		image_free(&m);
	}
}

static void read_hostile_lengths_survive(void **state) {
	(void)state;
	static const uint32_t lengths[] = {0, 1, 35, 36, 43, 44, 45, 0x7fffffff, 0xffffffff, MEM_BYTES, 4u << 20};
	static const uint32_t at[] = {XSDT_AT, MADT_AT, FADT_AT, HPET_AT, MCFG_AT, DSDT_AT};
	for (unsigned i = 0; i < array_count(at); i++) {
		for (unsigned k = 0; k < array_count(lengths); k++) {
			struct image m;
			image_make(&m);
			uint8_t *p = m.mem + at[i];
			put_le32(p + 4, lengths[k]);
			if (lengths[k] >= 36 && lengths[k] <= MEM_BYTES - at[i]) table_seal(p);
			image_read(&m, RSDP_AT);
			assert_true(info.cpu_count >= 1 && info.cpu_count <= ACPI_CPU_MAX);
			image_free(&m);
		}
	}
}

static void read_madt_entry_of_length_zero_ends_it(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	m.mem[MADT_AT + 44 + 16 + 1] = 0; // the third entry
	table_seal(m.mem + MADT_AT);
	image_read(&m, RSDP_AT);
	assert_int_equal(info.status[ACPI_MADT], ACPI_OK);
	assert_int_equal(info.cpu_count, 2);
	assert_int_equal(info.ioapic_count, 0);
	m.mem[MADT_AT + 44 + 16 + 1] = 255; // beyond the table
	table_seal(m.mem + MADT_AT);
	image_read(&m, RSDP_AT);
	assert_int_equal(info.cpu_count, 2);
	image_free(&m);
}

static void read_madt_too_many_of_everything_is_cut(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	const unsigned each = 400;
	uint8_t *p = table_begin(&m, 0x180000, "APIC", 44 + each * (16 + 12 + 10 + 6));
	uint8_t *e = p + 44;
	put_le32(p + 36, 0xfee00123); // not page aligned
	for (unsigned i = 0; i < each; i++) {
		e[0] = 9, e[1] = 16, put_le32(e + 4, i), e[8] = 1, e += 16;
		e[0] = 1, e[1] = 12, put_le32(e + 4, 0xfec00000 + i * 4096), put_le32(e + 8, i * 24), e += 12;
		e[0] = 2, e[1] = 10, e[3] = (uint8_t)i, e += 10;
		e[0] = 4, e[1] = 6, e[2] = (uint8_t)i, e += 6;
	}
	table_seal(p);
	const uint64_t entry = 0x180000;
	root_make(&m, XSDT_AT, "XSDT", 8, &entry, 1);
	image_read(&m, RSDP_AT);
	assert_int_equal(info.cpu_count, ACPI_CPU_MAX);
	assert_int_equal(info.ioapic_count, ACPI_IOAPIC_MAX);
	assert_int_equal(info.override_count, 16);
	assert_int_equal(info.nmi_count, ACPI_NMI_MAX);
	assert_int_equal(info.lapic_base, 0xfee00000);
	image_free(&m);
}

static void read_root_that_names_itself_ends(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	const uint64_t entries[] = {XSDT_AT, XSDT_AT, 0, UINT64_MAX, UINT64_MAX - 35, MADT_AT};
	root_make(&m, XSDT_AT, "XSDT", 8, entries, array_count(entries));
	image_read(&m, RSDP_AT);
	assert_int_equal(info.cpu_count, 3);
	image_free(&m);
}

static void read_fadt_short_revisions(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	fadt_make(&m, 116); // ACPI 1.0
	image_read(&m, RSDP_AT);
	assert_int_equal(info.fixed.pm1a_control.address, 0x604);
	assert_int_equal(info.fixed.reset.address, 0);
	assert_true(info.s5.valid);
	fadt_make(&m, 115);
	image_read(&m, RSDP_AT);
	assert_int_equal(info.status[ACPI_FADT], ACPI_BAD_LENGTH);
	assert_false(info.s5.valid);
	image_free(&m);
}

static void scan_s5_forms(void **state) {
	(void)state;
	static const struct {
		uint8_t aml[20];
		uint8_t bytes;
		bool valid;
		uint8_t a, b;
	} forms[] = {
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x0a, 7, 0x0a, 0}, 12, true, 7, 0},
	    {{0x08, '\\', '_', 'S', '5', '_', 0x12, 0x04, 0x02, 0x00, 0x00}, 11, true, 0, 0},
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x05, 0x01, 0x0b, 0x05, 0x03}, 11, true, 5, 3},
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x49, 0x00, 0x02, 0x0c, 5, 0, 0, 0, 0x01}, 15, true, 5, 1},
	    // A package that says 10 bytes where 9 are left.
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x4a, 0x00, 0x02, 0x0c, 5, 0, 0, 0, 1}, 15, false, 0, 0},
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x49, 0x00, 0x02, 0x0a, 5, 0x01, 0, 0, 0}, 15, true, 5, 1},
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x0a, 8, 0x0a, 0}, 12, false, 0, 0}, // 8 has 4 bits
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x00, 0x02, 0x00, 0x00}, 10, false, 0, 0},
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x0a}, 9, false, 0, 0},
	    {{0x08, '_', 'S', '5', '_', 0x12}, 6, false, 0, 0},
	    {{0x08, '_', 'S', '5', '_'}, 5, false, 0, 0},
	    {{0x14, '_', 'S', '5', '_', 0x12, 0x06, 0x02, 0x0a, 7, 0x0a, 0}, 12, false, 0, 0}, // a method
	    {{0x08, '_', 'S', '5', '_', 0x12, 0x04, 0x02, 0x0d, 'x', 0}, 11, false, 0, 0},     // strings
	};
	for (unsigned i = 0; i < array_count(forms); i++) {
		struct image m;
		image_make(&m);
		aml_make(&m, DSDT_AT, "DSDT", forms[i].aml, forms[i].bytes);
		image_read(&m, RSDP_AT);
		if (info.s5.valid != forms[i].valid) fail_msg("form %u", i);
		assert_int_equal(info.s5.type_a, forms[i].a);
		assert_int_equal(info.s5.type_b, forms[i].b);
		image_free(&m);
	}
}

static void scan_s5_found_in_ssdt(void **state) {
	(void)state;
	struct image m;
	image_make(&m);
	const uint64_t entries[] = {FADT_AT, SSDT_AT, MADT_AT};
	root_make(&m, XSDT_AT, "XSDT", 8, entries, 3);
	aml_make(&m, DSDT_AT, "DSDT", (const uint8_t *)"nothing", 7);
	aml_make(&m, SSDT_AT, "SSDT", s5_aml, sizeof s5_aml);
	image_read(&m, RSDP_AT);
	assert_true(info.s5.valid);
	assert_int_equal(info.status[ACPI_SSDT], ACPI_OK);
	image_free(&m);
}

static void read_random_damage_survives(void **state) {
	(void)state;
	static const uint32_t at[] = {RSDP_AT, XSDT_AT, RSDT_AT, MADT_AT, FADT_AT, HPET_AT, MCFG_AT, DSDT_AT};
	struct rng rng;
	rng_init(&rng, 4711);
	for (unsigned round = 0; round < 300; round++) {
		struct image m;
		image_make(&m);
		for (unsigned k = 0; k < 4; k++) {
			uint8_t *p = m.mem + at[rng_below(&rng, array_count(at))];
			p[rng_below(&rng, 300)] = (uint8_t)rng_next(&rng);
			// Half of the time the checksum is right again, so that the contents are reached.
			if (rng_below(&rng, 2) && p != m.mem + RSDP_AT && le32(p + 4) >= 36 && le32(p + 4) < 0x1000)
				table_seal(p);
		}
		image_read(&m, RSDP_AT);
		assert_true(info.cpu_count >= 1 && info.cpu_count <= ACPI_CPU_MAX);
		image_free(&m);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_good_xsdt_full),
	    cmocka_unit_test(read_version_1_uses_rsdt),
	    cmocka_unit_test(read_bad_xsdt_falls_back_to_rsdt),
	    cmocka_unit_test(read_bad_extended_rsdp_uses_rsdt),
	    cmocka_unit_test(read_no_rsdp_given_searches_legacy_areas),
	    cmocka_unit_test(read_nothing_gives_legacy_machine),
	    cmocka_unit_test(read_bad_checksum_costs_that_table),
	    cmocka_unit_test(read_hostile_lengths_survive),
	    cmocka_unit_test(read_madt_entry_of_length_zero_ends_it),
	    cmocka_unit_test(read_madt_too_many_of_everything_is_cut),
	    cmocka_unit_test(read_root_that_names_itself_ends),
	    cmocka_unit_test(read_fadt_short_revisions),
	    cmocka_unit_test(scan_s5_forms),
	    cmocka_unit_test(scan_s5_found_in_ssdt),
	    cmocka_unit_test(read_random_damage_survives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
