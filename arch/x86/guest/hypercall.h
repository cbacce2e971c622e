// SPDX-License-Identifier: Apache-2.0
// Hypercalls (kernel/abi/hypercall.h).
#pragma once

#include "arch/x86/guest/vcpu.h"

void hypercall_exit(struct vcpu *vcpu, const struct exit *exit);
