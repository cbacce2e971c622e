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
	kernel/iobus.c \
	kernel/timerq.c

KERNEL_ASM :=
