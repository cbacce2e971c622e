// SPDX-License-Identifier: Apache-2.0
// The I/O bus of a VM (struct kvm_io_bus): disjoint address ranges, each served by a device callback.
// One bus for ports (addresses 0..0xFFFF), one for memory-mapped I/O (guest physical addresses).
// Sorted, binary-searched with a one-entry cache; changed only while the VM is being built.
#pragma once

#include "kernel/lib/types.h"

// One access. `offset` is relative to the registered base; `bytes` is 1, 2, 4 or 8 (ports: never 8) and
// the access lies wholly inside the range (the bus splits or refuses what straddles an edge).
// read returns the value zero-extended; what the device does not decode reads as all ones.
struct io_ops {
	uint64_t (*read)(void *dev, uint64_t offset, unsigned bytes);
	void (*write)(void *dev, uint64_t offset, unsigned bytes, uint64_t value);
};

struct io_range {
	uint64_t base, len; // bytes
	const struct io_ops *ops;
	void *dev;
};

#define IOBUS_RANGE_MAX 64u

struct iobus {
	uint32_t count;
	const struct io_range *last;            // the last hit, a hint only
	uint64_t missed;                        // accesses nobody claimed
	struct io_range range[IOBUS_RANGE_MAX]; // sorted by base
};

void iobus_init(struct iobus *bus);
// -ERR_OVERLAP when the range meets a registered one, -ERR_INVAL for an empty or wrapping one,
// -ERR_NOMEM when the table is full. ops and dev stay owned by the caller and must outlive the bus.
__cold __must_check int iobus_register(struct iobus *bus, uint64_t base, uint64_t len,
                                       const struct io_ops *ops, void *dev);
// The range that was hit last, when it holds the whole access; else NULL (use the functions below). For the exit
// path, which calls its ops directly. addr is below 2^62.
static inline const struct io_range *iobus_last(const struct iobus *bus, uint64_t addr, unsigned bytes) {
	const struct io_range *r = bus->last;
	uint64_t offset = addr - r->base, rest = r->len - bytes - offset;
	return likely((int64_t)(offset | rest) >= 0) ? r : NULL; // neither is negative
}

// False when nobody claims the whole access (the caller answers as the architecture does: all ones,
// writes dropped) and counts it.
bool iobus_read(struct iobus *bus, uint64_t addr, unsigned bytes, uint64_t *value);
bool iobus_write(struct iobus *bus, uint64_t addr, unsigned bytes, uint64_t value);
