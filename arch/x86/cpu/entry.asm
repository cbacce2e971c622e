; SPDX-License-Identifier: Apache-2.0
; The one 64-bit entry of the kernel, from boot/efi and boot/mb2 alike (contract: kernel/abi/bootinfo.h).
; Runs at its physical address first: position independent until the jump to entry_high. It keeps the
; loader's identity map (lower half of the loader's root, 4 or 5 levels) and adds the image at KERNEL_VIRT;
; mm/hostpt builds the final tables, with W^X, and drops the identity map.
default rel
bits 64

extern __image_start
extern __image_end
extern kernel_entry

KERNEL_VIRT     equ 0xffffffff80000000
CR4_LA57_BIT    equ 12
PTE_TABLE       equ 0x3          ; present, writable
PTE_LEAF_2M     equ 0x83         ; present, writable, page size
PAGE_2M_SHIFT   equ 21
BOOT_STACK      equ 16384

section .text
global entry
entry:
	cli
	cld
	mov r12, rdi                 ; boot_info or multiboot2 tags, physical
	mov r13, rsi                 ; which of the two
	lea rbx, [__image_start]     ; physical base of the image

	; Lower half of the loader's root.
	mov rsi, cr3
	and rsi, -4096
	lea rdi, [early_root]
	mov ecx, 256
	rep movsq

	; The image in 2 MiB pages at KERNEL_VIRT: PML4 511, PDPT 510.
	lea rdi, [early_pd]
	lea rcx, [__image_end]
	sub rcx, rbx
	add rcx, (1 << PAGE_2M_SHIFT) - 1
	shr rcx, PAGE_2M_SHIFT
	lea rax, [rbx + PTE_LEAF_2M]
.leaf:
	mov [rdi], rax
	add rdi, 8
	add rax, 1 << PAGE_2M_SHIFT
	dec ecx
	jnz .leaf
	lea rax, [early_pd + PTE_TABLE]
	mov [early_pdpt + 510 * 8], rax
	lea rax, [early_pdpt + PTE_TABLE]
	mov rdx, cr4
	bt rdx, CR4_LA57_BIT
	jnc .four_levels
	mov [early_pml4 + 511 * 8], rax
	lea rax, [early_pml4 + PTE_TABLE]
.four_levels:
	mov [early_root + 511 * 8], rax
	lea rax, [early_root]
	mov cr3, rax
	mov rax, entry_high
	jmp rax

entry_high:
	lea rsp, [boot_stack_top]
	xor ebp, ebp                 ; end of every backtrace
	mov rdi, r12
	mov rsi, r13
	mov rdx, rbx
	call kernel_entry            ; does not return
	ud2

section .bss nobits alloc noexec write align=4096
early_root:  resb 4096
early_pml4:  resb 4096
early_pdpt:  resb 4096
early_pd:    resb 4096
boot_stack:  resb BOOT_STACK
boot_stack_top:
