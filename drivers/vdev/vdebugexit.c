// SPDX-License-Identifier: Apache-2.0
// The port by which a guest ends its VM with a number (`debug_exit` of the configuration; QEMU guests
// know it as isa-debug-exit). Reads of its config: base, the first of up to four ports. It has no state:
// its record is one zero byte.
#include "drivers/vdev/common.h"

#define DEBUG_EXIT_PORTS 4u
#define PORT_SPACE UINT64_C(0x10000)

struct vdebugexit {
	struct vdev vdev;
};

static uint64_t vdebugexit_read(void *dev, uint64_t offset, unsigned bytes) {
	(void)dev, (void)offset;
	return trunc_bytes(UINT64_MAX, bytes);
}

static void vdebugexit_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset;
	struct vdebugexit *d = dev;
	vm_end_request(d->vdev.vm, VM_END_DEBUG_EXIT, (uint32_t)trunc_bytes(value, bytes));
}

static const struct io_ops vdebugexit_ops = {.read = vdebugexit_read, .write = vdebugexit_write};

static void vdebugexit_reset(struct vdev *self) { (void)self; }

static int vdebugexit_create(struct vdev *self, const struct vdev_config *config) {
	if (config->base >= PORT_SPACE) return -ERR_RANGE;
	uint64_t len = min_u64(DEBUG_EXIT_PORTS, PORT_SPACE - config->base);
	return iobus_register(vm_pio(self->vm), config->base, len, &vdebugexit_ops,
	                      container_of(self, struct vdebugexit, vdev));
}

static void vdebugexit_save(const struct vdev *self, void *record) {
	(void)self;
	memset(record, 0, 1);
}

static int vdebugexit_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	uint8_t zero;
	int err = vdev_record_copy(self->class, &zero, record, bytes, version);
	if (err) return err;
	return zero == 0 ? 0 : -ERR_FORMAT;
}

const struct vdev_class vdebugexit_class = {
    .name = "vdebugexit",
    .state_version = 1,
    .object_bytes = sizeof(struct vdebugexit),
    .state_bytes = 1,
    .create = vdebugexit_create,
    .reset = vdebugexit_reset,
    .save = vdebugexit_save,
    .load = vdebugexit_load,
};
