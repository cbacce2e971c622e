// SPDX-License-Identifier: Apache-2.0
// The virtual 8259A pair's saved record; the rest of the interface is in kernel/vintc.h. Facts: Intel
// 8259A data sheet (231468), and the PIIX/ICH data sheets for ELCR.
#pragma once

#include "kernel/vintc.h"

#define VPIC_STATE_VERSION 1u
#define VPIC_PINS 16u

struct vpic_chip_state {
	uint8_t lines; // asserted inputs
	uint8_t irr, isr, imr;
	uint8_t elcr;     // 1 = level-triggered
	uint8_t vector;   // ICW2, bits 7:3
	uint8_t lowest;   // input with the lowest priority (7 after initialisation)
	uint8_t init;     // initialisation word expected next: 0 none, 2, 3, 4
	uint8_t read_isr; // OCW3: reads at A0 = 0 give ISR, not IRR
	uint8_t poll;     // the next read is a poll
	uint8_t special_mask, special_nested, auto_eoi, rotate_auto;
	uint8_t icw1, reserved;
};
struct vpic_state {
	struct vpic_chip_state chip[2]; // master, slave
};
_Static_assert(sizeof(struct vpic_state) == 32, "vpic_state layout");
