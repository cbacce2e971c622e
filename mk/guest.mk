# SPDX-License-Identifier: Apache-2.0
# Test guests: tests/guest/NAME/*.{c,asm} with tests/guest/lib become build/guest/NAME.elf (32-bit ELF file,
# for QEMU -kernel, GRUB and Bulkhead alike); flat real-mode code becomes build/guest/NAME.bin.
# NAME_HEADER is mb1 (default), mb2 or pvh.
GUEST64 := bench longmode cpuid msr module pvh multiboot2 exceptions lapic_timer pic ioapic hlt_wake \
	triple_fault reboot poweroff mmio_forms wild_memory port_storm msr_storm garbage hypercall self_ipi \
	nmi irq_window cr_access debug_regs fpu spin apic_state refused
GUEST32 := protected realboot task
GUEST_FLAT := realmode_io unpaged

pvh_HEADER := pvh
pvh_DIR := tests/guest/module
multiboot2_DIR := tests/guest/module
multiboot2_HEADER := mb2

GUEST_DIR := $(BUILD)/guest
GUEST_WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wvla -Wno-clobbered -Werror
GUEST_CFLAGS := -std=gnu11 -O2 -g0 -I. -ffreestanding -fno-pic -fno-pie -fno-stack-protector -fno-strict-aliasing \
	-fno-asynchronous-unwind-tables -fcf-protection=none -fno-common -mgeneral-regs-only $(GUEST_WARN)
GUEST_CFLAGS64 := -m64 -mno-red-zone -mcmodel=small
GUEST_CFLAGS32 := -m32 -march=i686
GUEST_LIB64_OBJ := $(addprefix $(GUEST_DIR)/64/guest/lib/,report.o trap.o boot.o chips.o paging.o memory.o \
	entry64.asm.o trap64.asm.o ring3.asm.o)
GUEST_LIB32_OBJ := $(addprefix $(GUEST_DIR)/32/guest/lib/,report.o trap.o boot.o chips.o memory.o \
	entry32.asm.o trap32.asm.o)
GUEST_LD := tests/guest/lib/guest.ld
GUEST_LDFLAGS := -z noexecstack -nostdlib -static --no-warn-rwx-segments -z max-page-size=4096 -T $(GUEST_LD)
bench_DIR := tests/bench/guest
guest_dir = $(or $($1_DIR),tests/guest/$1)
guest_src = $(wildcard $(guest_dir)/*.c $(guest_dir)/*.asm)
# $(call guest_obj,NAME,64): the objects of one guest, its boot header first.
guest_obj = $(GUEST_DIR)/$2/guest/lib/header_$(or $($1_HEADER),mb1).asm.o \
	$(patsubst tests/%.c,$(GUEST_DIR)/$2/%.o,$(patsubst tests/%.asm,$(GUEST_DIR)/$2/%.asm.o,$(guest_src)))
GUEST_ELF64 := $(GUEST64:%=$(GUEST_DIR)/%.elf)
GUEST_ELF32 := $(GUEST32:%=$(GUEST_DIR)/%.elf)
GUEST_BIN := $(GUEST_FLAT:%=$(GUEST_DIR)/%.bin)

$(GUEST_DIR)/64/%.o: tests/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"; $(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS64) -MMD -MP -c $< -o $@

$(GUEST_DIR)/32/%.o: tests/%.c
	@mkdir -p $(@D)
	@echo "  CC    $<"; $(CC) $(GUEST_CFLAGS) $(GUEST_CFLAGS32) -MMD -MP -c $< -o $@

$(GUEST_DIR)/64/%.asm.o: tests/%.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f elf64 -Ox -I./ -MD $(@:.o=.d) $< -o $@

$(GUEST_DIR)/32/%.asm.o: tests/%.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f elf32 -Ox -I./ -MD $(@:.o=.d) $< -o $@

.SECONDEXPANSION:
$(GUEST_ELF64): $(GUEST_DIR)/%.elf: $$(call guest_obj,$$*,64) $(GUEST_LIB64_OBJ) $(GUEST_LD)
	@echo "  LD    $@"; ld -m elf_x86_64 $(GUEST_LDFLAGS) $(filter %.o,$^) -o $@.64
	@objcopy -O elf32-i386 $@.64 $@

$(GUEST_ELF32): $(GUEST_DIR)/%.elf: $$(call guest_obj,$$*,32) $(GUEST_LIB32_OBJ) $(GUEST_LD)
	@echo "  LD    $@"; ld -m elf_i386 $(GUEST_LDFLAGS) $(filter %.o,$^) -o $@

$(GUEST_BIN): $(GUEST_DIR)/%.bin: tests/guest/$$*/$$*.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f bin -Ox -I./ -MD $@.d $< -o $@

## guests        the test guests, build/guest/*.elf and *.bin
.PHONY: guests
guests: $(GUEST_ELF64) $(GUEST_ELF32) $(GUEST_BIN)

## test-guests   run every test guest under Bulkhead on QEMU (SVM) and Bochs (SVM, VMX)
.PHONY: test-guests
test-guests: kernel guests
	$(PYTHON) -m pytest -q tests/system/guests.py

# The counter in QEMU; it declares the plugin interface itself, since Debian packages no header.
BENCH_PLUGIN := $(BUILD)/bench/count.so
$(BENCH_PLUGIN): tests/bench/plugin/count.c
	@mkdir -p $(@D)
	@echo "  CC    $@"; $(CC) -std=gnu11 -O2 -g $(WARN) -fPIC -shared -fvisibility=hidden $< -o $@

## bench         what Bulkhead costs in instructions, on QEMU/SVM, Bochs/SVM and Bochs/VMX; build/bench.json
.PHONY: bench
bench:
	@tools/setup
	@$(MAKE) $(JOBS) kernel $(GUEST_DIR)/bench.elf $(BENCH_PLUGIN)
	@tools/fetch-guest
	@$(PYTHON) tests/bench/run.py $(BENCH_FLAGS)

-include $(wildcard $(GUEST_DIR)/*/*/*/*.d $(GUEST_DIR)/*.d)
