// SPDX-License-Identifier: Apache-2.0
// A boot sector's world (IBM PC convention): 0000:7C00, DL = first hard disk, and here a stack below it. There
// is no BIOS behind it, no initrd and no command line.
#include "kernel/load/flat.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define FIRST_HARD_DISK 0x80u

int flat_load(struct load_job *job, struct load_entry *entry) {
	const struct load_request *request = job->request;

	if (request->initrd != NULL)
		return load_fail(job->why, LOAD_BLAME_INITRD, -ERR_UNSUP, "cannot be given to flat real-mode code");
	if (request->cmdline[0] != 0)
		return load_fail(job->why, LOAD_BLAME_CMDLINE, -ERR_UNSUP, "cannot be given to flat real-mode code");
	int rc = job_take(job, FLAT_BASE, request->kernel->bytes, "flat code");
	if (rc == 0) rc = job_copy(job, FLAT_BASE, request->kernel, 0, request->kernel->bytes);
	if (rc != 0) return rc;

	entry->mode = LOAD_MODE_REAL;
	entry->rip = FLAT_BASE;
	entry->rsp = FLAT_BASE;
	entry->rdx = FIRST_HARD_DISK;
	entry->cr0 = CR0_ET;
	return 0;
}
