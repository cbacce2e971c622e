// SPDX-License-Identifier: Apache-2.0
// PCI by configuration mechanism 1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2) with one function on bus 0:
// a host bridge without resources. Between the mechanism's bytes lies the chipset's reset control register at 0xCF9
// (Intel ICH9 data sheet, section "RST_CNT"), which is why it is served here. Reads nothing of its config.
#include "drivers/vdev/vpci.h"

#include "drivers/vdev/common.h"
#include "kernel/guestmap.h"

#define ADDRESS_ENABLE BIT32(31)
#define ADDRESS_KEPT (ADDRESS_ENABLE | (uint32_t)MASK64(23, 2)) // bus, device, function, register
#define ADDRESS_FUNCTION(address) ((address) >> 8 & 0xffffu)    // 0 is 00:00.0
#define ADDRESS_REGISTER(address) ((address)&0xfcu)
#define CONTROL_OFFSET (GUEST_RESET_PORT - GUEST_PCI_ADDRESS_PORT)

enum { RST_SYS = 0x02, RST_CPU = 0x04, RST_FULL = 0x08, RST_KEPT = RST_SYS | RST_FULL };
_Static_assert(GUEST_RESET_VALUE == (RST_SYS | RST_CPU), "the FADT's value pulls the reset");

// The configuration space as it reads (section 6.1, "Configuration space organization"); the rest is 0. No bit can
// be written: the bridge passes everything, decodes nothing of its own and has no interrupt. Its identity is the one
// that the PCI id registry knows as a virtual machine's host bridge without model-specific registers.
#define BRIDGE_VENDOR 0x1b36u
#define BRIDGE_DEVICE 0x0008u
enum { CONFIG_VENDOR = 0x00, CONFIG_DEVICE = 0x02, CONFIG_CLASS = 0x0b };
#define CONFIG_HEADER_BYTES 64u
static const uint8_t bridge[CONFIG_HEADER_BYTES] = {
    [CONFIG_VENDOR] = BRIDGE_VENDOR & 0xff,
    [CONFIG_VENDOR + 1] = BRIDGE_VENDOR >> 8,
    [CONFIG_DEVICE] = BRIDGE_DEVICE & 0xff,
    [CONFIG_DEVICE + 1] = BRIDGE_DEVICE >> 8,
    [CONFIG_CLASS] = 0x06, // bridge, subclass and interface 0: host bridge
};

struct vpci {
	struct vdev vdev;
	uint32_t address;
	uint8_t control;
	uint64_t denied;
};

// ---- 0xCF8 to 0xCFB --------------------------------------------------------------------------------------

// Only a 32-bit access is one to CONFIG_ADDRESS; others pass on to the bus, where the reset control register is.
static uint64_t address_read(void *dev, uint64_t offset, unsigned bytes) {
	const struct vpci *p = dev;
	if (bytes == 4) return p->address;
	return offset == CONTROL_OFFSET && bytes == 1 ? p->control : trunc_bytes(UINT64_MAX, bytes);
}

// RST_CPU resets when it goes from 0 to 1; as the reset clears it, it is never seen set.
static void address_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	struct vpci *p = dev;
	if (bytes == 4) {
		p->address = (uint32_t)value & ADDRESS_KEPT;
	} else if (offset == CONTROL_OFFSET && bytes == 1) {
		p->control = value & RST_KEPT;
		if (value & RST_CPU) vm_end_request(p->vdev.vm, VM_END_RESET, 0);
	}
}

// ---- 0xCFC to 0xCFF --------------------------------------------------------------------------------------

// Nobody answers for an absent function, as with the mechanism switched off: all ones, writes are lost.
static bool selected(const struct vpci *p) {
	return (p->address & ADDRESS_ENABLE) && ADDRESS_FUNCTION(p->address) == 0;
}

static uint64_t data_read(void *dev, uint64_t offset, unsigned bytes) {
	const struct vpci *p = dev;
	if (!selected(p)) return trunc_bytes(UINT64_MAX, bytes);
	unsigned at = ADDRESS_REGISTER(p->address) + (unsigned)offset;
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes && at + i < sizeof bridge; i++)
		value |= (uint64_t)bridge[at + i] << (8 * i);
	return value;
}

static void data_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset, (void)bytes, (void)value;
	struct vpci *p = dev;
	if (selected(p)) p->denied++;
}

static const struct io_ops address_ops = {.read = address_read, .write = address_write};
static const struct io_ops data_ops = {.read = data_read, .write = data_write};

// ---- the device ------------------------------------------------------------------------------------------

static struct vpci *vpci_of(struct vdev *self) { return container_of(self, struct vpci, vdev); }

uint64_t vpci_denied(const struct vdev *vpci) { return container_of(vpci, const struct vpci, vdev)->denied; }

static void vpci_reset(struct vdev *self) {
	struct vpci *p = vpci_of(self);
	p->address = 0;
	p->control = 0;
}

static int vpci_create(struct vdev *self, const struct vdev_config *config) {
	(void)config;
	struct vpci *p = vpci_of(self);
	int err = iobus_register(vm_pio(self->vm), GUEST_PCI_ADDRESS_PORT, 4, &address_ops, p);
	if (!err) err = iobus_register(vm_pio(self->vm), GUEST_PCI_DATA_PORT, 4, &data_ops, p);
	if (!err) vpci_reset(self);
	return err;
}

static void vpci_save(const struct vdev *self, void *record) {
	const struct vpci *p = container_of(self, const struct vpci, vdev);
	const struct vpci_state s = {.address = p->address, .control = p->control};
	memcpy(record, &s, sizeof s);
}

static int vpci_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vpci *p = vpci_of(self);
	struct vpci_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if ((s.address & ~ADDRESS_KEPT) || (s.control & ~RST_KEPT)) return -ERR_FORMAT;
	p->address = s.address;
	p->control = s.control;
	return 0;
}

_Static_assert(sizeof(struct vpci_state) == 8, "no holes in the record");

const struct vdev_class vpci_class = {
    .name = "vpci",
    .state_version = VPCI_STATE_VERSION,
    .object_bytes = sizeof(struct vpci),
    .state_bytes = sizeof(struct vpci_state),
    .create = vpci_create,
    .reset = vpci_reset,
    .save = vpci_save,
    .load = vpci_load,
};
