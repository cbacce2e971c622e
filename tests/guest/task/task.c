// SPDX-License-Identifier: Apache-2.0
// Hardware task switches of 32-bit protected mode (SDM vol. 3, ch. 7): by JMP, CALL, IRET and task gates, to 32-bit and
// 16-bit TSSs, with every kind of fault on the way and in the new task. A CPU under SVM does them itself; under VMX
// the hypervisor does.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

// Selectors: the first eight are the library's, 0x38 the first task's TSS.
enum {
	SEL_CODE = 0x08,
	SEL_DATA = 0x10,
	SEL_USER_CODE = 0x28 | 3,
	SEL_USER_DATA = 0x30 | 3,
	SEL_FIRST = 0x38,
	SEL_TASK = 0x40,
	SEL_TASK16 = 0x48,
	SEL_ABSENT = 0x50,
	SEL_SHORT = 0x58,
	SEL_HANDLER = 0x60, // four: of #TS, #NP, #SS, #GP
	SEL_LDT = 0x80,
	SEL_LDT_ABSENT = 0x88,
	SEL_DATA_ABSENT = 0x90,
	SEL_DATA_READ = 0x98,
	SEL_CODE_EXEC = 0xA0,
	SEL_CODE_ABSENT = 0xA8,
	SEL_CODE_CONFORMING = 0xB0,
	SEL_GATE = 0xB8, // a task gate to SEL_TASK
	SEL_BEYOND = 0x100,
	GDT_ENTRIES = SEL_BEYOND / 8,
};
#define HANDLERS 4u
#define TYPE_BUSY (UINT64_C(2) << 40)
#define GATE_TASK 0x8500
#define FLAG_IF BIT(9)
#define FLAG_NT BIT(14)
#define FLAG_RF BIT(16)
#define FLAG_VM BIT(17)
#define CR0_TS BIT(3)
#define CR0_PG BIT(31)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define DR6_BT BIT(15)
#define HIGH_VA 0x40000000u
#define STACK_BYTES 4096u
#define STACK_MARK 0x5AC4u
#define LOW_CODE 0x9000u

struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, gpr[8], seg[6], ldt;
	uint16_t trap, io_map;
} __attribute__((packed));
struct tss16 {
	uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, gpr[8], seg[4], ldt;
} __attribute__((packed));
enum { ES, CS, SS, DS, FS, GS };
enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

// In body.asm.
extern struct { uint32_t gpr[8], eflags, seg[6], ldt, tr, cr0, dr7, top; } task_seen;
extern void (*task_function)(void);
extern uint32_t task_jumps;
extern uint8_t task_entry[], task_entry_end[], user_entry[], v86_entry[], v86_entry_end[];

static uint64_t descriptors[GDT_ENTRIES] __attribute__((aligned(16)));
static uint64_t ldt[2];
static struct tss32 task, handler[HANDLERS];
static struct tss16 task16;
static uint8_t stack[STACK_BYTES] __attribute__((aligned(16)));
static uint8_t handler_stack[HANDLERS][STACK_BYTES] __attribute__((aligned(16)));
static uint8_t inner_stack[STACK_BYTES] __attribute__((aligned(16)));
static struct tss32 *const first = (struct tss32 *)tss;

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access, uint32_t flags) {
	return (limit & 0xFFFF) | (uint64_t)(base & 0xFFFFFF) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 0xF) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

static bool busy(unsigned selector) { return (descriptors[selector / 8] & TYPE_BUSY) != 0; }

static struct tss32 fresh(void *top) {
	uint32_t *mark = (uint32_t *)top - 1;
	*mark = STACK_MARK;
	return (struct tss32){
	    .esp0 = (uintptr_t)inner_stack + STACK_BYTES,
	    .ss0 = SEL_DATA,
	    .eip = (uintptr_t)task_entry,
	    .eflags = 2,
	    .gpr = {0xA0, 0xA1, 0xA2, 0xA3, (uintptr_t)mark, 0xA5, 0xA6, 0xA7},
	    .seg = {SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA, SEL_DATA, SEL_DATA},
	    .io_map = sizeof(struct tss32),
	};
}

// All tasks but the first as if they had never run.
static void tasks_reset(void) {
	task = fresh(stack + STACK_BYTES);
	descriptors[SEL_TASK / 8] = descriptor((uintptr_t)&task, sizeof task - 1, 0x89, 0);
	descriptors[SEL_TASK16 / 8] = descriptor((uintptr_t)&task16, sizeof task16 - 1, 0x81, 0);
	for (unsigned i = 0; i < HANDLERS; i++) {
		handler[i] = fresh(handler_stack[i] + STACK_BYTES);
		descriptors[SEL_HANDLER / 8 + i] = descriptor((uintptr_t)&handler[i], sizeof handler[i] - 1, 0x89, 0);
	}
	task_jumps = 0;
	task_function = 0;
	task_seen.tr = 0;
}

static void tables_init(void) {
	__builtin_memcpy(descriptors, gdt, 8 * sizeof descriptors[0]);
	ldt[1] = descriptor(0, 0xFFFFF, 0x93, 0xC);
	descriptors[SEL_ABSENT / 8] = descriptor((uintptr_t)&task, sizeof task - 1, 0x09, 0);
	descriptors[SEL_SHORT / 8] = descriptor((uintptr_t)&task, sizeof task - 2, 0x89, 0);
	descriptors[SEL_LDT / 8] = descriptor((uintptr_t)ldt, sizeof ldt - 1, 0x82, 0);
	descriptors[SEL_LDT_ABSENT / 8] = descriptor((uintptr_t)ldt, sizeof ldt - 1, 0x02, 0);
	descriptors[SEL_DATA_ABSENT / 8] = descriptor(0, 0xFFFFF, 0x13, 0xC);
	descriptors[SEL_DATA_READ / 8] = descriptor(0, 0xFFFFF, 0x91, 0xC);
	descriptors[SEL_CODE_EXEC / 8] = descriptor(0, 0xFFFFF, 0x99, 0xC);
	descriptors[SEL_CODE_ABSENT / 8] = descriptor(0, 0xFFFFF, 0x1B, 0xC);
	descriptors[SEL_CODE_CONFORMING / 8] = descriptor(0, 0xFFFFF, 0x9F, 0xC);
	descriptors[SEL_GATE / 8] = (uint64_t)SEL_TASK << 16 | (uint64_t)GATE_TASK << 32;
	struct table t = {sizeof descriptors - 1, (unsigned long)descriptors};
	lgdt(&t);
	tasks_reset();
}

static void gate_to(unsigned vector, uint16_t selector) {
	idt[vector] = (struct gate){.selector = selector, .type = GATE_TASK};
}

static void gate_back(unsigned vector) { trap_gate(vector, trap_stubs[vector], GATE_INTERRUPT); }

struct far_pointer {
	uint32_t offset;
	uint16_t selector;
} __attribute__((packed));

static void jump_to(uint16_t selector) {
	struct far_pointer p = {0xDEAD0000u, selector};
	asm volatile("ljmp *%0" ::"m"(p) : "memory");
}

static void call_to(uint16_t selector) {
	struct far_pointer p = {0xDEAD0000u, selector};
	asm volatile("lcall *%0" ::"m"(p) : "memory");
}

static uint16_t tr(void) {
	uint16_t selector;
	asm volatile("str %0" : "=r"(selector));
	return selector;
}

// ---- switches that go well --------------------------------------------------------------------------------------

static bool first_busy, task_busy;
static void note_busy(void) {
	first_busy = busy(SEL_FIRST);
	task_busy = busy(SEL_TASK);
}

static void check_registers(void) {
	for (unsigned i = 0; i < 8; i++)
		if (i != ESP) CHECK(task_seen.gpr[i] == 0xA0 + i, "register %u: %x", i, task_seen.gpr[i]);
	for (unsigned i = 0; i < 6; i++)
		CHECK((uint16_t)task_seen.seg[i] == (i == CS ? SEL_CODE : SEL_DATA), "segment %u: %x", i,
		      task_seen.seg[i]);
	CHECK((task_seen.cr0 & CR0_TS) != 0, "CR0 %x", task_seen.cr0);
	CHECK_EQ(task_seen.top, STACK_MARK);
	CHECK_EQ(tr(), SEL_FIRST);
	CHECK((cr0_read() & CR0_TS) != 0, "CR0 %lx", cr0_read());
	asm volatile("clts");
}

static void test_call(void) {
	subtest("CALL and IRET");
	tasks_reset();
	task_function = note_busy;
	asm volatile("clts");
	irq_off();
	for (unsigned round = 0; round < 3; round++) { // from the second on it goes on behind its IRET
		task_seen.tr = 0;
		call_to(round == 1 ? SEL_GATE : SEL_TASK);
		CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
		CHECK_EQ(task.link & 0xFFFF, SEL_FIRST);
		CHECK((task_seen.eflags & FLAG_NT) != 0, "EFLAGS %x", task_seen.eflags);
		CHECK(first_busy && task_busy, "busy: first %d task %d", first_busy, task_busy);
		if (round == 0) check_registers();
		CHECK(busy(SEL_FIRST) && !busy(SEL_TASK), "busy: first %d task %d", busy(SEL_FIRST), busy(SEL_TASK));
		CHECK((task.eflags & FLAG_NT) == 0, "EFLAGS in the TSS %x", task.eflags);
		CHECK(task.eip > (uintptr_t)task_entry && task.eip < (uintptr_t)task_entry_end, "EIP %x", task.eip);
		CHECK((flags_read() & FLAG_NT) == 0, "EFLAGS %lx", flags_read());
	}
}

static void test_jump(void) {
	subtest("JMP");
	tasks_reset();
	task_function = note_busy;
	task_jumps = 1;
	task.seg[FS] = task.seg[GS] = 0;
	task.seg[DS] = 0x0C; // of its LDT
	task.ldt = SEL_LDT;
	dr7_write(0x400 | 1 | 8 | 16); // L0, G1, L2
	jump_to(SEL_TASK);
	CHECK_EQ(task_seen.dr7, 0x408);
	dr7_write(0x400);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.ldt & 0xFFFF, SEL_LDT);
	CHECK_EQ(task_seen.seg[DS] & 0xFFFF, 0x0C);
	CHECK_EQ(task_seen.seg[FS] & 0xFFFF, 0);
	CHECK((task_seen.eflags & FLAG_NT) == 0, "EFLAGS %x", task_seen.eflags);
	CHECK(!first_busy && task_busy, "busy: first %d task %d", first_busy, task_busy);
	CHECK(busy(SEL_FIRST) && !busy(SEL_TASK), "busy: first %d task %d", busy(SEL_FIRST), busy(SEL_TASK));
	CHECK_EQ(task.link, 0);
	CHECK_EQ(tr(), SEL_FIRST);
	uint16_t now;
	asm volatile("sldt %0" : "=r"(now));
	CHECK_EQ(now, 0);
}

static void test_16(void) {
	subtest("16-bit TSS");
	tasks_reset();
	__builtin_memcpy((void *)LOW_CODE, task_entry, (size_t)(task_entry_end - task_entry));
	task16 = (struct tss16){
	    .ip = LOW_CODE,
	    .flags = 2,
	    .gpr = {0xB0, 0xB1, 0xB2, 0xB3, 0x8FF0, 0xB5, 0xB6, 0xB7},
	    .seg = {SEL_DATA, SEL_CODE, SEL_DATA, SEL_DATA},
	};
	call_to(SEL_TASK16);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK16);
	CHECK_EQ(task_seen.gpr[EDX] & 0xFFFF, 0xB2);
	CHECK_EQ(task_seen.gpr[ESP] & 0xFFFF, 0x8FF0);
	CHECK_EQ(task_seen.seg[DS] & 0xFFFF, SEL_DATA);
	CHECK_EQ(task_seen.seg[FS] & 0xFFFF, 0);
	CHECK_EQ(task16.link, SEL_FIRST);
	CHECK_EQ(task16.gpr[EDI], 0xB7);
	CHECK_EQ(task16.seg[SS], SEL_DATA);
	CHECK(task16.ip > LOW_CODE && task16.ip < LOW_CODE + (task_entry_end - task_entry), "IP %x", task16.ip);
	CHECK_EQ(tr(), SEL_FIRST);
}

static void handle_80(struct regs *regs) {
	task_seen.seg[CS] = regs->cs;
	task_seen.gpr[EAX] = regs->rax;
	task_seen.tr = tr();
	jump_to(SEL_FIRST);
}

static void test_rings(void) {
	subtest("ring 3 and virtual-8086 mode");
	trap_gate(0x80, trap_stubs[0x80], GATE_INTERRUPT | GATE_USER);
	trap_handle(0x80, handle_80);
	tasks_reset();
	task.eip = (uintptr_t)user_entry;
	for (unsigned i = 0; i < 6; i++) task.seg[i] = i == CS ? SEL_USER_CODE : SEL_USER_DATA;
	jump_to(SEL_TASK);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.seg[CS], SEL_USER_CODE);
	CHECK_EQ(task_seen.gpr[EAX], SEL_USER_CODE);
	tasks_reset();
	__builtin_memcpy((void *)LOW_CODE, v86_entry, (size_t)(v86_entry_end - v86_entry));
	task.eip = 0;
	task.eflags = FLAG_VM | 0x3002;
	task.gpr[ESP] = 0xFFE;
	for (unsigned i = 0; i < 6; i++) task.seg[i] = LOW_CODE / 16;
	jump_to(SEL_TASK);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.seg[CS], LOW_CODE / 16);
	CHECK_EQ(task_seen.gpr[EAX] & 0xFFFF, 0x1234);
	gate_back(0x80);
	trap_handle(0x80, 0);
}

// ---- task gates -------------------------------------------------------------------------------------------------

static volatile uint32_t fault_eip;
static uint32_t fault_length;
static void skip_fault(void) {
	fault_eip = first->eip;
	first->eip += fault_length;
}

static void load_es(uint16_t selector) { asm volatile("mov %%ebx, %%es" ::"b"(selector) : "memory"); }

static void test_gates(void) {
	subtest("task gates: INT n, faults with and without an error code");
	tasks_reset();
	gate_to(0x90, SEL_TASK);
	asm volatile("int $0x90" ::: "memory");
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.top, STACK_MARK);
	CHECK_EQ(tr(), SEL_FIRST);
	gate_back(0x90);

	tasks_reset();
	gate_to(VEC_UD, SEL_TASK);
	task_function = skip_fault;
	fault_length = 2;
	asm volatile("ud2" ::: "memory");
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.top, STACK_MARK);
	CHECK_EQ(*(uint16_t *)fault_eip, 0x0B0F);
	CHECK_UNLESS(on_tcg(), (first->eflags & FLAG_RF) != 0, "EFLAGS %x", first->eflags);
	gate_back(VEC_UD);

	tasks_reset();
	gate_to(VEC_NP, SEL_TASK);
	task_function = skip_fault;
	load_es(SEL_DATA_ABSENT);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.top, SEL_DATA_ABSENT);
	CHECK_EQ(task_seen.gpr[ESP], (uintptr_t)stack + STACK_BYTES - 8);
	gate_back(VEC_NP);

	subtest("task gates: double fault");
	tasks_reset();
	idt[VEC_GP].type = 0; // its delivery is #NP
	gate_to(VEC_DF, SEL_TASK);
	task_function = skip_fault;
	load_es(SEL_BEYOND);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(task_seen.top, 0);
	CHECK_EQ(task_seen.gpr[ESP], (uintptr_t)stack + STACK_BYTES - 8);
	gate_back(VEC_GP);
	gate_back(VEC_DF);
}

static volatile unsigned nmis;
static void send_nmi(void) {
	lapic_write(LAPIC_ICR2, lapic_read(LAPIC_ID));
	lapic_write(LAPIC_ICR, ICR_ASSERT | ICR_NMI);
	delay_us(50);
}

static volatile bool nested_nmi;
static void on_nmi(void) {
	static volatile bool inside;
	if (inside) nested_nmi = true;
	inside = true;
	if (++nmis == 1) send_nmi(); // blocked until this task's IRET
	inside = false;
}

static volatile unsigned timers;
static void on_timer(void) {
	timers++;
	pic_eoi(0);
}

static void test_external(void) {
	subtest("task gates: NMI");
	tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	tasks_reset();
	gate_to(VEC_NMI, SEL_TASK);
	task_function = on_nmi;
	send_nmi();
	WAIT_FOR(nmis == 2, 20000);
	CHECK_EQ(nmis, 2);
	CHECK(!nested_nmi, "the second NMI came inside the first one's task");
	CHECK_EQ(tr(), SEL_FIRST);
	gate_back(VEC_NMI);

	subtest("task gates: interrupt");
	lapic_write(LAPIC_LVT_LINT0, LVT_EXTINT);
	tasks_reset();
	gate_to(0x20, SEL_TASK);
	task_function = on_timer;
	pic_mask(1);
	pit_periodic(2386);
	irq_on();
	WAIT_FOR(timers >= 5, 100000);
	irq_off();
	pic_mask(0);
	CHECK(timers >= 5, "%u interrupts", timers);
	CHECK((task_seen.eflags & FLAG_IF) == 0, "EFLAGS %x", task_seen.eflags);
	CHECK_EQ(task_seen.top, STACK_MARK);
	gate_back(0x20);
}

// ---- faults before the switch -----------------------------------------------------------------------------------

static void test_refused(void) {
	subtest("refused");
	tasks_reset();
	EXPECT_TRAP(VEC_NP, SEL_ABSENT, jump_to(SEL_ABSENT));
	EXPECT_TRAP(VEC_NP, SEL_ABSENT, call_to(SEL_ABSENT));
	EXPECT_TRAP(VEC_TS, SEL_SHORT, jump_to(SEL_SHORT));
	EXPECT_TRAP(VEC_GP, SEL_FIRST, jump_to(SEL_FIRST)); // busy
	EXPECT_TRAP(VEC_GP, SEL_FIRST, call_to(SEL_FIRST));
	EXPECT_TRAP(VEC_GP, SEL_BEYOND, call_to(SEL_BEYOND));
	EXPECT_TRAP(VEC_GP, SEL_LDT, call_to(SEL_LDT));
	first->link = SEL_TASK; // not busy
	EXPECT_TRAP(VEC_TS, SEL_TASK, (flags_write(flags_read() | FLAG_NT), ({ asm volatile("iret"); })));
	flags_write(flags_read() & ~FLAG_NT);
	gate_to(0x90, SEL_ABSENT);
	EXPECT_TRAP(VEC_NP, SEL_ABSENT, asm volatile("int $0x90"));
	gate_to(0x90, SEL_SHORT);
	EXPECT_TRAP(VEC_TS, SEL_SHORT, asm volatile("int $0x90"));
	gate_to(VEC_UD, SEL_ABSENT);
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_NP, SEL_ABSENT | 1, asm volatile("ud2"));
	gate_back(VEC_UD);
	gate_back(0x90);
	CHECK_EQ(tr(), SEL_FIRST);
	CHECK(busy(SEL_FIRST) && !busy(SEL_TASK), "busy: first %d task %d", busy(SEL_FIRST), busy(SEL_TASK));
	CHECK_EQ(task_seen.tr, 0);
}

// ---- faults in the new task -------------------------------------------------------------------------------------

// The first task can be jumped to, although one that it had called faulted; behind its UD2.
static void free_first(void) {
	if (busy(SEL_FIRST)) first->eip += 2;
	descriptors[SEL_FIRST / 8] &= ~TYPE_BUSY;
}

// The fault is taken by a task of its own, whatever the state of the faulting one.
static void expect_fault(const char *what, unsigned vector, uint32_t error, bool known) {
	task_jumps = 1;
	task_function = free_first;
	for (unsigned i = 0; i < HANDLERS; i++) gate_to(VEC_TS + i, (uint16_t)(SEL_HANDLER + 8 * i));
	if (what[0] == '!')
		asm volatile("ud2" ::: "memory");
	else
		jump_to(SEL_TASK);
	for (unsigned i = 0; i < HANDLERS; i++) gate_back(VEC_TS + i);
	uint16_t selector = (uint16_t)(SEL_HANDLER + 8 * (vector - VEC_TS));
	CHECK_UNLESS(known, (uint16_t)task_seen.tr == selector && task_seen.top == error,
	             "%s: expected vector %u error %x, got TR %x error %x", what, vector, error,
	             task_seen.tr & 0xFFFF, task_seen.top);
	CHECK_UNLESS(known, (handler[vector - VEC_TS].link & 0xFFFF) == SEL_TASK, "%s: link %x", what,
	             handler[vector - VEC_TS].link);
	CHECK(busy(SEL_TASK), "%s", what);
	CHECK_UNLESS(on_tcg(), task.eip == (uintptr_t)task_entry, "%s: EIP %x", what, task.eip);
	CHECK_EQ(tr(), SEL_FIRST);
}

struct fault_case {
	const char *what;
	uint8_t segment, vector; // 6: LDT
	uint16_t selector, error;
	bool tcg; // TCG gives something else (docs/QUIRKS.md)
};

static const struct fault_case fault_case[] = {
    {"null CS", CS, VEC_TS, 0, 0, false},
    {"data as CS", CS, VEC_TS, SEL_DATA, SEL_DATA, false},
    {"CS of ring 3 with RPL 0", CS, VEC_TS, SEL_USER_CODE & ~3, SEL_USER_CODE & ~3, false},
    {"CS beyond the table", CS, VEC_TS, SEL_BEYOND, SEL_BEYOND, false},
    {"absent CS", CS, VEC_NP, SEL_CODE_ABSENT, SEL_CODE_ABSENT, false},
    {"null SS", SS, VEC_TS, 0, 0, false},
    {"read-only SS", SS, VEC_TS, SEL_DATA_READ, SEL_DATA_READ, false},
    {"SS of ring 3", SS, VEC_TS, SEL_USER_DATA, SEL_USER_DATA & ~3, false},
    {"absent SS", SS, VEC_SS, SEL_DATA_ABSENT, SEL_DATA_ABSENT, true},
    {"DS beyond the table", DS, VEC_TS, SEL_BEYOND, SEL_BEYOND, false},
    {"DS that is not readable", DS, VEC_TS, SEL_CODE_EXEC, SEL_CODE_EXEC, false},
    {"TSS as ES", ES, VEC_TS, SEL_FIRST, SEL_FIRST, false},
    {"absent FS", FS, VEC_NP, SEL_DATA_ABSENT, SEL_DATA_ABSENT, false},
    {"GS in a missing LDT", GS, VEC_TS, 0x0C, 0x0C, false},
    {"LDT that is none", 6, VEC_TS, SEL_DATA, SEL_DATA, false},
    {"absent LDT", 6, VEC_TS, SEL_LDT_ABSENT, SEL_LDT_ABSENT, false},
    {"LDT in an LDT", 6, VEC_TS, 0x0C, 0x0C, false},
};

static void test_faults(void) {
	subtest("faults in the new task");
	for (unsigned i = 0; i < sizeof fault_case / sizeof fault_case[0]; i++) {
		const struct fault_case *c = &fault_case[i];
		tasks_reset();
		if (c->segment == 6)
			task.ldt = c->selector;
		else
			task.seg[c->segment] = c->selector;
		expect_fault(c->what, c->vector, c->error, c->tcg && on_tcg());
	}
	tasks_reset();
	task.seg[DS] = SEL_DATA_ABSENT;
	gate_to(VEC_UD, SEL_TASK);
	expect_fault("!behind #UD", VEC_NP, SEL_DATA_ABSENT | 1, on_tcg());
	gate_back(VEC_UD);
}

static uint32_t fault_error;
static void repair_ds(struct regs *regs) {
	fault_error = regs->error;
	fault_eip = regs->ip;
	task_seen.tr = tr();
	regs->ds = SEL_DATA;
	regs->ip = (uintptr_t)task_entry; // where it should be
}

static uint32_t trap_dr6;
static void on_trap(struct regs *regs) {
	trap_dr6 = (uint32_t)dr6_read();
	fault_eip = regs->ip;
	dr6_write(0xFFFF0FF0u);
}

static void test_in_task(void) {
	subtest("a fault handled on the new task's stack");
	tasks_reset();
	task.seg[DS] = SEL_DATA_ABSENT;
	trap_handle(VEC_NP, repair_ds);
	call_to(SEL_TASK);
	trap_handle(VEC_NP, 0);
	CHECK_EQ(fault_error, SEL_DATA_ABSENT);
	CHECK_UNLESS(on_tcg(), fault_eip == (uintptr_t)task_entry, "EIP %x", fault_eip);
	CHECK_EQ(task_seen.gpr[ESP], task.gpr[ESP]);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);

	subtest("debug trap");
	// TCG has none, and Bochs gives a hypervisor on SVM no DR6 (docs/QUIRKS.md).
	bool lost_dr6 = on_bochs() && on_bulkhead() && !cpu_is_intel();
	tasks_reset();
	task.trap = 1;
	trap_handle(VEC_DB, on_trap);
	fault_eip = 0;
	call_to(SEL_TASK);
	trap_handle(VEC_DB, 0);
	CHECK_EQ(task_seen.tr & 0xFFFF, SEL_TASK);
	CHECK_EQ(fault_eip != 0, !on_tcg());
	CHECK_UNLESS(on_tcg() || lost_dr6, (trap_dr6 & DR6_BT) != 0 && fault_eip == (uintptr_t)task_entry,
	             "DR6 %x at %x", trap_dr6, fault_eip);
}

// ---- paging -----------------------------------------------------------------------------------------------------

static uint32_t directory[2][1024] __attribute__((aligned(4096))),
    table[2][1024] __attribute__((aligned(4096)));
static uint64_t pdpt[2][4] __attribute__((aligned(32))), pae_directory[512] __attribute__((aligned(4096))),
    pae_high[2][512] __attribute__((aligned(4096)));
static uint32_t page[2][1024] __attribute__((aligned(4096)));

static uint32_t high_word;
static void read_high(void) { high_word = *(volatile uint32_t *)HIGH_VA; }

static void run_with(uint32_t own, uint32_t other) {
	first->cr3 = own;
	for (unsigned round = 0; round < 2; round++) {
		tasks_reset();
		task.cr3 = other;
		task_function = read_high;
		high_word = 0;
		call_to(SEL_TASK);
		CHECK_EQ(high_word, 0x2222);
		CHECK_EQ(cr3_read(), own);
		read_high();
		CHECK_EQ(high_word, 0x1111);
	}
}

static void test_paging(void) {
	subtest("CR3");
	page[0][0] = 0x1111;
	page[1][0] = 0x2222;
	for (unsigned t = 0; t < 2; t++) {
		for (uint32_t i = 0; i < 1024; i++) directory[t][i] = i << 22 | 0x83;
		directory[t][HIGH_VA >> 22] = (uintptr_t)table[t] | 3;
		table[t][0] = (uintptr_t)page[t] | 3;
	}
	cr4_write(cr4_read() | CR4_PSE);
	cr3_write((uintptr_t)directory[0]);
	cr0_write(cr0_read() | CR0_PG);
	run_with((uintptr_t)directory[0], (uintptr_t)directory[1]);

	subtest("a TSS that is paged out");
	tasks_reset();
	table[0][1] = 0;
	invlpg((void *)(HIGH_VA + 0x1000));
	descriptors[SEL_TASK / 8] = descriptor(HIGH_VA + 0x1000, sizeof task - 1, 0x89, 0);
	EXPECT_TRAP(VEC_PF, 0, jump_to(SEL_TASK));
	CHECK_EQ(trap_last.cr2 & ~0xFFFu, HIGH_VA + 0x1000);
	CHECK_EQ(tr(), SEL_FIRST);
	CHECK(busy(SEL_FIRST) && !busy(SEL_TASK), "busy: first %d task %d", busy(SEL_FIRST), busy(SEL_TASK));
	cr0_write(cr0_read() & ~CR0_PG);

	subtest("CR3 with PAE");
	for (uint32_t i = 0; i < 512; i++) pae_directory[i] = (uint64_t)i << 21 | 0x83;
	for (unsigned t = 0; t < 2; t++) {
		pdpt[t][0] = (uintptr_t)pae_directory | 1;
		pdpt[t][1] = (uintptr_t)pae_high[t] | 1;
		pae_high[t][0] = (uintptr_t)table[t] | 3;
		__builtin_memset(table[t], 0, sizeof table[t]);
		((uint64_t *)table[t])[0] = (uintptr_t)page[t] | 3;
	}
	cr4_write(cr4_read() | CR4_PAE);
	cr3_write((uintptr_t)pdpt[0]);
	cr0_write(cr0_read() | CR0_PG);
	run_with((uintptr_t)pdpt[0], (uintptr_t)pdpt[1]);
	cr0_write(cr0_read() & ~CR0_PG);
	cr4_write(cr4_read() & ~(CR4_PAE | CR4_PSE));
}

void guest_main(void);
void guest_main(void) {
	tables_init();
	test_call();
	test_jump();
	test_16();
	test_rings();
	test_gates();
	test_external();
	test_refused();
	test_faults();
	test_in_task();
	test_paging();
	finish();
}
