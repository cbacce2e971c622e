// SPDX-License-Identifier: Apache-2.0
// From an operand to a linear address: effective address, segment limit and type, canonical form
// (SDM vol. 1, 3.7.5; vol. 3, 5.3 "Limit Checking", 5.5 "Type Checking"; vol. 1, 3.3.7.1).
#include "arch/x86/emul/exec.h"

// Access-rights bits of struct emul_segment.
#define ACCESS_WRITE BIT32(1)  // data: writable; code: readable
#define ACCESS_EXPAND BIT32(2) // data: expand-down
#define ACCESS_CODE BIT32(3)
#define ACCESS_BIG BIT32(14)
#define ACCESS_UNUSABLE BIT32(16)

enum emul_result fault_raise(struct emul_ctx *ctx, uint8_t vector) {
	ctx->fault =
	    (struct emul_fault){.vector = vector, .has_error = vector != VECTOR_DE && ctx->mode != EMUL_REAL};
	return EMUL_FAULT;
}

// In 64-bit mode the bases of ES, CS, SS and DS are treated as 0 (SDM vol. 1, 3.4.2.1).
void segment_fetch(struct emul_ctx *ctx, unsigned seg, struct emul_segment *out) {
	if (ctx->mode == EMUL_64 && seg < EMUL_FS)
		*out = (struct emul_segment){0};
	else
		ctx->ops->segment(ctx, (enum emul_seg)seg, out);
}

static bool within_limit(const struct emul_segment *segment, uint64_t offset, unsigned bytes) {
	uint64_t last = offset + bytes - 1u;

	if ((segment->access & (ACCESS_CODE | ACCESS_EXPAND)) == ACCESS_EXPAND) // offsets above the limit
		return offset > segment->limit && last <= (segment->access & ACCESS_BIG ? UINT32_MAX : UINT16_MAX);
	return last <= segment->limit;
}

// May data be read or written there? In real and virtual-8086 mode segments have no types.
static bool right_type(const struct emul_ctx *ctx, const struct emul_segment *segment, bool write) {
	if (ctx->mode < EMUL_16) return true;
	if (segment->access & ACCESS_UNUSABLE) return false;
	if (write) return (segment->access & (ACCESS_CODE | ACCESS_WRITE)) == ACCESS_WRITE;
	return (segment->access & (ACCESS_CODE | ACCESS_WRITE)) != ACCESS_CODE;
}

static inline enum emul_result canonical_linear(struct emul_ctx *ctx, unsigned seg, uint64_t linear,
                                                unsigned bytes) {
	if (likely(is_canonical(ctx, linear) && is_canonical(ctx, linear + bytes - 1u))) return EMUL_DONE;
	return fault_raise(ctx, seg == EMUL_SS ? VECTOR_SS : VECTOR_GP);
}

enum emul_result segment_linear(struct emul_ctx *ctx, unsigned seg, const struct emul_segment *cached,
                                uint64_t offset, unsigned bytes, bool write, uint64_t *linear) {
	*linear = cached->base + offset;
	if (ctx->mode == EMUL_64) return canonical_linear(ctx, seg, *linear, bytes);
	*linear &= UINT32_MAX;
	if (likely(right_type(ctx, cached, write) && within_limit(cached, offset, bytes))) return EMUL_DONE;
	return fault_raise(ctx, seg == EMUL_SS ? VECTOR_SS : VECTOR_GP);
}

// Kept out of line, so that the flat case needs no room for a segment.
static __attribute__((noinline)) enum emul_result segmented_linear(struct emul_ctx *ctx, unsigned seg,
                                                                   uint64_t offset, unsigned bytes,
                                                                   bool write, uint64_t *linear) {
	struct emul_segment segment;

	ctx->ops->segment(ctx, (enum emul_seg)seg, &segment);
	return segment_linear(ctx, seg, &segment, offset, bytes, write, linear);
}

static inline enum emul_result any_linear(struct emul_ctx *ctx, unsigned seg, uint64_t offset, unsigned bytes,
                                          bool write, uint64_t *linear) {
	if (unlikely(ctx->mode != EMUL_64 || seg >= EMUL_FS))
		return segmented_linear(ctx, seg, offset, bytes, write, linear);
	*linear = offset;
	return canonical_linear(ctx, seg, offset, bytes);
}

enum emul_result address_linear(struct emul_ctx *ctx, unsigned seg, uint64_t offset, unsigned bytes,
                                bool write, uint64_t *linear) {
	return any_linear(ctx, seg, offset, bytes, write, linear);
}

static inline uint64_t effective_address(const struct emul_ctx *ctx, const struct emul_insn *insn) {
	uint64_t offset = (uint64_t)insn->disp;

	if (likely(insn->base < EMUL_REG_AH))
		offset += ctx->gpr[insn->base];
	else if (insn->base == EMUL_REG_RIP) // relative to the next instruction
		offset += ctx->rip + insn->length;
	if (insn->index != EMUL_REG_NONE) offset += ctx->gpr[insn->index] * insn->scale;
	return trunc_bytes(offset, insn->address_bytes);
}

uint64_t address_offset(const struct emul_ctx *ctx, const struct emul_insn *insn) {
	return effective_address(ctx, insn);
}

enum emul_result operand_linear(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes,
                                bool write, uint64_t *linear) {
	return any_linear(ctx, insn->segment, effective_address(ctx, insn), bytes, write, linear);
}

enum emul_result memory_load(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes,
                             bool for_write, uint64_t *linear, uint64_t *value) {
	enum emul_result result =
	    any_linear(ctx, insn->segment, effective_address(ctx, insn), bytes, for_write, linear);

	if (unlikely(result != EMUL_DONE)) return result;
	*value = 0; // the callback fills the low bytes
	return result_of(ctx->ops->read(ctx, *linear, value, bytes, for_write));
}

enum emul_result emul_linear(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes, bool write,
                             uint64_t *linear) {
	return insn->has_mem ? operand_linear(ctx, insn, bytes, write, linear) : EMUL_UNHANDLED;
}
