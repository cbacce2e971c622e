// SPDX-License-Identifier: Apache-2.0
// arch/x86/guest/task.c over a backend that only remembers, for what a guest test is too coarse: a fault at every single
// access, refusals that a CPU makes before the exit, error codes, odd stacks. The whole is tests/guest/task.
#include "arch/x86/guest/cr.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/task.h"
#include "tests/unit/support.h"

#define MEMORY_BYTES 0x10000u
#define GDT 0x1000u
#define OLD_TSS 0x2000u
#define NEW_TSS 0x3000u
#define STACK 0x5000u
#define SEL_CODE 0x08u
#define SEL_DATA 0x10u
#define SEL_OLD 0x18u
#define SEL_NEW 0x20u
#define SEL_STACK 0x28u
#define GDT_LIMIT 0x2fu
#define TSS_EIP 0x20u
#define TSS_EFLAGS 0x24u
#define TSS_ESP 0x38u
#define TSS_CS 0x4cu
#define TSS_SS 0x50u
#define TSS_DS 0x54u
#define OLD_RIP 0x7000u
#define NEW_RIP 0x8000u
#define NONE 0xffu

static struct vm vm;
static struct vcpu vcpu;
static struct arch_vcpu arch;
static struct {
	struct guest_sregs s;
	uint64_t rip, rsp, rflags, dr6, dr7;
	uint8_t blocking;
} cpu;
static uint8_t memory[MEMORY_BYTES];
static unsigned accesses, fault_at;
static uint8_t raised;
static uint32_t raised_error;

// ---- neighbours --------------------------------------------------------------------------------------------------

static void sregs_get(const struct vcpu *v, struct guest_sregs *out) {
	(void)v;
	*out = cpu.s;
}
static void seg_get(const struct vcpu *v, enum guest_seg seg, struct guest_segment *out) {
	(void)v;
	*out = cpu.s.seg[seg];
}
static void seg_set(struct vcpu *v, enum guest_seg seg, const struct guest_segment *in) {
	(void)v;
	cpu.s.seg[seg] = *in;
}
static void paging_get(const struct vcpu *v, struct guest_paging *out) {
	(void)v;
	*out = (struct guest_paging){.cr0 = cpu.s.cr0, .efer = cpu.s.efer, .rflags = cpu.rflags};
}
static void cr0_set(struct vcpu *v, uint64_t cr0) {
	(void)v;
	cpu.s.cr0 = cr0;
}
#define FIELD(name)                                                                                          \
	static uint64_t name##_get(const struct vcpu *v) {                                                       \
		(void)v;                                                                                             \
		return cpu.name;                                                                                     \
	}                                                                                                        \
	static void name##_set(struct vcpu *v, uint64_t value) {                                                 \
		(void)v;                                                                                             \
		cpu.name = value;                                                                                    \
	}
FIELD(rip)
FIELD(rsp)
FIELD(rflags)
FIELD(dr6)
FIELD(dr7)
static uint8_t blocking_get(const struct vcpu *v) {
	(void)v;
	return cpu.blocking;
}
static void blocking_set(struct vcpu *v, uint8_t blocking) {
	(void)v;
	cpu.blocking = blocking;
}
struct vendor_ops ops[1] = {{
    .sregs_get = sregs_get,
    .seg_get = seg_get,
    .seg_set = seg_set,
    .paging_get = paging_get,
    .cr0_set = cr0_set,
    .rip_get = rip_get,
    .rip_set = rip_set,
    .rsp_get = rsp_get,
    .rsp_set = rsp_set,
    .rflags_get = rflags_get,
    .rflags_set = rflags_set,
    .dr6_get = dr6_get,
    .dr6_set = dr6_set,
    .dr7_get = dr7_get,
    .dr7_set = dr7_set,
    .blocking_get = blocking_get,
    .blocking_set = blocking_set,
}};

static void raise(uint8_t vector, uint32_t error) {
	assert_int_equal(raised, NONE);
	raised = vector;
	raised_error = error;
}
void guest_exception(struct vcpu *v, uint8_t vector) {
	(void)v;
	raise(vector, 0);
}
void guest_exception_error(struct vcpu *v, uint8_t vector, uint32_t error) {
	(void)v;
	raise(vector, error);
}
bool guest_linear_access(struct vcpu *v, uint64_t linear, void *dst, const void *src, unsigned bytes,
                         uint8_t cpl) {
	(void)v;
	(void)cpl;
	assert_in_range(linear, 0, MEMORY_BYTES - bytes);
	if (accesses++ == fault_at) {
		raise(VEC_PF, 0);
		return false;
	}
	if (src != NULL)
		memcpy(memory + linear, src, bytes);
	else
		memcpy(dst, memory + linear, bytes);
	return true;
}
bool guest_decode(struct vcpu *v, struct emul_insn *insn) {
	(void)v;
	*insn = (struct emul_insn){.length = 2}; // 66 CF
	return true;
}
bool cr3_write(struct vcpu *v, uint64_t value) {
	(void)v;
	(void)value;
	return false;
}

// ---- rig ---------------------------------------------------------------------------------------------------------

static void put(uint32_t at, uint32_t value) { put_le32(memory + at, value); }

static void describe(uint32_t selector, uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
	uint64_t d = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	             (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
	memcpy(memory + GDT + (selector & ~7u), &d, sizeof d);
}

static uint8_t access_of(uint32_t selector) { return memory[GDT + (selector & ~7u) + 5]; }

static int setup(void **state) {
	(void)state;
	memset(memory, 0, sizeof memory);
	memset(&cpu, 0, sizeof cpu);
	memset(&arch, 0, sizeof arch);
	vcpu = (struct vcpu){.vm = &vm, .arch = &arch};
	describe(SEL_CODE, 0, 0xfffff, 0x9b, 0xc);
	describe(SEL_DATA, 0, 0xfffff, 0x93, 0xc);
	describe(SEL_OLD, OLD_TSS, 0x67, 0x8b, 0);
	describe(SEL_NEW, NEW_TSS, 0x67, 0x89, 0);
	put(NEW_TSS + TSS_EIP, NEW_RIP);
	put(NEW_TSS + TSS_EFLAGS, 2);
	put(NEW_TSS + TSS_ESP, STACK);
	for (unsigned i = 0; i < 6; i++) put(NEW_TSS + 0x48 + 4 * i, i == SEG_CS ? SEL_CODE : SEL_DATA);
	cpu.s.cr0 = CR0_PE;
	cpu.s.gdt = (struct guest_table){.base = GDT, .limit = GDT_LIMIT};
	for (unsigned i = 0; i < 6; i++)
		cpu.s.seg[i] = (struct guest_segment){.limit = UINT32_MAX,
		                                      .access = i == SEG_CS ? 0xc09b : 0xc093,
		                                      .selector = i == SEG_CS ? SEL_CODE : SEL_DATA};
	cpu.s.seg[SEG_LDTR].access = SEG_UNUSABLE;
	cpu.s.seg[SEG_TR] =
	    (struct guest_segment){.base = OLD_TSS, .limit = 0x67, .access = 0x8b, .selector = SEL_OLD};
	cpu.rip = OLD_RIP;
	cpu.rsp = 0x6000;
	cpu.rflags = RFLAGS_FIXED;
	accesses = 0;
	fault_at = UINT32_MAX;
	raised = NONE;
	return 0;
}

static struct exit exit_of(enum exit_task_cause cause) {
	// The way back: the new task is busy and the link says so.
	if (cause == EXIT_TASK_IRET) {
		describe(SEL_NEW, NEW_TSS, 0x67, 0x8b, 0);
		put(OLD_TSS, SEL_NEW);
		cpu.rflags |= RFLAGS_NT;
	}
	return (struct exit){.kind = EXIT_TASK_SWITCH,
	                     .insn_len = cause == EXIT_TASK_GATE ? 0 : 2,
	                     .task = {.selector = SEL_NEW, .cause = (uint8_t)cause}};
}

static struct exit gate_of(uint8_t type, uint8_t vector, bool has_error, uint32_t error) {
	struct exit x = exit_of(EXIT_TASK_GATE);
	x.task.event =
	    (struct guest_event){.type = type, .vector = vector, .has_error = has_error, .error = error};
	return x;
}

static void expect_fault(uint8_t vector, uint32_t error) {
	assert_int_equal(raised, vector);
	assert_int_equal(raised_error, error);
}

static bool switched(void) { return cpu.s.seg[SEG_TR].selector == SEL_NEW; }

// ---- cases -------------------------------------------------------------------------------------------------------

// A page fault at any access before the commit point leaves the old task as it was, and the instruction can be
// repeated; at any later one the guest is in the new task and can take the fault there.
static void task_switch_page_fault_anywhere_is_repeatable(void **state) {
	for (unsigned cause = EXIT_TASK_CALL; cause <= EXIT_TASK_GATE; cause++) {
		setup(state);
		struct exit x = exit_of((enum exit_task_cause)cause);
		task_switch_exit(&vcpu, &x);
		assert_int_equal(raised, NONE);
		assert_true(switched());
		static uint8_t after[MEMORY_BYTES];
		memcpy(after, memory, sizeof after);
		unsigned count = accesses, before = 0;
		for (unsigned n = 0; n < count; n++) {
			setup(state);
			x = exit_of((enum exit_task_cause)cause);
			fault_at = n;
			task_switch_exit(&vcpu, &x);
			assert_int_equal(raised, VEC_PF);
			if (switched()) {
				assert_int_equal(cpu.rip, NEW_RIP);
				assert_int_equal(cpu.s.seg[SEG_CS].access >> SEG_DPL_SHIFT & 3,
				                 cpu.s.seg[SEG_SS].access >> SEG_DPL_SHIFT & 3);
				continue;
			}
			before++;
			assert_int_equal(cpu.rip, OLD_RIP);
			assert_int_equal(cpu.rsp, 0x6000);
			assert_int_equal(cpu.s.seg[SEG_CS].selector, SEL_CODE);
			if (cause != EXIT_TASK_IRET) assert_int_equal(access_of(SEL_NEW), 0x89);
			fault_at = UINT32_MAX;
			raised = NONE;
			task_switch_exit(&vcpu, &x);
			assert_int_equal(raised, NONE);
			assert_memory_equal(memory, after, sizeof after);
		}
		assert_in_range(before, 3, count - 6);
	}
}

static void task_switch_saves_the_old_task(void **state) {
	(void)state;
	arch.gpr[GPR_RDI] = 0x77;
	struct exit x = exit_of(EXIT_TASK_IRET);
	task_switch_exit(&vcpu, &x);
	assert_int_equal(le32(memory + OLD_TSS + TSS_EIP), OLD_RIP + 2);
	assert_int_equal(le32(memory + OLD_TSS + TSS_EFLAGS), RFLAGS_FIXED); // NT cleared
	assert_int_equal(le32(memory + OLD_TSS + TSS_ESP), 0x6000);
	assert_int_equal(le32(memory + OLD_TSS + 0x44), 0x77);
	assert_int_equal(le32(memory + OLD_TSS + TSS_CS), SEL_CODE);
	assert_int_equal(access_of(SEL_OLD), 0x89);
	assert_int_equal(access_of(SEL_NEW), 0x8b);
}

static void task_switch_refuses_what_is_no_tss(void **state) {
	static const struct {
		uint16_t selector;
		uint8_t access, call, iret; // faults
	} refused[] = {
	    {SEL_NEW | 4, 0x89, VEC_GP, VEC_TS}, {0x30, 0x89, VEC_GP, VEC_TS},    {SEL_NEW, 0x99, VEC_GP, VEC_TS},
	    {SEL_NEW, 0x8c, VEC_GP, VEC_TS},     {SEL_NEW, 0x82, VEC_GP, VEC_TS}, {SEL_NEW, 0x09, VEC_NP, VEC_TS},
	    {SEL_NEW, 0x0b, VEC_GP, VEC_NP},     {SEL_NEW, 0x8b, VEC_GP, NONE},   {SEL_NEW, 0x89, NONE, VEC_TS},
	};
	for (unsigned i = 0; i < array_count(refused); i++)
		for (unsigned iret = 0; iret < 2; iret++) {
			setup(state);
			struct exit x = exit_of(iret ? EXIT_TASK_IRET : EXIT_TASK_CALL);
			describe(SEL_NEW, NEW_TSS, 0x67, refused[i].access, 0);
			x.task.selector = refused[i].selector;
			task_switch_exit(&vcpu, &x);
			assert_int_equal(raised, iret ? refused[i].iret : refused[i].call);
			assert_int_equal(switched(), raised == NONE);
			if (raised != NONE) assert_int_equal(raised_error, refused[i].selector & ~3u);
		}
}

static void task_switch_limits_of_both_tss(void **state) {
	static const struct {
		uint8_t old_type, new_type;
		uint32_t old_limit, new_limit;
	} least[] = {
	    {0xb, 0x9, 0x5f, 0x67}, {0x3, 0x9, 0x29, 0x67}, {0xb, 0x1, 0x5f, 0x2b}, {0x3, 0x1, 0x29, 0x2b}};
	for (unsigned i = 0; i < array_count(least); i++)
		for (unsigned shorter = 0; shorter < 3; shorter++) {
			setup(state);
			struct exit x = exit_of(EXIT_TASK_JMP);
			if (least[i].new_type == 1) { // segments of a 16-bit TSS
				memset(memory + NEW_TSS, 0, 0x68);
				for (unsigned n = 0; n < 4; n++)
					memory[NEW_TSS + 0x22 + 2 * n] = n == SEG_CS ? SEL_CODE : SEL_DATA;
			}
			describe(SEL_NEW, NEW_TSS, least[i].new_limit - (shorter == 1), 0x80u | least[i].new_type, 0);
			cpu.s.seg[SEG_TR].access = 0x80u | least[i].old_type;
			cpu.s.seg[SEG_TR].limit = least[i].old_limit - (shorter == 2);
			task_switch_exit(&vcpu, &x);
			if (shorter == 0)
				assert_int_equal(raised, NONE);
			else
				expect_fault(VEC_TS, shorter == 1 ? SEL_NEW : SEL_OLD);
			assert_int_equal(switched(), shorter == 0);
		}
}

static void task_switch_event_sets_ext_and_merges(void **state) {
	static const struct {
		uint8_t type;
		uint32_t ext;
		bool merges;
	} event[] = {{EVENT_IRQ, 1, false},
	             {EVENT_NMI, 1, false},
	             {EVENT_EXCEPTION, 1, true},
	             {EVENT_SOFT_IRQ, 0, false},
	             {EVENT_SOFT_EXCEPTION, 0, false}};
	for (unsigned i = 0; i < array_count(event); i++)
		for (unsigned late = 0; late < 2; late++) { // before and behind the commit point
			setup(state);
			struct exit x = gate_of(event[i].type, VEC_UD, false, 0);
			if (late)
				put(NEW_TSS + TSS_DS, 0x30);
			else
				describe(SEL_NEW, NEW_TSS, 0x67, 0x09, 0);
			task_switch_exit(&vcpu, &x);
			expect_fault(late ? VEC_TS : VEC_NP, (late ? 0x30 : SEL_NEW) | event[i].ext);
			assert_int_equal(arch.exception.valid, event[i].merges);
			assert_int_equal(cpu.blocking, event[i].type == EVENT_NMI ? GUEST_BLOCK_NMI : 0);
			setup(state);
			x = gate_of(event[i].type, VEC_UD, false, 0);
			task_switch_exit(&vcpu, &x);
			assert_int_equal(raised, NONE);
			assert_false(arch.exception.valid);
		}
}

static void task_switch_iret_unblocks_nmis(void **state) {
	(void)state;
	cpu.blocking = GUEST_BLOCK_NMI | GUEST_BLOCK_STI;
	struct exit x = exit_of(EXIT_TASK_IRET);
	task_switch_exit(&vcpu, &x);
	assert_int_equal(cpu.blocking, 0);
	setup(state);
	cpu.blocking = GUEST_BLOCK_NMI | GUEST_BLOCK_MOV_SS;
	x = exit_of(EXIT_TASK_JMP);
	task_switch_exit(&vcpu, &x);
	assert_int_equal(cpu.blocking, GUEST_BLOCK_NMI);
}

static void task_switch_error_code_goes_by_the_stack_segment(void **state) {
	static const struct {
		uint32_t limit, access, flags, esp, lands; // 0: #SS
	} stack[] = {
	    {0xfffff, 0x93, 0xc, 0x5000, 0x4ffc},  {0xffff, 0x93, 0x0, 0x30002, 0},
	    {0xffff, 0x93, 0x0, 0x30004, 0x30000}, {0x4ffe, 0x93, 0x4, 0x5000, 0},
	    {0x4fff, 0x93, 0x4, 0x5000, 0x4ffc},   {0x4ffb, 0x97, 0x4, 0x5000, 0x4ffc},
	    {0x4ffc, 0x97, 0x4, 0x5000, 0},        {0x4000, 0x97, 0x0, 0x0, 0xfffc},
	    {0xfffff, 0x93, 0xc, 0x2, 0},
	};
	for (unsigned i = 0; i < array_count(stack); i++) {
		setup(state);
		describe(SEL_STACK, 0, stack[i].limit, stack[i].access, stack[i].flags);
		put(NEW_TSS + TSS_SS, SEL_STACK);
		put(NEW_TSS + TSS_ESP, stack[i].esp);
		struct exit x = gate_of(EVENT_EXCEPTION, VEC_PF, true, 0xb);
		task_switch_exit(&vcpu, &x);
		if (stack[i].lands == 0) {
			expect_fault(VEC_SS, 1);
			continue;
		}
		assert_int_equal(raised, NONE);
		assert_int_equal(cpu.rsp, stack[i].lands);
		assert_int_equal(le32(memory + (stack[i].lands & 0xffff)), 0xb);
	}
}

static void task_switch_trap_flag_gives_debug_trap(void **state) {
	(void)state;
	memory[NEW_TSS + 0x64] = 1;
	cpu.dr7 = 0x7ff;
	struct exit x = exit_of(EXIT_TASK_JMP);
	task_switch_exit(&vcpu, &x);
	expect_fault(VEC_DB, 0);
	assert_true((cpu.dr6 & DR6_BT) != 0);
	assert_int_equal(cpu.dr7, 0x6aa);
	assert_true((cpu.s.cr0 & CR0_TS) != 0);
}

static void task_switch_cr3_refused_is_gp_in_the_new_task(void **state) {
	(void)state;
	cpu.s.cr0 |= CR0_PG;
	put(NEW_TSS + 0x1c, 0x9000);
	struct exit x = exit_of(EXIT_TASK_JMP);
	task_switch_exit(&vcpu, &x);
	expect_fault(VEC_GP, 0);
	assert_true(switched());
}

static void task_return_only_when_nested(void **state) {
	struct exit x = exit_of(EXIT_TASK_IRET);
	x.kind = EXIT_IRET;
	x.insn_len = 0;
	task_return(&vcpu, &x);
	assert_true(switched());
	assert_int_equal(le32(memory + OLD_TSS + TSS_EIP), OLD_RIP + 2);
	for (unsigned i = 0; i < 4; i++) {
		setup(state);
		x = exit_of(EXIT_TASK_IRET);
		if (i == 0) cpu.rflags &= ~RFLAGS_NT;
		if (i == 1) cpu.rflags |= RFLAGS_VM;
		if (i == 2) cpu.s.cr0 = 0;
		if (i == 3) cpu.s.efer = EFER_LMA;
		task_return(&vcpu, &x);
		assert_false(switched());
		assert_int_equal(accesses, 0);
	}
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
	    CASE(task_switch_page_fault_anywhere_is_repeatable),
	    CASE(task_switch_saves_the_old_task),
	    CASE(task_switch_refuses_what_is_no_tss),
	    CASE(task_switch_limits_of_both_tss),
	    CASE(task_switch_event_sets_ext_and_merges),
	    CASE(task_switch_iret_unblocks_nmis),
	    CASE(task_switch_error_code_goes_by_the_stack_segment),
	    CASE(task_switch_trap_flag_gives_debug_trap),
	    CASE(task_switch_cr3_refused_is_gp_in_the_new_task),
	    CASE(task_return_only_when_nested),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
