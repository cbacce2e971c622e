// SPDX-License-Identifier: Apache-2.0
// Port I/O of a guest.
#pragma once

#include "arch/x86/guest/vcpu.h"

void pio_exit(struct vcpu *vcpu, const struct exit *exit);
// One access of 1, 2 or 4 bytes; a port nobody claims reads as ones and swallows writes. An access wider
// than what one device claims is split into bytes, as the ISA bus does.
uint32_t pio_read(struct vcpu *vcpu, uint16_t port, unsigned bytes);
void pio_write(struct vcpu *vcpu, uint16_t port, unsigned bytes, uint32_t value);
