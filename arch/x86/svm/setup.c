// SPDX-License-Identifier: Apache-2.0
// Finding, checking and turning on SVM, and the permission maps all VMs share (APM vol. 2, 15.4 "Enabling
// SVM", 15.10 "IOIO Intercepts", 15.11 "MSR Intercepts"). Default deny: every port and every MSR exits but
// for the named ranges.
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/msrlist.h"
#include "arch/x86/svm/insn.h"
#include "arch/x86/svm/svm.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"

#define CPUID_SVM 0x8000000au
#define IOPM_PAGES 3u // 64 KiB of ports and the three bits past them
#define MSRPM_PAGES 2u

struct svm_caps svm_caps;

static hpa_t iopm, msrpm;

// What is used where CPUID 8000_000A EDX has the bits.
#define OPTIONAL(bits, feature, member, name)                                                                \
	{ bits, FEATURE_##feature, offsetof(struct svm_caps, member), name }
// clang-format off
static const struct {
	uint32_t bits;
	uint8_t feature, at; // `at`: of the bool
	const char *name;
} optional[] = {
	OPTIONAL(SVM_FEATURE_NRIPS, NEXT_RIP, next_rip, "next RIP"),
	OPTIONAL(SVM_FEATURE_FLUSH_ASID, FLUSH_BY_ASID, flush_asid, "flush by ASID"),
	OPTIONAL(SVM_FEATURE_DECODE, DECODE_ASSIST, decode, "decode assists"),
	OPTIONAL(SVM_FEATURE_PAUSE_FILTER, PAUSE_FILTER, pause, "pause filter"),
};
// clang-format on

int svm_probe(struct arch_why *why) {
	if (!features.svm || features.max_extended < CPUID_SVM) {
		fmt_print(why->text, sizeof why->text, "CPU \"%s\" has no SVM", features.brand);
		return -ERR_UNSUP;
	}
	uint64_t vm_cr;
	if (rdmsr_safe(MSR_VM_CR, &vm_cr) && (vm_cr & SVM_VM_CR_SVMDIS) != 0) {
		fmt_print(why->text, sizeof why->text,
		          "SVM is disabled by the firmware (VM_CR.SVMDIS%s): enable \"SVM Mode\" in its setup",
		          (vm_cr & SVM_VM_CR_LOCK) != 0 ? ", locked" : "");
		return -ERR_UNSUP;
	}
	struct cpuid_regs r = cpuid(CPUID_SVM, 0);
	if ((r.edx & SVM_FEATURE_NPT) == 0) {
		fmt_print(why->text, sizeof why->text,
		          "CPU \"%s\" has SVM but no nested paging (CPUID 8000_000A EDX.NP)", features.brand);
		return -ERR_UNSUP;
	}
	if (r.ebx < 2) {
		fmt_print(why->text, sizeof why->text, "CPU has SVM but only %u ASIDs", r.ebx);
		return -ERR_UNSUP;
	}
	svm_caps.asids = r.ebx;
	svm_caps.npt_1g = features.page_1g && !feature_off(FEATURE_NPT_1G);
	for (unsigned i = 0; i < array_count(optional); i++)
		*((bool *)&svm_caps + optional[i].at) =
		    (r.edx & optional[i].bits) == optional[i].bits && !feature_off((enum feature)optional[i].feature);
	guest_features.xsaves = features.xsaves && !feature_off(FEATURE_XSAVES);
	guest_features.rdtscp = features.rdtscp && !feature_off(FEATURE_RDTSCP);
	return 0;
}

void svm_describe(char *text, size_t bytes) {
	size_t at =
	    fmt_print(text, bytes, "%u ASIDs, NPT 4K 2M%s%s%s", svm_caps.asids, svm_caps.npt_1g ? " 1G" : "",
	              guest_features.rdtscp ? ", RDTSCP" : "", guest_features.xsaves ? ", XSAVES" : "");
	for (unsigned i = 0; i < array_count(optional) && at < bytes; i++)
		if (*((const bool *)&svm_caps + optional[i].at))
			at += fmt_print(text + at, bytes - at, ", %s", optional[i].name);
}

// MSRPM: two bits an MSR, read then write, in three ranges of 8192 MSRs (APM vol. 2, 15.11).
static bool msrpm_bit(uint32_t msr, uint32_t *bit) {
	static const struct {
		uint32_t first, byte;
	} range[] = {{0x0, 0x0}, {0xc0000000u, 0x800}, {0xc0010000u, 0x1000}};
	for (unsigned i = 0; i < array_count(range); i++)
		if (msr >= range[i].first && msr - range[i].first < 0x2000) {
			*bit = range[i].byte * 8 + (msr - range[i].first) * 2;
			return true;
		}
	return false;
}

static void msrpm_allow(uint8_t *map, uint32_t msr) {
	uint32_t bit;
	if (!msrpm_bit(msr, &bit)) return;
	map[bit / 8] &= (uint8_t) ~(3u << (bit % 8));
}

static int maps_build(void) {
	if (iopm.v != 0) return 0;
	int err = memory_pool_pages(IOPM_PAGES, &iopm);
	if (err < 0) return err;
	err = memory_pool_pages(MSRPM_PAGES, &msrpm);
	if (err < 0) return err;
	memset(frame_ptr(iopm), 0xff, IOPM_PAGES * PAGE_BYTES);
	memset(frame_ptr(msrpm), 0xff, MSRPM_PAGES * PAGE_BYTES);
	for (unsigned i = 0; i < msrlist_direct_count; i++) msrpm_allow(frame_ptr(msrpm), msrlist_direct[i]);
	return 0;
}

uint64_t svm_iopm_pa(void) { return iopm.v; }
uint64_t svm_msrpm_pa(void) { return msrpm.v; }
uint64_t svm_host_vmcb_pa(void) { return this_cpu()->backend_pa; }

int svm_cpu_enable(struct arch_why *why) {
	hpa_t save, host;
	int err = maps_build();
	if (err == 0) err = memory_pool_pages(1, &save);
	if (err == 0) err = memory_pool_pages(1, &host);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "no memory for SVM's own pages");
		return err;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, save.v);
	svm_vmsave(host.v); // FS, GS, TR, LDTR and the SYSCALL MSRs as every exit wants them back
	this_cpu()->backend_pa = host.v;
	return 0;
}

void svm_cpu_disable(void) { wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME); }
