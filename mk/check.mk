# SPDX-License-Identifier: Apache-2.0
# `make check`: what can be said without starting a machine. Each file's verdict is a stamp below build/check, so a
# second run looks only at what changed.
CHECK_DIRS := kernel boot arch mm drivers
CHECK_OUT := $(BUILD)/check
CHECK_H = $(sort $(shell find $(CHECK_DIRS) -name '*.h'))
# DESIGN's H folders: their headers compile for the host as they stand.
CHECK_HOSTED_H = $(filter kernel/abi/% kernel/lib/% arch/x86/emul/% mm/% drivers/vdev/% boot/memmap.h,$(CHECK_H))
CHECK_EFI_H = $(filter boot/efi/%,$(CHECK_H))
CHECK_C_ALL = $(shell find $(CHECK_DIRS) tests tools -name '*.c' -o -name '*.h')
CHECK_STAMPS = $(CHECK_H:%=$(CHECK_OUT)/alone/%) $(CHECK_HOSTED_H:%=$(CHECK_OUT)/hosted/%) \
	$(KERNEL_C:%=$(CHECK_OUT)/clang/%) $(EFI_C:%=$(CHECK_OUT)/clang-efi/%)

# clang has no -mstack-protector-guard=global, and it alone checks the lock annotations.
CLANG_KERNEL_CFLAGS = $(filter-out -mstack-protector-guard=%,$(KERNEL_CFLAGS)) -Wthread-safety
CLANG_EFI_CFLAGS = $(EFI_CFLAGS)
check_deps = -MMD -MP -MT $@ -MF $@.d

# An empty file with nothing but the header.
$(CHECK_OUT)/alone/%.h: %.h
	@mkdir -p $(@D)
	@$(CC) $(if $(filter boot/efi/%,$<),$(EFI_CFLAGS),$(KERNEL_CFLAGS)) -fsyntax-only $(check_deps) -include $< -x c /dev/null
	@touch $@

$(CHECK_OUT)/hosted/%.h: %.h
	@mkdir -p $(@D)
	@$(CC) $(HOST_CFLAGS) -fsyntax-only $(check_deps) -include $< -x c /dev/null
	@touch $@

$(CHECK_OUT)/clang/%.c: %.c
	@mkdir -p $(@D)
	@$(CLANG) $(CLANG_KERNEL_CFLAGS) -fsyntax-only $(check_deps) $<
	@touch $@

$(CHECK_OUT)/clang-efi/%.c: %.c
	@mkdir -p $(@D)
	@$(CLANG) $(CLANG_EFI_CFLAGS) -fsyntax-only $(check_deps) $<
	@touch $@

## check         layers, headers alone, format, clang's warnings and lock annotations, unit tests; under a minute
.PHONY: check check-static check-layers check-format check-config
check:
	@tools/setup
	@$(MAKE) -j2 check-static unit

check-static: check-layers check-format check-config $$(CHECK_STAMPS)
	@echo "check: layers, format, $(words $(CHECK_H)) headers alone, $(words $(KERNEL_C) $(EFI_C)) sources by clang: ok"

check-layers:
	@tools/layercheck

check-format:
	@clang-format --dry-run -Werror $(CHECK_C_ALL)

# docs/CONFIG.md holds the table of keys that the parser itself works from.
check-config: $(BULKHEAD_CHECK)
	@$(BULKHEAD_CHECK) --keys > $(CHECK_OUT)/keys.md
	@$(PYTHON) -c 'import sys; sys.exit(open(sys.argv[1]).read() not in open(sys.argv[2]).read())' \
		$(CHECK_OUT)/keys.md docs/CONFIG.md || \
		{ echo "docs/CONFIG.md: its table of keys is not what $(BULKHEAD_CHECK) --keys prints" >&2; exit 1; }

-include $(shell test -d $(CHECK_OUT) && find $(CHECK_OUT) -name '*.d')
