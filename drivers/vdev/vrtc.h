// SPDX-License-Identifier: Apache-2.0
// The real-time clock and CMOS memory (drivers/vdev/vrtc.c): its saved record, and what the builder of a
// VM stores in the CMOS.
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

// Tells the CMOS the size of the guest's RAM the way a PC's firmware does (bytes; the part below 4 GiB,
// counted from 0, and the part above). Once, after create.
void vrtc_memory_set(struct vdev *vrtc, uint64_t below_4g_bytes, uint64_t above_4g_bytes);
// Bit 7 of port 0x70: the guest masked NMI at its source.
bool vrtc_nmi_masked(const struct vdev *vrtc);
