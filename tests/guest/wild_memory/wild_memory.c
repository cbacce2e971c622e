// SPDX-License-Identifier: Apache-2.0
// Addresses where nothing is: reads give all ones, writes are dropped, in every width and by string
// instructions; RAM and its neighbours keep what they hold.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/paging.h"
#include "tests/guest/lib/trap.h"

#define WINDOW_VA UINT64_C(0x700000000000)

static uint32_t cell = 0x600DF00D;

static void test_at(uint64_t pa) {
	page_map_2m(WINDOW_VA, pa & ~(PAGE_2M - 1), PTE_P | PTE_W);
	uint64_t at = WINDOW_VA + (pa & (PAGE_2M - 1));
	volatile uint32_t *d = (volatile uint32_t *)at;
	bool bare = !on_bulkhead();
	struct trap t = CATCH({
		uint32_t v = *d;
		CHECK_UNLESS(bare, v == ~0u, "%llx: %x", (unsigned long long)pa, v);
		*d = 0x12345678;
		v = *d;
		CHECK_UNLESS(bare, v == ~0u, "%llx after a write: %x", (unsigned long long)pa, v);
		uint8_t b = *(volatile uint8_t *)(at + 1);
		CHECK_UNLESS(bare, b == 0xFF, "%llx: byte %x", (unsigned long long)pa, b);
		uint16_t w = *(volatile uint16_t *)(at + 2);
		CHECK_UNLESS(bare, w == 0xFFFF, "%llx: word %x", (unsigned long long)pa, w);
		uint64_t q = *(volatile uint64_t *)at;
		CHECK_UNLESS(bare, q == ~UINT64_C(0), "%llx: %llx", (unsigned long long)pa, (unsigned long long)q);
		uint32_t out[4];
		__builtin_memcpy(out, (const void *)at, sizeof out);
		CHECK_UNLESS(bare, (out[0] & out[3]) == ~0u, "%llx: copied %x %x", (unsigned long long)pa, out[0],
		             out[3]);
		__builtin_memset((void *)at, 0, 64);
	});
	CHECK_EQ(t.vector, -1);
	CHECK_EQ(cell, 0x600DF00D);
}

void guest_main(void);
void guest_main(void) {
	static const uint64_t nowhere[] = {
	    UINT64_C(0x10000000), // 256 MiB, behind the end of RAM
	    UINT64_C(0x80000000), // 2 GiB
	    UINT64_C(0xC0000000), // 3 GiB
	    UINT64_C(0xE8000000),   UINT64_C(0xFEB00000), UINT64_C(0xFED80000),
	    UINT64_C(0x100000000),  // 4 GiB
	    UINT64_C(0x1000000000), // 64 GiB
	};
	uint64_t limit = UINT64_C(1) << (cpuid(0x80000008, 0).eax & 0xFF);
	for (unsigned i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
		if (nowhere[i] < limit) test_at(nowhere[i]);
	test_at(limit - PAGE_2M);
	subtest("the end of RAM");
	struct boot_range r;
	uint64_t end = 0;
	for (unsigned i = 0; boot_range(i, &r); i++)
		if (r.type == 1 && r.base + r.length > end) end = r.base + r.length;
	CHECK(end > 1024 * 1024, "%llx", (unsigned long long)end);
	volatile uint8_t *last = (volatile uint8_t *)(uintptr_t)(end - 1);
	*last = 0x5A;
	CHECK_EQ(*last, 0x5A);
	finish();
}
