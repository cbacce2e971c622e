// SPDX-License-Identifier: Apache-2.0
// The saved record of the 8254 timer (drivers/vdev/vpit.c). Ticks are of the 1.193182 MHz crystal and
// count from an instant `elapsed_ns` before the record was taken.
#pragma once

#include "kernel/lib/types.h"

#define VPIT_STATE_VERSION 1u
#define VPIT_CHANNELS 3u

struct vpit_channel {
	uint64_t start;       // tick at which the count in force was loaded
	uint64_t switch_tick; // tick at which `pending` takes over, when pending != 0
	uint64_t held;        // ticks that had passed when the gate stopped counting
	uint32_t count;       // in force, 1..0x10000 (BCD up to 0xffff read digit by digit), 0 before the first
	uint32_t pending;     // written, not in force yet; 0 when none
	uint16_t latched;     // output latch
	uint8_t latch_bytes;  // bytes of `latched` still to be read: 0, 1 or 2
	uint8_t status;       // latched status
	uint8_t status_valid;
	uint8_t mode;   // 0..5
	uint8_t access; // 1 LSB, 2 MSB, 3 both
	uint8_t bcd;
	uint8_t gate;
	uint8_t running;     // counts; in modes 1 and 5 triggered
	uint8_t read_high;   // next byte read is the MSB
	uint8_t write_high;  // next byte written is the MSB
	uint8_t write_low;   // the LSB that waits for it
	uint8_t reserved[3]; // zero
};

struct vpit_state {
	uint64_t elapsed_ns;
	uint64_t timer_ns;  // until the next edge of channel 0, TIMER_NEVER when none comes
	uint64_t edge_tick; // of that edge
	struct vpit_channel channel[VPIT_CHANNELS];
	uint32_t owed;       // edges of channel 0 that have passed and were not shown yet
	uint8_t line;        // level of the interrupt line
	uint8_t speaker;     // port 0x61 as written, bits 3:0
	uint8_t reserved[2]; // zero
};
