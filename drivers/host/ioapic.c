// SPDX-License-Identifier: Apache-2.0
// I/O APICs through their index and data windows (82093AA, 3.1), and the 8259 pair only to silence it.
#include "drivers/host/ioapic.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"
#include "arch/x86/cpu/regs.h"
#include "drivers/host/hostio.h"
#include "kernel/lib/err.h"
#include "kernel/lib/lock.h"
#include "kernel/lib/log.h"

#define IOAPIC_PAGE_BYTES 0x20u
#define IOAPIC_INDEX 0x00u
#define IOAPIC_DATA 0x10u
#define IOAPIC_REG_VERSION 0x01u
#define IOAPIC_REG_TABLE 0x10u // two registers a pin
#define IOAPIC_PIN_MAX 240u

#define RTE_MODE_NMI BIT32(10) // delivery mode 4
#define RTE_ACTIVE_LOW BIT32(13)
#define RTE_LEVEL BIT32(15)
#define RTE_MASKED BIT32(16)
#define RTE_DEST_SHIFT 24u
#define APIC_ID_8BIT_MAX 254u

#define PIC1_COMMAND 0x20u
#define PIC1_DATA 0x21u
#define PIC2_COMMAND 0xa0u
#define PIC2_DATA 0xa1u
#define PIC_ICW1_INIT_ICW4 0x11u
#define PIC_ICW4_8086 0x01u
#define PIC1_VECTOR 0x20u // where a spurious IRQ 7 of the masked chips would land, off the exceptions
#define PIC2_VECTOR 0x28u
#define PIC_CASCADE_IRQ 2u

struct ioapic {
	void *page;
	uint32_t gsi_base;
	uint32_t pins;
};

static struct lock ioapic_lock = LOCK_INIT(LOCK_RANK_IRQ_CHIP); // index and data are used as one
static struct ioapic chip[ACPI_IOAPIC_MAX];                     // set once at boot
static unsigned chip_count;

static uint32_t chip_read(const struct ioapic *c, uint32_t reg) {
	mmio_write32((uint8_t *)c->page + IOAPIC_INDEX, reg);
	return mmio_read32((uint8_t *)c->page + IOAPIC_DATA);
}

static void chip_write(const struct ioapic *c, uint32_t reg, uint32_t value) {
	mmio_write32((uint8_t *)c->page + IOAPIC_INDEX, reg);
	mmio_write32((uint8_t *)c->page + IOAPIC_DATA, value);
}

// Both 8259s: initialised to harmless vectors, then all lines masked (8259A data sheet).
static void pic_silence(void) {
	out8(PIC1_COMMAND, PIC_ICW1_INIT_ICW4);
	out8(PIC2_COMMAND, PIC_ICW1_INIT_ICW4);
	out8(PIC1_DATA, PIC1_VECTOR);
	out8(PIC2_DATA, PIC2_VECTOR);
	out8(PIC1_DATA, 1u << PIC_CASCADE_IRQ);
	out8(PIC2_DATA, PIC_CASCADE_IRQ);
	out8(PIC1_DATA, PIC_ICW4_8086);
	out8(PIC2_DATA, PIC_ICW4_8086);
	out8(PIC1_DATA, 0xff);
	out8(PIC2_DATA, 0xff);
}

static bool chip_init(struct ioapic *c, const struct acpi_ioapic *info) {
	*c = (struct ioapic){.page = hostio_map(hpa(info->base), IOAPIC_PAGE_BYTES, PT_UC),
	                     .gsi_base = info->gsi_base};
	if (c->page == NULL) return false;
	const uint32_t version = chip_read(c, IOAPIC_REG_VERSION);
	c->pins = (version >> 16 & 0xff) + 1;
	if (version == UINT32_MAX || version == 0 || c->pins > IOAPIC_PIN_MAX) {
		log_warn("ioapic", "id %u at 0x%llx does not answer", info->id, (unsigned long long)info->base);
		return false;
	}
	for (uint32_t pin = 0; pin < c->pins; pin++) {
		chip_write(c, IOAPIC_REG_TABLE + 2 * pin, RTE_MASKED);
		chip_write(c, IOAPIC_REG_TABLE + 2 * pin + 1, 0);
	}
	return true;
}

unsigned ioapic_init(const struct acpi_info *info) {
	if (info->pic_present) pic_silence();
	lock_acquire(&ioapic_lock);
	for (uint32_t i = 0; i < info->ioapic_count; i++) {
		if (chip_init(&chip[chip_count], &info->ioapic[i])) chip_count++;
	}
	lock_release(&ioapic_lock);
	return chip_count;
}

static const struct ioapic *chip_of(uint32_t gsi) {
	for (unsigned i = 0; i < chip_count; i++) {
		if (gsi >= chip[i].gsi_base && gsi - chip[i].gsi_base < chip[i].pins) return &chip[i];
	}
	return NULL;
}

int ioapic_route(uint32_t gsi, uint16_t flags, uint32_t apic_id, uint8_t vector) {
	const struct ioapic *c = chip_of(gsi);
	if (c == NULL) return -ERR_NOENT;
	if (apic_id > APIC_ID_8BIT_MAX) return -ERR_RANGE;
	uint32_t low = vector == VEC_NMI ? RTE_MODE_NMI : vector;
	if ((flags & ACPI_INTI_POLARITY_MASK) == ACPI_INTI_ACTIVE_LOW) low |= RTE_ACTIVE_LOW;
	if ((flags & ACPI_INTI_TRIGGER_MASK) == ACPI_INTI_LEVEL) low |= RTE_LEVEL;
	const uint32_t reg = IOAPIC_REG_TABLE + 2 * (gsi - c->gsi_base);
	lock_acquire(&ioapic_lock);
	chip_write(c, reg, RTE_MASKED); // so that no half-written entry delivers
	chip_write(c, reg + 1, apic_id << RTE_DEST_SHIFT);
	chip_write(c, reg, low);
	lock_release(&ioapic_lock);
	return 0;
}
