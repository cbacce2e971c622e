// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware (drivers/vdev/vpm.c): its saved record, and the button that the hypervisor presses.
#pragma once

#include "kernel/vdev.h"

#define VPM_STATE_VERSION 1u

struct vpm_state {
	uint64_t elapsed_ns;   // age of PM timer tick 0
	uint64_t carries_seen; // carry-outs of the PM timer until the guest cleared TMR_STS
	uint64_t timer_ns;     // until the next carry-out is reported, TIMER_NEVER when nobody waits for it
	uint16_t status;       // PM1 status without TMR_STS
	uint16_t enable;       // PM1 enable
	uint16_t control;      // PM1 control without the write-only bits
	uint16_t reserved;     // zero
};

// Sets PWRBTN_STS: the guest sees its power button pressed. Caller holds the VM's device lock.
void vpm_power_button(struct vdev *vpm);
