// SPDX-License-Identifier: Apache-2.0
// The hypercall instruction: number 0 gives the version of the interface, an unknown number an error, ring 3
// is refused, and only RAX changes.
#include "kernel/abi/hypercall.h"
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/paging.h"
#include "tests/guest/lib/ring3.h"

#define CALL_UNKNOWN 0x7FFFFFFFu
#define USER_VA UINT64_C(0x40000000000)

// hypercall.asm
uint64_t hypercall_vmmcall(uint64_t number, uint64_t registers[6]);
uint64_t hypercall_vmcall(uint64_t number, uint64_t registers[6]);

static uint8_t page[4096] __attribute__((aligned(4096)));
static const uint64_t pattern[6] = {0x0101010101010101, 0x0202020202020202, 0x0303030303030303,
                                    0x0404040404040404, 0x0505050505050505, 0x0606060606060606};

static uint64_t call(uint64_t number) {
	uint64_t registers[6];
	__builtin_memcpy(registers, pattern, sizeof registers);
	uint64_t result =
	    cpu_is_intel() ? hypercall_vmcall(number, registers) : hypercall_vmmcall(number, registers);
	for (unsigned i = 0; i < 6; i++) CHECK_EQ(registers[i], pattern[i]);
	return result;
}

void guest_main(void);
void guest_main(void) {
	if (!on_bulkhead()) result_skip("no Bulkhead here");
	subtest("version");
	uint64_t version = call(HYPERCALL_VERSION);
	print("  version %llx\n", (unsigned long long)version);
	CHECK_EQ(version, HYPERCALL_ABI_VERSION);
	subtest("unknown number");
	CHECK((int64_t)call(CALL_UNKNOWN) < 0, "%llx", (unsigned long long)call(CALL_UNKNOWN));
	CHECK((int64_t)call(~UINT64_C(0)) < 0, "%llx", (unsigned long long)call(~UINT64_C(0)));

	subtest("ring 3");
	page[0] = 0x31, page[1] = 0xC0; // xor eax, eax
	page[2] = 0x0F, page[3] = 0x01, page[4] = cpu_is_intel() ? 0xC1 : 0xD9;
	page[5] = 0xCD, page[6] = 0x80; // int 0x80
	page_map(USER_VA, (uintptr_t)page, PTE_P | PTE_W | PTE_U);
	trap_gate(RING3_VECTOR, trap_stubs[RING3_VECTOR], GATE_INTERRUPT | GATE_USER);
	trap_handle(RING3_VECTOR, ring3_return);
	uint64_t result = 0;
	struct trap t = CATCH(result = ring3_call((void *)USER_VA, (void *)(USER_VA + 0x1000), RING3_FLAGS));
	CHECK(t.vector == -1 && (int64_t)result < 0, "vector %d, result %llx", t.vector,
	      (unsigned long long)result);
	finish();
}
