// SPDX-License-Identifier: Apache-2.0
// Names of the hypervisor's own functions, for backtraces; the table is made from the linked image
// (tools/symbols.py) and linked in again.
#pragma once

#include "kernel/lib/types.h"

// The function that holds `address` and the distance from its start; NULL when there is none.
const char *symbol_find(uint64_t address, uint64_t *offset);
