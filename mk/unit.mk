# SPDX-License-Identifier: Apache-2.0
# Unit tests: tests/unit/test_X.c plus the listed sources, hosted, with ASan and UBSan and cmocka.
# One line a test: UNIT += X, and X_SRC = the sources under test (and their dependencies).
UNIT :=
UNIT_CFLAGS := -std=gnu11 -O1 -g -I. -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -DLOCK_DEBUG=1 $(WARN)
UNIT_COMMON := tests/unit/support.c
# The VM that device tests run on, with the real bus and timer queue.
VM_DOUBLE_SRC := tests/unit/vm_double.c kernel/iobus.c kernel/timerq.c
VLAPIC_SRC := drivers/vdev/vlapic.c drivers/vdev/vlapic_state.c drivers/vdev/vlapic_reg.c drivers/vdev/vlapic_msg.c \
	drivers/vdev/vlapic_timer.c

UNIT += fmt
fmt_SRC = kernel/lib/fmt.c
UNIT += log
log_SRC = kernel/lib/log.c kernel/lib/fmt.c
UNIT += string
string_SRC =
UNIT += list
list_SRC = kernel/lib/err.c
UNIT += bitmap
bitmap_SRC = kernel/lib/bitmap.c
UNIT += range
range_SRC =
UNIT += ring
ring_SRC = kernel/lib/ring.c
UNIT += heap sched
heap_SRC = kernel/lib/heap.c
sched_SRC = kernel/sched.c kernel/lib/heap.c kernel/lib/lock.c
UNIT += lock
lock_SRC = kernel/lib/lock.c
UNIT += load
load_SRC = $(LOAD_SRC) kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c kernel/lib/err.c
UNIT += toml
toml_SRC = kernel/toml.c kernel/tomlstring.c kernel/lib/fmt.c
UNIT += config
config_SRC = $(CONFIG_SRC) $(LOAD_SRC) kernel/lib/bitmap.c kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c \
	kernel/lib/err.c
UNIT += elf
elf_SRC = kernel/lib/elf.c kernel/lib/source.c

UNIT += iobus
iobus_SRC = kernel/iobus.c
UNIT += timerq
timerq_SRC = kernel/timerq.c
UNIT += irqroute
irqroute_SRC = kernel/irqroute.c $(VM_DOUBLE_SRC)
UNIT += emul_decode
emul_decode_SRC = arch/x86/emul/decode.c arch/x86/emul/table.c
emul_decode_LIBS = -lZydis
EMUL_SRC := arch/x86/emul/decode.c arch/x86/emul/table.c arch/x86/emul/alu.c arch/x86/emul/address.c \
	arch/x86/emul/string.c arch/x86/emul/control.c arch/x86/emul/exec.c
UNIT += emul_exec
emul_exec_SRC = $(EMUL_SRC)
UNIT += emul_unicorn
emul_unicorn_SRC = $(EMUL_SRC)
emul_unicorn_LIBS = -lunicorn
UNIT += vlapic vlapic_msg vlapic_timer
vlapic_SRC = $(VM_DOUBLE_SRC) $(VLAPIC_SRC)
vlapic_msg_SRC = $(vlapic_SRC)
vlapic_timer_SRC = $(vlapic_SRC)
UNIT += vioapic vpic
vioapic_SRC = $(VM_DOUBLE_SRC) $(VLAPIC_SRC) drivers/vdev/vioapic.c
vpic_SRC = $(VM_DOUBLE_SRC) drivers/vdev/vpic.c

UNIT += vuart vpit vrtc vrtc_calendar vpm vpci vps2 vreset vdebugexit ticks
vuart_SRC = drivers/vdev/vuart.c $(VM_DOUBLE_SRC)
vpit_SRC = drivers/vdev/vpit.c $(VM_DOUBLE_SRC)
vrtc_SRC = drivers/vdev/vrtc.c drivers/vdev/vrtc_calendar.c $(VM_DOUBLE_SRC)
vrtc_calendar_SRC = drivers/vdev/vrtc_calendar.c
vpm_SRC = drivers/vdev/vpm.c $(VM_DOUBLE_SRC)
vpci_SRC = drivers/vdev/vpci.c $(VM_DOUBLE_SRC)
vps2_SRC = drivers/vdev/vps2.c $(VM_DOUBLE_SRC)
vreset_SRC = drivers/vdev/vreset.c $(VM_DOUBLE_SRC)
vdebugexit_SRC = drivers/vdev/vdebugexit.c $(VM_DOUBLE_SRC)
ticks_SRC =

FRAMES_SRC := mm/frames.c mm/frames_init.c kernel/lib/lock.c
PT_SRC := mm/pt.c mm/pt_walk.c mm/pt_store.c $(FRAMES_SRC)
GMEM_SRC := mm/gmem.c mm/window.c mm/hostpt.c mm/memslot.c $(PT_SRC)
UNIT += frames
frames_SRC = $(FRAMES_SRC)
UNIT += pt
pt_SRC = mm/hostpt.c mm/ept/ept.c mm/ept/npt.c $(PT_SRC)
UNIT += hostpt
hostpt_SRC = $(GMEM_SRC)
UNIT += memslot
memslot_SRC = mm/memslot.c $(PT_SRC)
UNIT += nested
nested_SRC = mm/ept/nested.c mm/ept/ept.c mm/ept/npt.c mm/memslot.c $(PT_SRC)
UNIT += gmem
gmem_SRC = $(GMEM_SRC)
UNIT += pool
pool_SRC = mm/pool.c $(FRAMES_SRC)
UNIT += mminsn
mminsn_SRC = tests/unit/extable_end.c

UNIT += acpi
acpi_SRC = drivers/host/acpi.c drivers/host/acpi_tables.c kernel/lib/log.c kernel/lib/fmt.c
UNIT += tsccal
tsccal_SRC = drivers/host/tsccal.c kernel/lib/err.c kernel/lib/log.c kernel/lib/fmt.c
UNIT += keyboard
keyboard_SRC = drivers/host/keyboard.c
UNIT += term
term_SRC = drivers/host/term.c kernel/lib/fmt.c
UNIT += fb
fb_SRC = drivers/host/fb.c drivers/host/term.c kernel/lib/fmt.c $(BUILD)/gen/font.c
UNIT += console
console_SRC = drivers/host/console.c kernel/lib/lock.c kernel/lib/fmt.c

UNIT += memmap
memmap_SRC = boot/memmap.c
UNIT += mb2
mb2_SRC = boot/mb2/mb2.c boot/memmap.c kernel/lib/err.c kernel/lib/fmt.c
UNIT += bootcheck
bootcheck_SRC = kernel/bootcheck.c boot/mb2/mb2.c boot/memmap.c kernel/lib/err.c kernel/lib/fmt.c
UNIT += clock
clock_SRC = kernel/clock.c
UNIT += names
names_SRC = boot/efi/names.c
UNIT += image
image_SRC = boot/efi/image.c kernel/lib/elf.c kernel/lib/source.c kernel/lib/fmt.c

UNIT += guest_event guest_reset
guest_event_SRC = arch/x86/guest/event.c
guest_reset_SRC = arch/x86/guest/reset.c arch/x86/svm/vcpu.c arch/x86/svm/tlb.c arch/x86/svm/state.c $(FRAMES_SRC)
UNIT += guest_task
guest_task_SRC = arch/x86/guest/task.c
UNIT += guest_cr
guest_cr_SRC = $(addprefix arch/x86/guest/,cr.c cpuid.c feature.c record.c walk.c) arch/x86/cpu/features.c $(GMEM_SRC) kernel/lib/fmt.c
UNIT += mitigate
mitigate_SRC = arch/x86/cpu/mitigate.c kernel/lib/log.c kernel/lib/fmt.c
UNIT += mtrr mce
mtrr_SRC = arch/x86/cpu/mtrr.c
mce_SRC = arch/x86/cpu/mce.c kernel/lib/log.c kernel/lib/fmt.c
UNIT += guest_walk
guest_walk_SRC = arch/x86/guest/walk.c $(GMEM_SRC)
UNIT += guest_insn
guest_insn_SRC = arch/x86/guest/insn.c arch/x86/guest/walk.c $(EMUL_SRC) $(GMEM_SRC) kernel/lib/fmt.c
UNIT += svm_exit
svm_exit_SRC = $(addprefix arch/x86/svm/,exit.c event.c length.c state.c tlb.c vcpu.c) kernel/lib/log.c kernel/lib/fmt.c $(GMEM_SRC)
UNIT += svm_tlb
svm_tlb_SRC = arch/x86/svm/vcpu.c arch/x86/svm/tlb.c arch/x86/svm/state.c $(FRAMES_SRC)

UNIT += vmx_check svm_check
UNIT += vmx_tlb
vmx_tlb_SRC = arch/x86/vmx/tlb.c
vmx_check_SRC = arch/x86/vmx/check.c arch/x86/guest/entrycheck.c
svm_check_SRC = arch/x86/svm/check.c arch/x86/guest/entrycheck.c

UNIT += acpi_tables
acpi_tables_SRC = arch/x86/guest/acpi_tables.c $(BUILD)/gen/dsdt.c

UNIT += option record
option_SRC = kernel/option.c arch/x86/guest/feature.c kernel/lib/fmt.c
record_SRC = arch/x86/guest/record.c

UNIT += scrub save smp quiesce tscsync
scrub_SRC = kernel/scrub.c $(GMEM_SRC)
save_SRC = kernel/save.c kernel/lib/err.c
SMP_SRC := kernel/smp.c kernel/lib/lock.c
smp_SRC = $(SMP_SRC)
smp_LIBS = -lpthread
quiesce_SRC = kernel/quiesce.c $(SMP_SRC)
tscsync_SRC = kernel/tscsync.c
tscsync_LIBS = -lpthread

UNIT_BIN = $(UNIT:%=$(BUILD)/unit/test_%)

.SECONDEXPANSION:
$(BUILD)/unit/test_%: tests/unit/test_%.c $(UNIT_COMMON) $$($$*_SRC)
	@mkdir -p $(@D)
	@$(CC) $(UNIT_CFLAGS) -MM -MP -MT $@ tests/unit/test_$*.c $(UNIT_COMMON) $($*_SRC) > $@.d
	@echo "  CC    $@"; $(CC) $(UNIT_CFLAGS) tests/unit/test_$*.c $(UNIT_COMMON) $($*_SRC) -o $@ -lcmocka $($*_LIBS)

## unit          build and run the unit tests
.PHONY: unit
unit: $$(UNIT_BIN)
	@$(PYTHON) tests/unit/run.py $(UNIT_BIN)

-include $(wildcard $(BUILD)/unit/*.d)
