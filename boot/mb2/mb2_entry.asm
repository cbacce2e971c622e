; SPDX-License-Identifier: Apache-2.0
; The multiboot2 header and the 32-bit entry behind it. GRUB starts us in protected mode, paging off, flat
; segments, interrupts off, no stack (Multiboot2 specification, 3.3 I386 machine state), at any 2 MiB aligned
; place. We check the magic and long mode, build an identity map of the low 4 GiB, enter long mode and go on
; to `entry` (arch/x86/cpu/entry.asm) with RDI = the boot information, RSI = the magic. What is wrong ends in
; a line on COM1 and on the text screen, and in a stopped CPU.

extern entry

KERNEL_VIRT       equ 0xffffffff80000000 ; kernel/abi/bootinfo.h
KERNEL_LOAD       equ 0x200000           ; arch/x86/cpu/kernel.ld: what p_paddr says before relocation
LOAD_ALIGN        equ 0x200000
LOAD_MAX          equ 0xffffffff

MB2_HEADER_MAGIC  equ 0xe85250d6
MB2_BOOT_MAGIC    equ 0x36d76289
MB2_ARCH_I386     equ 0
MB2_TAG_END       equ 0                  ; header tags, section 3.1
MB2_TAG_REQUEST   equ 1
MB2_TAG_ENTRY     equ 3
MB2_TAG_CONSOLE   equ 4
MB2_TAG_FB        equ 5
MB2_TAG_ALIGN     equ 6
MB2_TAG_RELOC     equ 10
MB2_OPTIONAL      equ 1
MB2_PREFER_LOW    equ 1
MB2_INFO_MMAP     equ 6
MB2_CONSOLE_TEXT  equ 2                  ; we can write to an EGA text screen, and need no console

CR0_PE            equ 1 << 0
CR0_PG            equ 1 << 31
CR4_PAE           equ 1 << 5
CR4_LA57            equ 1 << 12
MSR_EFER          equ 0xc0000080
EFER_LME          equ 1 << 8
EFLAGS_ID         equ 1 << 21
CPUID_EXT_MAX     equ 0x80000000
CPUID_EXT         equ 0x80000001
CPUID_EXT_LM      equ 29                 ; EDX, "Intel 64 architecture available"

PTE_TABLE         equ 0x3                ; present, writable
PTE_LEAF_2M       equ 0x83               ; present, writable, page size
PAGE_BYTES        equ 4096
PD_COUNT          equ 4                  ; one GiB each
PD_ENTRIES        equ 512

SEL_CODE64        equ 8
GDT_CODE64        equ 0x00209a0000000000 ; present, ring 0, execute/read, L

COM1              equ 0x3f8
COM1_LSR          equ COM1 + 5
LSR_THRE_BIT      equ 5
UART_POLLS        equ 1 << 16            ; an absent port reads all ones: ready at once
VGA_TEXT          equ 0xb8000
VGA_BRIGHT_RED    equ 0x0c00

; The link-time address of a label, as the header's address fields want it.
%define LOADED(label) (label - KERNEL_VIRT + KERNEL_LOAD)

section .mb2_header progbits alloc noexec nowrite align=8
header:
	dd MB2_HEADER_MAGIC, MB2_ARCH_I386, header_end - header
	dd 0x100000000 - (MB2_HEADER_MAGIC + MB2_ARCH_I386 + (header_end - header))

	dw MB2_TAG_REQUEST, 0        ; without a memory map we cannot start
	dd 12, MB2_INFO_MMAP, 0

	align 8, db 0
	dw MB2_TAG_ENTRY, 0
	dd 12, LOADED(mb2_entry), 0

	align 8, db 0
	dw MB2_TAG_CONSOLE, MB2_OPTIONAL
	dd 12, MB2_CONSOLE_TEXT

	align 8, db 0
	dw MB2_TAG_FB, MB2_OPTIONAL  ; a wish: without a size GRUB picks 24 bits a pixel; text mode is fine
	dd 20, 1024, 768, 32, 0

	align 8, db 0
	dw MB2_TAG_ALIGN, 0          ; modules start on pages
	dd 8

	dw MB2_TAG_RELOC, 0
	dd 24, LOAD_ALIGN, LOAD_MAX, LOAD_ALIGN, MB2_PREFER_LOW

	dw MB2_TAG_END, 0
	dd 8
header_end:

; Section names start with .text: the linker script gathers them with the kernel's code.
section .text.mb2 progbits alloc exec nowrite align=16
bits 32
global mb2_entry
mb2_entry:
	cli
	cld
	mov esi, eax
	cmp esi, MB2_BOOT_MAGIC
	jne .not_mb2

	; Where are we? The only memory known to be ours to write, wherever we were put, is the reserved
	; second word of the boot information: one stack slot for one call.
	lea esp, [ebx + 8]
	call .here
.here:	pop ebp                      ; run-time address of .here; all data is reached from it

	rdtsc
	mov [ebp + mb2_tsc_entry - .here], eax
	mov [ebp + mb2_tsc_entry + 4 - .here], edx
	lea esp, [ebp + stack_top - .here]

	; Long mode? First whether CPUID and its extended leaves exist (SDM vol. 2, CPUID).
	pushfd
	pop eax
	mov ecx, eax
	xor eax, EFLAGS_ID
	push eax
	popfd
	pushfd
	pop eax
	xor eax, ecx
	test eax, EFLAGS_ID
	jz .no_long_mode
	push ebx
	mov eax, CPUID_EXT_MAX
	cpuid
	cmp eax, CPUID_EXT
	jb .no_long_mode
	mov eax, CPUID_EXT
	cpuid
	bt edx, CPUID_EXT_LM
	jnc .no_long_mode
	pop ebx

	; Identity map of 4 GiB in 2 MiB pages. The tables lie in bss, which the loader zeroed.
	lea edi, [ebp + tables_pd - .here]
	mov eax, PTE_LEAF_2M
	mov ecx, PD_COUNT * PD_ENTRIES
.leaf:
	mov [edi], eax
	add edi, 8
	add eax, 1 << 21
	loop .leaf
	lea edi, [ebp + tables_pdpt - .here]
	lea eax, [ebp + tables_pd + PTE_TABLE - .here]
	mov ecx, PD_COUNT
.directory:
	mov [edi], eax
	add edi, 8
	add eax, PAGE_BYTES
	loop .directory
	lea eax, [ebp + tables_pdpt + PTE_TABLE - .here]
	mov [ebp + tables_pml4 - .here], eax

	; SDM vol. 3, 10.8.5 "Initializing IA-32e Mode": PAE, CR3, LME, PG, in this order. The variant with five levels
	; is for tests: it enters the kernel as firmware does that hands over with 5-level paging.
%ifdef ENTER_LA57
	lea eax, [ebp + tables_pml4 + PTE_TABLE - .here]
	mov [ebp + tables_pml5 - .here], eax
	mov eax, CR4_PAE | CR4_LA57
	mov cr4, eax
	lea eax, [ebp + tables_pml5 - .here]
%else
	mov eax, CR4_PAE
	mov cr4, eax
	lea eax, [ebp + tables_pml4 - .here]
%endif
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, cr0
	or eax, CR0_PG | CR0_PE
	mov cr0, eax

	; A GDT with the 64-bit code segment, its pointer on the stack; then the far jump as a far return.
	lea eax, [ebp + gdt - .here]
	push eax
	sub esp, 2
	mov word [esp], gdt_end - gdt - 1
	lgdt [esp]
	add esp, 6
	push dword SEL_CODE64
	lea eax, [ebp + .long_mode - .here]
	push eax
	retf

.not_mb2:
	; No boot information to borrow a stack from: say it with a message that needs no address.
	mov edx, COM1
	mov ecx, "?2BM"              ; "MB2?" in memory order
.magic_byte:
	mov al, cl
	out dx, al
	shr ecx, 8
	jnz .magic_byte
	mov dword [VGA_TEXT], (VGA_BRIGHT_RED | 'M') | (VGA_BRIGHT_RED | 'B') << 16
	mov dword [VGA_TEXT + 4], (VGA_BRIGHT_RED | '2') | (VGA_BRIGHT_RED | '?') << 16
	jmp .stop

.no_long_mode:
	lea esi, [ebp + text_no_long_mode - .here]
	mov edi, VGA_TEXT
.byte:
	lodsb
	test al, al
	jz .stop
	mov ah, VGA_BRIGHT_RED >> 8
	mov [edi], ax
	add edi, 2
	mov bl, al
	mov ecx, UART_POLLS
	mov edx, COM1_LSR
.poll:
	in al, dx
	bt eax, LSR_THRE_BIT
	jc .send
	loop .poll
.send:
	mov edx, COM1
	mov al, bl
	out dx, al
	jmp .byte

.stop:
	cli
	hlt
	jmp .stop

bits 64
.long_mode:
	xor eax, eax
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov edi, ebx
	mov esi, esi                 ; clears the upper half
	jmp entry

section .rodata.mb2 progbits alloc noexec nowrite align=8
gdt:
	dq 0
	dq GDT_CODE64
gdt_end:
text_no_long_mode:
	db "bulkhead: this CPU has no 64-bit mode; Bulkhead needs one with VMX or SVM", 13, 10, 0

section .data.mb2 progbits alloc noexec write align=8
global mb2_tsc_entry
mb2_tsc_entry:
	dq 0

section .bss.mb2 nobits alloc noexec write align=4096
%ifdef ENTER_LA57
tables_pml5: resb PAGE_BYTES
%endif
tables_pml4: resb PAGE_BYTES
tables_pdpt: resb PAGE_BYTES
tables_pd:   resb PAGE_BYTES * PD_COUNT
stack:       resb 512
stack_top:
