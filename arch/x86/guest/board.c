// SPDX-License-Identifier: Apache-2.0
// Puts the board together. Device objects are allocated here, at build; nothing later.
#include "arch/x86/guest/board.h"

#include "arch/x86/guest/vcpu.h"
#include "kernel/console.h"
#include "kernel/guestmap.h"
#include "kernel/lib/fmt.h"
#include "kernel/memory.h"
#include "kernel/vintc.h"

static int device_create(struct vm *vm, const struct vdev_class *class, const struct vdev_config *config,
                         struct vdev **out) {
	struct vdev *d;
	int err = memory_object(class->object_bytes, (void **)&d);
	if (err < 0) return err;
	d->class = class;
	d->vm = vm;
	list_push_back(&vm->devices, &d->node);
	err = class->create(d, config);
	if (err == 0 && out != NULL) *out = d;
	return err;
}

int board_lapic_create(struct vm *vm, unsigned vcpu_id, struct vdev **lapic) {
	const struct vdev_config config = {.base = GUEST_LAPIC_GPA, .index = vcpu_id};
	return device_create(vm, &vlapic_class, &config, lapic);
}

static void memory_tell(const struct vm *vm, struct vdev *rtc) {
	uint64_t below = 0, above = 0;
	for (unsigned i = 0; i < vm->map_count; i++) {
		const struct load_range *r = &vm->map[i];
		if (r->base < 4 * GIB)
			below = r->base + r->bytes;
		else
			above += r->bytes;
	}
	vrtc_memory_set(rtc, below, above);
}

int board_create(struct vm *vm, struct arch_why *why) {
	struct vdev *rtc;
	const struct {
		const struct vdev_class *class;
		struct vdev_config config;
		struct vdev **out;
	} board[] = {
	    {&vpic_class, {0}, &vm->pic},
	    {&vioapic_class, {.base = GUEST_IOAPIC_GPA, .index = 0}, &vm->ioapic},
	    {&vpit_class, {0}, NULL},
	    {&vrtc_class, {0}, &rtc},
	    {&vpm_class, {0}, NULL},
	    {&vpci_class, {0}, NULL},
	    {&vps2_class, {0}, NULL},
	    {&vreset_class, {0}, NULL},
	    {&vuart_class,
	     {.base = GUEST_COM1_PORT, .gsi = GUEST_COM1_GSI, .chardev = console_chardev(vm)},
	     NULL},
	};
	for (unsigned i = 0; i < array_count(board); i++) {
		int err = device_create(vm, board[i].class, &board[i].config, board[i].out);
		if (err == 0) continue;
		fmt_print(why->text, sizeof why->text, "device %s: %s", board[i].class->name, err_name(err));
		return err;
	}
	memory_tell(vm, rtc);
	if (vm->config->debug_exit < 0) return 0;
	const struct vdev_config config = {.base = (uint64_t)vm->config->debug_exit};
	int err = device_create(vm, &vdebugexit_class, &config, NULL);
	if (err < 0)
		fmt_print(why->text, sizeof why->text, "debug_exit port %#llx: %s", (unsigned long long)config.base,
		          err == -ERR_OVERLAP ? "belongs to a device of the board" : err_name(err));
	return err;
}

void board_destroy(struct vm *vm) {
	while (!list_empty(&vm->devices)) {
		struct vdev *d = container_of(vm->devices.prev, struct vdev, node);
		list_remove(&d->node);
		memory_object_free(d, d->class->object_bytes);
	}
}

void board_reset(struct vm *vm) {
	list_for_each(it, &vm->devices) {
		struct vdev *d = container_of(it, struct vdev, node);
		d->class->reset(d);
	}
}
