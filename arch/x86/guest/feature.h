// SPDX-License-Identifier: Apache-2.0
// The optional features of virtualisation: what a CPU may have and Bulkhead uses where it does, but runs without.
// One table of all of them, for both vendors; the option off= turns each off by its name, so that a test on one CPU
// goes the ways of all. A backend asks feature_off where it decides for a feature, at its probe.
#pragma once

#include "kernel/lib/types.h"

#define FEATURE_VMX 1u
#define FEATURE_SVM 2u
#define FEATURE_BOTH (FEATURE_VMX | FEATURE_SVM)

// enum, name, the backends that ask for it. Names are the manuals', shortened.
// clang-format off
#define FEATURE_ROWS(ROW) \
	ROW(VPID, "vpid", FEATURE_VMX) \
	ROW(EPT_1G, "ept-1g", FEATURE_VMX) \
	ROW(EPT_2M, "ept-2m", FEATURE_VMX) \
	ROW(EPT_AD, "ept-ad", FEATURE_VMX) \
	ROW(UNRESTRICTED, "unrestricted", FEATURE_VMX) \
	ROW(PREEMPTION_TIMER, "preemption-timer", FEATURE_VMX) \
	ROW(PAUSE_LOOP, "pause-loop", FEATURE_VMX) \
	ROW(EFER_CONTROLS, "efer-controls", FEATURE_VMX) \
	ROW(PAT_CONTROLS, "pat-controls", FEATURE_VMX) \
	ROW(XSAVES, "xsaves", FEATURE_BOTH) \
	ROW(TPR_SHADOW, "tpr-shadow", FEATURE_VMX) \
	ROW(APIC_REGISTERS, "apic-registers", FEATURE_VMX) \
	ROW(VIRTUAL_INTERRUPTS, "virtual-interrupts", FEATURE_VMX) \
	ROW(X2APIC_VIRTUAL, "x2apic-virtual", FEATURE_VMX) \
	ROW(APIC_ACCESS, "apic-access", FEATURE_VMX) \
	ROW(RDTSCP, "rdtscp", FEATURE_BOTH) \
	ROW(NEXT_RIP, "next-rip", FEATURE_SVM) \
	ROW(FLUSH_BY_ASID, "flush-by-asid", FEATURE_SVM) \
	ROW(DECODE_ASSIST, "decode-assist", FEATURE_SVM) \
	ROW(PAUSE_FILTER, "pause-filter", FEATURE_SVM) \
	ROW(NPT_1G, "npt-1g", FEATURE_SVM)
// clang-format on

#define FEATURE_ENUM(id, name, vendors) FEATURE_##id,
enum feature { FEATURE_ROWS(FEATURE_ENUM) FEATURE_COUNT };
_Static_assert(FEATURE_COUNT <= 64, "a mask holds them");

// The option turned it off. Constant after arch_init has begun.
bool feature_off(enum feature feature);
// Set-once: bit n stands for feature n.
void feature_off_set(uint64_t mask);
// Names, separated by blanks, of those in `mask` that one of `vendors` asks for.
void feature_names(uint64_t mask, uint32_t vendors, char *text, size_t bytes);

// What of the CPU is left for guests when a backend's controls and the options have been looked at; set by its probe.
struct guest_features {
	bool xsaves; // XSAVES, XRSTORS and IA32_XSS, which has no bit that a guest may set
	bool rdtscp; // RDTSCP and RDPID
	// What a guest needs whose CR0.PE or PG is 0 and this CPU has not; NULL: nothing.
	const char *unpaged_lacks;
};
extern struct guest_features guest_features;
