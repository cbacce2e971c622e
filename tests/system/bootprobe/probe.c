// SPDX-License-Identifier: Apache-2.0
// The boot probe: a kernel that only reports what the boot path handed over. It is linked like Bulkhead
// (same entry, same linker script, same multiboot2 half) and started by the same loaders, so the entry
// contract of kernel/abi/bootinfo.h is tested apart from everything behind it. Output: lines on COM1,
// "bootprobe: SUCCESS" or "bootprobe: FAILURE what" as the last; then it ends the emulator.
#include "boot/mb2/mb2.h"
#include "kernel/abi/bootinfo.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define COM1_PORT 0x3f8
#define COM1_LSR_PORT 0x3fd
#define LSR_READY BIT32(5)
#define LSR_EMPTY BIT32(6)
#define QEMU_EXIT_PORT 0xf4    // isa-debug-exit: status = value * 2 + 1
#define BOCHS_EXIT_PORT 0x8900 // "Shutdown", byte by byte
#define RFLAGS_IF BIT64(9)
#define RSDP_OLD_BYTES 20u
#define RSDP_NEW_BYTES 36u
#define IDENTITY_BYTES (4 * GIB) // what the contract maps for sure

extern uint8_t __image_start[], __image_end[];

noreturn void kernel_entry(uint64_t info, uint64_t magic, uint64_t phys_base);

static uint8_t zeroed[64]; // bss
static uint32_t initialised = 0x12345678;
static const char *failure;

static void outb(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static uint8_t inb(uint16_t port) {
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void put(char c) {
	while (!(inb(COM1_LSR_PORT) & LSR_READY)) {
	}
	outb(COM1_PORT, (uint8_t)c);
}

static void print(const char *format, ...) __printf_like(1, 2);
static void print(const char *format, ...) {
	char line[256];
	va_list args;
	va_start(args, format);
	fmt_vprint(line, sizeof line, format, args);
	va_end(args);
	for (const char *at = "bootprobe: "; *at; at++) put(*at);
	for (const char *at = line; *at; at++) put(*at);
	put('\r');
	put('\n');
}

static noreturn void finish(void) {
	if (failure)
		print("FAILURE %s", failure);
	else
		print("SUCCESS");
	while (!(inb(COM1_LSR_PORT) & LSR_EMPTY)) { // Bochs loses what is still in the FIFO
	}
	outb(QEMU_EXIT_PORT, failure ? 2 : 1);
	for (const char *at = "Shutdown"; *at; at++) outb(BOCHS_EXIT_PORT, (uint8_t)*at);
	for (;;) __asm__ volatile("cli; hlt");
}

static void expect(bool holds, const char *what) {
	if (holds || failure) return;
	failure = what;
}

static const uint8_t *at_physical(uint64_t address) { return (const uint8_t *)(uintptr_t)address; }

static uint8_t byte_sum(const uint8_t *at, uint64_t bytes) {
	uint8_t sum = 0;
	while (bytes--) sum = (uint8_t)(sum + *at++);
	return sum;
}

// CRC-32 as zlib computes it, to compare files with the host's.
static uint32_t crc32(const uint8_t *at, uint64_t bytes) {
	uint32_t table[256];
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
		table[i] = crc;
	}
	uint32_t crc = UINT32_MAX;
	while (bytes--) crc = crc >> 8 ^ table[(crc ^ *at++) & 0xff];
	return ~crc;
}

static bool inside_loader_range(const struct boot_info *info, uint64_t base, uint64_t bytes) {
	for (uint32_t i = 0; i < info->mem_count; i++) {
		const struct boot_mem *mem = &info->mem[i];
		if (mem->type == BOOT_MEM_LOADER && base >= mem->base && bytes <= mem->bytes &&
		    base - mem->base <= mem->bytes - bytes)
			return true;
	}
	return false;
}

static void check_memory(const struct boot_info *info) {
	uint64_t usable = 0, end = 0;
	for (uint32_t i = 0; i < info->mem_count; i++) {
		const struct boot_mem *mem = &info->mem[i];
		print("mem 0x%llx 0x%llx type %u", (unsigned long long)mem->base, (unsigned long long)mem->bytes,
		      mem->type);
		expect(mem->bytes > 0, "an empty memory range");
		expect(i == 0 || mem->base >= end, "memory ranges overlap or are unsorted");
		end = mem->base + mem->bytes;
		if (mem->type == BOOT_MEM_USABLE) usable += mem->bytes;
	}
	print("usable %llu MiB in %u ranges", (unsigned long long)(usable / MIB), info->mem_count);
}

static void check_files(const struct boot_info *info) {
	for (uint32_t i = 0; i < info->file_count; i++) {
		const struct boot_file *file = &info->file[i];
		bool low = file->base + file->bytes <= IDENTITY_BYTES;
		uint32_t crc = low ? crc32(at_physical(file->base), file->bytes) : 0;
		print("file %s %llu bytes crc %08x%s", file->name, (unsigned long long)file->bytes, crc,
		      low ? "" : " (high)");
		expect(is_aligned(file->base, 4096), "a file is not page aligned");
		expect(file->bytes == 0 || inside_loader_range(info, file->base, file->bytes),
		       "a file in no loader range");
	}
	expect(info->file_count > 0 && strcmp(info->file[0].name, "bulkhead.toml") == 0,
	       "file 0 is not bulkhead.toml");
}

static void check_rsdp(const struct boot_info *info) {
	if (info->rsdp == 0 || info->rsdp + RSDP_NEW_BYTES > IDENTITY_BYTES) {
		print("rsdp none");
		return;
	}
	const uint8_t *rsdp = at_physical(info->rsdp);
	expect(memcmp(rsdp, "RSD PTR ", 8) == 0, "no RSDP at its address");
	expect(byte_sum(rsdp, RSDP_OLD_BYTES) == 0, "the RSDP's checksum is wrong");
	bool new = rsdp[15] >= 2;
	if (new) expect(byte_sum(rsdp, RSDP_NEW_BYTES) == 0, "the RSDP's extended checksum is wrong");
	print("rsdp revision %u", rsdp[15]);
}

static void check_image(const struct boot_info *info, uint64_t phys_base) {
	print("kernel 0x%llx %llu bytes", (unsigned long long)info->kernel_base,
	      (unsigned long long)info->kernel_bytes);
	expect(info->kernel_base == phys_base, "the kernel is not where boot_info says");
	expect(is_aligned(phys_base, 2 * MIB), "the kernel is not 2 MiB aligned");
	expect(info->kernel_bytes >= (uint64_t)(__image_end - __image_start), "the kernel's length is short");
	expect(inside_loader_range(info, info->kernel_base, info->kernel_bytes),
	       "the kernel is in no loader range");
	expect(byte_sum(zeroed, sizeof zeroed) == 0, "bss is not zero");
	expect(initialised == 0x12345678, "data is not what the file says");
}

static void check_cpu(void) {
	uint64_t flags;
	__asm__ volatile("pushfq; pop %0" : "=r"(flags));
	expect(!(flags & RFLAGS_IF), "interrupts are on");
	// The identity map reaches the end of the low 4 GiB: firmware flash and the local APIC are there.
	uint32_t version = *(const volatile uint32_t *)(const void *)at_physical(0xfee00030);
	print("apic version %x", version & 0xff);
}

static const struct boot_info *from_mb2(uint64_t tags, uint64_t phys_base) {
	static struct boot_info info;
	static char why[160];
	info.kernel_bytes = (uint64_t)(__image_end - __image_start);
	info.tsc_entry = mb2_tsc_entry;
	int err = mb2_to_boot_info(at_physical(tags), IDENTITY_BYTES - tags, phys_base, &info, why, sizeof why);
	if (err) failure = why;
	return err ? NULL : &info;
}

void kernel_entry(uint64_t handed, uint64_t magic, uint64_t phys_base) {
	const struct boot_info *info = NULL;
	print("magic %llx", (unsigned long long)magic);
	if (magic == BOOT_INFO_MAGIC) info = (const void *)at_physical(handed);
	if (magic == MB2_MAGIC) info = from_mb2(handed, phys_base);
	expect(info != NULL, "an unknown magic");
	if (!info) finish();
	expect(info->magic == BOOT_INFO_MAGIC && info->version == BOOT_INFO_VERSION &&
	           info->bytes == sizeof *info,
	       "the record's head is wrong");
	print("path %u loader \"%s\" cmdline \"%s\" secure %u", info->path, info->loader, info->cmdline,
	      info->secure_boot);
	print("fb %ux%u pitch %u format %u", info->fb.width, info->fb.height, info->fb.pitch, info->fb.format);
	print("tsc %s", info->tsc_entry != 0 ? "taken" : "missing");
	if (info->path == BOOT_PATH_EFI)
		expect(inside_loader_range(info, handed, sizeof *info), "the record is in no loader range");
	check_cpu();
	check_image(info, phys_base);
	check_memory(info);
	check_rsdp(info);
	check_files(info);
	finish();
}
