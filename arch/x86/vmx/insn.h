// SPDX-License-Identifier: Apache-2.0
// The instructions of VMX that C uses (SDM vol. 3, ch. 30 "VMX Instruction Reference"). Every one reports
// VMfailInvalid in CF and VMfailValid in ZF (30.2 "Conventions"); no wrapper drops them: those of set-up return
// false, those that can fail only by our own mistake end in vmx_insn_failed. VMLAUNCH and VMRESUME are in enter.asm.
#pragma once

#include "arch/x86/vmx/vmcs.h"
#include "kernel/lib/types.h"

// Panics with the instruction, its operand and the VM-instruction error. In vcpu.c.
noreturn __cold void vmx_insn_failed(const char *insn, uint64_t operand);
// The same for the two that are everywhere, which jump to vmx_vmread_failed and vmx_vmwrite_failed in enter.asm with the
// field in RAX: a failure costs one instruction of text where it cannot happen.
noreturn __cold void vmx_access_failed(uint64_t field, bool write);

#define VMX_INSN_POINTER(insn)                                                                               \
	static inline __must_check bool vmx_##insn(uint64_t pa) {                                                \
		bool failed;                                                                                         \
		__asm__ volatile(#insn " %1" : "=@ccbe"(failed) : "m"(pa) : "memory");                               \
		return !failed;                                                                                      \
	}
VMX_INSN_POINTER(vmxon)
VMX_INSN_POINTER(vmclear)
VMX_INSN_POINTER(vmptrld)

static inline __must_check bool vmx_vmxoff(void) {
	bool failed;
	__asm__ volatile("vmxoff" : "=@ccbe"(failed) : : "memory");
	return !failed;
}

// Descriptors of 128 bits: the EPTP and zero; the VPID and a linear address.
static inline void vmx_invept(enum vmx_invept_type type, uint64_t eptp) {
	const uint64_t descriptor[2] = {eptp, 0};
	bool failed;
	__asm__ volatile("invept %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((uint64_t)type) : "memory");
	if (unlikely(failed)) vmx_insn_failed("INVEPT", eptp);
}
static inline void vmx_invvpid(enum vmx_invvpid_type type, uint16_t vpid) {
	const uint64_t descriptor[2] = {vpid, 0};
	bool failed;
	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(failed) : "m"(descriptor), "r"((uint64_t)type) : "memory");
	if (unlikely(failed)) vmx_insn_failed("INVVPID", vpid);
}

// False when there is no current VMCS or no such field.
static inline __must_check bool vmcs_read_quiet(uint32_t field, uint64_t *value) {
	bool failed;
	__asm__ volatile("vmread %2, %1" : "=@ccbe"(failed), "=r"(*value) : "r"((uint64_t)field));
	return !failed;
}
// Fields of the current VMCS. For a field known to the compiler use the macros below.
static inline uint64_t vmcs_read(uint32_t field) {
	uint64_t value; // on failure RAX is unchanged even where it is this
	__asm__ __inline volatile("vmread %1, %0\n\tjbe vmx_vmread_failed"
	                          : "=r"(value)
	                          : "a"((uint64_t)field)
	                          : "cc");
	return value;
}
static inline void vmcs_write(uint32_t field, uint64_t value) {
	__asm__ __inline volatile("vmwrite %1, %0\n\tjbe vmx_vmwrite_failed"
	                          :
	                          : "a"((uint64_t)field), "r"(value)
	                          : "cc");
}

// The width of the field is checked when it is compiled.
#define VMCS_CHECKED(field, width) _Static_assert(VMCS_WIDTH(field) == (width), "width of the VMCS field")
#define vmcs_read32(field)                                                                                   \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_32);                                                                        \
		(uint32_t) vmcs_read(field);                                                                         \
	})
#define vmcs_read64(field)                                                                                   \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_64);                                                                        \
		vmcs_read(field);                                                                                    \
	})
#define vmcs_readn(field)                                                                                    \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_NATURAL);                                                                   \
		vmcs_read(field);                                                                                    \
	})
#define vmcs_write16(field, v)                                                                               \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_16);                                                                        \
		vmcs_write(field, (uint16_t)(v));                                                                    \
	})
#define vmcs_write32(field, v)                                                                               \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_32);                                                                        \
		vmcs_write(field, (uint32_t)(v));                                                                    \
	})
#define vmcs_write64(field, v)                                                                               \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_64);                                                                        \
		vmcs_write(field, (v));                                                                              \
	})
#define vmcs_writen(field, v)                                                                                \
	({                                                                                                       \
		VMCS_CHECKED(field, VMCS_NATURAL);                                                                   \
		vmcs_write(field, (v));                                                                              \
	})

// Taking an NMI by hand: a VM exit for an NMI leaves NMIs blocked and the NMI consumed (SDM vol. 3, 27.1); the
// gate's IRET unblocks them.
static inline void vmx_nmi_take(void) { __asm__ volatile("int $2" : : : "memory"); }
