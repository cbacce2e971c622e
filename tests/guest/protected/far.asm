; SPDX-License-Identifier: Apache-2.0
; Far transfers of the protected-mode test: 16-bit code, a call gate, ring 3, virtual-8086 mode.
bits 32
global call_code16, call_gate, gate_target, ring3_call, ring3_int80, ring3_return, v86_call
%define LOW_CODE 0x9000
%define FLAG_VM 1 << 17

section .text
; uint32_t call_code16(void): a copy of code16 below 64 KiB, called through the 16-bit descriptor
call_code16:
	push esi
	push edi
	mov esi, code16
	mov edi, LOW_CODE
	mov ecx, code16_end - code16
	rep movsb
	call 0x18:LOW_CODE
	pop edi
	pop esi
	ret

bits 16
code16:
	mov eax, 0
	mov ax, 0x1616
	in al, 0x21			; exits from 16-bit code too
	mov al, 0x16
	push eax
	mov ecx, eax
	xor eax, eax
	cpuid
	pop eax
	db 0x66
	retf
code16_end:

bits 32
; uint32_t call_gate(void)
call_gate:
	call 0x50:0
	ret
gate_target:
	mov eax, 0x6A7E
	retf

; uint32_t ring3_call(code, stack, flags): the EAX with which ring 3 came back by INT 0x80
ring3_call:
	mov eax, [esp + 4]
	mov edx, [esp + 8]
	mov ecx, [esp + 12]
	push ebx
	push esi
	push edi
	push ebp
	mov [saved_sp], esp
	push 0x30 | 3
	push edx
	push ecx
	push 0x28 | 3
	push eax
	iretd

; uint32_t v86_call(ip, segment): the EAX with which virtual-8086 mode came back by INT 0x80
v86_call:
	mov eax, [esp + 4]
	mov edx, [esp + 8]
	push ebx
	push esi
	push edi
	push ebp
	mov [saved_sp], esp
	push edx			; GS, FS, DS, ES
	push edx
	push edx
	push edx
	push edx			; SS:ESP
	push dword 0xFFE
	push dword FLAG_VM | 0x3002
	push edx
	push eax
	iretd

ring3_int80:
	mov eax, cs
	int 0x80

; trap_handler: the frame of the interrupted code is left behind
ring3_return:
	mov ecx, [esp + 4]
	mov eax, [ecx + 10 * 4]	; struct regs: EAX
	mov esp, [saved_sp]
	pop ebp
	pop edi
	pop esi
	pop ebx
	ret

section .bss nobits alloc write
alignb 4
saved_sp: resd 1
