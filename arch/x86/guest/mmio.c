// SPDX-License-Identifier: Apache-2.0
// The local APIC's page is decoded here, per vCPU and at its own base, before the VM's bus (SDM vol. 3, 10.4.1).
#include "arch/x86/guest/mmio.h"

#include "arch/x86/guest/event.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "kernel/vintc.h"
#include "mm/gmem.h"

static bool lapic_page(const struct vcpu *vcpu, uint64_t addr) {
	uint64_t base = vlapic_base_read(vcpu->arch->lapic);
	return (base & (APIC_BASE_ENABLE | APIC_BASE_X2)) == APIC_BASE_ENABLE &&
	       ((addr ^ base) & ~UINT64_C(0xfff)) == 0;
}

// Registers are 32 bits wide, 16 bytes apart (SDM vol. 3, 10.4.1): narrower reads see their part, 64-bit ones
// the register and what follows it; other writes than aligned 32-bit ones are undefined, here dropped.
static uint64_t lapic_read(struct vcpu *vcpu, uint32_t offset, unsigned bytes) {
	struct vdev *lapic = vcpu->arch->lapic;
	if (likely(bytes == 4 && (offset & 3) == 0)) return vlapic_mmio_read(lapic, offset);
	uint64_t value = vlapic_mmio_read(lapic, offset & ~UINT32_C(3));
	if (bytes == 8 && offset + 8 <= PAGE_BYTES)
		value |= (uint64_t)vlapic_mmio_read(lapic, (offset & ~UINT32_C(3)) + 4) << 32;
	return trunc_bytes(value >> (8 * (offset & 3)), bytes);
}

static void lapic_write(struct vcpu *vcpu, uint32_t offset, unsigned bytes, uint64_t value) {
	if (likely((offset & 3) == 0 && bytes >= 4))
		vlapic_mmio_write(vcpu->arch->lapic, offset, (uint32_t)value);
	else
		vm_guest_error(vcpu->vm, "vlapic", "%u-byte write at offset %#x dropped", bytes, offset);
}

uint64_t mmio_read(struct vcpu *vcpu, uint64_t addr, unsigned bytes) {
	uint64_t value;
	if (lapic_page(vcpu, addr)) return lapic_read(vcpu, (uint32_t)(addr & 0xfff), bytes);
	return iobus_read(&vcpu->vm->mmio, addr, bytes, &value) ? value : trunc_bytes(UINT64_MAX, bytes);
}

void mmio_write(struct vcpu *vcpu, uint64_t addr, unsigned bytes, uint64_t value) {
	if (lapic_page(vcpu, addr))
		lapic_write(vcpu, (uint32_t)(addr & 0xfff), bytes, value);
	else
		iobus_write(&vcpu->vm->mmio, addr, bytes, value);
}

// The exit came while an event was being delivered.
static bool delivery_cut(const struct vcpu *vcpu) {
	return (__atomic_load_n(&vcpu->requests, __ATOMIC_RELAXED) & VCPU_REQ_AGAIN) != 0;
}

// Memory after all (a stale TLB entry, read-only memory), tables or code where no memory is, an event's frame.
static __cold __attribute__((noinline)) void unusual_fault(struct vcpu *vcpu, const struct exit *exit,
                                                           const struct memslot *slot) {
	unsigned long long at = exit->fault.gpa, rip = ops->rip_get(vcpu);
	struct pt_mapping m;
	if (slot != NULL && nested_translate(&vcpu->vm->nested, gpa(exit->fault.gpa), &m) == 0 &&
	    ((exit->fault.access & EXIT_ACCESS_WRITE) == 0 || (m.attr & PT_WRITE) != 0))
		ops->flush(vcpu);
	else if (delivery_cut(vcpu))
		vm_stop_reason(vcpu->vm, VM_END_CRASH, 0,
		               "event delivery touched %#llx, which is no memory (rip %#llx)", at, rip);
	else if (exit->fault.table_walk)
		vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "page table at %#llx, which is no memory (rip %#llx)", at,
		               rip);
	else if ((exit->fault.access & EXIT_ACCESS_FETCH) != 0)
		vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "executes at %#llx, which is no memory (rip %#llx)", at,
		               rip);
	else
		guest_emulate(vcpu); // read-only memory: the write is dropped
}

void mmio_exit(struct vcpu *vcpu, const struct exit *exit) {
	uint64_t at = exit->fault.gpa;
	const struct memslot *slot = NULL;
	if (unlikely(!lapic_page(vcpu, at)))
		slot = memslot_find(gspace_slots(&vcpu->vm->space), gpa_gfn(gpa(at)));
	// While an event was being delivered the CPU was storing its frame, not executing an instruction.
	if (likely(slot == NULL && !delivery_cut(vcpu) && !exit->fault.table_walk &&
	           (exit->fault.access & EXIT_ACCESS_FETCH) == 0))
		guest_emulate_device(vcpu, at);
	else
		unusual_fault(vcpu, exit, slot);
}
