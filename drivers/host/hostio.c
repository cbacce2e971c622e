// SPDX-License-Identifier: Apache-2.0
// Mappings for drivers/host, over mm's host page tables.
#include "drivers/host/hostio.h"

#include "kernel/lib/err.h"
#include "kernel/lib/log.h"

#define IDENTITY_BYTES (4 * GIB) // what the loader's page tables map for sure (kernel/abi/bootinfo.h)
#define LOW_MEMORY_BYTES MIB     // BIOS data and ROM areas: memory maps leave holes there

static struct {
	struct hostpt *host; // set once at boot
	void *firmware;      // the mapping hostio_firmware gave out last
} io;

void hostio_init(struct hostpt *host) { io.host = host; }

void *hostio_map(hpa_t base, uint64_t bytes, enum pt_type type) {
	void *va = NULL;
	int err = -ERR_RANGE;
	if (io.host != NULL)
		err = hostmap_io(io.host, base, bytes, type, HOSTPT_RW, &va);
	else if (base.v < IDENTITY_BYTES && bytes <= IDENTITY_BYTES - base.v)
		return frame_ptr(base);
	if (err != 0) {
		log_error("hostio", "cannot map 0x%llx, %llu bytes: %s", (unsigned long long)base.v,
		          (unsigned long long)bytes, err_name(err));
		return NULL;
	}
	return va;
}

// End of the listed memory that `at` lies in, `at` itself when it lies in none.
static uint64_t listed_end(const struct boot_info *boot, uint64_t at) {
	for (uint32_t i = 0; i < boot->mem_count && i < BOOT_MEM_MAX; i++) {
		const struct boot_mem *m = &boot->mem[i];
		if (m->type == BOOT_MEM_MMIO || m->type == BOOT_MEM_BAD || range_wraps(m->base, m->bytes)) continue;
		if (at >= m->base && at - m->base < m->bytes) return m->base + m->bytes;
	}
	return at;
}

static bool firmware_readable(const struct boot_info *boot, uint64_t at, uint64_t bytes) {
	const uint64_t end = at + bytes;
	while (at < end) {
		uint64_t next = listed_end(boot, at);
		if (next == at && at < LOW_MEMORY_BYTES) next = LOW_MEMORY_BYTES;
		if (next <= at) return false;
		at = next;
	}
	return true;
}

const void *hostio_firmware(void *ctx, hpa_t at, uint64_t bytes) {
	hostio_firmware_end();
	if (io.host == NULL || bytes == 0 || range_wraps(at.v, bytes) || at.v + bytes < at.v ||
	    !firmware_readable(ctx, at.v, bytes))
		return NULL;
	if (hostmap_io(io.host, at, bytes, PT_WB, HOSTPT_R, &io.firmware) != 0) io.firmware = NULL;
	return io.firmware;
}

void hostio_firmware_end(void) {
	if (io.firmware != NULL) hostunmap_io(io.host, io.firmware);
	io.firmware = NULL;
}
