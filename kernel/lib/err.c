// SPDX-License-Identifier: Apache-2.0
// The error codes in words.
#include "kernel/lib/err.h"

static const char *const names[ERR_COUNT] = {
    [0] = "no error",
    [ERR_INVAL] = "invalid value",
    [ERR_NOMEM] = "out of memory",
    [ERR_RANGE] = "out of range",
    [ERR_OVERLAP] = "overlaps another",
    [ERR_EXIST] = "exists already",
    [ERR_NOENT] = "not found",
    [ERR_STATE] = "not now",
    [ERR_BUSY] = "in use",
    [ERR_PERM] = "not permitted",
    [ERR_UNSUP] = "not supported",
    [ERR_FORMAT] = "wrong format",
    [ERR_TRUNC] = "ends too early",
    [ERR_CHECKSUM] = "wrong checksum",
    [ERR_VERSION] = "wrong version",
    [ERR_FAULT] = "no memory at the address",
    [ERR_TIMEOUT] = "no answer in time",
};

const char *err_name(int code) {
	unsigned index = code < 0 ? 0u - (unsigned)code : (unsigned)code;
	return index < ERR_COUNT ? names[index] : "unknown error";
}
