// SPDX-License-Identifier: Apache-2.0
// The choice of speculation mitigations for CPUs as their makers describe them.
#include "arch/x86/cpu/mitigate.h"
#include "kernel/lib/bits.h"
#include "tests/unit/support.h"

struct cpu_features features;

#define L7_MD_CLEAR BIT32(10)
#define L7_SPEC_CTRL BIT32(26)
#define L7_L1D BIT32(28)

static const struct {
	const char *cpu;
	struct mitigate_facts facts;
	uint32_t expected;
} known[] = {
    {"Haswell without new microcode", {.vendor = CPU_VENDOR_INTEL}, 0},
    {"Haswell with it",
     {.vendor = CPU_VENDOR_INTEL, .leaf7_edx = L7_MD_CLEAR | L7_SPEC_CTRL | L7_L1D},
     MITIGATE_IBPB | MITIGATE_L1D | MITIGATE_VERW},
    {"Cascade Lake: RDCL_NO, IBRS_ALL, MDS_NO",
     {.vendor = CPU_VENDOR_INTEL,
      .leaf7_edx = L7_MD_CLEAR | L7_SPEC_CTRL | L7_L1D,
      .arch_capabilities = 0x2b},
     MITIGATE_IBPB | MITIGATE_IBRS | MITIGATE_VERW},
    {"IBRS_ALL that CPUID does not offer (a hypervisor below)",
     {.vendor = CPU_VENDOR_INTEL, .arch_capabilities = 0x2},
     0},
    {"Zen 1", {.vendor = CPU_VENDOR_AMD, .ext8_ebx = BIT32(12)}, MITIGATE_LFENCE | MITIGATE_IBPB},
    {"Zen 2: IBRS, but not to be left on",
     {.vendor = CPU_VENDOR_AMD, .ext8_ebx = BIT32(12) | BIT32(14)},
     MITIGATE_LFENCE | MITIGATE_IBPB},
    {"Zen 3: always on",
     {.vendor = CPU_VENDOR_AMD, .ext8_ebx = BIT32(12) | BIT32(14) | BIT32(16)},
     MITIGATE_LFENCE | MITIGATE_IBPB | MITIGATE_IBRS},
    {"Zen 4: automatic",
     {.vendor = CPU_VENDOR_AMD, .ext8_ebx = BIT32(12) | BIT32(14) | BIT32(16), .ext21_eax = BIT32(8)},
     MITIGATE_LFENCE | MITIGATE_IBPB | MITIGATE_AUTO_IBRS},
    {"nobody", {.vendor = CPU_VENDOR_OTHER, .leaf7_edx = UINT32_MAX, .ext8_ebx = UINT32_MAX}, 0},
};

static void mitigate_choose_known_cpus_get_theirs(void **state) {
	(void)state;
	for (unsigned i = 0; i < array_count(known); i++) {
		uint32_t set = mitigate_choose(&known[i].facts);
		if (set != known[i].expected)
			fail_msg("%s: %#x instead of %#x", known[i].cpu, set, known[i].expected);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mitigate_choose_known_cpus_get_theirs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
