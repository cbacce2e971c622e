// SPDX-License-Identifier: Apache-2.0
// The virtual 8259A pair of a PC: master at 0x20/0x21, slave at 0xA0/0xA1 on the master's input 2, ELCR
// at 0x4D0/0x4D1. It is wired as it is on every PC, so ICW3 is accepted and the cascade is fixed.
// INTR goes to LINT0 of vCPU 0; every change of it is told there. No configuration is read.
//
// IRR is a latch for edge-triggered inputs and follows the line for level-triggered ones. An edge whose
// line falls before it is acknowledged is withdrawn, and the acknowledge then gives the spurious
// interrupt 7 (data sheet, "Edge and level triggered modes").
#include "drivers/vdev/vpic.h"
#include "drivers/vdev/common.h"

#define MASTER_PORT 0x20u
#define SLAVE_PORT 0xA0u
#define ELCR_PORT 0x4D0u
#define CASCADE 2u // the master's input that the slave drives
#define SPURIOUS 7u
#define NONE 8u

// Inputs that a PC cannot switch to level: timer, keyboard, cascade; RTC, coprocessor (ICH, ELCR1/2).
#define ELCR_MASTER_WRITABLE 0xF8u
#define ELCR_SLAVE_WRITABLE 0xDEu

#define ICW1_INIT 0x10u // A0 = 0
#define ICW1_SINGLE 0x02u
#define ICW1_ICW4 0x01u
#define ICW4_SPECIAL_NESTED 0x10u
#define ICW4_AUTO_EOI 0x02u
#define OCW3_SELECT 0x08u // A0 = 0, with ICW1_INIT clear
#define OCW3_MASK_SET 0x40u
#define OCW3_MASK_VALUE 0x20u
#define OCW3_POLL 0x04u
#define OCW3_READ_SET 0x02u
#define OCW3_READ_ISR 0x01u
#define POLL_REQUEST 0x80u // poll byte: an interrupt was acknowledged

enum ocw2 { // R, SL, EOI in bits 7:5
	OCW2_ROTATE_AUTO_CLEAR = 0,
	OCW2_EOI = 1,
	OCW2_NOTHING = 2,
	OCW2_EOI_SPECIFIC = 3,
	OCW2_ROTATE_AUTO_SET = 4,
	OCW2_ROTATE_EOI = 5,
	OCW2_SET_PRIORITY = 6,
	OCW2_ROTATE_EOI_SPECIFIC = 7,
};

struct vpic {
	struct vpic_summary head; // first: kernel/vintc.h reads it
	struct vpic_chip_state chip[2];
};

static struct vpic *vpic_of(struct vdev *vdev) { return container_of(vdev, struct vpic, head.vdev); }
static bool is_master(const struct vpic *pic, const struct vpic_chip_state *chip) {
	return chip == &pic->chip[0];
}

// ---- priorities ------------------------------------------------------------------------------------------

// The input of `set` with the highest priority, NONE when it is empty; `rank` gets its place, 0 the highest.
static unsigned highest(const struct vpic_chip_state *chip, unsigned set, unsigned *rank) {
	for (unsigned i = 0; i < 8; i++) {
		unsigned input = (chip->lowest + 1 + i) & 7;
		if (set >> input & 1) {
			*rank = i;
			return input;
		}
	}
	*rank = NONE;
	return NONE;
}

// The input this chip requests service for now, NONE without one.
static unsigned chip_request(const struct vpic *pic, const struct vpic_chip_state *chip) {
	unsigned wanted_rank, served_rank, unmasked = chip->irr & ~chip->imr & 0xFFu;
	if (unmasked == 0) return NONE; // as always once a guest uses the I/O APIC
	unsigned wanted = highest(chip, unmasked, &wanted_rank);
	unsigned served = chip->isr;
	// Special mask mode: a masked input in service holds nobody back, but itself.
	if (chip->special_mask) served &= (unsigned)~chip->imr;
	(void)highest(chip, served, &served_rank);
	if (wanted_rank < served_rank) return wanted;
	// Special fully nested: the slave in service does not hold back the slave's other inputs.
	bool nested = chip->special_nested && is_master(pic, chip) && wanted == CASCADE;
	return nested && wanted_rank == served_rank ? CASCADE : NONE;
}

static void lines_update(struct vpic_chip_state *chip, unsigned input, bool level) {
	uint8_t bit = (uint8_t)BIT32(input);
	bool was = (chip->lines & bit) != 0;
	chip->lines = (uint8_t)(level ? chip->lines | bit : chip->lines & ~bit);
	if (chip->elcr & bit)
		chip->irr = (uint8_t)(level ? chip->irr | bit : chip->irr & ~bit);
	else if (!level)
		chip->irr &= (uint8_t)~bit;
	else if (!was)
		chip->irr |= bit;
}

// Takes the cascade and the output to what the chips say now.
static void output_update(struct vpic *pic) {
	struct vdev *vdev = &pic->head.vdev;
	lines_update(&pic->chip[0], CASCADE, chip_request(pic, &pic->chip[1]) != NONE);
	bool output = chip_request(pic, &pic->chip[0]) != NONE;
	if (output == pic->head.output) return;
	__atomic_store_n(&pic->head.output, output, __ATOMIC_RELAXED);
	struct vdev *lapic = vm_lapic(vdev->vm, 0);
	if (lapic) vlapic_lint_set(lapic, 0, output);
	vm_vcpu_event(vdev->vm, 0);
}

void vpic_pin_set(struct vdev *vpic, unsigned pin, bool level) {
	struct vpic *pic = vpic_of(vpic);
	if (pin >= VPIC_PINS || pin == CASCADE) return;
	lines_update(&pic->chip[pin / 8], pin % 8, level);
	output_update(pic);
}

// ---- acknowledge and end of interrupt ----------------------------------------------------------------------

static void chip_serve(struct vpic *pic, struct vpic_chip_state *chip, unsigned input) {
	uint8_t bit = (uint8_t)BIT32(input);
	if (!(chip->elcr & bit)) chip->irr &= (uint8_t)~bit;
	if (!chip->auto_eoi)
		chip->isr |= bit;
	else if (chip->rotate_auto)
		chip->lowest = (uint8_t)input;
	// The slave's next request is a new edge on the cascade.
	if (!is_master(pic, chip)) lines_update(&pic->chip[0], CASCADE, false);
}

uint8_t vpic_ack(struct vdev *vpic) {
	struct vpic *pic = vpic_of(vpic);
	struct vpic_chip_state *master = &pic->chip[0], *slave = &pic->chip[1];
	unsigned input = chip_request(pic, master);
	uint8_t vector;
	if (input == CASCADE) {
		chip_serve(pic, master, CASCADE);
		unsigned second = chip_request(pic, slave);
		if (second != NONE) chip_serve(pic, slave, second);
		vector = (uint8_t)(slave->vector | (second == NONE ? SPURIOUS : second));
	} else {
		if (input != NONE) chip_serve(pic, master, input);
		vector = (uint8_t)(master->vector | (input == NONE ? SPURIOUS : input));
	}
	output_update(pic);
	return vector;
}

static void chip_eoi(struct vpic_chip_state *chip, unsigned input, bool rotate) {
	if (input == NONE) return;
	chip->isr &= (uint8_t)~BIT32(input);
	if (rotate) chip->lowest = (uint8_t)input;
}

static void ocw2_write(struct vpic_chip_state *chip, uint8_t value) {
	unsigned named = value & 7, rank;
	// In special mask mode a non-specific EOI passes over masked inputs (data sheet, "Special mask mode").
	unsigned served = chip->special_mask ? chip->isr & (unsigned)~chip->imr : chip->isr;
	switch ((enum ocw2)(value >> 5)) {
	case OCW2_ROTATE_AUTO_CLEAR:
	case OCW2_ROTATE_AUTO_SET: chip->rotate_auto = value >> 7; break;
	case OCW2_EOI: chip_eoi(chip, highest(chip, served, &rank), false); break;
	case OCW2_ROTATE_EOI: chip_eoi(chip, highest(chip, served, &rank), true); break;
	case OCW2_EOI_SPECIFIC: chip_eoi(chip, named, false); break;
	case OCW2_ROTATE_EOI_SPECIFIC: chip_eoi(chip, named, true); break;
	case OCW2_SET_PRIORITY: chip->lowest = (uint8_t)named; break;
	case OCW2_NOTHING: break;
	}
}

// ---- ports ---------------------------------------------------------------------------------------------------

// ICW1 clears the edge latches and all modes; levels that stand are seen again (data sheet, "ICW1").
static void icw1_write(struct vpic_chip_state *chip, uint8_t value) {
	*chip = (struct vpic_chip_state){
	    .lines = chip->lines,
	    .irr = chip->lines & chip->elcr,
	    .elcr = chip->elcr,
	    .vector = chip->vector,
	    .lowest = 7,
	    .init = 2,
	    .icw1 = value,
	};
}

static void icw_write(struct vpic_chip_state *chip, uint8_t value) {
	switch (chip->init) {
	case 2:
		chip->vector = value & 0xF8;
		chip->init = chip->icw1 & ICW1_SINGLE ? (chip->icw1 & ICW1_ICW4 ? 4 : 0) : 3;
		break;
	case 3: // the cascade is wired
		chip->init = chip->icw1 & ICW1_ICW4 ? 4 : 0;
		break;
	default:
		chip->special_nested = (value & ICW4_SPECIAL_NESTED) != 0;
		chip->auto_eoi = (value & ICW4_AUTO_EOI) != 0;
		chip->init = 0;
		break;
	}
}

static void ocw3_write(struct vpic_chip_state *chip, uint8_t value) {
	if (value & OCW3_MASK_SET) chip->special_mask = (value & OCW3_MASK_VALUE) != 0;
	if (value & OCW3_READ_SET) chip->read_isr = value & OCW3_READ_ISR;
	if (value & OCW3_POLL) chip->poll = 1;
}

static void chip_write(struct vpic *pic, struct vpic_chip_state *chip, unsigned a0, uint8_t value) {
	if (a0) {
		if (chip->init) {
			icw_write(chip, value);
		} else {
			chip->imr = value;          // OCW1
			if (chip->irr == 0) return; // no request, masked or not: the output stays
		}
	} else if (value & ICW1_INIT) {
		icw1_write(chip, value);
	} else if (value & OCW3_SELECT) {
		ocw3_write(chip, value);
	} else {
		ocw2_write(chip, value);
	}
	output_update(pic);
}

// A poll acknowledges like INTA and tells the input (data sheet, "Poll command").
static uint8_t chip_poll(struct vpic *pic, struct vpic_chip_state *chip) {
	chip->poll = 0;
	unsigned input = chip_request(pic, chip);
	if (input == NONE) return 0;
	chip_serve(pic, chip, input);
	output_update(pic);
	return (uint8_t)(POLL_REQUEST | input);
}

static uint8_t chip_read(struct vpic *pic, struct vpic_chip_state *chip, unsigned a0) {
	if (chip->poll) return chip_poll(pic, chip);
	if (a0) return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static uint8_t master_read(void *dev, unsigned offset) {
	struct vpic *pic = dev;
	return chip_read(pic, &pic->chip[0], offset);
}
static void master_write(void *dev, unsigned offset, uint8_t value) {
	struct vpic *pic = dev;
	chip_write(pic, &pic->chip[0], offset, value);
}
static uint8_t slave_read(void *dev, unsigned offset) {
	struct vpic *pic = dev;
	return chip_read(pic, &pic->chip[1], offset);
}
static void slave_write(void *dev, unsigned offset, uint8_t value) {
	struct vpic *pic = dev;
	chip_write(pic, &pic->chip[1], offset, value);
}
static __cold uint8_t elcr_read(void *dev, unsigned offset) {
	struct vpic *pic = dev;
	return pic->chip[offset].elcr;
}
static __cold void elcr_write(void *dev, unsigned offset, uint8_t value) {
	struct vpic *pic = dev;
	struct vpic_chip_state *chip = &pic->chip[offset];
	chip->elcr = (uint8_t)(value & (offset ? ELCR_SLAVE_WRITABLE : ELCR_MASTER_WRITABLE));
	// Inputs that are level-triggered now follow their lines at once.
	chip->irr = (uint8_t)((chip->irr & ~chip->elcr) | (chip->lines & chip->elcr));
	output_update(pic);
}

static uint64_t master_in(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, master_read);
}
static void master_out(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, master_write);
}
static uint64_t slave_in(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, slave_read);
}
static void slave_out(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, slave_write);
}
static __cold uint64_t elcr_in(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, elcr_read);
}
static __cold void elcr_out(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, elcr_write);
}

static const struct io_ops master_ops = {.read = master_in, .write = master_out};
static const struct io_ops slave_ops = {.read = slave_in, .write = slave_out};
static const struct io_ops elcr_ops = {.read = elcr_in, .write = elcr_out};

// ---- class ---------------------------------------------------------------------------------------------------

// As firmware leaves it: all masked, because nothing has initialised it. Lines stay; they are the
// devices' to lower.
static __cold void reset(struct vdev *self) {
	struct vpic *pic = vpic_of(self);
	for (unsigned i = 0; i < 2; i++)
		pic->chip[i] = (struct vpic_chip_state){.lines = pic->chip[i].lines, .imr = 0xFF, .lowest = 7};
	pic->chip[0].lines &= (uint8_t)~BIT32(CASCADE);
	output_update(pic);
}

static __cold int create(struct vdev *self, const struct vdev_config *config __unused_arg) {
	struct iobus *pio = vm_pio(self->vm);
	struct vpic *pic = vpic_of(self);
	reset(self);
	int err = iobus_register(pio, MASTER_PORT, 2, &master_ops, pic);
	if (!err) err = iobus_register(pio, SLAVE_PORT, 2, &slave_ops, pic);
	if (!err) err = iobus_register(pio, ELCR_PORT, 2, &elcr_ops, pic);
	return err;
}

static __cold void save(const struct vdev *self, void *record) {
	const struct vpic *pic = (const struct vpic *)(const void *)self;
	memcpy(record, pic->chip, sizeof pic->chip);
}

static __cold bool chip_valid(const struct vpic_chip_state *s, uint8_t elcr_writable) {
	if (s->elcr & ~elcr_writable || s->vector & 7 || s->lowest > 7) return false;
	if (s->init == 1 || s->init > 4 || s->reserved) return false;
	return (s->read_isr | s->poll | s->special_mask | s->special_nested | s->auto_eoi | s->rotate_auto) <= 1;
}

static __cold int load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vpic *pic = vpic_of(self);
	struct vpic_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if (!chip_valid(&s.chip[0], ELCR_MASTER_WRITABLE) || !chip_valid(&s.chip[1], ELCR_SLAVE_WRITABLE))
		return -ERR_FORMAT;
	memcpy(pic->chip, s.chip, sizeof pic->chip);
	output_update(pic);
	return 0;
}

const struct vdev_class vpic_class = {
    .name = "vpic",
    .state_version = VPIC_STATE_VERSION,
    .object_bytes = sizeof(struct vpic),
    .state_bytes = sizeof(struct vpic_state),
    .create = create,
    .reset = reset,
    .save = save,
    .load = load,
};
