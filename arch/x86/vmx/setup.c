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

#define IO_BITMAP_PAGES 2u

struct vmx_caps vmx_caps;

static hpa_t io_bitmap, msr_bitmap;

// ---- control words ------------------------------------------------------------------------------------------

enum control_word { WORD_PIN, WORD_PROC, WORD_PROC2, WORD_EXIT, WORD_ENTRY, WORDS };

// Without these the backend does not run. `name` is the manual's.
static const struct {
	enum control_word word;
	uint32_t bit;
	const char *name;
} needed[] = {
    {WORD_PIN, VMX_PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting"},
    {WORD_PIN, VMX_PIN_NMI, "NMI exiting"},
    {WORD_PIN, VMX_PIN_VIRTUAL_NMI, "virtual NMIs"},
    {WORD_PROC, VMX_PROC_SECONDARY, "secondary processor-based controls"},
    {WORD_PROC, VMX_PROC_TSC_OFFSET, "TSC offsetting"},
    {WORD_PROC, VMX_PROC_HLT, "HLT exiting"},
    {WORD_PROC, VMX_PROC_MWAIT, "MWAIT exiting"},
    {WORD_PROC, VMX_PROC_MONITOR, "MONITOR exiting"},
    {WORD_PROC, VMX_PROC_RDPMC, "RDPMC exiting"},
    {WORD_PROC, VMX_PROC_CR8_LOAD, "CR8-load exiting"},
    {WORD_PROC, VMX_PROC_CR8_STORE, "CR8-store exiting"},
    {WORD_PROC, VMX_PROC_IO_BITMAP, "I/O bitmaps"},
    {WORD_PROC, VMX_PROC_MSR_BITMAP, "MSR bitmaps"},
    {WORD_PROC2, VMX_PROC2_EPT, "extended page tables (EPT)"},
    {WORD_PROC2, VMX_PROC2_UNRESTRICTED, "unrestricted guest"},
    {WORD_PROC2, VMX_PROC2_WBINVD, "WBINVD exiting"},
    {WORD_EXIT, VMX_EXIT_SAVE_DEBUG, "save debug controls"},
    {WORD_EXIT, VMX_EXIT_HOST_64, "host address-space size"},
    {WORD_EXIT, VMX_EXIT_LOAD_PAT, "load IA32_PAT on exit"},
    {WORD_EXIT, VMX_EXIT_LOAD_EFER, "load IA32_EFER on exit"},
    {WORD_ENTRY, VMX_ENTRY_LOAD_DEBUG, "load debug controls"},
    {WORD_ENTRY, VMX_ENTRY_IA32E, "IA-32e mode guest"},
    {WORD_ENTRY, VMX_ENTRY_LOAD_PAT, "load IA32_PAT on entry"},
    {WORD_ENTRY, VMX_ENTRY_LOAD_EFER, "load IA32_EFER on entry"},
};
// Turned on and off while a guest runs; have to be there, but not set.
static const struct {
	enum control_word word;
	uint32_t bits;
} dynamic[] = {
    {WORD_PROC, VMX_PROC_INTERRUPT_WINDOW | VMX_PROC_NMI_WINDOW},
    {WORD_ENTRY, VMX_ENTRY_IA32E},
};
// Set where the CPU has them.
static const struct {
	enum control_word word;
	uint32_t bit;
	enum feature feature;
} wished[] = {
    {WORD_PROC2, VMX_PROC2_RDTSCP, FEATURE_RDTSCP},
    {WORD_PROC2, VMX_PROC2_VPID, FEATURE_VPID},
};

// The MSR's high half has the bits that may be 1, the low half those that must be (appendix A.3). The TRUE_ ones
// let go of some that older CPUs always set, CR3 exits among them.
static uint64_t allowed(enum control_word word) {
	static const uint32_t plain[WORDS] = {MSR_VMX_PIN, MSR_VMX_PROC, MSR_VMX_PROC2, MSR_VMX_EXIT,
	                                      MSR_VMX_ENTRY};
	static const uint32_t true_[WORDS] = {MSR_VMX_TRUE_PIN, MSR_VMX_TRUE_PROC, MSR_VMX_PROC2,
	                                      MSR_VMX_TRUE_EXIT, MSR_VMX_TRUE_ENTRY};
	// The secondary controls exist where the primary ones have their activation bit.
	if (word == WORD_PROC2 && (rdmsr(MSR_VMX_PROC) >> 32 & VMX_PROC_SECONDARY) == 0) return 0;
	return rdmsr((rdmsr(MSR_VMX_BASIC) & VMX_BASIC_TRUE_CONTROLS) != 0 ? true_[word] : plain[word]);
}

// The name of a needed control this CPU lacks, or NULL with all words set.
static const char *controls_compute(uint32_t words[static WORDS]) {
	uint64_t can[WORDS];
	for (unsigned w = 0; w < WORDS; w++) {
		can[w] = allowed((enum control_word)w);
		words[w] = (uint32_t)can[w];
	}
	for (unsigned i = 0; i < array_count(wished); i++)
		if (!feature_off(wished[i].feature))
			words[wished[i].word] |= wished[i].bit & (uint32_t)(can[wished[i].word] >> 32);
	for (unsigned i = 0; i < array_count(needed); i++) {
		if ((can[needed[i].word] >> 32 & needed[i].bit) == 0) return needed[i].name;
		words[needed[i].word] |= needed[i].bit;
	}
	for (unsigned i = 0; i < array_count(dynamic); i++) {
		if ((~(can[dynamic[i].word] >> 32) & dynamic[i].bits) != 0) return "interrupt and NMI windows";
		words[dynamic[i].word] &= ~dynamic[i].bits;
	}
	return NULL;
}

static const char *ept_compute(struct vmx_caps *caps) {
	uint64_t ept = rdmsr(MSR_VMX_EPT_VPID);
	const uint64_t need = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB | VMX_EPT_CAP_INVEPT | VMX_EPT_CAP_INVEPT_ALL;
	if ((ept & need) != need) return "EPT with four levels, write-back walks and INVEPT";
	caps->invept_single = (ept & VMX_EPT_CAP_INVEPT_SINGLE) != 0;
	caps->ept_ad = (ept & VMX_EPT_CAP_AD) != 0 && !feature_off(FEATURE_EPT_AD);
	caps->ept_1g = (ept & VMX_EPT_CAP_1G) != 0 && !feature_off(FEATURE_EPT_1G);
	caps->ept_2m = (ept & VMX_EPT_CAP_2M) != 0 && !feature_off(FEATURE_EPT_2M);
	// VPIDs are only worth it when they can be flushed; without them every transition flushes.
	caps->vpid = (caps->proc2 & VMX_PROC2_VPID) != 0 && (ept & VMX_VPID_CAP_INVVPID) != 0 &&
	             (ept & VMX_VPID_CAP_ALL) != 0;
	if (!caps->vpid) caps->proc2 &= ~VMX_PROC2_VPID;
	caps->invvpid_single = (ept & VMX_VPID_CAP_SINGLE) != 0;
	return NULL;
}

int vmx_probe(struct arch_why *why) {
	if (!features.vmx) {
		fmt_print(why->text, sizeof why->text, "CPU \"%s\" has no VMX", features.brand);
		return -ERR_UNSUP;
	}
	uint64_t control = rdmsr(MSR_FEATURE_CONTROL);
	if ((control & FEATURE_CONTROL_LOCK) != 0 && (control & FEATURE_CONTROL_VMX) == 0) {
		fmt_print(why->text, sizeof why->text,
		          "VMX is disabled by the firmware (IA32_FEATURE_CONTROL locked at %#llx): enable \"Intel "
		          "Virtualization "
		          "Technology\" in its setup",
		          (unsigned long long)control);
		return -ERR_UNSUP;
	}
	uint32_t words[WORDS];
	const char *lacks = controls_compute(words);
	if (lacks == NULL) {
		vmx_caps = (struct vmx_caps){
		    .revision = (uint32_t)(rdmsr(MSR_VMX_BASIC) & VMX_BASIC_REVISION_MASK),
		    .pin = words[WORD_PIN],
		    .proc = words[WORD_PROC],
		    .proc2 = words[WORD_PROC2],
		    .exit = words[WORD_EXIT],
		    .entry = words[WORD_ENTRY],
		    // Unrestricted guest frees PE and PG (26.3.1.1 "Checks on Guest Control Registers").
		    .cr0_fixed = rdmsr(MSR_VMX_CR0_FIXED0) & ~(CR0_PE | CR0_PG),
		    .cr4_fixed = rdmsr(MSR_VMX_CR4_FIXED0),
		};
		lacks = ept_compute(&vmx_caps);
	}
	if (lacks == NULL) {
		guest_features.rdtscp = features.rdtscp && (vmx_caps.proc2 & VMX_PROC2_RDTSCP) != 0;
		return 0;
	}
	fmt_print(why->text, sizeof why->text, "CPU \"%s\" has VMX but not what a guest needs here: %s",
	          features.brand, lacks);
	return -ERR_UNSUP;
}

// ---- permission maps ----------------------------------------------------------------------------------------

// One bit an MSR, in four parts of 1 KiB: read low, read high, write low, write high; low is 0..1FFF, high
// C0000000..C0001FFF (SDM vol. 3, 24.6.9 "MSR-Bitmap Address").
#define MSR_BITMAP_HIGH 1024u
#define MSR_BITMAP_WRITE 2048u

static void msr_allow(uint8_t *map, uint32_t msr) {
	uint32_t index = msr & 0x1fffu;
	if (msr != index && msr != (index | 0xc0000000u)) return;
	uint8_t *part = map + (msr != index ? MSR_BITMAP_HIGH : 0);
	uint8_t keep = (uint8_t) ~(1u << (index % 8));
	part[index / 8] &= keep;
	part[MSR_BITMAP_WRITE + index / 8] &= keep;
}

static int maps_build(void) {
	if (msr_bitmap.v != 0) return 0;
	int err = memory_pool_pages(IO_BITMAP_PAGES, &io_bitmap);
	if (err < 0) return err;
	err = memory_pool_pages(1, &msr_bitmap);
	if (err < 0) return err;
	memset(frame_ptr(io_bitmap), 0xff, IO_BITMAP_PAGES * PAGE_BYTES);
	memset(frame_ptr(msr_bitmap), 0xff, PAGE_BYTES);
	for (unsigned i = 0; i < msrlist_direct_count; i++) msr_allow(frame_ptr(msr_bitmap), msrlist_direct[i]);
	return 0;
}

uint64_t vmx_io_bitmap_pa(void) { return io_bitmap.v; }
uint64_t vmx_msr_bitmap_pa(void) { return msr_bitmap.v; }

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
	hpa_t region;
	int err = maps_build();
	if (err == 0) err = memory_pool_pages(1, &region);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "no memory for VMX's own pages");
		return err;
	}
	unlock();
	put_le32(frame_ptr(region), vmx_caps.revision);
	// VMXON faults unless the fixed bits are as it wants them (SDM vol. 3, 23.8).
	write_cr0((read_cr0() | rdmsr(MSR_VMX_CR0_FIXED0)) & rdmsr(MSR_VMX_CR0_FIXED1));
	write_cr4((read_cr4() | vmx_caps.cr4_fixed | CR4_VMXE) & rdmsr(MSR_VMX_CR4_FIXED1));
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
