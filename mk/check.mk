# SPDX-License-Identifier: Apache-2.0
# What can be said without starting a machine, and the two commands that run everything. Each file's verdict is a
# stamp below build/check, so a second run looks only at what changed.
CHECK_DIRS := kernel boot arch mm drivers
CHECK_OUT := $(BUILD)/check
CHECK_H = $(sort $(shell find $(CHECK_DIRS) -name '*.h'))
# DESIGN's H folders: their headers compile for the host as they stand.
CHECK_HOSTED_H = $(filter kernel/abi/% kernel/lib/% arch/x86/emul/% mm/% drivers/vdev/% boot/memmap.h,$(CHECK_H))
CHECK_LAYOUT = $(shell find $(CHECK_DIRS) tests tools -name '*.c' -o -name '*.h')
CHECK_STAMPS = $(CHECK_H:%=$(CHECK_OUT)/alone/%) $(CHECK_HOSTED_H:%=$(CHECK_OUT)/hosted/%) \
	$(KERNEL_C:%=$(CHECK_OUT)/clang/%) $(patsubst %,$(CHECK_OUT)/clang-efi/%,$(EFI_C) $(EFI_SHIM_C))

# clang lacks some of GCC's flags, and it alone checks the lock annotations.
CLANG_KERNEL_CFLAGS = $(filter-out -mstack-protector-guard=% $(GCC_ONLY),$(KERNEL_CFLAGS)) -Wthread-safety
check_deps = -MMD -MP -MT $@ -MF $@.d
# Two jobs, unless the user said how many.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j2)

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
	@$(CLANG) $(EFI_CFLAGS) -fsyntax-only $(check_deps) $<
	@touch $@

## check         in under a minute: layers, layout, every header alone, clang's warnings and lock rules, unit tests
.PHONY: check
check:
	@tools/setup
	@$(PYTHON) tests/run.py --only static,unit

## test          everything: check, fuzzing for some seconds, the guests and whole boots on the emulators
.PHONY: test test-build
test:
	@tools/setup
	@$(PYTHON) tests/run.py $(TEST_FLAGS)

# What the suites of tests/system need.
test-build: $(KERNEL_ELF) $(STRESS_ELF) $(BUILD)/bulkhead-la57.elf $(EFI_APP) $(EFI_SHIM) $(BULKHEAD_CHECK) $(PROBE_ELF) guests
	@tools/fetch-guest

# The parts of `check`, each a case of tests/run.py.
.PHONY: check-layers check-layout check-config check-sources
check-layers:
	@tools/layercheck

check-layout:
	@bad=$$(clang-format --dry-run -Werror $(CHECK_LAYOUT) 2>&1 | sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error: .*/\1/p' | sort -u); \
		[ -z "$$bad" ] || { printf '%s: not as clang-format lays it out (make format)\n' $$bad; exit 1; }

## format        lay out every C file with clang-format
.PHONY: format
format:
	@clang-format -i $(CHECK_LAYOUT)

# docs/CONFIG.md holds the table of keys that the parser itself works from.
check-config: $(BULKHEAD_CHECK)
	@mkdir -p $(CHECK_OUT)
	@$(BULKHEAD_CHECK) --keys > $(CHECK_OUT)/keys.md
	@$(PYTHON) -c 'import sys; sys.exit(open(sys.argv[1]).read() not in open(sys.argv[2]).read())' \
		$(CHECK_OUT)/keys.md docs/CONFIG.md || \
		{ echo "docs/CONFIG.md: its table of keys is not what $(BULKHEAD_CHECK) --keys prints" >&2; exit 1; }

check-sources: $$(CHECK_STAMPS)

-include $(shell test -d $(CHECK_OUT) && find $(CHECK_OUT) -name '*.d')
