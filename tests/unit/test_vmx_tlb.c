// SPDX-License-Identifier: Apache-2.0
// arch/x86/vmx/tlb.c against a model of the CPUs' cached translations (SDM vol. 3, 28.3): the emulators drop everything
// at every transition, so that only this shows a translation that outlives its end, or a flush that is not needed.
#include "arch/x86/vmx/vmx.h"
#include "tests/unit/support.h"

#define CPUS 2
#define VMS 2
#define VCPUS 5 // of VM: number modulo VMS
#define LIMIT 7 // VPIDs of a CPU; the pools wrap all the time
#define NONE (-1)

struct combined {
	int owner; // a vCPU, or NONE
	uint32_t epoch;
	uint64_t nested;
};

struct rig {
	struct rng rng;
	struct tlbid_pool pool[CPUS];
	struct vmx_vcpu vmx[VCPUS];
	bool flush[VCPUS];     // asked for since the last entry
	uint32_t epoch[VCPUS]; // how often its translations went stale
	uint64_t nested[VMS];  // generation of the nested tables
	struct combined combined[CPUS][LIMIT];
	uint64_t guest_physical[CPUS][VMS]; // generation that some are from; 0: none there
	unsigned entries, drops;
};

static unsigned vm_of(int vcpu) { return (unsigned)vcpu % VMS; }

static void vpid_drop(struct rig *r, unsigned cpu, unsigned vpid) { r->combined[cpu][vpid].owner = NONE; }

static void vm_drop(struct rig *r, unsigned cpu, unsigned vm) {
	r->guest_physical[cpu][vm] = 0;
	for (unsigned v = 0; v < LIMIT; v++)
		if (r->combined[cpu][v].owner != NONE && vm_of(r->combined[cpu][v].owner) == vm) vpid_drop(r, cpu, v);
}

// As vcpu.c carries it out.
static void carry_out(struct rig *r, unsigned cpu, unsigned i, uint32_t plan) {
	if ((plan & VMX_DROP_ALL_VPIDS) != 0)
		for (unsigned v = 0; v < LIMIT; v++) vpid_drop(r, cpu, v);
	if ((plan & VMX_DROP_VPID) != 0) vpid_drop(r, cpu, r->vmx[i].vpid);
	if ((plan & VMX_DROP_NESTED) != 0) vm_drop(r, cpu, vm_of((int)i));
	r->drops += plan != 0;
}

// The guest runs: what is cached is used, and more gets cached.
static void run(struct rig *r, unsigned cpu, unsigned i) {
	unsigned vm = vm_of((int)i);
	assert_in_range(r->vmx[i].vpid, 1, LIMIT - 1);
	struct combined *c = &r->combined[cpu][r->vmx[i].vpid];
	if (c->owner != NONE) {
		assert_int_equal(c->owner, i);
		assert_int_equal(c->epoch, r->epoch[i]);
		assert_int_equal(c->nested, r->nested[vm]);
	}
	if (r->guest_physical[cpu][vm] != 0) assert_int_equal(r->guest_physical[cpu][vm], r->nested[vm]);
	*c = (struct combined){.owner = (int)i, .epoch = r->epoch[i], .nested = r->nested[vm]};
	r->guest_physical[cpu][vm] = r->nested[vm];
	r->entries++;
}

static void enter(struct rig *r, unsigned cpu, unsigned i) {
	struct vmx_vcpu *vmx = &r->vmx[i];
	if (r->flush[i] || vmx_vpid_stale(vmx, &r->pool[cpu], cpu))
		carry_out(r, cpu, i, vmx_drop_plan(vmx, &r->pool[cpu], LIMIT, cpu, r->nested[vm_of((int)i)]));
	r->flush[i] = false;
	run(r, cpu, i);
}

static struct rig *rig_make(uint64_t seed) {
	struct rig *r = calloc(1, sizeof *r);
	rng_init(&r->rng, seed);
	for (unsigned c = 0; c < CPUS; c++) {
		for (unsigned v = 0; v < LIMIT; v++) vpid_drop(r, c, v);
	}
	for (unsigned i = 0; i < VCPUS; i++) r->vmx[i].vpid_cpu = VMX_CPU_NONE;
	for (unsigned m = 0; m < VMS; m++) r->nested[m] = 1;
	return r;
}

static void nested_change(struct rig *r, unsigned vm) {
	r->nested[vm]++;
	for (unsigned i = 0; i < VCPUS; i++)
		if (vm_of((int)i) == vm) r->flush[i] = true; // VCPU_REQ_FLUSH
}

static void vmx_drop_plan_leaves_no_stale_translation(void **state) {
	(void)state;
	struct rig *r = rig_make(11);
	for (unsigned n = 0; n < 200000; n++) {
		unsigned i = (unsigned)rng_below(&r->rng, VCPUS);
		switch (rng_below(&r->rng, 8)) {
		case 0: nested_change(r, (unsigned)rng_below(&r->rng, VMS)); break;
		case 1:
			r->epoch[i]++;
			r->flush[i] = true;
			break;
		default: enter(r, (unsigned)rng_below(&r->rng, CPUS), i); break;
		}
	}
	assert_true(r->pool[0].generation > 100 && r->pool[1].generation > 100); // they did wrap
	free(r);
}

static void vmx_drop_plan_back_on_the_same_cpu_drops_nothing(void **state) {
	(void)state;
	struct rig *r = rig_make(1);
	for (unsigned i = 0; i < VCPUS; i++) enter(r, 0, i);
	unsigned drops = r->drops;
	for (unsigned n = 0; n < 3; n++)
		for (unsigned i = 0; i < VCPUS; i++) enter(r, 0, i);
	assert_int_equal(r->drops, drops);
	assert_int_equal(r->pool[0].generation, 1);
	free(r);
}

static void vmx_drop_plan_is_of_the_narrowest_kind(void **state) {
	(void)state;
	struct tlbid_pool pool = {0};
	struct vmx_vcpu vmx = {.vpid_cpu = VMX_CPU_NONE};
	const uint32_t first = VMX_DROP_NEW_VPID | VMX_DROP_ALL_VPIDS | VMX_DROP_NESTED;
	assert_int_equal(vmx_drop_plan(&vmx, &pool, LIMIT, 0, 1), first);
	assert_int_equal(vmx_drop_plan(&vmx, &pool, LIMIT, 0, 1), VMX_DROP_VPID);
	assert_int_equal(vmx_drop_plan(&vmx, &pool, LIMIT, 0, 2), VMX_DROP_NESTED);
	struct tlbid_pool other = {.generation = 4, .next = 3};
	assert_int_equal(vmx_drop_plan(&vmx, &other, LIMIT, 1, 2), VMX_DROP_NEW_VPID | VMX_DROP_NESTED);
	assert_int_equal(vmx.vpid, 3);
	other.next = LIMIT;
	struct vmx_vcpu last = {.vpid_cpu = VMX_CPU_NONE};
	assert_int_equal(vmx_drop_plan(&last, &other, LIMIT, 1, 2), first);
	assert_int_equal(last.vpid, 1);
	assert_true(vmx_vpid_stale(&vmx, &other, 1));
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vmx_drop_plan_leaves_no_stale_translation),
	    cmocka_unit_test(vmx_drop_plan_back_on_the_same_cpu_drops_nothing),
	    cmocka_unit_test(vmx_drop_plan_is_of_the_narrowest_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
