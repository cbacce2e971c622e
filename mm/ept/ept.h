// SPDX-License-Identifier: Apache-2.0
// Intel's extended page tables as a format of the engine (SDM vol. 3, 29.3 "The Extended Page Table
// Mechanism (EPT)").
#pragma once

#include "mm/pt.h"

// Without and with accessed and dirty flags (the EPTP's bit 6 must agree: ept_pointer).
extern const struct pt_format ept_format, ept_format_ad;

// The EPTP for the VMCS: write-back page walks, the table's levels, A/D when its format has them.
uint64_t ept_pointer(const struct pt *pt);
