# SPDX-License-Identifier: Apache-2.0
# A guest, or its medium, in one command. What is missing on the machine is installed first, so the parts that need it
# are left to a make of their own. Files that CONFIG names and that are not beside it come from build/guest.
CONFIG ?= examples/linux.toml
RUN_FLAGS ?=
# The shell takes the path apart, since make's own functions would do so at each blank in it.
image_path = $(or $(OUT),$(BUILD)/$$(basename "$(CONFIG)" .toml).$1)

## run           boot Linux in QEMU and give its shell: make run [CONFIG=x.toml] [RUN_FLAGS="--kvm --memory 2048"]
## image         a USB image for UEFI and BIOS, build/x.img: make image [CONFIG=x.toml] [OUT=x.img]
## iso           the same as a hybrid ISO, build/x.iso: make iso [CONFIG=x.toml] [OUT=x.iso]
.PHONY: run image iso run-ready run-parts
run: run-ready
	@tools/run "$(CONFIG)" $(RUN_FLAGS)

image: run-ready
	@$(PYTHON) tools/mkimage "$(CONFIG)" --files $(GUEST_DIR) -o "$(call image_path,img)"

iso: run-ready
	@$(PYTHON) tools/mkiso "$(CONFIG)" --files $(GUEST_DIR) -o "$(call image_path,iso)"

run-ready:
	@[ -f "$(CONFIG)" ] || { echo "$(CONFIG): no such configuration file" >&2; exit 1; }
	@tools/setup
	@$(MAKE) $(JOBS) run-parts
	@tools/fetch-guest --for "$(CONFIG)"

# The test guests are guests like any other, for configurations that name one.
run-parts: $(KERNEL_ELF) $(EFI_APP) $(BULKHEAD_CHECK) $(if $(filter-out examples/linux.toml,$(CONFIG)),guests)
	@:
