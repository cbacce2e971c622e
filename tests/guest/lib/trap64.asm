; SPDX-License-Identifier: Apache-2.0
; The 256 entry stubs of a 64-bit guest (16 bytes each, so that their addresses are a product), the common
; path to trap_dispatch with a struct regs on the stack, and the register pair behind CATCH.
bits 64
extern trap_dispatch
global trap_stubs, trap_jump_save, trap_jump, trap_return

section .text
align 16
trap_stubs:
%assign vector 0
%rep 256
	align 16
%if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
%else
	push 0
%endif
	push strict dword vector
	jmp near trap_common
%assign vector vector + 1
%endrep

align 16
trap_common:
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	mov rdi, rsp
	mov rbp, rsp
	and rsp, -16
	cld
	call trap_dispatch
	mov rsp, rbp
trap_return:
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
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
