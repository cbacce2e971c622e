// SPDX-License-Identifier: Apache-2.0
// A 16550A UART (National PC16550D data sheet) over a character back end. Reads of its config: base, gsi,
// chardev (NULL: output vanishes, no input). Sending takes no time, so the transmitter is always empty but
// while the back end wants no more; the cost of a written character is one call of the back end and, only
// when the guest asked for transmitter interrupts, a look at the line. Input is taken from the back end when there is room in the
// FIFO, so nothing is overrun: what does not fit stays in the back end. INTR is wired straight to the
// line; OUT2 does not gate it.
#include "drivers/vdev/vuart.h"

#include "drivers/vdev/common.h"
#include "drivers/vdev/ticks.h"
#include "kernel/backend.h"

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, REG_COUNT };

enum { IER_RX = 0x01, IER_THRE = 0x02, IER_LINE = 0x04, IER_MODEM = 0x08, IER_ALL = 0x0f };
enum {
	IIR_MODEM = 0x00,
	IIR_NONE = 0x01,
	IIR_THRE = 0x02,
	IIR_RX = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO_ON = 0xc0
};
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_TRIGGER_SHIFT = 6, FCR_KEPT = 0xc9 };
enum { LCR_WORD_MASK = 0x03, LCR_STOP2 = 0x04, LCR_PARITY = 0x08, LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10, MCR_ALL = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_ERRORS = 0x1e, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum {
	MSR_DELTAS = 0x0f,
	MSR_TERI = 0x04,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
	MSR_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD // the back end is always there
};

#define UART_CLOCK_HZ 1843200u
#define TIMEOUT_CHARS 4u // PC16550D, "FIFO interrupt mode operation"

struct vuart {
	struct vdev vdev;
	struct chardev *chardev;
	uint32_t gsi;
	bool line; // what vm_gsi_set was told last
	uint8_t ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	uint8_t lsr_errors;
	bool tx_held; // the back end wants no more: the transmitter is not empty
	bool thre_pending, timeout_pending;
	uint8_t tx;
	uint8_t rx_head, rx_count;
	uint8_t rx[VUART_FIFO_BYTES];
	struct timer timeout;
};

static bool fifo_on(const struct vuart *u) { return (u->fcr & FCR_ENABLE) != 0; }

static unsigned rx_room(const struct vuart *u) { return (fifo_on(u) ? VUART_FIFO_BYTES : 1u) - u->rx_count; }

// Bytes in the receiver at which the data interrupt comes.
static unsigned rx_trigger(const struct vuart *u) {
	static const uint8_t level[4] = {1, 4, 8, 14};
	return fifo_on(u) ? level[u->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

// The highest pending and enabled source, in the order of PC16550D table "Interrupt control functions".
static uint8_t interrupt_source(const struct vuart *u) {
	if ((u->ier & IER_LINE) && u->lsr_errors) return IIR_LINE;
	if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u)) return IIR_RX;
	if ((u->ier & IER_RX) && u->timeout_pending) return IIR_TIMEOUT;
	if ((u->ier & IER_THRE) && u->thre_pending) return IIR_THRE;
	if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTAS)) return IIR_MODEM;
	return IIR_NONE;
}

static void line_update(struct vuart *u) {
	bool level = u->ier != 0 && interrupt_source(u) != IIR_NONE;
	if (level == u->line) return;
	u->line = level;
	vm_gsi_set(u->vdev.vm, u->gsi, level);
}

// Time of four characters at the programmed speed and frame.
static uint64_t timeout_ns(const struct vuart *u) {
	uint64_t divisor = max_u64(1, (uint64_t)u->dlm << 8 | u->dll);
	uint64_t bits =
	    1u + 5u + (u->lcr & LCR_WORD_MASK) + (u->lcr & LCR_PARITY ? 1u : 0u) + (u->lcr & LCR_STOP2 ? 2u : 1u);
	return ticks_to_ns(TIMEOUT_CHARS * bits * 16 * divisor, UART_CLOCK_HZ);
}

// Restarts the character timeout: it runs while bytes wait below the trigger level.
static void timeout_restart(struct vuart *u) {
	if (fifo_on(u) && (u->ier & IER_RX) && u->rx_count != 0 && u->rx_count < rx_trigger(u)) {
		vm_timer_arm(u->vdev.vm, &u->timeout, vm_now_ns(u->vdev.vm) + timeout_ns(u));
	} else if (u->timeout.armed) {
		vm_timer_cancel(u->vdev.vm, &u->timeout);
	}
}

static void timeout_fire(void *ctx) {
	struct vuart *u = ctx;
	u->timeout_pending = true;
	line_update(u);
}

static void rx_put(struct vuart *u, uint8_t byte) {
	if (rx_room(u) == 0) {
		u->lsr_errors |= LSR_OE;
		// Without FIFO the new character replaces the old one, with it the shift register is
		// overwritten (PC16550D, LSR bit 1).
		if (!fifo_on(u)) u->rx[u->rx_head] = byte;
		return;
	}
	u->rx[(u->rx_head + u->rx_count++) % VUART_FIFO_BYTES] = byte;
}

// Takes what the back end has and the receiver holds; nothing arrives from outside in loopback.
static bool rx_fill(struct vuart *u) {
	uint8_t bytes[VUART_FIFO_BYTES];
	unsigned room = rx_room(u);
	if (!u->chardev || room == 0 || (u->mcr & MCR_LOOP)) return false;
	size_t count = u->chardev->read(u->chardev, bytes, room);
	for (size_t i = 0; i < count && i < room; i++) rx_put(u, bytes[i]);
	return count != 0;
}

static void input_ready(void *device) {
	struct vuart *u = device;
	if (!rx_fill(u)) return;
	timeout_restart(u);
	line_update(u);
}

static void rx_clear(struct vuart *u) {
	u->rx_head = u->rx_count = 0;
	u->timeout_pending = false;
}

static uint8_t data_read(struct vuart *u) {
	uint8_t byte = 0;
	if (u->rx_count != 0) {
		byte = u->rx[u->rx_head];
		u->rx_head = (uint8_t)((u->rx_head + 1) % VUART_FIFO_BYTES);
		u->rx_count--;
	}
	u->timeout_pending = false;
	(void)rx_fill(u);
	timeout_restart(u);
	line_update(u);
	return byte;
}

static void data_write(struct vuart *u, uint8_t byte) {
	if (unlikely(u->mcr & MCR_LOOP)) {
		rx_put(u, byte);
		timeout_restart(u);
		u->thre_pending = true;
		line_update(u);
		return;
	}
	u->tx = byte; // a place for the back end to read it, cheaper than a guarded stack frame
	if (u->chardev && unlikely(!u->chardev->write(u->chardev, &u->tx, 1))) {
		u->tx_held = true;
		if (u->thre_pending) {
			u->thre_pending = false;
			line_update(u);
		}
		return;
	}
	if (u->thre_pending) return; // nothing can have changed
	u->thre_pending = true;
	if (u->ier & IER_THRE) line_update(u);
}

static void tx_empty(struct vuart *u) {
	u->tx_held = false;
	u->thre_pending = true;
	line_update(u);
}

static void output_ready(void *device) {
	struct vuart *u = device;
	if (u->tx_held) tx_empty(u);
}

static uint8_t iir_read(struct vuart *u) {
	uint8_t source = interrupt_source(u);
	if (source == IIR_THRE) {
		u->thre_pending = false; // reading IIR as the source resets it
		line_update(u);
	}
	return source | (fifo_on(u) ? IIR_FIFO_ON : 0);
}

static void ier_write(struct vuart *u, uint8_t value) {
	// Enabling the interrupt of an empty transmitter raises it.
	if ((value & ~u->ier & IER_THRE) && !u->tx_held) u->thre_pending = true;
	u->ier = value & IER_ALL;
	timeout_restart(u);
	line_update(u);
}

static void fcr_write(struct vuart *u, uint8_t value) {
	bool toggled = ((value ^ u->fcr) & FCR_ENABLE) != 0;
	if (toggled || (value & FCR_CLEAR_RX)) rx_clear(u);
	// The other bits are programmed only together with bit 0 (PC16550D, FCR).
	u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	(void)rx_fill(u);
	timeout_restart(u);
	line_update(u);
}

// New modem inputs: sets the delta bits; the ring indicator reports its trailing edge only.
static void modem_inputs(struct vuart *u, uint8_t inputs) {
	uint8_t changed = (u->msr ^ inputs) & (MSR_CTS | MSR_DSR | MSR_RI | MSR_DCD);
	uint8_t deltas = (uint8_t)(changed >> 4);
	if (inputs & MSR_RI) deltas &= (uint8_t)~MSR_TERI;
	u->msr = inputs | ((u->msr | deltas) & MSR_DELTAS);
}

static void mcr_write(struct vuart *u, uint8_t value) {
	u->mcr = value & MCR_ALL;
	uint8_t inputs = MSR_CONNECTED;
	if (value & MCR_LOOP) {
		inputs = (uint8_t)((value & MCR_RTS ? MSR_CTS : 0) | (value & MCR_DTR ? MSR_DSR : 0) |
		                   (value & MCR_OUT1 ? MSR_RI : 0) | (value & MCR_OUT2 ? MSR_DCD : 0));
	}
	modem_inputs(u, inputs);
	if (rx_fill(u)) timeout_restart(u);
	line_update(u);
}

static uint8_t lsr_read(struct vuart *u) {
	uint8_t value =
	    (uint8_t)((u->tx_held ? 0 : LSR_THRE | LSR_TEMT) | (u->rx_count ? LSR_DR : 0) | u->lsr_errors);
	if (u->lsr_errors) {
		u->lsr_errors = 0;
		line_update(u);
	}
	return value;
}

static uint8_t msr_read(struct vuart *u) {
	uint8_t value = u->msr;
	u->msr &= (uint8_t)~MSR_DELTAS;
	line_update(u);
	return value;
}

static uint8_t read_byte(void *dev, unsigned offset) {
	struct vuart *u = dev;
	bool dlab = (u->lcr & LCR_DLAB) != 0;
	switch (offset) {
	case REG_DATA: return dlab ? u->dll : data_read(u);
	case REG_IER: return dlab ? u->dlm : u->ier;
	case REG_IIR_FCR: return iir_read(u);
	case REG_LCR: return u->lcr;
	case REG_MCR: return u->mcr;
	case REG_LSR: return lsr_read(u);
	case REG_MSR: return msr_read(u);
	default: return u->scr;
	}
}

static void write_byte(void *dev, unsigned offset, uint8_t value) {
	struct vuart *u = dev;
	bool dlab = (u->lcr & LCR_DLAB) != 0;
	switch (offset) {
	case REG_DATA:
		if (dlab) {
			u->dll = value;
		} else {
			data_write(u, value);
		}
		break;
	case REG_IER:
		if (dlab) {
			u->dlm = value;
		} else {
			ier_write(u, value);
		}
		break;
	case REG_IIR_FCR: fcr_write(u, value); break;
	case REG_LCR: u->lcr = value; break;
	case REG_MCR: mcr_write(u, value); break;
	case REG_SCR: u->scr = value; break;
	default: break; // LSR and MSR are read-only
	}
}

static uint64_t vuart_read(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, read_byte);
}

static void vuart_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, write_byte);
}

static const struct io_ops vuart_ops = {.read = vuart_read, .write = vuart_write};

static struct vuart *vuart_of(struct vdev *self) { return container_of(self, struct vuart, vdev); }

static void vuart_reset(struct vdev *self) {
	struct vuart *u = vuart_of(self);
	vm_timer_cancel(self->vm, &u->timeout);
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = 0;
	u->msr = MSR_CONNECTED;
	u->dlm = 0;
	u->dll = 1; // 115200: the data sheet leaves it open, firmware would have set it
	u->lsr_errors = 0;
	u->tx_held = u->thre_pending = false;
	rx_clear(u);
	u->line = false;
	vm_gsi_set(self->vm, u->gsi, false);
}

static int vuart_create(struct vdev *self, const struct vdev_config *config) {
	struct vuart *u = vuart_of(self);
	u->gsi = config->gsi;
	u->chardev = config->chardev;
	timer_init(&u->timeout, timeout_fire, u);
	int err = iobus_register(vm_pio(self->vm), config->base, REG_COUNT, &vuart_ops, u);
	if (err) return err;
	vuart_reset(self);
	if (u->chardev) {
		u->chardev->device = u;
		u->chardev->input_ready = input_ready;
		u->chardev->output_ready = output_ready;
	}
	return 0;
}

static void vuart_save(const struct vdev *self, void *record) {
	const struct vuart *u = container_of(self, const struct vuart, vdev);
	struct vuart_state s = {
	    .timeout_ns = vdev_timer_save(self, &u->timeout),
	    .ier = u->ier,
	    .fcr = u->fcr,
	    .lcr = u->lcr,
	    .mcr = u->mcr,
	    .msr = u->msr,
	    .scr = u->scr,
	    .dll = u->dll,
	    .dlm = u->dlm,
	    .lsr_errors = u->lsr_errors,
	    .thre_pending = u->thre_pending || u->tx_held, // whether a back end wants more is its own state
	    .timeout_pending = u->timeout_pending,
	    .rx_count = u->rx_count,
	};
	for (unsigned i = 0; i < u->rx_count; i++) s.rx[i] = u->rx[(u->rx_head + i) % VUART_FIFO_BYTES];
	memcpy(record, &s, sizeof s);
}

static bool state_valid(const struct vuart_state *s) {
	if (s->rx_count > (s->fcr & FCR_ENABLE ? VUART_FIFO_BYTES : 1u)) return false;
	if (!(s->fcr & FCR_ENABLE) && s->fcr != 0) return false;
	return !(s->ier & ~IER_ALL) && !(s->fcr & ~FCR_KEPT) && !(s->mcr & ~MCR_ALL) &&
	       !(s->lsr_errors & ~LSR_ERRORS) && s->thre_pending <= 1 && s->timeout_pending <= 1;
}

static int vuart_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vuart *u = vuart_of(self);
	struct vuart_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if (!state_valid(&s)) return -ERR_FORMAT;
	u->ier = s.ier;
	u->fcr = s.fcr;
	u->lcr = s.lcr;
	u->mcr = s.mcr;
	u->msr = s.msr;
	u->scr = s.scr;
	u->dll = s.dll;
	u->dlm = s.dlm;
	u->lsr_errors = s.lsr_errors;
	u->tx_held = false;
	u->thre_pending = s.thre_pending != 0;
	u->timeout_pending = s.timeout_pending != 0;
	u->rx_head = 0;
	u->rx_count = s.rx_count;
	memcpy(u->rx, s.rx, sizeof u->rx);
	vdev_timer_load(self, &u->timeout, s.timeout_ns);
	line_update(u);
	vm_gsi_set(self->vm, u->gsi, u->line);
	return 0;
}

const struct vdev_class vuart_class = {
    .name = "vuart",
    .state_version = VUART_STATE_VERSION,
    .object_bytes = sizeof(struct vuart),
    .state_bytes = sizeof(struct vuart_state),
    .create = vuart_create,
    .reset = vuart_reset,
    .save = vuart_save,
    .load = vuart_load,
};
