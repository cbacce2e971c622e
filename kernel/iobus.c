// SPDX-License-Identifier: Apache-2.0
// The I/O bus: a sorted table of disjoint ranges. The lookup is on the exit path, so a hit of the range
// that was hit last costs two comparisons and one indirect call; everything else is a binary search.
// Invariants: range[0..count) is sorted by base and disjoint, every len > 0, entries at and beyond
// count are zero (len 0 holds no access, so the cached one needs no check against count).
// The caller holds the VM's device lock, as kernel/vdev.h says for every device callback.
#include "kernel/iobus.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

void iobus_init(struct iobus *bus) {
	memset(bus, 0, sizeof *bus);
	bus->last = bus->range;
}

// Index of the first range whose base is above addr.
static uint32_t upper_bound(const struct iobus *bus, uint64_t addr) {
	uint32_t lo = 0, hi = bus->count;
	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		if (bus->range[mid].base <= addr) {
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	return lo;
}

int iobus_register(struct iobus *bus, uint64_t base, uint64_t len, const struct io_ops *ops, void *dev) {
	if (len == 0 || range_wraps(base, len) || !ops) return -ERR_INVAL;
	uint32_t at = upper_bound(bus, base);
	// The neighbours are the only ranges that can meet the new one, because the table is disjoint.
	if (at > 0 && base - bus->range[at - 1].base < bus->range[at - 1].len) return -ERR_OVERLAP;
	if (at < bus->count && bus->range[at].base - base < len) return -ERR_OVERLAP;
	if (bus->count == IOBUS_RANGE_MAX) return -ERR_NOMEM;
	memmove(&bus->range[at + 1], &bus->range[at], (bus->count - at) * sizeof bus->range[0]);
	bus->range[at] = (struct io_range){.base = base, .len = len, .ops = ops, .dev = dev};
	bus->count++;
	bus->last = &bus->range[at];
	return 0;
}

// The whole access [addr, addr + bytes) lies inside the range; no sum that could wrap.
static inline bool holds(const struct io_range *r, uint64_t addr, unsigned bytes) {
	uint64_t offset = addr - r->base;
	return offset < r->len && r->len - offset >= bytes;
}

// The whole access [addr, addr + bytes) in a range that was not the last: found and remembered, or
// NULL and counted.
static const struct io_range *search(struct iobus *bus, uint64_t addr, unsigned bytes) {
	uint32_t after = upper_bound(bus, addr);
	if (after == 0 || !holds(&bus->range[after - 1], addr, bytes)) {
		bus->missed++;
		return NULL;
	}
	return bus->last = &bus->range[after - 1];
}

// The slow paths are functions of their own so that the fast ones save no registers.
static __attribute__((noinline)) bool read_searched(struct iobus *bus, uint64_t addr, unsigned bytes,
                                                    uint64_t *value) {
	const struct io_range *r = search(bus, addr, bytes);
	if (!r) return false;
	*value = r->ops->read(r->dev, addr - r->base, bytes);
	return true;
}

static __attribute__((noinline)) bool write_searched(struct iobus *bus, uint64_t addr, unsigned bytes,
                                                     uint64_t value) {
	const struct io_range *r = search(bus, addr, bytes);
	if (!r) return false;
	r->ops->write(r->dev, addr - r->base, bytes, value);
	return true;
}

bool iobus_read(struct iobus *bus, uint64_t addr, unsigned bytes, uint64_t *value) {
	const struct io_range *r = iobus_last(bus, addr, bytes);
	if (unlikely(r == NULL)) return read_searched(bus, addr, bytes, value);
	*value = r->ops->read(r->dev, addr - r->base, bytes);
	return true;
}

bool iobus_write(struct iobus *bus, uint64_t addr, unsigned bytes, uint64_t value) {
	const struct io_range *r = iobus_last(bus, addr, bytes);
	if (unlikely(r == NULL)) return write_searched(bus, addr, bytes, value);
	r->ops->write(r->dev, addr - r->base, bytes, value);
	return true;
}
