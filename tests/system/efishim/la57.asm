; SPDX-License-Identifier: Apache-2.0
; The way from 4-level to 5-level paging for the shim: CR4.LA57 must not change in long mode (SDM vol. 3, 4.1.2), so it
; goes through 32-bit code without paging. What is on the stack brings the firmware's GDT and segments back.
SEL_CODE32 equ 8
SEL_CODE64 equ 16
SEL_DATA   equ 24
CR0_PG     equ 1 << 31
CR4_LA57   equ 1 << 12

default rel
bits 64
section .text
; void la57_enter(uint64_t pml5). Memory is mapped one to one; code, stack and the table lie below 4 GiB.
global la57_enter
la57_enter:
	push rbx
	push rbp
	pushfq
	cli
	mov eax, cs
	push rax
	mov eax, ss
	push rax
	sub rsp, 32
	sgdt [rsp + 16]
	mov word [rsp], gdt_end - gdt - 1
	lea rax, [gdt]
	mov [rsp + 2], rax
	lgdt [rsp]
	lea rdx, [.long_mode]
	push SEL_CODE32
	lea rax, [.protected]
	push rax
	retfq

bits 32
.protected:
	mov eax, SEL_DATA
	mov ss, eax
	mov ebx, cr0
	mov eax, ebx
	and eax, ~CR0_PG
	mov cr0, eax
	mov eax, cr4
	or eax, CR4_LA57
	mov cr4, eax
	mov cr3, edi
	mov cr0, ebx
	push SEL_CODE64
	push edx
	retf

bits 64
.long_mode:
	mov esp, esp                ; the upper halves were undefined without long mode
	lgdt [rsp + 16]
	add rsp, 32
	pop rax
	mov ss, eax
	lea rax, [.done]
	push rax
	retfq                       ; to the firmware's own code segment
.done:
	popfq
	pop rbp
	pop rbx
	ret

section .rodata
align 8
gdt:
	dq 0
	dq 0x00cf9a000000ffff       ; flat 32-bit code
	dq 0x00209a0000000000       ; 64-bit code
	dq 0x00cf92000000ffff       ; flat data
gdt_end:
