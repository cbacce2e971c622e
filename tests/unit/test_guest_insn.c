// SPDX-License-Identifier: Apache-2.0
// Where arch/x86/guest/insn.c has an instruction on device memory from: the bytes that the CPU gave with the exit
// (decode assists, which no emulator has), or a walk and a fetch where it gave none or too few.
#include "arch/x86/guest/insn.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/mmio.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/pio.h"
#include "arch/x86/guest/walk.h"
#include "tests/unit/support.h"

#define RIP UINT64_C(0x1ff0) // its instructions may reach the end of the page, not of the memory
#define DEVICE UINT64_C(0xfee00300)

struct cpu_features features;

static struct rig {
	struct vm vm;
	struct vcpu vcpu;
	struct arch_vcpu arch;
	struct guest_paging paging;
	uint8_t given[15];
	unsigned given_count, asked;
	uint64_t rip, rsp, rflags;
	uint64_t written;
	unsigned writes, faults;
} rig;
static uint8_t memory[4 * 4096] __aligned_to(4096);

// ---- neighbours --------------------------------------------------------------------------------------------------

static void paging_get(const struct vcpu *vcpu, struct guest_paging *out) {
	(void)vcpu;
	*out = rig.paging;
}
static uint64_t rip_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig.rip;
}
static void rip_set(struct vcpu *vcpu, uint64_t rip) {
	(void)vcpu;
	rig.rip = rip;
}
static uint64_t rsp_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig.rsp;
}
static void rsp_set(struct vcpu *vcpu, uint64_t rsp) {
	(void)vcpu;
	rig.rsp = rsp;
}
static uint64_t rflags_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig.rflags;
}
static void rflags_set(struct vcpu *vcpu, uint64_t rflags) {
	(void)vcpu;
	rig.rflags = rflags;
}
static void seg_get(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out) {
	(void)vcpu;
	*out = (struct guest_segment){.limit = UINT32_MAX, .access = seg == SEG_CS ? 0xc09b : 0xc093};
}
static void shadow_clear(struct vcpu *vcpu) { (void)vcpu; }
static void advance(struct vcpu *vcpu, unsigned insn_len) {
	(void)vcpu;
	rig.rip += insn_len;
}
static unsigned insn_bytes(const struct vcpu *vcpu, uint64_t code[static CODE_BYTES / 8]) {
	(void)vcpu;
	rig.asked++;
	memset(code, 0, CODE_BYTES);
	memcpy(code, rig.given, rig.given_count);
	return rig.given_count;
}
struct vendor_ops ops[1] = {{
    .paging_get = paging_get,
    .rip_get = rip_get,
    .rip_set = rip_set,
    .rsp_get = rsp_get,
    .rsp_set = rsp_set,
    .rflags_get = rflags_get,
    .rflags_set = rflags_set,
    .seg_get = seg_get,
    .shadow_clear = shadow_clear,
    .advance = advance,
    .insn_bytes = insn_bytes,
}};

uint64_t mmio_read(struct vcpu *vcpu, uint64_t addr, unsigned bytes) {
	(void)vcpu;
	(void)bytes;
	assert_int_equal(addr, DEVICE);
	return 0x10;
}
void mmio_write(struct vcpu *vcpu, uint64_t addr, unsigned bytes, uint64_t value) {
	(void)vcpu;
	(void)bytes;
	assert_int_equal(addr, DEVICE);
	rig.writes++;
	rig.written = value;
}
uint32_t pio_read(struct vcpu *vcpu, uint16_t port, unsigned bytes) {
	(void)vcpu;
	(void)port;
	(void)bytes;
	return 0;
}
void pio_write(struct vcpu *vcpu, uint16_t port, unsigned bytes, uint32_t value) {
	(void)vcpu;
	(void)port;
	(void)bytes;
	(void)value;
}
void guest_exception(struct vcpu *vcpu, uint8_t vector) {
	(void)vcpu;
	(void)vector;
	rig.faults++;
}
void guest_exception_error(struct vcpu *vcpu, uint8_t vector, uint32_t error) {
	(void)error;
	guest_exception(vcpu, vector);
}
void guest_page_fault(struct vcpu *vcpu, uint32_t error, uint64_t address) {
	(void)error;
	(void)address;
	guest_exception(vcpu, VEC_PF);
}
void guest_trap_step(struct vcpu *vcpu) { guest_exception(vcpu, VEC_DB); }
void vm_stop_reason(struct vm *vm, enum vm_end how, uint32_t code, const char *format, ...) {
	(void)vm;
	(void)how;
	(void)code;
	(void)format;
	rig.faults++;
}
void vm_guest_error(struct vm *vm, const char *subsystem, const char *format, ...) {
	(void)vm;
	(void)subsystem;
	(void)format;
}

// ---- the cases ---------------------------------------------------------------------------------------------------

#define MOV_ECX 0x89, 0x08 // mov [rax], ecx
#define MOV_EDX 0x89, 0x10 // mov [rax], edx
#define ADD_EDX 0x01, 0x10 // add [rax], edx: not the short way
#define UD2 0x0f, 0x0b
static const uint8_t mov_ecx[] = {MOV_ECX, UD2}, mov_edx[] = {MOV_EDX, UD2}, add_edx[] = {ADD_EDX, UD2};

static int setup(void **state) {
	(void)state;
	rig = (struct rig){.rip = RIP, .rflags = RFLAGS_FIXED};
	rig.vcpu = (struct vcpu){.vm = &rig.vm, .arch = &rig.arch};
	rig.paging = (struct guest_paging){
	    .cr0 = CR0_PE, .efer = EFER_LMA | EFER_LME, .cs_access = SEG_L, .rflags = RFLAGS_FIXED};
	rig.arch.gpr[GPR_RAX] = DEVICE;
	rig.arch.gpr[GPR_RCX] = 0xcc;
	rig.arch.gpr[GPR_RDX] = 0xdd;
	for (unsigned i = 0; i < FETCH_WALKS; i++) rig.arch.fetch[i].linear_page = FETCH_WALK_NONE;
	memset(memory, 0x0b, sizeof memory);
	gspace_init_arena(&rig.vm.space, memory, sizeof memory, NULL);
	return 0;
}

static void code_set(const uint8_t in_memory[static 4], const uint8_t given[static 4], unsigned count) {
	memcpy(memory + RIP, in_memory, 4);
	memcpy(rig.given, given, 4);
	rig.given_count = count;
}

static void expect_write(uint64_t value) {
	unsigned before = rig.writes;
	rig.rip = RIP;
	guest_emulate_device(&rig.vcpu, DEVICE);
	assert_int_equal(rig.faults, 0);
	assert_int_equal(rig.writes, before + 1);
	assert_int_equal(rig.written, value);
	assert_int_equal(rig.rip, RIP + 2);
}

// The guest's memory says something else meanwhile: what the CPU fetched is what it executed.
static void guest_emulate_device_given_bytes_are_not_fetched_again(void **state) {
	(void)state;
	code_set(mov_edx, mov_ecx, 15);
	expect_write(0xcc);
	expect_write(0xcc); // from the cache
	assert_int_equal(rig.asked, 2);
	code_set(mov_edx, add_edx, 15);
	expect_write(0xed);
	code_set(mov_ecx, mov_edx, 2); // the whole instruction and no more
	expect_write(0xdd);
	for (unsigned i = 0; i < FETCH_WALKS; i++)
		assert_int_equal(rig.arch.fetch[i].linear_page, FETCH_WALK_NONE); // no walk
}

static void guest_emulate_device_given_bytes_in_32_bit_code(void **state) {
	(void)state;
	rig.paging.efer = 0;
	rig.paging.cs_access = SEG_DB;
	code_set(mov_edx, mov_ecx, 15);
	expect_write(0xcc);
}

static void guest_emulate_device_none_or_too_few_given_fetches(void **state) {
	(void)state;
	code_set(mov_edx, mov_ecx, 0);
	expect_write(0xdd);
	setup(NULL);
	code_set(mov_edx, mov_ecx, 1);
	expect_write(0xdd);
	// What was decoded from all of its bytes is not found again by a part of them.
	static const uint8_t store_zero[] = {0xc7, 0x00, 0x00, 0x00};
	setup(NULL);
	memset(memory + RIP, 0, 16);
	code_set(store_zero, store_zero, 0);
	rig.rip = RIP;
	guest_emulate_device(&rig.vcpu, DEVICE); // mov dword [rax], 0, six bytes
	assert_int_equal(rig.rip, RIP + 6);
	code_set(mov_edx, store_zero, 4);
	expect_write(0xdd);
}

// And when it can not be fetched either, that fault is the guest's.
static void guest_emulate_device_unfetchable_code_is_not_executed(void **state) {
	(void)state;
	rig.rip = sizeof memory + RIP;
	code_set(mov_edx, mov_ecx, 1);
	guest_emulate_device(&rig.vcpu, DEVICE);
	assert_int_equal(rig.writes, 0);
	assert_int_equal(rig.faults, 1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
	    CASE(guest_emulate_device_given_bytes_are_not_fetched_again),
	    CASE(guest_emulate_device_given_bytes_in_32_bit_code),
	    CASE(guest_emulate_device_none_or_too_few_given_fetches),
	    CASE(guest_emulate_device_unfetchable_code_is_not_executed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
