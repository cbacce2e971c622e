# SPDX-License-Identifier: Apache-2.0
# Fuzz targets: tests/fuzz/fuzz_X.c with clang's libFuzzer. FUZZ += X, X_FUZZ_SRC = sources.
FUZZ :=
FUZZ_SECONDS ?= 5
FUZZ_CFLAGS := -std=gnu11 -O1 -g -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Wall -Wextra -Werror

FUZZ += elf
elf_FUZZ_SRC = kernel/lib/elf.c kernel/lib/source.c

FUZZ_BIN = $(FUZZ:%=$(BUILD)/fuzz/fuzz_%)

$(BUILD)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(UNIT_COMMON) $$($$*_FUZZ_SRC)
	@mkdir -p $(@D)
	$(CLANG) $(FUZZ_CFLAGS) -MM -MP -MT $@ tests/fuzz/fuzz_$*.c $(UNIT_COMMON) $($*_FUZZ_SRC) > $@.d
	$(CLANG) $(FUZZ_CFLAGS) tests/fuzz/fuzz_$*.c $(UNIT_COMMON) $($*_FUZZ_SRC) -o $@

## fuzz          run every fuzz target for FUZZ_SECONDS each (default 5; make fuzz FUZZ_SECONDS=600)
.PHONY: fuzz
fuzz: $$(FUZZ_BIN)
	@$(PYTHON) tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_BIN)

-include $(wildcard $(BUILD)/fuzz/*.d)
