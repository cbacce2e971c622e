// SPDX-License-Identifier: Apache-2.0
// Names of the error codes.
#include "kernel/lib/err.h"

static const char *const names[ERR_COUNT] = {
    [0] = "OK",
    [ERR_INVAL] = "ERR_INVAL",
    [ERR_NOMEM] = "ERR_NOMEM",
    [ERR_RANGE] = "ERR_RANGE",
    [ERR_OVERLAP] = "ERR_OVERLAP",
    [ERR_EXIST] = "ERR_EXIST",
    [ERR_NOENT] = "ERR_NOENT",
    [ERR_STATE] = "ERR_STATE",
    [ERR_BUSY] = "ERR_BUSY",
    [ERR_PERM] = "ERR_PERM",
    [ERR_UNSUP] = "ERR_UNSUP",
    [ERR_FORMAT] = "ERR_FORMAT",
    [ERR_TRUNC] = "ERR_TRUNC",
    [ERR_CHECKSUM] = "ERR_CHECKSUM",
    [ERR_VERSION] = "ERR_VERSION",
    [ERR_FAULT] = "ERR_FAULT",
    [ERR_TIMEOUT] = "ERR_TIMEOUT",
};

const char *err_name(int code) {
	unsigned index = code < 0 ? 0u - (unsigned)code : (unsigned)code;
	return index < ERR_COUNT ? names[index] : "ERR_?";
}
