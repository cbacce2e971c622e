; SPDX-License-Identifier: Apache-2.0
; The common path of a 32-bit guest from its entry stubs to trap_dispatch with a struct regs on the stack, and the
; register pair behind CATCH.
bits 32
%include "tests/guest/lib/trap.inc"
; The last of struct regs (trap.h) is pushed first.
%define REGS eax, ebx, ecx, edx, esi, edi, ebp, ds, es, fs, gs

trap_common:
	PUSH_ALL REGS
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov ebp, esp
	and esp, -16
	sub esp, 12
	push ebp
	cld
	call trap_dispatch
	mov esp, ebp
	POP_ALL REGS
	add esp, 8
	iretd

; int trap_jump_save(unsigned long buffer[9])
trap_jump_save:
	mov ecx, [esp + 4]
	mov eax, [esp]
	mov [ecx], eax
	lea eax, [esp + 4]
	mov [ecx + 4], eax
	mov [ecx + 8], ebx
	mov [ecx + 12], ebp
	mov [ecx + 16], esi
	mov [ecx + 20], edi
	pushfd
	pop dword [ecx + 24]
	xor eax, eax
	ret

; noreturn void trap_jump(unsigned long buffer[9])
trap_jump:
	mov ecx, [esp + 4]
	mov eax, 0x10
	mov ss, eax
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov esp, [ecx + 4]
	mov ebx, [ecx + 8]
	mov ebp, [ecx + 12]
	mov esi, [ecx + 16]
	mov edi, [ecx + 20]
	mov eax, 1
	push dword [ecx + 24]
	push dword 0x08
	push dword [ecx]
	iretd
