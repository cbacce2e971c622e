// SPDX-License-Identifier: Apache-2.0
// Virtual-processor ids, and what of a CPU's cached translations is dropped before an entry (SDM vol. 3, 28.3
// "Caching Translation Information"). Decides only, so that a model of a TLB on the host can try it; vcpu.c carries it
// out. With EPT on there are two kinds of translations: guest-physical ones, of a VM's nested tables, and combined ones,
// of a VPID and those tables.
#include "arch/x86/vmx/vmx.h"

bool vmx_vpid_stale(const struct vmx_vcpu *vmx, const struct tlbid_pool *pool, uint32_t cpu) {
	return vmx->vpid_cpu != cpu || vmx->vpid_generation != pool->generation;
}

static uint32_t vpid_take(struct vmx_vcpu *vmx, struct tlbid_pool *pool, uint32_t limit, uint32_t cpu) {
	uint32_t vpid;
	bool wrapped = tlbid_take(pool, limit, &vpid, &vmx->vpid_generation);
	vmx->vpid = (uint16_t)vpid;
	vmx->vpid_cpu = cpu;
	vmx->nested_flushed = TLBID_GENERATION_NONE; // what this CPU has of the VM may be from an earlier stay
	return VMX_DROP_NEW_VPID | (wrapped ? VMX_DROP_ALL_VPIDS : 0);
}

uint32_t vmx_drop_plan(struct vmx_vcpu *vmx, struct tlbid_pool *pool, uint32_t limit, uint32_t cpu,
                       uint64_t nested) {
	uint32_t plan = vmx_vpid_stale(vmx, pool, cpu) ? vpid_take(vmx, pool, limit, cpu) : 0;
	if (vmx->nested_flushed == nested) return plan | VMX_DROP_VPID;
	vmx->nested_flushed = nested;
	return plan | VMX_DROP_NESTED; // the combined ones go with it
}
