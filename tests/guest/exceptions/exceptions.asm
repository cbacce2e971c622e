; SPDX-License-Identifier: Apache-2.0
; Code that raises exceptions where C cannot: for another ring, on another stack, of any vector.
bits 64
global ring3_misaligned, ring3_exit, int_n, int_n_on_stack

section .text
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
