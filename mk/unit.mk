# SPDX-License-Identifier: Apache-2.0
# Unit tests: tests/unit/test_X.c plus the listed sources, hosted, with ASan and UBSan and cmocka.
# One line a test: UNIT += X, and X_SRC = the sources under test (and their dependencies).
UNIT :=
UNIT_CFLAGS := -std=gnu11 -O1 -g -I. -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -DLOCK_DEBUG=1 $(WARN)
UNIT_COMMON := tests/unit/support.c

UNIT += fmt
fmt_SRC = kernel/lib/fmt.c
UNIT += log
log_SRC = kernel/lib/log.c kernel/lib/fmt.c
UNIT += string
string_SRC =
UNIT += bitmap
bitmap_SRC = kernel/lib/bitmap.c
UNIT += range
range_SRC =
UNIT += ring
ring_SRC = kernel/lib/ring.c
UNIT += lock
lock_SRC = kernel/lib/lock.c
UNIT += elf
elf_SRC = kernel/lib/elf.c kernel/lib/source.c

UNIT += iobus
iobus_SRC = kernel/iobus.c
UNIT += timerq
timerq_SRC = kernel/timerq.c
UNIT += emul_decode
emul_decode_SRC = arch/x86/emul/decode.c arch/x86/emul/table.c
emul_decode_LIBS = -lZydis

UNIT_BIN = $(UNIT:%=$(BUILD)/unit/test_%)

.SECONDEXPANSION:
$(BUILD)/unit/test_%: tests/unit/test_%.c $(UNIT_COMMON) $$($$*_SRC)
	@mkdir -p $(@D)
	$(CC) $(UNIT_CFLAGS) -MM -MP -MT $@ tests/unit/test_$*.c $(UNIT_COMMON) $($*_SRC) > $@.d
	$(CC) $(UNIT_CFLAGS) tests/unit/test_$*.c $(UNIT_COMMON) $($*_SRC) -o $@ -lcmocka $($*_LIBS)

## unit          build and run the unit tests
.PHONY: unit
unit: $$(UNIT_BIN)
	@$(PYTHON) tests/unit/run.py $(UNIT_BIN)

-include $(wildcard $(BUILD)/unit/*.d)
