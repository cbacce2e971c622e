// SPDX-License-Identifier: Apache-2.0
// The shim of tests/system/test_firmware.py: it stands as BOOTX64.EFI on the test's stick and starts the real
// loader, real.efi beside it, on firmware that it has made worse. How is said by the words of shim.txt in the
// same folder (`words` below). What it did goes to COM1 directly, since a console call inside the hooked
// services would change what they are asked about.
#include <efi.h>

#include "boot/efi/insn.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define COM1_PORT 0x3f8
#define COM1_LSR_PORT 0x3fd
#define LSR_READY BIT32(5)

#define WORDS_BYTES_MAX 512u
#define LOADER_BYTES_MAX (4 * MIB)
#define MAP_BYTES_MAX (64 * KIB)

#define EFI_1_10 (1u << 16 | 10u)
#define OVERLAP_PAGES 16u
#define GROW_HOLES 70u // more descriptors than the loader keeps room for

#define PTE_TABLE UINT64_C(3) // present, writable

#define SCREEN_BASE (4 * GIB + 512 * MIB)
#define SCREEN_BASE_LOW (128 * MIB)
#define SCREEN_WIDTH 800u
#define SCREEN_HEIGHT 600u
#define SCREEN_STRIDE 803u // odd: no two pixels of a line begin on 8 bytes in every line
#define SCREEN_FILL 0x5a

#define RSDP_RSDT 16u // ACPI 6.4, 5.2.5.3
#define RSDP_XSDT 24u
#define RSDP_CHECKSUM 8u
#define RSDP_CHECKSUM_EXTENDED 32u
#define TABLE_LENGTH 4u // 5.2.6
#define TABLE_CHECKSUM 9u
#define TABLE_ENTRIES 36u
#define FADT_DSDT 40u // 5.2.9

enum flag_state { FLAG_AS_IS, FLAG_ABSENT, FLAG_CLEAR, FLAG_SET };

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);
void la57_enter(uint64_t pml5); // la57.asm

static EFI_SYSTEM_TABLE *system_table;
static EFI_BOOT_SERVICES *boot;
static EFI_BOOT_SERVICES real; // as the firmware had them
static EFI_GET_VARIABLE real_get_variable;
static unsigned stale, grow, grow_again;
static uint64_t pages_most;
static EFI_STATUS file_status;
static EFI_VOLUME_OPEN real_open_volume;
static EFI_FILE_OPEN real_open;
static EFI_LOADED_IMAGE *loader_image;
static bool overlap, no_memory;
static enum flag_state secure_boot, setup_mode;
static EFI_GRAPHICS_OUTPUT_PROTOCOL screen;
static uint8_t map_room[MAP_BYTES_MAX] __aligned_to(8);

static void put(char c) {
	while (!(insn_inb(COM1_LSR_PORT) & LSR_READY)) {
	}
	insn_outb(COM1_PORT, (uint8_t)c);
}

static void print(const char *format, ...) __printf_like(1, 2);
static void print(const char *format, ...) {
	char line[160];
	va_list args;
	va_start(args, format);
	fmt_vprint(line, sizeof line, format, args);
	va_end(args);
	for (const char *at = "efishim: "; *at; at++) put(*at);
	for (const char *at = line; *at; at++) put(*at);
	put('\r');
	put('\n');
}

static void *at_physical(uint64_t address) { return (void *)(uintptr_t)address; }

static uint64_t number(const char *text) {
	uint64_t value = 0;
	for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

// ---- the memory map and the way out ------------------------------------------------------------------

// The largest free range and, when there is one, a range of the firmware's own run-time data.
static void find_ranges(EFI_MEMORY_DESCRIPTOR *free, EFI_MEMORY_DESCRIPTOR *runtime) {
	UINTN bytes = sizeof map_room, key, step;
	UINT32 version;
	*free = *runtime = (EFI_MEMORY_DESCRIPTOR){0};
	if (EFI_ERROR(real.GetMemoryMap(&bytes, (void *)map_room, &key, &step, &version))) return;
	for (UINTN at = 0; at + step <= bytes; at += step) {
		const EFI_MEMORY_DESCRIPTOR *d = (const void *)(map_room + at);
		if (d->Type == EfiConventionalMemory && d->NumberOfPages > free->NumberOfPages) *free = *d;
		if (d->Type == EfiRuntimeServicesData && d->NumberOfPages > runtime->NumberOfPages) *runtime = *d;
	}
}

// Takes 2 * count pages in the middle of free memory and gives back every second one.
static void split_memory(unsigned count, EFI_MEMORY_TYPE type) {
	EFI_MEMORY_DESCRIPTOR free, runtime;
	find_ranges(&free, &runtime);
	EFI_PHYSICAL_ADDRESS at = free.PhysicalStart + free.NumberOfPages / 2 * EFI_PAGE_SIZE;
	EFI_STATUS status = boot->AllocatePages(AllocateAddress, type, 2 * count, &at);
	for (unsigned i = 0; i < count; i++) boot->FreePages(at + 2 * i * EFI_PAGE_SIZE, 1);
	print("memory split by %u holes%s", count, EFI_ERROR(status) ? ": failed" : "");
}

// A reserved range inside free memory, and a free one over the firmware's run-time data.
static void add_overlaps(EFI_MEMORY_DESCRIPTOR *reserved, EFI_MEMORY_DESCRIPTOR *freed) {
	EFI_MEMORY_DESCRIPTOR free, runtime;
	find_ranges(&free, &runtime);
	*reserved =
	    (EFI_MEMORY_DESCRIPTOR){.Type = EfiReservedMemoryType,
	                            .PhysicalStart = free.PhysicalStart + free.NumberOfPages / 2 * EFI_PAGE_SIZE,
	                            .NumberOfPages = OVERLAP_PAGES};
	*freed = runtime;
	freed->Type = EfiConventionalMemory;
	freed->Attribute = 0;
	print("overlaps at %#llx and %#llx", (unsigned long long)reserved->PhysicalStart,
	      (unsigned long long)freed->PhysicalStart);
}

static EFI_STATUS EFIAPI get_memory_map(UINTN *bytes, EFI_MEMORY_DESCRIPTOR *map, UINTN *key, UINTN *step,
                                        UINT32 *version) {
	UINTN room = *bytes;
	if (grow > 0) {
		grow--;
		split_memory(GROW_HOLES, EfiLoaderData);
	}
	EFI_STATUS status = real.GetMemoryMap(bytes, map, key, step, version);
	if (status == EFI_BUFFER_TOO_SMALL) print("the buffer is too small");
	for (UINTN at = 0; no_memory && !EFI_ERROR(status) && at < *bytes; at += *step)
		((EFI_MEMORY_DESCRIPTOR *)(void *)((uint8_t *)map + at))->Type = EfiReservedMemoryType;
	if (!overlap || (EFI_ERROR(status) && status != EFI_BUFFER_TOO_SMALL)) return status;
	UINTN own = *bytes;
	*bytes += 2 * *step;
	if (EFI_ERROR(status) || *bytes > room) return EFI_BUFFER_TOO_SMALL;
	EFI_MEMORY_DESCRIPTOR *end = (void *)((uint8_t *)map + own);
	memset(end, 0, 2 * *step);
	add_overlaps(end, (void *)((uint8_t *)end + *step));
	return EFI_SUCCESS;
}

// A stale key is made by memory that is taken between the two calls: the firmware itself says no.
static EFI_STATUS EFIAPI exit_boot_services(EFI_HANDLE image, UINTN key) {
	if (stale > 0) {
		stale--;
		grow = grow_again;
		split_memory(1, EfiLoaderData);
	}
	EFI_STATUS status = real.ExitBootServices(image, key);
	if (EFI_ERROR(status)) print("ExitBootServices refused");
	return status;
}

static void word_stale(const char *value) {
	stale = (unsigned)number(value);
	boot->ExitBootServices = exit_boot_services;
}

static void word_grow(const char *value) {
	grow = (unsigned)number(value);
	boot->GetMemoryMap = get_memory_map;
}

static void word_again(const char *value) { grow_again = (unsigned)number(value); }
static void word_fragments(const char *value) {
	split_memory((unsigned)number(value), EfiReservedMemoryType);
}

static void word_overlap(const char *value __unused_arg) {
	overlap = true;
	boot->GetMemoryMap = get_memory_map;
}

static void word_nomemory(const char *value __unused_arg) {
	no_memory = true;
	boot->GetMemoryMap = get_memory_map;
}

static void word_old(const char *value __unused_arg) { system_table->Hdr.Revision = EFI_1_10; }

// ---- memory, files, paging -----------------------------------------------------------------------------

static EFI_STATUS EFIAPI allocate_pages(EFI_ALLOCATE_TYPE how, EFI_MEMORY_TYPE type, UINTN pages,
                                        EFI_PHYSICAL_ADDRESS *at) {
	return pages > pages_most ? EFI_OUT_OF_RESOURCES : real.AllocatePages(how, type, pages, at);
}

static void word_poor(const char *value) {
	pages_most = number(value);
	boot->AllocatePages = allocate_pages;
}

static void word_novolume(const char *value __unused_arg) {
	loader_image->DeviceHandle = system_table->ConsoleOutHandle;
}

// A stick that gives errors, or less than the directory promises.
static EFI_STATUS EFIAPI read_nothing(EFI_FILE_HANDLE file __unused_arg, UINTN *bytes,
                                      void *dst __unused_arg) {
	*bytes = 0;
	return file_status;
}

static EFI_STATUS EFIAPI open_file(EFI_FILE_HANDLE folder, EFI_FILE_HANDLE *file, CHAR16 *name, UINT64 mode,
                                   UINT64 attributes) {
	EFI_STATUS status = real_open(folder, file, name, mode, attributes);
	if (!EFI_ERROR(status)) (*file)->Read = read_nothing;
	return status;
}

static EFI_STATUS EFIAPI open_volume(EFI_FILE_IO_INTERFACE *volume, EFI_FILE_HANDLE *root) {
	EFI_STATUS status = real_open_volume(volume, root);
	if (EFI_ERROR(status)) return status;
	real_open = (*root)->Open;
	(*root)->Open = open_file;
	return status;
}

static void word_read(const char *value) {
	static EFI_GUID volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
	void *found = NULL;
	if (EFI_ERROR(boot->HandleProtocol(loader_image->DeviceHandle, &volume_guid, &found))) return;
	EFI_FILE_IO_INTERFACE *volume = found;
	file_status = strcmp(value, "error") == 0 ? EFI_DEVICE_ERROR : EFI_SUCCESS;
	real_open_volume = volume->OpenVolume;
	volume->OpenVolume = open_volume;
}

static uint64_t read_cr3(void) {
	uint64_t value;
	__asm__ volatile("mov %%cr3, %0" : "=r"(value));
	return value;
}

static void word_la57(const char *value __unused_arg) {
	EFI_PHYSICAL_ADDRESS pml5 = 4 * GIB - 1;
	if (EFI_ERROR(boot->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1, &pml5))) return;
	memset(at_physical(pml5), 0, EFI_PAGE_SIZE);
	*(uint64_t *)at_physical(pml5) = read_cr3() | PTE_TABLE;
	la57_enter(pml5);
	print("%u-level paging", insn_read_cr4() & INSN_CR4_LA57 ? 5u : 4u);
}

// ---- Secure Boot --------------------------------------------------------------------------------------

static bool same_text(const CHAR16 *a, const CHAR16 *b) {
	for (; *a && *a == *b; a++, b++) {
	}
	return *a == *b;
}

static EFI_STATUS EFIAPI get_variable(CHAR16 *name, EFI_GUID *vendor, UINT32 *attributes, UINTN *bytes,
                                      void *data) {
	static CHAR16 secure_name[] = L"SecureBoot", setup_name[] = L"SetupMode";
	enum flag_state state = same_text(name, secure_name)  ? secure_boot
	                        : same_text(name, setup_name) ? setup_mode
	                                                      : FLAG_AS_IS;
	if (state == FLAG_AS_IS) return real_get_variable(name, vendor, attributes, bytes, data);
	if (state == FLAG_ABSENT) return EFI_NOT_FOUND;
	*(uint8_t *)data = state == FLAG_SET;
	*bytes = 1;
	return EFI_SUCCESS;
}

static enum flag_state flag_of(const char *value) {
	system_table->RuntimeServices->GetVariable = get_variable;
	return *value == '1' ? FLAG_SET : *value == '0' ? FLAG_CLEAR : FLAG_ABSENT;
}

static void word_secure(const char *value) { secure_boot = flag_of(value); }
static void word_setup(const char *value) { setup_mode = flag_of(value); }

// ---- ACPI ---------------------------------------------------------------------------------------------

static EFI_GUID acpi20 = ACPI_20_TABLE_GUID, acpi10 = ACPI_TABLE_GUID;

static uint8_t *rsdp(void) {
	for (UINTN i = 0; i < system_table->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *table = &system_table->ConfigurationTable[i];
		if (memcmp(&table->VendorGuid, &acpi20, sizeof acpi20) == 0) return table->VendorTable;
	}
	return NULL;
}

static uint8_t *acpi_table(const char *signature) {
	const uint8_t *root = rsdp();
	if (!root) return NULL;
	if (strcmp(signature, "RSDT") == 0) return at_physical(le32(root + RSDP_RSDT));
	uint8_t *xsdt = at_physical(le64(root + RSDP_XSDT));
	if (!xsdt || strcmp(signature, "XSDT") == 0) return xsdt;
	for (uint32_t at = TABLE_ENTRIES; at + 8 <= le32(xsdt + TABLE_LENGTH); at += 8) {
		uint8_t *table = at_physical(le64(xsdt + at));
		if (memcmp(table, signature, 4) == 0) return table;
		if (strcmp(signature, "DSDT") == 0 && memcmp(table, "FACP", 4) == 0)
			return at_physical(le32(table + FADT_DSDT));
	}
	return NULL;
}

// Only the checksum is made wrong, so nothing but the checksum can be what is complained of.
static void word_bad(const char *value) {
	bool first = strcmp(value, "RSDP") == 0, extended = strcmp(value, "RSDPx") == 0;
	uint8_t *table = first || extended ? rsdp() : acpi_table(value);
	print("%s %s", value, table ? "spoilt" : "not found");
	if (table) table[first ? RSDP_CHECKSUM : extended ? RSDP_CHECKSUM_EXTENDED : TABLE_CHECKSUM] ^= 1;
}

static void word_noacpi(const char *value __unused_arg) {
	boot->InstallConfigurationTable(&acpi20, NULL);
	boot->InstallConfigurationTable(&acpi10, NULL);
}

// ---- the screen ---------------------------------------------------------------------------------------

static EFI_STATUS EFIAPI handle_protocol(EFI_HANDLE handle, EFI_GUID *protocol, void **interface) {
	static const EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	if (memcmp(protocol, &guid, sizeof guid) != 0) return real.HandleProtocol(handle, protocol, interface);
	*interface = &screen;
	return EFI_SUCCESS;
}

static void word_screen(const char *value) {
	static const struct {
		char name[8];
		EFI_GRAPHICS_PIXEL_FORMAT format;
		EFI_PIXEL_BITMASK mask;
	} kind[] = {{"rgb", PixelRedGreenBlueReserved8BitPerColor, {0}},
	            {"bgr", PixelBlueGreenRedReserved8BitPerColor, {0}},
	            {"mask", PixelBitMask, {0xff, 0xff00, 0xff0000, 0}},
	            {"mask565", PixelBitMask, {0xf800, 0x7e0, 0x1f, 0}},
	            {"blt", PixelBltOnly, {0}},
	            {"low", PixelBlueGreenRedReserved8BitPerColor, {0}}};
	static EFI_GRAPHICS_OUTPUT_MODE_INFORMATION mode = {.HorizontalResolution = SCREEN_WIDTH,
	                                                    .VerticalResolution = SCREEN_HEIGHT,
	                                                    .PixelsPerScanLine = SCREEN_STRIDE};
	static EFI_GRAPHICS_OUTPUT_PROTOCOL_MODE current = {
	    .MaxMode = 1, .Info = &mode, .SizeOfInfo = sizeof mode};
	for (unsigned i = 0; i < array_count(kind); i++) {
		if (strcmp(value, kind[i].name) != 0) continue;
		mode.PixelFormat = kind[i].format;
		mode.PixelInformation = kind[i].mask;
	}
	boot->HandleProtocol = handle_protocol;
	screen.Mode = &current;
	EFI_PHYSICAL_ADDRESS at = strcmp(value, "low") == 0 ? SCREEN_BASE_LOW : SCREEN_BASE;
	UINTN bytes = SCREEN_STRIDE * 4 * SCREEN_HEIGHT, pages = bytes / EFI_PAGE_SIZE + 1;
	current.FrameBufferBase = at;
	current.FrameBufferSize = bytes;
	if (mode.PixelFormat == PixelBltOnly || mode.PixelInformation.GreenMask == 0x7e0)
		return; // nothing to draw on
	EFI_STATUS status = boot->AllocatePages(AllocateAddress, EfiReservedMemoryType, pages, &at);
	print("screen %ux%u stride %u at %#llx%s", SCREEN_WIDTH, SCREEN_HEIGHT, SCREEN_STRIDE * 4,
	      (unsigned long long)at, EFI_ERROR(status) ? ": no memory there" : "");
	if (EFI_ERROR(status)) return;
	memset(at_physical(at), SCREEN_FILL, pages * EFI_PAGE_SIZE);
}

// ---- words, and the real loader -------------------------------------------------------------------------

static const struct {
	char name[12];
	void (*act)(const char *value);
} words[] = {
    {"poor", word_poor},           // =N: no allocation of more than N pages
    {"novolume", word_novolume},   // the loader came from no volume, as if by network
    {"read", word_read},           // =error, =short: no file can be read
    {"la57", word_la57},           // 5-level paging
    {"old", word_old},             // the system table says EFI 1.10
    {"stale", word_stale},         // =N: the map changes before each of the first N ExitBootServices
    {"grow", word_grow},           // =N: the next N calls of GetMemoryMap each find it longer
    {"again", word_again},         // =N: and so do N more after each stale ExitBootServices
    {"fragments", word_fragments}, // =N: N reserved pages, each apart from the next
    {"overlap", word_overlap},     // the map contradicts itself twice
    {"nomemory", word_nomemory},   // the map has no free range
    {"secure", word_secure},       // =0, =1, =none: the variable SecureBoot
    {"setup", word_setup},         // =0, =1: the variable SetupMode
    {"bad", word_bad},             // =RSDP, =RSDPx (extended), =XSDT, =RSDT, =DSDT, ...: a wrong checksum
    {"noacpi", word_noacpi},       // no configuration table is ACPI's
    {"screen", word_screen}, // =rgb, =bgr, =mask, =mask565, =blt: a framebuffer above 4 GiB; =low: below
};

static void obey(char *text) {
	while (*text) {
		char *word = text, *value = NULL;
		for (; *text > ' '; text++)
			if (*text == '=') value = text;
		while (*text && *text <= ' ') *text++ = 0;
		if (value) *value++ = 0;
		bool known = false;
		for (unsigned i = 0; i < array_count(words) && *word; i++) {
			if (strcmp(word, words[i].name) != 0) continue;
			words[i].act(value ? value : "");
			known = true;
		}
		if (*word && !known) print("unknown word %s", word);
	}
	boot->Hdr.CRC32 = 0;
	boot->CalculateCrc32(boot, boot->Hdr.HeaderSize, &boot->Hdr.CRC32);
	system_table->Hdr.CRC32 = 0;
	boot->CalculateCrc32(system_table, system_table->Hdr.HeaderSize, &system_table->Hdr.CRC32);
}

static EFI_STATUS read_file(EFI_FILE_HANDLE root, CHAR16 *path, void *dst, UINTN *bytes) {
	EFI_FILE_HANDLE file;
	EFI_STATUS status = root->Open(root, &file, path, EFI_FILE_MODE_READ, 0);
	if (EFI_ERROR(status)) return status;
	status = file->Read(file, bytes, dst);
	file->Close(file);
	return status;
}

static EFI_STATUS start_loader(EFI_HANDLE image, EFI_LOADED_IMAGE *self, void *file, UINTN bytes,
                               char *text) {
	static EFI_GUID image_guid = LOADED_IMAGE_PROTOCOL;
	EFI_HANDLE loader;
	void *loaded = NULL;
	EFI_STATUS status = boot->LoadImage(FALSE, image, NULL, file, bytes, &loader);
	if (!EFI_ERROR(status)) status = boot->HandleProtocol(loader, &image_guid, &loaded);
	if (EFI_ERROR(status)) return status;
	loader_image = loaded;
	loader_image->DeviceHandle = self->DeviceHandle; // where it looks for its files
	obey(text);
	status = boot->StartImage(loader, NULL, NULL);
	print("the loader came back");
	return status;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
	static EFI_GUID image_guid = LOADED_IMAGE_PROTOCOL, volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
	static CHAR16 words_path[] = L"\\EFI\\BOOT\\shim.txt", loader_path[] = L"\\EFI\\BOOT\\real.efi";
	static char text[WORDS_BYTES_MAX + 1];
	system_table = system;
	boot = system->BootServices;
	real = *boot;
	real_get_variable = system->RuntimeServices->GetVariable;
	void *self = NULL, *volume = NULL, *file = NULL;
	EFI_FILE_HANDLE root = NULL;
	UINTN text_bytes = WORDS_BYTES_MAX, file_bytes = LOADER_BYTES_MAX;
	EFI_STATUS status = boot->HandleProtocol(image, &image_guid, &self);
	if (!EFI_ERROR(status))
		status = boot->HandleProtocol(((EFI_LOADED_IMAGE *)self)->DeviceHandle, &volume_guid, &volume);
	if (!EFI_ERROR(status)) status = ((EFI_FILE_IO_INTERFACE *)volume)->OpenVolume(volume, &root);
	if (!EFI_ERROR(status)) status = boot->AllocatePool(EfiBootServicesData, LOADER_BYTES_MAX, &file);
	if (!EFI_ERROR(status)) status = read_file(root, words_path, text, &text_bytes);
	if (!EFI_ERROR(status)) status = read_file(root, loader_path, file, &file_bytes);
	if (!EFI_ERROR(status)) status = start_loader(image, self, file, file_bytes, text);
	if (EFI_ERROR(status)) print("status %#llx", (unsigned long long)status);
	return status;
}
