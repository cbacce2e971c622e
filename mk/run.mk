# SPDX-License-Identifier: Apache-2.0
# A guest in one command. What is missing on the machine is installed first, so the parts that need it are left
# to a make of their own.
CONFIG ?= examples/linux.toml
RUN_FLAGS ?=

## run           boot Linux in QEMU and give its shell: make run [CONFIG=x.toml] [RUN_FLAGS="--kvm --memory 2048"]
.PHONY: run run-parts
run:
	@tools/setup
	@$(MAKE) $(JOBS) run-parts
	@tools/fetch-guest
	@tools/run $(CONFIG) $(RUN_FLAGS)

# The test guests are guests like any other, for configurations that name one.
run-parts: $(KERNEL_ELF) $(EFI_APP) $(BULKHEAD_CHECK) $(if $(filter-out examples/linux.toml,$(CONFIG)),guests)
	@:
