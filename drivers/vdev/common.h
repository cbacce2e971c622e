// SPDX-License-Identifier: Apache-2.0
// What the device models share: byte-wide register files behind wider accesses, records, and deadlines
// relative to the VM's clock.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/vdev.h"

// The ISA bus breaks a 16- or 32-bit access to an 8-bit device into byte accesses at ascending
// addresses. The loops are out of line, so that the common single byte is a plain call.
static __attribute__((noinline, unused)) uint64_t vdev_read_split(void *dev, uint64_t offset, unsigned bytes,
                                                                  uint8_t (*read_byte)(void *dev,
                                                                                       unsigned offset)) {
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)read_byte(dev, (unsigned)offset + i) << (8 * i);
	return value;
}

static __attribute__((noinline, unused)) void
vdev_write_split(void *dev, uint64_t offset, unsigned bytes, uint64_t value,
                 void (*write_byte)(void *dev, unsigned offset, uint8_t value)) {
	for (unsigned i = 0; i < bytes; i++) write_byte(dev, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));
}

static inline __attribute__((always_inline)) uint64_t
vdev_read_bytes(void *dev, uint64_t offset, unsigned bytes,
                uint8_t (*read_byte)(void *dev, unsigned offset)) {
	if (likely(bytes == 1)) return read_byte(dev, (unsigned)offset);
	return vdev_read_split(dev, offset, bytes, read_byte);
}

static inline __attribute__((always_inline)) void
vdev_write_bytes(void *dev, uint64_t offset, unsigned bytes, uint64_t value,
                 void (*write_byte)(void *dev, unsigned offset, uint8_t value)) {
	if (likely(bytes == 1)) {
		write_byte(dev, (unsigned)offset, (uint8_t)value);
	} else {
		vdev_write_split(dev, offset, bytes, value, write_byte);
	}
}

// The part of every load: copies a record of the class's version and size into `state`.
// -ERR_VERSION, -ERR_FORMAT for another size.
__must_check static inline int vdev_record_copy(const struct vdev_class *class, void *state,
                                                const void *record, uint32_t bytes, uint16_t version) {
	if (version != class->state_version) return -ERR_VERSION;
	if (bytes != class->state_bytes) return -ERR_FORMAT;
	memcpy(state, record, bytes);
	return 0;
}

// A timer as records hold it: nanoseconds until it is due, TIMER_NEVER when it is not armed.
static inline uint64_t vdev_timer_save(const struct vdev *self, const struct timer *t) {
	uint64_t now = vm_now_ns(self->vm);
	if (!t->armed) return TIMER_NEVER;
	return t->deadline_ns > now ? t->deadline_ns - now : 0;
}

static inline void vdev_timer_load(struct vdev *self, struct timer *t, uint64_t remaining_ns) {
	uint64_t now = vm_now_ns(self->vm);
	if (remaining_ns >= TIMER_NEVER - now) {
		vm_timer_cancel(self->vm, t);
	} else {
		vm_timer_arm(self->vm, t, now + remaining_ns);
	}
}
