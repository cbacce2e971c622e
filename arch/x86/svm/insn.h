// SPDX-License-Identifier: Apache-2.0
// The instructions of SVM that C uses (APM vol. 3). The world switch itself is in enter.asm.
#pragma once

#include "kernel/lib/types.h"

static inline void svm_clgi(void) { __asm__ volatile("clgi" : : : "memory"); }
static inline void svm_stgi(void) { __asm__ volatile("stgi" : : : "memory"); }
// A VMRUN whose guest never executes an instruction, so that the general registers stay the host's. APM vol. 2, 15.5.
static inline void svm_entry_try(uint64_t vmcb_pa) {
	__asm__ volatile("clgi; vmrun; stgi" : "+a"(vmcb_pa) : : "memory", "cc");
}
static inline void svm_vmsave(uint64_t vmcb_pa) { __asm__ volatile("vmsave" : : "a"(vmcb_pa) : "memory"); }
