// SPDX-License-Identifier: Apache-2.0
// The MSR model of a guest.
#pragma once

#include "arch/x86/guest/vcpu.h"

void msr_read_exit(struct vcpu *vcpu, const struct exit *exit);
void msr_write_exit(struct vcpu *vcpu, const struct exit *exit);
// Reset values of the MSRs that no backend holds.
void msr_reset(struct vcpu *vcpu);
