// SPDX-License-Identifier: Apache-2.0
// The saved record of the chipset's reset ports (drivers/vdev/vreset.c).
#pragma once

#include "kernel/lib/types.h"

#define VRESET_STATE_VERSION 1u

struct vreset_state {
	uint8_t control; // port 0xCF9
	uint8_t port92;
};
