// SPDX-License-Identifier: Apache-2.0
// The few instructions mm needs: TLB maintenance, and guest memory access that survives a fault. Each
// access has an entry in the fix-up table (.extable, read by arch/x86/cpu/trap): a page fault at it
// continues behind it with an error. Hosted builds have no such faults (gmem checks the slots instead), but
// for the test of the real thing, which defines MM_INSN_NATIVE.
#pragma once

#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/lib/types.h"

#if __STDC_HOSTED__ && !defined(MM_INSN_NATIVE)

static inline void mm_invlpg(uint64_t va __unused_arg) {}
static inline void mm_cr3_load(uint64_t root __unused_arg) {}
static inline void *mm_mapped(uint64_t va __unused_arg, void *hosted) { return hosted; }

#define MM_ACCESSORS(bits)                                                                                   \
	static inline int mm_load##bits(uintptr_t from, uint##bits##_t *value) {                                 \
		memcpy(value, (const void *)from, sizeof *value);                                                    \
		return 0;                                                                                            \
	}                                                                                                        \
	static inline int mm_store##bits(uintptr_t to, uint##bits##_t value) {                                   \
		memcpy((void *)to, &value, sizeof value);                                                            \
		return 0;                                                                                            \
	}
#define MM_CMPXCHG(bits)                                                                                     \
	static inline int mm_cmpxchg##bits(uintptr_t at, uint##bits##_t *expected, uint##bits##_t desired) {     \
		uint##bits##_t now;                                                                                  \
		memcpy(&now, (const void *)at, sizeof now);                                                          \
		if (now == *expected) memcpy((void *)at, &desired, sizeof desired);                                  \
		*expected = now;                                                                                     \
		return 0;                                                                                            \
	}

static inline int mm_copy(uintptr_t to, uintptr_t from, size_t len) {
	memcpy((void *)to, (const void *)from, len);
	return 0;
}
static inline int mm_zero(uintptr_t to, size_t len) {
	memset((void *)to, 0, len);
	return 0;
}

#else

#include "arch/x86/cpu/insn.h"

static inline void mm_invlpg(uint64_t va) { invlpg((const void *)va); }
static inline void mm_cr3_load(uint64_t root) { write_cr3(root); }
// What was just mapped at va; hosted builds have no such mapping and use the memory itself.
static inline void *mm_mapped(uint64_t va, void *hosted __unused_arg) { return (void *)va; }

// `1:` is the access, `2:` where everybody goes on; the fix-up sets %[err] and joins.
#define MM_FIXUP(err_operand)                                                                                \
	"2:\n\t.pushsection .text.fixup,\"ax\",@progbits\n"                                                      \
	"3:\tmovl %[fault], %" err_operand "\n\tjmp 2b\n\t.popsection\n\t"                                       \
	".pushsection .extable,\"a\",@progbits\n\t.balign 4\n\t.long 1b - ., 3b - .\n\t.popsection\n"

#define MM_ACCESSORS(bits)                                                                                   \
	static inline int mm_load##bits(uintptr_t from, uint##bits##_t *value) {                                 \
		int err = 0;                                                                                         \
		uint##bits##_t v = 0;                                                                                \
		__asm__ volatile("1:\tmov %[mem], %[v]\n" MM_FIXUP("[err]")                                          \
		                 : [err] "+r"(err), [v] "+&r"(v)                                                     \
		                 : [mem] "m"(*(const uint##bits##_t *)from), [fault] "i"(-ERR_FAULT));               \
		*value = v;                                                                                          \
		return err;                                                                                          \
	}                                                                                                        \
	static inline int mm_store##bits(uintptr_t to, uint##bits##_t value) {                                   \
		int err = 0;                                                                                         \
		__asm__ volatile("1:\tmov %[v], %[mem]\n" MM_FIXUP("[err]")                                          \
		                 : [err] "+r"(err), [mem] "=m"(*(uint##bits##_t *)to)                                \
		                 : [v] "r"(value), [fault] "i"(-ERR_FAULT));                                         \
		return err;                                                                                          \
	}
#define MM_CMPXCHG(bits)                                                                                     \
	static inline int mm_cmpxchg##bits(uintptr_t at, uint##bits##_t *expected, uint##bits##_t desired) {     \
		int err = 0;                                                                                         \
		uint##bits##_t now = *expected;                                                                      \
		__asm__ volatile("1:\tlock cmpxchg %[d], %[mem]\n" MM_FIXUP("[err]")                                 \
		                 : [err] "+r"(err), [mem] "+m"(*(uint##bits##_t *)at), "+a"(now)                     \
		                 : [d] "r"(desired), [fault] "i"(-ERR_FAULT)                                         \
		                 : "cc", "memory");                                                                  \
		*expected = now;                                                                                     \
		return err;                                                                                          \
	}

// Ascending copy by eight bytes and a tail of single ones; a fault leaves a prefix copied.
static inline int mm_copy(uintptr_t to, uintptr_t from, size_t len) {
	int err = 0;
	size_t words = len / 8, tail = len % 8;
	__asm__ volatile("1:\trep movsq\n" MM_FIXUP("[err]")
	                 : [err] "+r"(err), "+D"(to), "+S"(from), "+c"(words)
	                 : [fault] "i"(-ERR_FAULT)
	                 : "memory");
	if (err != 0 || tail == 0) return err;
	__asm__ volatile("1:\trep movsb\n" MM_FIXUP("[err]")
	                 : [err] "+r"(err), "+D"(to), "+S"(from), "+c"(tail)
	                 : [fault] "i"(-ERR_FAULT)
	                 : "memory");
	return err;
}
static inline int mm_zero(uintptr_t to, size_t len) {
	int err = 0;
	size_t words = len / 8, tail = len % 8;
	__asm__ volatile("1:\trep stosq\n" MM_FIXUP("[err]")
	                 : [err] "+r"(err), "+D"(to), "+c"(words)
	                 : [fault] "i"(-ERR_FAULT), "a"(0)
	                 : "memory");
	if (err != 0 || tail == 0) return err;
	__asm__ volatile("1:\trep stosb\n" MM_FIXUP("[err]")
	                 : [err] "+r"(err), "+D"(to), "+c"(tail)
	                 : [fault] "i"(-ERR_FAULT), "a"(0)
	                 : "memory");
	return err;
}

#endif

// mm_loadN / mm_storeN: one access of that width; mm_cmpxchgN: locked, *expected becomes what was there.
// All return 0 or -ERR_FAULT.
MM_ACCESSORS(8)
MM_ACCESSORS(16)
MM_ACCESSORS(32)
MM_ACCESSORS(64)
MM_CMPXCHG(32)
MM_CMPXCHG(64)
