// SPDX-License-Identifier: Apache-2.0
// Finding, checking and turning on VMX, the control words that this CPU allows, and the permission maps all VMs
// share (SDM vol. 3, 23.6 to 23.8, 24.6, appendix A). Default deny: every port and every MSR exits but for the
// named ranges.
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/trap.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/msrlist.h"
#include "arch/x86/vmx/vmx.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"

struct vmx_caps vmx_caps;

static hpa_t maps; // enum vmx_map

// ---- what the CPU can do ------------------------------------------------------------------------------------

static void cpu_read(struct vmx_cpu *cpu) {
	static const uint16_t plain[VMX_WORDS] = {MSR_VMX_PIN, MSR_VMX_PROC, MSR_VMX_PROC2, MSR_VMX_EXIT,
	                                          MSR_VMX_ENTRY};
	static const uint16_t true_[VMX_WORDS] = {MSR_VMX_TRUE_PIN, MSR_VMX_TRUE_PROC, MSR_VMX_PROC2,
	                                          MSR_VMX_TRUE_EXIT, MSR_VMX_TRUE_ENTRY};
	cpu->basic = rdmsr(MSR_VMX_BASIC);
	cpu->misc = rdmsr(MSR_VMX_MISC);
	cpu->cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
	cpu->cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1);
	cpu->cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
	cpu->cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);
	// The MSR's high half has the bits that may be 1, the low half those that must be (appendix A.3). The TRUE_
	// ones let go of some that older CPUs always set, CR3 exits among them.
	const uint16_t *msr = (cpu->basic & VMX_BASIC_TRUE_CONTROLS) != 0 ? true_ : plain;
	for (unsigned w = 0; w < VMX_WORDS; w++) {
		// The secondary controls exist where the primary ones have their activation bit, the EPT ones likewise.
		if (w == VMX_PROC2 && (cpu->may[VMX_PROC] & VMX_PROC_SECONDARY) == 0) continue;
		uint64_t value = rdmsr(msr[w]);
		cpu->must[w] = (uint32_t)value;
		cpu->may[w] = (uint32_t)(value >> 32);
	}
	if ((cpu->may[VMX_PROC2] & (VMX_PROC2_EPT | VMX_PROC2_VPID)) != 0)
		cpu->ept_vpid = rdmsr(MSR_VMX_EPT_VPID);
}

// ---- control words ------------------------------------------------------------------------------------------

// What a control is to the backend. A feature of several controls is there with all of them.
enum need {
	SET,    // without it the backend does not run
	LATER,  // neither, but it is turned on and off while a guest runs
	WANTED, // set where the CPU has it
	OFFER,  // known to be there; who needs it sets it
};

#define FEATURE_NONE 63u
_Static_assert((unsigned)FEATURE_COUNT <= FEATURE_NONE, "a number of no feature");
// `name` is the manual's; NULL: the next row's.
// clang-format off
#define CONTROL(word, bit, need, feature, name) {VMX_##word, need, FEATURE_##feature, VMX_##word##_##bit, name}
static const struct {
	uint8_t word, need, feature;
	uint32_t bit;
	const char *name;
} controls[] = {
	CONTROL(PIN, EXTERNAL_INTERRUPT, SET, NONE, "external-interrupt exiting"),
	CONTROL(PIN, NMI, SET, NONE, "NMI exiting"),
	CONTROL(PIN, VIRTUAL_NMI, SET, NONE, "virtual NMIs"),
	CONTROL(PROC, SECONDARY, SET, NONE, "secondary processor-based controls"),
	CONTROL(PROC, TSC_OFFSET, SET, NONE, "TSC offsetting"),
	CONTROL(PROC, HLT, SET, NONE, "HLT exiting"),
	CONTROL(PROC, MWAIT, SET, NONE, "MWAIT exiting"),
	CONTROL(PROC, MONITOR, SET, NONE, "MONITOR exiting"),
	CONTROL(PROC, RDPMC, SET, NONE, "RDPMC exiting"),
	CONTROL(PROC, CR8_LOAD, SET, NONE, "CR8-load exiting"),
	CONTROL(PROC, CR8_STORE, SET, NONE, "CR8-store exiting"),
	CONTROL(PROC, IO_BITMAP, SET, NONE, "I/O bitmaps"),
	CONTROL(PROC, MSR_BITMAP, SET, NONE, "MSR bitmaps"),
	CONTROL(PROC, INTERRUPT_WINDOW, LATER, NONE, "interrupt-window exiting"),
	CONTROL(PROC, NMI_WINDOW, LATER, NONE, "NMI-window exiting"),
	CONTROL(PROC2, EPT, SET, NONE, "extended page tables (EPT)"),
	CONTROL(PROC2, WBINVD, SET, NONE, "WBINVD exiting"),
	CONTROL(EXIT, SAVE_DEBUG, SET, NONE, "save debug controls"),
	CONTROL(EXIT, HOST_64, SET, NONE, "host address-space size"),
	CONTROL(ENTRY, LOAD_DEBUG, SET, NONE, "load debug controls"),
	CONTROL(ENTRY, IA32E, LATER, NONE, "IA-32e mode guest"),
	CONTROL(PROC2, VPID, WANTED, VPID, "VPID"),
	CONTROL(PROC2, UNRESTRICTED, WANTED, UNRESTRICTED, "unrestricted guest"),
	CONTROL(PIN, PREEMPTION_TIMER, OFFER, PREEMPTION_TIMER, "preemption timer"),
	CONTROL(PROC2, PAUSE_LOOP, OFFER, PAUSE_LOOP, "PAUSE-loop exiting"),
	CONTROL(PROC2, RDTSCP, WANTED, RDTSCP, "RDTSCP"),
	CONTROL(PROC2, XSAVES, WANTED, XSAVES, "XSAVES"),
	CONTROL(EXIT, LOAD_EFER, WANTED, EFER_CONTROLS, NULL),
	CONTROL(ENTRY, LOAD_EFER, WANTED, EFER_CONTROLS, "load IA32_EFER"),
	CONTROL(EXIT, LOAD_PAT, WANTED, PAT_CONTROLS, NULL),
	CONTROL(ENTRY, LOAD_PAT, WANTED, PAT_CONTROLS, "load IA32_PAT"),
	CONTROL(PROC, TPR_SHADOW, WANTED, TPR_SHADOW, "TPR shadow"),
	CONTROL(PROC2, APIC_REGISTER, WANTED, APIC_REGISTERS, "APIC-register virtualization"),
	CONTROL(PROC2, VIRTUAL_INTR, WANTED, VIRTUAL_INTERRUPTS, "virtual-interrupt delivery"),
	CONTROL(PROC2, X2APIC, WANTED, X2APIC_VIRTUAL, "virtualize x2APIC mode"),
	CONTROL(PROC2, APIC_ACCESS, WANTED, APIC_ACCESS, "virtualize APIC accesses"),
};
// clang-format on

static bool has(const struct vmx_cpu *cpu, unsigned row) {
	return (cpu->may[controls[row].word] & controls[row].bit) != 0;
}

// The words that follow from the table and the option off=. Returns the name of a control that this CPU lacks, or NULL.
static const char *controls_choose(struct vmx_caps *caps) {
	uint64_t missing = 0; // features
	for (unsigned w = 0; w < VMX_WORDS; w++) caps->control[w] = caps->cpu.must[w];
	for (unsigned i = 0; i < array_count(controls); i++) {
		if (has(&caps->cpu, i)) continue;
		if (controls[i].need <= LATER) return controls[i].name;
		missing |= BIT64(controls[i].feature);
	}
	for (unsigned i = 0; i < array_count(controls); i++) {
		if ((missing >> controls[i].feature & 1) != 0 || feature_off((enum feature)controls[i].feature))
			continue;
		caps->usable[controls[i].word] |= controls[i].bit;
		if (controls[i].need == SET || controls[i].need == WANTED)
			caps->control[controls[i].word] |= controls[i].bit;
	}
	return NULL;
}

static const char *ept_choose(struct vmx_caps *caps) {
	uint64_t ept = caps->cpu.ept_vpid;
	const uint64_t need = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB | VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_INVEPT_ALL;
	if ((ept & need) != need) return "EPT with four levels, write-back walks and INVEPT";
	caps->invept_single = (ept & VMX_EPT_CAP_INVEPT_SINGLE) != 0;
	caps->ept_ad = (ept & VMX_EPT_CAP_AD) != 0 && !feature_off(FEATURE_EPT_AD);
	caps->ept_1g = (ept & VMX_EPT_CAP_1G) != 0 && !feature_off(FEATURE_EPT_1G);
	caps->ept_2m = (ept & VMX_EPT_CAP_2M) != 0 && !feature_off(FEATURE_EPT_2M);
	// VPIDs are only worth it when they can be flushed; without them every transition flushes.
	const uint64_t invvpid = VMX_VPID_CAP_INVVPID | VMX_VPID_CAP_ALL;
	if ((ept & invvpid) != invvpid) {
		caps->control[VMX_PROC2] &= ~VMX_PROC2_VPID;
		caps->usable[VMX_PROC2] &= ~VMX_PROC2_VPID;
	}
	caps->vpid = (caps->control[VMX_PROC2] & VMX_PROC2_VPID) != 0;
	caps->invvpid_single = (ept & VMX_VPID_CAP_SINGLE) != 0;
	return NULL;
}

static bool locked_off(struct arch_why *why) {
	uint64_t control = rdmsr(MSR_FEATURE_CONTROL);
	if ((control & FEATURE_CONTROL_LOCK) == 0 || (control & FEATURE_CONTROL_VMX) != 0) return false;
	fmt_print(why->text, sizeof why->text,
	          "VMX is disabled by the firmware (IA32_FEATURE_CONTROL locked at %#llx): enable \"Intel "
	          "Virtualization Technology\" in its setup",
	          (unsigned long long)control);
	return true;
}

int vmx_probe(struct arch_why *why) {
	struct vmx_caps *caps = &vmx_caps;
	if (!features.vmx) {
		fmt_print(why->text, sizeof why->text, "CPU \"%s\" has no VMX", features.brand);
		return -ERR_UNSUP;
	}
	if (locked_off(why)) return -ERR_UNSUP;
	cpu_read(&caps->cpu);
	const char *lacks = controls_choose(caps);
	vmx_apicv_probe();
	if (lacks == NULL) lacks = ept_choose(caps);
	if (lacks != NULL) {
		fmt_print(why->text, sizeof why->text, "CPU \"%s\" has VMX but not what a guest needs here: %s",
		          features.brand, lacks);
		return -ERR_UNSUP;
	}
	guest_features.rdtscp = features.rdtscp && (caps->control[VMX_PROC2] & VMX_PROC2_RDTSCP) != 0;
	guest_features.xsaves = features.xsaves && (caps->control[VMX_PROC2] & VMX_PROC2_XSAVES) != 0;
	caps->cr0_fixed = caps->cpu.cr0_fixed0;
	caps->cr4_fixed = caps->cpu.cr4_fixed0;
	// Unrestricted guest frees PE and PG (26.3.1.1 "Checks on Guest Control Registers").
	if ((caps->control[VMX_PROC2] & VMX_PROC2_UNRESTRICTED) != 0)
		caps->cr0_fixed &= ~(CR0_PE | CR0_PG);
	else
		guest_features.unpaged_lacks = "VMX control \"unrestricted guest\"";
	return 0;
}

// The timer is loaded at each entry, since no control saves it, and counts down when the TSC's bit N changes (25.5.1
// "VMX-Preemption Timer", A.6 "Miscellaneous Data").
bool vmx_max_run_set(uint64_t tsc) {
	struct vmx_caps *caps = &vmx_caps;
	if ((caps->usable[VMX_PIN] & VMX_PIN_PREEMPTION_TIMER) == 0) return false;
	uint64_t ticks = tsc >> (caps->cpu.misc & VMX_MISC_TIMER_RATE_MASK);
	caps->max_run = (uint32_t)min_u64(max_u64(ticks, 1), UINT32_MAX);
	caps->control[VMX_PIN] |= VMX_PIN_PREEMPTION_TIMER;
	return true;
}

void vmx_describe(char *text, size_t bytes) {
	const struct vmx_caps *caps = &vmx_caps;
	size_t at = fmt_print(text, bytes, "revision %#x, EPT 4K%s%s%s", vmx_revision(),
	                      caps->ept_2m ? " 2M" : "", caps->ept_1g ? " 1G" : "", caps->ept_ad ? " A/D" : "");
	for (unsigned i = 0; i < array_count(controls) && at < bytes; i++)
		if (controls[i].need >= WANTED && controls[i].name != NULL &&
		    (caps->usable[controls[i].word] & controls[i].bit) != 0)
			at += fmt_print(text + at, bytes - at, ", %s", controls[i].name);
}

// ---- permission maps ----------------------------------------------------------------------------------------

// One bit an MSR, in four parts of 1 KiB: read low, read high, write low, write high; low is 0..1FFF, high
// C0000000..C0001FFF (SDM vol. 3, 24.6.9 "MSR-Bitmap Address").
#define MSR_BITMAP_HIGH 1024u

static void msr_allow(uint8_t *map, uint32_t msr) {
	uint32_t index = msr & 0x1fffu;
	if (msr != index && msr != (index | 0xc0000000u)) return;
	uint8_t *part = map + (msr != index ? MSR_BITMAP_HIGH : 0);
	uint8_t keep = (uint8_t) ~(1u << (index % 8));
	part[index / 8] &= keep;
	part[VMX_MSR_BITMAP_WRITE + index / 8] &= keep;
}

static int maps_build(void) {
	if (maps.v != 0) return 0;
	int err = memory_pool_pages(MAPS_PAGES, &maps);
	if (err < 0) return err;
	uint8_t *map = frame_ptr(maps);
	memset(map, 0xff, MAPS_PAGES * PAGE_BYTES);
	for (unsigned page = MAP_MSR; page <= MAP_MSR_X2APIC; page++)
		for (unsigned i = 0; i < msrlist_direct_count; i++)
			msr_allow(map + page * PAGE_BYTES, msrlist_direct[i]);
	vmx_apicv_msrs_allow(map + MAP_MSR_X2APIC * PAGE_BYTES);
	return 0;
}

uint64_t vmx_map_pa(enum vmx_map map) { return maps.v + map * PAGE_BYTES; }

// ---- on and off -----------------------------------------------------------------------------------------------

static void unlock(void) {
	uint64_t control = rdmsr(MSR_FEATURE_CONTROL);
	if ((control & FEATURE_CONTROL_LOCK) == 0)
		wrmsr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
}

// What another VMX user of this boot left cached must not meet our VPIDs and tables.
static void flush_all(void) {
	vmx_invept(VMX_INVEPT_ALL, 0);
	if (vmx_caps.vpid) vmx_invvpid(VMX_INVVPID_ALL, 0);
}

int vmx_cpu_enable(struct arch_why *why) {
	struct vmx_cpu here;
	hpa_t region;
	if (locked_off(why)) return -ERR_UNSUP;
	memset(&here, 0, sizeof here);
	cpu_read(&here);
	if (memcmp(&here, &vmx_caps.cpu, sizeof here) != 0) {
		fmt_print(why->text, sizeof why->text, "its VMX capabilities differ from the boot CPU's");
		return -ERR_UNSUP;
	}
	int err = maps_build();
	if (err == 0) err = memory_pool_pages(1, &region);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "no memory for VMX's own pages");
		return err;
	}
	unlock();
	put_le32(frame_ptr(region), vmx_revision());
	// VMXON faults unless the fixed bits are as it wants them (SDM vol. 3, 23.8).
	const struct vmx_cpu *cpu = &vmx_caps.cpu;
	write_cr0((read_cr0() | cpu->cr0_fixed0) & cpu->cr0_fixed1);
	write_cr4((read_cr4() | cpu->cr4_fixed0 | CR4_VMXE) & cpu->cr4_fixed1);
	if (!vmx_vmxon(region.v)) {
		memory_pool_pages_free(region, 1);
		write_cr4(read_cr4() & ~CR4_VMXE);
		fmt_print(why->text, sizeof why->text, "VMXON failed although the CPU and its firmware allow it");
		return -ERR_STATE;
	}
	this_cpu()->backend_pa = region.v;
	this_cpu()->backend_current_pa = 0;
	flush_all();
	trap_nmi_restart_set(vmx_window_start, vmx_window_end, vmx_window_cancel);
	return 0;
}

void vmx_cpu_disable(void) {
	if (!vmx_vmxoff()) vmx_insn_failed("VMXOFF", 0);
	write_cr4(read_cr4() & ~CR4_VMXE);
	memory_pool_pages_free(hpa(this_cpu()->backend_pa), 1);
	this_cpu()->backend_pa = this_cpu()->backend_current_pa = 0;
}
