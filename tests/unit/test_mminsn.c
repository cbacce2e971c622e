// SPDX-License-Identifier: Apache-2.0
// The kernel's own guest-access instructions, run in user mode: the SIGSEGV handler does what the trap
// handler does with the fix-up table. Every form is faulted at every place where it can fault.
#define _GNU_SOURCE // REG_RIP

__asm__(".pushsection .extable,\"a\",@progbits\n\t.balign 4\n\t.globl "
        "extable_first\nextable_first:\n\t.popsection");

#define MM_INSN_NATIVE 1
#include "mm/insn.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/ucontext.h>

#include "tests/unit/support.h"

#define PAGE 4096u

struct fixup {
	int32_t from, to;
};
extern const struct fixup extable_first[], extable_last[];

static uint8_t *memory; // two pages; the third is not there
static unsigned faults;

static void on_fault(int sig, siginfo_t *info, void *context) {
	greg_t *rip = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
	(void)info;
	for (const struct fixup *f = extable_first; f < extable_last; f++) {
		if ((uint64_t)*rip != (uint64_t)(uintptr_t)&f->from + (uint64_t)(int64_t)f->from) continue;
		*rip = (greg_t)((uint64_t)(uintptr_t)&f->to + (uint64_t)(int64_t)f->to);
		faults++;
		return;
	}
	signal(sig, SIG_DFL); // not ours: fail loudly
}

static int setup(void **state) {
	(void)state;
	uint8_t *m = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED || mprotect(m + 2 * PAGE, PAGE, PROT_NONE) != 0) return -1;
	memory = m;
	return 0;
}

// In every test: cmocka puts its own handler in place before each.
static void fixups_on(void) {
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
	assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
}

#define CHECK_WIDTH(bits)                                                                                    \
	do {                                                                                                     \
		uint##bits##_t value = 0, wanted = (uint##bits##_t)UINT64_C(0x8877665544332211);                     \
		uintptr_t last = (uintptr_t)memory + 2 * PAGE - bits / 8;                                            \
		faults = 0;                                                                                          \
		assert_int_equal(mm_store##bits(last, wanted), 0);                                                   \
		assert_int_equal(mm_load##bits(last, &value), 0);                                                    \
		assert_int_equal(value, wanted);                                                                     \
		assert_int_equal(faults, 0);                                                                         \
		assert_int_equal(mm_load##bits(last + 1, &value), -ERR_FAULT);                                       \
		assert_int_equal(value, 0);                                                                          \
		assert_int_equal(mm_store##bits(last + 1, wanted), -ERR_FAULT);                                      \
		assert_int_equal(faults, 2);                                                                         \
	} while (0)

static void mm_load_store_fault_is_an_error(void **state) {
	(void)state;
	fixups_on();
	CHECK_WIDTH(8);
	CHECK_WIDTH(16);
	CHECK_WIDTH(32);
	CHECK_WIDTH(64);
}

static void mm_cmpxchg_swaps_or_faults(void **state) {
	(void)state;
	fixups_on();
	uintptr_t at = (uintptr_t)memory + 64;
	uint64_t expected = 1;
	uint32_t expected32 = 9;
	assert_int_equal(mm_store64(at, 5), 0);
	assert_int_equal(mm_cmpxchg64(at, &expected, 9), 0);
	assert_int_equal(expected, 5);
	assert_int_equal(mm_cmpxchg64(at, &expected, 9), 0);
	assert_int_equal(mm_load64(at, &expected), 0);
	assert_int_equal(expected, 9);
	assert_int_equal(mm_cmpxchg32(at, &expected32, 7), 0);
	assert_int_equal(expected32, 9);
	assert_int_equal(mprotect(memory, PAGE, PROT_READ), 0);
	expected = 1; // it would not even swap, and faults all the same
	assert_int_equal(mm_cmpxchg64(at, &expected, 2), -ERR_FAULT);
	assert_int_equal(mm_cmpxchg32(at, &expected32, 2), -ERR_FAULT);
	assert_int_equal(mm_store8(at, 1), -ERR_FAULT);
	assert_int_equal(mprotect(memory, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(memory[64], 7);
}

static void mm_copy_any_length_copies_a_prefix_up_to_the_fault(void **state) {
	(void)state;
	fixups_on();
	uint8_t buf[80], image[2 * PAGE];
	for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t len = 0; len <= 40; len++) {
		for (size_t room = 0; room <= 48; room++) { // bytes before the missing page
			uint8_t *at = memory + 2 * PAGE - room;
			memset(memory, 0xee, 2 * PAGE);
			int err = mm_copy((uintptr_t)at, (uintptr_t)image, len);
			assert_int_equal(err, len <= room ? 0 : -ERR_FAULT);
			size_t done = len <= room ? len : room / 8 * 8 < len / 8 * 8 ? room / 8 * 8 : room;
			assert_memory_equal(at, image, done);
			assert_int_equal(at[-1], 0xee);
			if (done < room) assert_int_equal(at[room - 1], 0xee);
			memset(buf, 0, sizeof buf);
			assert_int_equal(mm_copy((uintptr_t)buf, (uintptr_t)at, len), err);
			assert_memory_equal(buf, at, done);
			assert_int_equal(buf[len], 0);
			assert_int_equal(mm_zero((uintptr_t)at, len), err);
			for (size_t i = 0; i < done; i++) assert_int_equal(at[i], 0);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mm_load_store_fault_is_an_error),
	    cmocka_unit_test(mm_cmpxchg_swaps_or_faults),
	    cmocka_unit_test(mm_copy_any_length_copies_a_prefix_up_to_the_fault),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
