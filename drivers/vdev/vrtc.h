// SPDX-License-Identifier: Apache-2.0
// The real-time clock and CMOS memory (drivers/vdev/vrtc.c): its saved record, and its NMI mask.
#pragma once

#include "kernel/vdev.h"

#define VRTC_STATE_VERSION 1u
#define VRTC_CMOS_BYTES 128u

struct vrtc_state {
	int64_t offset_seconds;        // the guest's clock minus vm_wall_seconds
	uint8_t cmos[VRTC_CMOS_BYTES]; // every register as it reads, the flags of register C without IRQF
	uint8_t index;                 // port 0x70 as written, bit 7 (NMI mask) included
	uint8_t reserved[7];           // zero
};

// Bit 7 of port 0x70: the guest masked NMI at its source.
bool vrtc_nmi_masked(const struct vdev *vrtc);
