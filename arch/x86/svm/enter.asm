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

extern svm_exit

VCPU_RAX     equ 0 * 8
VCPU_RCX     equ 1 * 8
VCPU_RDX     equ 2 * 8
VCPU_RBX     equ 3 * 8
VCPU_RBP     equ 5 * 8
VCPU_RSI     equ 6 * 8
VCPU_RDI     equ 7 * 8
VCPU_R8      equ 8 * 8
VCPU_VMCB_PA equ 128
VCPU_HOST_PA equ 136

section .text
global svm_enter
align 64
svm_enter:
	mov rsp, rsi
	push rdi
	push qword [rdi + VCPU_HOST_PA]
	mov rax, [rdi + VCPU_VMCB_PA]
	vmload
	mov rcx, [rdi + VCPU_RCX]
	mov rdx, [rdi + VCPU_RDX]
	mov rbx, [rdi + VCPU_RBX]
	mov rbp, [rdi + VCPU_RBP]
	mov rsi, [rdi + VCPU_RSI]
	mov r8,  [rdi + VCPU_R8]
	mov r9,  [rdi + VCPU_R8 + 8]
	mov r10, [rdi + VCPU_R8 + 16]
	mov r11, [rdi + VCPU_R8 + 24]
	mov r12, [rdi + VCPU_R8 + 32]
	mov r13, [rdi + VCPU_R8 + 40]
	mov r14, [rdi + VCPU_R8 + 48]
	mov r15, [rdi + VCPU_R8 + 56]
	mov rdi, [rdi + VCPU_RDI]
	vmrun
	vmsave                       ; RAX holds the VMCB's address again
	mov rax, rdi
	mov rdi, [rsp + 8]
	mov [rdi + VCPU_RDI], rax
	pop rax                      ; host block
	mov [rdi + VCPU_RCX], rcx
	mov [rdi + VCPU_RDX], rdx
	mov [rdi + VCPU_RBX], rbx
	mov [rdi + VCPU_RBP], rbp
	mov [rdi + VCPU_RSI], rsi
	mov [rdi + VCPU_R8], r8
	mov [rdi + VCPU_R8 + 8], r9
	mov [rdi + VCPU_R8 + 16], r10
	mov [rdi + VCPU_R8 + 24], r11
	mov [rdi + VCPU_R8 + 32], r12
	mov [rdi + VCPU_R8 + 40], r13
	mov [rdi + VCPU_R8 + 48], r14
	mov [rdi + VCPU_R8 + 56], r15
	vmload
	cli
	stgi
	xor ebp, ebp                 ; end of the backtrace
	jmp svm_exit                 ; RSP: one slot pushed, so it is aligned as after a CALL
