// SPDX-License-Identifier: Apache-2.0
// Machine-check banks: what an error means for what it interrupted, and how it is told.
#include "arch/x86/cpu/mce.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/regs.h"
#include "tests/unit/support.h"

struct cpu_features features;

#define VAL MCI_STATUS_VAL
#define UC (VAL | MCI_STATUS_UC)
#define SER MCG_CAP_SER_P

// SDM vol. 3, table 15-6 "MC Error Classifications" and its overwrite rules; without SER_P the bits S and AR mean nothing.
static const struct {
	const char *what;
	uint64_t cap, status;
	enum mce_verdict expected;
} known[] = {
    {"corrected", 0, VAL, MCE_GO_ON},
    {"corrected, several", 0, VAL | MCI_STATUS_OVER, MCE_GO_ON},
    {"deferred (AMD): UC clear, bit 44", 0, VAL | BIT64(44), MCE_GO_ON},
    {"uncorrected", 0, UC, MCE_STOP},
    {"uncorrected, bits 56 and 55 reserved", 0, UC | MCI_STATUS_S, MCE_STOP},
    {"uncorrected, context corrupt", 0, UC | MCI_STATUS_PCC, MCE_FATAL},
    {"uncorrected, several", 0, UC | MCI_STATUS_OVER, MCE_FATAL},
    {"UCNA", SER, UC, MCE_GO_ON},
    {"SRAO", SER, UC | MCI_STATUS_S, MCE_GO_ON},
    {"SRAR", SER, UC | MCI_STATUS_S | MCI_STATUS_AR, MCE_STOP},
    {"SRAR, several", SER, UC | MCI_STATUS_S | MCI_STATUS_AR | MCI_STATUS_OVER, MCE_FATAL},
    {"UC, fatal", SER, UC | MCI_STATUS_S | MCI_STATUS_AR | MCI_STATUS_PCC, MCE_FATAL},
};

static void mce_judge_each_class_gets_its_verdict(void **state) {
	(void)state;
	for (unsigned i = 0; i < array_count(known); i++) {
		enum mce_verdict verdict = mce_judge(known[i].cap, known[i].status);
		if (verdict != known[i].expected) fail_msg("%s: %u", known[i].what, verdict);
	}
}

static void describes(struct mce_bank bank, const char *expected) {
	char text[200];
	mce_describe(&bank, text, sizeof text);
	assert_string_equal(text, expected);
}

static void mce_describe_only_valid_registers_are_told(void **state) {
	(void)state;
	struct mce_bank bank = {.number = 4, .status = UC | 0x11, .address = 0x1234000, .misc = 0x8c};
	describes(bank, "bank 4: TLB error, uncorrected, status 0xa000000000000011");
	bank.status |= MCI_STATUS_ADDRV;
	describes(bank, "bank 4: TLB error, uncorrected, status 0xa400000000000011, address 0x1234000");
	bank.status |= MCI_STATUS_MISCV | MCI_STATUS_PCC | MCI_STATUS_OVER;
	describes(bank, "bank 4: TLB error, overflow, uncorrected, context corrupt, status 0xee00000000000011, "
	                "address 0x1234000, misc 0x8c");
}

static void mce_describe_longest_line_stays_whole(void **state) {
	(void)state;
	char text[200];
	mce_describe(&(struct mce_bank){31, UINT64_MAX & ~(uint64_t)0xffff, UINT64_MAX, UINT64_MAX}, text,
	             sizeof text);
	assert_non_null(strstr(text, "misc 0xffffffffffffffff"));
}

// One code of each form of tables 15-8 and 15-9, some with the filter bit 12.
static void mce_describe_every_error_code_has_a_name(void **state) {
	static const struct {
		uint16_t code;
		const char *name;
	} codes[] = {
	    {0x0000, "no error"},
	    {0x0001, "unclassified error"},
	    {0x0005, "internal parity error"},
	    {0x0400, "internal timer error"},
	    {0x0401, "internal error"},
	    {0x0e0b, "I/O error"},
	    {0x000d, "cache error"},
	    {0x0014, "TLB error"},
	    {0x1014, "TLB error"},
	    {0x0091, "memory controller error"},
	    {0x10c1, "memory controller error"},
	    {0x0136, "cache hierarchy error"},
	    {0x0800, "bus or interconnect error"},
	    {0x0f0f, "bus or interconnect error"},
	    {0x2000, "error of the model's own kind"},
	};
	(void)state;
	for (unsigned i = 0; i < array_count(codes); i++) {
		char text[200], expected[100];
		mce_describe(&(struct mce_bank){.status = VAL | codes[i].code}, text, sizeof text);
		snprintf(expected, sizeof expected, "bank 0: %s, status", codes[i].name);
		if (strncmp(text, expected, strlen(expected)) != 0) fail_msg("%#x: %s", codes[i].code, text);
	}
}

static void mce_take_without_banks_is_fatal(void **state) {
	(void)state;
	assert_int_equal(mce_take(), MCE_FATAL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mce_judge_each_class_gets_its_verdict),
	    cmocka_unit_test(mce_describe_only_valid_registers_are_told),
	    cmocka_unit_test(mce_describe_longest_line_stays_whole),
	    cmocka_unit_test(mce_describe_every_error_code_has_a_name),
	    cmocka_unit_test(mce_take_without_banks_is_fatal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
