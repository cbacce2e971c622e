; SPDX-License-Identifier: Apache-2.0
; The 256 entry stubs of a 32-bit guest (16 bytes each), the common path to trap_dispatch with a struct regs
; on the stack, and the register pair behind CATCH.
bits 32
extern trap_dispatch
global trap_stubs, trap_jump_save, trap_jump

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
	push eax
	push ebx
	push ecx
	push edx
	push esi
	push edi
	push ebp
	push ds
	push es
	push fs
	push gs
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
	pop gs
	pop fs
	pop es
	pop ds
	pop ebp
	pop edi
	pop esi
	pop edx
	pop ecx
	pop ebx
	pop eax
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
