// SPDX-License-Identifier: Apache-2.0
// String instructions, with port strings, in bounded pieces: after every iteration the registers are
// those that the architecture shows when the instruction is interrupted there (SDM vol. 2, REP), so a
// piece may end anywhere and the instruction is simply begun again.
#include "arch/x86/emul/exec.h"

struct string {
	struct emul_ctx *ctx;
	const struct emul_insn *insn;
	unsigned bytes;                          // of one element
	struct emul_segment source, destination; // read once for all iterations
};

static enum emul_result source_linear(struct string *s, uint64_t *linear) {
	uint64_t offset = gpr_read(s->ctx, EMUL_RSI, s->insn->address_bytes);

	return segment_linear(s->ctx, s->insn->segment, &s->source, offset, s->bytes, false, linear);
}

static enum emul_result destination_linear(struct string *s, bool write, uint64_t *linear) {
	uint64_t offset = gpr_read(s->ctx, EMUL_RDI, s->insn->address_bytes);

	return segment_linear(s->ctx, EMUL_ES, &s->destination, offset, s->bytes, write, linear);
}

static enum emul_result source_read(struct string *s, uint64_t *value) {
	uint64_t linear;
	enum emul_result result = source_linear(s, &linear);

	*value = 0;
	return result == EMUL_DONE ? result_of(s->ctx->ops->read(s->ctx, linear, value, s->bytes, false))
	                           : result;
}

static enum emul_result destination_read(struct string *s, uint64_t *value) {
	uint64_t linear;
	enum emul_result result = destination_linear(s, false, &linear);

	*value = 0;
	return result == EMUL_DONE ? result_of(s->ctx->ops->read(s->ctx, linear, value, s->bytes, false))
	                           : result;
}

static enum emul_result destination_write(struct string *s, uint64_t value) {
	uint64_t linear;
	enum emul_result result = destination_linear(s, true, &linear);

	return result == EMUL_DONE ? result_of(s->ctx->ops->write(s->ctx, linear, &value, s->bytes)) : result;
}

// The port is read only when the memory can take what comes: reading may have side effects.
static enum emul_result string_in(struct string *s) {
	const struct emul_ops *ops = s->ctx->ops;
	uint64_t linear;
	uint32_t value = 0;
	enum emul_result result = destination_linear(s, true, &linear);

	if (result == EMUL_DONE) result = result_of(ops->probe_write(s->ctx, linear, s->bytes));
	if (result == EMUL_DONE)
		result = result_of(ops->port_in(s->ctx, (uint16_t)s->ctx->gpr[EMUL_RDX], s->bytes, &value));
	return result == EMUL_DONE ? result_of(ops->write(s->ctx, linear, &value, s->bytes)) : result;
}

static enum emul_result string_step(struct string *s) {
	struct emul_ctx *ctx = s->ctx;
	uint64_t a, b;
	enum emul_result result;

	switch ((enum emul_op)s->insn->op) {
	case EMUL_OP_STOS: return destination_write(s, gpr_read(ctx, EMUL_RAX, s->bytes));
	case EMUL_OP_INS: return string_in(s);
	case EMUL_OP_SCAS:
		result = destination_read(s, &b);
		if (result == EMUL_DONE)
			alu_binary(EMUL_OP_CMP, gpr_read(ctx, EMUL_RAX, s->bytes), b, s->bytes, &ctx->rflags);
		return result;
	default: break;
	}
	result = source_read(s, &a);
	if (result != EMUL_DONE) return result;
	switch ((enum emul_op)s->insn->op) {
	case EMUL_OP_LODS: gpr_write(ctx, EMUL_RAX, s->bytes, a); return EMUL_DONE;
	case EMUL_OP_MOVS: return destination_write(s, a);
	case EMUL_OP_OUTS:
		return result_of(ctx->ops->port_out(ctx, (uint16_t)ctx->gpr[EMUL_RDX], s->bytes, (uint32_t)a));
	default: // CMPS: the source at rSI minus the one at rDI
		result = destination_read(s, &b);
		if (result == EMUL_DONE) alu_binary(EMUL_OP_CMP, a, b, s->bytes, &ctx->rflags);
		return result;
	}
}

static void pointer_advance(struct string *s, unsigned reg) {
	unsigned address_bytes = s->insn->address_bytes;
	uint64_t value = gpr_read(s->ctx, reg, address_bytes);

	gpr_write(s->ctx, reg, address_bytes, s->ctx->rflags & FLAG_DF ? value - s->bytes : value + s->bytes);
}

static bool uses_source(enum emul_op op) {
	return op == EMUL_OP_MOVS || op == EMUL_OP_CMPS || op == EMUL_OP_LODS || op == EMUL_OP_OUTS;
}

static bool uses_destination(enum emul_op op) { return op != EMUL_OP_LODS && op != EMUL_OP_OUTS; }

// REPE and REPNE end a comparison early; on other strings both mean REP.
static bool comparison_ends(const struct string *s) {
	if (s->insn->op != EMUL_OP_CMPS && s->insn->op != EMUL_OP_SCAS) return false;
	return !(s->ctx->rflags & FLAG_ZF) == !(s->insn->prefixes & EMUL_PREFIX_REPNE);
}

enum emul_result exec_string(struct emul_ctx *ctx, const struct emul_insn *insn) {
	struct string s = {.ctx = ctx, .insn = insn};
	enum emul_op op = (enum emul_op)insn->op;
	bool repeat = insn->prefixes & (EMUL_PREFIX_REP | EMUL_PREFIX_REPNE);
	uint64_t count = gpr_read(ctx, EMUL_RCX, insn->address_bytes), flags_before = ctx->rflags;

	s.bytes = insn->dst.kind == EMUL_KIND_MEM ? insn->dst.bytes : insn->src.bytes;
	if (repeat && count == 0) return EMUL_DONE;
	if (uses_source(op)) segment_fetch(ctx, insn->segment, &s.source);
	if (uses_destination(op)) segment_fetch(ctx, EMUL_ES, &s.destination);
	for (uint32_t done = 0;;) {
		enum emul_result result = string_step(&s);
		// A fault in a repeated comparison shows the flags from before it (SDM vol. 2, REP).
		if (result == EMUL_FAULT) ctx->rflags = flags_before;
		if (result != EMUL_DONE) return result;
		if (uses_source(op)) pointer_advance(&s, EMUL_RSI);
		if (uses_destination(op)) pointer_advance(&s, EMUL_RDI);
		if (!repeat) return EMUL_DONE;
		gpr_write(ctx, EMUL_RCX, insn->address_bytes, --count);
		if (count == 0 || comparison_ends(&s)) return EMUL_DONE;
		if (++done >= ctx->rep_budget) return EMUL_AGAIN;
	}
}
