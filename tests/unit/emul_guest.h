// SPDX-License-Identifier: Apache-2.0
// A guest for the emulator's tests: flat memory from linear address 0, six segments, ports that answer
// by a formula, and switches that make accesses fault or ask for a retry.
#pragma once

#include "arch/x86/emul/emul.h"
#include "tests/unit/support.h"

#define GUEST_BYTES 0x20000u
#define GUEST_PORTS_MAX 512u

struct guest {
	struct emul_ctx ctx;
	uint64_t gpr[16];
	uint8_t *mem; // GUEST_BYTES
	struct emul_segment segment[6];
	uint64_t fault_from;     // accesses at or above fault: page fault, 0: GUEST_BYTES
	unsigned retries;        // so many next writes answer RETRY
	unsigned exchange_stale; // so many next exchanges find changed memory
	unsigned reads, writes, exchanges, probes;
	unsigned ports; // port accesses, kept in order
	struct {
		uint16_t port;
		uint8_t bytes, in;
		uint32_t value;
	} port[GUEST_PORTS_MAX];
};

static inline uint32_t guest_port_value(uint16_t port, unsigned bytes, unsigned nth) {
	return (uint32_t)((port * 0x9e3779b1u + bytes * 77u + nth * 0x01010107u) &
	                  (0xffffffffu >> (32 - 8 * bytes)));
}

static inline enum emul_access guest_check(struct guest *g, uint64_t linear, unsigned bytes, bool write) {
	uint64_t end = g->fault_from ? g->fault_from : GUEST_BYTES;

	if (linear < end && bytes <= end - linear) return EMUL_ACCESS_OK;
	g->ctx.fault = (struct emul_fault){14, true, write ? 2 : 0, linear};
	return EMUL_ACCESS_FAULT;
}

static enum emul_access guest_read(struct emul_ctx *ctx, uint64_t linear, void *dst, unsigned bytes,
                                   bool for_write) {
	struct guest *g = ctx->owner;
	enum emul_access access = guest_check(g, linear, bytes, for_write);

	g->reads++;
	if (access == EMUL_ACCESS_OK) memcpy(dst, g->mem + linear, bytes);
	return access;
}

static enum emul_access guest_write(struct emul_ctx *ctx, uint64_t linear, const void *src, unsigned bytes) {
	struct guest *g = ctx->owner;
	enum emul_access access = guest_check(g, linear, bytes, true);

	g->writes++;
	if (access != EMUL_ACCESS_OK) return access;
	if (g->retries) {
		g->retries--;
		return EMUL_ACCESS_RETRY;
	}
	memcpy(g->mem + linear, src, bytes);
	return EMUL_ACCESS_OK;
}

static enum emul_access guest_exchange(struct emul_ctx *ctx, uint64_t linear, const void *expected,
                                       const void *desired, unsigned bytes) {
	struct guest *g = ctx->owner;
	enum emul_access access = guest_check(g, linear, bytes, true);

	g->exchanges++;
	if (access != EMUL_ACCESS_OK) return access;
	if (g->exchange_stale) {
		g->exchange_stale--;
		return EMUL_ACCESS_RETRY;
	}
	assert_memory_equal(g->mem + linear, expected, bytes);
	memcpy(g->mem + linear, desired, bytes);
	return EMUL_ACCESS_OK;
}

static enum emul_access guest_probe_write(struct emul_ctx *ctx, uint64_t linear, unsigned bytes) {
	struct guest *g = ctx->owner;

	g->probes++;
	return guest_check(g, linear, bytes, true);
}

static void guest_port_note(struct guest *g, uint16_t port, unsigned bytes, bool in, uint32_t value) {
	assert_in_range(g->ports, 0, GUEST_PORTS_MAX - 1);
	g->port[g->ports].port = port;
	g->port[g->ports].bytes = (uint8_t)bytes;
	g->port[g->ports].in = in;
	g->port[g->ports++].value = value;
}

static enum emul_access guest_port_in(struct emul_ctx *ctx, uint16_t port, unsigned bytes, uint32_t *value) {
	struct guest *g = ctx->owner;

	*value = guest_port_value(port, bytes, g->ports);
	guest_port_note(g, port, bytes, true, *value);
	return EMUL_ACCESS_OK;
}

static enum emul_access guest_port_out(struct emul_ctx *ctx, uint16_t port, unsigned bytes, uint32_t value) {
	guest_port_note(ctx->owner, port, bytes, false, value);
	return EMUL_ACCESS_OK;
}

static void guest_segment(struct emul_ctx *ctx, enum emul_seg seg, struct emul_segment *out) {
	struct guest *g = ctx->owner;

	assert_in_range(seg, EMUL_ES, EMUL_GS);
	*out = g->segment[seg];
}

static const struct emul_ops guest_ops = {
    .read = guest_read,
    .write = guest_write,
    .exchange = guest_exchange,
    .probe_write = guest_probe_write,
    .port_in = guest_port_in,
    .port_out = guest_port_out,
    .segment = guest_segment,
};

// Flat segments in protected modes, base 0 and limit FFFF in real mode; mem stays the caller's.
static inline void guest_init(struct guest *g, enum emul_mode mode, uint8_t *mem) {
	*g = (struct guest){.mem = mem};
	g->ctx = (struct emul_ctx){.ops = &guest_ops,
	                           .owner = g,
	                           .gpr = g->gpr,
	                           .mode = mode,
	                           .rflags = 2,
	                           .linear_bits = 48,
	                           .rep_budget = 1000};
	for (unsigned i = 0; i < 6; i++) {
		bool big = mode == EMUL_32;
		g->segment[i].limit = big ? UINT32_MAX : 0xffff;
		g->segment[i].access = (i == EMUL_CS ? 0x9bu : 0x93u) | (big ? 0xc000u : 0);
	}
}
