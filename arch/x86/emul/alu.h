// SPDX-License-Identifier: Apache-2.0
// Arithmetic as x86 does it: results and the status flags, on values of 1, 2, 4 or 8 bytes given
// zero-extended. Pure functions; a flag that the manual leaves undefined keeps its old value, or gets
// the value that real CPUs give where that falls out. Private to arch/x86/emul.
#pragma once

#include "arch/x86/emul/emul.h"
#include "kernel/lib/bits.h"

#define FLAG_CF BIT64(0)
#define FLAG_FIXED BIT64(1)
#define FLAG_PF BIT64(2)
#define FLAG_AF BIT64(4)
#define FLAG_ZF BIT64(6)
#define FLAG_SF BIT64(7)
#define FLAG_TF BIT64(8)
#define FLAG_IF BIT64(9)
#define FLAG_DF BIT64(10)
#define FLAG_OF BIT64(11)
#define FLAG_IOPL (BIT64(12) | BIT64(13))
#define FLAG_NT BIT64(14)
#define FLAG_RF BIT64(16)
#define FLAG_VM BIT64(17)
#define FLAG_AC BIT64(18)
#define FLAG_ID BIT64(21)
#define FLAG_STATUS (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

static inline int64_t sign_extend(uint64_t value, unsigned bytes) {
	switch (bytes) {
	case 1: return (int8_t)value;
	case 2: return (int16_t)value;
	case 4: return (int32_t)value;
	default: return (int64_t)value;
	}
}

static inline uint64_t sign_bit(unsigned bytes) { return UINT64_C(1) << (8 * bytes - 1); }

// ADD OR ADC SBB AND SUB XOR CMP TEST: the result of a op b (of CMP and TEST too).
uint64_t alu_binary(enum emul_op op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *rflags);
// INC DEC NEG NOT.
uint64_t alu_unary(enum emul_op op, uint64_t a, unsigned bytes, uint64_t *rflags);
// Shifts and rotates, count as the instruction gives it (masked here).
uint64_t alu_shift(enum emul_op op, uint64_t a, unsigned count, unsigned bytes, uint64_t *rflags);
// SHLD SHRD.
uint64_t alu_shift_double(enum emul_op op, uint64_t a, uint64_t fill, unsigned count, unsigned bytes,
                          uint64_t *rflags);
// Two- and three-operand IMUL.
uint64_t alu_imul(uint64_t a, uint64_t b, unsigned bytes, uint64_t *rflags);
// MUL IMUL with the double-width result in high:low.
void alu_mul_wide(bool is_signed, uint64_t a, uint64_t b, unsigned bytes, uint64_t *low, uint64_t *high,
                  uint64_t *rflags);
// DIV IDIV of high:low; false is #DE. Flags are undefined and untouched.
__must_check bool alu_div_wide(bool is_signed, uint64_t high, uint64_t low, uint64_t divisor, unsigned bytes,
                               uint64_t *quotient, uint64_t *remainder);
// BSF BSR TZCNT LZCNT POPCNT: false when the destination stays as it is (BSF, BSR of zero).
bool alu_scan(enum emul_op op, uint64_t a, unsigned bytes, uint64_t *result, uint64_t *rflags);
// The condition of Jcc, SETcc and CMOVcc: low four bits of the opcode (SDM vol. 1, appendix B).
bool alu_condition(unsigned code, uint64_t rflags);
