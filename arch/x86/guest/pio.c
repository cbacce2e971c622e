// SPDX-License-Identifier: Apache-2.0
// IN and OUT complete here from the exit's own description; the string forms go through the emulator.
#include "arch/x86/guest/pio.h"

#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"

uint32_t pio_read(struct vcpu *vcpu, uint16_t port, unsigned bytes) {
	struct iobus *bus = &vcpu->vm->pio;
	uint64_t value;
	if (likely(iobus_read(bus, port, bytes, &value))) return (uint32_t)value;
	if (bytes == 1) return 0xff;
	uint32_t all = 0;
	for (unsigned i = 0; i < bytes; i++) {
		// The byte that would wrap past port 0xFFFF belongs to nobody.
		if (port + i > UINT16_MAX || !iobus_read(bus, (uint64_t)port + i, 1, &value)) value = 0xff;
		all |= (uint32_t)(value & 0xff) << (8 * i);
	}
	return all;
}

void pio_write(struct vcpu *vcpu, uint16_t port, unsigned bytes, uint32_t value) {
	struct iobus *bus = &vcpu->vm->pio;
	if (likely(iobus_write(bus, port, bytes, value)) || bytes == 1) return;
	for (unsigned i = 0; i < bytes; i++)
		if (port + i <= UINT16_MAX) iobus_write(bus, (uint64_t)port + i, 1, value >> (8 * i) & 0xff);
}

// A 32-bit result clears the upper half of RAX, smaller ones leave the rest (SDM vol. 1, 3.4.1.1).
static void rax_merge(uint64_t *rax, unsigned bytes, uint64_t value) {
	if (likely(bytes == 1))
		*rax = (*rax & ~UINT64_C(0xff)) | (uint8_t)value;
	else if (bytes == 2)
		*rax = (*rax & ~UINT64_C(0xffff)) | (uint16_t)value;
	else
		*rax = (uint32_t)value;
}

// What a device asks of its VM (a reset, say) is done in the run loop, so it comes after the instruction anyway, and
// moving on first keeps less over the device's call.
void pio_exit(struct vcpu *vcpu, const struct exit *exit) {
	if (unlikely(exit->pio.string)) {
		guest_emulate(vcpu);
		return;
	}
	static const uint32_t mask[5] = {0, UINT8_MAX, UINT16_MAX, 0, UINT32_MAX};
	ops->advance(vcpu, exit->insn_len);
	uint16_t port = exit->pio.port;
	unsigned bytes = exit->pio.bytes;
	uint64_t *rax = &vcpu->arch->gpr[GPR_RAX];
	const struct io_range *r = iobus_last(&vcpu->vm->pio, port, bytes);
	if (exit->pio.in) {
		rax_merge(rax, bytes,
		          likely(r != NULL) ? r->ops->read(r->dev, port - r->base, bytes)
		                            : pio_read(vcpu, port, bytes));
	} else {
		uint32_t value = (uint32_t)*rax & mask[bytes];
		if (likely(r != NULL))
			r->ops->write(r->dev, port - r->base, bytes, value);
		else
			pio_write(vcpu, port, bytes, value);
	}
}
