// SPDX-License-Identifier: Apache-2.0
// stress=save:N (kernel/option.h): proof that a VM is no more than its records. Every N entries into the guest or
// rests of the CPU all state of the VM is saved, the VM reset, and the state loaded again.
// stress=fault:KIND makes one fault of the hypervisor's own at the tenth entry, for the test of the panic; or, with
// `entry`, a state of the guest that the CPU refuses. stress=entry:SEED,N: kernel/arch.h.
// All this is test equipment: build/bulkhead-stress.elf has it (stress.c), the shipped image refuses it (stress_none.c).
#pragma once

#include "kernel/option.h"
#include "kernel/vm.h"

// After the VM is built, before it runs; nothing is done, and nothing costs anything, without the option.
// -ERR_NOMEM; -ERR_UNSUP: an image without the options. The log has why.
__must_check __step int stress_start(const struct vm *vm, const struct option *option);
