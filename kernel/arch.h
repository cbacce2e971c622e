// SPDX-License-Identifier: Apache-2.0
// All that kernel/ asks of an architecture; implemented by arch/x86/guest over the vendor's backend.
// Functions that fail fill a readable line into `why` (struct arch_why), which names the cause.
#pragma once

#include "kernel/vcpu.h"
#include "kernel/vm.h"

struct arch_why {
	char text[160];
};

// The optional features of the CPUs' virtualisation by name (the option off=): the bit that stands for the one named
// name[0 .. len-1], 0 when there is none; all names, separated by blanks.
uint64_t arch_feature_bit(const char *name, size_t len);
void arch_feature_names(char *text, size_t bytes);
// Picks the backend (VMX or SVM) from CPUID, checks what it needs and turns it on, on the boot CPU. The features in
// features_off (bits of arch_feature_bit) are treated as if the CPU had them not.
__must_check int arch_init(uint64_t features_off, struct arch_why *why);
// The same backend on another CPU, by itself.
__must_check int arch_cpu_enable(struct arch_why *why);
// Every stay of a guest ends `tsc` ticks after its entry; for VMs built afterwards. False: the CPU has nothing for it.
bool arch_max_run_set(uint64_t tsc);
// "SVM: ..." / "VMX: ..." and what of the CPU is used, for the log.
void arch_describe(char *text, size_t bytes);

// The VM's nested tables, permission maps, board devices and firmware tables; vm->slots is already there.
__must_check int arch_vm_create(struct vm *vm, struct arch_why *why);
void arch_vm_destroy(struct vm *vm);
// vm->nested in the format and with the page sizes this CPU takes.
__must_check int arch_nested_init(struct vm *vm);
// PT_LEAF_* of the hypervisor's own tables.
uint8_t arch_host_leaf_levels(void);
__must_check int arch_vcpu_create(struct vcpu *vcpu, struct arch_why *why);
void arch_vcpu_destroy(struct vcpu *vcpu);
// Moves what the VM's guests read from the TSC by `delta` ticks.
void arch_tsc_shift(struct vm *vm, uint64_t delta);
// Power-on state of devices and vCPUs.
__step void arch_vm_reset(struct vm *vm);
// The state that stays in the CPU while a vCPU owns it (FPU, debug registers): in, and out again.
void arch_vcpu_load(struct vcpu *vcpu);
void arch_vcpu_save(struct vcpu *vcpu);
// The loaded one, after another of this CPU was looked at (arch_vcpu_wakeable): its state is at hand again.
void arch_vcpu_select(struct vcpu *vcpu);
// Of one that is not loaded, nothing is left in this CPU: another may have it.
void arch_vcpu_leave(struct vcpu *vcpu);
// A vCPU as a versioned record (arch/x86/guest/record.h). Only while its state is not in a CPU: between
// arch_vcpu_save and arch_vcpu_load, the VM's clock stopped. Every record has the same length.
uint32_t arch_vcpu_record_bytes(void);
uint16_t arch_vcpu_record_version(void);
void arch_vcpu_record_save(struct vcpu *vcpu, void *record);
// -ERR_FORMAT, -ERR_VERSION, -ERR_TRUNC, with a line in the log that names the field.
__must_check int arch_vcpu_record_check(const struct vcpu *vcpu, const void *record, uint32_t bytes);
// Checks, and only then changes anything; the guest TSC of the whole VM becomes the record's.
__must_check int arch_vcpu_record_load(struct vcpu *vcpu, const void *record, uint32_t bytes);
// Loads the guest image(s) of vm->config into its memory and sets vCPU 0 to the entry state.
__must_check int arch_vm_load(struct vm *vm, struct arch_why *why);

// Serves vcpu->requests before an entry. Interrupts off.
void arch_vcpu_serve(struct vcpu *vcpu, uint32_t requests);
// Enters the guest and does not return, or returns because something arrived at the last moment.
void arch_vcpu_enter(struct vcpu *vcpu);
// stress=entry:SEED,N: before each entry some of N rounds in which the CPU's checks of an entry are compared with ours
// in software, and a summary after the last. The guest does not notice. -ERR_NOMEM.
__must_check __step int arch_entry_stress_start(uint32_t seed, uint32_t rounds);
void arch_entry_stress_step(struct vcpu *vcpu);
// Makes the vCPU's state one that the CPU does not enter.
void arch_vcpu_entry_spoil(struct vcpu *vcpu);
// True when a blocked vCPU has something that wakes it.
bool arch_vcpu_wakeable(const struct vcpu *vcpu);
// Everything a person needs to understand why it stopped: registers, segments, bytes at RIP.
void arch_vcpu_report(struct vcpu *vcpu);
// One line "vm=name vcpu=N rip=..." for the panic screen; reads only memory.
void arch_vcpu_brief(const struct vcpu *vcpu, char *text, size_t bytes);
