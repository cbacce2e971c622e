// SPDX-License-Identifier: Apache-2.0
// The opcode tables of the decoder (SDM vol. 2, appendix A): what an opcode is, which operands it
// takes and what follows it in the instruction stream. Private to arch/x86/emul.
#pragma once

#include "arch/x86/emul/emul.h"

// Operands. E: the modrm r/m operand; G: the modrm reg field; Z: the opcode's low three bits; A: the
// accumulator; I: the immediate; O: a memory offset without modrm; S: a segment register.
enum opcode_form {
	FORM_NONE,
	FORM_E,
	FORM_E_PAIR, // twice the doubleword or quadword of the operand size: CMPXCHG8B, CMPXCHG16B
	FORM_E_G,
	FORM_E_G32, // at least a doubleword
	FORM_G_E,
	FORM_G_E8,  // the r/m operand is a byte,
	FORM_G_E16, // a word,
	FORM_G_E32, // at most a doubleword
	FORM_G_M,   // memory only, its address is what counts
	FORM_E_I,
	FORM_E_1,
	FORM_E_CL,
	FORM_E_S,
	FORM_A_I,
	FORM_A_O,
	FORM_O_A,
	FORM_Z,
	FORM_Z_A,
	FORM_Z_I,
	FORM_I,
	FORM_A_DX, // IN
	FORM_DX_A, // OUT
	FORM_I_A,  // OUT to an immediate port
	FORM_DI_SI,
	FORM_DI_A,
	FORM_A_SI,
	FORM_DI_DX,
	FORM_DX_SI,
};

// struct opcode.flags
#define OPCODE_MODRM 0x0001u
#define OPCODE_BYTE 0x0002u    // E, G, A and Z are bytes
#define OPCODE_LOCK 0x0004u    // LOCK is legal with a memory destination
#define OPCODE_D64 0x0008u     // 64-bit mode: operand size 64 unless 66 makes it 16
#define OPCODE_F64 0x0010u     // 64-bit mode: operand size always 64
#define OPCODE_PREFIX 0x0020u  // legacy prefix
#define OPCODE_NO64 0x0040u    // undefined in 64-bit mode
#define OPCODE_GROUP 0x0080u   // op is an enum opcode_group, chosen from by modrm.reg
#define OPCODE_MEMORY 0x0100u  // undefined with a register as r/m
#define OPCODE_BAD 0x0200u     // undefined
#define OPCODE_REGRM 0x0400u   // modrm.mod is ignored, r/m is always a register (MOV CR, DR)
#define OPCODE_SPECIAL 0x0800u // decode.c looks closer
#define OPCODE_ESCAPE 0x10000u // another map may begin here

// Rows without any of these need nothing but the row itself.
#define OPCODE_CLOSER                                                                                        \
	(OPCODE_NO64 | OPCODE_GROUP | OPCODE_MEMORY | OPCODE_BAD | OPCODE_SPECIAL | OPCODE_ESCAPE)

// What follows, in bits 15:12 of flags.
#define OPCODE_IMM_SHIFT 12u
#define OPCODE_IMM_NONE (0u << OPCODE_IMM_SHIFT)
#define OPCODE_IMM_S8 (1u << OPCODE_IMM_SHIFT)    // byte, sign-extended
#define OPCODE_IMM_U8 (2u << OPCODE_IMM_SHIFT)    // byte, zero-extended
#define OPCODE_IMM_U16 (3u << OPCODE_IMM_SHIFT)   // word, zero-extended
#define OPCODE_IMM_Z (4u << OPCODE_IMM_SHIFT)     // word or doubleword by operand size, sign-extended
#define OPCODE_IMM_BZ (5u << OPCODE_IMM_SHIFT)    // S8 for byte operands, else Z
#define OPCODE_IMM_V (6u << OPCODE_IMM_SHIFT)     // byte for byte operands, else the full operand size
#define OPCODE_IMM_FAR (7u << OPCODE_IMM_SHIFT)   // offset of operand size, selector
#define OPCODE_IMM_ENTER (8u << OPCODE_IMM_SHIFT) // word, byte
#define OPCODE_IMM_MOFFS (9u << OPCODE_IMM_SHIFT) // offset of address size
#define OPCODE_IMM_8_8 (10u << OPCODE_IMM_SHIFT)  // two bytes
#define OPCODE_IMM_D (11u << OPCODE_IMM_SHIFT)    // doubleword
#define OPCODE_IMM_MASK (15u << OPCODE_IMM_SHIFT)

enum opcode_group {
	GROUP_1,  // 80-83
	GROUP_1A, // 8F
	GROUP_2,  // C0, C1, D0-D3
	GROUP_3,  // F6, F7
	GROUP_4,  // FE
	GROUP_5,  // FF
	GROUP_6,  // 0F 00
	GROUP_8,  // 0F BA
	GROUP_9,  // 0F C7
	GROUP_11, // C6, C7
	GROUP_COUNT,
};

struct opcode {
	uint8_t op;   // enum emul_op, or enum opcode_group
	uint8_t form; // enum opcode_form
	uint32_t flags;
};

extern const struct opcode opcode_1b[256];
extern const struct opcode opcode_0f[256];
// A member adds its flags to those of the group's opcode; its form, when given, replaces that one's.
extern const struct opcode opcode_group[GROUP_COUNT][8];
