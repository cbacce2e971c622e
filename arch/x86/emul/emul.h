// SPDX-License-Identifier: Apache-2.0
// Instruction decoder and executor for what the hardware cannot finish by itself: memory-mapped I/O,
// string port I/O, instruction lengths on CPUs without next-RIP, and rarely intercepted instructions.
// Pure code: no allocation, no globals, no access to anything but the caller's structures and, through
// struct emul_ops, the guest. The decoder never reads outside the bytes it is given; any byte sequence
// and any answer of a callback are safe. Facts: Intel SDM vol. 2 (instruction formats and reference),
// vol. 1 ch. 3 (addressing), vol. 3 ch. 5 and 6 (checks, exceptions); AMD APM vol. 3.
//
// A typical MMIO exit:   emul_decode(bytes, len, mode, &insn)  ->  emul_execute(&ctx, &insn)
#pragma once

#include "kernel/lib/types.h"

#define EMUL_INSN_MAX 15u // bytes; SDM vol. 2, 2.3.11

// How the CPU reads code: emul_mode_of() derives it.
enum emul_mode {
	EMUL_REAL, // CR0.PE = 0
	EMUL_VM86, // RFLAGS.VM = 1
	EMUL_16,   // protected or compatibility mode, CS.D = 0
	EMUL_32,   // protected or compatibility mode, CS.D = 1
	EMUL_64,   // EFER.LMA = 1 and CS.L = 1
};

// Registers in x86 order: index into gpr[]. The high-byte registers exist only as byte operands of
// instructions without REX; EMUL_REG_RIP and EMUL_REG_NONE only as a base or an index.
enum emul_reg {
	EMUL_RAX,
	EMUL_RCX,
	EMUL_RDX,
	EMUL_RBX,
	EMUL_RSP,
	EMUL_RBP,
	EMUL_RSI,
	EMUL_RDI,
	EMUL_R8,
	EMUL_R9,
	EMUL_R10,
	EMUL_R11,
	EMUL_R12,
	EMUL_R13,
	EMUL_R14,
	EMUL_R15,
	EMUL_REG_AH,
	EMUL_REG_CH,
	EMUL_REG_DH,
	EMUL_REG_BH,
	EMUL_REG_RIP = 0xfe,
	EMUL_REG_NONE = 0xff,
};

// Segment registers by their machine encoding.
enum emul_seg { EMUL_ES, EMUL_CS, EMUL_SS, EMUL_DS, EMUL_FS, EMUL_GS, EMUL_SEG_NONE = 0xff };

enum emul_map {
	EMUL_MAP_1B, // one-byte opcodes
	EMUL_MAP_0F,
	EMUL_MAP_0F38,
	EMUL_MAP_0F3A,
	EMUL_MAP_3DNOW, // 0F 0F; opcode is the suffix byte
	EMUL_MAP_VEX,   // C4, C5: length and fields only; vex_map holds the map
	EMUL_MAP_EVEX,  // 62: likewise
	EMUL_MAP_XOP,   // 8F: likewise (AMD)
};

// Prefixes seen (struct emul_insn.prefixes). Of F2 and F3 only the last one counts and is reported.
#define EMUL_PREFIX_OPSIZE 0x01u   // 66
#define EMUL_PREFIX_ADDRSIZE 0x02u // 67
#define EMUL_PREFIX_LOCK 0x04u     // F0
#define EMUL_PREFIX_REPNE 0x08u    // F2
#define EMUL_PREFIX_REP 0x10u      // F3
#define EMUL_PREFIX_SEG 0x20u      // an override that has an effect (in 64-bit mode: FS, GS only)
#define EMUL_PREFIX_REX 0x40u      // a REX directly before the opcode

// What is executed. EMUL_OP_OTHER: a known encoding with a right length that emul_execute answers
// with EMUL_UNHANDLED. The owner recognises such instructions by map, opcode and modrm.
enum emul_op {
	EMUL_OP_OTHER,
	EMUL_OP_ADD,
	EMUL_OP_OR,
	EMUL_OP_ADC,
	EMUL_OP_SBB,
	EMUL_OP_AND,
	EMUL_OP_SUB,
	EMUL_OP_XOR,
	EMUL_OP_CMP,
	EMUL_OP_ROL,
	EMUL_OP_ROR,
	EMUL_OP_RCL,
	EMUL_OP_RCR,
	EMUL_OP_SHL,
	EMUL_OP_SHR,
	EMUL_OP_SAL,
	EMUL_OP_SAR,
	EMUL_OP_TEST,
	EMUL_OP_INC,
	EMUL_OP_DEC,
	EMUL_OP_NEG,
	EMUL_OP_NOT,
	EMUL_OP_SHLD,
	EMUL_OP_SHRD,
	EMUL_OP_MOV,
	EMUL_OP_MOVZX,
	EMUL_OP_MOVSX,
	EMUL_OP_MOVBE,
	EMUL_OP_MOV_FROM_SEG,
	EMUL_OP_XCHG,
	EMUL_OP_LEA,
	EMUL_OP_CMOV,
	EMUL_OP_SET,
	EMUL_OP_BSWAP,
	EMUL_OP_CMPXCHG,
	EMUL_OP_CMPXCHG8B,
	EMUL_OP_XADD,
	EMUL_OP_BT,
	EMUL_OP_BTS,
	EMUL_OP_BTR,
	EMUL_OP_BTC,
	EMUL_OP_BSF,
	EMUL_OP_BSR,
	EMUL_OP_TZCNT,
	EMUL_OP_LZCNT,
	EMUL_OP_POPCNT,
	EMUL_OP_IMUL2,
	EMUL_OP_IMUL3,
	EMUL_OP_MUL,
	EMUL_OP_IMUL,
	EMUL_OP_DIV,
	EMUL_OP_IDIV,
	EMUL_OP_PUSH,
	EMUL_OP_POP,
	EMUL_OP_PUSHF,
	EMUL_OP_POPF,
	EMUL_OP_CALL,
	EMUL_OP_CALL_REL,
	EMUL_OP_JMP,
	EMUL_OP_JMP_REL,
	EMUL_OP_JCC,
	EMUL_OP_LOOPNE,
	EMUL_OP_LOOPE,
	EMUL_OP_LOOP,
	EMUL_OP_JCXZ,
	EMUL_OP_RET,
	EMUL_OP_MOVS,
	EMUL_OP_CMPS,
	EMUL_OP_STOS,
	EMUL_OP_LODS,
	EMUL_OP_SCAS,
	EMUL_OP_INS,
	EMUL_OP_OUTS,
	EMUL_OP_IN,
	EMUL_OP_OUT,
	EMUL_OP_CONVERT_A, // CBW CWDE CDQE
	EMUL_OP_CONVERT_D, // CWD CDQ CQO
	EMUL_OP_CLC,
	EMUL_OP_STC,
	EMUL_OP_CMC,
	EMUL_OP_CLD,
	EMUL_OP_STD,
	EMUL_OP_CLI,
	EMUL_OP_STI,
	EMUL_OP_LAHF,
	EMUL_OP_SAHF,
	EMUL_OP_XLAT,
	EMUL_OP_NOP,
	EMUL_OP_COUNT,
};

enum emul_kind { EMUL_KIND_NONE, EMUL_KIND_REG, EMUL_KIND_MEM, EMUL_KIND_IMM, EMUL_KIND_SEG };

struct emul_operand {
	uint8_t kind;  // enum emul_kind
	uint8_t reg;   // enum emul_reg, or enum emul_seg for EMUL_KIND_SEG
	uint8_t bytes; // width of the access
};

// A decoded instruction. The operands dst, src (and imm as the third) are described for every op but
// EMUL_OP_OTHER; the encoding and the memory operand's address for every instruction.
struct emul_insn {
	int64_t disp;        // displacement, sign-extended; the zero-extended offset for A0..A3
	uint64_t imm;        // first immediate or branch displacement, sign-extended to 64 bits when the
	                     // instruction does so; shift counts, bit offsets, ports, RET's and ENTER's
	                     // byte counts, MOV B0..BF and far offsets are zero-extended
	uint16_t imm2;       // second immediate: ENTER's level, a far pointer's selector
	uint8_t op;          // enum emul_op
	uint8_t length;      // bytes, 1..15
	uint8_t map, opcode; // enum emul_map and the opcode byte
	uint8_t modrm, sib;  // 0 when the encoding has none
	uint8_t prefixes;    // EMUL_PREFIX_*
	uint8_t rex;         // 0x40..0x4f, 0 when none; for VEX, EVEX and XOP its R, X, B and W bits
	uint8_t vex_map;     // opcode map of a VEX, EVEX or XOP encoding
	bool has_modrm, has_mem;
	uint8_t operand_bytes; // 2, 4 or 8: the effective operand size
	uint8_t address_bytes; // 2, 4 or 8: the effective address size
	uint8_t segment;       // enum emul_seg of the memory operand, overrides applied
	uint8_t base, index;   // enum emul_reg: EMUL_REG_NONE and, for base, EMUL_REG_RIP allowed
	uint8_t scale;         // 1, 2, 4, 8
	struct emul_operand dst, src;
};

// Mode from a guest's state: CR0.PE, RFLAGS.VM, EFER.LMA & CS.L, CS.D.
static inline enum emul_mode emul_mode_of(bool protected_mode, bool vm86, bool long_code, bool cs_d) {
	if (!protected_mode) return EMUL_REAL;
	if (vm86) return EMUL_VM86;
	return long_code ? EMUL_64 : cs_d ? EMUL_32 : EMUL_16;
}

// Decodes the instruction at bytes[0..len). Returns
//   0           *out is filled;
//   -ERR_TRUNC  all bytes belong to one instruction that goes on (len < 15): fetch more, try again;
//   -ERR_INVAL  an undefined encoding, or LOCK where it is not legal: #UD;
//   -ERR_RANGE  the instruction is longer than 15 bytes: #GP(0).
// What this CPU lacks but another has is decoded, and of the instructions that have no more than a
// length here (EMUL_OP_OTHER) not every undefined variant is refused. In 64-bit mode a near branch is
// taken as Intel does, without regard to 66; AMD makes its displacement 16 bits (SDM vol. 2, JMP; APM
// vol. 3, 1.2.4).
// *out is unspecified on error.
__must_check int emul_decode(const uint8_t *bytes, unsigned len, enum emul_mode mode, struct emul_insn *out);

// Length in bytes (1..15) or the error of emul_decode.
__must_check int emul_length(const uint8_t *bytes, unsigned len, enum emul_mode mode);

// ---- Execution ---------------------------------------------------------------------------------

struct emul_ctx;

// Answer of an access callback.
enum emul_access {
	EMUL_ACCESS_OK,
	EMUL_ACCESS_FAULT, // the callback filled ctx->fault
	EMUL_ACCESS_RETRY, // not now (what the access stands on changed): the instruction is begun again
};

// Segment register, hidden part included. Access rights as in the VMCS (SDM vol. 3, 25.4.1, guest
// segment registers): type 3:0, S 4, DPL 6:5, P 7, L 13, D/B 14, G 15, unusable 16.
struct emul_segment {
	uint64_t base;
	uint32_t
	    limit; // bytes, granularity applied: the last valid offset (first invalid low end when expand-down)
	uint32_t access;
	uint16_t selector;
};

// How a value in memory is reached. Linear addresses; 1..16 bytes, little-endian; an access may cross
// a page: the callback splits it. Privilege, paging, alignment checking (#AC) and the choice between
// RAM and MMIO are the callback's.
struct emul_ops {
	// for_write: the first half of a read-modify-write; a fault is then reported as that of a write.
	enum emul_access (*read)(struct emul_ctx *ctx, uint64_t linear, void *dst, unsigned bytes,
	                         bool for_write);
	enum emul_access (*write)(struct emul_ctx *ctx, uint64_t linear, const void *src, unsigned bytes);
	// Second half of a LOCKed read-modify-write (XCHG too): writes `desired` atomically if memory still
	// holds `expected` (what read just gave), else answers EMUL_ACCESS_RETRY. 1, 2, 4, 8 or 16 bytes.
	// On MMIO it is a plain write.
	enum emul_access (*exchange)(struct emul_ctx *ctx, uint64_t linear, const void *expected,
	                             const void *desired, unsigned bytes);
	// Would a write of these bytes fault? No side effect. Asked before a port is read for INS.
	enum emul_access (*probe_write)(struct emul_ctx *ctx, uint64_t linear, unsigned bytes);
	// Ports, 1, 2 or 4 bytes; whether this guest code may (IOPL, TSS bitmap) was checked by hardware
	// before the exit, or is the callback's to check.
	enum emul_access (*port_in)(struct emul_ctx *ctx, uint16_t port, unsigned bytes, uint32_t *value);
	enum emul_access (*port_out)(struct emul_ctx *ctx, uint16_t port, unsigned bytes, uint32_t value);
	// Fills *out. Called only for what an instruction needs (64-bit mode: bases of FS and GS, no others,
	// but for MOV from a segment register).
	void (*segment)(struct emul_ctx *ctx, enum emul_seg seg, struct emul_segment *out);
};

struct emul_fault {
	uint8_t vector;
	bool has_error; // false in real mode, where no exception has an error code
	uint32_t error;
	uint64_t cr2; // for #PF
};

struct emul_ctx {
	const struct emul_ops *ops; // complete, never NULL entries
	void *owner;                // the caller's, untouched
	uint64_t *gpr;              // 16 registers in x86 order, read and written in place
	uint64_t rip;               // of the instruction; moved on by EMUL_DONE
	uint64_t rflags;
	enum emul_mode mode; // the one given to emul_decode
	uint8_t cpl;
	uint8_t linear_bits;     // 48, or 57 with CR4.LA57, for canonical checks in 64-bit mode
	uint32_t rep_budget;     // iterations of a repeated string instruction per call, at least 1
	bool sti_shadow;         // out: interrupts stay blocked for one more instruction (STI set IF)
	struct emul_fault fault; // out, with EMUL_FAULT
};

enum emul_result {
	EMUL_DONE,      // registers, rip, rflags (RF cleared) are those after the instruction
	EMUL_FAULT,     // inject ctx->fault; nothing was changed (of a repeated string instruction: the
	                // iterations before the faulting one are complete, rip is unchanged)
	EMUL_UNHANDLED, // not emulated; nothing was changed
	EMUL_AGAIN,     // call again, or enter the guest at the same rip: a repeated string instruction used
	                // up its budget, or a callback answered RETRY. The state is consistent
};

// Executes insn. TF, breakpoints and pending interrupts are looked at by the owner afterwards; a REP
// string instruction may be interrupted at every EMUL_AGAIN.
enum emul_result emul_execute(struct emul_ctx *ctx, const struct emul_insn *insn);

// The linear address of insn's memory operand for an access of `bytes` bytes, all checks of
// segmentation and canonical form made (the offset alone, unchecked, is what LEA computes): for owners
// that handle INVLPG, LGDT and the like themselves. EMUL_DONE, or EMUL_FAULT with ctx->fault filled;
// EMUL_UNHANDLED when there is no memory operand.
enum emul_result emul_linear(struct emul_ctx *ctx, const struct emul_insn *insn, unsigned bytes, bool write,
                             uint64_t *linear);
