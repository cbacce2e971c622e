// SPDX-License-Identifier: Apache-2.0
// All legacy devices under random port traffic and time. Two properties beyond "nothing breaks": a VM
// that was loaded from records at a random point, on a clock that shows another time, continues exactly
// like the one that it was saved from; and a record with random damage is refused or survived.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/vdev/vpm.h"
#include "kernel/backend.h"
#include "kernel/guestmap.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "tests/unit/vm_double.h"

#define SECOND UINT64_C(1000000000)

enum { UART, PIT, RTC, PM, PCI, PS2, RESET, DEBUG_EXIT, DEVICES };

// Back end of the UART: a queue of input, and a running sum of what was sent.
struct back {
	struct chardev chardev;
	uint8_t queue[64];
	size_t queued;
	uint64_t sent, sum;
};

struct machine {
	struct vm vm;
	struct back back;
	struct vdev *device[DEVICES];
	// Counters when the twin was loaded: from there on both must move alike.
	uint32_t rises[16], ends, errors;
	uint64_t sent;
};

static bool back_write(struct chardev *self, const uint8_t *bytes, size_t count) {
	struct back *b = container_of(self, struct back, chardev);
	for (size_t i = 0; i < count; i++) b->sum = b->sum * 31 + bytes[i];
	b->sent += count;
	return true;
}

static size_t back_read(struct chardev *self, uint8_t *bytes, size_t count) {
	struct back *b = container_of(self, struct back, chardev);
	size_t taken = min_u64(count, b->queued);
	memcpy(bytes, b->queue, taken);
	b->queued -= taken;
	memmove(b->queue, b->queue + taken, b->queued);
	return taken;
}

static struct machine *machine_new(uint64_t now_ns) {
	static const struct {
		const struct vdev_class *class;
		struct vdev_config config;
	} plan[DEVICES] = {
	    [UART] = {&vuart_class, {.base = GUEST_COM1_PORT, .gsi = GUEST_COM1_GSI}},
	    [PIT] = {&vpit_class, {0}},
	    [RTC] = {&vrtc_class, {0}},
	    [PM] = {&vpm_class, {.index = 24}},
	    [PCI] = {&vpci_class, {0}},
	    [PS2] = {&vps2_class, {0}},
	    [RESET] = {&vreset_class, {0}},
	    [DEBUG_EXIT] = {&vdebugexit_class, {.base = 0xf4}},
	};
	struct machine *m = calloc(1, sizeof *m);
	assert(m);
	vm_double_init(&m->vm);
	m->vm.now_ns = now_ns;
	m->vm.wall_base_seconds -= now_ns / SECOND; // the same wall clock whatever the VM's clock says
	m->back.chardev = (struct chardev){.write = back_write, .read = back_read};
	for (unsigned i = 0; i < DEVICES; i++) {
		struct vdev_config config = plan[i].config;
		if (i == UART) config.chardev = &m->back.chardev;
		m->device[i] = vm_double_create(&m->vm, plan[i].class, &config, NULL);
		assert(m->device[i]);
	}
	return m;
}

static void machine_free(struct machine *m) {
	if (m) vm_double_destroy(&m->vm);
	free(m);
}

static void mark(struct machine *m) {
	memcpy(m->rises, m->vm.gsi_rises, sizeof m->rises);
	m->ends = m->vm.end_count;
	m->errors = m->vm.guest_errors;
	m->sent = m->back.sent;
}

static void same(const struct machine *a, const struct machine *b) {
	for (unsigned i = 0; i < 16; i++) {
		assert(a->vm.gsi_level[i] == b->vm.gsi_level[i]);
		assert(a->vm.gsi_rises[i] - a->rises[i] == b->vm.gsi_rises[i] - b->rises[i]);
	}
	assert(a->vm.end_count - a->ends == b->vm.end_count - b->ends);
	assert(a->vm.guest_errors - a->errors == b->vm.guest_errors - b->errors);
	assert(a->back.sent - a->sent == b->back.sent - b->sent);
	assert(a->back.sum == b->back.sum && a->back.queued == b->back.queued);
}

// A twin of `m` from its records. With damage != 0 a byte of one record is changed first; then the twin
// is a stranger, and only its survival counts.
static struct machine *twin(struct machine *m, uint64_t seconds, uint32_t damage) {
	struct machine *t = machine_new(m->vm.now_ns + seconds * SECOND);
	t->vm.wall_base_seconds = m->vm.wall_base_seconds - seconds;
	memcpy(t->back.queue, m->back.queue, sizeof t->back.queue);
	t->back.queued = m->back.queued;
	t->back.sum = m->back.sum;
	for (unsigned i = 0; i < DEVICES; i++) {
		uint8_t *record = vm_double_save(m->device[i]);
		if (damage % DEVICES == i)
			record[damage / 8 % m->device[i]->class->state_bytes] ^= (uint8_t)(damage >> 24);
		int err = vm_double_load(t->device[i], record);
		assert(err == 0 || damage != 0);
		free(record);
	}
	mark(m);
	mark(t);
	return t;
}

static const uint16_t ports[] = {0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x40,  0x41, 0x42,
                                 0x43,  0x61,  0x70,  0x71,  0x71,  0x60,  0x64,  0x92,  0xcf9, 0xf4, 0x600,
                                 0x602, 0x604, 0x605, 0x608, 0x609, 0xcf8, 0xcfc, 0xcfe, 0x601, 0x603};

struct source {
	const uint8_t *data;
	size_t size;
};

static uint32_t take(struct source *s, unsigned bytes) {
	uint32_t v = 0;
	for (unsigned i = 0; i < bytes && s->size != 0; i++, s->data++, s->size--)
		v |= (uint32_t)*s->data << (8 * i);
	return v;
}

// One step of the guest, of time or of the host, from the same bytes on any machine; returns what was read.
static uint64_t step(struct machine *m, struct source *s) {
	uint32_t op = take(s, 1);
	unsigned bytes = 1u << (op >> 3 & 1 ? op >> 4 & 1 : 0); // mostly single bytes
	if ((op & 0xf0) == 0xf0) bytes = 4;
	switch (op & 7) {
	case 0:
	case 1:
	case 2: {
		uint16_t port = ports[take(s, 1) % array_count(ports)];
		vm_double_out(&m->vm, port, bytes, take(s, bytes));
		return 0;
	}
	case 3:
	case 4: return vm_double_in(&m->vm, ports[take(s, 1) % array_count(ports)], bytes);
	case 5: vm_double_run(&m->vm, (uint64_t)take(s, 2) << (op >> 4 & 7)); return 0;
	case 6:
		if (op & 8) {
			vm_double_jump(&m->vm, (uint64_t)take(s, 2) << (op >> 4) << 8);
		} else {
			vm_double_run(&m->vm, take(s, 1));
		}
		return 0;
	default:
		if (op & 8) {
			if (op & 0x80) vpm_power_button(m->device[PM]);
			return 0;
		}
		for (uint32_t n = op >> 4; n > 0 && m->back.queued < sizeof m->back.queue; n--) {
			m->back.queue[m->back.queued++] = (uint8_t)take(s, 1);
		}
		m->back.chardev.input_ready(m->back.chardev.device);
		return 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct source s = {data, size};
	struct machine *m = machine_new(take(&s, 2) * UINT64_C(1000003)), *t = NULL;
	bool stranger = false;
	unsigned forks = 0;
	while (s.size != 0) {
		if (*s.data % 32 == 31 && forks < 8) { // shared with an op of little use
			struct source fork = s;
			uint32_t how = take(&fork, 1);
			uint32_t damage = how & 0x20 ? take(&fork, 4) | 0x01000000 : 0;
			s = fork;
			machine_free(t);
			t = twin(m, how >> 6, damage);
			stranger = damage != 0;
			forks++;
			continue;
		}
		struct source again = s;
		uint64_t read = step(m, &s);
		if (!t) continue;
		uint64_t twin_read = step(t, &again);
		if (stranger) continue;
		assert(read == twin_read);
		same(m, t);
	}
	machine_free(t);
	machine_free(m);
	return 0;
}
