// SPDX-License-Identifier: Apache-2.0
// The opcode maps as data, one line an opcode or a run of equal ones, in the order of SDM vol. 2,
// appendix A. Rows that only need a length carry EMUL_OP_OTHER.
#include "arch/x86/emul/table.h"

// clang-format off
#define M OPCODE_MODRM
#define B OPCODE_BYTE
#define L OPCODE_LOCK
#define OP(name, form, flags) {EMUL_OP_##name, FORM_##form, (flags)}
#define GROUP(name, form, flags) {GROUP_##name, FORM_##form, OPCODE_GROUP | M | (flags)}
#define OTHER(flags) {EMUL_OP_OTHER, FORM_NONE, (flags)}
#define IMM(kind) OPCODE_IMM_##kind
#define BAD OTHER(OPCODE_BAD)
#define PREFIX OTHER(OPCODE_PREFIX)

// The six classic encodings of an arithmetic instruction.
#define ARITH(base, name, lock) \
	[(base) + 0] = OP(name, E_G, M | B | (lock)), [(base) + 1] = OP(name, E_G, M | (lock)), \
	[(base) + 2] = OP(name, G_E, M | B), [(base) + 3] = OP(name, G_E, M), \
	[(base) + 4] = OP(name, A_I, B | IMM(S8)), [(base) + 5] = OP(name, A_I, IMM(Z))

const struct opcode opcode_1b[256] = {
	ARITH(0x00, ADD, L),
	[0x06 ... 0x07] = OTHER(OPCODE_NO64), // PUSH, POP ES
	ARITH(0x08, OR, L),
	[0x0e] = OTHER(OPCODE_NO64), // PUSH CS
	[0x0f] = OTHER(OPCODE_ESCAPE),
	ARITH(0x10, ADC, L),
	[0x16 ... 0x17] = OTHER(OPCODE_NO64), // PUSH, POP SS
	ARITH(0x18, SBB, L),
	[0x1e ... 0x1f] = OTHER(OPCODE_NO64), // PUSH, POP DS
	ARITH(0x20, AND, L),
	[0x26] = PREFIX, [0x27] = OTHER(OPCODE_NO64), // ES; DAA
	ARITH(0x28, SUB, L),
	[0x2e] = PREFIX, [0x2f] = OTHER(OPCODE_NO64), // CS; DAS
	ARITH(0x30, XOR, L),
	[0x36] = PREFIX, [0x37] = OTHER(OPCODE_NO64), // SS; AAA
	ARITH(0x38, CMP, 0),
	[0x3e] = PREFIX, [0x3f] = OTHER(OPCODE_NO64), // DS; AAS
	[0x40 ... 0x47] = OP(INC, Z, 0), // REX in 64-bit mode: the decoder takes those first
	[0x48 ... 0x4f] = OP(DEC, Z, 0),
	[0x50 ... 0x57] = OP(PUSH, Z, OPCODE_D64),
	[0x58 ... 0x5f] = OP(POP, Z, OPCODE_D64),
	[0x60 ... 0x61] = OTHER(OPCODE_NO64), // PUSHA, POPA
	[0x62] = OTHER(M | OPCODE_NO64 | OPCODE_MEMORY | OPCODE_ESCAPE), // BOUND, EVEX
	[0x63] = OP(MOVSX, G_E32, M | OPCODE_SPECIAL), // MOVSXD; ARPL outside 64-bit mode
	[0x64 ... 0x67] = PREFIX, // FS, GS, operand size, address size
	[0x68] = OP(PUSH, I, OPCODE_D64 | IMM(Z)),
	[0x69] = OP(IMUL3, G_E, M | IMM(Z)),
	[0x6a] = OP(PUSH, I, OPCODE_D64 | IMM(S8)),
	[0x6b] = OP(IMUL3, G_E, M | IMM(S8)),
	[0x6c] = OP(INS, DI_DX, B), [0x6d] = OP(INS, DI_DX, 0),
	[0x6e] = OP(OUTS, DX_SI, B), [0x6f] = OP(OUTS, DX_SI, 0),
	[0x70 ... 0x7f] = OP(JCC, I, OPCODE_F64 | IMM(S8)),
	[0x80] = GROUP(1, E_I, B | IMM(S8)), [0x81] = GROUP(1, E_I, IMM(Z)),
	[0x82] = GROUP(1, E_I, B | OPCODE_NO64 | IMM(S8)), [0x83] = GROUP(1, E_I, IMM(S8)),
	[0x84] = OP(TEST, E_G, M | B), [0x85] = OP(TEST, E_G, M),
	[0x86] = OP(XCHG, E_G, M | B | L), [0x87] = OP(XCHG, E_G, M | L),
	[0x88] = OP(MOV, E_G, M | B), [0x89] = OP(MOV, E_G, M),
	[0x8a] = OP(MOV, G_E, M | B), [0x8b] = OP(MOV, G_E, M),
	[0x8c] = OP(MOV_FROM_SEG, E_S, M | OPCODE_SPECIAL),
	[0x8d] = OP(LEA, G_M, M | OPCODE_MEMORY),
	[0x8e] = OTHER(M | OPCODE_SPECIAL), // MOV to a segment register
	[0x8f] = GROUP(1A, E, OPCODE_D64 | OPCODE_ESCAPE), // POP, XOP
	[0x90] = OP(XCHG, Z_A, OPCODE_SPECIAL), // NOP, PAUSE
	[0x91 ... 0x97] = OP(XCHG, Z_A, 0),
	[0x98] = OP(CONVERT_A, NONE, 0), [0x99] = OP(CONVERT_D, NONE, 0),
	[0x9a] = OTHER(OPCODE_NO64 | IMM(FAR)), // CALL far
	[0x9b] = OTHER(0), // FWAIT
	[0x9c] = OP(PUSHF, NONE, OPCODE_D64), [0x9d] = OP(POPF, NONE, OPCODE_D64),
	[0x9e] = OP(SAHF, NONE, 0), [0x9f] = OP(LAHF, NONE, 0),
	[0xa0] = OP(MOV, A_O, B | IMM(MOFFS)), [0xa1] = OP(MOV, A_O, IMM(MOFFS)),
	[0xa2] = OP(MOV, O_A, B | IMM(MOFFS)), [0xa3] = OP(MOV, O_A, IMM(MOFFS)),
	[0xa4] = OP(MOVS, DI_SI, B), [0xa5] = OP(MOVS, DI_SI, 0),
	[0xa6] = OP(CMPS, DI_SI, B), [0xa7] = OP(CMPS, DI_SI, 0),
	[0xa8] = OP(TEST, A_I, B | IMM(S8)), [0xa9] = OP(TEST, A_I, IMM(Z)),
	[0xaa] = OP(STOS, DI_A, B), [0xab] = OP(STOS, DI_A, 0),
	[0xac] = OP(LODS, A_SI, B), [0xad] = OP(LODS, A_SI, 0),
	[0xae] = OP(SCAS, DI_A, B), [0xaf] = OP(SCAS, DI_A, 0),
	[0xb0 ... 0xb7] = OP(MOV, Z_I, B | IMM(V)), [0xb8 ... 0xbf] = OP(MOV, Z_I, IMM(V)),
	[0xc0] = GROUP(2, E_I, B | IMM(U8)), [0xc1] = GROUP(2, E_I, IMM(U8)),
	[0xc2] = OP(RET, I, OPCODE_F64 | IMM(U16)), [0xc3] = OP(RET, NONE, OPCODE_F64),
	[0xc4 ... 0xc5] = OTHER(M | OPCODE_NO64 | OPCODE_MEMORY | OPCODE_ESCAPE), // LES, LDS, VEX
	[0xc6] = GROUP(11, E_I, B | OPCODE_SPECIAL | IMM(BZ)), [0xc7] = GROUP(11, E_I, OPCODE_SPECIAL | IMM(BZ)),
	[0xc8] = OTHER(OPCODE_D64 | IMM(ENTER)), [0xc9] = OTHER(OPCODE_D64), // LEAVE
	[0xca] = OTHER(IMM(U16)), [0xcb] = OTHER(0), // RET far
	[0xcc] = OTHER(0), [0xcd] = OTHER(IMM(U8)), [0xce] = OTHER(OPCODE_NO64), [0xcf] = OTHER(0), // INT, IRET
	[0xd0] = GROUP(2, E_1, B), [0xd1] = GROUP(2, E_1, 0),
	[0xd2] = GROUP(2, E_CL, B), [0xd3] = GROUP(2, E_CL, 0),
	[0xd4 ... 0xd5] = OTHER(OPCODE_NO64 | IMM(U8)), // AAM, AAD
	[0xd6] = OTHER(OPCODE_NO64), // SALC
	[0xd7] = OP(XLAT, NONE, B),
	[0xd8 ... 0xdf] = OTHER(M), // x87
	[0xe0] = OP(LOOPNE, I, OPCODE_F64 | IMM(S8)), [0xe1] = OP(LOOPE, I, OPCODE_F64 | IMM(S8)),
	[0xe2] = OP(LOOP, I, OPCODE_F64 | IMM(S8)), [0xe3] = OP(JCXZ, I, OPCODE_F64 | IMM(S8)),
	[0xe4] = OP(IN, A_I, B | IMM(U8)), [0xe5] = OP(IN, A_I, IMM(U8)),
	[0xe6] = OP(OUT, I_A, B | IMM(U8)), [0xe7] = OP(OUT, I_A, IMM(U8)),
	[0xe8] = OP(CALL_REL, I, OPCODE_F64 | IMM(Z)), [0xe9] = OP(JMP_REL, I, OPCODE_F64 | IMM(Z)),
	[0xea] = OTHER(OPCODE_NO64 | IMM(FAR)), // JMP far
	[0xeb] = OP(JMP_REL, I, OPCODE_F64 | IMM(S8)),
	[0xec] = OP(IN, A_DX, B), [0xed] = OP(IN, A_DX, 0),
	[0xee] = OP(OUT, DX_A, B), [0xef] = OP(OUT, DX_A, 0),
	[0xf0] = PREFIX, [0xf1] = OTHER(0), [0xf2 ... 0xf3] = PREFIX, // LOCK; INT1; REPNE, REP
	[0xf4] = OTHER(0), [0xf5] = OP(CMC, NONE, 0), // HLT
	[0xf6] = GROUP(3, E, B), [0xf7] = GROUP(3, E, 0),
	[0xf8] = OP(CLC, NONE, 0), [0xf9] = OP(STC, NONE, 0),
	[0xfa] = OP(CLI, NONE, 0), [0xfb] = OP(STI, NONE, 0),
	[0xfc] = OP(CLD, NONE, 0), [0xfd] = OP(STD, NONE, 0),
	[0xfe] = GROUP(4, E, B), [0xff] = GROUP(5, E, 0),
};

const struct opcode opcode_0f[256] = {
	[0x00] = GROUP(6, NONE, 0), // SLDT, STR, LLDT, LTR, VERR, VERW
	[0x01 ... 0x03] = OTHER(M), // group 7; LAR, LSL
	[0x04] = BAD,
	[0x05 ... 0x09] = OTHER(0), // SYSCALL, CLTS, SYSRET, INVD, WBINVD
	[0x0a ... 0x0c] = BAD, // 0B: UD2
	[0x0d] = OTHER(M), // prefetch
	[0x0e] = OTHER(0), // FEMMS; 0F 0F: 3DNow!, taken first
	[0x10 ... 0x1f] = OTHER(M), // SSE moves, hints
	[0x20 ... 0x23] = OTHER(M | OPCODE_REGRM), // MOV CR, DR
	[0x24 ... 0x27] = BAD,
	[0x28 ... 0x2f] = OTHER(M),
	[0x30 ... 0x35] = OTHER(0), // WRMSR, RDTSC, RDMSR, RDPMC, SYSENTER, SYSEXIT
	[0x36] = BAD, [0x37] = OTHER(0), // GETSEC
	[0x38 ... 0x3f] = BAD, // 38, 3A: escapes, taken first
	[0x40 ... 0x4f] = OP(CMOV, G_E, M),
	[0x50 ... 0x6f] = OTHER(M),
	[0x70 ... 0x73] = OTHER(M | IMM(U8)),
	[0x74 ... 0x76] = OTHER(M),
	[0x77] = OTHER(0), // EMMS
	[0x78] = OTHER(M | OPCODE_SPECIAL), // VMREAD, EXTRQ, INSERTQ
	[0x79] = OTHER(M), // VMWRITE
	[0x7a ... 0x7b] = BAD,
	[0x7c ... 0x7f] = OTHER(M),
	[0x80 ... 0x8f] = OP(JCC, I, OPCODE_F64 | IMM(Z)),
	[0x90 ... 0x9f] = OP(SET, E, M | B),
	[0xa0 ... 0xa1] = OTHER(OPCODE_D64), // PUSH, POP FS
	[0xa2] = OTHER(0), // CPUID
	[0xa3] = OP(BT, E_G, M),
	[0xa4] = OP(SHLD, E_G, M | IMM(U8)), [0xa5] = OP(SHLD, E_G, M),
	[0xa6 ... 0xa7] = OTHER(M), // PadLock
	[0xa8 ... 0xa9] = OTHER(OPCODE_D64), // PUSH, POP GS
	[0xaa] = OTHER(0), // RSM
	[0xab] = OP(BTS, E_G, M | L),
	[0xac] = OP(SHRD, E_G, M | IMM(U8)), [0xad] = OP(SHRD, E_G, M),
	[0xae] = OTHER(M), // group 15
	[0xaf] = OP(IMUL2, G_E, M),
	[0xb0] = OP(CMPXCHG, E_G, M | B | L), [0xb1] = OP(CMPXCHG, E_G, M | L),
	[0xb2] = OTHER(M | OPCODE_MEMORY), // LSS
	[0xb3] = OP(BTR, E_G, M | L),
	[0xb4 ... 0xb5] = OTHER(M | OPCODE_MEMORY), // LFS, LGS
	[0xb6] = OP(MOVZX, G_E8, M), [0xb7] = OP(MOVZX, G_E16, M),
	[0xb8] = OP(POPCNT, G_E, M | OPCODE_SPECIAL),
	[0xb9] = BAD, // UD1
	[0xba] = GROUP(8, E_I, IMM(U8)),
	[0xbb] = OP(BTC, E_G, M | L),
	[0xbc] = OP(BSF, G_E, M | OPCODE_SPECIAL), [0xbd] = OP(BSR, G_E, M | OPCODE_SPECIAL), // TZCNT, LZCNT
	[0xbe] = OP(MOVSX, G_E8, M), [0xbf] = OP(MOVSX, G_E16, M),
	[0xc0] = OP(XADD, E_G, M | B | L), [0xc1] = OP(XADD, E_G, M | L),
	[0xc2] = OTHER(M | IMM(U8)),
	[0xc3] = OP(MOV, E_G32, M | OPCODE_MEMORY | OPCODE_SPECIAL), // MOVNTI
	[0xc4 ... 0xc6] = OTHER(M | IMM(U8)),
	[0xc7] = GROUP(9, NONE, OPCODE_SPECIAL),
	[0xc8 ... 0xcf] = OP(BSWAP, Z, 0),
	[0xd0 ... 0xfe] = OTHER(M),
	[0xff] = BAD, // UD0
};

const struct opcode opcode_group[GROUP_COUNT][8] = {
	[GROUP_1] = {OP(ADD, NONE, L), OP(OR, NONE, L), OP(ADC, NONE, L), OP(SBB, NONE, L),
	             OP(AND, NONE, L), OP(SUB, NONE, L), OP(XOR, NONE, L), OP(CMP, NONE, 0)},
	[GROUP_1A] = {OP(POP, NONE, 0), BAD, BAD, BAD, BAD, BAD, BAD, BAD},
	[GROUP_2] = {OP(ROL, NONE, 0), OP(ROR, NONE, 0), OP(RCL, NONE, 0), OP(RCR, NONE, 0),
	             OP(SHL, NONE, 0), OP(SHR, NONE, 0), OP(SAL, NONE, 0), OP(SAR, NONE, 0)},
	[GROUP_3] = {OP(TEST, E_I, IMM(BZ)), OP(TEST, E_I, IMM(BZ)), OP(NOT, NONE, L), OP(NEG, NONE, L),
	             OP(MUL, NONE, 0), OP(IMUL, NONE, 0), OP(DIV, NONE, 0), OP(IDIV, NONE, 0)},
	[GROUP_4] = {OP(INC, NONE, L), OP(DEC, NONE, L), BAD, BAD, BAD, BAD, BAD, BAD},
	[GROUP_5] = {OP(INC, NONE, L), OP(DEC, NONE, L), OP(CALL, NONE, OPCODE_F64), OTHER(OPCODE_MEMORY),
	             OP(JMP, NONE, OPCODE_F64), OTHER(OPCODE_MEMORY), OP(PUSH, NONE, OPCODE_D64), BAD},
	[GROUP_6] = {OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0), BAD, BAD},
	[GROUP_8] = {BAD, BAD, BAD, BAD, OP(BT, NONE, 0), OP(BTS, NONE, L), OP(BTR, NONE, L), OP(BTC, NONE, L)},
	[GROUP_9] = {BAD, OP(CMPXCHG8B, E_PAIR, L), BAD, OTHER(0), OTHER(0), OTHER(0), OTHER(0), OTHER(0)},
	[GROUP_11] = {OP(MOV, NONE, 0), BAD, BAD, BAD, BAD, BAD, BAD, OTHER(0)},
};
// clang-format on
