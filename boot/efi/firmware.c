// SPDX-License-Identifier: Apache-2.0
// What only the firmware knows: ACPI's root pointer, the screen, Secure Boot, options on our command line.
// Each may be absent; that costs a feature and is no error.
#include <efi.h>

#include "boot/efi/loader.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

static bool same_guid(const EFI_GUID *a, const EFI_GUID *b) { return memcmp(a, b, sizeof *a) == 0; }

static uint64_t find_rsdp(const EFI_SYSTEM_TABLE *system) {
	static const EFI_GUID acpi20 = ACPI_20_TABLE_GUID, acpi10 = ACPI_TABLE_GUID;
	uint64_t old = 0;
	for (UINTN i = 0; i < system->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *table = &system->ConfigurationTable[i];
		uint64_t address = memory_address(table->VendorTable);
		if (same_guid(&table->VendorGuid, &acpi20)) return address;
		if (same_guid(&table->VendorGuid, &acpi10)) old = address;
	}
	return old;
}

static uint32_t pixel_format(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode) {
	const EFI_PIXEL_BITMASK *mask = &mode->PixelInformation;
	switch (mode->PixelFormat) {
	case PixelBlueGreenRedReserved8BitPerColor: return BOOT_FB_XRGB8888;
	case PixelRedGreenBlueReserved8BitPerColor: return BOOT_FB_XBGR8888;
	case PixelBitMask:
		if (mask->GreenMask != 0xff00) return BOOT_FB_NONE;
		if (mask->RedMask == 0xff0000 && mask->BlueMask == 0xff) return BOOT_FB_XRGB8888;
		return mask->RedMask == 0xff && mask->BlueMask == 0xff0000 ? BOOT_FB_XBGR8888 : BOOT_FB_NONE;
	default: return BOOT_FB_NONE; // Blt only: gone with boot services
	}
}

static void find_framebuffer(EFI_SYSTEM_TABLE *system, struct boot_framebuffer *fb) {
	static EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_BOOT_SERVICES *boot = system->BootServices;
	void *found = NULL;
	// The console's own screen first: on a machine with two, that is the one that is looked at.
	if (EFI_ERROR(boot->HandleProtocol(system->ConsoleOutHandle, &guid, &found)) || !found)
		if (EFI_ERROR(boot->LocateProtocol(&guid, NULL, &found)) || !found) return;
	const EFI_GRAPHICS_OUTPUT_PROTOCOL *screen = found;
	if (!screen->Mode || !screen->Mode->Info) return;
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = screen->Mode->Info;
	uint64_t pitch = (uint64_t)mode->PixelsPerScanLine * 4, bytes = pitch * mode->VerticalResolution;
	uint32_t format = pixel_format(mode);
	bool sane =
	    mode->HorizontalResolution > 0 && bytes > 0 && mode->PixelsPerScanLine >= mode->HorizontalResolution;
	if (format == BOOT_FB_NONE || !sane || pitch > UINT32_MAX || screen->Mode->FrameBufferBase == 0) return;
	*fb = (struct boot_framebuffer){.base = screen->Mode->FrameBufferBase,
	                                .bytes = bytes,
	                                .width = mode->HorizontalResolution,
	                                .height = mode->VerticalResolution,
	                                .pitch = (uint32_t)pitch,
	                                .format = format};
}

// UEFI 2.10, section 3.3: globally defined variables of one byte. False when absent.
static bool read_flag(EFI_RUNTIME_SERVICES *runtime, CHAR16 *name, uint8_t *value) {
	static EFI_GUID guid = EFI_GLOBAL_VARIABLE;
	UINTN size = sizeof *value;
	return !EFI_ERROR(runtime->GetVariable(name, &guid, NULL, &size, value)) && size == sizeof *value;
}

static uint32_t secure_boot(EFI_RUNTIME_SERVICES *runtime) {
	static CHAR16 secure_name[] = L"SecureBoot", setup_name[] = L"SetupMode";
	uint8_t secure = 0, setup = 0;
	if (!read_flag(runtime, secure_name, &secure)) return BOOT_SECURE_UNKNOWN;
	if (read_flag(runtime, setup_name, &setup) && setup == 1) return BOOT_SECURE_SETUP;
	return secure == 1 ? BOOT_SECURE_ON : BOOT_SECURE_OFF;
}

// The UEFI shell and boot entries pass options as text; some firmware passes binary data of its own, so only
// printable, terminated UCS-2 counts. The shell's first word is our own name.
static void read_options(const EFI_LOADED_IMAGE *self, char *dst, size_t dst_bytes) {
	const uint8_t *raw = self->LoadOptions;
	size_t units = raw ? self->LoadOptionsSize / sizeof(CHAR16) : 0, len = 0;
	for (; len < units && le16(raw + 2 * len) != 0; len++) {
		uint16_t unit = le16(raw + 2 * len);
		if (unit < ' ' || unit > '~' || len + 1 >= dst_bytes) return;
	}
	if (len == units) return;
	size_t start = 0;
	while (start < len && le16(raw + 2 * start) != ' ') start++;
	if (start >= 4 && le16(raw + 2 * (start - 4)) == '.') {
		while (start < len && le16(raw + 2 * start) == ' ') start++;
	} else {
		start = 0;
	}
	for (size_t i = start; i < len; i++) dst[i - start] = (char)raw[2 * i];
}

void firmware_read(struct loader *loader) {
	struct boot_info *info = loader->info;
	info->rsdp = find_rsdp(loader->system);
	info->efi_system_table = memory_address(loader->system);
	info->secure_boot = secure_boot(loader->system->RuntimeServices);
	find_framebuffer(loader->system, &info->fb);
	read_options(loader->self, info->cmdline, sizeof info->cmdline);
}
