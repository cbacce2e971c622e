// SPDX-License-Identifier: Apache-2.0
// The VMX backend's table.
#include "arch/x86/vmx/vmx.h"
#include "mm/ept/ept.h"

static const struct pt_format *nested_format(void) { return vmx_caps.ept_ad ? &ept_format_ad : &ept_format; }
static uint8_t nested_levels(void) { return 4; } // 256 TiB, what MAXPHYADDR of guests never reaches
static uint8_t nested_leaf_levels(void) {
	return (uint8_t)(PT_LEAF_4K | (vmx_caps.ept_2m ? PT_LEAF_2M : 0) | (vmx_caps.ept_1g ? PT_LEAF_1G : 0));
}
static void vm_destroy_nothing(struct vm *vm __unused_arg) {}
static unsigned insn_bytes_none(const struct vcpu *vcpu __unused_arg,
                                uint64_t code[static CODE_BYTES / 8] __unused_arg) {
	return 0;
}

const struct vendor_ops vmx_ops = {
    .name = "VMX",
    .probe = vmx_probe,
    .describe = vmx_describe,
    .cpu_enable = vmx_cpu_enable,
    .cpu_disable = vmx_cpu_disable,
    .max_run_set = vmx_max_run_set,
    .nested_format = nested_format,
    .nested_levels = nested_levels,
    .nested_leaf_levels = nested_leaf_levels,
    .vm_create = vmx_vm_create,
    .vm_destroy = vm_destroy_nothing,
    .vcpu_create = vmx_vcpu_create,
    .vcpu_destroy = vmx_vcpu_destroy,
    .vcpu_reset = vmx_vcpu_reset,
    .vcpu_load = vmx_vcpu_load,
    .vcpu_save = vmx_vcpu_save,
    .vcpu_leave = vmx_vcpu_leave,
    .vcpu_select = vmx_vcpu_select,
    .enter = vmx_vcpu_enter,
    .rip_get = vmx_rip_get,
    .rip_set = vmx_rip_set,
    .rsp_get = vmx_rsp_get,
    .rsp_set = vmx_rsp_set,
    .rflags_get = vmx_rflags_get,
    .rflags_set = vmx_rflags_set,
    .cpl_get = vmx_cpl_get,
    .seg_get = vmx_seg_get,
    .seg_set = vmx_seg_set,
    .paging_get = vmx_paging_get,
    .sregs_get = vmx_sregs_get,
    .sregs_set = vmx_sregs_set,
    .cr0_set = vmx_cr0_set,
    .cr3_set = vmx_cr3_set,
    .cr4_set = vmx_cr4_set,
    .efer_set = vmx_efer_set,
    .cr2_get = vmx_cr2_get,
    .cr2_set = vmx_cr2_set,
    .dr7_get = vmx_dr7_get,
    .dr7_set = vmx_dr7_set,
    .dr6_get = vmx_dr6_get,
    .dr6_set = vmx_dr6_set,
    .msr_get = vmx_msr_get,
    .msr_set = vmx_msr_set,
    .insn_bytes = insn_bytes_none,
    .advance = vmx_advance,
    .shadow_get = vmx_shadow_get,
    .shadow_clear = vmx_shadow_clear,
    .irq_allowed = vmx_irq_allowed,
    .nmi_allowed = vmx_nmi_allowed,
    .event_waiting = vmx_event_waiting,
    .irq_window = vmx_irq_window,
    .nmi_window = vmx_nmi_window,
    .inject = vmx_inject,
    .apic_mode = vmx_apic_mode,
    .apic_sync = vmx_apic_sync,
    .event_get = vmx_event_get,
    .blocking_get = vmx_blocking_get,
    .blocking_set = vmx_blocking_set,
    .debug_pending_get = vmx_debug_pending_get,
    .debug_pending_set = vmx_debug_pending_set,
    .tsc_offset_set = vmx_tsc_offset_set,
    .flush = vmx_flush,
    .dump = vmx_dump,
};
