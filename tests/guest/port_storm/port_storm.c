// SPDX-License-Identifier: Apache-2.0
// A storm of port accesses: every port read in every width, then random values to random ports in all
// widths and by string instructions, except those that end the machine by design. The guest must still be
// able to report afterwards.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define STORM 8000u
#define BURST 128u

static uint32_t seed = 0x1234567;

static uint32_t random(void) {
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

// Debug exit, reset by 0xCF9, keyboard controller and port 0x92, ACPI PM1 control, Bochs's shutdown port.
static bool ends_machine(uint32_t port) {
	return (port >= 0xF1 && port <= 0xF7) || (port >= 0xCF6 && port <= 0xCF9) ||
	       (port >= 0x61 && port <= 0x64) || (port >= 0x8F && port <= 0x92) ||
	       (port >= 0x5F8 && port <= 0x60F) || (port >= 0xAFF8 && port <= 0xB00F) ||
	       (port >= 0xB0 && port <= 0xB3) || (port >= 0x88F8 && port <= 0x8900);
}

static void test_reads(void) {
	subtest("read every port");
	for (uint32_t port = 0; port < 0x10000; port++) {
		if (!on_bulkhead() && port >= 0x100 && port != 0x2F0) continue;
		(void)in8((uint16_t)port);
		if (port % 7) continue;
		(void)in16((uint16_t)port);
		(void)in32((uint16_t)port);
	}
	CHECK(in8(0x2F0) == 0xFF && in16(0x2F0) == 0xFFFF && in32(0x2F0) == ~0u, "%x", in32(0x2F0));
	// The last bytes wrap around (SDM vol. 1, 19.3: accesses past FFFFH are not defined).
	(void)in16(0xFFFF);
	(void)in32(0xFFFD);
}

static void test_writes(void) {
	if (!on_bulkhead()) return;
	subtest("random writes");
	static uint8_t bytes[BURST];
	for (unsigned i = 0; i < STORM; i++) {
		uint16_t port = (uint16_t)(i & 1 ? random() & 0x7FF : random());
		if (ends_machine(port) || ends_machine(port + 3u)) continue;
		uint32_t v = random();
		const void *from = bytes;
		unsigned long n = v % BURST;
		switch (random() % 5) {
		case 0: out8(port, (uint8_t)v); break;
		case 1: out16(port, (uint16_t)v); break;
		case 2: out32(port, v); break;
		case 3: asm volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory"); break;
		default: {
			void *to = bytes;
			asm volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory");
		}
		}
	}
}

void guest_main(void);
void guest_main(void) {
	test_reads();
	test_writes();
	irq_off();
	report_init();
	pic_init(0x20, 0);
	subtest("still there");
	CHECK_EQ(in8(0x21), 0xFF);
	finish();
}
