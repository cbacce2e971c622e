// SPDX-License-Identifier: Apache-2.0
// See alu.h. Flags follow SDM vol. 2 (the "Flags Affected" part of each instruction) and vol. 1,
// appendix A.
#include "arch/x86/emul/alu.h"

static inline uint64_t flags_set(uint64_t rflags, uint64_t which, uint64_t value) {
	return (rflags & ~which) | (value & which);
}

// SF, ZF and PF of a result; PF is that of the low byte alone (the constant holds the parity of 0..15).
static inline uint64_t flags_of(uint64_t result, unsigned bytes) {
	uint64_t flags = 0;

	if (!((0x6996u >> ((result ^ (result >> 4)) & 15u)) & 1u)) flags |= FLAG_PF;
	if (result == 0) flags |= FLAG_ZF;
	if (result & sign_bit(bytes)) flags |= FLAG_SF;
	return flags;
}

// Carries (or borrows) out of every bit position, in the bit's own place.
static inline uint64_t carry_flags(uint64_t carries, uint64_t overflow, unsigned bytes) {
	uint64_t flags = 0;

	if (carries & sign_bit(bytes)) flags |= FLAG_CF;
	if (carries & 8u) flags |= FLAG_AF;
	if (overflow & sign_bit(bytes)) flags |= FLAG_OF;
	return flags;
}

static uint64_t alu_add(uint64_t a, uint64_t b, unsigned carry, unsigned bytes, uint64_t *flags) {
	uint64_t result = trunc_bytes(a + b + carry, bytes);
	uint64_t carries = (a & b) | ((a | b) & ~result);

	*flags = flags_of(result, bytes) | carry_flags(carries, (a ^ result) & (b ^ result), bytes);
	return result;
}

static uint64_t alu_sub(uint64_t a, uint64_t b, unsigned borrow, unsigned bytes, uint64_t *flags) {
	uint64_t result = trunc_bytes(a - b - borrow, bytes);
	uint64_t borrows = (~a & b) | ((~a | b) & result);

	*flags = flags_of(result, bytes) | carry_flags(borrows, (a ^ b) & (a ^ result), bytes);
	return result;
}

uint64_t alu_binary(enum emul_op op, uint64_t a, uint64_t b, unsigned bytes, uint64_t *rflags) {
	unsigned carry = *rflags & FLAG_CF ? 1 : 0;
	uint64_t result, flags;

	switch (op) {
	case EMUL_OP_ADD: result = alu_add(a, b, 0, bytes, &flags); break;
	case EMUL_OP_ADC: result = alu_add(a, b, carry, bytes, &flags); break;
	case EMUL_OP_SBB: result = alu_sub(a, b, carry, bytes, &flags); break;
	case EMUL_OP_SUB:
	case EMUL_OP_CMP: result = alu_sub(a, b, 0, bytes, &flags); break;
	default: // the logical ones clear CF and OF; AF is undefined and cleared
		result = op == EMUL_OP_OR ? a | b : op == EMUL_OP_XOR ? a ^ b : a & b;
		flags = flags_of(result, bytes);
		break;
	}
	*rflags = flags_set(*rflags, FLAG_STATUS, flags);
	return result;
}

uint64_t alu_unary(enum emul_op op, uint64_t a, unsigned bytes, uint64_t *rflags) {
	uint64_t result, flags;

	switch (op) {
	case EMUL_OP_INC: // INC and DEC leave CF alone
		result = alu_add(a, 1, 0, bytes, &flags);
		*rflags = flags_set(*rflags, FLAG_STATUS & ~FLAG_CF, flags);
		return result;
	case EMUL_OP_DEC:
		result = alu_sub(a, 1, 0, bytes, &flags);
		*rflags = flags_set(*rflags, FLAG_STATUS & ~FLAG_CF, flags);
		return result;
	case EMUL_OP_NEG:
		result = alu_sub(0, a, 0, bytes, &flags);
		*rflags = flags_set(*rflags, FLAG_STATUS, flags);
		return result;
	default: return trunc_bytes(~a, bytes); // NOT: no flags
	}
}

// ROL and ROR: only CF and OF change, and only when the masked count is not 0.
static uint64_t alu_rotate(bool left, uint64_t a, unsigned count, unsigned bytes, uint64_t *rflags) {
	unsigned bits = 8 * bytes, by = count % bits;
	uint64_t result = a, flags = 0;

	if (by) result = left ? (a << by) | (a >> (bits - by)) : (a >> by) | (a << (bits - by));
	result = trunc_bytes(result, bytes);
	bool top = result & sign_bit(bytes), next = result & (sign_bit(bytes) >> 1), low = result & 1u;
	if (left ? low : top) flags |= FLAG_CF;
	if (left ? top != low : top != next) flags |= FLAG_OF;
	*rflags = flags_set(*rflags, FLAG_CF | FLAG_OF, flags);
	return result;
}

// RCL and RCR rotate through CF, bit by bit: rare, and simplest so.
static uint64_t alu_rotate_carry(bool left, uint64_t a, unsigned count, unsigned bytes, uint64_t *rflags) {
	uint64_t top = sign_bit(bytes), flags = 0;
	bool carry = *rflags & FLAG_CF;
	unsigned steps = count % (8 * bytes + 1);

	if (steps == 0) return a;
	for (unsigned i = 0; i < steps; i++) {
		bool out = a & (left ? top : 1u);
		a = left ? trunc_bytes(a << 1, bytes) | carry : (a >> 1) | (carry ? top : 0);
		carry = out;
	}
	if (carry) flags |= FLAG_CF;
	if (left ? ((a & top) != 0) != carry : ((a & top) != 0) != ((a & (top >> 1)) != 0)) flags |= FLAG_OF;
	*rflags = flags_set(*rflags, FLAG_CF | FLAG_OF, flags);
	return a;
}

uint64_t alu_shift(enum emul_op op, uint64_t a, unsigned count, unsigned bytes, uint64_t *rflags) {
	uint64_t result, last; // last: the bit shifted out last, in bit 0

	count &= bytes == 8 ? 63u : 31u;
	if (count == 0) return a;
	switch (op) {
	case EMUL_OP_ROL:
	case EMUL_OP_ROR: return alu_rotate(op == EMUL_OP_ROL, a, count, bytes, rflags);
	case EMUL_OP_RCL:
	case EMUL_OP_RCR: return alu_rotate_carry(op == EMUL_OP_RCL, a, count, bytes, rflags);
	case EMUL_OP_SHL:
	case EMUL_OP_SAL:
		result = trunc_bytes(a << count, bytes);
		last = count <= 8 * bytes ? a >> (8 * bytes - count) : 0;
		break;
	case EMUL_OP_SHR:
		result = a >> count;
		last = a >> (count - 1);
		break;
	default: // SAR
		result = trunc_bytes((uint64_t)(sign_extend(a, bytes) >> count), bytes);
		last = (uint64_t)(sign_extend(a, bytes) >> (count - 1));
		break;
	}
	// OF is defined for a count of 1: SHL: did the sign change; SHR: the old sign; SAR: 0. For SHL
	// that is the result's sign against CF, which CPUs also give for other counts.
	uint64_t flags = flags_of(result, bytes);
	if (last & 1u) flags |= FLAG_CF;
	bool top = result & sign_bit(bytes);
	if (op == EMUL_OP_SHR ? (a & sign_bit(bytes)) != 0 : op != EMUL_OP_SAR && top != (bool)(last & 1u))
		flags |= FLAG_OF;
	*rflags = flags_set(*rflags, FLAG_STATUS & ~FLAG_AF, flags);
	return result;
}

uint64_t alu_shift_double(enum emul_op op, uint64_t a, uint64_t fill, unsigned count, unsigned bytes,
                          uint64_t *rflags) {
	unsigned bits = 8 * bytes;
	uint64_t result, last;

	count &= bytes == 8 ? 63u : 31u;
	if (count == 0) return a;
	if (count > bits) { // undefined, words only: as if the operand had been shifted in already
		uint64_t old = a;
		a = fill;
		fill = old;
		count -= bits;
	}
	if (op == EMUL_OP_SHLD) {
		result = count == bits ? fill : (a << count) | (fill >> (bits - count));
		last = a >> (bits - count);
	} else {
		result = count == bits ? fill : (a >> count) | (fill << (bits - count));
		last = a >> (count - 1);
	}
	result = trunc_bytes(result, bytes);
	uint64_t flags = flags_of(result, bytes);
	if (last & 1u) flags |= FLAG_CF;
	if ((a ^ result) & sign_bit(bytes)) flags |= FLAG_OF;
	*rflags = flags_set(*rflags, FLAG_STATUS & ~FLAG_AF, flags);
	return result;
}

uint64_t alu_imul(uint64_t a, uint64_t b, unsigned bytes, uint64_t *rflags) {
	__int128 product = (__int128)sign_extend(a, bytes) * sign_extend(b, bytes);
	uint64_t result = trunc_bytes((uint64_t)product, bytes);
	bool lost = product != sign_extend(result, bytes);

	*rflags = flags_set(*rflags, FLAG_CF | FLAG_OF, lost ? FLAG_CF | FLAG_OF : 0);
	return result;
}

void alu_mul_wide(bool is_signed, uint64_t a, uint64_t b, unsigned bytes, uint64_t *low, uint64_t *high,
                  uint64_t *rflags) {
	unsigned __int128 product =
	    is_signed ? (unsigned __int128)((__int128)sign_extend(a, bytes) * sign_extend(b, bytes))
	              : (unsigned __int128)a * b;
	*low = trunc_bytes((uint64_t)product, bytes);
	*high = trunc_bytes((uint64_t)(product >> (8 * bytes)), bytes);
	// CF and OF: the upper half is more than the extension of the lower one.
	uint64_t extension = is_signed && (*low & sign_bit(bytes)) ? trunc_bytes(UINT64_MAX, bytes) : 0;
	*rflags = flags_set(*rflags, FLAG_CF | FLAG_OF, *high != extension ? FLAG_CF | FLAG_OF : 0);
}

// high:low / divisor for 64-bit halves with high < divisor, by long division: no 128-bit division
// exists without a runtime library.
static uint64_t divide_128(uint64_t high, uint64_t low, uint64_t divisor, uint64_t *remainder) {
	uint64_t quotient = 0;

	for (unsigned i = 0; i < 64; i++) {
		bool carry = high >> 63;
		high = (high << 1) | (low >> 63);
		low <<= 1;
		quotient <<= 1;
		if (carry || high >= divisor) {
			high -= divisor;
			quotient |= 1u;
		}
	}
	*remainder = high;
	return quotient;
}

// Unsigned division of a double-width value; false on overflow.
static bool divide(uint64_t high, uint64_t low, uint64_t divisor, unsigned bytes, uint64_t *quotient,
                   uint64_t *remainder) {
	if (high >= divisor) return false; // a divisor of 0 too
	if (bytes == 8) {
		*quotient = divide_128(high, low, divisor, remainder);
	} else {
		uint64_t dividend = (high << (8 * bytes)) | low;
		*quotient = dividend / divisor;
		*remainder = dividend % divisor;
	}
	return true;
}

bool alu_div_wide(bool is_signed, uint64_t high, uint64_t low, uint64_t divisor, unsigned bytes,
                  uint64_t *quotient, uint64_t *remainder) {
	uint64_t sign = sign_bit(bytes);
	bool negative = is_signed && (high & sign), negative_divisor = is_signed && (divisor & sign);

	if (negative) { // negate the double-width dividend
		low = trunc_bytes(0 - low, bytes);
		high = trunc_bytes(~high + (low == 0), bytes);
	}
	if (negative_divisor) divisor = trunc_bytes(0 - divisor, bytes);
	if (!divide(high, low, divisor, bytes, quotient, remainder)) return false;
	if (!is_signed) return true;
	// The quotient truncates towards 0; the remainder has the dividend's sign (SDM vol. 2, IDIV).
	bool negative_quotient = negative != negative_divisor;
	if (*quotient > (negative_quotient ? sign : sign - 1)) return false;
	if (negative_quotient) *quotient = trunc_bytes(0 - *quotient, bytes);
	if (negative) *remainder = trunc_bytes(0 - *remainder, bytes);
	return true;
}

// Set bits, without the library call that the builtin would become.
static unsigned count_bits(uint64_t a) {
	unsigned count = 0;

	for (; a; a &= a - 1) count++;
	return count;
}

bool alu_scan(enum emul_op op, uint64_t a, unsigned bytes, uint64_t *result, uint64_t *rflags) {
	unsigned bits = 8 * bytes;
	uint64_t flags = 0;

	switch (op) {
	case EMUL_OP_POPCNT: // all other status flags are cleared
		*result = count_bits(a);
		*rflags = flags_set(*rflags, FLAG_STATUS, a ? 0 : FLAG_ZF);
		return true;
	case EMUL_OP_TZCNT:
	case EMUL_OP_LZCNT: // CF: the source is zero; ZF: the result is
		*result = a == 0 ? bits : op == EMUL_OP_TZCNT ? bit_first(a) : bits - 1 - bit_last(a);
		if (a == 0) flags |= FLAG_CF;
		if (*result == 0) flags |= FLAG_ZF;
		*rflags = flags_set(*rflags, FLAG_CF | FLAG_ZF, flags);
		return true;
	default: // BSF, BSR
		*rflags = flags_set(*rflags, FLAG_ZF, a ? 0 : FLAG_ZF);
		if (a == 0) return false;
		*result = op == EMUL_OP_BSF ? bit_first(a) : bit_last(a);
		return true;
	}
}

bool alu_condition(unsigned code, uint64_t rflags) {
	bool less = !(rflags & FLAG_SF) != !(rflags & FLAG_OF);
	bool value;

	switch ((code >> 1) & 7u) {
	case 0: value = rflags & FLAG_OF; break;
	case 1: value = rflags & FLAG_CF; break;
	case 2: value = rflags & FLAG_ZF; break;
	case 3: value = rflags & (FLAG_CF | FLAG_ZF); break;
	case 4: value = rflags & FLAG_SF; break;
	case 5: value = rflags & FLAG_PF; break;
	case 6: value = less; break;
	default: value = less || (rflags & FLAG_ZF); break;
	}
	return value != (bool)(code & 1u);
}
