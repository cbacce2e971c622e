// SPDX-License-Identifier: Apache-2.0
// The PCI host bridge and the reset control register among its ports (drivers/vdev/vpci.c): its saved record.
#pragma once

#include "kernel/vdev.h"

#define VPCI_STATE_VERSION 1u

struct vpci_state {
	uint32_t address; // CONFIG_ADDRESS
	uint8_t control;  // port 0xCF9
	uint8_t reserved[3];
};

// Writes to configuration registers that cannot be written, since the VM was built: sizing of absent BARs, or a
// driver that takes the bridge for another one.
uint64_t vpci_denied(const struct vdev *vpci);
