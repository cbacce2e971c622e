# SPDX-License-Identifier: Apache-2.0
# Host programs built from the hypervisor's own sources.
HOST_CFLAGS := -std=gnu11 -O2 -g -I. $(WARN)

CONFIG_SRC := kernel/config.c kernel/config_cpus.c kernel/config_keys.c kernel/config_value.c kernel/config_check.c kernel/toml.c \
	kernel/tomlstring.c
LOAD_SRC := kernel/load/load.c kernel/load/job.c kernel/load/map.c kernel/load/bzimage.c kernel/load/elfimage.c \
	kernel/load/elf_pvh.c kernel/load/multiboot.c kernel/load/multiboot2.c kernel/load/flat.c
OPTION_SRC := kernel/option.c arch/x86/guest/feature.c
CHECK_SRC := tools/bulkhead_check.c $(OPTION_SRC) $(CONFIG_SRC) $(LOAD_SRC) kernel/lib/bitmap.c kernel/lib/elf.c kernel/lib/err.c \
	kernel/lib/fmt.c kernel/lib/source.c
BULKHEAD_CHECK := $(BUILD)/bulkhead-check

## check-tool    build/bulkhead-check, which judges configuration files
.PHONY: check-tool
check-tool: $(BULKHEAD_CHECK)

$(BULKHEAD_CHECK): $(CHECK_SRC)
	@mkdir -p $(@D)
	@$(CC) $(HOST_CFLAGS) -MM -MP -MT $@ $(CHECK_SRC) > $@.d
	@echo "  CC    $@"; $(CC) $(HOST_CFLAGS) $(CHECK_SRC) -o $@

-include $(BULKHEAD_CHECK).d
