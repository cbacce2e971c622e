// SPDX-License-Identifier: Apache-2.0
// The SVM backend's table.
#include "arch/x86/guest/ops.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/svm/svm.h"
#include "mm/ept/npt.h"

static const struct pt_format *nested_format(void) { return &npt_format; }
// Nested paging has the host's own paging depth (APM vol. 2, 15.25.3).
static uint8_t nested_levels(void) { return (read_cr4() & CR4_LA57) != 0 ? 5 : 4; }
static uint8_t nested_leaf_levels(void) { return svm_caps.npt_1g ? PT_LEAF_1G : PT_LEAF_2M; }
static bool max_run_set(uint64_t tsc __unused_arg) { return false; } // SVM has no timer of its own
static int vm_create(struct vm *vm __unused_arg) { return 0; }
static void vm_destroy_nothing(struct vm *vm __unused_arg) {}
static void vcpu_nothing(struct vcpu *vcpu __unused_arg) {} // VMLOAD and VMSAVE at every entry and exit
static bool shadow_get(const struct vcpu *vcpu) {
	return (vmcb_of(vcpu)->interrupt_shadow & SVM_SHADOW) != 0;
}
static void shadow_clear(struct vcpu *vcpu) { vmcb_of(vcpu)->interrupt_shadow &= ~SVM_SHADOW; }
static void tsc_offset_set(struct vcpu *vcpu, uint64_t offset) { vmcb_of(vcpu)->tsc_offset = offset; }
// SVM keeps none: svm_advance raises the #DB itself.
static uint64_t debug_pending_get(const struct vcpu *vcpu __unused_arg) { return 0; }
static void debug_pending_set(struct vcpu *vcpu, uint64_t dr6_bits) {
	if (dr6_bits == 0) return;
	svm_dr6_set(vcpu, svm_dr6_get(vcpu) | dr6_bits);
	guest_exception(vcpu, VEC_DB);
}

// No test bench has AVIC.
static void apic_nothing(struct vcpu *vcpu __unused_arg) {}

const struct vendor_ops svm_ops = {
    .name = "SVM",
    .probe = svm_probe,
    .describe = svm_describe,
    .cpu_enable = svm_cpu_enable,
    .cpu_disable = svm_cpu_disable,
    .max_run_set = max_run_set,
    .nested_format = nested_format,
    .nested_levels = nested_levels,
    .nested_leaf_levels = nested_leaf_levels,
    .vm_create = vm_create,
    .vm_destroy = vm_destroy_nothing,
    .vcpu_create = svm_vcpu_create,
    .vcpu_destroy = svm_vcpu_destroy,
    .vcpu_reset = svm_vcpu_reset,
    .vcpu_load = svm_vcpu_load,
    .vcpu_save = vcpu_nothing,
    .vcpu_leave = vcpu_nothing,
    .vcpu_select = vcpu_nothing,
    .enter = svm_vcpu_enter,
    .rip_get = svm_rip_get,
    .rip_set = svm_rip_set,
    .rsp_get = svm_rsp_get,
    .rsp_set = svm_rsp_set,
    .rflags_get = svm_rflags_get,
    .rflags_set = svm_rflags_set,
    .cpl_get = svm_cpl_get,
    .seg_get = svm_seg_get,
    .seg_set = svm_seg_set,
    .paging_get = svm_paging_get,
    .sregs_get = svm_sregs_get,
    .sregs_set = svm_sregs_set,
    .cr0_set = svm_cr0_set,
    .cr3_set = svm_cr3_set,
    .cr4_set = svm_cr4_set,
    .efer_set = svm_efer_set,
    .cr2_get = svm_cr2_get,
    .cr2_set = svm_cr2_set,
    .dr7_get = svm_dr7_get,
    .dr7_set = svm_dr7_set,
    .dr6_get = svm_dr6_get,
    .dr6_set = svm_dr6_set,
    .msr_get = svm_msr_get,
    .msr_set = svm_msr_set,
    .insn_bytes = svm_insn_bytes,
    .advance = svm_advance,
    .shadow_get = shadow_get,
    .shadow_clear = shadow_clear,
    .irq_allowed = svm_irq_allowed,
    .nmi_allowed = svm_nmi_allowed,
    .event_waiting = svm_event_waiting,
    .irq_window = svm_irq_window,
    .nmi_window = svm_nmi_window,
    .inject = svm_inject,
    .apic_mode = apic_nothing,
    .apic_sync = apic_nothing,
    .event_get = svm_event_get,
    .blocking_get = svm_blocking_get,
    .blocking_set = svm_blocking_set,
    .debug_pending_get = debug_pending_get,
    .debug_pending_set = debug_pending_set,
    .tsc_offset_set = tsc_offset_set,
    .flush = svm_flush,
    .dump = svm_dump,
};
