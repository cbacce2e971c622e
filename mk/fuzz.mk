# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: tests/fuzz/fuzz_X.c with clang's libFuzzer. FUZZ += X, X_FUZZ_SRC = sources.
FUZZ :=
FUZZ_SECONDS ?= 5
FUZZ_CFLAGS := -std=gnu11 -O1 -g -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wextra -Werror

FUZZ += load
load_FUZZ_SRC = $(LOAD_SRC) kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c kernel/lib/err.c
FUZZ += config
config_FUZZ_SRC = $(CONFIG_SRC) $(LOAD_SRC) kernel/lib/bitmap.c kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c \
	kernel/lib/err.c
FUZZ += elf
elf_FUZZ_SRC = kernel/lib/elf.c kernel/lib/source.c

FUZZ += acpi
acpi_FUZZ_SRC = drivers/host/acpi.c drivers/host/acpi_tables.c kernel/lib/log.c kernel/lib/fmt.c
FUZZ += term
term_FUZZ_SRC = drivers/host/term.c kernel/lib/fmt.c

FUZZ += vdev
vdev_FUZZ_SRC = drivers/vdev/vuart.c drivers/vdev/vpit.c drivers/vdev/vrtc.c drivers/vdev/vrtc_calendar.c \
	drivers/vdev/vpm.c drivers/vdev/vpci.c drivers/vdev/vps2.c drivers/vdev/vreset.c \
	drivers/vdev/vdebugexit.c $(VM_DOUBLE_SRC)
FUZZ += vintc
vintc_FUZZ_SRC = $(VM_DOUBLE_SRC) $(VLAPIC_SRC) drivers/vdev/vioapic.c drivers/vdev/vpic.c

FUZZ += mb2
mb2_FUZZ_SRC = boot/mb2/mb2.c boot/memmap.c kernel/lib/err.c kernel/lib/fmt.c
FUZZ += image
image_FUZZ_SRC = boot/efi/image.c boot/efi/names.c kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c
FUZZ += emul
emul_FUZZ_SRC = $(EMUL_SRC)

FUZZ += option
option_FUZZ_SRC = $(OPTION_SRC) kernel/lib/fmt.c
FUZZ += save
save_FUZZ_SRC = kernel/save.c kernel/vm.c kernel/iobus.c kernel/irqroute.c kernel/timerq.c arch/x86/guest/record.c \
	$(VLAPIC_SRC) $(addprefix drivers/vdev/,vioapic.c vpic.c vpit.c vrtc.c vrtc_calendar.c vpm.c vpci.c vps2.c vreset.c \
	vuart.c vdebugexit.c) kernel/lib/err.c kernel/lib/log.c kernel/lib/fmt.c

FUZZ_BIN = $(FUZZ:%=$(BUILD)/fuzz/fuzz_%)

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(UNIT_COMMON) $$($$*_FUZZ_SRC)
	@mkdir -p $(@D)
	@$(CLANG) $(FUZZ_CFLAGS) -MM -MP -MT $@ tests/fuzz/fuzz_$*.c $(UNIT_COMMON) $($*_FUZZ_SRC) > $@.d
	@echo "  CC    $@"; $(CLANG) $(FUZZ_CFLAGS) tests/fuzz/fuzz_$*.c $(UNIT_COMMON) $($*_FUZZ_SRC) -o $@

## fuzz          run every fuzz target for FUZZ_SECONDS each (default 5; make fuzz FUZZ_SECONDS=600)
.PHONY: fuzz
fuzz: $$(FUZZ_BIN)
	@$(PYTHON) tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_BIN)

-include $(wildcard $(BUILD)/fuzz/*.d)
