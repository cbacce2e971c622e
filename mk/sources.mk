# SPDX-License-Identifier: Apache-2.0
# Every source of the kernel image, by layer, in dependency order.
KERNEL_C := \
	kernel/lib/err.c \
	kernel/lib/fmt.c \
	kernel/lib/log.c \
	kernel/lib/string.c \
	kernel/lib/bitmap.c \
	kernel/lib/ring.c \
	kernel/lib/source.c \
	kernel/lib/elf.c \
	kernel/lib/lock.c \
	arch/x86/emul/table.c \
	arch/x86/emul/decode.c \
	mm/frames.c \
	mm/frames_init.c \
	mm/pool.c \
	mm/pt.c \
	mm/pt_walk.c \
	mm/pt_store.c \
	mm/hostpt.c \
	mm/memslot.c \
	mm/window.c \
	mm/gmem.c \
	mm/ept/ept.c \
	mm/ept/npt.c \
	mm/ept/nested.c \
	drivers/host/hostio.c \
	drivers/host/acpi.c \
	drivers/host/acpi_tables.c \
	drivers/host/power.c \
	drivers/host/tsccal.c \
	drivers/host/refclock.c \
	drivers/host/apic.c \
	drivers/host/ioapic.c \
	drivers/host/uart.c \
	drivers/host/keyboard.c \
	drivers/host/ps2.c \
	drivers/host/term.c \
	drivers/host/fb.c \
	drivers/host/vgatext.c \
	drivers/host/console.c \
	drivers/host/hostconsole.c \
	$(BUILD)/gen/font.c \
	kernel/iobus.c \
	kernel/timerq.c \
	drivers/vdev/vlapic.c \
	drivers/vdev/vlapic_reg.c \
	drivers/vdev/vlapic_msg.c \
	drivers/vdev/vlapic_timer.c \
	drivers/vdev/vioapic.c \
	drivers/vdev/vpic.c

KERNEL_ASM :=
