; SPDX-License-Identifier: Apache-2.0
; The common path of a 64-bit guest from its entry stubs to trap_dispatch with a struct regs on the stack, and the
; register pair behind CATCH.
bits 64
%include "tests/guest/lib/trap.inc"
global trap_return

; The last of struct regs (trap.h) is pushed first.
%define REGS rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15

trap_common:
	PUSH_ALL REGS
	mov rdi, rsp
	mov rbp, rsp
	and rsp, -16
	cld
	call trap_dispatch
	mov rsp, rbp
trap_return:
	POP_ALL REGS
	add rsp, 16
	iretq

; int trap_jump_save(unsigned long buffer[9])
trap_jump_save:
	mov rax, [rsp]
	mov [rdi], rax
	lea rax, [rsp + 8]
	mov [rdi + 8], rax
	mov [rdi + 16], rbx
	mov [rdi + 24], rbp
	mov [rdi + 32], r12
	mov [rdi + 40], r13
	mov [rdi + 48], r14
	mov [rdi + 56], r15
	pushfq
	pop qword [rdi + 64]
	xor eax, eax
	ret

; noreturn void trap_jump(unsigned long buffer[9]): CS is reloaded as well, the fault may be in another one
trap_jump:
	mov eax, 0x10
	mov ss, eax
	mov ds, eax
	mov es, eax
	mov rsp, [rdi + 8]
	mov rbx, [rdi + 16]
	mov rbp, [rdi + 24]
	mov r12, [rdi + 32]
	mov r13, [rdi + 40]
	mov r14, [rdi + 48]
	mov r15, [rdi + 56]
	mov eax, 1
	push qword 0x10
	lea rcx, [rsp + 8]
	push rcx
	push qword [rdi + 64]
	push qword 0x08
	push qword [rdi]
	iretq
