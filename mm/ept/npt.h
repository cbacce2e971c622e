// SPDX-License-Identifier: Apache-2.0
// AMD's nested page tables as a format of the engine (APM vol. 2, 15.25 "Nested Paging"): long-mode
// entries whose every level has the user bit, since the guest's accesses count as user accesses. The
// number of levels is the host's (CR4.LA57), and EFER.NXE must be set. The N_CR3 is pt.root.
#pragma once

#include "mm/pt.h"

extern const struct pt_format npt_format;
