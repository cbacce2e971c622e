// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as instructions, executed over arbitrary registers, with callbacks that answer
// anything: faults, retries, random data. Whatever happens, the decoder stays inside its input, the
// executor asks only for sane accesses, a refusal or a fault changes nothing but what REP completed,
// and every call ends within its budget.
#include "arch/x86/emul/emul.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REP_BUDGET 64u

struct hostile {
	const uint8_t *at, *end; // where answers come from
	unsigned accesses;
};

static uint8_t next_byte(struct hostile *h) { return h->at < h->end ? *h->at++ : 0; }

static void next_bytes(struct hostile *h, void *dst, unsigned bytes) {
	for (unsigned i = 0; i < bytes; i++) ((uint8_t *)dst)[i] = next_byte(h);
}

static enum emul_access answer(struct emul_ctx *ctx) {
	struct hostile *h = ctx->owner;
	uint8_t byte = next_byte(h);

	assert(++h->accesses <= 3 * REP_BUDGET);
	if (byte < 0xf0) return EMUL_ACCESS_OK;
	if (byte < 0xf8) return EMUL_ACCESS_RETRY;
	ctx->fault = (struct emul_fault){14, true, byte & 7u, byte};
	return EMUL_ACCESS_FAULT;
}

static void check_memory(const struct emul_ctx *ctx, uint64_t linear, unsigned bytes) {
	assert(bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16);
	assert(ctx->mode == EMUL_64 || linear <= UINT32_MAX);
}

static enum emul_access hostile_read(struct emul_ctx *ctx, uint64_t linear, void *dst, unsigned bytes,
                                     bool for_write) {
	(void)for_write;
	check_memory(ctx, linear, bytes);
	next_bytes(ctx->owner, dst, bytes);
	return answer(ctx);
}

static enum emul_access hostile_write(struct emul_ctx *ctx, uint64_t linear, const void *src,
                                      unsigned bytes) {
	uint8_t copy[16];

	check_memory(ctx, linear, bytes);
	memcpy(copy, src, bytes);
	return answer(ctx);
}

static enum emul_access hostile_exchange(struct emul_ctx *ctx, uint64_t linear, const void *expected,
                                         const void *desired, unsigned bytes) {
	uint8_t copy[16];

	memcpy(copy, expected, bytes);
	return hostile_write(ctx, linear, desired, bytes);
}

static enum emul_access hostile_probe_write(struct emul_ctx *ctx, uint64_t linear, unsigned bytes) {
	check_memory(ctx, linear, bytes);
	return answer(ctx);
}

static enum emul_access hostile_port_in(struct emul_ctx *ctx, uint16_t port, unsigned bytes,
                                        uint32_t *value) {
	(void)port;
	assert(bytes == 1 || bytes == 2 || bytes == 4);
	next_bytes(ctx->owner, value, 4);
	return answer(ctx);
}

static enum emul_access hostile_port_out(struct emul_ctx *ctx, uint16_t port, unsigned bytes,
                                         uint32_t value) {
	(void)port;
	(void)value;
	assert(bytes == 1 || bytes == 2 || bytes == 4);
	return answer(ctx);
}

static void hostile_segment(struct emul_ctx *ctx, enum emul_seg seg, struct emul_segment *out) {
	assert(seg <= EMUL_GS);
	next_bytes(ctx->owner, &out->base, 8);
	next_bytes(ctx->owner, &out->limit, 4);
	next_bytes(ctx->owner, &out->access, 4);
	next_bytes(ctx->owner, &out->selector, 2);
}

static const struct emul_ops hostile_ops = {
    .read = hostile_read,
    .write = hostile_write,
    .exchange = hostile_exchange,
    .probe_write = hostile_probe_write,
    .port_in = hostile_port_in,
    .port_out = hostile_port_out,
    .segment = hostile_segment,
};

// Decoding is independent of how many bytes are there, once there are enough.
static bool decode(const uint8_t *bytes, unsigned len, enum emul_mode mode, struct emul_insn *insn) {
	int error = emul_decode(bytes, len, mode, insn);

	assert(error == 0 || error == -ERR_INVAL || error == -ERR_RANGE ||
	       (error == -ERR_TRUNC && len < EMUL_INSN_MAX));
	if (error) return false;
	assert(insn->length >= 1 && insn->length <= EMUL_INSN_MAX && insn->length <= len);
	assert(emul_length(bytes, insn->length, mode) == insn->length);
	assert(emul_length(bytes, insn->length - 1u, mode) == -ERR_TRUNC);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	uint64_t gpr[16], before[16];
	struct emul_insn insn;
	struct hostile h;
	struct emul_ctx ctx = {.ops = &hostile_ops, .owner = &h, .gpr = gpr};

	if (size < 2) return 0;
	ctx.mode = (enum emul_mode)(data[0] % 5u);
	ctx.cpl = (data[0] >> 3) & 3u;
	ctx.linear_bits = data[0] & 0x80 ? 57 : 48;
	unsigned len = data[1] & 15u;
	data += 2;
	size -= 2;
	if (len > size) len = (unsigned)size;
	if (!decode(data, len, ctx.mode, &insn)) return 0;
	h = (struct hostile){data + len, data + size, 0};
	next_bytes(&h, gpr, sizeof gpr);
	next_bytes(&h, &ctx.rip, 8);
	next_bytes(&h, &ctx.rflags, 8);
	ctx.rep_budget = REP_BUDGET;
	memcpy(before, gpr, sizeof before);
	uint64_t rip = ctx.rip;
	enum emul_result result = emul_execute(&ctx, &insn);
	if (result != EMUL_DONE) assert(ctx.rip == rip);
	bool string = insn.op >= EMUL_OP_MOVS && insn.op <= EMUL_OP_OUTS;
	if (result != EMUL_DONE && !string) assert(memcmp(before, gpr, sizeof before) == 0);
	return 0;
}
