// SPDX-License-Identifier: Apache-2.0
// "Port 92" with its fast reset and A20 bits (Intel ICH9 data sheet, section "PORT92"). Reads nothing of its
// config. The address line A20 is always open; its bit is only kept. The chipset's other reset port, 0xCF9, lies
// among those of PCI (vpci.c).
#include "drivers/vdev/vreset.h"

#include "drivers/vdev/common.h"
#include "kernel/guestmap.h"

enum { PORT92_INIT_NOW = 0x01, PORT92_A20 = 0x02 };

struct vreset {
	struct vdev vdev;
	uint8_t port92;
};

static uint64_t port92_read(void *dev, uint64_t offset, unsigned bytes) {
	(void)offset, (void)bytes;
	return ((const struct vreset *)dev)->port92;
}

static void port92_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset, (void)bytes;
	struct vreset *r = dev;
	r->port92 = value & PORT92_A20;
	if (value & PORT92_INIT_NOW) vm_end_request(r->vdev.vm, VM_END_RESET, 0);
}

static const struct io_ops port92_ops = {.read = port92_read, .write = port92_write};

static struct vreset *vreset_of(struct vdev *self) { return container_of(self, struct vreset, vdev); }

static void vreset_reset(struct vdev *self) { vreset_of(self)->port92 = PORT92_A20; }

static int vreset_create(struct vdev *self, const struct vdev_config *config) {
	(void)config;
	struct vreset *r = vreset_of(self);
	int err = iobus_register(vm_pio(self->vm), GUEST_FAST_A20_PORT, 1, &port92_ops, r);
	if (!err) vreset_reset(self);
	return err;
}

static void vreset_save(const struct vdev *self, void *record) {
	const struct vreset_state s = {.port92 = container_of(self, const struct vreset, vdev)->port92};
	memcpy(record, &s, sizeof s);
}

static int vreset_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vreset_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if (s.port92 & ~PORT92_A20) return -ERR_FORMAT;
	vreset_of(self)->port92 = s.port92;
	return 0;
}

const struct vdev_class vreset_class = {
    .name = "vreset",
    .state_version = VRESET_STATE_VERSION,
    .object_bytes = sizeof(struct vreset),
    .state_bytes = sizeof(struct vreset_state),
    .create = vreset_create,
    .reset = vreset_reset,
    .save = vreset_save,
    .load = vreset_load,
};
