// SPDX-License-Identifier: Apache-2.0
// Files of the volume that the loader was started from, by the Simple File System Protocol.
#include <efi.h>

#include "boot/efi/loader.h"
#include "boot/efi/names.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

#define VOLUME_PATH_UNITS 128u
// Some USB stacks fail on single reads of hundreds of megabytes.
#define VOLUME_READ_BYTES (4 * MIB)
// EFI_FILE_INFO with the longest name that a FAT volume holds.
#define VOLUME_INFO_BYTES (sizeof(EFI_FILE_INFO) + 256 * sizeof(CHAR16))

EFI_STATUS volume_open(struct loader *loader) {
	static EFI_GUID image_guid = LOADED_IMAGE_PROTOCOL, volume_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
	void *self = NULL, *volume = NULL;
	EFI_STATUS status = loader->boot->HandleProtocol(loader->image, &image_guid, &self);
	if (EFI_ERROR(status)) {
		say("the firmware does not say where this loader came from: %s", say_status(status));
		return status;
	}
	loader->self = self;
	status = loader->boot->HandleProtocol(loader->self->DeviceHandle, &volume_guid, &volume);
	if (!EFI_ERROR(status)) {
		EFI_FILE_IO_INTERFACE *files = volume;
		status = files->OpenVolume(files, &loader->root);
	}
	if (EFI_ERROR(status)) say("cannot open the volume this loader came from: %s", say_status(status));
	return status;
}

static EFI_STATUS read_all(EFI_FILE_HANDLE file, uint8_t *dst, uint64_t bytes, uint64_t *done) {
	for (*done = 0; *done < bytes;) {
		UINTN chunk = min_u64(bytes - *done, VOLUME_READ_BYTES);
		EFI_STATUS status = file->Read(file, &chunk, dst + *done);
		if (EFI_ERROR(status)) return status;
		if (chunk == 0) break;
		*done += chunk;
	}
	return EFI_SUCCESS;
}

static EFI_STATUS read_open(struct loader *loader, EFI_FILE_HANDLE handle, const char *name, bool keep,
                            struct volume_file *file) {
	static EFI_GUID info_guid = EFI_FILE_INFO_ID;
	union {
		EFI_FILE_INFO info;
		uint8_t room[VOLUME_INFO_BYTES];
	} answer;
	UINTN size = sizeof answer;
	EFI_STATUS status = handle->GetInfo(handle, &info_guid, &size, &answer);
	if (EFI_ERROR(status)) {
		say("%s: cannot read its length: %s", name, say_status(status));
		return status;
	}
	if (answer.info.Attribute & EFI_FILE_DIRECTORY) return EFI_NOT_FOUND;
	file->bytes = answer.info.FileSize;
	uint64_t pages = max_u64(1, file->bytes / EFI_PAGE_SIZE + (file->bytes % EFI_PAGE_SIZE != 0));
	status = memory_take(loader, pages, 1, false, keep, name, &file->base);
	if (EFI_ERROR(status)) return status;

	uint8_t *dst = memory_at(file->base);
	uint64_t done = 0;
	status = read_all(handle, dst, file->bytes, &done);
	if (EFI_ERROR(status)) {
		say("%s: cannot read it: %s", name, say_status(status));
		return status;
	}
	if (done < file->bytes) {
		say("%s: it ends after %llu of %llu bytes: the file system is damaged", name,
		    (unsigned long long)done, (unsigned long long)file->bytes);
		return EFI_VOLUME_CORRUPTED;
	}
	memset(dst + done, 0, pages * EFI_PAGE_SIZE - done); // nothing of the firmware behind the last byte
	return EFI_SUCCESS;
}

EFI_STATUS volume_read(struct loader *loader, const char *name, bool keep, struct volume_file *file) {
	CHAR16 path[VOLUME_PATH_UNITS];
	EFI_FILE_HANDLE handle = NULL;
	if (!names_path((uint16_t *)path, VOLUME_PATH_UNITS, LOADER_FOLDER, name)) return EFI_NOT_FOUND;
	EFI_STATUS status = loader->root->Open(loader->root, &handle, path, EFI_FILE_MODE_READ, 0);
	if (status == EFI_NOT_FOUND || status == EFI_INVALID_PARAMETER) return EFI_NOT_FOUND;
	if (EFI_ERROR(status)) {
		say("%s: cannot open it: %s", name, say_status(status));
		return status;
	}
	status = read_open(loader, handle, name, keep, file);
	handle->Close(handle);
	return status;
}
