// SPDX-License-Identifier: Apache-2.0
// The loader's words. They reach the UEFI console and COM1: written there directly only when no active
// console of the firmware sits on COM1 already, so that nobody reads every line twice.
#include <efi.h>

#include "boot/efi/insn.h"
#include "boot/efi/loader.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define SAY_PREFIX "bulkhead-efi: "
#define SAY_LINE_BYTES 320u
#define SAY_WAIT_SECONDS 10u
#define SAY_TIMER_TICKS UINT64_C(10000000) // a second in the 100 ns units of SetTimer

#define COM1_PORT 0x3f8u
#define COM1_LSR (COM1_PORT + 5u)
#define COM1_LSR_THRE BIT32(5)
#define COM1_POLLS 100000u

#define DEVICE_PATH_LENGTH_MIN 4u
#define DEVICE_PATH_NODES_MAX 64u

// Set once by say_init.
static SIMPLE_TEXT_OUTPUT_INTERFACE *console;
static bool console_on_com1;

static void com1_byte(uint8_t byte) {
	// A port that is not there reads all ones: ready, and the byte is lost in time.
	for (uint32_t i = 0; i < COM1_POLLS && !(insn_inb(COM1_LSR) & COM1_LSR_THRE); i++) {
	}
	insn_outb(COM1_PORT, byte);
}

// Does this device path lead through the first serial port? UEFI 2.10, 10.3.3 and 10.3.4.
static bool path_is_com1(const EFI_DEVICE_PATH_PROTOCOL *node) {
	bool com1 = false, uart = false;
	for (uint32_t i = 0; i < DEVICE_PATH_NODES_MAX && node->Type != END_DEVICE_PATH_TYPE; i++) {
		uint32_t length = le16(node->Length);
		if (length < DEVICE_PATH_LENGTH_MIN) break;
		if (node->Type == ACPI_DEVICE_PATH && node->SubType == ACPI_DP &&
		    length >= sizeof(ACPI_HID_DEVICE_PATH)) {
			const ACPI_HID_DEVICE_PATH *acpi = (const void *)node;
			com1 = acpi->HID == EISA_PNP_ID(0x0501) && acpi->UID == 0;
		}
		if (node->Type == MESSAGING_DEVICE_PATH && node->SubType == MSG_UART_DP) uart = true;
		node = (const void *)((const uint8_t *)node + length);
	}
	return com1 && uart;
}

void say_init(EFI_SYSTEM_TABLE *system) {
	// The mark of consoles in use (EDK II, gEfiConsoleOutDeviceGuid); firmware without it gets both.
	static EFI_GUID active = {0xd3b36f2c, 0xd551, 0x11d4, {0x9a, 0x46, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d}};
	static EFI_GUID path_guid = DEVICE_PATH_PROTOCOL;
	console = system->ConOut;
	EFI_HANDLE *handle = NULL;
	UINTN count = 0;
	EFI_BOOT_SERVICES *boot = system->BootServices;
	if (EFI_ERROR(boot->LocateHandleBuffer(ByProtocol, &active, NULL, &count, &handle))) return;
	for (UINTN i = 0; i < count; i++) {
		void *path = NULL;
		if (EFI_ERROR(boot->HandleProtocol(handle[i], &path_guid, &path)) || !path) continue;
		if (path_is_com1(path)) console_on_com1 = true;
	}
	boot->FreePool(handle);
}

static void put_console(const char *text) {
	CHAR16 line[SAY_LINE_BYTES + 1];
	size_t len = strnlen(text, SAY_LINE_BYTES);
	for (size_t i = 0; i < len; i++) // UTF-8 beyond ASCII: the firmware's font is not ours to know
		line[i] = (uint8_t)text[i] < 0x80 ? (CHAR16)text[i] : u'?';
	line[len] = 0;
	if (console) console->OutputString(console, line);
}

static void put_com1(const char *text) {
	for (; *text; text++) com1_byte((uint8_t)*text);
}

static void format_line(char line[SAY_LINE_BYTES], const char *format, va_list args) {
	static const char prefix[] = SAY_PREFIX;
	size_t room = SAY_LINE_BYTES - sizeof prefix - 2; // CR LF
	memcpy(line, prefix, sizeof prefix);
	size_t len = fmt_vprint(line + sizeof prefix - 1, room, format, args);
	if (len > room - 1) len = room - 1;
	memcpy(line + sizeof prefix - 1 + len, "\r\n", 3);
}

void say(const char *format, ...) {
	char line[SAY_LINE_BYTES];
	va_list args;
	va_start(args, format);
	format_line(line, format, args);
	va_end(args);
	put_console(line);
	if (!console_on_com1) put_com1(line);
}

noreturn void say_last(bool to_console, const char *format, ...) {
	char line[SAY_LINE_BYTES];
	va_list args;
	va_start(args, format);
	format_line(line, format, args);
	va_end(args);
	put_com1(line);
	if (to_console) put_console(line);
	insn_stop();
}

const char *say_status(EFI_STATUS status) {
	switch (status) {
	case EFI_SUCCESS: return "success";
	case EFI_LOAD_ERROR: return "the image is broken";
	case EFI_INVALID_PARAMETER: return "invalid parameter";
	case EFI_UNSUPPORTED: return "not supported by this firmware";
	case EFI_BAD_BUFFER_SIZE:
	case EFI_BUFFER_TOO_SMALL: return "buffer too small";
	case EFI_DEVICE_ERROR: return "the device reports an error";
	case EFI_WRITE_PROTECTED: return "write protected";
	case EFI_OUT_OF_RESOURCES: return "out of memory";
	case EFI_VOLUME_CORRUPTED: return "the file system is damaged";
	case EFI_NO_MEDIA: return "no medium";
	case EFI_MEDIA_CHANGED: return "the medium was changed";
	case EFI_NOT_FOUND: return "not found";
	case EFI_ACCESS_DENIED: return "access denied";
	case EFI_TIMEOUT: return "time-out";
	case EFI_ABORTED: return "aborted";
	case EFI_SECURITY_VIOLATION: return "refused by the security policy";
	default: return "firmware error";
	}
}

void say_wait(EFI_SYSTEM_TABLE *system) {
	EFI_BOOT_SERVICES *boot = system->BootServices;
	EFI_EVENT event[2];
	UINTN count = 0, index;
	if (EFI_ERROR(boot->CreateEvent(EVT_TIMER, TPL_APPLICATION, NULL, NULL, &event[count]))) return;
	boot->SetTimer(event[count++], TimerRelative, SAY_WAIT_SECONDS * SAY_TIMER_TICKS);
	if (system->ConIn) {
		system->ConIn->Reset(system->ConIn, FALSE); // a key pressed before the message answers nothing
		event[count++] = system->ConIn->WaitForKey;
	}
	say("press a key, or wait %u seconds, to go back to the firmware", SAY_WAIT_SECONDS);
	boot->WaitForEvent(count, event, &index);
	boot->CloseEvent(event[0]);
	EFI_INPUT_KEY key;
	if (system->ConIn) system->ConIn->ReadKeyStroke(system->ConIn, &key);
}
