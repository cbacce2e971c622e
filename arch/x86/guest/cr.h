// SPDX-License-Identifier: Apache-2.0
// The guest's control registers, EFER and XCR0: what a write may do (SDM vol. 3, 2.5, 4.1.2; AMD APM vol. 2,
// 3.1). All return false when the value is refused: #GP(0).
#pragma once

#include "arch/x86/guest/vcpu.h"

// The instructions that exit for a control register: two-byte opcodes 0F xx (SDM vol. 2, table A-3), and the register
// field of group 7 (table A-6), whose other member here is SMSW, /4.
enum cr_opcode {
	OPCODE_GROUP_7 = 0x01,
	OPCODE_CLTS = 0x06,
	OPCODE_MOV_FROM_CR = 0x20,
	OPCODE_MOV_TO_CR = 0x22
};
#define GROUP_7_LMSW 6

void cr_exit(struct vcpu *vcpu, const struct exit *exit);
void xsetbv_exit(struct vcpu *vcpu, const struct exit *exit);
__must_check bool cr0_write(struct vcpu *vcpu, uint64_t value);
__must_check bool cr3_write(struct vcpu *vcpu, uint64_t value);
__must_check bool cr4_write(struct vcpu *vcpu, uint64_t value);
// The four PDPTEs at `cr3` of a guest with PAE paging, those with reserved bits as not present; false when there
// were such (SDM vol. 3, 4.4.1 "PDPTE Registers").
bool cr_pdptes_read(struct vcpu *vcpu, uint64_t cr3, uint64_t pdpte[static 4]);
__must_check bool efer_write(struct vcpu *vcpu, uint64_t value);
// Bits of CR4 and EFER the guest may set, from its CPUID model; LMA among EFER's, which follows CR0.PG.
uint64_t cr4_allowed(const struct vcpu *vcpu);
uint64_t efer_allowed(const struct vcpu *vcpu);
