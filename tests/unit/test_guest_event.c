// SPDX-License-Identifier: Apache-2.0
// arch/x86/guest/event.c over a backend that only remembers: what merges with what, what goes first, what waits, and
// that nothing is lost or delivered twice.
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/ops.h"
#include "kernel/vintc.h"
#include "tests/unit/support.h"

struct rig {
	struct vm vm;
	struct vcpu vcpu;
	struct arch_vcpu arch;
	struct vlapic_summary lapic;
	struct vpic_summary pic;
	// The backend.
	struct guest_paging paging;
	uint64_t cr2, dr6;
	bool shadow, nmi_masked;
	bool waiting; // an event is in the injection field
	struct guest_event event;
	bool irq_window, nmi_window;
	unsigned acks, stops, syncs;
	int virtual; // what hardware would deliver, -1: nothing
};
static struct rig *rig;

static void paging_get(const struct vcpu *vcpu, struct guest_paging *out) {
	(void)vcpu;
	*out = rig->paging;
}
static uint64_t rflags_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig->paging.rflags;
}
static uint64_t rip_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return 0x1000;
}
static void cr2_set(struct vcpu *vcpu, uint64_t cr2) {
	(void)vcpu;
	rig->cr2 = cr2;
}
static uint64_t dr6_get(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig->dr6;
}
static void dr6_set(struct vcpu *vcpu, uint64_t dr6) {
	(void)vcpu;
	rig->dr6 = dr6;
}
static bool event_waiting(const struct vcpu *vcpu) {
	(void)vcpu;
	return rig->waiting;
}
static bool irq_allowed(const struct vcpu *vcpu) {
	(void)vcpu;
	return (rig->paging.rflags & RFLAGS_IF) != 0 && !rig->shadow;
}
static bool nmi_allowed(const struct vcpu *vcpu) {
	(void)vcpu;
	return !rig->nmi_masked && !rig->shadow;
}
static void irq_window(struct vcpu *vcpu, bool on) {
	(void)vcpu;
	rig->irq_window = on;
}
static void nmi_window(struct vcpu *vcpu, bool on) {
	(void)vcpu;
	rig->nmi_window = on;
}
static void inject(struct vcpu *vcpu, const struct guest_event *event) {
	(void)vcpu;
	assert_false(rig->waiting);
	rig->waiting = true;
	rig->event = *event;
	if (event->type == EVENT_NMI) rig->nmi_masked = true;
}
static void apic_sync(struct vcpu *vcpu) {
	(void)vcpu;
	rig->syncs++;
}
struct vendor_ops ops[1] = {{
    .paging_get = paging_get,
    .rflags_get = rflags_get,
    .rip_get = rip_get,
    .cr2_set = cr2_set,
    .dr6_get = dr6_get,
    .dr6_set = dr6_set,
    .event_waiting = event_waiting,
    .irq_allowed = irq_allowed,
    .nmi_allowed = nmi_allowed,
    .irq_window = irq_window,
    .nmi_window = nmi_window,
    .inject = inject,
    .apic_sync = apic_sync,
}};

void vcpu_request(struct vcpu *vcpu, uint32_t requests) { vcpu->requests |= requests; }
void vm_stop_reason(struct vm *vm, enum vm_end how, uint32_t code, const char *format, ...) {
	(void)vm;
	(void)code;
	(void)format;
	assert_int_equal(how, VM_END_CRASH);
	rig->stops++;
}
uint8_t vlapic_ack(struct vdev *vlapic, uint8_t vector) {
	struct vlapic_summary *s = (struct vlapic_summary *)(void *)vlapic;
	assert_int_equal(s->pending >= 0 ? s->pending : rig->virtual, vector);
	s->pending = rig->virtual = -1;
	rig->acks++;
	return vector;
}
int vlapic_look(struct vdev *vlapic) {
	int pending = vlapic_pending(vlapic);
	return pending >= 0 ? pending : rig->virtual;
}
uint8_t vpic_ack(struct vdev *vpic) {
	((struct vpic_summary *)(void *)vpic)->output = false;
	rig->acks++;
	return 0x20;
}
struct vdev *vm_pic(const struct vm *vm) {
	return vm->pic;
}

static int setup(void **state) {
	(void)state;
	rig = calloc(1, sizeof *rig);
	rig->lapic.pending = rig->lapic.irr_top = rig->virtual = -1;
	rig->vm.pic = &rig->pic.vdev;
	rig->arch.lapic = &rig->lapic.vdev;
	rig->vcpu = (struct vcpu){.vm = &rig->vm, .arch = &rig->arch};
	rig->paging.cr0 = CR0_PE;
	rig->paging.rflags = RFLAGS_IF;
	return 0;
}

static int teardown(void **state) {
	(void)state;
	free(rig);
	return 0;
}

// An entry: what was requested is served, the event in the injection field is the guest's.
static const struct guest_event *enter(void) {
	static struct guest_event taken;
	if ((rig->vcpu.requests & VCPU_REQ_EVENT) != 0) guest_event_deliver(&rig->vcpu);
	rig->vcpu.requests = 0;
	if (!rig->waiting) return NULL;
	rig->waiting = false;
	taken = rig->event;
	return &taken;
}

static void expect(enum guest_event_type type, uint8_t vector) {
	const struct guest_event *e = enter();
	assert_non_null(e);
	assert_int_equal(e->type, type);
	assert_int_equal(e->vector, vector);
}

// ---- merging -----------------------------------------------------------------------------------------------------

// SDM vol. 3, tables 6-4 and 6-5: C contributory, P page fault, D double fault, all else benign.
static char class_of(unsigned vector) {
	static const char text[] = "C.......D.CCCCP.................";
	return text[vector];
}

static void guest_exception_every_pair_merges_as_the_manual_says(void **state) {
	(void)state;
	for (unsigned first = 0; first < 32; first++)
		for (unsigned second = 0; second < 32; second++) {
			if (first == VEC_NMI || second == VEC_NMI) continue;
			setup(NULL);
			char a = class_of(first), b = class_of(second);
			bool doubled = (a == 'C' && b == 'C') || (a == 'P' && (b == 'C' || b == 'P'));
			bool triple = a == 'D' && (b == 'C' || b == 'P');
			guest_event_requeue(&rig->vcpu, &(struct guest_event){.type = EVENT_EXCEPTION,
			                                                      .vector = (uint8_t)first,
			                                                      .has_error = true,
			                                                      .error = 0x1234});
			guest_exception_error(&rig->vcpu, (uint8_t)second, 0x77);
			assert_int_equal(rig->stops, triple);
			if (!triple) {
				const struct guest_event *e = enter();
				assert_non_null(e);
				assert_int_equal(e->type, EVENT_EXCEPTION);
				assert_int_equal(e->vector, doubled ? VEC_DF : second);
				assert_int_equal(e->error, doubled ? 0 : 0x77);
				assert_true(e->has_error);
				assert_null(enter());
			}
			teardown(NULL);
		}
	setup(NULL);
}

static void guest_exception_in_real_mode_has_no_error_code(void **state) {
	(void)state;
	rig->paging.cr0 = 0;
	guest_gp(&rig->vcpu);
	const struct guest_event *e = enter();
	assert_non_null(e);
	assert_false(e->has_error);
	assert_int_equal(e->error, 0);
}

static void guest_page_fault_sets_cr2(void **state) {
	(void)state;
	guest_page_fault(&rig->vcpu, PF_WRITE, 0xdead000);
	assert_int_equal(rig->cr2, 0xdead000);
	expect(EVENT_EXCEPTION, VEC_PF);
}

static void guest_trap_step_adds_bs_to_dr6(void **state) {
	(void)state;
	rig->dr6 = DR6_FIXED;
	guest_trap_step(&rig->vcpu);
	assert_int_equal(rig->dr6, DR6_FIXED | DR6_BS);
	expect(EVENT_EXCEPTION, VEC_DB);
}

// ---- order -------------------------------------------------------------------------------------------------------

static void guest_event_deliver_all_at_once_exception_nmi_interrupt(void **state) {
	(void)state;
	rig->lapic.pending = 0x61;
	rig->arch.nmi_pending = true;
	guest_ud(&rig->vcpu);
	expect(EVENT_EXCEPTION, VEC_UD);
	assert_true(rig->nmi_window);
	assert_true(rig->irq_window);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_NMI, VEC_NMI);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_IRQ, 0x61);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	assert_int_equal(rig->acks, 1);
}

static void guest_event_deliver_interrupt_off_waits_behind_a_window(void **state) {
	(void)state;
	rig->paging.rflags = 0;
	rig->lapic.pending = 0x61;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	assert_true(rig->irq_window);
	assert_int_equal(rig->acks, 0);
	rig->paging.rflags = RFLAGS_IF;
	rig->shadow = true;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	rig->shadow = false;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_IRQ, 0x61);
}

static void guest_event_deliver_nothing_pending_opens_no_window(void **state) {
	(void)state;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	assert_false(rig->irq_window);
	assert_false(rig->nmi_window);
}

static void guest_event_deliver_pic_needs_an_open_lint0(void **state) {
	(void)state;
	rig->pic.output = true;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	rig->lapic.extint = true;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_IRQ, 0x20);
}

// ---- what an exit cut off ----------------------------------------------------------------------------------------

static void guest_event_requeue_interrupt_is_delivered_once_more_and_not_acknowledged(void **state) {
	(void)state;
	rig->lapic.pending = 0x90; // a higher one came meanwhile
	guest_event_requeue(&rig->vcpu, &(struct guest_event){.type = EVENT_IRQ, .vector = 0x61});
	assert_true((rig->vcpu.requests & VCPU_REQ_AGAIN) != 0);
	expect(EVENT_IRQ, 0x61);
	assert_int_equal(rig->acks, 0);
	assert_true(rig->irq_window);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_IRQ, 0x90);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
}

// The handler of an exception that came in between runs with interrupts off: the interrupt waits for its end.
static void guest_event_requeue_interrupt_behind_an_exception_waits_for_if(void **state) {
	(void)state;
	guest_event_requeue(&rig->vcpu, &(struct guest_event){.type = EVENT_IRQ, .vector = 0x61});
	guest_exception_error(&rig->vcpu, VEC_AC, 0);
	expect(EVENT_EXCEPTION, VEC_AC);
	rig->paging.rflags = 0;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
	assert_true(rig->irq_window);
	rig->paging.rflags = RFLAGS_IF;
	rig->vcpu.requests = VCPU_REQ_EVENT;
	expect(EVENT_IRQ, 0x61);
}

static void guest_event_requeue_nmi_is_delivered_once_more(void **state) {
	(void)state;
	guest_event_requeue(&rig->vcpu, &(struct guest_event){.type = EVENT_NMI, .vector = VEC_NMI});
	expect(EVENT_NMI, VEC_NMI);
	rig->vcpu.requests = VCPU_REQ_EVENT;
	assert_null(enter());
}

// ---- waking ------------------------------------------------------------------------------------------------------

static void guest_event_wakes_by_what_can_be_delivered(void **state) {
	(void)state;
	assert_false(guest_event_wakes(&rig->vcpu));
	rig->lapic.pending = 0x61;
	assert_true(guest_event_wakes(&rig->vcpu));
	rig->paging.rflags = 0;
	assert_false(guest_event_wakes(&rig->vcpu));
	rig->arch.nmi_pending = true;
	assert_true(guest_event_wakes(&rig->vcpu));
	rig->nmi_masked = true; // HLT in an NMI's handler
	assert_false(guest_event_wakes(&rig->vcpu));
	guest_ud(&rig->vcpu);
	assert_true(guest_event_wakes(&rig->vcpu));
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    CASE(guest_exception_in_real_mode_has_no_error_code),
	    CASE(guest_page_fault_sets_cr2),
	    CASE(guest_trap_step_adds_bs_to_dr6),
	    CASE(guest_event_deliver_all_at_once_exception_nmi_interrupt),
	    CASE(guest_event_deliver_interrupt_off_waits_behind_a_window),
	    CASE(guest_event_deliver_nothing_pending_opens_no_window),
	    CASE(guest_event_deliver_pic_needs_an_open_lint0),
	    CASE(guest_event_requeue_interrupt_is_delivered_once_more_and_not_acknowledged),
	    CASE(guest_event_requeue_interrupt_behind_an_exception_waits_for_if),
	    CASE(guest_event_requeue_nmi_is_delivered_once_more),
	    CASE(guest_event_wakes_by_what_can_be_delivered),
	    cmocka_unit_test_teardown(guest_exception_every_pair_merges_as_the_manual_says, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
