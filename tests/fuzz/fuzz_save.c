// SPDX-License-Identifier: Apache-2.0
// A stream of state from outside, read into a VM with the board's real devices and the real judge of vCPU records:
// any bytes, or the state of a VM that has worked, truncated and altered. Whatever comes, nothing breaks; what is
// accepted is written and read again to the same bytes; and what was refused half-way leaves a VM that a reset and a
// good stream make whole.
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/record.h"
#include "kernel/arch.h"
#include "kernel/backend.h"
#include "kernel/clock.h"
#include "kernel/guestmap.h"
#include "kernel/lib/assert.h"
#include "kernel/run.h"
#include "kernel/save.h"
#include "kernel/vintc.h"
#include "kernel/wallclock.h"
#include "tests/fuzz/seed.h"

#define KHZ UINT64_C(1000000) // a tick a nanosecond
#define AREA_BYTES 832u       // x87, SSE, AVX
#define RECORD_BYTES (sizeof(struct vcpu_record) + AREA_BYTES)
#define VCPUS 2u
#define ARCH_SET_GS 0x1001 // asm/prctl.h

// ---- what a VM stands on ----------------------------------------------------------------------------------------

uint64_t clock_tsc_khz(void) { return KHZ; }
uint64_t clock_tsc_to_ns(uint64_t ticks) { return ticks; }
uint64_t clock_ns_to_tsc(uint64_t ns) { return ns; }
uint64_t clock_now_ns(void) { return 0; }
uint64_t wallclock_now_ns(void) { return UINT64_C(1767225600000000000); }
void run_timer_program(struct vm *vm __unused_arg) {}
void arch_tsc_shift(struct vm *vm, uint64_t delta) { vm->tsc_offset += delta; }
void vm_vcpu_init_signal(struct vm *vm __unused_arg, unsigned vcpu __unused_arg) {}
void vm_vcpu_startup(struct vm *vm __unused_arg, unsigned vcpu __unused_arg, uint8_t vector __unused_arg) {}
void vm_vcpu_nmi(struct vm *vm __unused_arg, unsigned vcpu __unused_arg) {}
void vm_vcpu_apic_mode(struct vm *vm __unused_arg, unsigned vcpu __unused_arg) {}
void run_notify(struct vcpu *vcpu __unused_arg) {}

// kernel/vm.c asks which vCPU is loaded on this CPU: none.
static struct cpu cpu = {.self = &cpu};

struct arch_vcpu {
	uint64_t record[(RECORD_BYTES + 7) / 8];
};

static const struct vcpu_record_limits limits = {
    .cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXSAVE | CR4_PSE | CR4_SMEP,
    .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
    .xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX,
    .xstate = XCR0_X87 | XCR0_SSE | XCR0_AVX,
    .xsave_bytes = AREA_BYTES,
    .phys_bits = 40,
    .virt_bits = 48,
};

uint32_t arch_vcpu_record_bytes(void) { return RECORD_BYTES; }
uint16_t arch_vcpu_record_version(void) { return VCPU_RECORD_VERSION; }
void arch_vcpu_record_save(struct vcpu *vcpu, void *record) {
	memcpy(record, vcpu->arch->record, RECORD_BYTES);
}
int arch_vcpu_record_check(const struct vcpu *vcpu __unused_arg, const void *record, uint32_t bytes) {
	const char *field;
	return vcpu_record_check(record, bytes, &limits, &field);
}
int arch_vcpu_record_load(struct vcpu *vcpu, const void *record, uint32_t bytes) {
	int err = arch_vcpu_record_check(vcpu, record, bytes);
	if (err == 0) memcpy(vcpu->arch->record, record, RECORD_BYTES);
	return err;
}

// Real mode, as after power-on.
static void record_reset(struct arch_vcpu *arch) {
	struct vcpu_record *r = (struct vcpu_record *)(void *)arch->record;
	memset(arch, 0, sizeof *arch);
	*r = (struct vcpu_record){.version = VCPU_RECORD_VERSION,
	                          .bytes = RECORD_BYTES,
	                          .rflags = RFLAGS_FIXED,
	                          .cr0 = CR0_ET,
	                          .dr6 = DR6_FIXED,
	                          .dr7 = DR7_FIXED,
	                          .xcr0 = XCR0_X87,
	                          .pat = UINT64_C(0x0007040600070406),
	                          .run = VCPU_RECORD_READY,
	                          .xsave_bytes = AREA_BYTES};
	put_le32(r->xsave + FXSAVE_MXCSR, 0x1f80);
	for (unsigned n = 0; n < SEG_COUNT; n++)
		r->seg[n] = (struct vcpu_record_segment){.limit = 0xffff, .access = 0x93};
	r->seg[SEG_CS].access = 0x9b;
	r->seg[SEG_LDTR].access = 0x82;
	r->seg[SEG_TR].access = 0x8b;
}

// ---- the VM -----------------------------------------------------------------------------------------------------

static bool back_write(struct chardev *self __unused_arg, const uint8_t *bytes __unused_arg,
                       size_t count __unused_arg) {
	return true;
}
static size_t back_read(struct chardev *self __unused_arg, uint8_t *bytes __unused_arg,
                        size_t count __unused_arg) {
	return 0;
}
static struct chardev back = {.write = back_write, .read = back_read};

static struct vm vm;
static struct vcpu vcpu[VCPUS];
static struct arch_vcpu arch[VCPUS];
static uint8_t *good; // the state of the VM when it has worked
static uint64_t good_bytes;

static struct vdev *device_new(const struct vdev_class *class, const struct vdev_config *config,
                               struct vdev **out) {
	uint64_t bytes = align_up(class->object_bytes, PAGE_BYTES); // some hold a page
	struct vdev *d = aligned_alloc(PAGE_BYTES, bytes);
	assert(d != NULL);
	memset(d, 0, bytes);
	d->class = class;
	d->vm = &vm;
	list_push_back(&vm.devices, &d->node);
	*out = d;
	int err = class->create(d, config);
	assert(err == 0);
	return d;
}

// The board of arch/x86/guest/board.c.
static void vm_new(void) {
	struct vdev *unused;
	static const struct config_vm config = {.name = "f"};
	vm.config = &config;
	vm.clock_stopped_tsc = 5000;
	list_init(&vm.devices);
	iobus_init(&vm.pio);
	iobus_init(&vm.mmio);
	timerq_init(&vm.timers);
	irqroute_default(&vm.route_table);
	irqroute_init(&vm.routes, &vm.route_table);
	vm.vcpu_count = VCPUS;
	device_new(&vpic_class, &(struct vdev_config){0}, &vm.pic);
	device_new(&vioapic_class, &(struct vdev_config){.base = GUEST_IOAPIC_GPA}, &vm.ioapic);
	device_new(&vpit_class, &(struct vdev_config){0}, &unused);
	vrtc_memory_set(device_new(&vrtc_class, &(struct vdev_config){0}, &unused), MIB, 0);
	device_new(&vpm_class, &(struct vdev_config){0}, &unused);
	device_new(&vpci_class, &(struct vdev_config){0}, &unused);
	device_new(&vps2_class, &(struct vdev_config){0}, &unused);
	device_new(&vreset_class, &(struct vdev_config){0}, &unused);
	device_new(&vuart_class,
	           &(struct vdev_config){.base = GUEST_COM1_PORT, .gsi = GUEST_COM1_GSI, .chardev = &back},
	           &unused);
	device_new(&vdebugexit_class, &(struct vdev_config){.base = 0xf4}, &unused);
	for (uint32_t i = 0; i < VCPUS; i++) {
		record_reset(&arch[i]);
		vcpu[i] = (struct vcpu){.vm = &vm, .arch = &arch[i], .id = i};
		vm.vcpu[i] = &vcpu[i];
		device_new(&vlapic_class, &(struct vdev_config){.base = GUEST_LAPIC_GPA, .index = i}, &vm.lapic[i]);
	}
}

static void vm_power_on(void) {
	for (struct list *it = vm.devices.next; it != &vm.devices; it = it->next) {
		struct vdev *d = container_of(it, struct vdev, node);
		d->class->reset(d);
	}
	for (unsigned i = 0; i < VCPUS; i++) record_reset(&arch[i]);
	vm.stop.requested = false;
}

static void time_pass(uint64_t ns) {
	vm.clock_stopped_tsc += ns;
	for (unsigned i = 0; i < 100 && timerq_next(&vm.timers) <= vm_now_ns(&vm); i++)
		timerq_expire(&vm.timers, vm_now_ns(&vm));
}

// Timers run, lines are up, interrupts wait, FIFOs hold something.
static void vm_work(void) {
	static const struct {
		uint16_t port;
		uint8_t value;
	} out[] = {{0x20, 0x11}, {0x21, 8},    {0x21, 4},     {0x21, 1},     {0x21, 0},
	           {0x43, 0x34}, {0x40, 0xff}, {0x40, 0x1},   {0x70, 0xb},   {0x71, 0x42},
	           {0x3f9, 0xf}, {0x3fa, 0x7}, {0x3fc, 0x1b}, {0x3f8, 'x'},  {0x60, 0xf4},
	           {0x64, 0x20}, {0xcf8, 0x8}, {0x602, 0x20}, {0x600, 0x01}, {0x61, 0x3}};
	for (unsigned i = 0; i < array_count(out); i++) (void)iobus_write(&vm.pio, out[i].port, 1, out[i].value);
	(void)iobus_write(&vm.mmio, GUEST_IOAPIC_GPA, 4, 0x14);
	(void)iobus_write(&vm.mmio, GUEST_IOAPIC_GPA + 0x10, 4, 0x8031);
	vm_gsi_set(&vm, 2, true);
	vm_gsi_set(&vm, 4, true);
	time_pass(30000000);
}

static void ports_read(void) {
	static const uint16_t first[] = {0x20, 0xa0, 0x4d0, 0x40, 0x60, 0x70, 0x92, 0xcf8, 0x3f8, GUEST_PM_PORT};
	uint64_t value;
	for (unsigned i = 0; i < array_count(first); i++)
		for (uint16_t port = first[i]; port < first[i] + 8; port++)
			(void)iobus_read(&vm.pio, port, 1, &value);
	for (uint64_t reg = 0; reg < 0x400; reg += 0x10)
		(void)iobus_read(&vm.mmio, GUEST_LAPIC_GPA + reg, 4, &value);
}

static uint64_t written(uint8_t *buffer) {
	int err = save_write(&vm, buffer, good_bytes);
	assert(err == 0);
	return good_bytes;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
	long set = syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
	assert(set == 0);
	vm_new();
	good_bytes = save_bytes(&vm);
	uint8_t *seed = calloc(1, 1 + good_bytes);
	good = calloc(1, good_bytes);
	assert(seed != NULL && good != NULL);
	(void)written(good);
	memcpy(seed + 1, good, good_bytes);
	seed_write(*argc, *argv, "reset", seed, 1 + good_bytes);
	vm_work();
	(void)written(good);
	memcpy(seed + 1, good, good_bytes);
	seed_write(*argc, *argv, "worked", seed, 1 + good_bytes);
	free(seed);
	return 0;
}

// ---- one input ----------------------------------------------------------------------------------------------------

// The first byte even: the rest is the stream. Odd: the good one, some bytes changed ({offset, value} in three bytes),
// and when the second is not 0 cut short, its head saying so or not.
static uint8_t *stream_of(const uint8_t *data, size_t len, uint64_t *bytes) {
	bool raw = (data[0] & 1) == 0;
	*bytes = raw ? len - 1 : good_bytes;
	uint8_t *stream = malloc(*bytes + 1);
	assert(stream != NULL);
	memcpy(stream, raw ? data + 1 : good, *bytes);
	if (raw) return realloc(stream, *bytes > 0 ? *bytes : 1);
	for (size_t i = 2; i + 3 <= len; i += 3) stream[(data[i] | data[i + 1] << 8) % good_bytes] = data[i + 2];
	if (len > 1 && data[1] != 0) *bytes -= data[1] % good_bytes;
	if ((data[0] & 2) != 0) put_le64(stream + offsetof(struct save_head, bytes), *bytes);
	return realloc(stream, *bytes);
}

// An accepted state is whole: what it is written to is read to the same, and the VM goes on.
static void accepted(void) {
	uint8_t *first = malloc(good_bytes), *second = malloc(good_bytes);
	assert(first != NULL && second != NULL);
	(void)written(first);
	int err = save_read(&vm, first, good_bytes);
	assert(err == 0);
	(void)written(second);
	assert(memcmp(first, second, good_bytes) == 0);
	time_pass(1000);
	ports_read();
	vm_work();
	(void)written(second);
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	uint64_t bytes;
	if (len == 0) return 0;
	uint8_t *stream = stream_of(data, len, &bytes), *now = malloc(good_bytes);
	assert(stream != NULL && now != NULL);
	if (save_read(&vm, stream, bytes) == 0) accepted();
	vm_power_on();
	int err = save_read(&vm, good, good_bytes);
	assert(err == 0);
	(void)written(now);
	assert(memcmp(now, good, good_bytes) == 0);
	free(stream);
	free(now);
	return 0;
}
