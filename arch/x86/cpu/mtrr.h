// SPDX-License-Identifier: Apache-2.0
// Which memory the firmware's MTRRs have as write-back (SDM vol. 3, 11.11 "Memory Type Range Registers"). EPT takes the
// place of the MTRRs for a guest (28.3.7), and its RAM is mapped write-back: what is something else here is not used.
// AMD's CPUs combine the MTRRs with nested tables by themselves (APM vol. 2, 15.25.8).
#pragma once

#include "kernel/lib/types.h"

#define MTRR_PAIRS_MAX 16u // CPUs have 8 to 10

struct mtrr_set {
	uint32_t count;
	uint8_t default_type; // enum mtrr_type
	uint64_t base[MTRR_PAIRS_MAX], mask[MTRR_PAIRS_MAX];
};
enum mtrr_type { MTRR_TYPE_UC = 0, MTRR_TYPE_WC = 1, MTRR_TYPE_WT = 4, MTRR_TYPE_WP = 5, MTRR_TYPE_WB = 6 };

// This CPU's; firmware gives all the same. A CPU without any, or with all turned off, has nothing to tell: everything
// is write-back then.
void mtrr_read(struct mtrr_set *m);
// Whether memory at `at` is write-back, and where the next answer may be another one: *end > at, 0 beyond the last.
// Below 1 MiB, where other registers hold and no guest's memory lies, it always is.
bool mtrr_write_back(const struct mtrr_set *m, uint64_t at, uint64_t *end);
