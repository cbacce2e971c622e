// SPDX-License-Identifier: Apache-2.0
// The one door for hypercalls. Numbers not in the table, and every call from user mode, are refused, counted.
#include "arch/x86/guest/hypercall.h"

#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "kernel/abi/hypercall.h"
#include "kernel/lib/err.h"

static int64_t call(uint64_t number) {
	switch (number) {
	case HYPERCALL_VERSION: return HYPERCALL_ABI_VERSION;
	default: return -ERR_UNSUP;
	}
}

void hypercall_exit(struct vcpu *vcpu, const struct exit *exit) {
	uint64_t *rax = &vcpu->arch->gpr[GPR_RAX];
	int64_t result = unlikely(ops->cpl_get(vcpu) != 0) ? -ERR_PERM : call(*rax);
	if (unlikely(result < 0)) vcpu->stat.hypercalls_denied++;
	*rax = (uint64_t)result;
	guest_skip(vcpu, exit);
}
