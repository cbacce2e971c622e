; SPDX-License-Identifier: Apache-2.0
; The two hypercall instructions with known registers around them.
bits 64
global hypercall_vmmcall, hypercall_vmcall

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
