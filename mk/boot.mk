# SPDX-License-Identifier: Apache-2.0
# Booting: the UEFI loader, the images, and the boot probe (a tiny kernel that reports what it was given).
# gnu-efi (Debian package) brings the headers, the start-up code and the linker script.
EFI_C := \
	boot/efi/main.c boot/efi/volume.c boot/efi/names.c boot/efi/image.c boot/efi/memory.c \
	boot/efi/firmware.c boot/efi/handoff.c boot/efi/say.c \
	boot/memmap.c \
	kernel/lib/elf.c kernel/lib/err.c kernel/lib/fmt.c kernel/lib/source.c kernel/lib/string.c
EFI_CFLAGS := -std=gnu11 -Os -g -I. -isystem /usr/include/efi -isystem /usr/include/efi/x86_64 \
	-DGNU_EFI_USE_MS_ABI -ffreestanding -fno-builtin-printf -fpic -fvisibility=hidden -fshort-wchar \
	-mgeneral-regs-only -mno-red-zone -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fno-strict-aliasing -fno-common -fcf-protection=none $(WARN)
EFI_OBJ := $(EFI_C:%.c=$(BUILD)/efi/%.o)
EFI_APP := $(BUILD)/BOOTX64.EFI
# Firmware with faults, for tests/system/test_firmware.py.
EFI_SHIM_C := tests/system/efishim/shim.c
EFI_SHIM_OBJ := $(patsubst %.c,$(BUILD)/efi/%.o,$(EFI_SHIM_C) kernel/lib/fmt.c kernel/lib/string.c) \
	$(BUILD)/efi/tests/system/efishim/la57.o
EFI_SHIM := $(BUILD)/efishim.efi

$(BUILD)/efi/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"; $(CC) $(EFI_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/efi/%.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f elf64 -I./ -w+all -MD $(@:.o=.d) $< -o $@

$(BUILD)/efi/loader.so: $(EFI_OBJ)
$(BUILD)/efi/shim.so: $(EFI_SHIM_OBJ)
$(BUILD)/efi/%.so:
	@echo "  LD    $@"; ld -nostdlib -znocombreloc -znoexecstack -shared -Bsymbolic --no-undefined --build-id=none \
		-T /usr/lib/elf_x86_64_efi.lds /usr/lib/crt0-efi-x86_64.o $^ -L /usr/lib -lgnuefi -o $@

$(EFI_APP): $(BUILD)/efi/loader.so
$(EFI_SHIM): $(BUILD)/efi/shim.so
$(EFI_APP) $(EFI_SHIM):
	@SOURCE_DATE_EPOCH=0 objcopy -D -S -j .text -j .sdata -j .data -j .rodata -j .dynamic -j .dynsym -j .rel -j .rela \
		-j .rel.* -j .rela.* -j .reloc --target efi-app-x86_64 --subsystem=10 $< $@

## loader        the UEFI loader, build/BOOTX64.EFI
.PHONY: loader
loader: $(EFI_APP)

-include $(EFI_OBJ:.o=.d) $(EFI_SHIM_OBJ:.o=.d)

# The boot probe is linked exactly as the kernel is.
PROBE_OBJ := $(patsubst %,$(BUILD)/probe/%.o, boot/mb2/mb2_entry arch/x86/cpu/entry \
	tests/system/bootprobe/probe boot/mb2/mb2 boot/memmap kernel/lib/err kernel/lib/fmt kernel/lib/string)
PROBE_ELF := $(BUILD)/bootprobe.elf

$(BUILD)/probe/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"; $(CC) $(KERNEL_CFLAGS) -fno-stack-protector -MMD -MP -c $< -o $@

$(BUILD)/probe/%.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"; $(NASM) -f elf64 -g -F dwarf -I./ -w+all -MD $(@:.o=.d) $< -o $@

$(PROBE_ELF): $(PROBE_OBJ) arch/x86/cpu/kernel.ld
	@echo "  LD    $@"; ld -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=none -T arch/x86/cpu/kernel.ld $(PROBE_OBJ) -o $@

-include $(PROBE_OBJ:.o=.d)

## test-boot     both boot paths, the image makers, the start of the hypervisor, on QEMU and Bochs
.PHONY: test-boot
test-boot: $(PROBE_ELF) $(KERNEL_ELF) $(EFI_APP) $(EFI_SHIM) $(BULKHEAD_CHECK)
	$(PYTHON) -m pytest -q tests/system/test_boot.py tests/system/test_mkimage.py tests/system/test_start.py \
		tests/system/test_firmware.py
