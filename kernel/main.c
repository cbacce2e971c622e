// SPDX-License-Identifier: Apache-2.0
// The boot of the hypervisor, told once, one line a step. Every step that can fail names its cause; nothing is
// started before the configuration has passed all its checks.
#include "boot/mb2/mb2.h"
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mce.h"
#include "arch/x86/cpu/mitigate.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "arch/x86/cpu/trap.h"
#include "drivers/host/acpi.h"
#include "drivers/host/apic.h"
#include "drivers/host/console.h"
#include "drivers/host/hostconsole.h"
#include "drivers/host/hostio.h"
#include "drivers/host/ioapic.h"
#include "drivers/host/power.h"
#include "drivers/host/refclock.h"
#include "kernel/apstart.h"
#include "kernel/arch.h"
#include "kernel/bootcheck.h"
#include "kernel/bootfile.h"
#include "kernel/clock.h"
#include "kernel/config.h"
#include "kernel/console.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/log.h"
#include "kernel/lib/panic.h"
#include "kernel/lib/string.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/option.h"
#include "kernel/run.h"
#include "kernel/smp.h"
#include "kernel/stress.h"
#include "kernel/wallclock.h"

#define NS_PER_MS 1000000u

extern const unsigned char __image_start[], __image_end[];
extern uintptr_t __stack_chk_guard;

noreturn void kernel_entry(uint64_t record, uint64_t magic, uint64_t kernel_base);

static struct boot_info boot;
static struct acpi_info acpi;
static struct option option;
static struct config config;
static struct tsccal_result tsc;
// Before mm is up: the stacks of the very first traps.
static uint8_t early_stack[3][4096] __aligned_to(16);

static void bring_up_screen(void) {
	if (hostconsole_screen(&boot) < 0) log_info("boot", "no screen to write to");
}

// A boot that cannot go on: said, sent, halted. No reset loop. The screen may not have been there yet.
static noreturn void refuse(const char *why) {
	bring_up_screen();
	log_error("boot", "%s", why);
	log_error("boot", "the machine is halted; nothing was started");
	machine_halt();
}

// Not inlined, and without a canary of its own: it sets the value that canaries are compared with.
static __attribute__((noinline, no_stack_protector)) void early_init(void) {
	__stack_chk_guard = (uintptr_t)(rdtsc() * UINT64_C(0x9e3779b97f4a7c15)) & ~(uintptr_t)0xff;
	features_read();
	trap_init();
	const struct cpu_stacks stacks = {.main = early_stack[0] + sizeof early_stack[0],
	                                  .nmi = early_stack[0] + sizeof early_stack[0],
	                                  .df = early_stack[1] + sizeof early_stack[1],
	                                  .mc = early_stack[2] + sizeof early_stack[2]};
	cpu_setup(0, &stacks);
	hostconsole_early();
	log_line("Bulkhead %s", BULKHEAD_VERSION);
}

static void take_boot_info(uint64_t record, uint64_t magic, uint64_t kernel_base) {
	char why[192];
	uint64_t kernel_bytes = (uint64_t)(__image_end - __image_start);
	// The identity map of the loader still stands; this is the one place where a physical address is a pointer.
	const void *at = frame_ptr(hpa(record));
	if (bootcheck_take(at, magic, kernel_base, kernel_bytes, &boot, why, sizeof why) < 0) refuse(why);
	if (magic == MB2_MAGIC) boot.tsc_entry = boot.tsc_handoff = mb2_tsc_entry;  // GRUB takes no time for us
	static const char secure[][14] = {"unknown", "off", "on", "in setup mode"}; // enum boot_secure
	log_info("boot", "by %s, kernel at %#llx, %u files, Secure Boot %s, CPU \"%s\"", boot.loader,
	         (unsigned long long)boot.kernel_base, boot.file_count, secure[boot.secure_boot], features.brand);
}

static void bring_up_memory(void) {
	unsigned a = 0, b = 0, overlaps = bootcheck_overlaps(&boot, &a, &b);
	if (overlaps > 0)
		log_warn("memory",
		         "%u overlaps in the firmware's map, the first at %#llx and %#llx: taken as not usable",
		         overlaps, (unsigned long long)boot.mem[a].base, (unsigned long long)boot.mem[b].base);
	if (memory_init(&boot) < 0) refuse("no memory management without a usable memory map");
	hostio_init(memory_hostpt());
	struct frames *f = memory_frames();
	log_info("memory",
	         "%llu MiB usable, %llu MiB of it for the hypervisor, %llu MiB for guests; %u-level paging",
	         (unsigned long long)(memory_usable_bytes() / MIB),
	         (unsigned long long)(f->total[FRAMES_POOL] * PAGE_BYTES / MIB),
	         (unsigned long long)(f->total[FRAMES_GUEST] * PAGE_BYTES / MIB),
	         (read_cr4() & CR4_LA57) != 0 ? 5u : 4u);
}

static void move_to_stacks(void) {
	struct cpu_stacks s;
	if (memory_cpu_stacks(0, &s) < 0) refuse("no memory for this CPU's stacks");
	cpu_setup(0, &s);
}

static void find_platform(void) {
	acpi_read(&acpi, hpa(boot.rsdp), hostio_firmware, &boot);
	hostio_firmware_end();
	power_init(&acpi);
	bring_up_screen();
}

static void spurious(void) {}
static void stray(uint8_t vector) {
	if (apic_in_service(vector)) apic_eoi();
}

static void bring_up_interrupts(void) {
	if (apic_init(hpa(acpi.lapic_base)) < 0 || apstart_apic(&acpi) < 0)
		refuse("this CPU has no local APIC that can be enabled");
	(void)ioapic_init(&acpi);
	trap_irq_set(VEC_NMI, run_nmi);
	trap_irq_set(HOST_VEC_SPURIOUS, spurious);
	trap_stray_set(stray);
	trap_irq_set(HOST_VEC_TIMER, run_timer_interrupt);
	trap_irq_set(HOST_VEC_KICK, run_kick_interrupt);
	run_cpu_init();
	smp_init(&run_smp_machine);
	smp_online();
}

static void bring_up_clock(void) {
	if (refclock_calibrate_tsc(&tsc, &acpi) < 0) refuse("no HPET, PM timer or PIT to measure the TSC with");
	clock_init(tsc.khz);
	if (apic_timer_calibrate(tsc.khz) < 0) refuse("the local APIC's timer does not count");
	apic_timer_start(HOST_VEC_TIMER);
	wallclock_init();
	log_info("clock", "TSC %llu.%03llu MHz by %s, timer by %s", (unsigned long long)(tsc.khz / 1000),
	         (unsigned long long)(tsc.khz % 1000), tsc.source,
	         apic_timer_has_deadline() ? "TSC deadline" : "APIC count");
}

static void report_line(void *context, const char *text) {
	(void)context;
	log_error("config", "%s", text);
}

static int file_find(void *context __unused_arg, const char *path, struct source *file,
                     const char **why __unused_arg) {
	return bootfile_find(path, file);
}

static void read_options(void) {
	struct option_why why;
	struct source file;
	char text[OPTION_FILE_BYTES];
	if (option_parse(&option, NULL, boot.cmdline, strnlen(boot.cmdline, sizeof boot.cmdline), &why) < 0)
		refuse(why.text);
	if (bootfile_find(OPTION_FILE, &file) < 0) return;
	if (file.bytes > sizeof text || source_read(&file, 0, text, file.bytes) < 0)
		refuse(OPTION_FILE " is too long: at most 1024 bytes are allowed");
	if (option_parse(&option, OPTION_FILE, text, file.bytes, &why) < 0) refuse(why.text);
}

static void start_backend(void) {
	struct arch_why why = {.text = ""};
	char text[LOG_LINE_BYTES];
	if (arch_init(option.features_off, &why) < 0) refuse(why.text);
	arch_describe(text, sizeof text);
	log_info("arch", "%s", text);
	if (option.max_run_us != 0) run_max_set(option.max_run_us);
}

static void read_config(void) {
	struct toml_report report = {.line = report_line};
	const struct config_files files = {.find = file_find};
	// Room that VMs can get: the large pages' alignment may cost a little of it.
	const struct config_facts facts = {.cpus = bit_last(smp_online_mask()) + 1,
	                                   .memory_bytes =
	                                       frames_free_count(memory_frames(), FRAMES_GUEST) * PAGE_BYTES};
	uint64_t bytes;
	const void *text = bootfile_bytes(0, &bytes);
	if (config_parse(&config, "bulkhead.toml", text, bytes, &report) < 0 ||
	    config_check_version(&config, &report) < 0 || config_check_files(&config, &files, &report) < 0 ||
	    config_check_machine(&config, &facts, &report) < 0)
		refuse("bulkhead.toml is not usable (see the lines above)");
	machine_init(&config.machine);
	for (uint32_t i = 0; i < SMP_CPU_MAX; i++) sched_policy_set(i, config.policy[i]);
}

static void select_console(uint32_t wanted) {
	bool serial = (wanted & CONFIG_CONSOLE_SERIAL) != 0 && hostconsole_has_serial();
	bool screen = (wanted & CONFIG_CONSOLE_SCREEN) != 0 && hostconsole_has_screen();
	if (serial || screen)
		hostconsole_select(serial, screen);
	else
		log_warn("console", "this machine has none of the configured consoles: all it has stay on");
}

static void start_console(void) {
	select_console(config.machine.console);
	if (hostconsole_has_screen() && hostconsole_keyboard(&acpi) < 0) log_debug("boot", "no PS/2 keyboard");
	if (hostconsole_interrupts(&acpi, this_cpu()->apic_id, run_input_interrupt) < 0)
		log_info("boot", "console input by polling");
}

static void build_vms(void) {
	console_share(config.vm_count);
	for (uint32_t i = 0; i < config.vm_count; i++) {
		uint64_t own_bytes = memory_own_bytes(); // then what the VM takes
		if (vm_build(i, &config.vm[i]) < 0) refuse("a VM could not be built");
		const struct vm *vm = vm_get(i);
		log_info("memory", "%u KiB for the VM, %u of these in page tables",
		         (unsigned)((memory_own_bytes() - own_bytes) / KIB),
		         (unsigned)(vm->nested.pt.tables + vm->window.pt.tables) * (unsigned)(PAGE_BYTES / KIB));
	}
	if (stress_start(vm_get(0), &option) < 0) refuse("the stress option cannot be had");
}

static void start_vms(void) {
	uint64_t since_tsc = rdtsc() - boot.tsc_handoff;
	for (uint32_t i = 0; i < config.vm_count; i++) machine_vm_start();
	for (uint32_t i = 0; i < config.vm_count; i++)
		log_line("vm \"%s\" starts: %llu MiB, %u ms after hand-off, hypervisor holds %llu KiB",
		         config.vm[i].name, (unsigned long long)(config.vm[i].memory_bytes / MIB),
		         boot.tsc_handoff != 0 ? (unsigned)(clock_tsc_to_ns(since_tsc) / NS_PER_MS) : 0,
		         (unsigned long long)(memory_own_bytes() / KIB));
	console_set_deferred(true);
	for (uint32_t i = 0; i < config.vm_count; i++)
		if (run_vm_start(vm_get(i)) < 0) refuse("none of a VM's CPUs came up");
}

__attribute__((no_stack_protector)) noreturn void kernel_entry(uint64_t record, uint64_t magic,
                                                               uint64_t kernel_base) {
	early_init();
	take_boot_info(record, magic, kernel_base);
	bring_up_memory();
	move_to_stacks();
	mitigate_init();
	mitigate_cpu_init();
	find_platform();
	bring_up_interrupts();
	bring_up_clock();
	if (bootfile_init(&boot) < 0) refuse("the boot files cannot be mapped");
	read_options();
	start_backend();
	mce_cpu_init();
	apstart_all(&acpi);
	read_config();
	start_console();
	build_vms();
	start_vms();
	run_cpu();
}
