// SPDX-License-Identifier: Apache-2.0
// Linux bzImage by the 64-bit boot protocol, version 2.12 and later.
#pragma once

#include "kernel/load/job.h"

bool bzimage_probe(const struct source *kernel);
__must_check int bzimage_load(struct load_job *job, struct load_entry *entry);
