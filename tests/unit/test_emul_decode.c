// SPDX-License-Identifier: Apache-2.0
// The decoder against libzydis: length, fields and operands of random and of systematically built
// encodings in 16-, 32- and 64-bit mode, plus hand-written cases. BULKHEAD_EMUL_COUNT sets how many
// random encodings are tried in each mode.
#include "tests/unit/support.h"

#include <Zydis/Zydis.h>

#include "arch/x86/emul/emul.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

#define DEFAULT_COUNT 1500000u

struct subject {
	ZydisDecoder decoder;
	enum emul_mode mode;
};

static const struct {
	enum emul_mode mode;
	ZydisMachineMode machine;
	ZydisStackWidth stack;
} modes[] = {
    {EMUL_64, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
    {EMUL_32, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
    {EMUL_16, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
    {EMUL_REAL, ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16},
};

static void subject_init(struct subject *s, size_t which) {
	s->mode = modes[which].mode;
	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&s->decoder, modes[which].machine, modes[which].stack)));
	// With CET zydis drops the DS override before an indirect branch (3E is "no track" there).
	assert_true(ZYAN_SUCCESS(ZydisDecoderEnableMode(&s->decoder, ZYDIS_DECODER_MODE_CET, false)));
}

static void complain(const struct subject *s, const uint8_t *bytes, const char *what, int64_t ours,
                     int64_t theirs) {
	char text[3 * EMUL_INSN_MAX + 1];
	for (unsigned i = 0; i < EMUL_INSN_MAX; i++) snprintf(text + 3 * i, 4, "%02x ", bytes[i]);
	fail_msg("mode %d: %s: %s: ours %lld, zydis %lld", s->mode, text, what, (long long)ours,
	         (long long)theirs);
}

// Where zydis 4.0 and the manuals differ, or the manual leaves a choice. UD0, UD1 and UD2 have names but
// are undefined by definition (SDM vol. 2, UD). MVEX and VEX.0F.84 and 85 without modrm exist on Knights
// Corner only.
static bool accepted_only_by_zydis(const ZydisDecodedInstruction *z) {
	return z->mnemonic == ZYDIS_MNEMONIC_UD0 || z->mnemonic == ZYDIS_MNEMONIC_UD1 ||
	       z->mnemonic == ZYDIS_MNEMONIC_UD2 || z->meta.isa_set == ZYDIS_ISA_SET_KNCJKBR ||
	       z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX;
}

// SIB base 5 with mod 0 is "no base" whatever REX.B says (SDM vol. 2, table 2-5); zydis gives R13
// without displacement when the address size is 32 in 64-bit mode.
static bool base_differs(const struct emul_insn *insn) {
	return insn->address_bytes == 4 && (insn->rex & 1u) && (insn->modrm & 0xc7u) == 4 &&
	       (insn->sib & 7u) == 5;
}

// MOVSXD r16, r/m16 (SDM vol. 2, MOVSX/MOVSXD: 63 /r); zydis reads a doubleword.
static bool width_differs(const struct emul_insn *insn) {
	return insn->map == EMUL_MAP_1B && insn->opcode == 0x63 && insn->operand_bytes == 2;
}

static int64_t register_of(ZydisRegister reg) {
	if (reg == ZYDIS_REGISTER_NONE) return EMUL_REG_NONE;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP) return EMUL_REG_RIP;
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) return EMUL_REG_AH + (reg - ZYDIS_REGISTER_AH);
	if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B) return 4 + (reg - ZYDIS_REGISTER_SPL);
	return ZydisRegisterGetId(reg);
}

#define SAME(what, ours, theirs)                                                                             \
	do {                                                                                                     \
		int64_t ours_ = (int64_t)(ours), theirs_ = (int64_t)(theirs);                                        \
		if (ours_ != theirs_) complain(s, bytes, what, ours_, theirs_);                                      \
	} while (0)

static void compare_memory(const struct subject *s, const uint8_t *bytes, const struct emul_insn *insn,
                           const ZydisDecodedOperand *z) {
	SAME("memory", insn->has_mem, true);
	if (z->mem.type != ZYDIS_MEMOP_TYPE_AGEN) SAME("segment", insn->segment, register_of(z->mem.segment));
	if (base_differs(insn)) return;
	SAME("base", insn->base, register_of(z->mem.base));
	SAME("index", insn->index, register_of(z->mem.index));
	if (insn->index != EMUL_REG_NONE) SAME("scale", insn->scale, z->mem.scale ? z->mem.scale : 1);
	if (insn->has_modrm)
		SAME("displacement", insn->disp, z->mem.disp.value);
	else // an absolute offset: unsigned for us
		SAME("offset", insn->disp, trunc_bytes((uint64_t)z->mem.disp.value, insn->address_bytes));
}

static void compare_operand(const struct subject *s, const uint8_t *bytes, const struct emul_insn *insn,
                            const struct emul_operand *ours, const ZydisDecodedOperand *z) {
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		SAME("kind", ours->kind,
		     ZydisRegisterGetClass(z->reg.value) == ZYDIS_REGCLASS_SEGMENT ? EMUL_KIND_SEG : EMUL_KIND_REG);
		SAME("register", ours->reg, register_of(z->reg.value));
		SAME("register width", ours->bytes * 8, z->size);
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		SAME("kind", ours->kind, EMUL_KIND_MEM);
		if (z->mem.type == ZYDIS_MEMOP_TYPE_MEM && !width_differs(insn))
			SAME("memory width", ours->bytes * 8, z->size);
		if (insn->has_mem) compare_memory(s, bytes, insn, z);
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE: {
		SAME("kind", ours->kind, EMUL_KIND_IMM);
		// Zydis gives unsigned immediates truncated to their encoded width, and sign-extends others
		// beyond the operand's.
		uint64_t mask = MASK64((z->imm.is_signed ? ours->bytes * 8 : z->size) - 1, 0);
		SAME("immediate", insn->imm & mask, z->imm.value.u & mask);
		break;
	}
	default: complain(s, bytes, "operand type", ours->kind, z->type);
	}
}

// dst and src are the visible operands in order, imm the last one of three.
static void compare_operands(const struct subject *s, const uint8_t *bytes, const struct emul_insn *insn,
                             const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operand) {
	const struct emul_operand *ours[2] = {&insn->dst, &insn->src};
	unsigned first = insn->dst.kind == EMUL_KIND_NONE ? 1 : 0;

	for (unsigned i = 0; i < z->operand_count_visible; i++) {
		if (first + i < 2)
			compare_operand(s, bytes, insn, ours[first + i], &operand[i]);
		else if (operand[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
			SAME("third operand", (uint8_t)insn->imm, (uint8_t)operand[i].imm.value.u);
	}
	SAME("address size", insn->address_bytes * 8, z->address_width);
}

// One encoding, 15 bytes given. Returns its length, 0 when it is undefined.
static int compare(const struct subject *s, const uint8_t *bytes) {
	ZydisDecodedInstruction z;
	ZydisDecoderContext context;
	ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
	struct emul_insn insn;
	int error = emul_decode(bytes, EMUL_INSN_MAX, s->mode, &insn);
	ZyanStatus status = ZydisDecoderDecodeInstruction(&s->decoder, &context, bytes, EMUL_INSN_MAX, &z);

	if (!ZYAN_SUCCESS(status)) {
		if (status == ZYDIS_STATUS_NO_MORE_DATA) {
			// Zydis judges before it has read everything; so do we, elsewhere.
			if (!error) complain(s, bytes, "too long, ours accepts", insn.length, 16);
		} else if (!error && insn.op != EMUL_OP_OTHER) {
			complain(s, bytes, "undefined, ours accepts op", insn.op, status & 0xfffff);
		}
		return 0;
	}
	if (error) {
		if (accepted_only_by_zydis(&z)) return 0;
		complain(s, bytes, ZydisMnemonicGetString(z.mnemonic), error, z.length);
	}
	if (accepted_only_by_zydis(&z)) return 0;
	SAME("length", insn.length, z.length);
	if (insn.op == EMUL_OP_OTHER) return insn.length;
	assert_true(
	    ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&s->decoder, &context, &z, operand, z.operand_count)));
	compare_operands(s, bytes, &insn, &z, operand);
	return insn.length;
}

// Every shorter piece of a defined encoding asks for more.
static void check_prefixes_of(const struct subject *s, const uint8_t *bytes, int length) {
	for (int n = 0; n < length; n++) SAME("truncated", emul_length(bytes, (unsigned)n, s->mode), -ERR_TRUNC);
}

static void encoding_random(struct rng *rng, const struct subject *s, uint8_t *bytes) {
	static const uint8_t prefix[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
	uint64_t r = rng_next(rng);
	unsigned n = 0, prefixes = (r & 3) == 0 ? (unsigned)(r >> 2) & 3u : 0;

	for (unsigned i = 0; i < EMUL_INSN_MAX; i += 8) {
		uint64_t v = rng_next(rng);
		memcpy(bytes + i, &v, 8 < EMUL_INSN_MAX - i ? 8 : EMUL_INSN_MAX - i);
	}
	r >>= 8;
	for (; prefixes; prefixes--, r >>= 4) bytes[n++] = prefix[(r & 15) % sizeof prefix];
	if (s->mode == EMUL_64 && (r & 1)) bytes[n++] = (uint8_t)(0x40 | ((r >> 8) & 15));
	if ((r & 6) == 2) bytes[n++] = 0x0f;
	if ((r & 0x1e) == 2) bytes[n++] = r & 0x20 ? 0x38 : 0x3a;
}

static void decode_random_encodings_agree_with_zydis(void **state) {
	const char *text = getenv("BULKHEAD_EMUL_COUNT");
	unsigned long count = text ? strtoul(text, NULL, 0) : DEFAULT_COUNT;
	struct rng rng;

	(void)state;
	rng_init(&rng, 0x656d756c);
	for (size_t m = 0; m < array_count(modes); m++) {
		struct subject s;
		subject_init(&s, m);
		for (unsigned long i = 0; i < count; i++) {
			uint8_t bytes[16];
			encoding_random(&rng, &s, bytes);
			int length = compare(&s, bytes);
			if (length && i % 16 == 0) check_prefixes_of(&s, bytes, length);
		}
	}
}

// Every opcode of the three legacy maps with every modrm byte, under the prefixes that matter.
static void decode_every_opcode_and_modrm_agrees_with_zydis(void **state) {
	static const uint8_t lead[][3] = {{0},    {0x66}, {0x67}, {0xf0},      {0xf2},
	                                  {0xf3}, {0x48}, {0x41}, {0x66, 0xf2}};
	static const uint8_t escape[][3] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};

	(void)state;
	for (size_t m = 0; m < array_count(modes); m++) {
		struct subject s;
		subject_init(&s, m);
		for (size_t l = 0; l < array_count(lead); l++)
			for (size_t e = 0; e < array_count(escape); e++)
				for (unsigned op = 0; op < 0x10000; op++) {
					uint8_t bytes[24] = {0};
					size_t n = strlen((const char *)lead[l]), k = strlen((const char *)escape[e]);
					memcpy(bytes, lead[l], n);
					memcpy(bytes + n, escape[e], k);
					bytes[n + k] = (uint8_t)(op >> 8);
					bytes[n + k + 1] = (uint8_t)op;
					memset(bytes + n + k + 2, 0x25, 8); // SIB without base or index
					compare(&s, bytes);
				}
	}
}

static void expect(enum emul_mode mode, const char *hex, int result) {
	uint8_t bytes[32];
	unsigned n = 0, value;
	for (int used; sscanf(hex, "%2x%n", &value, &used) == 1; hex += used) bytes[n++] = (uint8_t)value;
	assert_int_equal(emul_length(bytes, n, mode), result);
}

static void decode_bad_or_long_encodings_are_refused_by_name(void **state) {
	(void)state;
	expect(EMUL_64, "", -ERR_TRUNC);
	expect(EMUL_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", 15);
	expect(EMUL_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", -ERR_RANGE);
	expect(EMUL_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66", -ERR_RANGE);
	expect(EMUL_64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66", -ERR_TRUNC);
	expect(EMUL_64, "66 66 66 66 66 66 66 66 66 66 66 8b 84 24 00 00 00 00", -ERR_RANGE);
	expect(EMUL_64, "0f 0b", -ERR_INVAL);
	expect(EMUL_64, "06", -ERR_INVAL);
	expect(EMUL_32, "06", 1);
	expect(EMUL_64, "f0 89 03", -ERR_INVAL); // LOCK MOV
	expect(EMUL_64, "f0 01 c3", -ERR_INVAL); // LOCK ADD of a register
	expect(EMUL_64, "f0 01 03", 3);          // LOCK ADD of memory
	expect(EMUL_64, "f0 38 03", -ERR_INVAL); // LOCK CMP
	expect(EMUL_64, "f0 0f c7 0b", 4);       // LOCK CMPXCHG8B
	expect(EMUL_64, "f0 48 0f c7 0b", 5);    // LOCK CMPXCHG16B
	expect(EMUL_32, "f0 0f 20 c0", 4);       // AMD: MOV EAX, CR8
	expect(EMUL_64, "8d c0", -ERR_INVAL);    // LEA of a register
	expect(EMUL_64, "0f a3", -ERR_TRUNC);
}

static void decode_vector_encodings_have_their_length(void **state) {
	(void)state;
	expect(EMUL_64, "c5 f8 77", 3);                   // VZEROUPPER
	expect(EMUL_64, "c5 fd 6f 44 24 10", 6);          // VMOVDQA
	expect(EMUL_64, "c4 e3 7d 39 c1 01", 6);          // VEXTRACTI128
	expect(EMUL_64, "62 f1 7c 48 10 44 24 01", 8);    // VMOVUPS zmm0, [rsp + 64]
	expect(EMUL_64, "8f ea 78 10 c1 01 02 03 04", 9); // BEXTR with an immediate (XOP map A)
	expect(EMUL_32, "c5 f8 77", 3);
	expect(EMUL_32, "c5 03", 2);               // LDS
	expect(EMUL_REAL, "c5 f8 77", -ERR_INVAL); // no VEX in real mode
	expect(EMUL_64, "66 c5 f8 77", -ERR_INVAL);
	expect(EMUL_64, "48 c5 f8 77", -ERR_INVAL);
	expect(EMUL_64, "0f 0f c1 9e", 4);       // 3DNow! PFADD
	expect(EMUL_64, "66 0f 78 c0 01 02", 6); // EXTRQ
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(decode_bad_or_long_encodings_are_refused_by_name),
	    cmocka_unit_test(decode_vector_encodings_have_their_length),
	    cmocka_unit_test(decode_every_opcode_and_modrm_agrees_with_zydis),
	    cmocka_unit_test(decode_random_encodings_agree_with_zydis),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
