// SPDX-License-Identifier: Apache-2.0
// The 8042 keyboard controller of the AT (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and
// auxiliary device controller") with nothing plugged in and no auxiliary port. It answers at once what an
// operating system asks to find out just that, and it resets the machine: command 0xFE, or bit 0 of the
// output port. Reads nothing of its config; interrupts come on GSI 1. The address line A20 is always
// open; its bit is only kept.
#include "drivers/vdev/vps2.h"

#include "drivers/vdev/common.h"
#include "kernel/guestmap.h"

enum {
	STATUS_OUTPUT_FULL = 0x01,
	STATUS_SYSTEM = 0x04,
	STATUS_COMMAND = 0x08,
	STATUS_UNLOCKED = 0x10, // the keyboard lock is open
	STATUS_TIMEOUT = 0x40
};
enum {
	CMD_READ_RAM = 0x20,  // ..0x3f; 0x20 is the command byte
	CMD_WRITE_RAM = 0x60, // ..0x7f
	CMD_AUX_DISABLE = 0xa7,
	CMD_AUX_ENABLE = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KEYBOARD_TEST = 0xab,
	CMD_KEYBOARD_DISABLE = 0xad,
	CMD_KEYBOARD_ENABLE = 0xae,
	CMD_READ_INPUT_PORT = 0xc0,
	CMD_READ_OUTPUT_PORT = 0xd0,
	CMD_WRITE_OUTPUT_PORT = 0xd1,
	CMD_WRITE_OUTPUT = 0xd2,
	CMD_AUX_LOOP = 0xd3,
	CMD_WRITE_AUX = 0xd4,
	CMD_A20_OFF = 0xdd,
	CMD_A20_ON = 0xdf,
	CMD_PULSE = 0xf0 // ..0xff; a 0 in bits 3:0 pulses that line of the output port
};
enum {
	CTR_INTERRUPT = 0x01,
	CTR_SYSTEM = 0x04,
	CTR_KEYBOARD_OFF = 0x10,
	CTR_AUX_OFF = 0x20,
	CTR_TRANSLATE = 0x40
};
enum { OUTPUT_NOT_RESET = 0x01, OUTPUT_A20 = 0x02, OUTPUT_PORT_IDLE = 0xcf };
enum {
	SELF_TEST_OK = 0x55,
	TEST_OK = 0x00,
	TEST_CLOCK_LOW = 0x01,
	INPUT_PORT_IDLE = 0x80,
	REPLY_RESEND = 0xfe
};

struct vps2 {
	struct vdev vdev;
	struct vps2_state s;
};

static void line_update(struct vps2 *p) {
	bool level = (p->s.status & STATUS_OUTPUT_FULL) && (p->s.ram[0] & CTR_INTERRUPT);
	vm_gsi_set(p->vdev.vm, GUEST_KBC_GSI, level);
}

static void reply(struct vps2 *p, uint8_t byte, uint8_t status) {
	p->s.output = byte;
	p->s.status |= STATUS_OUTPUT_FULL | status;
	line_update(p);
}

static void output_port_write(struct vps2 *p, uint8_t value) {
	p->s.output_port = value | OUTPUT_NOT_RESET;
	if (!(value & OUTPUT_NOT_RESET)) vm_end_request(p->vdev.vm, VM_END_RESET, 0);
}

// Without an auxiliary port its disable bit cannot be cleared: that is how a system sees it is absent.
static void ram_write(struct vps2 *p, unsigned index, uint8_t value) {
	p->s.ram[index] = index == 0 ? value | CTR_AUX_OFF : value;
	if (index != 0) return;
	p->s.status &= (uint8_t)~STATUS_SYSTEM;
	if (value & CTR_SYSTEM) p->s.status |= STATUS_SYSTEM;
	line_update(p);
}

static void command_write(struct vps2 *p, uint8_t command) {
	p->s.status |= STATUS_COMMAND;
	p->s.argument_of = 0;
	if (command >= CMD_PULSE) {
		if (!(command & OUTPUT_NOT_RESET)) vm_end_request(p->vdev.vm, VM_END_RESET, 0);
		return;
	}
	if (command >= CMD_READ_RAM && command < CMD_READ_RAM + VPS2_RAM_BYTES) {
		reply(p, p->s.ram[command - CMD_READ_RAM], 0);
		return;
	}
	if (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + VPS2_RAM_BYTES) {
		p->s.argument_of = command;
		return;
	}
	switch (command) {
	case CMD_SELF_TEST:
		ram_write(p, 0, p->s.ram[0] | CTR_SYSTEM | CTR_KEYBOARD_OFF);
		reply(p, SELF_TEST_OK, 0);
		break;
	case CMD_AUX_TEST: reply(p, TEST_CLOCK_LOW, 0); break;
	case CMD_KEYBOARD_TEST: reply(p, TEST_OK, 0); break;
	case CMD_KEYBOARD_DISABLE: p->s.ram[0] |= CTR_KEYBOARD_OFF; break;
	case CMD_KEYBOARD_ENABLE: p->s.ram[0] &= (uint8_t)~CTR_KEYBOARD_OFF; break;
	case CMD_READ_INPUT_PORT: reply(p, INPUT_PORT_IDLE, 0); break;
	case CMD_READ_OUTPUT_PORT: reply(p, p->s.output_port, 0); break;
	case CMD_A20_OFF: output_port_write(p, p->s.output_port & (uint8_t)~OUTPUT_A20); break;
	case CMD_A20_ON: output_port_write(p, p->s.output_port | OUTPUT_A20); break;
	case CMD_WRITE_OUTPUT_PORT:
	case CMD_WRITE_OUTPUT:
	case CMD_AUX_LOOP:
	case CMD_WRITE_AUX: p->s.argument_of = command; break;
	default: break; // CMD_AUX_DISABLE, CMD_AUX_ENABLE and what this controller never had
	}
}

static void data_write(struct vps2 *p, uint8_t value) {
	uint8_t command = p->s.argument_of;
	p->s.status &= (uint8_t)~STATUS_COMMAND;
	p->s.argument_of = 0;
	switch (command) {
	case CMD_WRITE_OUTPUT_PORT: output_port_write(p, value); break;
	case CMD_WRITE_OUTPUT: // as if the keyboard had sent it
	case CMD_AUX_LOOP:     // comes back from the keyboard's side: there is no auxiliary one
		reply(p, value, 0);
		break;
	case 0:                                                          // to the keyboard
	case CMD_WRITE_AUX:                                              // and to the mouse: no answer in time
		if (command == 0) p->s.ram[0] &= (uint8_t)~CTR_KEYBOARD_OFF; // sending opens the interface
		reply(p, REPLY_RESEND, STATUS_TIMEOUT);
		break;
	default: ram_write(p, command - CMD_WRITE_RAM, value); break;
	}
}

static uint64_t data_port_read(void *dev, uint64_t offset, unsigned bytes) {
	(void)offset, (void)bytes;
	struct vps2 *p = dev;
	p->s.status &= (uint8_t) ~(STATUS_OUTPUT_FULL | STATUS_TIMEOUT);
	line_update(p);
	return p->s.output;
}

static void data_port_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset, (void)bytes;
	data_write(dev, (uint8_t)value);
}

static uint64_t command_port_read(void *dev, uint64_t offset, unsigned bytes) {
	(void)offset, (void)bytes;
	return ((const struct vps2 *)dev)->s.status;
}

static void command_port_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset, (void)bytes;
	command_write(dev, (uint8_t)value);
}

static const struct io_ops data_ops = {.read = data_port_read, .write = data_port_write};
static const struct io_ops command_ops = {.read = command_port_read, .write = command_port_write};

static struct vps2 *vps2_of(struct vdev *self) { return container_of(self, struct vps2, vdev); }

static void vps2_reset(struct vdev *self) {
	struct vps2 *p = vps2_of(self);
	// As firmware leaves it after its self-test.
	p->s = (struct vps2_state){
	    .ram = {CTR_SYSTEM | CTR_KEYBOARD_OFF | CTR_AUX_OFF | CTR_TRANSLATE},
	    .status = STATUS_SYSTEM | STATUS_UNLOCKED,
	    .output_port = OUTPUT_PORT_IDLE,
	};
	vm_gsi_set(self->vm, GUEST_KBC_GSI, false);
}

static int vps2_create(struct vdev *self, const struct vdev_config *config) {
	(void)config;
	struct vps2 *p = vps2_of(self);
	int err = iobus_register(vm_pio(self->vm), GUEST_KBC_DATA_PORT, 1, &data_ops, p);
	if (!err) err = iobus_register(vm_pio(self->vm), GUEST_KBC_COMMAND_PORT, 1, &command_ops, p);
	if (!err) vps2_reset(self);
	return err;
}

static void vps2_save(const struct vdev *self, void *record) {
	memcpy(record, &container_of(self, const struct vps2, vdev)->s, sizeof(struct vps2_state));
}

static bool argument_valid(uint8_t command) {
	return command == 0 || (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + VPS2_RAM_BYTES) ||
	       (command >= CMD_WRITE_OUTPUT_PORT && command <= CMD_WRITE_AUX);
}

static int vps2_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vps2 *p = vps2_of(self);
	struct vps2_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if (!argument_valid(s.argument_of) || !(s.ram[0] & CTR_AUX_OFF)) return -ERR_FORMAT;
	p->s = s;
	line_update(p);
	return 0;
}

const struct vdev_class vps2_class = {
    .name = "vps2",
    .state_version = VPS2_STATE_VERSION,
    .object_bytes = sizeof(struct vps2),
    .state_bytes = sizeof(struct vps2_state),
    .create = vps2_create,
    .reset = vps2_reset,
    .save = vps2_save,
    .load = vps2_load,
};
