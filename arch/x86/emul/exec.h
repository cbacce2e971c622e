// SPDX-License-Identifier: Apache-2.0
// What the parts of the executor share: registers, addresses, operands. Private to arch/x86/emul.
//
// How a handler keeps "nothing was changed": it first computes addresses and reads (which may fault),
// then writes memory at most once (which may fault), and only then registers and flags.
#pragma once

#include "arch/x86/emul/alu.h"
#include "arch/x86/emul/emul.h"

static inline uint64_t gpr_read(const struct emul_ctx *ctx, unsigned reg, unsigned bytes) {
	if (unlikely(reg >= EMUL_REG_AH)) return (ctx->gpr[reg - EMUL_REG_AH] >> 8) & 0xff;
	return trunc_bytes(ctx->gpr[reg], bytes);
}

// A doubleword write clears the upper half, smaller ones keep the rest (SDM vol. 1, 3.4.1.1).
static inline void gpr_write(struct emul_ctx *ctx, unsigned reg, unsigned bytes, uint64_t value) {
	if (unlikely(reg >= EMUL_REG_AH)) {
		uint64_t *high = &ctx->gpr[reg - EMUL_REG_AH];
		*high = (*high & ~MASK64(15, 8)) | ((value & 0xff) << 8);
		return;
	}
	value = trunc_bytes(value, bytes);
	ctx->gpr[reg] = bytes >= 4 ? value : (ctx->gpr[reg] & ~trunc_bytes(UINT64_MAX, bytes)) | value;
}

static inline enum emul_result result_of(enum emul_access access) {
	if (likely(access == EMUL_ACCESS_OK)) return EMUL_DONE;
	return access == EMUL_ACCESS_FAULT ? EMUL_FAULT : EMUL_AGAIN;
}

// Records a fault of the instruction itself; error codes of these are always 0.
enum emul_result fault_raise(struct emul_ctx *ctx, uint8_t vector);

#define VECTOR_DE 0u
#define VECTOR_SS 12u
#define VECTOR_GP 13u

static inline bool is_canonical(const struct emul_ctx *ctx, uint64_t linear) {
	unsigned shift = 64u - ctx->linear_bits;

	return (uint64_t)((int64_t)(linear << shift) >> shift) == linear;
}

// The hidden part of a segment, as far as the mode looks at it.
void segment_fetch(struct emul_ctx *ctx, unsigned seg, struct emul_segment *out);
// base + offset with every check made.
enum emul_result segment_linear(struct emul_ctx *ctx, unsigned seg, const struct emul_segment *cached,
                                uint64_t offset, unsigned bytes, bool write, uint64_t *linear);
// Both in one.
enum emul_result address_linear(struct emul_ctx *ctx, unsigned seg, uint64_t offset, unsigned bytes,
                                bool write, uint64_t *linear);
// Effective address of the memory operand, truncated to the address size.
uint64_t address_offset(const struct emul_ctx *ctx, const struct emul_insn *insn);

// Linear address of the memory operand, which insn has.
enum emul_result operand_linear(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes,
                                bool write, uint64_t *linear);
// Its value, zero-extended; for_write: it will be stored to.
enum emul_result memory_load(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes,
                             bool for_write, uint64_t *linear, uint64_t *value);

// Value of any operand, zero-extended. For memory *linear is its address.
static inline enum emul_result operand_load(struct emul_ctx *ctx, const struct emul_insn *insn,
                                            const struct emul_operand *from, bool for_write, uint64_t *linear,
                                            uint64_t *value) {
	if (from->kind == EMUL_KIND_MEM) return memory_load(ctx, insn, from->bytes, for_write, linear, value);
	*value = from->kind == EMUL_KIND_REG ? gpr_read(ctx, from->reg, from->bytes)
	                                     : trunc_bytes(insn->imm, from->bytes);
	return EMUL_DONE;
}

// Parts of the executor. next: the rip after the instruction, changed by branches.
enum emul_result exec_string(struct emul_ctx *ctx, const struct emul_insn *insn);
enum emul_result exec_stack(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next);
enum emul_result exec_branch(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next);
// Near branch target: truncated to the operand size, checked against CS or for canonical form.
enum emul_result branch_to(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t target,
                           uint64_t *next);
