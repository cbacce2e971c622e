// SPDX-License-Identifier: Apache-2.0
// Random guest traffic to the virtual PIC, I/O APIC and two local APICs wired as in a PC. Whatever a
// guest writes, nothing trips; and what the local APICs offer can always be taken. Records are made and
// loaded on the way, and the input itself is offered as a record.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/vdev/vioapic.h"
#include "drivers/vdev/vlapic.h"
#include "drivers/vdev/vpic.h"
#include "kernel/lib/assert.h"
#include "tests/unit/vm_double.h"

#define VCPUS 2u

struct input {
	const uint8_t *at, *end;
};

static uint64_t take(struct input *in, unsigned bytes) {
	uint64_t value = 0;
	for (unsigned i = 0; i < bytes && in->at < in->end; i++) value |= (uint64_t)*in->at++ << (8 * i);
	return value;
}

static void save_and_load(struct vdev *device, struct input *in) {
	void *record = vm_double_save(device);
	if (take(in, 1) & 1) device->class->reset(device);
	int err = vm_double_load(device, record);
	assert(err == 0);
	void *again = vm_double_save(device);
	assert(memcmp(record, again, device->class->state_bytes) == 0);
	free(again);
	// A record with foreign bytes in it is taken or refused, never believed half-way.
	uint32_t at = (uint32_t)take(in, 2) % device->class->state_bytes;
	((uint8_t *)record)[at] ^= (uint8_t)take(in, 1);
	(void)vm_double_load(device, record);
	free(record);
}

static void interrupt(struct vm *vm, unsigned vcpu) {
	struct vdev *lapic = vm->lapic[vcpu];
	int vector = vlapic_pending(lapic);
	assert(vector <= vlapic_highest_irr(lapic));
	if (vector >= 0) {
		assert(vector >= (int)VLAPIC_VECTOR_FIRST);
		uint8_t got = vlapic_ack(lapic, (uint8_t)vector);
		assert(got == vector);
	} else if (vlapic_accepts_extint(lapic) && vpic_output(vm->pic)) {
		(void)vpic_ack(vm->pic);
	}
}

static void local_apic(struct vm *vm, struct input *in) {
	struct vdev *lapic = vm->lapic[take(in, 1) % VCPUS];
	uint64_t value = 0;
	unsigned what = (unsigned)take(in, 1);
	uint32_t reg = (uint32_t)take(in, 1);
	switch (what % 9) {
	case 0: (void)vlapic_mmio_read(lapic, reg << 4); break;
	case 1: vlapic_mmio_write(lapic, reg << 4, (uint32_t)take(in, 4)); break;
	case 2: (void)!vlapic_msr_read(lapic, 0x800 + reg, &value); break;
	case 3: (void)!vlapic_msr_write(lapic, 0x800 + reg, take(in, reg == 0x30 ? 8 : 4)); break;
	case 4: (void)!vlapic_base_write(lapic, 0xFEE00000 | (uint64_t)(reg & 15) << 8); break;
	case 5: vlapic_deadline_write(lapic, vm_guest_tsc(vm) + take(in, 3) - (1u << 20)); break;
	case 6: vlapic_cr8_write(lapic, reg & 15); break;
	case 7: vlapic_lint_set(lapic, reg & 1, (reg & 2) != 0); break;
	default:
		if (reg & 1)
			vlapic_init_reset(lapic);
		else
			vlapic_tsc_changed(lapic);
		break;
	}
}

static void chips(struct vm *vm, struct input *in) {
	static const uint16_t ports[] = {0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1};
	unsigned what = (unsigned)take(in, 1);
	unsigned bytes = 1u << (what >> 4 & 3);
	switch (what & 7) {
	case 0: vm_double_out(vm, ports[take(in, 1) % array_count(ports)], 1, take(in, 1)); break;
	case 1: (void)vm_double_in(vm, ports[take(in, 1) % array_count(ports)], 1); break;
	case 2:
		vm_double_mmio_write(vm, VIOAPIC_BASE_DEFAULT, 4, take(in, 1));
		vm_double_mmio_write(vm, VIOAPIC_BASE_DEFAULT + 0x10, 4, take(in, 4));
		break;
	case 3: vm_double_mmio_write(vm, VIOAPIC_BASE_DEFAULT + take(in, 1), bytes, take(in, 4)); break;
	case 4: (void)vm_double_mmio_read(vm, VIOAPIC_BASE_DEFAULT + take(in, 1), bytes); break;
	case 5:
	case 6: {
		unsigned pin = (unsigned)take(in, 1);
		vpic_pin_set(vm->pic, pin & 31, pin >> 7);
		vioapic_pin_set(vm->ioapic, pin & 31, pin >> 7);
		break;
	}
	default:
		for (unsigned i = 0; i < VCPUS; i++) interrupt(vm, i);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct vm vm;
	struct input in = {data, data + size};
	vm_double_init(&vm);
	vm.vcpu_count = VCPUS;
	for (unsigned i = 0; i < VCPUS; i++) {
		(void)vm_double_create(&vm, &vlapic_class, &(struct vdev_config){.index = i}, NULL);
		vlapic_mmio_write(vm.lapic[i], VLAPIC_REG_SVR << 4, VLAPIC_SVR_ENABLE | 0xFF);
	}
	(void)vm_double_create(&vm, &vioapic_class, NULL, NULL);
	(void)vm_double_create(&vm, &vpic_class, NULL, NULL);
	while (in.at < in.end) {
		unsigned what = (unsigned)take(&in, 1);
		if (what < 110) {
			local_apic(&vm, &in);
		} else if (what < 220) {
			chips(&vm, &in);
		} else if (what < 235) {
			vm_double_jump(&vm, take(&in, 3));
		} else if (what < 252) {
			interrupt(&vm, what % VCPUS);
		} else {
			struct vdev *all[] = {vm.lapic[0], vm.lapic[1], vm.ioapic, vm.pic};
			save_and_load(all[what % array_count(all)], &in);
		}
	}
	vm_double_destroy(&vm);
	return 0;
}
