// SPDX-License-Identifier: Apache-2.0
// Error codes. Functions return 0 or a negative enumerator (`-ERR_NOMEM`); err_name says it in words.
#pragma once

#include "kernel/lib/types.h"

enum err {
	ERR_INVAL = 1, // an argument or field has a value that is never allowed
	ERR_NOMEM,     // a fixed budget or the frame allocator is exhausted
	ERR_RANGE,     // an address, index or length outside its object
	ERR_OVERLAP,   // two ranges that must be disjoint are not
	ERR_EXIST,     // the name or slot is taken
	ERR_NOENT,     // no such object
	ERR_STATE,     // legal call, wrong state
	ERR_BUSY,      // in use now, try later
	ERR_PERM,      // not permitted
	ERR_UNSUP,     // the machine or this build lacks it
	ERR_FORMAT,    // foreign bytes are not what they claim to be
	ERR_TRUNC,     // foreign bytes end too early
	ERR_CHECKSUM,  // foreign bytes fail their checksum
	ERR_VERSION,   // a version this build does not read
	ERR_FAULT,     // a guest address is not backed
	ERR_TIMEOUT,   // hardware did not answer in its time
	ERR_COUNT,
};

// What a person reads for a code, given negative or positive ("out of memory"); "unknown error" for a stranger. Never
// NULL.
const char *err_name(int code);
