; SPDX-License-Identifier: Apache-2.0
; The last instructions of protected mode, run from a copy at 0x600.
global real_start, real_end
%define AT 0x600
section .text
bits 32
real_start:
	jmp 0x18:AT + (.code16 - real_start)
bits 16
.code16:
	mov ax, 0x20
	mov ds, ax
	mov es, ax
	mov fs, ax
	mov gs, ax
	mov ss, ax
	mov eax, cr0
	and al, ~1
	mov cr0, eax
	jmp 0:AT + (.real - real_start)
.real:
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov fs, ax
	mov gs, ax
	mov ss, ax
	jmp 0:0x7C00
real_end:
