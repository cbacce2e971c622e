// SPDX-License-Identifier: Apache-2.0
// The executor against libunicorn: random emulated instructions over random registers, flags and memory
// in 64-, 32- and 16-bit mode; registers, rip, the flags that the manual defines, all memory and all
// port accesses must agree. BULKHEAD_EMUL_COUNT sets how many instructions run in each mode.
#include "tests/unit/support.h"

#include <unicorn/unicorn.h>

#include "arch/x86/emul/alu.h"
#include "tests/unit/emul_guest.h"

// Unicorn keeps memory of closed engines; that is not what these tests look for.
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

#define DEFAULT_COUNT 80000u
#define CODE_AT 0xe000u
#define CODE_END 0xe100u
#define DATA_AT 0x2000u

struct oracle {
	uc_engine *uc;
	struct guest guest;
	uint8_t *theirs; // unicorn's memory, ours is guest.mem
	unsigned ports;  // their port accesses so far, checked against ours
	bool port_differs;
	enum emul_mode mode;
	uint64_t run, skipped;
	uint32_t seen[EMUL_OP_COUNT];
};

static const int gpr64[16] = {UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
                              UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
                              UC_X86_REG_R8,  UC_X86_REG_R9,  UC_X86_REG_R10, UC_X86_REG_R11,
                              UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15};
static const int gpr32[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                             UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};
static const int segments[6] = {UC_X86_REG_ES, UC_X86_REG_CS, UC_X86_REG_SS,
                                UC_X86_REG_DS, UC_X86_REG_FS, UC_X86_REG_GS};

#define UC(call) assert_int_equal((call), UC_ERR_OK)

static uint32_t on_in(uc_engine *uc, uint32_t port, int bytes, void *data) {
	struct oracle *o = data;
	const struct guest *g = &o->guest;
	unsigned n = o->ports++;

	(void)uc;
	if (n >= g->ports || !g->port[n].in || g->port[n].port != (uint16_t)port || g->port[n].bytes != bytes)
		o->port_differs = true;
	return guest_port_value((uint16_t)port, (unsigned)bytes, n);
}

static void on_out(uc_engine *uc, uint32_t port, int bytes, uint32_t value, void *data) {
	struct oracle *o = data;
	const struct guest *g = &o->guest;
	unsigned n = o->ports++;

	(void)uc;
	if (n >= g->ports || g->port[n].in || g->port[n].port != (uint16_t)port || g->port[n].bytes != bytes ||
	    g->port[n].value != value)
		o->port_differs = true;
}

// Stops at any other instruction than the one under test, which may be entered again: a string does so
// after each iteration. (A count given to uc_emu_start would make it translate everything anew.)
static void on_code(uc_engine *uc, uint64_t address, uint32_t size, void *data) {
	(void)size;
	(void)data;
	if (address != CODE_AT) uc_emu_stop(uc);
}

static void oracle_init(struct oracle *o, enum emul_mode mode, struct rng *rng) {
	uc_hook hook;

	*o = (struct oracle){.mode = mode};
	UC(uc_open(UC_ARCH_X86,
	           mode == EMUL_64   ? UC_MODE_64
	           : mode == EMUL_32 ? UC_MODE_32
	                             : UC_MODE_16,
	           &o->uc));
	o->theirs = aligned_alloc(4096, GUEST_BYTES);
	assert_non_null(o->theirs);
	UC(uc_mem_map_ptr(o->uc, 0, GUEST_BYTES, UC_PROT_ALL, o->theirs));
	UC(uc_hook_add(o->uc, &hook, UC_HOOK_CODE, (void *)on_code, o, 1, 0));
	UC(uc_hook_add(o->uc, &hook, UC_HOOK_INSN, (void *)on_in, o, 1, 0, UC_X86_INS_IN));
	UC(uc_hook_add(o->uc, &hook, UC_HOOK_INSN, (void *)on_out, o, 1, 0, UC_X86_INS_OUT));
	guest_init(&o->guest, mode, malloc(GUEST_BYTES));
	for (unsigned i = 0; i < GUEST_BYTES; i++) o->theirs[i] = o->guest.mem[i] = (uint8_t)rng_next(rng);
	for (unsigned i = 0; mode == EMUL_REAL && i < 6; i++) {
		uint32_t selector = i == EMUL_CS ? 0 : 0x10 * i;
		o->guest.segment[i].base = selector << 4;
		o->guest.segment[i].selector = (uint16_t)selector;
		UC(uc_reg_write(o->uc, segments[i], &selector));
	}
	for (unsigned i = EMUL_FS; mode == EMUL_64 && i <= EMUL_GS; i++) {
		o->guest.segment[i].base = 0x100 * i;
		UC(uc_reg_write(o->uc, i == EMUL_FS ? UC_X86_REG_FS_BASE : UC_X86_REG_GS_BASE,
		                &o->guest.segment[i].base));
	}
}

static void oracle_close(struct oracle *o) {
	uc_close(o->uc);
	free(o->theirs);
	free(o->guest.mem);
}

// A random encoding whose displacement and immediate bytes are often small, so that addresses land in
// memory often enough.
static void encoding_random(struct rng *rng, enum emul_mode mode, uint8_t *bytes) {
	static const uint8_t prefix[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0xf3, 0x2e, 0x36, 0x64, 0x65};
	uint64_t r = rng_next(rng), tail = rng_next(rng);
	unsigned n = 0;

	memset(bytes, 0, EMUL_INSN_MAX + 1);
	for (unsigned prefixes = (r & 1) ? (unsigned)(r >> 1) & 3u : 0; prefixes; prefixes--)
		bytes[n++] = prefix[rng_below(rng, sizeof prefix)];
	r >>= 3;
	if (mode == EMUL_64 && (r & 1)) bytes[n++] = (uint8_t)(0x40 | ((r >> 1) & 15));
	r >>= 5;
	if ((r & 3) == 0) {
		bytes[n++] = 0x0f;
		if ((r & 0x3c) == 0) {
			bytes[n++] = 0x38;
			bytes[n++] = 0xf0 | (r >> 8 & 1);
		}
	}
	r >>= 9;
	bytes[n++] = (uint8_t)r;
	bytes[n++] = (uint8_t)(r >> 8);
	if (r & 0x10000) tail &= 0xff00ffff0000ffffu;
	if (r & 0x20000) tail &= 0xffff0000ffffff00u;
	memcpy(bytes + n, &tail, EMUL_INSN_MAX - n < 8 ? EMUL_INSN_MAX - n : 8);
}

static uint64_t value_random(struct rng *rng) {
	uint64_t r = rng_next(rng);

	switch (r & 7) {
	case 0: return (uint64_t)((int64_t)(r >> 8 & 0x3f) - 8);
	case 1: return UINT64_C(1) << (r >> 8 & 63);
	case 2: return UINT64_MAX << (r >> 8 & 63);
	case 3: return r >> 32;
	default: return r ^ (r << 17);
	}
}

static uint64_t address_random(struct rng *rng) {
	return DATA_AT + rng_below(rng, CODE_AT - DATA_AT - 0x2000);
}

// Random registers, with those that make up an address chosen so that it lies in memory.
static void registers_random(struct rng *rng, struct oracle *o, const struct emul_insn *insn) {
	uint64_t *gpr = o->guest.gpr;
	bool string = insn->op >= EMUL_OP_MOVS && insn->op <= EMUL_OP_OUTS;
	uint64_t keep = insn->address_bytes == 2   ? UINT64_C(0xffff)
	                : insn->address_bytes == 4 ? UINT32_MAX
	                                           : UINT64_MAX;

	for (unsigned i = 0; i < 16; i++) gpr[i] = i < 8 || o->mode == EMUL_64 ? value_random(rng) : 0;
	gpr[EMUL_RSP] = address_random(rng) & ~7u;
	if (string) {
		gpr[EMUL_RSI] = (gpr[EMUL_RSI] & ~keep) | address_random(rng);
		gpr[EMUL_RDI] = (gpr[EMUL_RDI] & ~keep) | address_random(rng);
		gpr[EMUL_RCX] = (gpr[EMUL_RCX] & ~keep) | rng_below(rng, 20);
		if (insn->address_bytes == 4 && o->mode == EMUL_64) gpr[EMUL_RCX] &= keep;
	}
	if (insn->op == EMUL_OP_XLAT) gpr[EMUL_RBX] = address_random(rng);
	if (insn->op >= EMUL_OP_BT && insn->op <= EMUL_OP_BTC && insn->has_mem && insn->src.kind == EMUL_KIND_REG)
		gpr[insn->src.reg] &= insn->src.bytes == 2 ? 0x7fff : 0x3fff;
	if (insn->index < 16) gpr[insn->index] &= 0x3ff;
	if (insn->base < 16) {
		uint64_t index = insn->index < 16 ? gpr[insn->index] * insn->scale : 0;
		gpr[insn->base] = (address_random(rng) - (uint64_t)insn->disp - index) & keep;
		if (insn->dst.bytes == 16) gpr[insn->base] &= ~UINT64_C(15);
	}
	// Division that does not overflow needs a small upper half now and then.
	if ((insn->op == EMUL_OP_DIV || insn->op == EMUL_OP_IDIV) && rng_below(rng, 2)) gpr[EMUL_RDX] &= 0xff;
	for (unsigned i = 0; o->mode != EMUL_64 && i < 8; i++) gpr[i] &= UINT32_MAX;
	o->guest.ctx.rflags = 2 | (rng_next(rng) & (FLAG_STATUS | FLAG_DF));
}

// Shifts: which flags does the manual define for this count (SDM vol. 2, SAL/SAR/SHL/SHR, RCL/..., SHLD)?
static uint64_t undefined_by_shift(const struct emul_insn *insn, unsigned count) {
	unsigned bits = 8u * insn->dst.bytes;
	bool rotate = insn->op <= EMUL_OP_RCR;

	count &= bits == 64 ? 63 : 31;
	if (count == 0) return 0;
	if (rotate) return count == 1 ? 0 : FLAG_OF;
	return FLAG_AF | (count == 1 ? 0 : FLAG_OF) | (count >= bits ? FLAG_CF : 0);
}

static uint64_t undefined_flags(const struct emul_insn *insn, uint64_t rcx) {
	unsigned count = (unsigned)(insn->src.kind == EMUL_KIND_REG ? rcx & 0xff : insn->imm);

	switch ((enum emul_op)insn->op) {
	case EMUL_OP_AND:
	case EMUL_OP_OR:
	case EMUL_OP_XOR:
	case EMUL_OP_TEST: return FLAG_AF;
	case EMUL_OP_ROL:
	case EMUL_OP_ROR:
	case EMUL_OP_RCL:
	case EMUL_OP_RCR:
	case EMUL_OP_SHL:
	case EMUL_OP_SAL:
	case EMUL_OP_SHR:
	case EMUL_OP_SAR: return undefined_by_shift(insn, count);
	case EMUL_OP_SHLD:
	case EMUL_OP_SHRD: return undefined_by_shift(insn, (unsigned)(insn->opcode & 1 ? rcx & 0xff : insn->imm));
	case EMUL_OP_MUL:
	case EMUL_OP_IMUL:
	case EMUL_OP_IMUL2:
	case EMUL_OP_IMUL3: return FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF;
	case EMUL_OP_DIV:
	case EMUL_OP_IDIV: return FLAG_STATUS;
	case EMUL_OP_BSF:
	case EMUL_OP_BSR: return FLAG_STATUS & ~FLAG_ZF;
	case EMUL_OP_BT:
	case EMUL_OP_BTS:
	case EMUL_OP_BTR:
	case EMUL_OP_BTC: return FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
	case EMUL_OP_TZCNT:
	case EMUL_OP_LZCNT: return FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF;
	default: return 0;
	}
}

// Where unicorn (QEMU's translator of that time) and the manuals differ, in any mode:
//  - F6 and F7 /1 are TEST, as CPUs have it (APM vol. 3, TEST); unicorn refuses them;
//  - RET's immediate is unsigned (SDM vol. 2, RET); unicorn sign-extends it;
//  - LOCK NEG sets the flags of NEG (SDM vol. 2, NEG); unicorn derives them from other values;
//  - of F2 and F3 one may be given (SDM vol. 2, 2.1.1); with both, unicorn does not let the last one win.
static bool unicorn_differs(const struct emul_insn *insn, bool both_repeats) {
	if (insn->op == EMUL_OP_TEST && (insn->opcode & 0xfe) == 0xf6 && (insn->modrm >> 3 & 7) == 1) return true;
	if (insn->op == EMUL_OP_RET && insn->imm > 0x7fff) return true;
	if (insn->op == EMUL_OP_NEG && (insn->prefixes & EMUL_PREFIX_LOCK)) return true;
	return both_repeats;
}

// In 64-bit mode:
//  - near branches with 66 are AMD's in unicorn, Intel's here (see emul.h);
//  - LAHF and SAHF mean AH with a REX too (SDM vol. 2, LAHF); unicorn takes SPL;
//  - REX.R does not extend an opcode in modrm.reg (SDM vol. 2, 2.2.1.2); unicorn refuses C6 and C7 then;
//  - RIP is that of the next instruction (SDM vol. 2, 2.2.1.6); unicorn forgets SHLD's immediate byte.
static bool unicorn_differs_64(const struct emul_insn *insn) {
	if ((insn->prefixes & EMUL_PREFIX_OPSIZE) && insn->op >= EMUL_OP_CALL && insn->op <= EMUL_OP_RET)
		return true;
	if (insn->rex && (insn->op == EMUL_OP_LAHF || insn->op == EMUL_OP_SAHF)) return true;
	if ((insn->rex & 4) && insn->map == EMUL_MAP_1B && (insn->opcode & 0xfe) == 0xc6) return true;
	return insn->base == EMUL_REG_RIP && (insn->op == EMUL_OP_SHLD || insn->op == EMUL_OP_SHRD);
}

// And among the prefixes: a REX that is not directly before the opcode is ignored (SDM vol. 2, 2.2.1),
// unicorn keeps it; overrides of ES, CS, SS and DS are ignored in 64-bit mode even after one of FS or GS
// (SDM vol. 1, 3.4.4), unicorn lets the last one win.
static bool comparable(enum emul_mode mode, const uint8_t *bytes, const struct emul_insn *insn) {
	bool rex = false, fs_gs = false, repne = false, rep = false;

	for (;; bytes++) {
		bool prefix = memchr("\x66\x67\xf0\xf2\xf3\x26\x2e\x36\x3e\x64\x65", *bytes, 11) != NULL;
		if (mode == EMUL_64 && (rex || (fs_gs && (*bytes & 0xe7) == 0x26)) && prefix) return false;
		if (mode == EMUL_64 && (*bytes & 0xf0) == 0x40)
			rex = true;
		else if (!prefix)
			break;
		fs_gs |= (*bytes & 0xfe) == 0x64;
		repne |= *bytes == 0xf2;
		rep |= *bytes == 0xf3;
	}
	return !unicorn_differs(insn, rep && repne) && !(mode == EMUL_64 && unicorn_differs_64(insn));
}

// What test_emul_exec.c covers: unicorn 2.0.1 has no MOVBE and POPCNT whatever CPU model it is given.
static bool never_compared(enum emul_op op) {
	return op == EMUL_OP_OTHER || op == EMUL_OP_CLI || op == EMUL_OP_STI || op == EMUL_OP_POPF ||
	       op == EMUL_OP_MOVBE || op == EMUL_OP_POPCNT;
}

// Encodings whose result the manual leaves undefined (SDM vol. 2, BSWAP, SHLD).
static bool excluded(const struct oracle *o, const struct emul_insn *insn) {
	unsigned count = (unsigned)(insn->opcode & 1 ? o->guest.gpr[EMUL_RCX] & 31 : insn->imm & 31);

	if (never_compared((enum emul_op)insn->op)) return true;
	if (insn->op == EMUL_OP_BSWAP) return insn->dst.bytes == 2;
	return (insn->op == EMUL_OP_SHLD || insn->op == EMUL_OP_SHRD) && insn->dst.bytes == 2 && count > 16;
}

static void registers_to(struct oracle *o) {
	uint64_t rflags = o->guest.ctx.rflags;

	for (unsigned i = 0; i < 16; i++) {
		if (o->mode == EMUL_64)
			uc_reg_write(o->uc, gpr64[i], &o->guest.gpr[i]);
		else if (i < 8)
			uc_reg_write(o->uc, gpr32[i], &o->guest.gpr[i]);
	}
	uc_reg_write(o->uc, UC_X86_REG_EFLAGS, &rflags);
}

static void registers_from(struct oracle *o, uint64_t *gpr, uint64_t *rip, uint64_t *rflags) {
	memset(gpr, 0, 16 * sizeof *gpr);
	*rip = *rflags = 0;
	for (unsigned i = 0; i < 16; i++) {
		if (o->mode == EMUL_64)
			uc_reg_read(o->uc, gpr64[i], &gpr[i]);
		else if (i < 8)
			uc_reg_read(o->uc, gpr32[i], &gpr[i]);
	}
	uc_reg_read(o->uc, o->mode == EMUL_64 ? UC_X86_REG_RIP : UC_X86_REG_EIP, rip);
	uc_reg_read(o->uc, UC_X86_REG_EFLAGS, rflags);
}

// BSF and BSR of 0 leave the destination undefined (SDM vol. 2, BSF). CMPXCHG writes either its
// destination or the accumulator; unicorn clears the upper half of the other one too.
static bool undefined_register(const struct oracle *o, const struct emul_insn *insn, unsigned reg) {
	bool zf = o->guest.ctx.rflags & FLAG_ZF;
	bool destination = insn->dst.kind == EMUL_KIND_REG && insn->dst.reg == reg;

	if (insn->op == EMUL_OP_BSF || insn->op == EMUL_OP_BSR) return zf && destination;
	return insn->op == EMUL_OP_CMPXCHG && insn->dst.bytes == 4 && (zf ? reg == EMUL_RAX : destination);
}

static void complain(const struct oracle *o, const uint8_t *bytes, const struct emul_insn *insn,
                     const char *what, uint64_t before, uint64_t ours, uint64_t theirs) {
	char text[3 * EMUL_INSN_MAX + 1] = "";
	for (unsigned i = 0; i < insn->length; i++) snprintf(text + 3 * i, 4, "%02x ", bytes[i]);
	fail_msg("mode %d: %s(op %d): %s: before %llx, ours %llx, unicorn %llx", o->mode, text, insn->op, what,
	         (unsigned long long)before, (unsigned long long)ours, (unsigned long long)theirs);
}

// Runs one instruction on both sides. Ours first: what faults or leaves the memory is not comparable.
static void compare(struct oracle *o, const uint8_t *bytes, const struct emul_insn *insn) {
	struct guest *g = &o->guest;
	uint64_t before[16], gpr[16], rip, rflags, flags_before = g->ctx.rflags;

	memcpy(g->mem + CODE_AT, bytes, EMUL_INSN_MAX);
	UC(uc_mem_write(o->uc, CODE_AT, bytes, EMUL_INSN_MAX));
	UC(uc_ctl_remove_cache(o->uc, CODE_AT, CODE_AT + 16));
	registers_to(o);
	memcpy(before, g->gpr, sizeof before);
	g->ports = o->ports = 0;
	o->port_differs = false;
	g->ctx.rip = CODE_AT;
	enum emul_result result = emul_execute(&g->ctx, insn);
	bool divide_error = result == EMUL_FAULT && g->ctx.fault.vector == 0;
	bool to_itself = result == EMUL_DONE && g->ctx.rip == CODE_AT;
	if ((result != EMUL_DONE && !divide_error) || to_itself || g->ctx.rip >= GUEST_BYTES - 16 ||
	    memcmp(g->mem + CODE_AT, bytes, EMUL_INSN_MAX) != 0) {
		memcpy(g->mem, o->theirs, GUEST_BYTES);
		o->skipped++;
		return;
	}
	uint64_t until = divide_error ? CODE_AT + insn->length : g->ctx.rip;
	uc_err error = uc_emu_start(o->uc, CODE_AT, until, 0, 0);
	registers_from(o, gpr, &rip, &rflags);
	o->run++;
	o->seen[insn->op]++;
	if (divide_error) {
		// Unicorn takes several #DE in a row for a triple fault and then ends without an error.
		if (rip != CODE_AT) complain(o, bytes, insn, "#DE", before[EMUL_RAX], CODE_AT, rip);
		return;
	}
	if (error != UC_ERR_OK) complain(o, bytes, insn, uc_strerror(error), 0, 0, error);
	for (unsigned i = 0; i < 16; i++)
		if (trunc_bytes(gpr[i] ^ g->gpr[i], o->mode == EMUL_64 ? 8 : 4) && !undefined_register(o, insn, i))
			complain(o, bytes, insn, "register", before[i], g->gpr[i], gpr[i]);
	if (rip != g->ctx.rip) complain(o, bytes, insn, "rip", CODE_AT, g->ctx.rip, rip);
	uint64_t differs = (rflags ^ g->ctx.rflags) & (FLAG_STATUS | FLAG_DF);
	if (differs & ~undefined_flags(insn, before[EMUL_RCX]))
		complain(o, bytes, insn, "flags", flags_before, g->ctx.rflags, rflags);
	if (o->port_differs || o->ports != g->ports) complain(o, bytes, insn, "ports", 0, g->ports, o->ports);
	if (memcmp(g->mem, o->theirs, GUEST_BYTES) != 0) complain(o, bytes, insn, "memory", 0, 0, 0);
}

static void execute_random(enum emul_mode mode, uint64_t seed) {
	const char *text = getenv("BULKHEAD_EMUL_COUNT");
	unsigned long count = text ? strtoul(text, NULL, 0) : DEFAULT_COUNT;
	struct oracle o;
	struct rng rng;
	uint8_t bytes[EMUL_INSN_MAX + 1];
	struct emul_insn insn;

	rng_init(&rng, seed);
	oracle_init(&o, mode, &rng);
	while (o.run < count) {
		encoding_random(&rng, mode, bytes);
		if (emul_decode(bytes, EMUL_INSN_MAX, mode, &insn) != 0) continue;
		registers_random(&rng, &o, &insn);
		if (!excluded(&o, &insn) && comparable(mode, bytes, &insn)) compare(&o, bytes, &insn);
	}
	assert_in_range(o.skipped, 0, 2 * o.run);
	for (unsigned op = 0; count >= DEFAULT_COUNT && op < EMUL_OP_COUNT; op++)
		if (!o.seen[op] && !never_compared((enum emul_op)op)) fail_msg("op %u never came up", op);
	oracle_close(&o);
}

static void execute_random_64bit_agrees_with_unicorn(void **state) {
	(void)state;
	execute_random(EMUL_64, 64);
}

static void execute_random_32bit_agrees_with_unicorn(void **state) {
	(void)state;
	execute_random(EMUL_32, 32);
}

static void execute_random_real_mode_agrees_with_unicorn(void **state) {
	(void)state;
	execute_random(EMUL_REAL, 16);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(execute_random_64bit_agrees_with_unicorn),
	    cmocka_unit_test(execute_random_32bit_agrees_with_unicorn),
	    cmocka_unit_test(execute_random_real_mode_agrees_with_unicorn),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
