// SPDX-License-Identifier: Apache-2.0
// The MC146818 real-time clock (Motorola data sheet) with 128 bytes of CMOS at ports 0x70 and 0x71. Reads
// nothing of its config; interrupts come on GSI 8. The guest's clock is vm_wall_seconds plus an offset that
// the guest sets; the divider chain is in step with it, so the second changes and the periodic rates tick
// where vm_now_ns passes a multiple of their period. Nothing ticks by itself: event flags are brought up
// to date when somebody looks, and a timer runs only for an enabled interrupt whose flag is still clear.
// A reset leaves time, alarm and memory alone, as the battery does.
#include "drivers/vdev/vrtc.h"

#include "drivers/vdev/common.h"
#include "drivers/vdev/ticks.h"
#include "drivers/vdev/vrtc_calendar.h"
#include "kernel/guestmap.h"

#define CRYSTAL_HZ 32768u
// From 244 us before an update cycle to its end (data sheet, "Update cycle", 32.768 kHz time base).
#define UPDATE_NS UINT64_C(2228000)

enum {
	REG_SECOND = 0x00,
	REG_SECOND_ALARM = 0x01,
	REG_MINUTE = 0x02,
	REG_MINUTE_ALARM = 0x03,
	REG_HOUR = 0x04,
	REG_HOUR_ALARM = 0x05,
	REG_WEEKDAY = 0x06,
	REG_DAY = 0x07,
	REG_MONTH = 0x08,
	REG_YEAR = 0x09,
	REG_A = 0x0a,
	REG_B = 0x0b,
	REG_C = 0x0c,
	REG_D = 0x0d
};
enum { A_UIP = 0x80, A_DIVIDER_RESET = 0x60, A_RATE = 0x0f, A_DEFAULT = 0x26 };
enum { B_SET = 0x80, B_UIE = 0x10, B_SQWE = 0x08, B_BINARY = 0x04, B_24H = 0x02, B_DEFAULT = B_24H };
enum {
	C_IRQF = 0x80,
	C_PF = 0x40,
	C_AF = 0x20,
	C_UF = 0x10,
	C_EVENTS = C_PF | C_AF | C_UF
}; // B's enables too
enum { D_VALID = 0x80 };
enum { HOUR_PM = 0x80, ALARM_ANY = 0xc0, INDEX_MASK = 0x7f, INDEX_NMI_OFF = 0x80 };
// What a PC's firmware keeps in the memory (IBM AT Technical Reference, "CMOS RAM address map").
enum {
	CMOS_EQUIPMENT = 0x14,
	CMOS_BASE_KB = 0x15,
	CMOS_EXTENDED_KB = 0x17,
	CMOS_SUM_FIRST = 0x10,
	CMOS_SUM = 0x2e, // high byte first
	CMOS_EXTENDED_KB_FOUND = 0x30,
	CMOS_ABOVE_16M = 0x34, // in 64 KiB
	CMOS_ABOVE_4G = 0x5b,  // in 64 KiB, three bytes
	EQUIPMENT_FPU = 0x02
};

struct vrtc {
	struct vdev vdev;
	struct timer event;
	int64_t offset_seconds;
	uint64_t checked_ns; // up to when the flags in register C are right
	bool line;
	uint8_t index;
	uint8_t cmos[VRTC_CMOS_BYTES]; // the clock's registers are right while it is stopped
};

static bool clock_running(const struct vrtc *r) {
	return !(r->cmos[REG_B] & B_SET) && (r->cmos[REG_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static int64_t clock_seconds(const struct vrtc *r) {
	return (int64_t)vm_wall_seconds(r->vdev.vm) + r->offset_seconds;
}

static uint8_t encode(const struct vrtc *r, unsigned value) {
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct vrtc *r, uint8_t value) {
	return r->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15u);
}

// Hours 1..12 and a PM bit, unless register B says 24 hours.
static uint8_t encode_hour(const struct vrtc *r, unsigned hour) {
	if (r->cmos[REG_B] & B_24H) return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static unsigned decode_hour(const struct vrtc *r, uint8_t value) {
	if (r->cmos[REG_B] & B_24H) return decode(r, value);
	return decode(r, value & (uint8_t)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

// The running clock into its registers.
static void clock_show(struct vrtc *r) {
	struct calendar t;
	calendar_from_seconds(clock_seconds(r), &t);
	r->cmos[REG_SECOND] = encode(r, t.second);
	r->cmos[REG_MINUTE] = encode(r, t.minute);
	r->cmos[REG_HOUR] = encode_hour(r, t.hour);
	r->cmos[REG_WEEKDAY] = encode(r, t.weekday + 1);
	r->cmos[REG_DAY] = encode(r, t.day);
	r->cmos[REG_MONTH] = encode(r, t.month);
	r->cmos[REG_YEAR] = encode(r, t.year % 100);
	r->cmos[GUEST_CMOS_CENTURY] = encode(r, t.year / 100);
}

// The registers, as the guest wrote them, become the time. The weekday follows from the date.
static void clock_set(struct vrtc *r) {
	const struct calendar t = {
	    .year = decode(r, r->cmos[GUEST_CMOS_CENTURY]) * 100 + decode(r, r->cmos[REG_YEAR]),
	    .month = decode(r, r->cmos[REG_MONTH]),
	    .day = decode(r, r->cmos[REG_DAY]),
	    .hour = decode_hour(r, r->cmos[REG_HOUR]),
	    .minute = decode(r, r->cmos[REG_MINUTE]),
	    .second = decode(r, r->cmos[REG_SECOND]),
	};
	r->offset_seconds = calendar_to_seconds(&t) - (int64_t)vm_wall_seconds(r->vdev.vm);
}

static bool clock_register(unsigned index) {
	return index == REG_SECOND || index == REG_MINUTE || index == REG_HOUR ||
	       (index >= REG_WEEKDAY && index <= REG_YEAR) || index == GUEST_CMOS_CENTURY;
}

static bool alarm_matches(uint8_t alarm, unsigned alarm_value, unsigned value) {
	return (alarm & ALARM_ANY) == ALARM_ANY || alarm_value == value;
}

// Seconds from `from` to the first alarm after it, 1..86400; 0 when the registers name no time of day.
// The loop skips whole hours and minutes, so it is bounded by 24 + 60 + 60 steps.
static unsigned alarm_distance(const struct vrtc *r, int64_t from) {
	const uint8_t *c = r->cmos;
	unsigned hour = decode_hour(r, c[REG_HOUR_ALARM]), minute = decode(r, c[REG_MINUTE_ALARM]);
	unsigned second = decode(r, c[REG_SECOND_ALARM]);
	struct calendar t;
	calendar_from_seconds(from, &t);
	unsigned now = t.hour * 3600 + t.minute * 60 + t.second, at = now + 1;
	while (at <= now + 86400) {
		if (!alarm_matches(c[REG_HOUR_ALARM], hour, at / 3600 % 24)) {
			at = (at / 3600 + 1) * 3600;
		} else if (!alarm_matches(c[REG_MINUTE_ALARM], minute, at / 60 % 60)) {
			at = (at / 60 + 1) * 60;
		} else if (!alarm_matches(c[REG_SECOND_ALARM], second, at % 60)) {
			at++;
		} else {
			return at - now;
		}
	}
	return 0;
}

// Ticks of the crystal between two periodic events, 0 for none (data sheet, table "Periodic interrupt
// rate": rates 1 and 2 of this time base are those of 8 and 9).
static uint64_t periodic_ticks(const struct vrtc *r) {
	unsigned rate = r->cmos[REG_A] & A_RATE;
	if (rate == 0 || (r->cmos[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET) return 0;
	return UINT64_C(1) << ((rate <= 2 ? rate + 7 : rate) - 1);
}

// Sets the flags of everything that happened since they were looked at last.
static void flags_update(struct vrtc *r) {
	uint64_t now = vm_now_ns(r->vdev.vm), period = periodic_ticks(r);
	uint64_t from = min_u64(r->checked_ns, now); // after a reset the clock may have started again
	r->checked_ns = now;
	if (period && ns_to_ticks(now, CRYSTAL_HZ) / period != ns_to_ticks(from, CRYSTAL_HZ) / period) {
		r->cmos[REG_C] |= C_PF;
	}
	uint64_t seconds = now / NS_PER_SECOND - from / NS_PER_SECOND;
	if (seconds == 0 || !clock_running(r)) return;
	r->cmos[REG_C] |= C_UF;
	if (r->cmos[REG_C] & C_AF) return;
	unsigned distance = alarm_distance(r, clock_seconds(r) - (int64_t)min_u64(seconds, 86400));
	if (distance != 0 && distance <= seconds) r->cmos[REG_C] |= C_AF;
}

// The instant of the first event whose interrupt is enabled and whose flag is clear.
static uint64_t next_event_ns(const struct vrtc *r) {
	uint64_t now = vm_now_ns(r->vdev.vm), next = TIMER_NEVER, period = periodic_ticks(r);
	uint8_t waiting = r->cmos[REG_B] & (uint8_t)~r->cmos[REG_C] & C_EVENTS;
	uint64_t second = now / NS_PER_SECOND;
	if ((waiting & C_PF) && period) {
		next = ticks_to_ns((ns_to_ticks(now, CRYSTAL_HZ) / period + 1) * period, CRYSTAL_HZ);
	}
	if (!clock_running(r)) return next;
	if (waiting & C_UF) next = min_u64(next, (second + 1) * NS_PER_SECOND);
	if (waiting & C_AF) {
		unsigned distance = alarm_distance(r, clock_seconds(r));
		if (distance != 0) next = min_u64(next, (second + distance) * NS_PER_SECOND);
	}
	return next;
}

// Line and timer after anything changed; the flags are up to date.
static void update(struct vrtc *r) {
	bool level = (r->cmos[REG_B] & r->cmos[REG_C] & C_EVENTS) != 0;
	if (level != r->line) vm_gsi_set(r->vdev.vm, GUEST_RTC_GSI, level);
	r->line = level;
	uint64_t next = next_event_ns(r);
	if (next == TIMER_NEVER) {
		vm_timer_cancel(r->vdev.vm, &r->event);
	} else {
		vm_timer_arm(r->vdev.vm, &r->event, next);
	}
}

static void event_fire(void *ctx) {
	struct vrtc *r = ctx;
	flags_update(r);
	update(r);
}

static uint8_t register_c_read(struct vrtc *r) {
	flags_update(r);
	uint8_t value = r->cmos[REG_C] | (r->cmos[REG_B] & r->cmos[REG_C] & C_EVENTS ? C_IRQF : 0);
	r->cmos[REG_C] = 0;
	update(r);
	return value;
}

static uint8_t register_read(struct vrtc *r, unsigned index) {
	if (index == REG_C) return register_c_read(r);
	if (index == REG_A && clock_running(r)) {
		uint64_t phase = vm_now_ns(r->vdev.vm) % NS_PER_SECOND;
		return r->cmos[REG_A] | (phase >= NS_PER_SECOND - UPDATE_NS ? A_UIP : 0);
	}
	if (clock_register(index) && clock_running(r)) clock_show(r);
	return r->cmos[index];
}

// Registers A and B: the clock stops with its time in the registers and takes it from there again.
static void control_write(struct vrtc *r, unsigned index, uint8_t value) {
	bool was_running = clock_running(r);
	if (was_running) clock_show(r);
	if (index == REG_A) value &= (uint8_t)~A_UIP;
	if (index == REG_B && (value & B_SET)) value &= (uint8_t)~B_UIE; // data sheet, "SET"
	r->cmos[index] = value;
	if (!was_running && clock_running(r)) clock_set(r);
}

static void register_write(struct vrtc *r, unsigned index, uint8_t value) {
	if (index == REG_C || index == REG_D) return; // read-only
	flags_update(r);
	if (index == REG_A || index == REG_B) {
		control_write(r, index, value);
	} else if (clock_register(index) && clock_running(r)) {
		clock_show(r);
		r->cmos[index] = value;
		clock_set(r);
	} else {
		r->cmos[index] = value;
	}
	update(r);
}

static uint8_t read_byte(void *dev, unsigned offset) {
	struct vrtc *r = dev;
	return offset == 0 ? 0xff : register_read(r, r->index & INDEX_MASK); // the index is write-only
}

static void write_byte(void *dev, unsigned offset, uint8_t value) {
	struct vrtc *r = dev;
	if (offset == 0) {
		r->index = value;
	} else {
		register_write(r, r->index & INDEX_MASK, value);
	}
}

static uint64_t vrtc_read(void *dev, uint64_t offset, unsigned bytes) {
	return vdev_read_bytes(dev, offset, bytes, read_byte);
}

static void vrtc_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	vdev_write_bytes(dev, offset, bytes, value, write_byte);
}

static const struct io_ops vrtc_ops = {.read = vrtc_read, .write = vrtc_write};

static struct vrtc *vrtc_of(struct vdev *self) { return container_of(self, struct vrtc, vdev); }

static void cmos_sum(struct vrtc *r) {
	unsigned sum = 0;
	for (unsigned i = CMOS_SUM_FIRST; i < CMOS_SUM; i++) sum += r->cmos[i];
	r->cmos[CMOS_SUM] = (uint8_t)(sum >> 8);
	r->cmos[CMOS_SUM + 1] = (uint8_t)sum;
}

void vrtc_memory_set(struct vdev *vrtc, uint64_t below_4g_bytes, uint64_t above_4g_bytes) {
	struct vrtc *r = vrtc_of(vrtc);
	uint64_t extended = below_4g_bytes > MIB ? min_u64((below_4g_bytes - MIB) / KIB, 0xfc00) : 0;
	uint64_t above_16m = below_4g_bytes > 16 * MIB ? (below_4g_bytes - 16 * MIB) / (64 * KIB) : 0;
	uint64_t above_4g = min_u64(above_4g_bytes / (64 * KIB), 0xffffff);
	put_le16(&r->cmos[CMOS_BASE_KB], (uint16_t)min_u64(below_4g_bytes / KIB, 640));
	put_le16(&r->cmos[CMOS_EXTENDED_KB], (uint16_t)extended);
	put_le16(&r->cmos[CMOS_EXTENDED_KB_FOUND], (uint16_t)extended);
	put_le16(&r->cmos[CMOS_ABOVE_16M], (uint16_t)min_u64(above_16m, 0xffff));
	put_le16(&r->cmos[CMOS_ABOVE_4G], (uint16_t)above_4g);
	r->cmos[CMOS_ABOVE_4G + 2] = (uint8_t)(above_4g >> 16);
	cmos_sum(r);
}

bool vrtc_nmi_masked(const struct vdev *vrtc) {
	return (container_of(vrtc, const struct vrtc, vdev)->index & INDEX_NMI_OFF) != 0;
}

static void vrtc_reset(struct vdev *self) {
	struct vrtc *r = vrtc_of(self);
	r->index = 0;
	r->cmos[REG_A] = A_DEFAULT;
	r->cmos[REG_B] = B_DEFAULT;
	r->cmos[REG_C] = 0;
	r->cmos[REG_D] = D_VALID;
	r->checked_ns = vm_now_ns(self->vm);
	update(r);
	vm_gsi_set(self->vm, GUEST_RTC_GSI, false);
}

static int vrtc_create(struct vdev *self, const struct vdev_config *config) {
	(void)config;
	struct vrtc *r = vrtc_of(self);
	timer_init(&r->event, event_fire, r);
	int err = iobus_register(vm_pio(self->vm), GUEST_RTC_PORT, 2, &vrtc_ops, r);
	if (err) return err;
	r->cmos[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
	vrtc_memory_set(self, 640 * KIB, 0);
	vrtc_reset(self);
	return 0;
}

static void vrtc_save(const struct vdev *self, void *record) {
	struct vrtc now = *container_of(self, const struct vrtc, vdev); // a copy to bring up to date
	flags_update(&now);
	if (clock_running(&now)) clock_show(&now);
	struct vrtc_state s = {.offset_seconds = now.offset_seconds, .index = now.index};
	memcpy(s.cmos, now.cmos, sizeof s.cmos);
	memcpy(record, &s, sizeof s);
}

static int vrtc_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vrtc *r = vrtc_of(self);
	struct vrtc_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if ((s.cmos[REG_A] & A_UIP) || (s.cmos[REG_C] & ~C_EVENTS) || s.cmos[REG_D] != D_VALID)
		return -ERR_FORMAT;
	if (s.offset_seconds < CALENDAR_MIN - CALENDAR_MAX || s.offset_seconds > CALENDAR_MAX - CALENDAR_MIN) {
		return -ERR_FORMAT;
	}
	r->offset_seconds = s.offset_seconds;
	r->index = s.index;
	memcpy(r->cmos, s.cmos, sizeof r->cmos);
	r->checked_ns = vm_now_ns(self->vm);
	update(r);
	vm_gsi_set(self->vm, GUEST_RTC_GSI, r->line);
	return 0;
}

_Static_assert(sizeof(struct vrtc_state) == 144, "no holes in the record");

const struct vdev_class vrtc_class = {
    .name = "vrtc",
    .state_version = VRTC_STATE_VERSION,
    .object_bytes = sizeof(struct vrtc),
    .state_bytes = sizeof(struct vrtc_state),
    .create = vrtc_create,
    .reset = vrtc_reset,
    .save = vrtc_save,
    .load = vrtc_load,
};
