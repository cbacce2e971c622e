// SPDX-License-Identifier: Apache-2.0
// The saved record of a vCPU: everything the architecture knows of it, in vendor-neutral form, so that what one
// backend saved the other loads. Fixed-width fields without holes, then the XSAVE area in standard format (FXSAVE
// where the CPU has no XSAVE). Record and check are plain data and host-tested; guest/save fills and applies it.
#pragma once

#include "arch/x86/guest/state.h"

#define VCPU_RECORD_VERSION 1u
// In the XSAVE area (SDM vol. 1, table 13-1).
#define FXSAVE_FCW 0u
#define FXSAVE_MXCSR 24u
#define FXSAVE_MXCSR_MASK 28u
#define MXCSR_MASK_DEFAULT 0xffbfu // when the area's own mask is 0 (11.6.6)
#define VCPU_RECORD_MTRR_VARIABLE 8u
#define VCPU_RECORD_MTRR_FIXED 11u

struct vcpu_record_segment {
	uint64_t base;
	uint32_t limit;  // bytes, granularity applied
	uint32_t access; // SEG_*
	uint16_t selector;
	uint16_t reserved[3];
};

struct vcpu_record_table {
	uint64_t base;
	uint16_t limit;
	uint16_t reserved[3];
};

struct vcpu_record_event {
	uint32_t error;
	uint8_t valid;
	uint8_t type; // enum guest_event_type
	uint8_t vector;
	uint8_t has_error;
	uint8_t insn_len;
	uint8_t reserved[7];
};

enum vcpu_record_run { VCPU_RECORD_READY = 1, VCPU_RECORD_HALTED = 2, VCPU_RECORD_WAIT_SIPI = 3 };

struct vcpu_record {
	uint32_t version; // VCPU_RECORD_VERSION
	uint32_t bytes;   // of the whole, the XSAVE area included
	uint64_t gpr[16]; // enum guest_gpr
	uint64_t rip, rflags;
	struct vcpu_record_segment seg[SEG_COUNT];
	struct vcpu_record_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t dr[4], dr6, dr7;
	uint64_t xcr0;
	uint64_t tsc; // what the guest reads at the instant of the save; the VM's clock stands still meanwhile

	// MSRs
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc_aux, tsc_adjust, misc_enable, mcg_status, hwcr;
	uint64_t system_time, wall_clock; // the KVM clock's, as written
	uint64_t mtrr_def_type;
	uint64_t mtrr_base[VCPU_RECORD_MTRR_VARIABLE], mtrr_mask[VCPU_RECORD_MTRR_VARIABLE];
	uint64_t mtrr_fixed[VCPU_RECORD_MTRR_FIXED];

	// What is on its way to the guest.
	struct vcpu_record_event injected;  // given to the CPU, not delivered yet
	struct vcpu_record_event exception; // raised, or interrupted while it was delivered
	uint64_t debug_pending;             // #DB that follows the last instruction: bits of DR6
	uint32_t system_time_version;       // last version of the KVM clock's page
	uint8_t blocking;                   // GUEST_BLOCK_*
	uint8_t irq_taken, irq_vector;      // acknowledged at the local APIC, not delivered yet
	uint8_t nmi_pending;
	uint8_t cpl;
	uint8_t run; // enum vcpu_record_run
	uint16_t reserved;
	uint32_t xsave_bytes;
	uint8_t xsave[];
};
_Static_assert(offsetof(struct vcpu_record, seg) == 8 * 19, "no holes in the record");
_Static_assert(offsetof(struct vcpu_record, cr0) == 8 * 19 + 24 * 8 + 16 * 2, "no holes in the record");
_Static_assert(offsetof(struct vcpu_record, injected) == 8 * 19 + 24 * 8 + 16 * 2 + 8 * 57,
               "no holes in the record");
_Static_assert(offsetof(struct vcpu_record, xsave) == offsetof(struct vcpu_record, injected) + 2 * 16 + 24,
               "no holes in the record");

// What the CPU and the guest's CPUID model allow.
struct vcpu_record_limits {
	uint64_t cr4, efer, xcr0; // bits that may be set
	uint64_t xstate;          // components the hypervisor switches; 0: FXSAVE only
	uint32_t xsave_bytes;     // of the area, at least 512
	uint8_t phys_bits, virt_bits;
};

// True for a value of XCR0 that XSETBV takes (SDM vol. 2, "XSETBV"), of the bits in `allowed`.
bool vcpu_record_xcr0_valid(uint64_t value, uint64_t allowed);
// Bits of MXCSR that the CPU which wrote the XSAVE area has.
static inline uint32_t vcpu_record_mxcsr_mask(const uint8_t *area) {
	uint32_t mask = le32(area + FXSAVE_MXCSR_MASK);
	return mask != 0 ? mask : MXCSR_MASK_DEFAULT;
}
// Judges the whole record of `bytes` bytes: versions, reserved bits, canonical addresses, mode and segments.
// -ERR_VERSION; -ERR_TRUNC: shorter than it says; -ERR_FORMAT. On error *field (may be NULL) names what was
// wrong.
__must_check int vcpu_record_check(const struct vcpu_record *record, uint64_t bytes,
                                   const struct vcpu_record_limits *limits, const char **field);
