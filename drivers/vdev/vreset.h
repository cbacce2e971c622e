// SPDX-License-Identifier: Apache-2.0
// The saved record of "port 92" (drivers/vdev/vreset.c).
#pragma once

#include "kernel/lib/types.h"

#define VRESET_STATE_VERSION 2u

struct vreset_state {
	uint8_t port92;
};
