// SPDX-License-Identifier: Apache-2.0
// MSRs that a guest reads and writes without an exit, the same on both vendors: state the hypervisor itself
// never uses, switched with the vCPU. Everything else exits and is answered by guest/msr, by default with #GP.
#pragma once

#include "kernel/lib/types.h"

extern const uint32_t msrlist_direct[];
extern const unsigned msrlist_direct_count;
