// SPDX-License-Identifier: Apache-2.0
// The standard memory map: what kernel/build gives a VM, and what kernel/config_check places kernels into.
#include "kernel/load/load.h"

#define VGA_WINDOW UINT64_C(0xa0000) // end of low memory on a PC
// Option ROMs and firmware, up to 1 MiB: memory on a PC (shadowed ROM), so that a guest that searches it for
// tables reads zeroes without an exit each.
#define FIRMWARE_AREA UINT64_C(0xc0000)
#define DEVICE_HOLE (3 * GIB) // up to 4 GiB

static uint32_t add(struct load_range *map, uint32_t count, uint64_t base, uint64_t end, uint32_t type) {
	if (end > base) map[count++] = (struct load_range){.base = base, .bytes = end - base, .type = type};
	return count;
}

uint32_t load_map_standard(uint64_t memory_bytes, struct load_range map[LOAD_MAP_STANDARD_MAX]) {
	uint64_t low = min_u64(memory_bytes, DEVICE_HOLE);
	uint32_t count = add(map, 0, 0, VGA_WINDOW, LOAD_RAM);

	count = add(map, count, FIRMWARE_AREA, MIB, LOAD_RESERVED);
	count = add(map, count, MIB, low, LOAD_RAM);
	return add(map, count, 4 * GIB, 4 * GIB + (memory_bytes - low), LOAD_RAM);
}
