// SPDX-License-Identifier: Apache-2.0
// From the VMCB after a #VMEXIT to the neutral record, for what no emulator has: decode assists; and with and without
// the next RIP.
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/trap.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/walk.h"
#include "arch/x86/svm/svm.h"
#include "drivers/host/apic.h"
#include "kernel/memory.h"
#include "kernel/run.h"
#include "tests/unit/support.h"

#define RIP UINT64_C(0x401000)

struct svm_caps svm_caps;
struct cpu_features features;
struct guest_features guest_features;

static struct vm vm;
static struct vcpu vcpu;
static struct arch_vcpu arch;
static struct svm_vcpu svm;
static struct vmcb vmcb __aligned_to(4096);
static struct exit seen;
static struct guest_event requeued;
static unsigned requeues, steps, interrupts;
static uint8_t code[4096] __aligned_to(4096); // of the page at RIP
static jmp_buf back;

// ---- neighbours --------------------------------------------------------------------------------------------------

static void see(struct vcpu *v, const struct exit *exit) {
	assert_ptr_equal(v, &vcpu);
	seen = *exit;
}
exit_handler_fn *const exit_handler[EXIT_KINDS] = {[0 ... EXIT_KINDS - 1] = see};
noreturn void run_loop(void) { longjmp(back, 1); }
noreturn void svm_enter(struct arch_vcpu *a, uint64_t stack_top) {
	(void)a;
	(void)stack_top;
	abort();
}
void apic_ipi_self(uint8_t vector) {
	assert_int_equal(vector, HOST_VEC_KICK);
	interrupts++;
}
void guest_event_requeue(struct vcpu *v, const struct guest_event *event) {
	(void)v;
	requeued = *event;
	requeues++;
}
void guest_trap_step(struct vcpu *v) {
	(void)v;
	steps++;
}
void vcpu_request(struct vcpu *v, uint32_t requests) { v->requests |= requests; }
int memory_pool_pages(uint64_t pages, hpa_t *first) {
	(void)pages;
	(void)first;
	return -1;
}
void memory_pool_pages_free(hpa_t first, uint64_t pages) {
	(void)first;
	(void)pages;
}
int memory_object(uint64_t bytes, void **object) {
	(void)bytes;
	(void)object;
	return -1;
}
void memory_object_free(void *object, uint64_t bytes) {
	(void)object;
	(void)bytes;
}
uint64_t svm_host_vmcb_pa(void) { return 0; }
uint64_t svm_iopm_pa(void) { return 0; }
uint64_t svm_msrpm_pa(void) { return 0; }

static int setup(void **state) {
	(void)state;
	memset(&vmcb, 0, sizeof vmcb);
	arch = (struct arch_vcpu){.vcpu = &vcpu, .vendor = &svm, .block = &vmcb};
	vcpu = (struct vcpu){.vm = &vm, .arch = &arch};
	svm = (struct svm_vcpu){.vmcb = &vmcb};
	vmcb.rip = RIP;
	vmcb.efer = EFER_LMA | EFER_LME | EFER_SVME;
	vmcb.cs.attrib = 0x29b; // 64-bit code
	vmcb.rflags = RFLAGS_FIXED;
	// The walk of the code page is remembered, and its tables need no second look.
	gspace_init_arena(&vm.space, code, sizeof code, NULL);
	arch.fetch[(RIP >> PAGE_SHIFT) % FETCH_WALKS] =
	    (struct fetch_walk){.linear_page = RIP, .efer = EFER_LMA | EFER_LME, .access = PF_FETCH};
	svm_caps = (struct svm_caps){.asids = 8, .next_rip = true};
	requeues = steps = interrupts = 0;
	return 0;
}

static const struct exit *leave(uint64_t exit_code, uint64_t info1, uint64_t info2) {
	vmcb.exit_code = exit_code;
	vmcb.exit_info1 = info1;
	vmcb.exit_info2 = info2;
	memset(&seen, 0xa5, sizeof seen);
	if (setjmp(back) == 0) svm_exit(&arch);
	assert_int_equal(seen.reason, exit_code);
	return &seen;
}

// ---- lengths -----------------------------------------------------------------------------------------------------

static const struct {
	uint64_t exit_code;
	uint8_t code[3], length;
	enum exit_kind kind;
} fixed[] = {
    {SVM_EXIT_CPUID, {0x0f, 0xa2}, 2, EXIT_CPUID},
    {SVM_EXIT_HLT, {0xf4}, 1, EXIT_HLT},
    {SVM_EXIT_MSR, {0x0f, 0x30}, 2, EXIT_WRMSR},
    {SVM_EXIT_MSR, {0x0f, 0x32}, 2, EXIT_RDMSR},
    {SVM_EXIT_VMMCALL, {0x0f, 0x01, 0xd9}, 3, EXIT_HYPERCALL},
    {SVM_EXIT_XSETBV, {0x0f, 0x01, 0xd1}, 3, EXIT_XSETBV},
    {SVM_EXIT_INVD, {0x0f, 0x08}, 2, EXIT_INVD},
    {SVM_EXIT_WBINVD, {0x0f, 0x09}, 2, EXIT_INVD},
    {SVM_EXIT_PAUSE, {0xf3, 0x90}, 2, EXIT_PAUSE},
};

static void svm_exit_without_next_rip_knows_plain_instructions(void **state) {
	(void)state;
	svm_caps.next_rip = false;
	vmcb.next_rip = 0x1234; // not the CPU's
	for (unsigned i = 0; i < array_count(fixed); i++) {
		memset(code, 0xcc, sizeof code);
		memcpy(code, fixed[i].code, fixed[i].length);
		const struct exit *x = leave(fixed[i].exit_code, fixed[i].kind == EXIT_WRMSR, 0);
		assert_int_equal(x->kind, fixed[i].kind);
		assert_int_equal(x->insn_len, fixed[i].length);
		// A prefix makes it longer: the decoder's.
		code[0] = 0x66;
		memcpy(code + 1, fixed[i].code, 3);
		assert_int_equal(leave(fixed[i].exit_code, fixed[i].kind == EXIT_WRMSR, 0)->insn_len, 0);
	}
}

static void svm_exit_with_next_rip_subtracts(void **state) {
	(void)state;
	for (uint64_t length = 1; length <= 15; length++) {
		vmcb.next_rip = RIP + length;
		assert_int_equal(leave(SVM_EXIT_CPUID, 0, 0)->insn_len, length);
	}
	vmcb.next_rip = RIP + 16;
	assert_int_equal(leave(SVM_EXIT_CPUID, 0, 0)->insn_len, 0);
	vmcb.next_rip = 0;
	assert_int_equal(leave(SVM_EXIT_INTR, 0, 0)->insn_len, 0);
}

// ---- register accesses -------------------------------------------------------------------------------------------

static void svm_exit_decode_assists_tell_the_operand(void **state) {
	(void)state;
	svm_caps.decode = true;
	vmcb.next_rip = RIP + 3;
	for (unsigned reg = 0; reg < 16; reg++)
		for (unsigned gpr = 0; gpr < 16; gpr++) {
			const struct exit *x = leave(SVM_EXIT_CR_READ + reg, SVM_CR_MOV | gpr, 0);
			assert_int_equal(x->kind, EXIT_CR_ACCESS);
			assert_int_equal(x->cr.op, EXIT_CR_READ);
			assert_int_equal(x->cr.reg, reg);
			assert_int_equal(x->cr.gpr, gpr);
			assert_int_equal(x->insn_len, 3);
			x = leave(SVM_EXIT_CR_WRITE + reg, SVM_CR_MOV | gpr, 0);
			assert_int_equal(x->cr.op, EXIT_CR_WRITE);
			assert_int_equal(x->cr.reg, reg);
			assert_int_equal(x->cr.gpr, gpr);
			x = leave(SVM_EXIT_DR_WRITE + reg, gpr, 0);
			assert_int_equal(x->kind, EXIT_DR_ACCESS);
			assert_true(x->cr.write);
			assert_int_equal(x->cr.reg, reg);
			assert_int_equal(x->cr.gpr, gpr);
		}
}

static void svm_exit_lmsw_clts_smsw_are_decoded(void **state) {
	(void)state;
	svm_caps.decode = true; // bit 63 of EXITINFO1 is clear: no MOV
	assert_int_equal(leave(SVM_EXIT_CR_WRITE, 0, 0)->cr.op, EXIT_CR_DECODE);
	assert_int_equal(leave(SVM_EXIT_CR_READ, 0, 0)->cr.op, EXIT_CR_DECODE);
	svm_caps.decode = false; // EXITINFO1 means nothing
	assert_int_equal(leave(SVM_EXIT_CR_WRITE + 4, SVM_CR_MOV | 3, 0)->cr.op, EXIT_CR_DECODE);
	assert_int_equal(seen.cr.reg, 4);
}

static unsigned bytes_given(uint64_t exit_code, uint8_t count) {
	uint64_t words[CODE_BYTES / 8] = {UINT64_MAX, UINT64_MAX};
	vmcb.exit_code = exit_code;
	vmcb.insn_bytes_count = count;
	unsigned given = svm_insn_bytes(&vcpu, words);
	const uint8_t *bytes = (const uint8_t *)words;
	for (unsigned i = 0; i < CODE_BYTES; i++) assert_int_equal(bytes[i], i < given ? 0x40 + i : 0);
	return given;
}

static void svm_insn_bytes_gives_what_the_cpu_fetched(void **state) {
	(void)state;
	for (unsigned i = 0; i < sizeof vmcb.insn_bytes; i++) vmcb.insn_bytes[i] = (uint8_t)(0x40 + i);
	svm_caps.decode = true;
	for (uint8_t count = 0; count <= 15; count++) assert_int_equal(bytes_given(SVM_EXIT_NPF, count), count);
	assert_int_equal(bytes_given(SVM_EXIT_CR_WRITE, 15), 0); // of an earlier exit
	assert_int_equal(bytes_given(SVM_EXIT_IOIO, 15), 0);
	svm_caps.decode = false; // turned off, or the field means nothing
	assert_int_equal(bytes_given(SVM_EXIT_NPF, 15), 0);
}

// ---- ports and nested faults -------------------------------------------------------------------------------------

static void svm_exit_ioio_fields_are_told_apart(void **state) {
	(void)state;
	svm_caps.next_rip = false; // EXITINFO2 has it on every CPU
	for (unsigned bits = 0; bits < 8; bits++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			uint64_t info = UINT64_C(0xbeef) << SVM_IOIO_PORT_SHIFT | size << SVM_IOIO_SIZE_SHIFT |
			                ((bits & 1) != 0 ? SVM_IOIO_IN : 0) | ((bits & 2) != 0 ? SVM_IOIO_STRING : 0) |
			                ((bits & 4) != 0 ? SVM_IOIO_REP : 0);
			const struct exit *x = leave(SVM_EXIT_IOIO, info, RIP + 2);
			assert_int_equal(x->kind, EXIT_PIO);
			assert_int_equal(x->pio.port, 0xbeef);
			assert_int_equal(x->pio.bytes, size);
			assert_int_equal(x->pio.in, (bits & 1) != 0);
			assert_int_equal(x->pio.string, (bits & 2) != 0);
			assert_int_equal(x->insn_len, 2);
		}
}

static void svm_exit_nested_fault_says_what_was_wanted(void **state) {
	(void)state;
	vmcb.next_rip = RIP + 5; // stale
	const struct exit *x = leave(SVM_EXIT_NPF, SVM_NPF_FINAL | PF_USER | PF_WRITE, 0xfee00300);
	assert_int_equal(x->kind, EXIT_NESTED_FAULT);
	assert_int_equal(x->fault.gpa, 0xfee00300);
	assert_int_equal(x->fault.access, EXIT_ACCESS_WRITE);
	assert_false(x->fault.table_walk);
	assert_int_equal(x->insn_len, 0);
	assert_int_equal(leave(SVM_EXIT_NPF, SVM_NPF_FINAL | PF_FETCH, 0)->fault.access, EXIT_ACCESS_FETCH);
	assert_int_equal(leave(SVM_EXIT_NPF, SVM_NPF_FINAL, 0)->fault.access, EXIT_ACCESS_READ);
	assert_true(leave(SVM_EXIT_NPF, SVM_NPF_TABLE | PF_WRITE, 0)->fault.table_walk);
}

// ---- events ------------------------------------------------------------------------------------------------------

static void int_info(enum svm_event_type type, uint8_t vector, bool has_error, uint32_t error) {
	vmcb.exit_int_info = vector | (uint64_t)type << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID |
	                     (has_error ? SVM_EVENT_HAS_ERROR : 0) | (uint64_t)error << 32;
	requeues = 0;
	(void)leave(SVM_EXIT_NPF, SVM_NPF_FINAL, 0x1000);
}

static void svm_exit_cut_off_events_come_back(void **state) {
	(void)state;
	vmcb.event_inject = SVM_EVENT_VALID;
	int_info(SVM_EVENT_INTR, 0x61, false, 0);
	assert_int_equal(vmcb.event_inject, 0);
	assert_int_equal(requeues, 1);
	assert_int_equal(requeued.type, EVENT_IRQ);
	assert_int_equal(requeued.vector, 0x61);
	int_info(SVM_EVENT_EXCEPTION, VEC_PF, true, 0xb);
	assert_int_equal(requeues, 1);
	assert_int_equal(requeued.type, EVENT_EXCEPTION);
	assert_true(requeued.has_error);
	assert_int_equal(requeued.error, 0xb);
	svm.nmi_masked = true;
	vmcb.intercept_misc1 = SVM_ICPT1_IRET;
	int_info(SVM_EVENT_NMI, VEC_NMI, false, 0);
	assert_int_equal(requeues, 1);
	assert_int_equal(requeued.type, EVENT_NMI);
	assert_false(svm.nmi_masked);
	assert_int_equal(vmcb.intercept_misc1, 0);
}

// RIP is still at INT n, INT3 or INTO: it is executed again.
static void svm_exit_cut_off_software_events_are_executed_again(void **state) {
	(void)state;
	int_info(SVM_EVENT_SOFT, 0x80, false, 0);
	assert_int_equal(requeues, 0);
	int_info(SVM_EVENT_EXCEPTION, VEC_BP, false, 0);
	assert_int_equal(requeues, 0);
	int_info(SVM_EVENT_EXCEPTION, VEC_OF, false, 0);
	assert_int_equal(requeues, 0);
}

// ---- control registers -------------------------------------------------------------------------------------------

// The hardware has MCE whatever the guest thinks, and the guest reads what it wrote.
static void svm_cr4_set_machine_checks_stay_on(void **state) {
	struct guest_sregs s;
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		uint64_t cr4 = (i & 1 ? CR4_MCE : 0) | (i & 2 ? CR4_PAE | CR4_PGE : 0);
		vmcb.intercept_cr_read = BIT32(8);
		svm_cr4_set(&vcpu, cr4);
		svm_sregs_get(&vcpu, &s);
		assert_int_equal(s.cr4, cr4);
		assert_int_equal(vmcb.cr4, cr4 | CR4_MCE);
		assert_int_equal(vmcb.intercept_cr_read, BIT32(8) | (i & 1 ? 0 : BIT32(4)));
	}
}

// ---- all of them -------------------------------------------------------------------------------------------------

static void svm_exit_every_code_has_a_kind(void **state) {
	(void)state;
	for (uint64_t c = 0; c < 0x500; c++) {
		setup(NULL);
		assert_true(leave(c, 0, RIP)->kind < EXIT_KINDS);
		assert_true(seen.insn_len <= EMUL_INSN_MAX);
	}
	setup(NULL);
	assert_int_equal(leave(SVM_EXIT_INVALID, 0, 0)->kind, EXIT_ENTRY_FAILED);
	assert_int_equal(leave(UINT32_MAX, 0, 0)->kind, EXIT_ENTRY_FAILED);
	assert_int_equal(leave(0x403, 0, 0)->kind, EXIT_UNKNOWN);
	assert_int_equal(leave(SVM_EXIT_SWINT, 0, 0)->kind, EXIT_NOT_ENABLED);
	assert_int_equal(leave(SVM_EXIT_NPF, PF_WRITE | PF_RSVD, 0x5000)->kind, EXIT_MISCONFIG);
	assert_int_equal(seen.fault.gpa, 0x5000);
	assert_int_equal(leave(SVM_EXIT_SHUTDOWN, 0, 0)->kind, EXIT_TRIPLE_FAULT);
	assert_int_equal(leave(SVM_EXIT_EXCEPTION + VEC_MC, 0, 0)->kind, EXIT_MACHINE_CHECK);
	assert_int_equal(leave(SVM_EXIT_EXCEPTION + VEC_AC, 0, 0)->kind, EXIT_EXCEPTION);
	assert_true(seen.exception.has_error);
}

// What CPUID does not offer the CPU may have all the same; it does not run for a guest.
static void svm_vcpu_reset_intercepts_what_is_not_offered(void **state) {
	(void)state;
	for (unsigned rdtscp = 0; rdtscp < 2; rdtscp++) {
		guest_features.rdtscp = rdtscp != 0;
		svm_vcpu_reset(&vcpu);
		assert_int_equal((vmcb.intercept_misc2 & SVM_ICPT2_RDTSCP) == 0, rdtscp);
		assert_int_equal(vmcb.intercept_misc3, SVM_ICPT3_INVPCID);
	}
	static const uint64_t codes[] = {SVM_EXIT_INVPCID, SVM_EXIT_RDTSCP, SVM_EXIT_RDPRU, SVM_EXIT_INVLPGA,
	                                 SVM_EXIT_VMRUN,   SVM_EXIT_VMLOAD, SVM_EXIT_STGI,  SVM_EXIT_CLGI,
	                                 SVM_EXIT_SKINIT,  SVM_EXIT_VMSAVE};
	for (unsigned i = 0; i < array_count(codes); i++)
		assert_int_equal(leave(codes[i], 0, 0)->kind, EXIT_VIRT_INSN);
}

static void svm_advance_ends_shadow_and_rf_and_steps(void **state) {
	(void)state;
	vmcb.interrupt_shadow = SVM_SHADOW;
	vmcb.rflags |= RFLAGS_RF | RFLAGS_TF;
	svm_advance(&vcpu, 3);
	assert_int_equal(vmcb.rip, RIP + 3);
	assert_int_equal(vmcb.interrupt_shadow & SVM_SHADOW, 0);
	assert_int_equal(vmcb.rflags & RFLAGS_RF, 0);
	assert_int_equal(steps, 1);
	assert_true((vcpu.requests & VCPU_REQ_EVENT) != 0);
}

// Outside 64-bit code EIP wraps at 4 GiB; inside, RIP goes on.
static void svm_advance_wraps_at_4_gib_outside_64_bit_code(void **state) {
	(void)state;
	static const struct {
		uint64_t rip, next;
		uint64_t efer;
		uint16_t cs;
	} c[] = {
	    {0xfffffffe, 0x1, 0, 0xc9b},                                          // 32-bit protected mode
	    {0xffffffff, 0x2, EFER_LMA | EFER_LME, 0xc9b},                        // compatibility mode
	    {0xfffffffd, 0x0, 0, 0x29b},                                          // the L bit means nothing there
	    {0xfffffffc, 0xffffffff, 0, 0xc9b},                                   // just not
	    {0xfffffffe, 0x100000001, EFER_LMA | EFER_LME, 0x29b},                // 64-bit code
	    {0xffffffffffffffff, 0x2, EFER_LMA | EFER_LME, 0x29b},                // and round its end
	    {0x7ffefffffffe, 0x7fff00000001, EFER_LMA | EFER_LME, 0x29b},         // the carry goes all the way
	    {0xffffffff80000000, 0xffffffff80000003, EFER_LMA | EFER_LME, 0x29b}, // a kernel's
	};
	for (unsigned i = 0; i < array_count(c); i++) {
		vmcb.rip = c[i].rip;
		vmcb.efer = c[i].efer | EFER_SVME;
		vmcb.cs.attrib = c[i].cs;
		svm_advance(&vcpu, 3);
		assert_int_equal(vmcb.rip, c[i].next);
	}
}

// ---- an NMI beside another event ---------------------------------------------------------------------------------

// As svm_vcpu_enter does, with interrupts off.
static void prepare(void) {
	struct asid_pool *pool = &svm_asid_pool[0];
	if (svm.asid_generation != pool->ids.generation) svm_prepare(&svm, pool);
}

// The event in the injection field goes first; an interrupt of the host that is pending at VMRUN is taken behind it and
// before the next instruction (APM vol. 2, 15.20), which is where the NMI belongs.
static void svm_nmi_window_beside_an_event_ends_right_behind_it(void **state) {
	(void)state;
	prepare();
	assert_int_equal(interrupts, 0);
	vmcb.event_inject = VEC_PF | SVM_EVENT_EXCEPTION << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID;
	svm_nmi_window(&vcpu, true);
	assert_false(svm.stepping);      // the frame would hold TF
	assert_int_equal(interrupts, 0); // one that comes too early is taken before the entry
	prepare();
	assert_int_equal(interrupts, 1);
	assert_int_equal(svm.asid_generation, svm_asid_pool[0].ids.generation);
	assert_int_not_equal(vmcb.asid, 0);
	prepare(); // only this entry
	svm_asid_pool[0].ids.generation++;
	prepare();
	assert_int_equal(interrupts, 1);
	// An NMI that is masked waits for its IRET.
	svm.nmi_masked = true;
	svm_nmi_window(&vcpu, true);
	prepare();
	assert_int_equal(interrupts, 1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
	    CASE(svm_exit_without_next_rip_knows_plain_instructions),
	    CASE(svm_exit_with_next_rip_subtracts),
	    CASE(svm_exit_decode_assists_tell_the_operand),
	    CASE(svm_exit_lmsw_clts_smsw_are_decoded),
	    CASE(svm_insn_bytes_gives_what_the_cpu_fetched),
	    CASE(svm_exit_ioio_fields_are_told_apart),
	    CASE(svm_exit_nested_fault_says_what_was_wanted),
	    CASE(svm_exit_cut_off_events_come_back),
	    CASE(svm_exit_cut_off_software_events_are_executed_again),
	    CASE(svm_cr4_set_machine_checks_stay_on),
	    CASE(svm_exit_every_code_has_a_kind),
	    CASE(svm_vcpu_reset_intercepts_what_is_not_offered),
	    CASE(svm_advance_ends_shadow_and_rf_and_steps),
	    CASE(svm_advance_wraps_at_4_gib_outside_64_bit_code),
	    CASE(svm_nmi_window_beside_an_event_ends_right_behind_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
