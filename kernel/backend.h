// SPDX-License-Identifier: Apache-2.0
// Back ends that devices talk to. Here: the character device between a virtual UART and the console.
#pragma once

#include "kernel/lib/types.h"

struct chardev {
	// Guest to host: takes all bytes now; what has to be dropped is counted by the back end. False: it wants no
	// more until it calls output_ready (what comes before that may get dropped).
	bool (*write)(struct chardev *self, const uint8_t *bytes, size_t count);
	// Host to guest: pulls up to count bytes; returns how many.
	size_t (*read)(struct chardev *self, uint8_t *bytes, size_t count);
	// The back end calls this when input arrived; set by the device at create, NULL otherwise.
	void (*input_ready)(void *device);
	// Likewise, when it wants more after a write that returned false.
	void (*output_ready)(void *device);
	void *device;
};
