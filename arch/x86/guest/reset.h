// SPDX-License-Identifier: Apache-2.0
// The power-on state of a vCPU as far as a backend holds it.
#pragma once

#include "kernel/vcpu.h"

#define PAT_RESET UINT64_C(0x0007040600070406) // SDM vol. 3, 11.12.4; APM vol. 2, 7.8.1

// Power-on state (SDM vol. 3, table 9-1; APM vol. 2, table 14-1): the backend's controls and all registers but the
// general ones. The vCPU does not run.
void reset_registers(struct vcpu *vcpu);
