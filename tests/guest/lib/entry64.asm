; SPDX-License-Identifier: Apache-2.0
; Entry of a 64-bit test guest: 32-bit protected mode without paging, as multiboot 1, 2 and PVH hand over
; (EAX magic, EBX information). Builds identity tables for 4 GiB (2 MiB pages, user-accessible), enters
; long mode and calls guest_main. Interrupts stay off; the chips are as the platform left them.
%define CR0_PE 1 << 0
%define CR0_MP 1 << 1
%define CR0_NE 1 << 5
%define CR0_WP 1 << 16
%define CR0_PG 1 << 31
%define CR4_PAE 1 << 5
%define MSR_EFER 0xC0000080
%define EFER_LME 1 << 8
%define PTE_TABLE 7		; present, writable, user
%define PTE_LARGE 0x87

bits 32
%include "tests/guest/lib/entry.inc"
global pml4

section .text.entry
guest_entry:
	ENTRY_BEGIN
	mov dword [pml4], pdpt + PTE_TABLE
	mov eax, pd + PTE_TABLE
	mov edi, pdpt
	mov ecx, 4
.pdpt:
	mov [edi], eax
	add edi, 8
	add eax, 4096
	loop .pdpt
	mov eax, PTE_LARGE
	mov edi, pd
	mov ecx, 4 * 512
.pd:
	mov [edi], eax
	add edi, 8
	add eax, 1 << 21
	loop .pd
	mov eax, pml4
	mov cr3, eax
	mov eax, CR4_PAE
	mov cr4, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG
	mov cr0, eax
	lgdt [gdt_pointer]
	jmp 0x08:.long

bits 64
.long:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 0
	mov fs, eax
	mov gs, eax
	mov esp, stack_top
	mov eax, tss
	ENTRY_TSS gdt + 0x38
	ENTRY_END

section .data
align 16
gdt:
	dq 0
	dq 0x00AF9B000000FFFF	; 08 code 64
	dq 0x00CF93000000FFFF	; 10 data
	dq 0x00CF9B000000FFFF	; 18 code 32
	dq 0x00CFFB000000FFFF	; 20 user code 32
	dq 0x00CFF3000000FFFF	; 28 user data
	dq 0x00AFFB000000FFFF	; 30 user code 64
	dq 0x0000890000000067	; 38 TSS, 16 bytes
	dq 0
	dq 0x00009B000000FFFF	; 48 code 16, base 0
	dq 0x000093000000FFFF	; 50 data 16, base 0
	dq 0, 0			; 58, 60: for the test
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dd gdt, 0

section .bss nobits alloc write
alignb 4096
pml4:	resb 4096
pdpt:	resb 4096
pd:	resb 4 * 4096
	ENTRY_BSS
