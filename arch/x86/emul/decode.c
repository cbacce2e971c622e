// SPDX-License-Identifier: Apache-2.0
// From bytes to struct emul_insn: prefixes, opcode, modrm, sib, displacement, immediates, and then the
// operands, in the order in which they stand (SDM vol. 2, 2.1 and figure 2-1). Every byte is taken
// through a bounded cursor. The fast path is a plain one-byte opcode with modrm, as MMIO uses.
#include "arch/x86/emul/emul.h"
#include "arch/x86/emul/table.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

struct cursor {
	const uint8_t *at, *end;
	int short_error; // what running out of bytes means: fetch more, or longer than 15 bytes
};

// Takes `bytes` (1, 2, 4, 8) bytes, zero-extended.
static inline bool take(struct cursor *c, unsigned bytes, uint64_t *value) {
	if ((size_t)(c->end - c->at) < bytes) return false;
	switch (bytes) {
	case 1: *value = *c->at; break;
	case 2: *value = le16(c->at); break;
	case 4: *value = le32(c->at); break;
	default: *value = le64(c->at); break;
	}
	c->at += bytes;
	return true;
}

static inline bool take_modrm(struct cursor *c, struct emul_insn *insn) {
	if (unlikely(c->at == c->end)) return false;
	insn->modrm = *c->at++;
	insn->has_modrm = true;
	return true;
}

static inline uint64_t extend(uint64_t value, unsigned bytes) {
	switch (bytes) {
	case 1: return (uint64_t)(int64_t)(int8_t)value;
	case 2: return (uint64_t)(int64_t)(int16_t)value;
	case 4: return (uint64_t)(int64_t)(int32_t)value;
	default: return value;
	}
}

static inline unsigned modrm_mod(const struct emul_insn *insn) { return insn->modrm >> 6; }
static inline unsigned modrm_reg(const struct emul_insn *insn) { return (insn->modrm >> 3) & 7u; }
static inline unsigned modrm_rm(const struct emul_insn *insn) { return insn->modrm & 7u; }
// REX bits as the fourth register bit: W 8, R 4, X 2, B 1 (SDM vol. 2, 2.2.1.2).
static inline unsigned rex_bit(const struct emul_insn *insn, unsigned bit) {
	return (insn->rex & bit) ? 8u : 0u;
}

// One legacy prefix. Segment overrides: the last counts; in 64-bit mode those of ES, CS, SS and DS are
// ignored (SDM vol. 2, 2.1.1 and vol. 1, 3.4.4).
static void prefix_note(struct emul_insn *insn, uint8_t byte, enum emul_mode mode) {
	switch (byte) {
	case 0x66: insn->prefixes |= EMUL_PREFIX_OPSIZE; return;
	case 0x67: insn->prefixes |= EMUL_PREFIX_ADDRSIZE; return;
	case 0xf0: insn->prefixes |= EMUL_PREFIX_LOCK; return;
	case 0xf2: insn->prefixes = (uint8_t)((insn->prefixes & ~EMUL_PREFIX_REP) | EMUL_PREFIX_REPNE); return;
	case 0xf3: insn->prefixes = (uint8_t)((insn->prefixes & ~EMUL_PREFIX_REPNE) | EMUL_PREFIX_REP); return;
	case 0x64: insn->segment = EMUL_FS; break;
	case 0x65: insn->segment = EMUL_GS; break;
	default:
		if (mode == EMUL_64) return;
		insn->segment = (uint8_t)((byte >> 3) & 3u); // 26 2E 36 3E: ES CS SS DS
		break;
	}
	insn->prefixes |= EMUL_PREFIX_SEG;
}

// Prefixes and the first opcode byte, left in insn->opcode. A REX counts only directly before the
// opcode (SDM vol. 2, 2.2.1).
static inline bool decode_prefixes(struct cursor *c, enum emul_mode mode, struct emul_insn *insn) {
	while (c->at < c->end) {
		uint8_t byte = *c->at++;

		if (mode == EMUL_64 && (byte & 0xf0u) == 0x40) {
			insn->rex = byte;
			continue;
		}
		if (!(opcode_1b[byte].flags & OPCODE_PREFIX)) {
			if (insn->rex) insn->prefixes |= EMUL_PREFIX_REX;
			insn->opcode = byte;
			return true;
		}
		insn->rex = 0;
		prefix_note(insn, byte, mode);
	}
	return false;
}

// VEX, EVEX and XOP: the payload bytes give map and register bits; nothing of the instruction beyond
// its length and its memory operand is described. No legacy prefix but segment and address size may
// stand before them (SDM vol. 2, 2.3.2 to 2.3.4 and 2.7).
static int decode_vector(struct cursor *c, struct emul_insn *insn, struct opcode *entry) {
	const uint8_t banned = EMUL_PREFIX_OPSIZE | EMUL_PREFIX_LOCK | EMUL_PREFIX_REP | EMUL_PREFIX_REPNE;
	uint8_t lead = insn->opcode;
	unsigned payload = lead == 0xc5 ? 1 : lead == 0x62 ? 3 : 2;

	if ((insn->prefixes & banned) || insn->rex) return -ERR_INVAL;
	if ((size_t)(c->end - c->at) < payload + 1u) return c->short_error;
	const uint8_t *p = c->at;
	uint8_t inverted = (uint8_t)~p[0];
	c->at += payload;
	insn->opcode = *c->at++;
	insn->vex_map = lead == 0xc5 ? 1 : lead == 0x62 ? p[0] & 7u : p[0] & 31u;
	if (lead == 0xc5)
		insn->rex = (uint8_t)(0x40 | ((inverted >> 5) & 4u));
	else
		insn->rex = (uint8_t)(0x40 | ((inverted >> 5) & 7u) | ((p[1] >> 4) & 8u));

	bool imm8_in_map1 = (insn->opcode >= 0x70 && insn->opcode <= 0x73) || insn->opcode == 0xc2 ||
	                    (insn->opcode >= 0xc4 && insn->opcode <= 0xc6);
	*entry = (struct opcode){EMUL_OP_OTHER, FORM_NONE, OPCODE_MODRM};
	if (lead == 0x8f) {
		insn->map = EMUL_MAP_XOP;
		if (insn->vex_map > 10) return -ERR_INVAL;
		if (insn->vex_map == 8) entry->flags |= OPCODE_IMM_U8;
		if (insn->vex_map == 10) entry->flags |= OPCODE_IMM_D;
		return 0;
	}
	insn->map = lead == 0x62 ? EMUL_MAP_EVEX : EMUL_MAP_VEX;
	// EVEX: P0 bit 3 is 0, P1 bit 2 is 1, and the maps are 1-3, 5 and 6 (SDM vol. 2, table 2-30).
	if (lead == 0x62 && ((p[0] & 8u) || !(p[1] & 4u) || insn->vex_map == 4 || insn->vex_map == 7))
		return -ERR_INVAL;
	if (insn->vex_map == 0 || (lead != 0x62 && insn->vex_map > 3)) return -ERR_INVAL;
	if (insn->vex_map == 3 || (insn->vex_map == 1 && imm8_in_map1)) entry->flags |= OPCODE_IMM_U8;
	if (lead != 0x62 && insn->vex_map == 1 && insn->opcode == 0x77) entry->flags = 0; // VZEROUPPER, VZEROALL
	return 0;
}

// C4, C5, 62 and 8F start a vector instruction when the byte after them says so: always for the first
// three in 64-bit mode; outside it where LDS, LES and BOUND would have a register operand; 8F where
// POP would have a wrong modrm.reg (AMD APM vol. 3, 1.2.7 XOP). Not in real and virtual-8086 mode.
static bool is_vector(const struct cursor *c, uint8_t opcode, enum emul_mode mode) {
	if (opcode == 0x8f) return mode >= EMUL_16 && (c->at[0] & 0x1fu) >= 8;
	return mode == EMUL_64 || (mode >= EMUL_16 && c->at[0] >= 0xc0);
}

// 0F38: MOVBE and CRC32 at F0 and F1, all others only have a length.
static void entry_0f38(const struct emul_insn *insn, struct opcode *entry) {
	entry->flags = OPCODE_MODRM;
	if ((insn->opcode & 0xfeu) != 0xf0 || (insn->prefixes & (EMUL_PREFIX_REPNE | EMUL_PREFIX_REP))) return;
	entry->op = EMUL_OP_MOVBE;
	entry->form = insn->opcode == 0xf0 ? FORM_G_E : FORM_E_G;
	entry->flags |= OPCODE_MEMORY;
}

// The table entry of the opcode, after all escapes.
static int decode_opcode(struct cursor *c, enum emul_mode mode, struct emul_insn *insn,
                         struct opcode *entry) {
	uint8_t byte = insn->opcode;

	*entry = opcode_1b[byte];
	if (!(entry->flags & OPCODE_ESCAPE)) return 0;
	if (c->at == c->end) return c->short_error;
	if (byte != 0x0f) return is_vector(c, byte, mode) ? decode_vector(c, insn, entry) : 0;
	*entry = (struct opcode){0};
	insn->opcode = byte = *c->at++;
	insn->map = EMUL_MAP_0F;
	switch (byte) {
	case 0x0f: // 3DNow!: the opcode follows where an immediate would
		insn->map = EMUL_MAP_3DNOW;
		entry->flags = OPCODE_MODRM | OPCODE_IMM_U8;
		return 0;
	case 0x38:
	case 0x3a:
		if (c->at == c->end) return c->short_error;
		insn->opcode = *c->at++;
		insn->map = byte == 0x38 ? EMUL_MAP_0F38 : EMUL_MAP_0F3A;
		if (byte == 0x38)
			entry_0f38(insn, entry);
		else
			entry->flags = OPCODE_MODRM | OPCODE_IMM_U8;
		return 0;
	default: *entry = opcode_0f[byte]; return 0;
	}
}

// The few opcodes that a table row cannot describe. Returns with *entry final.
static void decode_special(struct emul_insn *insn, enum emul_mode mode, struct opcode *entry) {
	const struct opcode other = {EMUL_OP_OTHER, FORM_NONE, OPCODE_MODRM};
	const uint8_t repeat = insn->prefixes & (EMUL_PREFIX_REP | EMUL_PREFIX_REPNE);

	if (insn->map == EMUL_MAP_1B) {
		switch (insn->opcode) {
		case 0x63: // ARPL (protected mode only)
			if (mode != EMUL_64) *entry = other;
			return;
		case 0x8c:
		case 0x8e: // six segment registers; CS is never a destination
			if (modrm_reg(insn) > EMUL_GS || (insn->opcode == 0x8e && modrm_reg(insn) == EMUL_CS))
				entry->flags |= OPCODE_BAD;
			return;
		case 0x90: // XCHG of the accumulator with itself, unless REX.B
			if (!(insn->rex & 1u)) *entry = (struct opcode){EMUL_OP_NOP, FORM_NONE, 0};
			return;
		default: // C6, C7: XABORT and XBEGIN are modrm F8
			if (modrm_reg(insn) == 7 && insn->modrm != 0xf8) entry->flags |= OPCODE_BAD;
			return;
		}
	}
	switch (insn->opcode) {
	case 0x78: // AMD: EXTRQ (66), INSERTQ (F2) with two immediate bytes; else VMREAD
		if ((insn->prefixes & EMUL_PREFIX_OPSIZE) || (repeat & EMUL_PREFIX_REPNE))
			entry->flags |= OPCODE_IMM_8_8;
		return;
	case 0xb8:
		if (!(repeat & EMUL_PREFIX_REP)) entry->flags |= OPCODE_BAD;
		return;
	case 0xbc:
	case 0xbd:
		if (repeat & EMUL_PREFIX_REP) entry->op = insn->opcode == 0xbc ? EMUL_OP_TZCNT : EMUL_OP_LZCNT;
		return;
	case 0xc3: // MOVNTI takes no mandatory prefix
		if (repeat || (insn->prefixes & EMUL_PREFIX_OPSIZE)) entry->flags |= OPCODE_BAD;
		return;
	default: // group 9: CMPXCHG8B and the XRSTORS family take memory, RDRAND and RDSEED a register
		if (insn->modrm >= 0xc0 && modrm_reg(insn) < 6) entry->flags |= OPCODE_BAD;
		return;
	}
}

// Operand size (SDM vol. 1, table 3-4 and vol. 2, 2.2.1.7).
static inline uint8_t operand_size(const struct emul_insn *insn, enum emul_mode mode, unsigned flags) {
	bool toggled = insn->prefixes & EMUL_PREFIX_OPSIZE;

	if (mode == EMUL_64) {
		if ((insn->rex & 8u) || (flags & OPCODE_F64)) return 8;
		if (toggled) return 2;
		return flags & OPCODE_D64 ? 8 : 4;
	}
	return (mode == EMUL_32) != toggled ? 4 : 2;
}

static inline uint8_t address_size(const struct emul_insn *insn, enum emul_mode mode) {
	bool toggled = insn->prefixes & EMUL_PREFIX_ADDRSIZE;

	if (mode == EMUL_64) return toggled ? 4 : 8;
	return (mode == EMUL_32) != toggled ? 4 : 2;
}

// 16-bit addressing (SDM vol. 2, table 2-1). Returns the displacement's bytes.
static unsigned address_16(struct emul_insn *insn) {
	static const uint8_t base[8] = {EMUL_RBX, EMUL_RBX, EMUL_RBP, EMUL_RBP,
	                                EMUL_RSI, EMUL_RDI, EMUL_RBP, EMUL_RBX};
	static const uint8_t index[8] = {EMUL_RSI,      EMUL_RDI,      EMUL_RSI,      EMUL_RDI,
	                                 EMUL_REG_NONE, EMUL_REG_NONE, EMUL_REG_NONE, EMUL_REG_NONE};
	unsigned mod = modrm_mod(insn), rm = modrm_rm(insn);

	if (mod == 0 && rm == 6) return 2;
	insn->base = base[rm];
	insn->index = index[rm];
	return mod;
}

// 32- and 64-bit addressing (SDM vol. 2, tables 2-2 and 2-3, 2.2.1.6 for RIP-relative). Returns the
// displacement's bytes, or -1 when the SIB byte is missing.
static inline int address_32_64(struct cursor *c, enum emul_mode mode, struct emul_insn *insn) {
	unsigned mod = modrm_mod(insn), rm = modrm_rm(insn);

	if (rm == 4) {
		if (c->at == c->end) return -1;
		insn->sib = *c->at++;
		unsigned index = ((insn->sib >> 3) & 7u) | rex_bit(insn, 2);
		if (index != EMUL_RSP) {
			insn->index = (uint8_t)index;
			insn->scale = (uint8_t)(1u << (insn->sib >> 6));
		}
		rm = insn->sib & 7u;
		if (mod == 0 && rm == 5) return 4;
	} else if (mod == 0 && rm == 5) {
		if (mode == EMUL_64) insn->base = EMUL_REG_RIP;
		return 4;
	}
	insn->base = (uint8_t)(rm | rex_bit(insn, 1));
	return mod == 2 ? 4 : (int)mod;
}

static inline int decode_memory(struct cursor *c, enum emul_mode mode, struct emul_insn *insn) {
	int disp_bytes = insn->address_bytes == 2 ? (int)address_16(insn) : address_32_64(c, mode, insn);
	uint64_t disp = 0;

	if (disp_bytes < 0 || (disp_bytes && !take(c, (unsigned)disp_bytes, &disp))) return c->short_error;
	insn->disp = (int64_t)extend(disp, (unsigned)disp_bytes);
	insn->has_mem = true;
	if (insn->segment == EMUL_SEG_NONE)
		insn->segment = insn->base == EMUL_RSP || insn->base == EMUL_RBP ? EMUL_SS : EMUL_DS;
	return 0;
}

static int decode_imm(struct cursor *c, unsigned flags, struct emul_insn *insn) {
	unsigned kind = flags & OPCODE_IMM_MASK;
	unsigned z = insn->operand_bytes == 2 ? 2 : 4;
	unsigned bytes = 1, second = 0;
	bool sign = false;
	uint64_t value, value2 = 0;

	if (kind == OPCODE_IMM_BZ) kind = flags & OPCODE_BYTE ? OPCODE_IMM_S8 : OPCODE_IMM_Z;
	switch (kind) {
	case OPCODE_IMM_S8: sign = true; break;
	case OPCODE_IMM_U8: break;
	case OPCODE_IMM_U16: bytes = 2; break;
	case OPCODE_IMM_Z: bytes = z, sign = true; break;
	case OPCODE_IMM_V: bytes = flags & OPCODE_BYTE ? 1 : insn->operand_bytes; break;
	case OPCODE_IMM_FAR: bytes = z, second = 2; break;
	case OPCODE_IMM_ENTER: bytes = 2, second = 1; break;
	case OPCODE_IMM_MOFFS: bytes = insn->address_bytes; break;
	case OPCODE_IMM_8_8: second = 1; break;
	default: bytes = 4; break;
	}
	if (!take(c, bytes, &value)) return c->short_error;
	if (second && !take(c, second, &value2)) return c->short_error;
	insn->imm2 = (uint16_t)value2;
	if (kind == OPCODE_IMM_MOFFS) {
		insn->disp = (int64_t)value;
		insn->has_mem = true;
		if (insn->segment == EMUL_SEG_NONE) insn->segment = EMUL_DS;
		return 0;
	}
	if (insn->map == EMUL_MAP_3DNOW) insn->opcode = (uint8_t)value;
	insn->imm = sign ? extend(value, bytes) : value;
	return 0;
}

static inline struct emul_operand operand(unsigned kind, unsigned reg, unsigned bytes) {
	return (struct emul_operand){(uint8_t)kind, (uint8_t)reg, (uint8_t)bytes};
}

// A general register; without REX the byte registers 4-7 are AH, CH, DH, BH (SDM vol. 2, 2.2.1.2).
static inline struct emul_operand operand_reg(const struct emul_insn *insn, unsigned reg, unsigned bytes) {
	if (bytes == 1 && reg >= 4 && reg < 8 && !insn->rex) reg += EMUL_REG_AH - 4u;
	return operand(EMUL_KIND_REG, reg, bytes);
}

static inline struct emul_operand operand_rm(const struct emul_insn *insn, unsigned bytes) {
	if (insn->has_mem) return operand(EMUL_KIND_MEM, 0, bytes);
	return operand_reg(insn, modrm_rm(insn) | rex_bit(insn, 1), bytes);
}

static inline struct emul_operand operand_g(const struct emul_insn *insn, unsigned bytes) {
	return operand_reg(insn, modrm_reg(insn) | rex_bit(insn, 4), bytes);
}

static inline struct emul_operand operand_z(const struct emul_insn *insn, unsigned bytes) {
	return operand_reg(insn, (insn->opcode & 7u) | rex_bit(insn, 1), bytes);
}

static void decode_operands(struct emul_insn *insn, const struct opcode *entry) {
	unsigned bytes = entry->flags & OPCODE_BYTE ? 1 : insn->operand_bytes;
	unsigned port_bytes = bytes == 8 ? 4 : bytes; // no 64-bit ports
	const struct emul_operand mem = operand(EMUL_KIND_MEM, 0, bytes), imm = operand(EMUL_KIND_IMM, 0, bytes);
	const struct emul_operand port_mem = operand(EMUL_KIND_MEM, 0, port_bytes);
	const struct emul_operand port_a = operand(EMUL_KIND_REG, EMUL_RAX, port_bytes);
	const struct emul_operand a = operand(EMUL_KIND_REG, EMUL_RAX, bytes);
	const struct emul_operand dx = operand(EMUL_KIND_REG, EMUL_RDX, 2), imm8 = operand(EMUL_KIND_IMM, 0, 1);

#define OPERANDS(d, s) insn->dst = (d), insn->src = (s)
	switch (entry->form) {
	case FORM_E: insn->dst = operand_rm(insn, bytes); break;
	case FORM_E_PAIR: insn->dst = operand_rm(insn, bytes == 8 ? 16 : 8); break;
	case FORM_E_G: OPERANDS(operand_rm(insn, bytes), operand_g(insn, bytes)); break;
	case FORM_E_G32:
		OPERANDS(operand_rm(insn, bytes < 4 ? 4 : bytes), operand_g(insn, bytes < 4 ? 4 : bytes));
		break;
	case FORM_G_M:
	case FORM_G_E: OPERANDS(operand_g(insn, bytes), operand_rm(insn, bytes)); break;
	case FORM_G_E8: OPERANDS(operand_g(insn, bytes), operand_rm(insn, 1)); break;
	case FORM_G_E16: OPERANDS(operand_g(insn, bytes), operand_rm(insn, 2)); break;
	case FORM_G_E32: OPERANDS(operand_g(insn, bytes), operand_rm(insn, bytes == 2 ? 2 : 4)); break;
	case FORM_E_I: OPERANDS(operand_rm(insn, bytes), imm); break;
	case FORM_E_1: OPERANDS(operand_rm(insn, bytes), imm8), insn->imm = 1; break;
	case FORM_E_CL: OPERANDS(operand_rm(insn, bytes), operand(EMUL_KIND_REG, EMUL_RCX, 1)); break;
	case FORM_E_S: // to memory always a word (SDM vol. 2, MOV)
		OPERANDS(operand_rm(insn, insn->has_mem ? 2 : bytes), operand(EMUL_KIND_SEG, modrm_reg(insn), 2));
		break;
	case FORM_A_I: // IN from an immediate port is the same shape
		OPERANDS(insn->op == EMUL_OP_IN ? port_a : a, insn->op == EMUL_OP_IN ? imm8 : imm);
		break;
	case FORM_A_O: OPERANDS(a, mem); break;
	case FORM_O_A: OPERANDS(mem, a); break;
	case FORM_Z: insn->dst = operand_z(insn, bytes); break;
	case FORM_Z_A: OPERANDS(operand_z(insn, bytes), a); break;
	case FORM_Z_I: OPERANDS(operand_z(insn, bytes), imm); break;
	case FORM_I: insn->src = imm; break;
	case FORM_A_DX: OPERANDS(port_a, dx); break;
	case FORM_DX_A: OPERANDS(dx, port_a); break;
	case FORM_I_A: OPERANDS(imm8, port_a); break;
	case FORM_DI_SI: OPERANDS(mem, mem); break;
	case FORM_DI_A: OPERANDS(mem, a); break;
	case FORM_A_SI: OPERANDS(a, mem); break;
	case FORM_DI_DX: OPERANDS(port_mem, dx); break;
	case FORM_DX_SI: OPERANDS(dx, port_mem); break;
	default: break;
	}
#undef OPERANDS
}

// LOCK needs a memory destination (SDM vol. 2, LOCK). On AMD, LOCK MOV CR0 is MOV CR8 outside 64-bit
// mode (APM vol. 3, MOV CRn): when such an instruction is intercepted, the hardware has accepted it.
static bool lock_is_legal(const struct emul_insn *insn, const struct opcode *entry) {
	if (entry->flags & OPCODE_REGRM) return (insn->opcode & 1u) == 0;
	return (entry->flags & OPCODE_LOCK) && insn->has_mem;
}

// Makes the opcode's row exact: escapes, groups, and what modrm forbids. Takes the modrm byte.
static int decode_closer(struct cursor *c, enum emul_mode mode, struct emul_insn *insn,
                         struct opcode *entry) {
	int error = decode_opcode(c, mode, insn, entry);

	if (error) return error;
	if (entry->flags & OPCODE_BAD) return -ERR_INVAL;
	if (mode == EMUL_64 && (entry->flags & OPCODE_NO64)) return -ERR_INVAL;
	if (entry->flags & OPCODE_MODRM) {
		if (!take_modrm(c, insn)) return c->short_error;
		if (entry->flags & OPCODE_GROUP) {
			const struct opcode *member = &opcode_group[entry->op][modrm_reg(insn)];
			entry->op = member->op;
			if (member->form != FORM_NONE) entry->form = member->form;
			entry->flags |= member->flags;
		}
	}
	if (entry->flags & OPCODE_SPECIAL) decode_special(insn, mode, entry);
	if ((entry->flags & OPCODE_MEMORY) && insn->modrm >= 0xc0) entry->flags |= OPCODE_BAD;
	return entry->flags & OPCODE_BAD ? -ERR_INVAL : 0;
}

// The row of most opcodes stands as it is.
static inline int decode_entry(struct cursor *c, enum emul_mode mode, struct emul_insn *insn,
                               struct opcode *entry) {
	*entry = opcode_1b[insn->opcode];
	if (unlikely(entry->flags & OPCODE_CLOSER)) return decode_closer(c, mode, insn, entry);
	if ((entry->flags & OPCODE_MODRM) && !take_modrm(c, insn)) return c->short_error;
	return 0;
}

int emul_decode(const uint8_t *bytes, unsigned len, enum emul_mode mode, struct emul_insn *out) {
	struct cursor c = {bytes, bytes + (len < EMUL_INSN_MAX ? len : EMUL_INSN_MAX),
	                   len < EMUL_INSN_MAX ? -ERR_TRUNC : -ERR_RANGE};
	struct opcode entry = {0};
	int error;

	*out = (struct emul_insn){
	    .segment = EMUL_SEG_NONE, .base = EMUL_REG_NONE, .index = EMUL_REG_NONE, .scale = 1};
	if (unlikely(!decode_prefixes(&c, mode, out))) return c.short_error;
	error = decode_entry(&c, mode, out, &entry);
	if (unlikely(error)) return error;

	out->op = entry.op;
	out->operand_bytes = operand_size(out, mode, entry.flags);
	out->address_bytes = address_size(out, mode);
	if (out->has_modrm && out->modrm < 0xc0 && !(entry.flags & OPCODE_REGRM)) {
		error = decode_memory(&c, mode, out);
		if (unlikely(error)) return error;
	}
	if (entry.flags & OPCODE_IMM_MASK) {
		error = decode_imm(&c, entry.flags, out);
		if (unlikely(error)) return error;
	}
	decode_operands(out, &entry);
	if (unlikely((out->prefixes & EMUL_PREFIX_LOCK) && !lock_is_legal(out, &entry))) return -ERR_INVAL;
	// String instructions have no modrm: rSI's segment can be overridden, rDI's cannot.
	if (out->segment == EMUL_SEG_NONE) out->segment = EMUL_DS;
	out->length = (uint8_t)(c.at - bytes);
	return 0;
}

int emul_length(const uint8_t *bytes, unsigned len, enum emul_mode mode) {
	struct emul_insn insn;
	int error = emul_decode(bytes, len, mode, &insn);

	return error ? error : insn.length;
}
