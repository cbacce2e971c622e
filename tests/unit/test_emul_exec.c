// SPDX-License-Identifier: Apache-2.0
// The executor by hand: faults and what they leave untouched, segment limits and types, canonical
// checks, REP budgets, direction, retries and locked accesses, and the instructions that libunicorn
// cannot judge. Random instructions are in test_emul_unicorn.c.
#include "tests/unit/support.h"

#include "arch/x86/emul/alu.h"
#include "tests/unit/emul_guest.h"

static uint8_t memory[GUEST_BYTES];

// Decodes hex and executes it on g at its rip.
static enum emul_result run(struct guest *g, const char *hex) {
	uint8_t bytes[EMUL_INSN_MAX];
	unsigned n = 0, value;
	struct emul_insn insn;
	for (int used; sscanf(hex, "%2x%n", &value, &used) == 1; hex += used) bytes[n++] = (uint8_t)value;
	assert_int_equal(emul_decode(bytes, n, g->ctx.mode, &insn), 0);
	assert_int_equal(insn.length, n);
	return emul_execute(&g->ctx, &insn);
}

static void start(struct guest *g, enum emul_mode mode) {
	guest_init(g, mode, memory);
	for (unsigned i = 0; i < GUEST_BYTES; i++) memory[i] = (uint8_t)(i * 7 + (i >> 8));
	for (unsigned i = 0; i < 16; i++) g->gpr[i] = 0x1000 * (i + 1);
	g->ctx.rip = 0x100;
}

// The instruction faults with this vector and error code, and has changed nothing at all.
static void expect_fault(struct guest *g, const char *hex, unsigned vector, bool has_error) {
	static uint8_t before[GUEST_BYTES];
	uint64_t gpr[16], rip = g->ctx.rip, rflags = g->ctx.rflags;

	memcpy(gpr, g->gpr, sizeof gpr);
	memcpy(before, memory, sizeof before);
	assert_int_equal(run(g, hex), EMUL_FAULT);
	assert_int_equal(g->ctx.fault.vector, vector);
	assert_int_equal(g->ctx.fault.has_error, has_error);
	assert_memory_equal(g->gpr, gpr, sizeof gpr);
	assert_memory_equal(memory, before, sizeof before);
	assert_int_equal(g->ctx.rip, rip);
	assert_int_equal(g->ctx.rflags, rflags);
}

static void execute_mmio_moves_access_once_with_their_width(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.gpr[EMUL_RCX] = 0xffffffff12345678;
	assert_int_equal(run(&g, "89 4f 20"), EMUL_DONE); // mov [rdi + 0x20], ecx
	assert_int_equal(le32(memory + 0x8020), 0x12345678);
	assert_int_equal(g.writes, 1);
	assert_int_equal(g.reads, 0);
	assert_int_equal(g.ctx.rip, 0x103);
	assert_int_equal(run(&g, "8b 57 20"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RDX], 0x12345678);
	assert_int_equal(g.reads, 1);
}

static void execute_page_fault_changes_nothing(void **state) {
	static const char *const insns[] = {
	    "89 08",       "8b 08",    "01 08", "48 87 08",    "0f b1 08", "f0 48 0f b1 08",
	    "48 0f c1 08", "0f c7 08", "8f 00", "ff 30",       "c6 00 01", "0f 94 00",
	    "d3 20",       "0f ab 08", "ff 10", "0f 44 18",    "f7 20",    "f7 38",
	    "a5",          "a4",       "f3 a4", "0f a4 08 03", "6c",       "ff 20",
	    "0f 38 f1 08", "0f c3 08",
	};
	struct guest g;
	(void)state;
	for (size_t i = 0; i < array_count(insns); i++) {
		start(&g, EMUL_64);
		g.fault_from = 0x10000;
		g.gpr[EMUL_RAX] = 0x10000; // the operand, and the strings' destination
		g.gpr[EMUL_RDI] = 0x10000;
		g.ctx.rflags = 2 | FLAG_CF | FLAG_ZF;
		expect_fault(&g, insns[i], 14, true);
		assert_int_equal(g.ports, 0);
	}
}

static void execute_push_and_call_fault_before_the_stack_moves(void **state) {
	static const char *const insns[] = {"50", "6a 05", "e8 00 00 00 00", "ff d0", "9c", "58", "c3", "9d"};
	struct guest g;
	(void)state;
	for (size_t i = 0; i < array_count(insns); i++) {
		start(&g, EMUL_64);
		g.gpr[EMUL_RSP] = 0x30000;
		expect_fault(&g, insns[i], 14, true);
	}
}

static void execute_noncanonical_address_is_gp_or_ss(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.gpr[EMUL_RAX] = UINT64_C(0x800000000000);
	expect_fault(&g, "8b 08", 13, true);
	g.gpr[EMUL_RAX] = UINT64_C(0x7fffffffffff); // the last byte is not canonical
	expect_fault(&g, "8b 08", 13, true);
	g.gpr[EMUL_RBP] = g.gpr[EMUL_RSP] = UINT64_C(0x8000000000000000);
	expect_fault(&g, "8b 4d 00", 12, true);
	expect_fault(&g, "50", 12, true);
	expect_fault(&g, "64 8b 4d 00", 13, true); // FS, though based on RBP
	g.ctx.linear_bits = 57;
	g.gpr[EMUL_RAX] = UINT64_C(0x800000000000);
	expect_fault(&g, "8b 08", 14, true); // canonical now, but not there
}

static void execute_branch_to_noncanonical_target_is_gp(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.gpr[EMUL_RBX] = UINT64_C(0x0001000000000000);
	expect_fault(&g, "ff e3", 13, true);
	expect_fault(&g, "ff d3", 13, true);
	start(&g, EMUL_32);
	g.segment[EMUL_CS].limit = 0xfff;
	g.gpr[EMUL_RBX] = 0x1000;
	expect_fault(&g, "ff e3", 13, true);
	expect_fault(&g, "e9 00 10 00 00", 13, true);
	g.gpr[EMUL_RBX] = 0xfff;
	assert_int_equal(run(&g, "ff e3"), EMUL_DONE);
	assert_int_equal(g.ctx.rip, 0xfff);
}

static void execute_segment_base_and_limit_hold_outside_64bit_mode(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	g.segment[EMUL_DS].base = 0x4000;
	g.segment[EMUL_DS].limit = 0xff;
	g.gpr[EMUL_RAX] = 0xfc;
	assert_int_equal(run(&g, "8b 08"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RCX], le32(memory + 0x40fc));
	g.gpr[EMUL_RAX] = 0xfd;
	expect_fault(&g, "8b 08", 13, true);
	g.gpr[EMUL_RAX] = 0xffffffff; // offset + size wraps
	g.segment[EMUL_DS].limit = UINT32_MAX;
	expect_fault(&g, "8b 08", 13, true);
	g.segment[EMUL_SS].limit = 0xfff;
	g.gpr[EMUL_RBP] = 0xffe;
	expect_fault(&g, "8b 4d 00", 12, true);
}

static void execute_expand_down_segment_is_valid_above_its_limit(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_16);
	g.segment[EMUL_DS].access |= 4;
	g.segment[EMUL_DS].limit = 0x7fff;
	g.gpr[EMUL_RBX] = 0x7fff;
	expect_fault(&g, "8b 0f", 13, true);
	g.gpr[EMUL_RBX] = 0x8000;
	assert_int_equal(run(&g, "8b 0f"), EMUL_DONE);
	g.gpr[EMUL_RBX] = 0xffff;
	expect_fault(&g, "8b 0f", 13, true);
}

static void execute_segment_type_is_checked_in_protected_mode_only(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	g.segment[EMUL_DS].access &= ~2u; // read-only data
	assert_int_equal(run(&g, "8b 08"), EMUL_DONE);
	expect_fault(&g, "89 08", 13, true);
	expect_fault(&g, "2e 89 08", 13, true); // code
	assert_int_equal(run(&g, "2e 8b 08"), EMUL_DONE);
	g.segment[EMUL_CS].access &= ~2u; // execute-only
	expect_fault(&g, "2e 8b 08", 13, true);
	g.segment[EMUL_GS].access |= 0x10000; // unusable
	expect_fault(&g, "65 8b 08", 13, true);
	start(&g, EMUL_REAL);
	g.gpr[EMUL_RBX] = 0x10;
	assert_int_equal(run(&g, "2e 89 0f"), EMUL_DONE);
	g.gpr[EMUL_RBX] = 0xffff;
	expect_fault(&g, "89 0f", 13, false); // no error code in real mode
	start(&g, EMUL_VM86);
	g.gpr[EMUL_RBX] = 0xffff;
	expect_fault(&g, "89 0f", 13, true);
}

static void execute_16bit_address_wraps_before_the_limit_is_checked(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_REAL);
	g.segment[EMUL_DS].base = 0x2000;
	g.gpr[EMUL_RBX] = 0xfff0;
	g.gpr[EMUL_RSI] = 0x20;
	assert_int_equal(run(&g, "8b 08"), EMUL_DONE); // mov cx, [bx + si]
	assert_int_equal(g.gpr[EMUL_RCX] & 0xffff, le16(memory + 0x2010));
}

static void execute_rep_stops_at_the_budget_and_goes_on(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.ctx.rep_budget = 10;
	g.gpr[EMUL_RCX] = 25;
	g.gpr[EMUL_RDI] = 0x4000;
	g.gpr[EMUL_RAX] = 0xabcdef0123456789;
	assert_int_equal(run(&g, "f3 48 ab"), EMUL_AGAIN);
	assert_int_equal(g.gpr[EMUL_RCX], 15);
	assert_int_equal(g.gpr[EMUL_RDI], 0x4050);
	assert_int_equal(g.ctx.rip, 0x100);
	assert_int_equal(run(&g, "f3 48 ab"), EMUL_AGAIN);
	assert_int_equal(run(&g, "f3 48 ab"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RCX], 0);
	assert_int_equal(g.ctx.rip, 0x103);
	assert_int_equal(g.writes, 25);
	assert_int_equal(le64(memory + 0x4000 + 24 * 8), 0xabcdef0123456789);
}

static void execute_rep_with_count_zero_touches_nothing(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.gpr[EMUL_RCX] = UINT64_C(0x100000000);
	assert_int_equal(run(&g, "67 f3 a4"), EMUL_DONE); // ECX is 0
	assert_int_equal(g.gpr[EMUL_RCX], UINT64_C(0x100000000));
	assert_int_equal(g.reads + g.writes, 0);
}

static void execute_rep_movs_downwards_moves_overlapping_memory(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	memcpy(memory + 0x3000, "abcdefgh", 8);
	g.gpr[EMUL_RSI] = 0x3007;
	g.gpr[EMUL_RDI] = 0x3009;
	g.gpr[EMUL_RCX] = 8;
	g.ctx.rflags |= FLAG_DF;
	assert_int_equal(run(&g, "f3 a4"), EMUL_DONE);
	assert_memory_equal(memory + 0x3002, "abcdefgh", 8);
	assert_int_equal(g.gpr[EMUL_RSI], 0x2fff);
	assert_int_equal(g.gpr[EMUL_RDI], 0x3001);
}

static void execute_rep_fault_keeps_complete_iterations(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.fault_from = 0x9004;
	g.gpr[EMUL_RCX] = 9;
	g.gpr[EMUL_RSI] = 0x2000;
	g.gpr[EMUL_RDI] = 0x9000;
	assert_int_equal(run(&g, "f3 66 a5"), EMUL_FAULT);
	assert_int_equal(g.ctx.fault.cr2, 0x9004);
	assert_int_equal(g.ctx.fault.error, 2);
	assert_int_equal(g.gpr[EMUL_RCX], 7);
	assert_int_equal(g.gpr[EMUL_RSI], 0x2004);
	assert_int_equal(g.gpr[EMUL_RDI], 0x9004);
	assert_int_equal(g.ctx.rip, 0x100);
}

static void execute_repe_cmps_fault_restores_the_flags(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.fault_from = 0x9001;
	memory[0x2000] = memory[0x9000];
	g.gpr[EMUL_RSI] = 0x2000;
	g.gpr[EMUL_RDI] = 0x9000;
	g.gpr[EMUL_RCX] = 5;
	g.ctx.rflags = 2 | FLAG_CF;
	assert_int_equal(run(&g, "f3 a6"), EMUL_FAULT);
	assert_int_equal(g.gpr[EMUL_RCX], 4);
	assert_int_equal(g.ctx.rflags, 2 | FLAG_CF);
}

static void execute_repne_scas_stops_at_the_match(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	memset(memory + 0x5000, 'x', 20);
	memory[0x500b] = 0;
	g.gpr[EMUL_RAX] = 0;
	g.gpr[EMUL_RCX] = UINT64_MAX;
	g.gpr[EMUL_RDI] = 0x5000;
	assert_int_equal(run(&g, "f2 ae"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RDI], 0x500c);
	assert_int_equal(g.gpr[EMUL_RCX], UINT64_MAX - 12);
	assert_true(g.ctx.rflags & FLAG_ZF);
}

static void execute_rep_ins_checks_memory_before_it_reads_the_port(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_REAL);
	g.segment[EMUL_ES].base = 0x1000;
	g.fault_from = 0x1106;
	g.gpr[EMUL_RDI] = 0x100;
	g.gpr[EMUL_RDX] = 0x1f0;
	g.gpr[EMUL_RCX] = 5;
	assert_int_equal(run(&g, "f3 6d"), EMUL_FAULT);
	assert_int_equal(g.ports, 3);
	assert_int_equal(g.gpr[EMUL_RCX], 2);
	assert_int_equal(g.gpr[EMUL_RDI], 0x106);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(g.port[i].port, 0x1f0);
		assert_int_equal(le16(memory + 0x1100 + 2 * i), g.port[i].value);
	}
}

static void execute_outs_uses_the_overridden_segment(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	g.segment[EMUL_GS].base = 0x6000;
	g.gpr[EMUL_RSI] = 0x20;
	g.gpr[EMUL_RDX] = 0xffff03f8;
	assert_int_equal(run(&g, "65 6e"), EMUL_DONE);
	assert_int_equal(g.port[0].port, 0x3f8);
	assert_int_equal(g.port[0].bytes, 1);
	assert_int_equal(g.port[0].value, memory[0x6020]);
}

static void execute_write_retry_is_again_and_changes_nothing(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.retries = 1;
	uint64_t flags = g.ctx.rflags;
	uint32_t old = le32(memory + 0x1000);
	assert_int_equal(run(&g, "01 08"), EMUL_AGAIN);
	assert_int_equal(g.ctx.rip, 0x100);
	assert_int_equal(g.ctx.rflags, flags);
	assert_int_equal(run(&g, "01 08"), EMUL_DONE);
	assert_int_equal(le32(memory + 0x1000), old + 0x2000);
}

static void execute_locked_update_goes_through_exchange(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	uint32_t old = le32(memory + 0x1000);
	g.exchange_stale = 1;
	assert_int_equal(run(&g, "f0 01 08"), EMUL_AGAIN);
	assert_int_equal(run(&g, "f0 01 08"), EMUL_DONE);
	assert_int_equal(le32(memory + 0x1000), old + 0x2000);
	assert_int_equal(run(&g, "87 08"), EMUL_DONE); // XCHG locks without the prefix
	assert_int_equal(g.exchanges, 3);
	assert_int_equal(g.writes, 0);
	assert_int_equal(run(&g, "f0 f7 18"), EMUL_DONE); // LOCK NEG, which unicorn gets wrong
	assert_int_equal(le32(memory + 0x1000), 0u - 0x2000u);
	assert_int_equal(g.ctx.rflags & FLAG_STATUS, FLAG_CF | FLAG_SF | FLAG_PF);
}

static void execute_cmpxchg16b_needs_alignment(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.gpr[EMUL_RSI] = 0x2008;
	expect_fault(&g, "f0 48 0f c7 0e", 13, true);
	g.gpr[EMUL_RSI] = 0x2010;
	g.gpr[EMUL_RAX] = le64(memory + 0x2010);
	g.gpr[EMUL_RDX] = le64(memory + 0x2018);
	g.gpr[EMUL_RBX] = 0x1122334455667788;
	g.gpr[EMUL_RCX] = 0x99aabbccddeeff00;
	assert_int_equal(run(&g, "f0 48 0f c7 0e"), EMUL_DONE);
	assert_true(g.ctx.rflags & FLAG_ZF);
	assert_int_equal(le64(memory + 0x2010), 0x1122334455667788);
	assert_int_equal(le64(memory + 0x2018), 0x99aabbccddeeff00);
	assert_int_equal(run(&g, "48 0f c7 0e"), EMUL_DONE);
	assert_false(g.ctx.rflags & FLAG_ZF);
	assert_int_equal(g.gpr[EMUL_RAX], 0x1122334455667788);
	assert_int_equal(g.gpr[EMUL_RDX], 0x99aabbccddeeff00);
}

static void execute_bit_offset_reaches_before_the_operand(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	memory[0x1000 - 4] = 0;
	g.gpr[EMUL_RCX] = (uint64_t)-32;
	assert_int_equal(run(&g, "48 0f ab 08"), EMUL_DONE); // bts [rax], rcx: 64-bit units
	assert_int_equal(memory[0x1000 - 4] & 1, 1);
	assert_false(g.ctx.rflags & FLAG_CF);
	assert_int_equal(run(&g, "0f a3 08"), EMUL_DONE);
	assert_true(g.ctx.rflags & FLAG_CF);
}

static void execute_pop_address_uses_the_popped_stack_pointer(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	uint64_t value = le64(memory + 0x5000);
	assert_int_equal(run(&g, "8f 44 24 08"), EMUL_DONE); // pop [rsp + 8]
	assert_int_equal(le64(memory + 0x5010), value);
	assert_int_equal(g.gpr[EMUL_RSP], 0x5008);
	value = le64(memory + 0x5008);
	assert_int_equal(run(&g, "5c"), EMUL_DONE); // pop rsp
	assert_int_equal(g.gpr[EMUL_RSP], value);
}

static void execute_stack_width_is_that_of_ss(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	g.segment[EMUL_SS].access &= ~0x4000u;
	g.gpr[EMUL_RSP] = 0x50002;
	assert_int_equal(run(&g, "66 50"), EMUL_DONE); // SP: 2 -> 0, the upper half of ESP stays
	assert_int_equal(g.gpr[EMUL_RSP], 0x50000);
	assert_int_equal(le16(memory), g.gpr[EMUL_RAX]);
	g.segment[EMUL_SS].limit = 0xfffb;
	expect_fault(&g, "ff 30", 12, true); // wraps to FFFC
}

static void execute_movbe_and_popcnt(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	assert_int_equal(run(&g, "48 0f 38 f0 08"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RCX], __builtin_bswap64(le64(memory + 0x1000)));
	g.gpr[EMUL_RCX] = 0x11223344;
	assert_int_equal(run(&g, "66 0f 38 f1 08"), EMUL_DONE);
	assert_int_equal(le16(memory + 0x1000), 0x4433);
	assert_int_equal(run(&g, "f3 0f b8 d1"), EMUL_DONE);
	assert_int_equal(g.gpr[EMUL_RDX], 10);
	assert_int_equal(g.ctx.rflags & FLAG_STATUS, 0);
}

static void execute_interrupt_flag_follows_the_privilege(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_32);
	assert_int_equal(run(&g, "fb"), EMUL_DONE);
	assert_true(g.ctx.sti_shadow);
	assert_true(g.ctx.rflags & FLAG_IF);
	assert_int_equal(run(&g, "fb"), EMUL_DONE); // IF was set already: no shadow
	assert_false(g.ctx.sti_shadow);
	g.ctx.cpl = 3;
	assert_int_equal(run(&g, "fa"), EMUL_UNHANDLED);
	memset(memory + 0x5000, 0, 8);
	assert_int_equal(run(&g, "9d"), EMUL_DONE); // POPF of 0 at CPL 3, IOPL 0: IF stays
	assert_int_equal(g.ctx.rflags, 2 | FLAG_IF);
	g.gpr[EMUL_RSP] = 0x5000;
	g.ctx.cpl = 0;
	put_le32(memory + 0x5000, UINT32_MAX);
	assert_int_equal(run(&g, "9d"), EMUL_DONE);
	assert_int_equal(g.ctx.rflags,
	                 2 | FLAG_STATUS | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_AC | FLAG_ID);
}

static void execute_clears_rf(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	g.ctx.rflags |= FLAG_RF;
	assert_int_equal(run(&g, "90"), EMUL_DONE);
	assert_false(g.ctx.rflags & FLAG_RF);
}

static void execute_unknown_instruction_is_unhandled(void **state) {
	struct guest g;
	(void)state;
	start(&g, EMUL_64);
	assert_int_equal(run(&g, "0f 28 00"), EMUL_UNHANDLED); // MOVAPS
	assert_int_equal(run(&g, "0f a2"), EMUL_UNHANDLED);    // CPUID
	assert_int_equal(run(&g, "c5 f8 77"), EMUL_UNHANDLED);
	assert_int_equal(g.ctx.rip, 0x100);
}

static void linear_gives_the_address_of_other_instructions(void **state) {
	const uint8_t invlpg[] = {0x65, 0x0f, 0x01, 0x7c, 0x88, 0x10}; // invlpg gs:[rax + rcx * 4 + 16]
	struct emul_insn insn;
	struct guest g;
	uint64_t linear;
	(void)state;
	start(&g, EMUL_64);
	g.segment[EMUL_GS].base = UINT64_C(0xffff800000000000);
	assert_int_equal(emul_decode(invlpg, sizeof invlpg, EMUL_64, &insn), 0);
	assert_int_equal(emul_linear(&g.ctx, &insn, 1, false, &linear), EMUL_DONE);
	assert_int_equal(linear, UINT64_C(0xffff800000009010));
}

#define CASE(name) cmocka_unit_test(name)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(execute_mmio_moves_access_once_with_their_width),
	    CASE(execute_page_fault_changes_nothing),
	    CASE(execute_push_and_call_fault_before_the_stack_moves),
	    CASE(execute_noncanonical_address_is_gp_or_ss),
	    CASE(execute_branch_to_noncanonical_target_is_gp),
	    CASE(execute_segment_base_and_limit_hold_outside_64bit_mode),
	    CASE(execute_expand_down_segment_is_valid_above_its_limit),
	    CASE(execute_segment_type_is_checked_in_protected_mode_only),
	    CASE(execute_16bit_address_wraps_before_the_limit_is_checked),
	    CASE(execute_rep_stops_at_the_budget_and_goes_on),
	    CASE(execute_rep_with_count_zero_touches_nothing),
	    CASE(execute_rep_movs_downwards_moves_overlapping_memory),
	    CASE(execute_rep_fault_keeps_complete_iterations),
	    CASE(execute_repe_cmps_fault_restores_the_flags),
	    CASE(execute_repne_scas_stops_at_the_match),
	    CASE(execute_rep_ins_checks_memory_before_it_reads_the_port),
	    CASE(execute_outs_uses_the_overridden_segment),
	    CASE(execute_write_retry_is_again_and_changes_nothing),
	    CASE(execute_locked_update_goes_through_exchange),
	    CASE(execute_cmpxchg16b_needs_alignment),
	    CASE(execute_bit_offset_reaches_before_the_operand),
	    CASE(execute_pop_address_uses_the_popped_stack_pointer),
	    CASE(execute_stack_width_is_that_of_ss),
	    CASE(execute_movbe_and_popcnt),
	    CASE(execute_interrupt_flag_follows_the_privilege),
	    CASE(execute_clears_rf),
	    CASE(execute_unknown_instruction_is_unhandled),
	    CASE(linear_gives_the_address_of_other_instructions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
