// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware (ACPI 6.4 section 4.8, "ACPI register model"): PM1a event and control blocks and
// the PM timer in one block of ports. Reads of its config: index, the width of the PM timer (24 or 32; 0 means 32). The
// machine is always in ACPI mode (no SMI_CMD), so SCI_EN reads 1. The timer is computed from the VM's
// clock; a host timer runs only while its carry interrupt is enabled.
#include "drivers/vdev/vpm.h"

#include "drivers/vdev/common.h"
#include "drivers/vdev/ticks.h"
#include "kernel/guestmap.h"

#define PM_TIMER_HZ 3579545u

enum { DWORD_EVT = 0, DWORD_CNT = 1, DWORD_TMR = 2 }; // which 32 bits of the block
// PM1 status and enable (ACPI 6.4 tables 4.11, 4.12) share their bit positions.
enum {
	PM1_TMR = 0x0001,
	PM1_GBL = 0x0020,
	PM1_PWRBTN = 0x0100,
	PM1_SLPBTN = 0x0200,
	PM1_RTC = 0x0400,
	PM1_WAK = 0x8000
};
// Every enable bit can be set, as Linux checks when it takes over the RTC's alarm; there is nothing behind
// SLPBTN and RTC, which the FADT says.
enum {
	STATUS_KEPT = PM1_GBL | PM1_PWRBTN | PM1_WAK,
	ENABLE_KEPT = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC
};
// PM1 control (table 4.13).
enum {
	CNT_SCI_EN = 0x0001,
	CNT_BM_RLD = 0x0002,
	CNT_SLP_TYP_SHIFT = 10,
	CNT_SLP_TYP = 0x1c00,
	CNT_SLP_EN = 0x2000
};
enum { CONTROL_KEPT = CNT_BM_RLD | CNT_SLP_TYP };

struct vpm {
	struct vdev vdev;
	uint32_t timer_bits;
	bool line;
	uint16_t status, enable, control;
	uint64_t anchor_ns; // PM timer tick 0
	uint64_t carries_seen;
	struct timer carry;
};

static uint64_t ticks_now(const struct vpm *p) {
	return ns_to_ticks(vm_now_ns(p->vdev.vm) - p->anchor_ns, PM_TIMER_HZ);
}

// The most significant bit of the timer changes once per carry, and each change sets TMR_STS
// (ACPI 6.4 section 4.8.2.1, "Power management timer").
static uint64_t carries_now(const struct vpm *p) { return ticks_now(p) >> (p->timer_bits - 1); }

static uint16_t status_now(const struct vpm *p) {
	return p->status | (carries_now(p) != p->carries_seen ? PM1_TMR : 0);
}

// The SCI follows status and enable; the carry timer runs when it can change that.
static void update(struct vpm *p) {
	struct vm *vm = p->vdev.vm;
	uint16_t status = status_now(p);
	if ((p->enable & PM1_TMR) && !(status & PM1_TMR)) {
		uint64_t tick = (carries_now(p) + 1) << (p->timer_bits - 1);
		vm_timer_arm(vm, &p->carry, p->anchor_ns + ticks_to_ns(tick, PM_TIMER_HZ));
	} else {
		vm_timer_cancel(vm, &p->carry);
	}
	bool level = (status & p->enable) != 0;
	if (level != p->line) vm_gsi_set(vm, GUEST_SCI_GSI, level);
	p->line = level;
}

static void carry_fire(void *ctx) { update(ctx); }

static uint32_t dword_read(struct vpm *p, unsigned dword) {
	switch (dword) {
	case DWORD_EVT: return status_now(p) | (uint32_t)p->enable << 16;
	case DWORD_CNT: return p->control | CNT_SCI_EN;
	default: return (uint32_t)(ticks_now(p) & MASK64(p->timer_bits - 1, 0));
	}
}

static void control_write(struct vpm *p, uint16_t value) {
	p->control = value & CONTROL_KEPT;
	if (!(value & CNT_SLP_EN)) return;
	unsigned type = (unsigned)(value & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT;
	if (type == GUEST_SLP_TYP_S5) {
		vm_end_request(p->vdev.vm, VM_END_POWEROFF, 0);
	} else {
		vm_guest_error(p->vdev.vm, "vpm", "sleep type %u is not offered", type);
	}
}

// `lanes` has ones where the access wrote.
static void dword_write(struct vpm *p, unsigned dword, uint32_t value, uint32_t lanes) {
	if (dword == DWORD_CNT) {
		if (lanes & 0xffff) control_write(p, (uint16_t)((p->control & ~lanes) | (value & lanes)));
	} else if (dword == DWORD_EVT) {
		p->status &= (uint16_t) ~(value & lanes); // write one to clear
		if (value & lanes & PM1_TMR) p->carries_seen = carries_now(p);
		uint32_t enable = ((uint32_t)p->enable << 16 & ~lanes) | (value & lanes);
		p->enable = (uint16_t)(enable >> 16) & ENABLE_KEPT;
		update(p);
	}
}

static uint64_t vpm_read(void *dev, uint64_t offset, unsigned bytes) {
	struct vpm *p = dev;
	unsigned dword = (unsigned)offset / 4, shift = 8 * ((unsigned)offset % 4);
	if (shift == 0 && bytes == 4) return dword_read(p, dword); // the PM timer as guests read it
	uint64_t pair = dword_read(p, dword);
	if (shift + 8 * bytes > 32) pair |= (uint64_t)dword_read(p, dword + 1) << 32;
	return trunc_bytes(pair >> shift, bytes);
}

static void vpm_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	struct vpm *p = dev;
	unsigned dword = (unsigned)offset / 4, shift = 8 * ((unsigned)offset % 4);
	uint64_t lanes = trunc_bytes(UINT64_MAX, bytes) << shift;
	dword_write(p, dword, (uint32_t)(value << shift), (uint32_t)lanes);
	if (lanes >> 32) dword_write(p, dword + 1, (uint32_t)(value << shift >> 32), (uint32_t)(lanes >> 32));
}

static const struct io_ops vpm_ops = {.read = vpm_read, .write = vpm_write};

static struct vpm *vpm_of(struct vdev *self) { return container_of(self, struct vpm, vdev); }

void vpm_power_button(struct vdev *vpm) {
	struct vpm *p = vpm_of(vpm);
	p->status |= PM1_PWRBTN;
	update(p);
}

static void vpm_reset(struct vdev *self) {
	struct vpm *p = vpm_of(self);
	p->anchor_ns = 0; // in step with the VM's clock, which may start again after a reset
	p->status = p->enable = p->control = 0;
	p->carries_seen = carries_now(p);
	update(p);
	vm_gsi_set(self->vm, GUEST_SCI_GSI, false);
}

static int vpm_create(struct vdev *self, const struct vdev_config *config) {
	struct vpm *p = vpm_of(self);
	p->timer_bits = config->index ? config->index : 32;
	if (p->timer_bits != 24 && p->timer_bits != 32) return -ERR_INVAL;
	timer_init(&p->carry, carry_fire, p);
	int err = iobus_register(vm_pio(self->vm), GUEST_PM_PORT, GUEST_PM_BYTES, &vpm_ops, p);
	if (!err) vpm_reset(self);
	return err;
}

static void vpm_save(const struct vdev *self, void *record) {
	const struct vpm *p = container_of(self, const struct vpm, vdev);
	const struct vpm_state s = {
	    .elapsed_ns = vm_now_ns(self->vm) - p->anchor_ns,
	    .carries_seen = p->carries_seen,
	    .timer_ns = vdev_timer_save(self, &p->carry),
	    .status = p->status,
	    .enable = p->enable,
	    .control = p->control,
	};
	memcpy(record, &s, sizeof s);
}

static int vpm_load(struct vdev *self, const void *record, uint32_t bytes, uint16_t version) {
	struct vpm *p = vpm_of(self);
	struct vpm_state s;
	int err = vdev_record_copy(self->class, &s, record, bytes, version);
	if (err) return err;
	if ((s.status & ~STATUS_KEPT) || (s.enable & ~ENABLE_KEPT) || (s.control & ~CONTROL_KEPT)) {
		return -ERR_FORMAT;
	}
	p->anchor_ns = vm_now_ns(self->vm) - s.elapsed_ns;
	p->carries_seen = s.carries_seen;
	p->status = s.status;
	p->enable = s.enable;
	p->control = s.control;
	update(p);
	vdev_timer_load(self, &p->carry, s.timer_ns);
	vm_gsi_set(self->vm, GUEST_SCI_GSI, p->line);
	return 0;
}

_Static_assert(sizeof(struct vpm_state) == 32, "no holes in the record");

const struct vdev_class vpm_class = {
    .name = "vpm",
    .state_version = VPM_STATE_VERSION,
    .object_bytes = sizeof(struct vpm),
    .state_bytes = sizeof(struct vpm_state),
    .create = vpm_create,
    .reset = vpm_reset,
    .save = vpm_save,
    .load = vpm_load,
};
