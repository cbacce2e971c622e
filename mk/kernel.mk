# SPDX-License-Identifier: Apache-2.0
# The hypervisor image: build/bulkhead.elf.
WARN := -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Wvla -Werror
KERNEL_CFLAGS := -std=gnu11 -O2 -g -I. -ffreestanding -fno-builtin-printf -mgeneral-regs-only -mno-red-zone \
	-mcmodel=kernel -fno-pic -fno-pie -fstack-protector-strong -mstack-protector-guard=global \
	-fno-asynchronous-unwind-tables -fno-omit-frame-pointer -fno-common -fno-strict-aliasing \
	-ffunction-sections -fdata-sections -fcf-protection=none $(WARN)
KERNEL_OBJ := $(KERNEL_C:%.c=$(BUILD)/kernel/%.o) $(KERNEL_ASM:%.asm=$(BUILD)/kernel/%.o)
KERNEL_ELF := $(BUILD)/bulkhead.elf

$(BUILD)/kernel/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(KERNEL_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/kernel/%.o: %.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -g -F dwarf -I./ -w+all -w-reloc-rel-dword -MD $(@:.o=.d) $< -o $@

# The screen console's font, from Debian's psf-unifont; any 8x16 PSF font does (make FONT_PSF=...).
FONT_PSF ?= /usr/share/consolefonts/Unifont-APL8x16.psf.gz
$(BUILD)/gen/font.c: tools/psf2c.py $(FONT_PSF)
	@mkdir -p $(@D)
	$(PYTHON) tools/psf2c.py $(FONT_PSF) $@
$(FONT_PSF):
	$(error $(FONT_PSF) is missing: tools/setup installs it (Debian package psf-unifont))

## kernel        the hypervisor image, build/bulkhead.elf
.PHONY: kernel
kernel: $(KERNEL_ELF)

-include $(KERNEL_OBJ:.o=.d)
