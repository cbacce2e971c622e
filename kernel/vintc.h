// SPDX-License-Identifier: Apache-2.0
// The interrupt-controller contract: how lines, messages, vectors and EOIs travel between
// kernel/irqroute, the virtual PIC, I/O APIC and local APICs (drivers/vdev) and the vCPU run path
// (arch/x86/guest). Facts: Intel SDM vol. 3 ch. 10 (APIC), 82093AA, 8259A data sheets.
#pragma once

#include "kernel/vdev.h"

struct vcpu;

// ---- chips fed by lines: vpic, vioapic ----------------------------------------------------------

// Pin 0..15 (PIC pair) or 0..23 (I/O APIC). Level is the line's electrical assertion (1 = asserted);
// polarity is not applied again. Idempotent.
void vpic_pin_set(struct vdev *vpic, unsigned pin, bool level);
void vioapic_pin_set(struct vdev *vioapic, unsigned pin, bool level);
// EOI broadcast of a level-triggered vector by a local APIC.
void vioapic_eoi(struct vdev *vioapic, uint8_t vector);
// ExtINT: the PIC's INTR output, and the INTA cycle (returns the vector; spurious IRQ7/15 included).
bool vpic_output(const struct vdev *vpic);
uint8_t vpic_ack(struct vdev *vpic);

// ---- messages between I/O APIC / MSI and local APICs --------------------------------------------

enum irq_mode { // SDM 10.6.1, delivery mode encoding
	IRQ_MODE_FIXED = 0,
	IRQ_MODE_LOWEST = 1,
	IRQ_MODE_SMI = 2,
	IRQ_MODE_NMI = 4,
	IRQ_MODE_INIT = 5,
	IRQ_MODE_STARTUP = 6,
	IRQ_MODE_EXTINT = 7,
};
enum irq_shorthand { IRQ_DEST_FIELD = 0, IRQ_DEST_SELF = 1, IRQ_DEST_ALL = 2, IRQ_DEST_OTHERS = 3 };

struct irq_msg {
	uint32_t dest;     // APIC id (physical) or logical destination
	uint8_t vector;
	uint8_t mode;      // enum irq_mode
	uint8_t shorthand; // enum irq_shorthand, IPIs only
	bool logical;      // destination mode
	bool level;        // trigger mode
	bool assert_level; // IPIs: the level bit
};

// Delivers a message to every local APIC of the VM it addresses; false when none accepts it.
// `source` is the sending local APIC for IPIs, NULL for devices. Implemented by drivers/vdev/vlapic
// over vm_lapic().
bool vlapic_deliver(struct vm *vm, struct vdev *source, const struct irq_msg *msg);

// ---- the VM's chips, set once at build; NULL when the VM has none ---------------------------------
struct vdev *vm_lapic(const struct vm *vm, unsigned vcpu_id);
unsigned vm_vcpu_count(const struct vm *vm);
struct vdev *vm_ioapic(const struct vm *vm);
struct vdev *vm_pic(const struct vm *vm);

// ---- local APIC and the vCPU run path --------------------------------------------------------------

// Implemented by kernel/vcpu: something that may change what is injected into this vCPU happened.
// Sets its request bit, wakes it, kicks it if it runs in guest mode. Cheap when nothing changes.
void vm_vcpu_event(struct vm *vm, unsigned vcpu_id);
// The lifecycle messages, to the vCPU's arch code: INIT, STARTUP (vector = page number), NMI.
void vm_vcpu_init_signal(struct vm *vm, unsigned vcpu_id);
void vm_vcpu_startup(struct vm *vm, unsigned vcpu_id, uint8_t vector);
void vm_vcpu_nmi(struct vm *vm, unsigned vcpu_id);

// Highest vector that may be delivered now (IRR above PPR, APIC enabled), or -1.
int vlapic_pending(const struct vdev *vlapic);
// Highest vector in IRR whatever PPR says, or -1 (for HLT wake and TPR thresholds).
int vlapic_highest_irr(const struct vdev *vlapic);
// The CPU takes `vector`, which vlapic_pending just returned: IRR to ISR.
void vlapic_ack(struct vdev *vlapic, uint8_t vector);
// LINT0 programmed for ExtINT (or the APIC disabled in hardware): the PIC's output reaches this CPU.
bool vlapic_accepts_extint(const struct vdev *vlapic);

// Guest register access. xAPIC: offset into the 4 KiB page, 32-bit aligned accesses only.
uint32_t vlapic_mmio_read(struct vdev *vlapic, uint32_t offset);
void vlapic_mmio_write(struct vdev *vlapic, uint32_t offset, uint32_t value);
// x2APIC MSRs 0x800..0x8FF; -ERR_INVAL means #GP(0).
__must_check int vlapic_msr_read(struct vdev *vlapic, uint32_t msr, uint64_t *value);
__must_check int vlapic_msr_write(struct vdev *vlapic, uint32_t msr, uint64_t value);
// IA32_APIC_BASE; -ERR_INVAL means #GP(0) (reserved bits, illegal mode transitions, SDM 10.12.5).
uint64_t vlapic_base_read(const struct vdev *vlapic);
__must_check int vlapic_base_write(struct vdev *vlapic, uint64_t value);
// IA32_TSC_DEADLINE.
uint64_t vlapic_deadline_read(const struct vdev *vlapic);
void vlapic_deadline_write(struct vdev *vlapic, uint64_t tsc);
// CR8 and TPR are one register: CR8 = TPR[7:4].
uint8_t vlapic_cr8_read(const struct vdev *vlapic);
void vlapic_cr8_write(struct vdev *vlapic, uint8_t cr8);
