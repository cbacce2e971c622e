// SPDX-License-Identifier: Apache-2.0
// The 8254 programmable interval timer (Intel 82C54 data sheet) at ports 0x40-0x43 and its port B at 0x61
// (speaker, channel 2 gate and output, refresh toggle). Reads nothing of its config. Nothing ticks: a
// channel is the tick at which its count was loaded, and everything that can be read is computed from
// the VM's clock. Only channel 0 owns a timer, for the rising edges of its output, which drive GSI 0; when
// the host is late, the edges that were missed follow at twice their rate, as guests count time by them.
#include "drivers/vdev/vpit.h"

#include "drivers/vdev/common.h"
#include "drivers/vdev/ticks.h"
#include "kernel/guestmap.h"

#define PIT_HZ 1193182u
#define PIT_PORTS 4u
// A guest that programs a period of microseconds gets edges no faster than this, or it would spend our
// time on timer interrupts of its own VM.
#define EDGE_FLOOR_NS UINT64_C(50000)
// Missed edges that are made up for at most; the rest is lost.
#define OWED_MAX 256u
// The refresh request of the PC, every 15.085 us, toggles bit 4 of port 0x61.
#define REFRESH_NS UINT64_C(15085)

enum { CONTROL_PORT = 3 };
enum { ACCESS_LATCH = 0, ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };
// Control word and read-back command (82C54, "Control word format", "Read-back command format").
enum { CONTROL_BCD = 0x01, SELECT_READ_BACK = 3, READ_BACK_NO_COUNT = 0x20, READ_BACK_NO_STATUS = 0x10 };
enum { STATUS_OUT = 0x80, STATUS_NULL = 0x40 };
enum { PORT_B_GATE2 = 0x01, PORT_B_WRITABLE = 0x0f, PORT_B_REFRESH = 0x10, PORT_B_OUT2 = 0x20 };

struct vpit {
	struct vdev vdev;
	uint64_t anchor_ns; // tick 0
	struct timer edge;
	uint64_t edge_tick; // when `edge` is armed: the next edge by the count in force
	uint32_t owed;      // edges that have passed and were not shown yet
	bool line;
	uint8_t speaker;
	struct vpit_channel channel[VPIT_CHANNELS];
};

static uint64_t ticks_now(const struct vpit *p) {
	return ns_to_ticks(vm_now_ns(p->vdev.vm) - p->anchor_ns, PIT_HZ);
}

static bool periodic(const struct vpit_channel *c) { return c->mode == 2 || c->mode == 3; }
static bool triggered_by_gate(const struct vpit_channel *c) { return c->mode == 1 || c->mode == 5; }

// Ticks since the count was loaded; 0 before, when the write was only a moment ago.
static uint64_t elapsed(const struct vpit_channel *c, uint64_t now) {
	if (!c->running) return c->held;
	uint64_t ticks = now - c->start;
	return (int64_t)ticks < 0 ? 0 : ticks;
}

// Mode 3 is high for the longer half of an odd count.
static uint64_t high_half(const struct vpit_channel *c) { return ((uint64_t)c->count + 1) / 2; }

// Brings a count that was written while a periodic mode runs into force when its time has come: at the
// end of the period in mode 2, of the half-period in mode 3 (82C54, "Mode 2", "Mode 3").
static void settle(struct vpit_channel *c, uint64_t now) {
	if (c->pending == 0 || !periodic(c) || !c->running || (int64_t)(now - c->switch_tick) < 0) return;
	bool starts_low = c->mode == 3 && (c->switch_tick - c->start) % c->count != 0;
	c->count = c->pending;
	c->pending = 0;
	c->start = c->switch_tick - (starts_low ? high_half(c) : 0);
}

static bool output(const struct vpit_channel *c, uint64_t now) {
	uint64_t e = elapsed(c, now);
	if (c->count == 0) return c->mode != 0;
	switch (c->mode) {
	case 0: return e >= c->count;
	case 1: return !c->running || e >= c->count;
	case 2: return !c->running || e % c->count != c->count - 1;
	case 3: return !c->running || e % c->count < high_half(c);
	default: return !c->running || e != c->count;
	}
}

static uint32_t from_bcd(uint32_t v) {
	return (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12 & 15);
}

static uint32_t to_bcd(uint32_t v) {
	return v % 10 | (v / 10 % 10) << 4 | (v / 100 % 10) << 8 | (v / 1000 % 10) << 12;
}

// The counting element as a read sees it.
static uint16_t count_value(const struct vpit_channel *c, uint64_t now) {
	uint64_t modulus = c->bcd ? 10000 : 0x10000, e = elapsed(c, now), value;
	if (c->count == 0) return 0;
	if (c->mode == 2) {
		value = c->count - e % c->count;
	} else if (c->mode == 3) {
		// Counts down by two in each half; an odd count loads count - 1.
		uint64_t phase = e % c->count, half = high_half(c);
		value = (c->count & ~1u) - 2 * (phase < half ? phase : phase - half);
	} else {
		value = c->count + modulus - e % modulus; // counts on past zero
	}
	value %= modulus;
	return (uint16_t)(c->bcd ? to_bcd((uint32_t)value) : value);
}

// Tick of the next rising edge of the output after `now`; false when none comes by itself.
static bool next_edge(const struct vpit_channel *c, uint64_t now, uint64_t *tick) {
	uint64_t e = elapsed(c, now), at;
	if (!c->running || c->count == 0) return false;
	switch (c->mode) {
	case 2:
	case 3:
		if (c->count == 1) return false; // not a legal count: the output never moves
		at = (e / c->count + 1) * c->count;
		if (c->pending != 0 && (int64_t)(c->start + at - c->switch_tick) > 0) {
			// The low half that the new count starts ends earlier or later than the old one.
			at = c->switch_tick - c->start + c->pending / 2;
		}
		break;
	case 4:
	case 5: at = (uint64_t)c->count + 1; break; // the strobe is low for one tick
	default: at = c->count; break;
	}
	*tick = c->start + at;
	return (int64_t)(*tick - now) > 0;
}

static void line_set(struct vpit *p, bool level) {
	if (level == p->line) return;
	p->line = level;
	vm_gsi_set(p->vdev.vm, GUEST_PIT_GSI, level);
}

// Arms the timer for the next edge, and earlier while edges are owed.
static void edge_arm(struct vpit *p, uint64_t earliest_ns) {
	const struct vpit_channel *c = &p->channel[0];
	if (!next_edge(c, ticks_now(p), &p->edge_tick)) {
		vm_timer_cancel(p->vdev.vm, &p->edge);
		return;
	}
	uint64_t deadline = p->anchor_ns + ticks_to_ns(p->edge_tick, PIT_HZ);
	if (p->owed) deadline = min_u64(deadline, vm_now_ns(p->vdev.vm) + ticks_to_ns(c->count / 2, PIT_HZ));
	vm_timer_arm(p->vdev.vm, &p->edge, max_u64(deadline, earliest_ns));
}

// The output of channel 0 rose. The low time before it may have been a single tick: it is shown here.
static void edge_show(struct vpit *p) {
	line_set(p, false);
	line_set(p, true);
}

static void edge_fire(void *ctx) {
	struct vpit *p = ctx;
	struct vpit_channel *c = &p->channel[0];
	uint64_t late = ticks_now(p) - p->edge_tick;
	if (!periodic(c) || c->count == 0) {
		edge_show(p);
		return;
	}
	// With a new count on its way the missed edges are not worth telling apart: one counts.
	if ((int64_t)late >= 0) p->owed += (uint32_t)min_u64(c->pending ? 0 : late / c->count, OWED_MAX) + 1;
	p->owed = (uint32_t)min_u64(p->owed, OWED_MAX);
	settle(c, ticks_now(p));
	if (p->owed) {
		p->owed--;
		edge_show(p);
	}
	edge_arm(p, vm_now_ns(p->vdev.vm) + EDGE_FLOOR_NS);
}

// Before a change of a channel by the guest. The low time of channel 0 is otherwise shown only together
// with its end, and the change may end it.
static void change_begin(struct vpit *p, struct vpit_channel *c, uint64_t now) {
	settle(c, now);
	if (c == &p->channel[0] && !output(c, now)) line_set(p, false);
}

// After a change of channel 0 by the guest: its output is on the line, its next edge on the timer.
static void channel0_changed(struct vpit *p) {
	line_set(p, output(&p->channel[0], ticks_now(p)));
	p->owed = 0;
	edge_arm(p, 0);
}

// A count is complete. It is loaded with the next tick (82C54, "Counter programming").
static void count_load(struct vpit_channel *c, uint32_t written, uint64_t now) {
	uint32_t value = c->bcd ? from_bcd(written) : written;
	if (value == 0) value = c->bcd ? 10000 : 0x10000;
	if (triggered_by_gate(c)) { // in force at the next trigger
		c->pending = value;
		if (c->count == 0) c->count = value;
		return;
	}
	if (periodic(c) && c->count != 0) {
		if (!c->running) { // the gate holds it: loaded when the gate rises
			c->count = value;
			return;
		}
		uint64_t phase = elapsed(c, now) % c->count, half = high_half(c);
		uint64_t left = c->mode == 3 && phase < half ? half - phase : c->count - phase;
		c->switch_tick = left + ((int64_t)(now - c->start) < 0 ? c->start : now);
		c->pending = value;
		return;
	}
	c->count = value;
	c->pending = 0;
	c->held = 0;
	c->start = now + 1;
	c->running = c->gate;
}

static void count_write(struct vpit *p, unsigned index, uint8_t value) {
	struct vpit_channel *c = &p->channel[index];
	uint64_t now = ticks_now(p);
	change_begin(p, c, now);
	if (c->access == ACCESS_BOTH && !c->write_high) {
		c->write_low = value;
		c->write_high = 1;
		if (c->mode == 0) { // the first byte stops the count and lowers the output (82C54, "Mode 0")
			c->count = 0;
			c->running = 0;
			c->held = 0;
			if (index == 0) channel0_changed(p);
		}
		return;
	}
	uint32_t count = value;
	if (c->access == ACCESS_HIGH) count = (uint32_t)value << 8;
	if (c->access == ACCESS_BOTH) count = (uint32_t)value << 8 | c->write_low;
	c->write_high = 0;
	count_load(c, count, now);
	if (index == 0) channel0_changed(p);
}

static uint8_t count_read(struct vpit *p, unsigned index) {
	struct vpit_channel *c = &p->channel[index];
	uint64_t now = ticks_now(p);
	settle(c, now);
	if (c->status_valid) {
		c->status_valid = 0;
		return c->status;
	}
	bool high = c->access == ACCESS_HIGH;
	if (c->access == ACCESS_BOTH) {
		high = c->read_high;
		c->read_high ^= 1;
	}
	uint16_t value = c->latch_bytes ? c->latched : count_value(c, now);
	if (c->latch_bytes) c->latch_bytes--;
	return (uint8_t)(high ? value >> 8 : value);
}

static void count_latch(struct vpit_channel *c, uint64_t now) {
	if (c->latch_bytes) return; // an unread latch stays (82C54, "Counter latch command")
	c->latched = count_value(c, now);
	c->latch_bytes = c->access == ACCESS_BOTH ? 2 : 1;
	c->read_high = 0;
}

static void status_latch(struct vpit_channel *c, uint64_t now) {
	if (c->status_valid) return;
	bool null = c->count == 0 || c->pending != 0 || (c->running && (int64_t)(now - c->start) < 0);
	c->status = (uint8_t)((output(c, now) ? STATUS_OUT : 0) | (null ? STATUS_NULL : 0) | c->access << 4 |
	                      c->mode << 1 | c->bcd);
	c->status_valid = 1;
}

static void read_back(struct vpit *p, uint8_t command) {
	uint64_t now = ticks_now(p);
	for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
		if (!(command & 2u << i)) continue;
		settle(&p->channel[i], now);
		if (!(command & READ_BACK_NO_COUNT)) count_latch(&p->channel[i], now);
		if (!(command & READ_BACK_NO_STATUS)) status_latch(&p->channel[i], now);
	}
}

static void control_write(struct vpit *p, uint8_t value) {
	unsigned index = value >> 6;
	if (index == SELECT_READ_BACK) {
		read_back(p, value);
		return;
	}
	struct vpit_channel *c = &p->channel[index];
	uint64_t now = ticks_now(p);
	uint8_t access = value >> 4 & 3;
	change_begin(p, c, now);
	if (access == ACCESS_LATCH) {
		count_latch(c, now);
		return;
	}
	uint8_t mode = value >> 1 & 7;
	*c = (struct vpit_channel){
	    .access = access,
	    .mode = mode > 5 ? mode - 4 : mode, // 110 and 111 are modes 2 and 3
	    .bcd = value & CONTROL_BCD,
	    .gate = c->gate,
	};
	if (index == 0) channel0_changed(p);
}

// The gate of channel 2 (82C54, "Gate pin operations summary").
static void gate_set(struct vpit_channel *c, bool gate, uint64_t now) {
	if (gate == (c->gate != 0)) return;
	settle(c, now);
	c->gate = gate;
	if (c->count == 0) return;
	if (triggered_by_gate(c)) {
		if (!gate) return;
		if (c->pending != 0) c->count = c->pending;
		c->pending = 0;
		c->start = now + 1;
		c->running = 1;
	} else if (!gate) {
		c->held = elapsed(c, now);
		if (periodic(c) && c->pending != 0) {
			c->count = c->pending; // the gate reloads the counter when it rises
			c->pending = 0;
		}
		c->running = 0;
	} else {
		c->start = periodic(c) ? now + 1 : now - c->held;
		c->running = 1;
	}
}

static uint8_t pit_read_byte(void *dev, unsigned offset) {
	return offset == CONTROL_PORT ? 0xff : count_read(dev, offset); // the control word is write-only
}

static void pit_write_byte(void *dev, unsigned offset, uint8_t value) {
	if (offset == CONTROL_PORT) {
		control_write(dev, value);
	} else {
		count_write(dev, offset, value);
	}
}

static uint64_t vpit_read(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, pit_read_byte);
}

static void vpit_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, pit_write_byte);
}

static uint64_t port_b_read(void *dev, uint64_t offset, unsigned bytes) {
	(void)offset, (void)bytes;
	struct vpit *p = dev;
	uint64_t now = ticks_now(p);
	settle(&p->channel[2], now);
	uint64_t refresh = (vm_now_ns(p->vdev.vm) - p->anchor_ns) / REFRESH_NS & 1;
	return p->speaker | (refresh ? PORT_B_REFRESH : 0) | (output(&p->channel[2], now) ? PORT_B_OUT2 : 0);
}

static void port_b_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	(void)offset, (void)bytes;
	struct vpit *p = dev;
	p->speaker = value & PORT_B_WRITABLE;
	gate_set(&p->channel[2], (value & PORT_B_GATE2) != 0, ticks_now(p));
}

static const struct io_ops vpit_ops = {.read = vpit_read, .write = vpit_write};
static const struct io_ops port_b_ops = {.read = port_b_read, .write = port_b_write};

static struct vpit *vpit_of(struct vdev *self) { return container_of(self, struct vpit, vdev); }

static void vpit_reset(struct vdev *self) {
	struct vpit *p = vpit_of(self);
	vm_timer_cancel(self->vm, &p->edge);
	p->anchor_ns = 0; // in step with the VM's clock, which may start again after a reset
	p->speaker = 0;
	for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
		p->channel[i] = (struct vpit_channel){.access = ACCESS_BOTH, .gate = i != 2};
	}
	p->owed = 0;
	p->line = false;
	vm_gsi_set(self->vm, GUEST_PIT_GSI, false);
}

static int vpit_create(struct vdev *self, const struct vdev_config *config) {
	(void)config;
	struct vpit *p = vpit_of(self);
	timer_init(&p->edge, edge_fire, p);
	int err = iobus_register(vm_pio(self->vm), GUEST_PIT_PORT, PIT_PORTS, &vpit_ops, p);
	if (!err) err = iobus_register(vm_pio(self->vm), GUEST_SPEAKER_PORT, 1, &port_b_ops, p);
	if (!err) vpit_reset(self);
	return err;
}

static void vpit_save(const struct vdev *self, void *record) {
	const struct vpit *p = container_of(self, const struct vpit, vdev);
	struct vpit_state s = {
	    .elapsed_ns = vm_now_ns(self->vm) - p->anchor_ns,
	    .timer_ns = vdev_timer_save(self, &p->edge),
	    .edge_tick = p->edge_tick,
	    .owed = p->owed,
	    .line = p->line,
	    .speaker = p->speaker,
	};
	memcpy(s.channel, p->channel, sizeof s.channel);
	memcpy(record, &s, sizeof s);
}

static bool channel_valid(const struct vpit_channel *c) {
	return c->count <= 0x10000 && (c->count != 0 || !c->running) && c->pending <= 0x10000 &&
	       c->latch_bytes <= 2 && c->status_valid <= 1 && c->mode <= 5 && c->access >= ACCESS_LOW &&
	       c->access <= ACCESS_BOTH && c->bcd <= 1 && c->gate <= 1 && c->running <= 1 && c->read_high <= 1 &&
	       c->write_high <= 1;
}

static int vpit_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vpit *p = vpit_of(self);
	struct vpit_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
		if (!channel_valid(&s.channel[i])) return -ERR_FORMAT;
	}
	if (s.line > 1 || s.owed > OWED_MAX || (s.speaker & ~PORT_B_WRITABLE)) return -ERR_FORMAT;
	p->anchor_ns = vm_now_ns(self->vm) - s.elapsed_ns;
	p->edge_tick = s.edge_tick;
	p->owed = s.owed;
	p->line = s.line != 0;
	p->speaker = s.speaker;
	memcpy(p->channel, s.channel, sizeof p->channel);
	vdev_timer_load(self, &p->edge, s.timer_ns);
	vm_gsi_set(self->vm, GUEST_PIT_GSI, p->line);
	return 0;
}

_Static_assert(sizeof(struct vpit_channel) == 48 && sizeof(struct vpit_state) == 176,
               "no holes in the record");

const struct vdev_class vpit_class = {
    .name = "vpit",
    .state_version = VPIT_STATE_VERSION,
    .object_bytes = sizeof(struct vpit),
    .state_bytes = sizeof(struct vpit_state),
    .create = vpit_create,
    .reset = vpit_reset,
    .save = vpit_save,
    .load = vpit_load,
};
