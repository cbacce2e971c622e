; SPDX-License-Identifier: Apache-2.0
; The way to ring 3 and back (ring3.h).
bits 64
global ring3_call, ring3_return

section .text
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
	push rdx
	push 0x30 | 3
	push rdi
	iretq

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
