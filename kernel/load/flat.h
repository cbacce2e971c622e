// SPDX-License-Identifier: Apache-2.0
// Flat real-mode code, started as a BIOS starts a boot sector.
#pragma once

#include "kernel/load/job.h"

#define FLAT_BASE 0x7c00u
// Longest file: what lies between FLAT_BASE and the highest possible end of low memory.
#define FLAT_MAX (0xa0000u - FLAT_BASE)

__must_check int flat_load(struct load_job *job, struct load_entry *entry);
