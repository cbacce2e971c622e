// SPDX-License-Identifier: Apache-2.0
// Stack and near control flow. The stack pointer's width is SS.B's, or 64 bits in 64-bit mode (SDM
// vol. 1, 6.2.3); it changes only after the memory access has succeeded.
#include "arch/x86/emul/exec.h"

struct stack {
	struct emul_segment ss;
	unsigned address_bytes; // 2, 4 or 8
};

static void stack_open(struct emul_ctx *ctx, struct stack *stack) {
	const uint32_t big = BIT32(14);

	segment_fetch(ctx, EMUL_SS, &stack->ss);
	stack->address_bytes = ctx->mode == EMUL_64 ? 8 : stack->ss.access & big ? 4 : 2;
}

static enum emul_result stack_push(struct emul_ctx *ctx, uint64_t value, unsigned bytes) {
	struct stack stack;
	uint64_t linear;

	stack_open(ctx, &stack);
	uint64_t top = trunc_bytes(ctx->gpr[EMUL_RSP] - bytes, stack.address_bytes);
	enum emul_result result = segment_linear(ctx, EMUL_SS, &stack.ss, top, bytes, true, &linear);
	if (result == EMUL_DONE) result = result_of(ctx->ops->write(ctx, linear, &value, bytes));
	if (result == EMUL_DONE) gpr_write(ctx, EMUL_RSP, stack.address_bytes, top);
	return result;
}

// Reads the top; *rsp is what the register becomes once `bytes` + `more` are gone from the stack.
static enum emul_result stack_peek(struct emul_ctx *ctx, unsigned bytes, uint64_t more, uint64_t *value,
                                   uint64_t *rsp) {
	struct stack stack;
	uint64_t linear, keep, old = ctx->gpr[EMUL_RSP];

	stack_open(ctx, &stack);
	keep = stack.address_bytes == 2 ? old & ~UINT64_C(0xffff) : 0;
	*rsp = keep | trunc_bytes(old + bytes + more, stack.address_bytes);
	*value = 0;
	enum emul_result result =
	    segment_linear(ctx, EMUL_SS, &stack.ss, trunc_bytes(old, stack.address_bytes), bytes, false, &linear);
	return result == EMUL_DONE ? result_of(ctx->ops->read(ctx, linear, value, bytes, false)) : result;
}

// POP to memory computes an address based on rSP after the increment; POP rSP gets the popped value
// (SDM vol. 2, POP).
static enum emul_result exec_pop(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->dst.bytes;
	uint64_t value, rsp, linear, old = ctx->gpr[EMUL_RSP];
	enum emul_result result = stack_peek(ctx, bytes, 0, &value, &rsp);

	if (result != EMUL_DONE) return result;
	ctx->gpr[EMUL_RSP] = rsp;
	if (insn->dst.kind == EMUL_KIND_REG) {
		gpr_write(ctx, insn->dst.reg, bytes, value);
		return EMUL_DONE;
	}
	result = operand_linear(ctx, insn, bytes, true, &linear);
	if (result == EMUL_DONE) result = result_of(ctx->ops->write(ctx, linear, &value, bytes));
	if (result != EMUL_DONE) ctx->gpr[EMUL_RSP] = old;
	return result;
}

static enum emul_result exec_push(struct emul_ctx *ctx, const struct emul_insn *insn) {
	const struct emul_operand *from = insn->dst.kind != EMUL_KIND_NONE ? &insn->dst : &insn->src;
	uint64_t linear, value;
	enum emul_result result = operand_load(ctx, insn, from, false, &linear, &value);

	return result == EMUL_DONE ? stack_push(ctx, value, from->bytes) : result;
}

// POPF changes what the privilege allows; VIP, VIF and VM stay, RF is cleared (SDM vol. 2, POPF).
static enum emul_result exec_popf(struct emul_ctx *ctx, const struct emul_insn *insn) {
	unsigned bytes = insn->operand_bytes;
	uint64_t value, rsp, change = FLAG_STATUS | FLAG_TF | FLAG_DF | FLAG_NT;
	enum emul_result result = stack_peek(ctx, bytes, 0, &value, &rsp);

	if (result != EMUL_DONE) return result;
	if (ctx->cpl == 0) change |= FLAG_IOPL;
	if (ctx->cpl <= ((ctx->rflags & FLAG_IOPL) >> 12)) change |= FLAG_IF;
	if (bytes > 2) change |= FLAG_AC | FLAG_ID;
	ctx->gpr[EMUL_RSP] = rsp;
	ctx->rflags = (ctx->rflags & ~change) | (value & change);
	return EMUL_DONE;
}

enum emul_result branch_to(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t target,
                           uint64_t *next) {
	struct emul_segment cs;

	target = trunc_bytes(target, insn->operand_bytes);
	if (ctx->mode == EMUL_64) {
		if (!is_canonical(ctx, target)) return fault_raise(ctx, VECTOR_GP);
	} else {
		segment_fetch(ctx, EMUL_CS, &cs);
		if (target > cs.limit) return fault_raise(ctx, VECTOR_GP);
	}
	*next = target;
	return EMUL_DONE;
}

enum emul_result exec_stack(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next) {
	const uint64_t after = *next;
	uint64_t linear, value, rsp;
	enum emul_result result;

	switch ((enum emul_op)insn->op) {
	case EMUL_OP_PUSH: return exec_push(ctx, insn);
	case EMUL_OP_POP: return exec_pop(ctx, insn);
	case EMUL_OP_PUSHF:
	case EMUL_OP_POPF: // in virtual-8086 mode VME and IOPL decide: not here
		if (ctx->mode == EMUL_VM86) return EMUL_UNHANDLED;
		if (insn->op == EMUL_OP_POPF) return exec_popf(ctx, insn);
		return stack_push(ctx, ctx->rflags & ~(FLAG_VM | FLAG_RF), insn->operand_bytes);
	case EMUL_OP_RET:
		result = stack_peek(ctx, insn->operand_bytes, insn->imm, &value, &rsp);
		if (result == EMUL_DONE) result = branch_to(ctx, insn, value, next);
		if (result == EMUL_DONE) ctx->gpr[EMUL_RSP] = rsp;
		return result;
	default: // CALL near: the target is checked before the return address is pushed
		value = after + insn->imm;
		result = insn->op == EMUL_OP_CALL ? operand_load(ctx, insn, &insn->dst, false, &linear, &value)
		                                  : EMUL_DONE;
		if (result == EMUL_DONE) result = branch_to(ctx, insn, value, next);
		return result == EMUL_DONE ? stack_push(ctx, after, insn->operand_bytes) : result;
	}
}

// LOOPcc and JrCXZ count with the address size's register.
static enum emul_result exec_loop(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next) {
	unsigned bytes = insn->address_bytes;
	uint64_t count = trunc_bytes(gpr_read(ctx, EMUL_RCX, bytes) - 1, bytes);
	bool zero = ctx->rflags & FLAG_ZF;
	bool taken = count != 0 && (insn->op == EMUL_OP_LOOP || (insn->op == EMUL_OP_LOOPE) == zero);
	enum emul_result result = taken ? branch_to(ctx, insn, *next + insn->imm, next) : EMUL_DONE;

	if (result == EMUL_DONE) gpr_write(ctx, EMUL_RCX, bytes, count);
	return result;
}

enum emul_result exec_branch(struct emul_ctx *ctx, const struct emul_insn *insn, uint64_t *next) {
	uint64_t linear, value;
	bool taken;
	enum emul_result result;

	switch ((enum emul_op)insn->op) {
	case EMUL_OP_JMP:
		result = operand_load(ctx, insn, &insn->dst, false, &linear, &value);
		return result == EMUL_DONE ? branch_to(ctx, insn, value, next) : result;
	case EMUL_OP_JMP_REL: taken = true; break;
	case EMUL_OP_JCC: taken = alu_condition(insn->opcode, ctx->rflags); break;
	case EMUL_OP_JCXZ: taken = gpr_read(ctx, EMUL_RCX, insn->address_bytes) == 0; break;
	default: return exec_loop(ctx, insn, next);
	}
	return taken ? branch_to(ctx, insn, *next + insn->imm, next) : EMUL_DONE;
}
