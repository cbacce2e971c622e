// SPDX-License-Identifier: Apache-2.0
// Makes a VM from its configuration: memory, nested tables, window, board, vCPUs; then the power-on state.
// Everything is taken here; one goto ladder gives it back when a step fails.
#include "arch/x86/cpu/percpu.h"
#include "kernel/arch.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"
#include "kernel/run.h"
#include "kernel/scrub.h"
#include "kernel/vm.h"

#define HIGH_BASE (4 * GIB) // memory from here on follows that below the device hole

static struct vm *table[CONFIG_VM_MAX];

struct vm *vm_get(uint32_t id) {
	return id < CONFIG_VM_MAX ? table[id] : NULL;
}

static int slot_add(struct vm *vm, uint64_t gpa_base, uint64_t offset, uint64_t bytes) {
	struct extent *list = vm->slot_extent[vm->slots.count];
	unsigned count;
	int err = extents_slice(vm->extent, vm->extent_count, offset / PAGE_BYTES, bytes / PAGE_BYTES, list,
	                        VM_EXTENT_MAX, &count);
	if (err < 0) return err;
	const struct memslot slot = {
	    .base = gpa_gfn(gpa(gpa_base)), .pages = bytes / PAGE_BYTES, .extent_count = count, .extents = list};
	struct memslot_table next;
	err = memslot_insert(&next, &vm->slots, &slot);
	if (err < 0) return err;
	err = nested_map_slot(&vm->nested, &slot);
	if (err < 0) return err;
	err = window_map_slot(&vm->window, &slot);
	if (err == 0) vm->slots = next;
	return err;
}

// Guest memory behind the standard map. An offset into the VM's memory is the guest physical address, but for what
// lies above the device hole; so large pages line up.
static int memory_build(struct vm *vm) {
	uint64_t bytes = vm->config->memory_bytes, low_end = 0;
	struct frames_request request = FRAMES_REQUEST(FRAMES_GUEST, bytes / PAGE_BYTES);
	int err = frames_alloc_extents(memory_frames(), &request, vm->extent, VM_EXTENT_MAX, &vm->extent_count);
	vm->map_count = load_map_standard(bytes, vm->map);
	for (unsigned i = 0; err == 0 && i < vm->map_count;) {
		uint64_t base = vm->map[i].base, end = base;
		// Neighbours in the map are memory of different kinds in one slot.
		for (; i < vm->map_count && vm->map[i].base == end; i++) end += vm->map[i].bytes;
		err = slot_add(vm, base, base < HIGH_BASE ? base : low_end + (base - HIGH_BASE), end - base);
		if (base < HIGH_BASE) low_end = end;
	}
	return err;
}

static int vcpus_build(struct vm *vm, struct arch_why *why) {
	for (unsigned i = 0; i < vm->config->vcpus; i++) {
		struct vcpu *vcpu;
		int err = memory_object(sizeof *vcpu, (void **)&vcpu);
		if (err < 0) return err;
		vcpu->vm = vm;
		vcpu->id = i;
		vm->vcpu[i] = vcpu;
		vm->vcpu_count = i + 1;
		err = arch_vcpu_create(vcpu, why);
		if (err < 0) return err;
	}
	return 0;
}

void vm_destroy(struct vm *vm) {
	table[vm->id] = NULL;
	window_load(memory_cpu(0), NULL);
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		arch_vcpu_destroy(vm->vcpu[i]);
		memory_object_free(vm->vcpu[i], sizeof *vm->vcpu[i]);
	}
	arch_vm_destroy(vm);
	if (vm->window.pt.root.v != 0) window_destroy(&vm->window);
	if (vm->nested.pt.root.v != 0) nested_destroy(&vm->nested);
	if (vm->extent_count > 0) frames_free_extents(memory_frames(), vm->extent, vm->extent_count);
	memory_object_free(vm, sizeof *vm);
}

// After everything was given back: what there was for this VM.
static void memory_report(const struct config_vm *config) {
	struct frames *f = memory_frames();
	log_error(
	    "build",
	    "memory: %llu MiB asked; %llu MiB free for VMs, %llu MiB in one piece (a VM has at most %u pieces); "
	    "%llu KiB free for the hypervisor",
	    (unsigned long long)(config->memory_bytes / MIB),
	    (unsigned long long)(frames_free_count(f, FRAMES_GUEST) * PAGE_BYTES / MIB),
	    (unsigned long long)(frames_largest(f, FRAMES_GUEST) * PAGE_BYTES / MIB), VM_EXTENT_MAX,
	    (unsigned long long)(frames_free_count(f, FRAMES_POOL) * PAGE_BYTES / KIB));
}

int vm_build(uint32_t id, const struct config_vm *config) {
	struct arch_why why = {.text = "its memory, page tables and records"};
	const char *what = why.text;
	struct vm *vm;
	int err = memory_object(sizeof *vm, (void **)&vm);
	if (err < 0) goto out;
	vm->id = id;
	vm->config = config;
	vm->name = config->name;
	table[id] = vm;
	list_init(&vm->devices);
	iobus_init(&vm->pio);
	iobus_init(&vm->mmio);
	timerq_init(&vm->timers);
	timer_init(&vm->due, run_timers_fire, vm);
	gspace_init(&vm->space, &vm->slots);
	irqroute_default(&vm->route_table);
	irqroute_init(&vm->routes, &vm->route_table);
	err = arch_nested_init(vm);
	if (err == 0) err = window_init(&vm->window, memory_frames(), arch_host_leaf_levels());
	if (err == 0) err = memory_build(vm);
	if (err == 0) err = arch_vm_create(vm, &why);
	if (err == 0) err = vcpus_build(vm, &why);
	if (err == 0) {
		err = vm_reset(vm);
		what = "its power-on state";
	}
	if (err == 0) return 0;
	vm_destroy(vm);
out:
	log_error("build", "vm \"%s\" cannot be built: %s (%s)", config->name, what, err_name(err));
	if (err == -ERR_NOMEM) memory_report(config);
	return err;
}

int vm_reset(struct vm *vm) {
	struct arch_why why = {.text = ""};
	struct scrub scrub;
	int err;
	window_load(memory_cpu(this_cpu()->id), &vm->window);
	// Stopped and at 0 before anything looks at it: devices never see it run backwards.
	vm_clock_stop(vm);
	vm_clock_zero(vm);
	vm->stop.requested = false; // one that is asked for from here on counts
	scrub_start(&scrub, &vm->space, vm->map, vm->map_count);
	while ((err = scrub_step(&scrub, SCRUB_STEP_BYTES)) > 0) run_poll();
	if (err < 0) return err;
	arch_vm_reset(vm);
	err = arch_vm_load(vm, &why);
	if (err < 0) log_error("build", "vm \"%s\": %s", vm->name, why.text);
	return err;
}
