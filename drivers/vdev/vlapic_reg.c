// SPDX-License-Identifier: Apache-2.0
// The local APIC's register file, by MMIO page (xAPIC, SDM 10.4.1) and by MSR (x2APIC, SDM 10.12.1).
// The values are the same; what differs is which registers exist, and that a wrong access is recorded
// in the ESR by the one and answered with #GP by the other.
#include "drivers/vdev/vlapic.h"

// Sets of registers as one bit each, by number (Table 10-1, Table 10-6).
#define REG(name) BIT64(VLAPIC_REG_##name)
#define REGS_LVT MASK64(VLAPIC_REG_LVT + VLAPIC_LVT_COUNT - 1, VLAPIC_REG_LVT)
#define REGS_VECTORS MASK64(VLAPIC_REG_IRR + 7, VLAPIC_REG_ISR)
#define REGS_BOTH                                                                                            \
	(REG(ID) | REG(VERSION) | REG(TPR) | REG(PPR) | REG(LDR) | REG(SVR) | REGS_VECTORS | REG(ESR) |          \
	 REG(ICR) | REGS_LVT | REG(TIMER_INITIAL) | REG(TIMER_CURRENT) | REG(TIMER_DIVIDE))
#define X2APIC_WRITABLE                                                                                      \
	(REG(TPR) | REG(EOI) | REG(SVR) | REG(ESR) | REG(ICR) | REGS_LVT | REG(TIMER_INITIAL) |                  \
	 REG(TIMER_DIVIDE) | REG(SELF_IPI))
// Exists at all, whether or not an access in this direction does anything.
#define XAPIC_DECODED (REGS_BOTH | REG(APR) | REG(EOI) | REG(RRD) | REG(DFR) | REG(ICR_HIGH))

const uint64_t vlapic_x2apic_readable = REGS_BOTH;

// A fixed interrupt to the sender: the ICR bits that decide it, status and reserved ones among them.
#define ICR_SELF_KIND (3u << VLAPIC_ICR_SHORTHAND_SHIFT | 7u << VLAPIC_ICR_MODE_SHIFT | ~VLAPIC_ICR_WRITABLE)
#define ICR_SELF_FIXED ((uint32_t)IRQ_DEST_SELF << VLAPIC_ICR_SHORTHAND_SHIFT)
#define TPR_WRITABLE 0xFFu

// 10.6.2.4, "Lowest Priority Delivery Mode": the arbitration priority.
static uint32_t apr_value(const struct vlapic *v) {
	int irr_top = vlapic_vector_top(v, VLAPIC_REG_IRR), isr_top = vlapic_vector_top(v, VLAPIC_REG_ISR);
	uint32_t irr = irr_top < 0 ? 0 : (uint32_t)irr_top & 0xF0;
	uint32_t isr = isr_top < 0 ? 0 : (uint32_t)isr_top & 0xF0;
	uint32_t tpr = vlapic_tpr(v) & 0xF0u;
	if (tpr >= irr && tpr > isr) return vlapic_tpr(v);
	uint32_t most = isr > irr ? isr : irr;
	return most > tpr ? most : tpr;
}

// A register that the mode has. The others are in the page; EOI and RRD are 0 there.
static uint32_t reg_read(const struct vlapic *v, unsigned reg) {
	switch (reg) {
	case VLAPIC_REG_APR: return apr_value(v);
	case VLAPIC_REG_PPR: return vlapic_ppr(v);
	case VLAPIC_REG_TIMER_CURRENT: return vlapic_timer_current(v);
	default: return vlapic_get(v, reg);
	}
}

// The registers that both modes write alike; what is read only is left alone.
static void reg_write(struct vlapic *v, unsigned reg, uint32_t value) {
	switch (reg) {
	case VLAPIC_REG_TPR: vlapic_tpr_set(v, (uint8_t)value); break;
	case VLAPIC_REG_EOI: (void)vlapic_eoi(v); break;
	case VLAPIC_REG_SVR: vlapic_svr_set(v, value); break;
	case VLAPIC_REG_ESR: // 10.5.3: a write shows what has gathered since the last one
		*vlapic_reg(v, reg) = v->esr_pending;
		v->esr_pending = 0;
		break;
	case VLAPIC_REG_LVT ... VLAPIC_REG_LVT + VLAPIC_LVT_COUNT - 1:
		vlapic_lvt_set(v, (enum vlapic_lvt)(reg - VLAPIC_REG_LVT), value);
		break;
	case VLAPIC_REG_TIMER_INITIAL: vlapic_timer_initial_set(v, value); break;
	case VLAPIC_REG_TIMER_DIVIDE: vlapic_timer_divide_set(v, value); break;
	default: break;
	}
}

// ---- xAPIC -----------------------------------------------------------------------------------------------

// Registers start at 16-byte boundaries; what lies between them is undefined (10.4.1): 0 here, and only
// an access to a register that does not exist is an error.
static bool xapic_decodes(struct vlapic *v, uint32_t offset) {
	unsigned reg = offset >> 4;
	if (!vlapic_enabled_hw(v) || vlapic_x2apic(v)) return false; // 10.12.5: the page is gone
	if (reg < VLAPIC_REG_COUNT && BIT64(reg) & XAPIC_DECODED) return (offset & 0xF) == 0;
	vlapic_error(v, VLAPIC_ESR_ILLEGAL_REGISTER);
	return false;
}

uint32_t vlapic_mmio_read(struct vdev *vlapic, uint32_t offset) {
	struct vlapic *v = vlapic_of(vlapic);
	return xapic_decodes(v, offset) ? reg_read(v, offset >> 4) : 0;
}

static void xapic_icr_write(struct vlapic *v, uint32_t value) {
	value &= VLAPIC_ICR_WRITABLE;
	*vlapic_reg(v, VLAPIC_REG_ICR) = value;
	if ((value & ICR_SELF_KIND) == ICR_SELF_FIXED)
		(void)vlapic_self_ipi(v, (uint8_t)value);
	else
		vlapic_icr_send(v, value, vlapic_get(v, VLAPIC_REG_ICR_HIGH) >> 24);
}

static void __attribute__((noinline)) xapic_write(struct vlapic *v, uint32_t offset, uint32_t value) {
	unsigned reg = offset >> 4;
	if (!xapic_decodes(v, offset)) return;
	switch (reg) {
	case VLAPIC_REG_ID: *vlapic_reg(v, reg) = v->id << 24; break; // read only; the page may have it changed
	case VLAPIC_REG_LDR:
	case VLAPIC_REG_ICR_HIGH: *vlapic_reg(v, reg) = value & VLAPIC_LDR_WRITABLE; break;
	case VLAPIC_REG_DFR: *vlapic_reg(v, reg) = value | (uint32_t)VLAPIC_DFR_FIXED_ONES; break;
	default: reg_write(v, reg, value); break;
	}
}

void vlapic_mmio_write(struct vdev *vlapic, uint32_t offset, uint32_t value) {
	struct vlapic *v = vlapic_of(vlapic);
	bool xapic = (v->head.base & (VLAPIC_BASE_EN | VLAPIC_BASE_EXTD)) == VLAPIC_BASE_EN;
	// What a busy guest writes comes first.
	if (likely(xapic && offset == VLAPIC_REG_EOI << 4))
		(void)vlapic_eoi(v);
	else if (likely(xapic && offset == VLAPIC_REG_ICR << 4))
		xapic_icr_write(v, value);
	else
		xapic_write(v, offset, value);
}

// ---- x2APIC ----------------------------------------------------------------------------------------------

int vlapic_msr_read(struct vdev *vlapic, uint32_t msr, uint64_t *value) {
	const struct vlapic *v = vlapic_of(vlapic);
	unsigned reg = msr - VLAPIC_X2APIC_MSR;
	if (!vlapic_x2apic(v) || reg >= VLAPIC_REG_COUNT || !(BIT64(reg) & vlapic_x2apic_readable))
		return -ERR_INVAL;
	*value = reg_read(v, reg);
	if (reg == VLAPIC_REG_ICR) *value |= (uint64_t)v->page[4 * reg + 1] << 32;
	return 0;
}

// Bits of a 32-bit register that may be 1 in a write; reserved ones are #GP (10.12.1.3). The read-only
// status bits of LVT and ICR may be written back as they were read.
static uint32_t x2apic_writable(unsigned reg) {
	switch (reg) {
	case VLAPIC_REG_TPR:
	case VLAPIC_REG_SELF_IPI: return TPR_WRITABLE;
	case VLAPIC_REG_SVR: return VLAPIC_SVR_WRITABLE;
	case VLAPIC_REG_LVT ... VLAPIC_REG_LVT + VLAPIC_LVT_COUNT - 1:
		return vlapic_lvt_writable((enum vlapic_lvt)(reg - VLAPIC_REG_LVT)) | VLAPIC_LVT_STATUS |
		       VLAPIC_LVT_REMOTE_IRR;
	case VLAPIC_REG_TIMER_INITIAL: return UINT32_MAX;
	case VLAPIC_REG_TIMER_DIVIDE: return VLAPIC_DIVIDE_WRITABLE;
	default: // EOI and ESR take 0 only
		return 0;
	}
}

static void x2apic_icr_set(struct vlapic *v, uint64_t value) {
	*vlapic_reg(v, VLAPIC_REG_ICR) = (uint32_t)value;
	v->page[4 * VLAPIC_REG_ICR + 1] = (uint32_t)(value >> 32);
}

static int __attribute__((noinline)) x2apic_icr_write(struct vlapic *v, uint64_t value) {
	uint32_t low = (uint32_t)value;
	if (low & ~(VLAPIC_ICR_WRITABLE | VLAPIC_ICR_STATUS)) return -ERR_INVAL;
	x2apic_icr_set(v, value & ~(uint64_t)VLAPIC_ICR_STATUS);
	vlapic_icr_send(v, low, (uint32_t)(value >> 32));
	return 0;
}

static int __attribute__((noinline)) x2apic_write(struct vlapic *v, unsigned reg, uint64_t value) {
	if (reg >= VLAPIC_REG_COUNT || !(BIT64(reg) & X2APIC_WRITABLE)) return -ERR_INVAL;
	if (value & ~(uint64_t)x2apic_writable(reg)) return -ERR_INVAL;
	reg_write(v, reg, (uint32_t)value);
	return 0;
}

int vlapic_msr_write(struct vdev *vlapic, uint32_t msr, uint64_t value) {
	struct vlapic *v = vlapic_of(vlapic);
	unsigned reg = msr - VLAPIC_X2APIC_MSR;
	if (unlikely(!vlapic_x2apic(v))) return -ERR_INVAL;
	// What a busy guest writes comes first, and ends in the work itself.
	if (reg == VLAPIC_REG_EOI && value == 0) return vlapic_eoi(v);
	if (reg == VLAPIC_REG_ICR) {
		if (((uint32_t)value & ICR_SELF_KIND) != ICR_SELF_FIXED) return x2apic_icr_write(v, value);
		x2apic_icr_set(v, value);
		return vlapic_self_ipi(v, (uint8_t)value);
	}
	if (reg == VLAPIC_REG_SELF_IPI && value <= UINT8_MAX)
		return vlapic_self_ipi(v, (uint8_t)value); // 10.12.11
	return x2apic_write(v, reg, value);
}

// ---- what hardware stored -----------------------------------------------------------------------------------

// A write that is no register's whole is undefined (10.4.1): the register as it now is counts.
void vlapic_page_written(struct vdev *vlapic, uint32_t offset) {
	struct vlapic *v = vlapic_of(vlapic);
	offset &= 0xFFCu;
	uint32_t value = v->page[offset / 4];
	*vlapic_reg(v, VLAPIC_REG_EOI) = 0; // write only
	if (vlapic_x2apic(v))               // only of SELF_IPI with an illegal vector (29.5)
		(void)vlapic_self_ipi(v, (uint8_t)value);
	else
		vlapic_mmio_write(vlapic, offset, value);
}
