// SPDX-License-Identifier: Apache-2.0
// One table of the power-on state for both backends: SDM vol. 3, table 9-1 "IA-32 and Intel 64 Processor States
// Following Power-up, Reset, or INIT" and APM vol. 2, table 14-1 agree on all of it.
#include "arch/x86/guest/reset.h"

#include "arch/x86/guest/ops.h"

#define RIP_RESET UINT64_C(0xfff0)
#define LIMIT_RESET 0xffffu
// A constant expression for clang, too.
#define DATA_RESET                                                                                           \
	{ .limit = LIMIT_RESET, .access = SEG_ACCESS_DATA }

static const struct guest_sregs sregs_reset = {
    .seg =
        {
            [SEG_ES] = DATA_RESET,
            [SEG_CS] =
                {.base = 0xffff0000u, .limit = LIMIT_RESET, .access = SEG_ACCESS_CODE, .selector = 0xf000},
            [SEG_SS] = DATA_RESET,
            [SEG_DS] = DATA_RESET,
            [SEG_FS] = DATA_RESET,
            [SEG_GS] = DATA_RESET,
            [SEG_LDTR] = {.limit = LIMIT_RESET, .access = SEG_P | SEG_TYPE_LDT},
            [SEG_TR] = {.limit = LIMIT_RESET, .access = SEG_P | SEG_TYPE_TSS_BUSY},
        },
    .gdt = {.limit = LIMIT_RESET},
    .idt = {.limit = LIMIT_RESET},
    .cr0 = CR0_ET | CR0_CD | CR0_NW,
};

void reset_registers(struct vcpu *vcpu) {
	ops->vcpu_reset(vcpu);
	ops->sregs_set(vcpu, &sregs_reset);
	ops->rip_set(vcpu, RIP_RESET);
	ops->rflags_set(vcpu, RFLAGS_FIXED);
	ops->dr6_set(vcpu, DR6_FIXED);
	ops->dr7_set(vcpu, DR7_FIXED);
	(void)ops->msr_set(vcpu, MSR_PAT, PAT_RESET);
}
