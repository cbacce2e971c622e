; SPDX-License-Identifier: Apache-2.0
; Entry of a 32-bit test guest: protected mode without paging (EAX magic, EBX multiboot information).
; Loads a GDT of its own and a TSS, and calls guest_main with interrupts off.
bits 32
%include "tests/guest/lib/entry.inc"
global gdt_pointer

section .text.entry
guest_entry:
	ENTRY_BEGIN
	lgdt [gdt_pointer]
	jmp 0x08:.flat
.flat:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov fs, eax
	mov gs, eax
	mov ss, eax
	mov esp, stack_top
	mov dword [tss + 8], 0x10	; SS0; ESP0 is the test's
	mov eax, tss
	ENTRY_TSS gdt + 0x38
	ENTRY_END

section .data
align 16
gdt:
	dq 0
	dq 0x00CF9B000000FFFF	; 08 code
	dq 0x00CF93000000FFFF	; 10 data
	dq 0x00009B000000FFFF	; 18 code 16, base 0
	dq 0x000093000000FFFF	; 20 data 16, base 0
	dq 0x00CFFB000000FFFF	; 28 user code
	dq 0x00CFF3000000FFFF	; 30 user data
	dq 0x0000890000000067	; 38 TSS
	dq 0, 0, 0, 0		; 40..58: for the test
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dd gdt

section .bss nobits alloc write
alignb 16
	ENTRY_BSS
