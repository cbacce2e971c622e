; SPDX-License-Identifier: Apache-2.0
; Code that raises exceptions where C cannot: another ring, another stack, any vector.
bits 64
global ring3_call, ring3_return, ring3_misaligned, ring3_exit, int_n, int_n_on_stack
%define FLAG_AC 1 << 18

section .text
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
	push FLAG_AC | 2
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

ring3_misaligned:
	mov eax, [rsp - 7]
ring3_exit:
	mov eax, 1
	int 0x80

; void int_n(unsigned vector): calls one of 256 routines of four bytes
int_n:
	mov eax, edi
	lea rax, [int_table + rax * 4]
	jmp rax
align 16
int_table:
%assign n 0
%rep 256
	db 0xCD, n
	ret
	nop
%assign n n + 1
%endrep

; void int_n_on_stack(void *stack): INT 0x91 on that stack
int_n_on_stack:
	mov rsp, rdi
	int 0x91
	ud2

section .bss nobits alloc write
alignb 8
saved_sp: resq 1
