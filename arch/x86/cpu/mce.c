// SPDX-License-Identifier: Apache-2.0
// The error banks of the machine-check architecture, common to both vendors: what AMD adds (deferred errors, poison)
// has UC clear and needs no other answer. Banks above 31 live elsewhere and are left alone.
#include "arch/x86/cpu/mce.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"

#define BANK_MAX 32u
#define BANK_MSRS 4u // CTL, STATUS, ADDR, MISC (SDM vol. 3, 15.3.2)

static uint32_t banks; // of every CPU; 0 until they are on

// 15.6.3 "UCR Error Classification" and 15.10.4 "Machine-Check Software Handler Guidelines for Error Recovery".
enum mce_verdict mce_judge(uint64_t cap, uint64_t status) {
	const uint64_t action_required = MCI_STATUS_S | MCI_STATUS_AR;
	if ((status & MCI_STATUS_UC) == 0) return MCE_GO_ON;
	// After an overflow the first of the errors is unknown: it may be anybody's.
	if ((status & (MCI_STATUS_PCC | MCI_STATUS_OVER)) != 0) return MCE_FATAL;
	if ((cap & MCG_CAP_SER_P) != 0 && (status & action_required) != action_required) return MCE_GO_ON;
	return MCE_STOP;
}

// MCA error codes, the first match counts (15.9.1 "Simple Error Codes", 15.9.2 "Compound Error Codes"; bit 12 is
// the correction-report filter).
static const struct {
	uint16_t mask, code;
	const char *name;
} kind[] = {
    {0xffff, 0x0000, "no error"},
    {0xffff, 0x0001, "unclassified error"},
    {0xffff, 0x0002, "microcode ROM parity error"},
    {0xffff, 0x0003, "external error"},
    {0xffff, 0x0004, "redundancy check error"},
    {0xffff, 0x0005, "internal parity error"},
    {0xffff, 0x0400, "internal timer error"},
    {0xffff, 0x0e0b, "I/O error"},
    {0xfc00, 0x0400, "internal error"},
    {0xeffc, 0x000c, "cache error"},
    {0xeff0, 0x0010, "TLB error"},
    {0xef80, 0x0080, "memory controller error"},
    {0xef00, 0x0100, "cache hierarchy error"},
    {0xe800, 0x0800, "bus or interconnect error"},
    {0, 0, "error of the model's own kind"},
};

void mce_describe(const struct mce_bank *bank, char *text, size_t bytes) {
	uint64_t status = bank->status;
	unsigned i = 0;
	while ((status & kind[i].mask) != kind[i].code) i++;
	size_t at =
	    fmt_print(text, bytes, "bank %u: %s%s%s%s, status %#llx", bank->number, kind[i].name,
	              (status & MCI_STATUS_OVER) != 0 ? ", overflow" : "",
	              (status & MCI_STATUS_UC) != 0 ? ", uncorrected" : "",
	              (status & MCI_STATUS_PCC) != 0 ? ", context corrupt" : "", (unsigned long long)status);
	if ((status & MCI_STATUS_ADDRV) != 0)
		at += fmt_print(text + at, bytes - at, ", address %#llx", (unsigned long long)bank->address);
	if ((status & MCI_STATUS_MISCV) != 0)
		fmt_print(text + at, bytes - at, ", misc %#llx", (unsigned long long)bank->misc);
}

// Reading a register that is not valid may be a #GP (15.3.2.3, 15.3.2.4).
static bool bank_read(struct mce_bank *bank) {
	uint32_t msr = MSR_MC0_STATUS + BANK_MSRS * bank->number;
	bank->status = rdmsr(msr);
	if ((bank->status & MCI_STATUS_VAL) == 0) return false;
	if ((bank->status & MCI_STATUS_ADDRV) != 0) bank->address = rdmsr(msr + 1);
	if ((bank->status & MCI_STATUS_MISCV) != 0) bank->misc = rdmsr(msr + 2);
	wrmsr(msr, 0);
	return true;
}

static enum mce_verdict banks_take(const char *when) {
	enum mce_verdict worst = MCE_GO_ON;
	for (struct mce_bank bank = {.number = 0}; bank.number < banks; bank.number++) {
		char text[LOG_LINE_BYTES];
		if (!bank_read(&bank)) continue;
		mce_describe(&bank, text, sizeof text);
		log_error("mce", "cpu %u%s %s", this_cpu()->id, when, text);
		enum mce_verdict verdict = mce_judge(rdmsr(MSR_MCG_CAP), bank.status);
		if (verdict > worst) worst = verdict;
	}
	return worst;
}

enum mce_verdict mce_take(void) {
	if (banks == 0) return MCE_FATAL;
	uint64_t status = rdmsr(MSR_MCG_STATUS);
	enum mce_verdict verdict = banks_take("");
	if ((status & MCG_STATUS_RIPV) == 0 && verdict < MCE_STOP) verdict = MCE_STOP;
	wrmsr(MSR_MCG_STATUS, 0); // a second machine check while MCIP is set shuts the CPU down (15.3.1.2)
	return verdict;
}

// 15.8 "Machine-Check Initialization".
void mce_cpu_init(void) {
	uint64_t cap;
	if (!features.mca || !rdmsr_safe(MSR_MCG_CAP, &cap)) return;
	banks = (uint32_t)min_u64(cap & MCG_CAP_COUNT, BANK_MAX);
	if ((cap & MCG_CAP_CTL_P) != 0) wrmsr(MSR_MCG_CTL, UINT64_MAX);
	(void)banks_take(", before the start,");
	for (uint32_t i = 0; i < banks; i++) wrmsr(MSR_MC0_CTL + BANK_MSRS * i, UINT64_MAX);
}
