// SPDX-License-Identifier: Apache-2.0
// The KVM-compatible paravirtual clock: one page shared with each vCPU (pvclock_vcpu_time_info) and the wall
// clock of the VM's start.
#pragma once

#include "arch/x86/guest/vcpu.h"

// MSR writes; false: #GP.
__must_check bool pvclock_system_time_set(struct vcpu *vcpu, uint64_t value);
__must_check bool pvclock_wall_clock_set(struct vcpu *vcpu, uint64_t value);
// Writes the page again after the TSC offset or the VM's clock moved.
void pvclock_publish(struct vcpu *vcpu);
