// SPDX-License-Identifier: Apache-2.0
// kernel/arch.h for x86: the backend chosen at boot, and the x86 half of every VM and vCPU.
#include "kernel/arch.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mitigate.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/board.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/msr.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/pvclock.h"
#include "arch/x86/guest/record.h"
#include "arch/x86/guest/reset.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"
#include "kernel/vintc.h"

struct vendor_ops ops[1];

static __cold void log_features_off(uint64_t mask) {
	char names[LOG_LINE_BYTES];
	feature_names(mask, features.svm ? FEATURE_SVM : FEATURE_VMX, names, sizeof names);
	if (names[0] != '\0') log_info("arch", "off by option: %s", names);
}

int arch_init(uint64_t features_off, struct arch_why *why) {
	if (!features.svm && !features.vmx) {
		fmt_print(why->text, sizeof why->text,
		          "CPU \"%s\" has neither VMX nor SVM (CPUID 1 ECX.VMX, 8000_0001 ECX.SVM)", features.brand);
		return -ERR_UNSUP;
	}
	feature_off_set(features_off);
	log_features_off(features_off);
	*ops = features.svm ? svm_ops : vmx_ops;
	int err = ops->probe(why);
	return err < 0 ? err : arch_cpu_enable(why);
}

bool arch_max_run_set(uint64_t tsc) { return ops->max_run_set(tsc); }

void arch_describe(char *text, size_t bytes) {
	size_t at = fmt_print(text, bytes, "%s: ", ops->name);
	if (at < bytes) ops->describe(text + at, bytes - at);
}

int arch_cpu_enable(struct arch_why *why) {
	if (guest_features.xsaves) wrmsr(MSR_XSS, 0); // a guest's is 0 always, and this stays in the CPU
	return ops->cpu_enable(why);
}

int arch_vm_create(struct vm *vm, struct arch_why *why) {
	struct arch_vm *arch;
	int err = memory_object(sizeof *arch, (void **)&arch);
	if (err == 0) {
		vm->arch = arch;
		cpuid_build(&arch->cpuid, vm->config->vcpus);
		err = ops->vm_create(vm);
	}
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "the VM's x86 state: %s", err_name(err));
		return err;
	}
	return board_create(vm, why);
}

void arch_vm_destroy(struct vm *vm) {
	board_destroy(vm);
	if (vm->arch == NULL) return;
	ops->vm_destroy(vm);
	memory_object_free(vm->arch, sizeof *vm->arch);
	vm->arch = NULL;
}

int arch_vcpu_create(struct vcpu *vcpu, struct arch_why *why) {
	struct arch_vcpu *arch;
	int err = memory_object(sizeof *arch, (void **)&arch);
	if (err < 0) goto out;
	arch->vcpu = vcpu;
	vcpu->arch = arch;
	err = memory_object(features.xsave_bytes, &arch->fpu);
	if (err < 0) goto out;
	err = board_lapic_create(vcpu->vm, vcpu->id, &arch->lapic);
	if (err < 0) goto out;
	vcpu->vm->lapic[vcpu->id] = arch->lapic;
	err = ops->vcpu_create(vcpu);
	if (err == 0) return 0;
out:
	fmt_print(why->text, sizeof why->text, "vCPU %u: %s", vcpu->id, err_name(err));
	return err;
}

void arch_vcpu_destroy(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	if (arch == NULL) return;
	if (arch->vendor != NULL) ops->vcpu_destroy(vcpu);
	if (arch->fpu != NULL) memory_object_free(arch->fpu, features.xsave_bytes);
	memory_object_free(arch, sizeof *arch);
	vcpu->arch = NULL;
}

// XSAVE area in its initial state: header all zero means every component at its reset value; MXCSR is taken from
// the area by XRSTOR even then (SDM vol. 1, 13.6).
#define FCW_RESET 0x0040u // SDM vol. 3, table 9-1
#define MXCSR_RESET 0x1f80u

static void fpu_reset(struct arch_vcpu *arch) {
	memset(arch->fpu, 0, features.xsave_bytes);
	put_le16((uint8_t *)arch->fpu + FXSAVE_FCW, FCW_RESET);
	put_le32((uint8_t *)arch->fpu + FXSAVE_MXCSR, MXCSR_RESET);
	arch->xcr0 = XCR0_X87;
}

void arch_vcpu_load(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	struct cpu *cpu = this_cpu();
	if (cpu->vm != vcpu->vm) {
		cpu->vm = vcpu->vm;
		mitigate_vm_switch();
	}
	if (features.xsave) {
		xsetbv(0, features.xcr0_mask & GUEST_XSTATE);
		xrstor64(arch->fpu, UINT64_MAX);
		xsetbv(0, arch->xcr0);
	} else {
		fxrstor64(arch->fpu);
	}
	write_dr0_3(arch->dr);
	if (guest_features.rdtscp) wrmsr(MSR_TSC_AUX, arch->tsc_aux);
	ops->vcpu_load(vcpu);
}

void arch_vcpu_save(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	if (features.xsave) {
		arch->xcr0 = xgetbv(0); // XSETBV is not intercepted on every CPU
		xsetbv(0, features.xcr0_mask & GUEST_XSTATE);
		xsave64(arch->fpu, UINT64_MAX);
	} else {
		fxsave64(arch->fpu);
	}
	read_dr0_3(arch->dr);
	ops->vcpu_save(vcpu);
}

void arch_vcpu_select(struct vcpu *vcpu) { ops->vcpu_select(vcpu); }
void arch_vcpu_leave(struct vcpu *vcpu) { ops->vcpu_leave(vcpu); }

static void vcpu_reset(struct vcpu *vcpu) {
	struct arch_vcpu *arch = vcpu->arch;
	memset(arch->gpr, 0, sizeof arch->gpr);
	memset(arch->dr, 0, sizeof arch->dr);
	arch->gpr[GPR_RDX] = cpuid(CPUID_FEATURES, 0).eax; // family and model, SDM vol. 3, table 9-1
	arch->exception.valid = false;
	arch->irq_taken = arch->nmi_pending = false;
	arch->cr0_cache = 0;
	for (unsigned i = 0; i < FETCH_WALKS; i++) arch->fetch[i].linear_page = FETCH_WALK_NONE;
	msr_reset(vcpu);
	fpu_reset(arch);
	reset_registers(vcpu);
	// What came for the CPU while the VM did not run is looked at first.
	__atomic_fetch_and(&vcpu->requests, VCPU_REQ_END | VCPU_REQ_CONSOLE, __ATOMIC_RELAXED);
	__atomic_fetch_or(&vcpu->requests, VCPU_REQ_CPU, __ATOMIC_RELAXED);
	vcpu->state = VCPU_READY;
}

void arch_vm_reset(struct vm *vm) {
	board_reset(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++) vcpu_reset(vm->vcpu[i]);
}

void arch_tsc_shift(struct vm *vm, uint64_t delta) {
	vm->tsc_offset += delta;
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		ops->tsc_offset_set(vm->vcpu[i], vm->tsc_offset);
		vlapic_tsc_changed(vm->vcpu[i]->arch->lapic);
		vcpu_request(vm->vcpu[i], VCPU_REQ_CLOCK);
	}
}

void arch_vcpu_serve(struct vcpu *vcpu, uint32_t requests) {
	if (unlikely((requests & (VCPU_REQ_FLUSH | VCPU_REQ_CLOCK | VCPU_REQ_APIC)) != 0)) {
		if ((requests & VCPU_REQ_FLUSH) != 0) ops->flush(vcpu);
		if ((requests & VCPU_REQ_CLOCK) != 0) pvclock_publish(vcpu);
		if ((requests & VCPU_REQ_APIC) != 0) ops->apic_mode(vcpu);
	}
	if ((requests & VCPU_REQ_EVENT) != 0) guest_event_deliver(vcpu);
}

void arch_vcpu_enter(struct vcpu *vcpu) { ops->enter(vcpu); }

// A reserved bit, the same on both vendors' CPUs, which no guest can set.
#define EFER_RESERVED_BIT BIT64(1)
void arch_vcpu_entry_spoil(struct vcpu *vcpu) {
	struct guest_paging paging;
	ops->paging_get(vcpu, &paging);
	ops->efer_set(vcpu, paging.efer | EFER_RESERVED_BIT);
}
bool arch_vcpu_wakeable(const struct vcpu *vcpu) { return guest_event_wakes(vcpu); }

void vm_vcpu_apic_mode(struct vm *vm, unsigned vcpu_id) {
	struct vcpu *vcpu = vm->vcpu[vcpu_id];
	if (vcpu != NULL) vcpu_request(vcpu, VCPU_REQ_APIC);
}

// The lifecycle messages of the local APIC. One vCPU a VM here: INIT and STARTUP of the only one.
void vm_vcpu_nmi(struct vm *vm, unsigned vcpu_id) {
	vm->vcpu[vcpu_id]->arch->nmi_pending = true;
	vcpu_request(vm->vcpu[vcpu_id], VCPU_REQ_EVENT);
}

void vm_vcpu_init_signal(struct vm *vm, unsigned vcpu_id) {
	if (vcpu_id == 0) {
		// INIT of the boot processor restarts at the reset vector, where a PC has its firmware (SDM vol. 3,
		// 9.1.1); without one that is the platform's reset.
		vm_end_request(vm, VM_END_RESET, 0);
		return;
	}
	vm->vcpu[vcpu_id]->state = VCPU_WAIT_SIPI;
}

void vm_vcpu_startup(struct vm *vm, unsigned vcpu_id, uint8_t vector) {
	struct vcpu *vcpu = vm->vcpu[vcpu_id];
	if (vcpu->state != VCPU_WAIT_SIPI) return; // ignored, SDM vol. 3, 8.4.2
	struct guest_segment cs = {.base = (uint64_t)vector << 12,
	                           .limit = 0xffff,
	                           .access = SEG_ACCESS_CODE,
	                           .selector = (uint16_t)(vector << 8)};
	ops->seg_set(vcpu, SEG_CS, &cs);
	ops->rip_set(vcpu, 0);
	vcpu->state = VCPU_READY;
}

int arch_nested_init(struct vm *vm) {
	return nested_init(&vm->nested, memory_frames(), ops->nested_format(), ops->nested_levels(),
	                   ops->nested_leaf_levels());
}

uint8_t arch_host_leaf_levels(void) { return features.page_1g ? PT_LEAF_1G : PT_LEAF_2M; }
