// SPDX-License-Identifier: Apache-2.0
// emul_execute: dispatch, and the instructions that move or compute. Each handler follows the order of
// exec.h: addresses and reads, one memory write, registers and flags last. Semantics: SDM vol. 2.
#include "arch/x86/emul/exec.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/string.h"

// Writes a destination that was not read.
static inline enum emul_result operand_store(struct emul_ctx *ctx, const struct emul_insn *insn,
                                             const struct emul_operand *to, uint64_t value) {
	uint64_t linear;
	enum emul_result result;

	if (to->kind == EMUL_KIND_REG) {
		gpr_write(ctx, to->reg, to->bytes, value);
		return EMUL_DONE;
	}
	result = operand_linear(ctx, insn, to->bytes, true, &linear);
	if (unlikely(result != EMUL_DONE)) return result;
	return result_of(ctx->ops->write(ctx, linear, &value, to->bytes));
}

// Writes back a destination that operand_load read for writing.
static enum emul_result operand_update(struct emul_ctx *ctx, const struct emul_insn *insn,
                                       const struct emul_operand *to, uint64_t linear, uint64_t old,
                                       uint64_t value) {
	if (to->kind == EMUL_KIND_REG) {
		gpr_write(ctx, to->reg, to->bytes, value);
		return EMUL_DONE;
	}
	// XCHG with memory locks without being told to (SDM vol. 3, 9.1.2.1).
	if ((insn->prefixes & EMUL_PREFIX_LOCK) || insn->op == EMUL_OP_XCHG)
		return result_of(ctx->ops->exchange(ctx, linear, &old, &value, to->bytes));
	return result_of(ctx->ops->write(ctx, linear, &value, to->bytes));
}

static uint64_t byte_swap(uint64_t value, unsigned bytes) {
	return __builtin_bswap64(value) >> (64 - 8 * bytes);
}

// MOV and what differs from it only in what happens to the value on the way.
static enum emul_result exec_move(struct emul_ctx *ctx, const struct emul_insn *insn) {
	uint64_t linear, value;
	enum emul_result result = operand_load(ctx, insn, &insn->src, false, &linear, &value);

	if (unlikely(result != EMUL_DONE)) return result;
	switch (insn->op) {
	case EMUL_OP_MOVSX: value = (uint64_t)sign_extend(value, insn->src.bytes); break;
	case EMUL_OP_MOVBE: value = byte_swap(value, insn->src.bytes); break;
	case EMUL_OP_CMOV: // the source is read, and a doubleword destination cleared above, in any case
		if (!alu_condition(insn->opcode, ctx->rflags)) value = gpr_read(ctx, insn->dst.reg, insn->dst.bytes);
		break;
	default: break;
	}
	return operand_store(ctx, insn, &insn->dst, value);
}

static enum emul_result exec_move_from_seg(struct emul_ctx *ctx, const struct emul_insn *insn) {
	struct emul_segment segment;

	ctx->ops->segment(ctx, (enum emul_seg)insn->src.reg, &segment);
	return operand_store(ctx, insn, &insn->dst, segment.selector);
}

static enum emul_result exec_binary(struct emul_ctx *ctx, const struct emul_insn *insn) {
	bool compare = insn->op == EMUL_OP_CMP || insn->op == EMUL_OP_TEST;
	uint64_t linear = 0, a, b, value, rflags = ctx->rflags;
	enum emul_result result = operand_load(ctx, insn, &insn->dst, !compare, &linear, &a);

	if (result == EMUL_DONE) result = operand_load(ctx, insn, &insn->src, false, &linear, &b);
	if (unlikely(result != EMUL_DONE)) return result;
	value = alu_binary((enum emul_op)insn->op, a, b, insn->dst.bytes, &rflags);
	if (!compare) result = operand_update(ctx, insn, &insn->dst, linear, a, value);
	if (result == EMUL_DONE) ctx->rflags = rflags;
	return result;
}

// One destination, and for shifts a count.
static enum emul_result exec_unary(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	uint64_t linear = 0, a, value, count, rflags = ctx->rflags;
	enum emul_op op = (enum emul_op)insn->op;
	enum emul_result result = operand_load(ctx, insn, &insn->dst, true, &linear, &a);

	if (unlikely(result != EMUL_DONE)) return result;
	switch (op) {
	case EMUL_OP_INC:
	case EMUL_OP_DEC:
	case EMUL_OP_NEG:
	case EMUL_OP_NOT: value = alu_unary(op, a, bytes, &rflags); break;
	case EMUL_OP_SHLD:
	case EMUL_OP_SHRD: // the count is an immediate (opcodes A4, AC) or CL
		count = insn->opcode & 1u ? gpr_read(ctx, EMUL_RCX, 1) : insn->imm;
		value = alu_shift_double(op, a, gpr_read(ctx, insn->src.reg, bytes), (unsigned)count, bytes, &rflags);
		break;
	default:
		count = insn->src.kind == EMUL_KIND_REG ? gpr_read(ctx, EMUL_RCX, 1) : insn->imm;
		value = alu_shift(op, a, (unsigned)count, bytes, &rflags);
		break;
	}
	result = operand_update(ctx, insn, &insn->dst, linear, a, value);
	if (result == EMUL_DONE) ctx->rflags = rflags;
	return result;
}

// XCHG and XADD: the source register gets the old destination.
static enum emul_result exec_exchange(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	uint64_t linear = 0, a, b, value, rflags = ctx->rflags;
	enum emul_result result = operand_load(ctx, insn, &insn->dst, true, &linear, &a);

	if (unlikely(result != EMUL_DONE)) return result;
	b = gpr_read(ctx, insn->src.reg, bytes);
	value = insn->op == EMUL_OP_XADD ? alu_binary(EMUL_OP_ADD, a, b, bytes, &rflags) : b;
	if (insn->dst.kind == EMUL_KIND_MEM) {
		result = operand_update(ctx, insn, &insn->dst, linear, a, value);
		if (result != EMUL_DONE) return result;
		gpr_write(ctx, insn->src.reg, bytes, a);
	} else { // XADD of a register with itself leaves the sum: the destination is written last
		gpr_write(ctx, insn->src.reg, bytes, a);
		gpr_write(ctx, insn->dst.reg, bytes, value);
	}
	ctx->rflags = rflags;
	return EMUL_DONE;
}

static enum emul_result exec_cmpxchg(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	uint64_t linear = 0, old, rflags = ctx->rflags, accumulator = gpr_read(ctx, EMUL_RAX, bytes);
	enum emul_result result = operand_load(ctx, insn, &insn->dst, true, &linear, &old);

	if (unlikely(result != EMUL_DONE)) return result;
	alu_binary(EMUL_OP_CMP, accumulator, old, bytes, &rflags);
	bool equal = rflags & FLAG_ZF;
	// Memory is written in both cases (SDM vol. 2, CMPXCHG).
	uint64_t value = equal ? gpr_read(ctx, insn->src.reg, bytes) : old;
	if (equal || insn->dst.kind == EMUL_KIND_MEM)
		result = operand_update(ctx, insn, &insn->dst, linear, old, value);
	if (result != EMUL_DONE) return result;
	if (!equal) gpr_write(ctx, EMUL_RAX, bytes, old);
	ctx->rflags = rflags;
	return EMUL_DONE;
}

// CMPXCHG8B and CMPXCHG16B: halves of 4 or 8 bytes in rDX:rAX and rCX:rBX.
static enum emul_result exec_cmpxchg_pair(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned half = insn->dst.bytes / 2u;
	uint8_t old[16], desired[16];
	uint64_t linear, low = 0, high = 0;
	enum emul_result result = operand_linear(ctx, insn, 2 * half, true, &linear);

	if (result != EMUL_DONE) return result;
	if (half == 8 && (linear & 15u)) return fault_raise(ctx, VECTOR_GP);
	result = result_of(ctx->ops->read(ctx, linear, old, 2 * half, true));
	if (result != EMUL_DONE) return result;
	memcpy(&low, old, half);
	memcpy(&high, old + half, half);
	bool equal = low == gpr_read(ctx, EMUL_RAX, half) && high == gpr_read(ctx, EMUL_RDX, half);
	memcpy(desired, equal ? (const void *)&ctx->gpr[EMUL_RBX] : &low, half);
	memcpy(desired + half, equal ? (const void *)&ctx->gpr[EMUL_RCX] : &high, half);
	result =
	    result_of(insn->prefixes & EMUL_PREFIX_LOCK ? ctx->ops->exchange(ctx, linear, old, desired, 2 * half)
	                                                : ctx->ops->write(ctx, linear, desired, 2 * half));
	if (result != EMUL_DONE) return result;
	if (!equal) {
		gpr_write(ctx, EMUL_RAX, half, low);
		gpr_write(ctx, EMUL_RDX, half, high);
	}
	ctx->rflags = (ctx->rflags & ~FLAG_ZF) | (equal ? FLAG_ZF : 0);
	return EMUL_DONE;
}

// BT BTS BTR BTC. A register bit offset is signed and reaches beyond the operand in memory; an
// immediate one is taken modulo the operand size (SDM vol. 2, BT and figure 3-2).
static enum emul_result exec_bit(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	bool memory = insn->dst.kind == EMUL_KIND_MEM;
	uint64_t bit = insn->src.kind == EMUL_KIND_IMM ? insn->imm : gpr_read(ctx, insn->src.reg, bytes);
	uint64_t linear = 0, old = 0, value, mask;
	enum emul_result result = EMUL_DONE;

	if (memory) {
		uint64_t offset = address_offset(ctx, insn);
		if (insn->src.kind == EMUL_KIND_REG) {
			int64_t units = sign_extend(bit, bytes) >> (3 + bit_first(bytes));
			offset = trunc_bytes(offset + (uint64_t)units * bytes, insn->address_bytes);
		}
		result = address_linear(ctx, insn->segment, offset, bytes, insn->op != EMUL_OP_BT, &linear);
		if (result != EMUL_DONE) return result;
		result = result_of(ctx->ops->read(ctx, linear, &old, bytes, insn->op != EMUL_OP_BT));
	} else {
		old = gpr_read(ctx, insn->dst.reg, bytes);
	}
	if (result != EMUL_DONE) return result;
	mask = UINT64_C(1) << (bit & (8 * bytes - 1));
	value = insn->op == EMUL_OP_BTS ? old | mask : insn->op == EMUL_OP_BTR ? old & ~mask : old ^ mask;
	if (insn->op != EMUL_OP_BT) result = operand_update(ctx, insn, &insn->dst, linear, old, value);
	if (result != EMUL_DONE) return result;
	ctx->rflags = (ctx->rflags & ~FLAG_CF) | (old & mask ? FLAG_CF : 0);
	return EMUL_DONE;
}

// BSF BSR TZCNT LZCNT POPCNT, and IMUL with an explicit destination.
static enum emul_result exec_from_source(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	uint64_t linear, a, value;
	enum emul_result result = operand_load(ctx, insn, &insn->src, false, &linear, &a);

	if (result != EMUL_DONE) return result;
	if (insn->op == EMUL_OP_IMUL2)
		value = alu_imul(gpr_read(ctx, insn->dst.reg, bytes), a, bytes, &ctx->rflags);
	else if (insn->op == EMUL_OP_IMUL3)
		value = alu_imul(a, trunc_bytes(insn->imm, bytes), bytes, &ctx->rflags);
	else if (!alu_scan((enum emul_op)insn->op, a, bytes, &value, &ctx->rflags))
		return EMUL_DONE;
	gpr_write(ctx, insn->dst.reg, bytes, value);
	return EMUL_DONE;
}

// MUL IMUL DIV IDIV over rDX:rAX; the byte forms use AH:AL.
static enum emul_result exec_wide(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	unsigned high_reg = bytes == 1 ? EMUL_REG_AH : EMUL_RDX;
	bool is_signed = insn->op == EMUL_OP_IMUL || insn->op == EMUL_OP_IDIV;
	uint64_t linear, operand, first, second;
	enum emul_result result = operand_load(ctx, insn, &insn->dst, false, &linear, &operand);

	if (result != EMUL_DONE) return result;
	uint64_t low = gpr_read(ctx, EMUL_RAX, bytes), high = gpr_read(ctx, high_reg, bytes);
	if (insn->op == EMUL_OP_MUL || insn->op == EMUL_OP_IMUL)
		alu_mul_wide(is_signed, low, operand, bytes, &first, &second, &ctx->rflags);
	else if (!alu_div_wide(is_signed, high, low, operand, bytes, &first, &second))
		return fault_raise(ctx, VECTOR_DE);
	gpr_write(ctx, EMUL_RAX, bytes, first);
	gpr_write(ctx, high_reg, bytes, second);
	return EMUL_DONE;
}

static enum emul_result exec_port(struct emul_ctx *ctx, const struct emul_insn *insn) {
	bool in = insn->op == EMUL_OP_IN;
	const struct emul_operand *port_operand = in ? &insn->src : &insn->dst;
	unsigned bytes = in ? insn->dst.bytes : insn->src.bytes;
	uint16_t port = (uint16_t)(port_operand->kind == EMUL_KIND_IMM ? insn->imm : ctx->gpr[EMUL_RDX]);
	uint32_t value = 0;

	if (!in) return result_of(ctx->ops->port_out(ctx, port, bytes, (uint32_t)gpr_read(ctx, EMUL_RAX, bytes)));
	enum emul_result result = result_of(ctx->ops->port_in(ctx, port, bytes, &value));
	if (result == EMUL_DONE) gpr_write(ctx, EMUL_RAX, bytes, value);
	return result;
}

// CBW CWDE CDQE widen the accumulator; CWD CDQ CQO spread its sign over rDX.
static void exec_convert(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->operand_bytes;
	int64_t value;

	if (insn->op == EMUL_OP_CONVERT_A) {
		value = sign_extend(gpr_read(ctx, EMUL_RAX, bytes / 2u), bytes / 2u);
		gpr_write(ctx, EMUL_RAX, bytes, (uint64_t)value);
	} else {
		value = sign_extend(gpr_read(ctx, EMUL_RAX, bytes), bytes);
		gpr_write(ctx, EMUL_RDX, bytes, value < 0 ? UINT64_MAX : 0);
	}
}

static enum emul_result exec_flag(struct emul_ctx *ctx, const struct emul_insn *insn) {
	const uint64_t low = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF;

	switch (insn->op) {
	case EMUL_OP_CLC: ctx->rflags &= ~FLAG_CF; break;
	case EMUL_OP_STC: ctx->rflags |= FLAG_CF; break;
	case EMUL_OP_CMC: ctx->rflags ^= FLAG_CF; break;
	case EMUL_OP_CLD: ctx->rflags &= ~FLAG_DF; break;
	case EMUL_OP_STD: ctx->rflags |= FLAG_DF; break;
	case EMUL_OP_LAHF: gpr_write(ctx, EMUL_REG_AH, 1, (ctx->rflags & low) | FLAG_FIXED); break;
	case EMUL_OP_SAHF: ctx->rflags = (ctx->rflags & ~low) | (gpr_read(ctx, EMUL_REG_AH, 1) & low); break;
	default: // CLI, STI: with CPL above IOPL the answer depends on CR4.VME and PVI, which are not known here
		if (ctx->mode != EMUL_REAL && ctx->cpl > ((ctx->rflags & FLAG_IOPL) >> 12)) return EMUL_UNHANDLED;
		ctx->sti_shadow = insn->op == EMUL_OP_STI && !(ctx->rflags & FLAG_IF);
		ctx->rflags = insn->op == EMUL_OP_STI ? ctx->rflags | FLAG_IF : ctx->rflags & ~FLAG_IF;
		break;
	}
	return EMUL_DONE;
}

static enum emul_result exec_xlat(struct emul_ctx *ctx, const struct emul_insn *insn) {
	uint64_t offset = trunc_bytes(ctx->gpr[EMUL_RBX] + gpr_read(ctx, EMUL_RAX, 1), insn->address_bytes);
	uint64_t linear, value = 0;
	enum emul_result result = address_linear(ctx, insn->segment, offset, 1, false, &linear);

	if (result == EMUL_DONE) result = result_of(ctx->ops->read(ctx, linear, &value, 1, false));
	if (result == EMUL_DONE) gpr_write(ctx, EMUL_RAX, 1, value);
	return result;
}

static enum emul_result dispatch(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next) {
	switch ((enum emul_op)insn->op) {
	case EMUL_OP_MOV:
	case EMUL_OP_MOVZX:
	case EMUL_OP_MOVSX:
	case EMUL_OP_MOVBE:
	case EMUL_OP_CMOV: return exec_move(ctx, insn);
	case EMUL_OP_ADD:
	case EMUL_OP_OR:
	case EMUL_OP_ADC:
	case EMUL_OP_SBB:
	case EMUL_OP_AND:
	case EMUL_OP_SUB:
	case EMUL_OP_XOR:
	case EMUL_OP_CMP:
	case EMUL_OP_TEST: return exec_binary(ctx, insn);
	case EMUL_OP_ROL:
	case EMUL_OP_ROR:
	case EMUL_OP_RCL:
	case EMUL_OP_RCR:
	case EMUL_OP_SHL:
	case EMUL_OP_SHR:
	case EMUL_OP_SAL:
	case EMUL_OP_SAR:
	case EMUL_OP_SHLD:
	case EMUL_OP_SHRD:
	case EMUL_OP_INC:
	case EMUL_OP_DEC:
	case EMUL_OP_NEG:
	case EMUL_OP_NOT: return exec_unary(ctx, insn);
	case EMUL_OP_MOV_FROM_SEG: return exec_move_from_seg(ctx, insn);
	case EMUL_OP_XCHG:
	case EMUL_OP_XADD: return exec_exchange(ctx, insn);
	case EMUL_OP_LEA: return operand_store(ctx, insn, &insn->dst, address_offset(ctx, insn));
	case EMUL_OP_SET: return operand_store(ctx, insn, &insn->dst, alu_condition(insn->opcode, ctx->rflags));
	case EMUL_OP_BSWAP: // a word operand is undefined; like CPUs, this leaves zeros
		return operand_store(ctx, insn, &insn->dst,
		                     insn->dst.bytes == 2 ? 0 : byte_swap(ctx->gpr[insn->dst.reg], insn->dst.bytes));
	case EMUL_OP_CMPXCHG: return exec_cmpxchg(ctx, insn);
	case EMUL_OP_CMPXCHG8B: return exec_cmpxchg_pair(ctx, insn);
	case EMUL_OP_BT:
	case EMUL_OP_BTS:
	case EMUL_OP_BTR:
	case EMUL_OP_BTC: return exec_bit(ctx, insn);
	case EMUL_OP_BSF:
	case EMUL_OP_BSR:
	case EMUL_OP_TZCNT:
	case EMUL_OP_LZCNT:
	case EMUL_OP_POPCNT:
	case EMUL_OP_IMUL2:
	case EMUL_OP_IMUL3: return exec_from_source(ctx, insn);
	case EMUL_OP_MUL:
	case EMUL_OP_IMUL:
	case EMUL_OP_DIV:
	case EMUL_OP_IDIV: return exec_wide(ctx, insn);
	case EMUL_OP_PUSH:
	case EMUL_OP_POP:
	case EMUL_OP_PUSHF:
	case EMUL_OP_POPF:
	case EMUL_OP_CALL:
	case EMUL_OP_CALL_REL:
	case EMUL_OP_RET: return exec_stack(ctx, insn, next);
	case EMUL_OP_JMP:
	case EMUL_OP_JMP_REL:
	case EMUL_OP_JCC:
	case EMUL_OP_LOOPNE:
	case EMUL_OP_LOOPE:
	case EMUL_OP_LOOP:
	case EMUL_OP_JCXZ: return exec_branch(ctx, insn, next);
	case EMUL_OP_MOVS:
	case EMUL_OP_CMPS:
	case EMUL_OP_STOS:
	case EMUL_OP_LODS:
	case EMUL_OP_SCAS:
	case EMUL_OP_INS:
	case EMUL_OP_OUTS: return exec_string(ctx, insn);
	case EMUL_OP_IN:
	case EMUL_OP_OUT: return exec_port(ctx, insn);
	case EMUL_OP_CONVERT_A:
	case EMUL_OP_CONVERT_D: exec_convert(ctx, insn); return EMUL_DONE;
	case EMUL_OP_CLC:
	case EMUL_OP_STC:
	case EMUL_OP_CMC:
	case EMUL_OP_CLD:
	case EMUL_OP_STD:
	case EMUL_OP_CLI:
	case EMUL_OP_STI:
	case EMUL_OP_LAHF:
	case EMUL_OP_SAHF: return exec_flag(ctx, insn);
	case EMUL_OP_XLAT: return exec_xlat(ctx, insn);
	case EMUL_OP_NOP: return EMUL_DONE;
	case EMUL_OP_OTHER:
	case EMUL_OP_COUNT: break;
	}
	return EMUL_UNHANDLED;
}

enum emul_result emul_execute(struct emul_ctx *ctx, const struct emul_insn *insn) {
	uint64_t next = ctx->rip + insn->length;
	enum emul_result result;

	assert(ctx->linear_bits == 48 || ctx->linear_bits == 57);
	if (ctx->mode != EMUL_64) next &= UINT32_MAX;
	ctx->sti_shadow = false;
	result = dispatch(ctx, insn, &next);
	if (likely(result == EMUL_DONE)) {
		ctx->rip = next;
		ctx->rflags &= ~FLAG_RF;
	}
	return result;
}
