# SPDX-License-Identifier: Apache-2.0
# The hypervisor image: build/bulkhead.elf.
WARN := -Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Wvla -Werror
VERSION := 0.1
KERNEL_CFLAGS = -std=gnu11 $(OPT) -g -I. -ffreestanding -fno-builtin-printf -mgeneral-regs-only -mno-red-zone \
	-mcmodel=kernel -fno-pic -fno-pie -fstack-protector-strong -mstack-protector-guard=global \
	-fno-asynchronous-unwind-tables -fomit-frame-pointer -fno-common -fno-strict-aliasing \
	-ffunction-sections -fdata-sections -fcf-protection=none -DBULKHEAD_VERSION='"$(VERSION)"' $(WARN)
# What runs at nearly every exit is compiled for speed, the rest for size (figures: docs/BENCH.md).
HOT_C := kernel/run.c $(addprefix arch/x86/guest/,insn.c pio.c event.c exit.c) arch/x86/svm/event.c \
	$(addprefix arch/x86/vmx/,event.c exit.c)
WARM_C := $(addprefix kernel/,clock.c iobus.c vm.c lib/string.c) mm/gmem.c \
	$(addprefix drivers/vdev/,vlapic.c vlapic_reg.c vpic.c) \
	$(addprefix arch/x86/guest/,cpuid.c msr.c hypercall.c mmio.c) \
	$(addprefix arch/x86/svm/,state.c length.c exit.c) arch/x86/vmx/state.c
# The passes that are off duplicate code or keep values in more registers: 2.4 KiB of text, by trial of each.
GCC_ONLY := -fno-tree-dominator-opts -fno-thread-jumps -fno-if-conversion -fno-ipa-sra \
	-fno-move-loop-invariants -fno-tree-loop-im -fno-caller-saves -fno-tree-pta
OPT = -Oz $(GCC_ONLY)
$(HOT_C:%.c=$(BUILD)/kernel/%.o): OPT = -O2 -falign-functions=1 -falign-jumps=1 -falign-loops=1 -falign-labels=1
$(WARM_C:%.c=$(BUILD)/kernel/%.o): OPT = -Os $(GCC_ONLY)
# Link-time optimisation takes a tenth off every exit and 4 KiB off the text, in one partition, which shares more than
# several do. What the compiler calls by itself, and the stack protector, stay out of it.
LTO = -flto
$(addprefix $(BUILD)/kernel/kernel/,lib/string.o lib/rt.o panic.o): LTO =
# The images: the shipped one, and the one with the stress options (kernel/stress.h) for the system tests.
STRESS_C := kernel/stress.c $(addprefix arch/x86/,guest/entrystress.c svm/stress.c vmx/stress.c)
KERNEL_ALL_OBJ := $(KERNEL_C:%.c=$(BUILD)/kernel/%.o) $(KERNEL_ASM:%.asm=$(BUILD)/kernel/%.asm.o)
bulkhead_OBJ := $(filter-out $(STRESS_C:%.c=$(BUILD)/kernel/%.o),$(KERNEL_ALL_OBJ))
bulkhead-stress_OBJ := $(filter-out $(BUILD)/kernel/kernel/stress_none.o,$(KERNEL_ALL_OBJ))
KERNEL_ELF := $(BUILD)/bulkhead.elf
STRESS_ELF := $(BUILD)/bulkhead-stress.elf

$(BUILD)/kernel/%.o: %.c mk/kernel.mk
	@mkdir -p $(@D)
	@echo "  CC    $<"; $(CC) $(KERNEL_CFLAGS) $(LTO) -MMD -MP -c $< -o $@

$(BUILD)/kernel/%.asm.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f elf64 -g -F dwarf -I./ -w+all -MD $(@:.o=.d) $< -o $@

# The screen console's font, from Debian's psf-unifont; any 8x16 PSF font does (make FONT_PSF=...).
FONT_PSF ?= /usr/share/consolefonts/Unifont-APL8x16.psf.gz
$(BUILD)/gen/font.c: tools/psf2c.py $(FONT_PSF)
	@mkdir -p $(@D)
	@echo "  GEN   $@"; $(PYTHON) tools/psf2c.py $(FONT_PSF) $@
$(FONT_PSF):
	$(error $(FONT_PSF) is missing: tools/setup installs it (Debian package psf-unifont))

# The guest's DSDT: ASL to AML to a C array.
IASL ?= iasl
$(BUILD)/gen/dsdt.aml: arch/x86/guest/dsdt.asl
	@mkdir -p $(@D)
	@$(IASL) -we -p $(@:.aml=) $< > $(@:.aml=.log) 2>&1 || { cat $(@:.aml=.log); exit 1; }
$(BUILD)/gen/dsdt.c: $(BUILD)/gen/dsdt.aml tools/bin2c.py
	@echo "  GEN   $@"; $(PYTHON) tools/bin2c.py $< $@ dsdt_aml

# Linked twice: the first image gives the symbol table (behind the text, so no function moves) of the second.
KERNEL_LD := arch/x86/cpu/kernel.ld
KERNEL_LINK = $(CC) $(KERNEL_CFLAGS) -flto=2 -flto-partition=one -Wno-maybe-uninitialized \
	-nostdlib -static -Wl,--gc-sections \
	-Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -Wl,--build-id=none \
	-T $(KERNEL_LD)

SYMBOLS0 := $(BUILD)/gen/symbols0.o
$(BUILD)/gen/%.o: $(BUILD)/gen/%.nm tools/symbols.py
	@$(PYTHON) tools/symbols.py $< > $(@:.o=.c)
	@$(CC) $(KERNEL_CFLAGS) -Wno-missing-prototypes -c $(@:.o=.c) -o $@

$(SYMBOLS0:.o=.nm):
	@mkdir -p $(@D)
	@: > $@

$(BUILD)/gen/bulkhead-symbols.nm $(BUILD)/gen/bulkhead-stress-symbols.nm: $(BUILD)/gen/%-symbols.nm: $(BUILD)/%0.elf
	@nm -n $< > $@

.SECONDEXPANSION:
$(BUILD)/bulkhead0.elf $(BUILD)/bulkhead-stress0.elf: $(BUILD)/%0.elf: $$($$*_OBJ) $(SYMBOLS0) $(KERNEL_LD)
	@echo "  LD    $@"; $(KERNEL_LINK) $($*_OBJ) $(SYMBOLS0) -o $@

$(KERNEL_ELF) $(STRESS_ELF): $(BUILD)/%.elf: $$($$*_OBJ) $(BUILD)/gen/%-symbols.o $(KERNEL_LD)
	@echo "  LD    $@"; $(KERNEL_LINK) $($*_OBJ) $(BUILD)/gen/$*-symbols.o -o $@

# The same kernel entered by GRUB with 5-level paging on, for the system tests.
$(BUILD)/kernel/boot/mb2/mb2_entry_la57.asm.o: boot/mb2/mb2_entry.asm mk/kernel.mk
	@mkdir -p $(@D)
	@$(NASM) -f elf64 -dENTER_LA57 -I./ -w+all $< -o $@

$(BUILD)/bulkhead-la57.elf: $(KERNEL_ELF) $(BUILD)/kernel/boot/mb2/mb2_entry_la57.asm.o
	@echo "  LD    $@"; $(KERNEL_LINK) $(bulkhead_OBJ:%mb2_entry.asm.o=%mb2_entry_la57.asm.o) \
		$(BUILD)/gen/bulkhead-symbols.o -o $@

## kernel        the hypervisor image, build/bulkhead.elf
.PHONY: kernel
kernel: $(KERNEL_ELF)

-include $(KERNEL_ALL_OBJ:.o=.d)
