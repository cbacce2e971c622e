; SPDX-License-Identifier: Apache-2.0
; The world switch of SVM (APM vol. 2, 15.5 "VMRUN Instruction" and 15.17 "Global Interrupt Flag").
;
; svm_enter(rdi = struct arch_vcpu *, rsi = top of this CPU's stack), called with GIF = 0 and IF = 1 (so that
; physical interrupts exit the guest under V_INTR_MASKING). It never returns: the stack is discarded, and
; after the guest's exit svm_exit(arch_vcpu) begins on an empty stack with IF = 0 and GIF = 1.
; Between #VMEXIT and VMLOAD of the host's block FS, GS, TR and LDTR are still the guest's: no C, no %gs, and
; GIF = 0 keeps NMIs out (an #MC would still find a valid IDT and GDT, but the guest's TR).
default rel
bits 64
%include "arch/x86/guest/enter.inc"

extern svm_exit

section .text
global svm_enter
align 64
svm_enter:
	mov rsp, rsi
	push rdi
	push qword [rdi + VCPU_HOST_PA]
	mov rax, [rdi + VCPU_ENTER_PA]
	vmload
	GUEST_GPRS_LOAD
	vmrun
	vmsave                       ; RAX holds the VMCB's address again
	mov rax, rdi
	mov rdi, [rsp + 8]
	mov [rdi + VCPU_RDI], rax
	pop rax                      ; host block
	GUEST_GPRS_SAVE
	vmload
	cli
	stgi
	xor ebp, ebp                 ; end of the backtrace
	jmp svm_exit                 ; RSP: one slot pushed, so it is aligned as after a CALL
