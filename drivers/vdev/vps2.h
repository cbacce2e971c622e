// SPDX-License-Identifier: Apache-2.0
// The saved record of the 8042 keyboard controller (drivers/vdev/vps2.c).
#pragma once

#include "kernel/lib/types.h"

#define VPS2_STATE_VERSION 1u
#define VPS2_RAM_BYTES 32u

struct vps2_state {
	uint8_t ram[VPS2_RAM_BYTES]; // [0] is the command byte
	uint8_t status;              // port 0x64 as it reads
	uint8_t output;              // the output buffer, port 0x60
	uint8_t output_port;         // P2: reset and A20 lines
	uint8_t argument_of;         // the command that waits for its byte at port 0x60; 0 when none
};
