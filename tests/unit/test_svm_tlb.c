// SPDX-License-Identifier: Apache-2.0
// arch/x86/svm/tlb.c against a model of a TLB: the emulators flush everything at every world
// switch, so that only this shows a translation that outlives its flush.
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/svm/svm.h"
#include "kernel/memory.h"
#include "tests/unit/support.h"

#define CPUS 2
#define VCPUS 5
#define ASIDS 8
#define ARCH_SET_GS 0x1001 // asm/prctl.h

struct svm_caps svm_caps;
struct cpu_features features;
struct guest_features guest_features;

// ---- what vcpu.c and state.c need of their neighbours ----------------------------------------------------------

int memory_pool_pages(uint64_t pages, hpa_t *first) {
	*first = hpa((uintptr_t)aligned_alloc(PAGE_BYTES, pages * PAGE_BYTES));
	return 0;
}
void memory_pool_pages_free(hpa_t first, uint64_t pages) {
	(void)pages;
	free((void *)(uintptr_t)first.v);
}
int memory_object(uint64_t bytes, void **object) {
	*object = calloc(1, bytes);
	return 0;
}
void memory_object_free(void *object, uint64_t bytes) {
	(void)bytes;
	free(object);
}
uint64_t svm_host_vmcb_pa(void) { return this_cpu()->backend_pa; }
uint64_t svm_iopm_pa(void) { return 0; }
uint64_t svm_msrpm_pa(void) { return 0; }
void vcpu_request(struct vcpu *vcpu, uint32_t requests) { vcpu->requests |= requests; }

// ---- the model ---------------------------------------------------------------------------------------------------

struct rig {
	struct rng rng;
	struct cpu cpu[CPUS];
	struct vm vm;
	struct vcpu vcpu[VCPUS];
	struct arch_vcpu arch[VCPUS];
	uint32_t epoch[VCPUS]; // how often its translations had to be dropped
	unsigned on[VCPUS];    // the CPU that has the vCPU
	// What each TLB holds under each ASID: of which vCPU, from which epoch. -1: nothing.
	struct tlb {
		int owner[ASIDS];
		uint32_t cached[ASIDS];
	} tlb[CPUS];
};

static void tlb_drop(struct tlb *t, unsigned asid) { t->owner[asid] = -1; }

// The compiler takes this_cpu() for a constant, as it is in the kernel: no function here may use it.
static void cpu_select(struct rig *r, unsigned cpu) {
	assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, &r->cpu[cpu]), 0);
}

// VMRUN and the exit: the flush that the VMCB asks for, then translations are used and cached.
static void run(struct rig *r, unsigned i) {
	struct svm_vcpu *svm = svm_of(&r->vcpu[i]);
	struct vmcb *v = svm->vmcb;
	struct tlb *t = &r->tlb[r->on[i]];
	assert_in_range(v->asid, 1, ASIDS - 1);
	if (v->tlb_control == SVM_TLB_FLUSH_ALL)
		for (unsigned a = 0; a < ASIDS; a++) tlb_drop(t, a);
	if (v->tlb_control == SVM_TLB_FLUSH_ASID) {
		assert_true(svm_caps.flush_asid);
		tlb_drop(t, v->asid);
	}
	if (t->owner[v->asid] >= 0) {
		assert_int_equal(t->owner[v->asid], i);
		assert_int_equal(t->cached[v->asid], r->epoch[i]);
	}
	t->owner[v->asid] = (int)i;
	t->cached[v->asid] = r->epoch[i];
	if (v->tlb_control != SVM_TLB_KEEP) svm_flushed(v, &svm_asid_pool[r->on[i]]);
}

// As svm_vcpu_enter does; some entries are called off at the last moment.
static void enter(struct rig *r, unsigned i) {
	struct svm_vcpu *svm = svm_of(&r->vcpu[i]);
	struct asid_pool *pool = &svm_asid_pool[r->on[i]];
	if (svm->asid_generation != pool->ids.generation) svm_asid_take(svm, pool);
	assert_int_equal(r->arch[i].host_pa, r->cpu[r->on[i]].backend_pa);
	if (rng_below(&r->rng, 4) != 0) run(r, i);
}

static void move(struct rig *r, unsigned i) {
	r->on[i] = (unsigned)rng_below(&r->rng, CPUS);
	cpu_select(r, r->on[i]);
	svm_vcpu_load(&r->vcpu[i]);
}

static void flush(struct rig *r, unsigned i) {
	r->epoch[i]++;
	svm_flush(&r->vcpu[i]);
}

static void random_runs(bool flush_asid) {
	struct rig *r = calloc(1, sizeof *r);
	rng_init(&r->rng, 7);
	for (unsigned c = 0; c < CPUS; c++) {
		r->cpu[c] = (struct cpu){.self = &r->cpu[c], .id = c, .backend_pa = (c + 1) * PAGE_BYTES};
		svm_asid_pool[c] = (struct asid_pool){0};
		for (unsigned a = 0; a < ASIDS; a++) tlb_drop(&r->tlb[c], a);
	}
	cpu_select(r, 0);
	svm_caps = (struct svm_caps){.asids = ASIDS, .flush_asid = flush_asid};
	for (unsigned i = 0; i < VCPUS; i++) {
		r->vcpu[i] = (struct vcpu){.vm = &r->vm, .arch = &r->arch[i], .id = i};
		assert_int_equal(svm_vcpu_create(&r->vcpu[i]), 0);
		svm_vcpu_reset(&r->vcpu[i]);
		move(r, i);
	}
	for (unsigned n = 0; n < 100000; n++) {
		unsigned i = (unsigned)rng_below(&r->rng, VCPUS);
		cpu_select(r, r->on[i]);
		if (rng_below(&r->rng, 8) == 0) move(r, i);
		if (rng_below(&r->rng, 3) != 0)
			enter(r, i);
		else
			flush(r, i);
	}
	for (unsigned i = 0; i < VCPUS; i++) svm_vcpu_destroy(&r->vcpu[i]);
	free(r);
}

static void svm_flush_with_new_asids_leaves_no_stale_translation(void **state) {
	(void)state;
	random_runs(false);
}

static void svm_flush_by_asid_leaves_no_stale_translation(void **state) {
	(void)state;
	random_runs(true);
}

static void svm_vcpu_load_filters_pause_on_a_shared_cpu(void **state) {
	(void)state;
	struct rig *r = calloc(1, sizeof *r);
	struct vcpu *vcpu = &r->vcpu[0];
	r->cpu[0] = (struct cpu){.self = &r->cpu[0]};
	cpu_select(r, 0);
	*vcpu = (struct vcpu){.vm = &r->vm, .arch = &r->arch[0]};
	assert_int_equal(svm_vcpu_create(vcpu), 0);
	svm_vcpu_reset(vcpu);
	const struct vmcb *v = vmcb_of(vcpu);
	for (unsigned can = 0; can <= 1; can++)
		for (unsigned shares = 0; shares <= 1; shares++) {
			svm_caps.pause = can;
			vcpu->shares_cpu = shares;
			svm_vcpu_load(vcpu);
			assert_int_equal((v->intercept_misc1 & SVM_ICPT1_PAUSE) != 0, can && shares);
			assert_true(v->pause_count > 1 && v->pause_threshold > 0);
			assert_true((v->intercept_misc1 & SVM_ICPT1_HLT) != 0);
		}
	svm_vcpu_destroy(vcpu);
	free(r);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(svm_flush_with_new_asids_leaves_no_stale_translation),
	    cmocka_unit_test(svm_flush_by_asid_leaves_no_stale_translation),
	    cmocka_unit_test(svm_vcpu_load_filters_pause_on_a_shared_cpu),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
