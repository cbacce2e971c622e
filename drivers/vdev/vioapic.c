// SPDX-License-Identifier: Apache-2.0
// The virtual I/O APIC: 24 pins, version 0x20 (with an EOI register). Configuration: base = MMIO address
// (0: the usual 0xFEC00000), index = APIC id. An edge is sent when an unmasked pin rises; on a masked pin
// it is ignored, as the data sheet says. A level-triggered pin is sent while it is asserted, unmasked and
// its remote IRR is clear, looked at after every change of one of the three, and after an APIC that had
// refused begins to accept.
#include "drivers/vdev/vioapic.h"
#include "drivers/vdev/common.h"

#define REG_SELECT 0x00u // IOREGSEL
#define REG_WINDOW 0x10u // IOWIN
#define REG_EOI 0x40u

#define INDEX_ID 0x00u
#define INDEX_VERSION 0x01u
#define INDEX_ARBITRATION 0x02u
#define INDEX_REDIRECT 0x10u // two a pin: low half, high half

#define ID_SHIFT 24
#define ID_MASK 0xFu
#define VERSION (0x20u | (VIOAPIC_PINS - 1) << 16)

#define RTE_WRITABLE                                                                                         \
	(VIOAPIC_RTE_VECTOR | MASK64(10, 8) | VIOAPIC_RTE_LOGICAL | VIOAPIC_RTE_LOW_ACTIVE | VIOAPIC_RTE_LEVEL | \
	 VIOAPIC_RTE_MASK | MASK64(63, 56))

struct vioapic {
	struct vdev vdev;
	uint64_t redirect[VIOAPIC_PINS];
	uint32_t select;
	uint32_t id, reset_id;
	uint32_t lines; // asserted pins
};

static struct vioapic *vioapic_of(struct vdev *vdev) { return container_of(vdev, struct vioapic, vdev); }

static uint8_t rte_mode(uint64_t rte) { return rte >> VIOAPIC_RTE_MODE_SHIFT & 7; }

// NMI, INIT, SMI and ExtINT are edges whatever the trigger bit says (82093AA 3.2.4, delivery mode).
static bool rte_is_level(uint64_t rte) {
	return rte & VIOAPIC_RTE_LEVEL && (rte_mode(rte) == IRQ_MODE_FIXED || rte_mode(rte) == IRQ_MODE_LOWEST);
}

static bool pin_send(struct vioapic *io, unsigned pin) {
	uint64_t rte = io->redirect[pin];
	struct irq_msg msg = {
	    .dest = (uint32_t)(rte >> VIOAPIC_RTE_DEST_SHIFT),
	    .vector = (uint8_t)rte,
	    .mode = rte_mode(rte),
	    .logical = (rte & VIOAPIC_RTE_LOGICAL) != 0,
	    .level = rte_is_level(rte),
	    .assert_level = true,
	};
	return vlapic_deliver(io->vdev.vm, NULL, &msg);
}

// Sends a level-triggered pin if it is due. Remote IRR is set only by an acceptance, so a refused
// level stays due.
static void pin_resample(struct vioapic *io, unsigned pin) {
	uint64_t rte = io->redirect[pin];
	if (!(io->lines >> pin & 1) || !rte_is_level(rte)) return;
	if (rte & (VIOAPIC_RTE_MASK | VIOAPIC_RTE_REMOTE_IRR)) return;
	if (pin_send(io, pin)) io->redirect[pin] |= VIOAPIC_RTE_REMOTE_IRR;
}

void vioapic_pin_set(struct vdev *vioapic, unsigned pin, bool level) {
	struct vioapic *io = vioapic_of(vioapic);
	if (pin >= VIOAPIC_PINS || (io->lines >> pin & 1) == level) return;
	io->lines ^= BIT32(pin);
	if (!level) return;
	uint64_t rte = io->redirect[pin];
	if (rte_is_level(rte))
		pin_resample(io, pin);
	else if (!(rte & VIOAPIC_RTE_MASK))
		(void)pin_send(io, pin);
}

void vioapic_eoi(struct vdev *vioapic, uint8_t vector) {
	struct vioapic *io = vioapic_of(vioapic);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		uint64_t rte = io->redirect[pin];
		if ((uint8_t)rte != vector || !(rte & VIOAPIC_RTE_REMOTE_IRR)) continue;
		io->redirect[pin] &= ~VIOAPIC_RTE_REMOTE_IRR;
		pin_resample(io, pin);
	}
}

void vioapic_resample(struct vdev *vioapic) {
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) pin_resample(vioapic_of(vioapic), pin);
}

// ---- registers -------------------------------------------------------------------------------------------

static uint32_t index_read(const struct vioapic *io, uint32_t index) {
	switch (index) {
	case INDEX_ID:
	case INDEX_ARBITRATION: // no arbitration on a system bus: it follows the id
		return io->id << ID_SHIFT;
	case INDEX_VERSION: return VERSION;
	default: break;
	}
	if (index < INDEX_REDIRECT || index >= INDEX_REDIRECT + 2 * VIOAPIC_PINS) return 0;
	return (uint32_t)(io->redirect[(index - INDEX_REDIRECT) / 2] >> (index % 2 * 32));
}

static void redirect_write(struct vioapic *io, uint32_t index, uint32_t value) {
	unsigned pin = (index - INDEX_REDIRECT) / 2, shift = index % 2 * 32;
	uint64_t writable = RTE_WRITABLE & MASK64(31, 0) << shift;
	uint64_t rte = (io->redirect[pin] & ~writable) | ((uint64_t)value << shift & writable);
	// Software switches a pin to edge and back to clear a stuck remote IRR (82093AA 3.2.4: the bit has
	// no meaning for edges).
	if (!rte_is_level(rte)) rte &= ~VIOAPIC_RTE_REMOTE_IRR;
	io->redirect[pin] = rte;
	pin_resample(io, pin);
}

static void index_write(struct vioapic *io, uint32_t index, uint32_t value) {
	if (index == INDEX_ID) io->id = value >> ID_SHIFT & ID_MASK;
	if (index >= INDEX_REDIRECT && index < INDEX_REDIRECT + 2 * VIOAPIC_PINS)
		redirect_write(io, index, value);
}

// Registers are 32 bits at 16-byte boundaries; a narrower read sees their low bytes, the wide upper half
// reads 0, and what starts elsewhere is not decoded.
static uint64_t mmio_read(void *dev, uint64_t offset, unsigned bytes) {
	struct vioapic *io = dev;
	uint32_t value = 0;
	if (offset == REG_SELECT)
		value = io->select;
	else if (offset == REG_WINDOW)
		value = index_read(io, io->select);
	return trunc_bytes(value, bytes);
}

static void mmio_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	struct vioapic *io = dev;
	if (offset == REG_SELECT)
		io->select = (uint8_t)value; // 3.1.1: eight bits, any access width
	else if (offset == REG_EOI)
		vioapic_eoi(&io->vdev, (uint8_t)value);
	else if (offset == REG_WINDOW && bytes >= sizeof(uint32_t))
		index_write(io, io->select, (uint32_t)value);
	else
		vm_guest_error(io->vdev.vm, "vioapic", "%u-byte write at %#x", bytes, (unsigned)offset);
}

static const struct io_ops mmio_ops = {.read = mmio_read, .write = mmio_write};

// ---- class -----------------------------------------------------------------------------------------------

// Lines stay: they are what the devices around it hold, and those lower theirs when they are reset.
static void reset(struct vdev *self) {
	struct vioapic *io = vioapic_of(self);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) io->redirect[pin] = VIOAPIC_RTE_MASK;
	io->select = 0;
	io->id = io->reset_id;
}

static int create(struct vdev *self, const struct vdev_config *config) {
	struct vioapic *io = vioapic_of(self);
	io->reset_id = config->index & ID_MASK;
	reset(self);
	return iobus_register(vm_mmio(self->vm), config->base ? config->base : VIOAPIC_BASE_DEFAULT,
	                      VIOAPIC_BYTES, &mmio_ops, io);
}

static void save(const struct vdev *self, void *record) {
	const struct vioapic *io = (const struct vioapic *)(const void *)self;
	struct vioapic_state *s = record;
	*s = (struct vioapic_state){.select = io->select, .id = io->id, .lines = io->lines};
	memcpy(s->redirect, io->redirect, sizeof s->redirect);
}

// Nothing is sent from here: what had been sent is in the local APICs' records, and remote IRR says so.
static int load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vioapic *io = vioapic_of(self);
	struct vioapic_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if (s.select > UINT8_MAX || s.id > ID_MASK || s.lines >> VIOAPIC_PINS) return -ERR_FORMAT;
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) {
		uint64_t rte = s.redirect[pin];
		if (rte & ~(RTE_WRITABLE | VIOAPIC_RTE_REMOTE_IRR)) return -ERR_FORMAT;
		if (rte & VIOAPIC_RTE_REMOTE_IRR && !rte_is_level(rte)) return -ERR_FORMAT;
	}
	memcpy(io->redirect, s.redirect, sizeof io->redirect);
	io->select = s.select;
	io->id = s.id;
	io->lines = s.lines;
	return 0;
}

const struct vdev_class vioapic_class = {
    .name = "vioapic",
    .state_version = VIOAPIC_STATE_VERSION,
    .object_bytes = sizeof(struct vioapic),
    .state_bytes = sizeof(struct vioapic_state),
    .create = create,
    .reset = reset,
    .save = save,
    .load = load,
};
