// SPDX-License-Identifier: Apache-2.0
// Default deny: what is not named here is #GP, counted and logged rate-limited. Sources: SDM vol. 4, APM
// vol. 2 appendix A, and for the KVM clock the Linux documentation of its guest interface.
#include "arch/x86/guest/msr.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/board.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/msrlist.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/pvclock.h"
#include "arch/x86/guest/reset.h"
#include "kernel/arch.h"
#include "kernel/vintc.h"

const uint32_t msrlist_direct[] = {
    MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_STAR,    MSR_LSTAR,
    MSR_CSTAR,       MSR_SFMASK,       MSR_FS_BASE,      MSR_GS_BASE, MSR_KERNEL_GS_BASE,
};
const unsigned msrlist_direct_count = array_count(msrlist_direct);

#define MTRR_CAP_VALUE (MTRR_VAR_MAX | BIT64(8) /* fixed ranges */ | BIT64(10) /* WC */)
#define MTRR_DEF_ENABLE BIT64(11)
#define MTRR_DEF_FIXED BIT64(10)
#define MTRR_MASK_VALID BIT64(11)
#define MTRR_UC UINT64_C(0)
#define MTRR_WB UINT64_C(6)
#define MTRR_DEF_VALID (UINT64_C(0xff) | BIT64(10) | BIT64(11))
#define MISC_ENABLE_FAST_STRINGS BIT64(0)
#define HWCR_ALLOWED                                                                                         \
	(BIT64(3) | BIT64(4) | BIT64(6) | BIT64(8) | BIT64(24)) // TlbCacheDis, INVD, FFDIS, IGNNE, TscFreqSel
#define UCODE_REVISION_INTEL (UINT64_C(1) << 32)
#define UCODE_REVISION_AMD UINT64_C(0x01000065)
#define DE_CFG_LFENCE_SERIALISE BIT64(1)
#define PRED_CMD_IBPB BIT64(0)

// ---- MTRRs: stored and read back; memory types come from the nested tables and the guest's PAT ------------

static __cold uint64_t *mtrr_slot(struct guest_mtrr *m, uint32_t msr) {
	if (msr >= MSR_MTRR_PHYSBASE0 && msr < MSR_MTRR_PHYSBASE0 + 2 * MTRR_VAR_MAX) {
		unsigned i = (msr - MSR_MTRR_PHYSBASE0) / 2;
		return (msr & 1) != 0 ? &m->mask[i] : &m->base[i];
	}
	if (msr == MSR_MTRR_FIX64K) return &m->fixed[0];
	if (msr == MSR_MTRR_FIX16K_80000 || msr == MSR_MTRR_FIX16K_A0000)
		return &m->fixed[1 + msr - MSR_MTRR_FIX16K_80000];
	if (msr >= MSR_MTRR_FIX4K_C0000 && msr <= MSR_MTRR_FIX4K_F8000)
		return &m->fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
	return msr == MSR_MTRR_DEF_TYPE ? &m->def_type : NULL;
}

static bool memory_type_valid(uint64_t type) { return type <= 1 || (type >= 4 && type <= 6); }
static bool pat_type_valid(uint64_t type) { return memory_type_valid(type) || type == 7; }

static bool all_types_valid(uint64_t value, bool (*valid)(uint64_t type)) {
	for (unsigned i = 0; i < 8; i++)
		if (!valid(value >> (8 * i) & 0xff)) return false;
	return true;
}

static __cold bool mtrr_write(struct guest_mtrr *m, uint32_t msr, uint64_t value) {
	uint64_t *slot = mtrr_slot(m, msr);
	uint64_t physical = MASK64(features.phys_bits - 1u, 12);
	if (msr == MSR_MTRR_DEF_TYPE) {
		if ((value & ~MTRR_DEF_VALID) != 0 || !memory_type_valid(value & 0xff)) return false;
	} else if (slot >= m->fixed && slot < m->fixed + array_count(m->fixed)) {
		if (!all_types_valid(value, memory_type_valid)) return false;
	} else if ((msr & 1) != 0) {
		if ((value & ~(physical | BIT64(11))) != 0) return false;
	} else if ((value & ~(physical | 0xff)) != 0 || !memory_type_valid(value & 0xff)) {
		return false;
	}
	*slot = value;
	return true;
}

// As firmware leaves them: write-back everywhere but the VGA window and the device hole below 4 GiB.
static __cold void mtrr_reset(struct guest_mtrr *m) {
	*m = (struct guest_mtrr){.def_type = MTRR_DEF_ENABLE | MTRR_DEF_FIXED | MTRR_WB};
	for (unsigned i = 0; i < array_count(m->fixed); i++) m->fixed[i] = MTRR_WB * UINT64_C(0x0101010101010101);
	m->fixed[2] = 0; // A0000..BFFFF
	m->base[0] = BOARD_LOW_RAM_END | MTRR_UC;
	m->mask[0] = (MASK64(features.phys_bits - 1u, 0) & ~(BOARD_HIGH_RAM_BASE - BOARD_LOW_RAM_END - 1)) |
	             MTRR_MASK_VALID;
}

void msr_reset(struct vcpu *vcpu) {
	struct arch_vcpu *a = vcpu->arch;
	a->tsc_aux = a->tsc_adjust = a->mcg_status = a->hwcr = 0;
	a->misc_enable = MISC_ENABLE_FAST_STRINGS;
	a->pat = PAT_RESET;
	a->system_time_msr = a->wall_clock_msr = 0;
	mtrr_reset(&a->mtrr);
}

// ---- reading --------------------------------------------------------------------------------------------

static __cold bool read_vendor(uint32_t msr, uint64_t *value) {
	bool amd = features.vendor == CPU_VENDOR_AMD;
	switch (msr) {
	case MSR_UCODE_REV: *value = amd ? UCODE_REVISION_AMD : UCODE_REVISION_INTEL; return true;
	case MSR_PLATFORM_ID: *value = 0; return !amd;
	case MSR_SYSCFG: *value = 0; return amd;
	case MSR_NB_CFG:
	case MSR_INT_PENDING: *value = 0; return amd;
	case MSR_DE_CFG: *value = DE_CFG_LFENCE_SERIALISE; return amd;
	default: return false;
	}
}

static bool msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
	struct arch_vcpu *a = vcpu->arch;
	struct guest_paging p;
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) return vlapic_msr_read(a->lapic, msr, value) == 0;
	switch (msr) {
	case MSR_TSC: *value = vm_guest_tsc(vcpu->vm); return true;
	case MSR_APIC_BASE: *value = vlapic_base_read(a->lapic); return true;
	case MSR_TSC_DEADLINE: *value = vlapic_deadline_read(a->lapic); return true;
	case MSR_TSC_ADJUST: *value = a->tsc_adjust; return true;
	case MSR_TSC_AUX: *value = a->tsc_aux; return guest_features.rdtscp;
	case MSR_MISC_ENABLE: *value = a->misc_enable; return features.vendor == CPU_VENDOR_INTEL;
	case MSR_PAT: *value = a->pat; return true;
	case MSR_EFER:
		ops->paging_get(vcpu, &p);
		*value = p.efer;
		return true;
	case MSR_XSS: *value = 0; return guest_features.xsaves; // no supervisor state is offered
	case MSR_MCG_CAP: *value = 0; return true;              // machine-check architecture with no banks
	case MSR_MCG_STATUS: *value = a->mcg_status; return true;
	case MSR_MTRR_CAP: *value = MTRR_CAP_VALUE; return true;
	case MSR_HWCR: *value = a->hwcr; return features.vendor == CPU_VENDOR_AMD;
	case MSR_DEBUGCTL: *value = 0; return true;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_OLD: *value = a->system_time_msr; return true;
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_OLD: *value = a->wall_clock_msr; return true;
	default: break;
	}
	const uint64_t *mtrr = mtrr_slot(&a->mtrr, msr);
	if (mtrr != NULL) {
		*value = *mtrr;
		return true;
	}
	return read_vendor(msr, value) || ops->msr_get(vcpu, msr, value);
}

// ---- writing --------------------------------------------------------------------------------------------

static __cold bool tsc_write(struct vcpu *vcpu, uint64_t value) {
	uint64_t delta = value - vm_guest_tsc(vcpu->vm);
	vcpu->arch->tsc_adjust += delta;
	arch_tsc_shift(vcpu->vm, delta);
	return true;
}

static __cold bool tsc_adjust_write(struct vcpu *vcpu, uint64_t value) {
	arch_tsc_shift(vcpu->vm, value - vcpu->arch->tsc_adjust);
	vcpu->arch->tsc_adjust = value;
	return true;
}

static __cold bool ibpb_write(const struct vcpu *vcpu, uint64_t value) {
	const struct cpuid_entry *e = cpuid_find(&vcpu->vm->arch->cpuid, CPUID_EXT_SIZES, 0);
	if (e == NULL || (e->ebx & CPUID88_EBX_IBPB) == 0 || (value & ~PRED_CMD_IBPB) != 0) return false;
	if (value != 0) wrmsr(MSR_PRED_CMD, value);
	return true;
}

static __cold bool pat_write(struct vcpu *vcpu, uint64_t value) {
	if (!all_types_valid(value, pat_type_valid)) return false;
	vcpu->arch->pat = value;
	(void)ops->msr_set(vcpu, MSR_PAT, value);
	return true;
}

static bool msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
	struct arch_vcpu *a = vcpu->arch;
	if (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) return false; // refused already
	switch (msr) {
	case MSR_TSC: return tsc_write(vcpu, value);
	case MSR_TSC_ADJUST: return tsc_adjust_write(vcpu, value);
	case MSR_TSC_AUX:
		if (value > UINT32_MAX || !guest_features.rdtscp) return false;
		a->tsc_aux = value;
		wrmsr(MSR_TSC_AUX, value); // RDTSCP and RDPID read the hardware's
		return true;
	case MSR_APIC_BASE: return vlapic_base_write(a->lapic, value) == 0;
	case MSR_MISC_ENABLE: a->misc_enable = value; return features.vendor == CPU_VENDOR_INTEL;
	case MSR_PAT: return pat_write(vcpu, value);
	case MSR_EFER: return efer_write(vcpu, value);
	case MSR_MCG_STATUS: a->mcg_status = 0; return value == 0;
	case MSR_XSS: return value == 0 && guest_features.xsaves;
	case MSR_HWCR:
		if (features.vendor != CPU_VENDOR_AMD || (value & ~HWCR_ALLOWED) != 0) return false;
		a->hwcr = value;
		return true;
	case MSR_DEBUGCTL: return value == 0; // no last-branch records here
	case MSR_UCODE_REV: return true;      // the "sign" protocol writes 0 before CPUID
	case MSR_PRED_CMD: return ibpb_write(vcpu, value);
	case MSR_NB_CFG: return features.vendor == CPU_VENDOR_AMD; // of a northbridge that is not there: ignored
	case MSR_DE_CFG: return features.vendor == CPU_VENDOR_AMD && value == DE_CFG_LFENCE_SERIALISE;
	case MSR_KVM_SYSTEM_TIME:
	case MSR_KVM_SYSTEM_TIME_OLD: return pvclock_system_time_set(vcpu, value);
	case MSR_KVM_WALL_CLOCK:
	case MSR_KVM_WALL_CLOCK_OLD: return pvclock_wall_clock_set(vcpu, value);
	default: break;
	}
	if (mtrr_slot(&a->mtrr, msr) != NULL) return mtrr_write(&a->mtrr, msr, value);
	return ops->msr_set(vcpu, msr, value);
}

static __cold void deny(struct vcpu *vcpu, const char *what, uint32_t msr, uint64_t value) {
	vcpu->stat.msr_denied++;
	if (vm_log_allow(vcpu->vm, LOG_DEBUG))
		log_debug("msr", "vm=%u vcpu=%u %s %#x (%#llx) denied at rip %#llx", vcpu->vm->id, vcpu->id, what,
		          msr, (unsigned long long)value, (unsigned long long)ops->rip_get(vcpu));
	guest_gp(vcpu);
}

void msr_read_exit(struct vcpu *vcpu, const struct exit *exit) {
	uint64_t *gpr = vcpu->arch->gpr;
	uint32_t msr = (uint32_t)gpr[GPR_RCX];
	uint64_t value;
	if (unlikely(!msr_read(vcpu, msr, &value))) {
		deny(vcpu, "RDMSR", msr, 0);
		return;
	}
	gpr[GPR_RAX] = (uint32_t)value;
	gpr[GPR_RDX] = value >> 32;
	guest_skip(vcpu, exit);
}

static __attribute__((noinline)) void write_other(struct vcpu *vcpu, const struct exit *exit, uint32_t msr,
                                                  uint64_t value) {
	if (unlikely(!msr_write(vcpu, msr, value)))
		deny(vcpu, "WRMSR", msr, value);
	else
		guest_skip(vcpu, exit);
}

static __attribute__((noinline)) void deadline_write(struct vcpu *vcpu, const struct exit *exit,
                                                     uint64_t tsc) {
	vlapic_deadline_write(vcpu->arch->lapic, tsc);
	guest_skip(vcpu, exit);
}

// The local APIC's registers are what a busy guest writes: they have a way without the others' stack frame.
void msr_write_exit(struct vcpu *vcpu, const struct exit *exit) {
	const uint64_t *gpr = vcpu->arch->gpr;
	uint32_t msr = (uint32_t)gpr[GPR_RCX];
	uint64_t value = gpr[GPR_RDX] << 32 | (gpr[GPR_RAX] & UINT32_MAX);
	if (likely(msr - MSR_X2APIC_FIRST <= MSR_X2APIC_LAST - MSR_X2APIC_FIRST) &&
	    likely(vlapic_msr_write(vcpu->arch->lapic, msr, value) == 0))
		guest_skip(vcpu, exit);
	else if (likely(msr == MSR_TSC_DEADLINE))
		deadline_write(vcpu, exit, value);
	else
		write_other(vcpu, exit, msr, value);
}
