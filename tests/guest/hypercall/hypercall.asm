; SPDX-License-Identifier: Apache-2.0
; The two hypercall instructions with known registers around them, and a call from ring 3.
bits 64
global hypercall_vmmcall, hypercall_vmcall, ring3_call, ring3_return

%macro HYPERCALL 2
; uint64_t NAME(uint64_t number, uint64_t registers[6]): RBX, RCX, RDX, RSI, RDI, R8 go in and come back
%1:
	push rbx
	push rbp
	mov rax, rdi
	mov rbp, rsi
	mov rbx, [rbp]
	mov rcx, [rbp + 8]
	mov rdx, [rbp + 16]
	mov rsi, [rbp + 24]
	mov rdi, [rbp + 32]
	mov r8, [rbp + 40]
	%2
	mov [rbp], rbx
	mov [rbp + 8], rcx
	mov [rbp + 16], rdx
	mov [rbp + 24], rsi
	mov [rbp + 32], rdi
	mov [rbp + 40], r8
	pop rbp
	pop rbx
	ret
%endmacro

section .text
HYPERCALL hypercall_vmmcall, vmmcall
HYPERCALL hypercall_vmcall, vmcall

; uint64_t ring3_call(void *code, void *stack): the RAX with which ring 3 came back by INT 0x80
ring3_call:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [saved_sp], rsp
	push 0x28 | 3
	push rsi
	push 2
	push 0x30 | 3
	push rdi
	iretq

; trap_handler
ring3_return:
	mov rax, [rdi + 14 * 8]
	mov rsp, [saved_sp]
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

section .bss nobits alloc write
alignb 8
saved_sp: resq 1
