// SPDX-License-Identifier: Apache-2.0
// The interrupt-controller contract: how lines, messages, vectors and EOIs travel between
// kernel/irqroute, the virtual PIC, I/O APIC and local APICs (drivers/vdev) and the vCPU run path
// (arch/x86/guest). Facts: Intel SDM vol. 3 ch. 10 (APIC), 82093AA, 8259A data sheets. docs/IRQ.md
// follows one interrupt through all of it.
//
// Everything here needs the VM's device lock, except the inline readers: they read one published word
// each and may run anywhere on the vCPU's own CPU (a change by another CPU is followed by
// vm_vcpu_event, so a stale answer is looked at again before the guest runs).
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/vdev.h"

struct vcpu;

// ---- chips fed by lines: vpic, vioapic ----------------------------------------------------------

// Pin 0..15 (PIC pair; 2 is the cascade and ignored) or 0..23 (I/O APIC); other pins are ignored. Level
// is the line's logical assertion (1 = asserted); polarity is not applied again. Idempotent.
void vpic_pin_set(struct vdev *vpic, unsigned pin, bool level);
void vioapic_pin_set(struct vdev *vioapic, unsigned pin, bool level);
// EOI broadcast of a level-triggered vector by a local APIC.
void vioapic_eoi(struct vdev *vioapic, uint8_t vector);
// A local APIC begins to accept interrupts: pins that are asserted and found no taker are sent again.
void vioapic_resample(struct vdev *vioapic);

// What the run path reads of the PIC without a call. First member of the PIC's object.
struct vpic_summary {
	struct vdev vdev;
	bool output; // INTR
};
// ExtINT: the PIC's INTR output, and the INTA cycle (returns the vector; spurious IRQ7/15 included).
static inline bool vpic_output(const struct vdev *vpic) {
	return __atomic_load_n(&((const struct vpic_summary *)(const void *)vpic)->output, __ATOMIC_RELAXED);
}
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
	uint32_t dest; // APIC id (physical) or logical destination
	uint8_t vector;
	uint8_t mode;      // enum irq_mode
	uint8_t shorthand; // enum irq_shorthand, IPIs only
	bool logical;      // destination mode
	bool level;        // trigger mode
	bool assert_level; // IPIs: the level bit
};

// Delivers a message to every local APIC of the VM it addresses; false when none accepts it.
// `source` is the sending local APIC for IPIs, NULL for devices (then 0xFF is a broadcast too, whatever
// mode the receivers are in). Implemented by drivers/vdev/vlapic over vm_lapic().
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
// On INIT the arch code calls vlapic_init_reset when the vCPU takes it.
void vm_vcpu_init_signal(struct vm *vm, unsigned vcpu_id);
void vm_vcpu_startup(struct vm *vm, unsigned vcpu_id, uint8_t vector);
void vm_vcpu_nmi(struct vm *vm, unsigned vcpu_id);

// Frequency that one tick of the APIC timer has at divide 1: 1 ns. CPUID leaf 0x15 (ECX) and the
// KVM-compatible leaf 0x40000010 (EBX, kHz) tell the guest this figure.
#define VLAPIC_BUS_HZ UINT64_C(1000000000)
#define VLAPIC_BASE_DEFAULT UINT64_C(0xFEE00000) // guest physical, at reset
#define VLAPIC_BASE_BSP BIT64(8)                 // IA32_APIC_BASE bits, SDM 10.4.4 and 10.12.1
#define VLAPIC_BASE_EXTD BIT64(10)
#define VLAPIC_BASE_EN BIT64(11)

// What the run path reads of a local APIC without a call; kept up to date at each change of what it is
// computed from. First member of the local APIC's object.
struct vlapic_summary {
	struct vdev vdev;
	int32_t pending; // answer of vlapic_pending
	int32_t irr_top; // highest vector in IRR, or -1; see drivers/vdev/vlapic.h for hardware that delivers
	bool extint;     // answer of vlapic_accepts_extint
	uint64_t base;   // IA32_APIC_BASE
};
static inline const struct vlapic_summary *vlapic_summary(const struct vdev *vlapic) {
	return (const struct vlapic_summary *)(const void *)vlapic;
}

// Highest vector that may be delivered now (IRR above PPR, APIC enabled), or -1.
static inline int vlapic_pending(const struct vdev *vlapic) {
	return __atomic_load_n(&vlapic_summary(vlapic)->pending, __ATOMIC_RELAXED);
}
// Highest vector in IRR or ISR whatever PPR says, or -1.
int vlapic_highest_irr(const struct vdev *vlapic);
int vlapic_highest_isr(const struct vdev *vlapic);
// Computes vlapic_pending again, and returns it: hardware may have changed TPR, IRR and ISR. Where hardware delivers,
// the vector that it would.
int vlapic_look(struct vdev *vlapic);
// The CPU takes `vector`, which vlapic_pending or vlapic_look just returned: IRR to ISR. Returns the vector to inject:
// the same, or the spurious vector when it may no longer be delivered (SDM 10.9; another CPU's INIT).
uint8_t vlapic_ack(struct vdev *vlapic, uint8_t vector);
// LINT0 programmed for ExtINT (or the APIC disabled in hardware): the PIC's output reaches this CPU.
static inline bool vlapic_accepts_extint(const struct vdev *vlapic) {
	return __atomic_load_n(&vlapic_summary(vlapic)->extint, __ATOMIC_RELAXED);
}
// The local interrupt pins: 0 is LINT0 (the PIC's INTR output on vCPU 0), 1 is LINT1 (NMI). Idempotent.
void vlapic_lint_set(struct vdev *vlapic, unsigned pin, bool level);

// Guest register access. xAPIC: offset into the 4 KiB page, 32-bit aligned accesses only.
uint32_t vlapic_mmio_read(struct vdev *vlapic, uint32_t offset);
void vlapic_mmio_write(struct vdev *vlapic, uint32_t offset, uint32_t value);
// x2APIC MSRs 0x800..0x8FF; -ERR_INVAL means #GP(0).
__must_check int vlapic_msr_read(struct vdev *vlapic, uint32_t msr, uint64_t *value);
__must_check int vlapic_msr_write(struct vdev *vlapic, uint32_t msr, uint64_t value);
// IA32_APIC_BASE; -ERR_INVAL means #GP(0) (reserved bits, illegal mode transitions, SDM 10.12.5).
// Bits above the guest's MAXPHYADDR are the caller's to refuse. The page decodes for this vCPU only,
// at this base, while EN is set and EXTD is clear.
static inline uint64_t vlapic_base_read(const struct vdev *vlapic) { return vlapic_summary(vlapic)->base; }
__must_check int vlapic_base_write(struct vdev *vlapic, uint64_t value);
// The vCPU takes an INIT: registers as after reset, IA32_APIC_BASE stays (SDM 10.4.7.3).
void vlapic_init_reset(struct vdev *vlapic);
// IA32_TSC_DEADLINE.
uint64_t vlapic_deadline_read(const struct vdev *vlapic);
void vlapic_deadline_write(struct vdev *vlapic, uint64_t tsc);
// The guest's TSC was set (IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST): an armed deadline moves with it.
void vlapic_tsc_changed(struct vdev *vlapic);
// CR8 and TPR are one register: CR8 = TPR[7:4].
uint8_t vlapic_cr8_read(const struct vdev *vlapic);
void vlapic_cr8_write(struct vdev *vlapic, uint8_t cr8);

// ---- hardware that serves a local APIC's registers (APIC virtualisation) -------------------------------------

// The registers, one 4 KiB page in the architecture's layout (10.4.1); the vCPU's own CPU may read and write it.
void *vlapic_page(struct vdev *vlapic);
// From now on hardware delivers, or no more: it recognises vectors in the page's IRR, moves them to ISR, and ends them. There is
// nothing to inject (vlapic_pending is -1); each vm_vcpu_event has hardware told the highest vectors of IRR and ISR.
void vlapic_virtual_set(struct vdev *vlapic, bool on);
// The first register of TMR in the page when it is not the same as at the last call, else NULL: the vectors that came
// as a level, of which the EOI has to be told.
const uint32_t *vlapic_levels(struct vdev *vlapic);
// Hardware ended the highest vector in service, which was this one.
void vlapic_eoi_done(struct vdev *vlapic, uint8_t vector);
// Hardware stored a guest's write at this offset of the page, and the rest is to be done.
void vlapic_page_written(struct vdev *vlapic, uint32_t offset);
// SVR's enable: only then does the local APIC accept fixed interrupts (10.4.7.2).
bool vlapic_enabled(const struct vdev *vlapic);
// The registers that RDMSR may read in x2APIC mode: bit n for MSR 800H + n (table 10-6).
extern const uint64_t vlapic_x2apic_readable;
// Implemented by arch/: vlapic_enabled or IA32_APIC_BASE is not what it was; or the TPR while something waits.
void vm_vcpu_apic_mode(struct vm *vm, unsigned vcpu_id);
