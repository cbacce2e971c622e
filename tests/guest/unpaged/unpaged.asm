; SPDX-License-Identifier: Apache-2.0
; A kernel by the 64-bit entry of the Linux boot protocol, so with paging from its first instruction on, which then
; goes back: to 32-bit code, out of paging and long mode, out of protected mode, and the whole way up again. A CPU
; whose guests must have CR0.PE and PG set ends it at the first step (what the guest says before that is judged).
%define COM1 0x3F8
%define COM1_LSR (COM1 + 5)
%define LSR_EMPTY 0x40
%define DEBUG_EXIT 0xF4
%define BASE 0x100000
%define CR0_PE 1
%define CR0_PG 0x80000000
%define CR4_PAE 0x20
%define EFER 0xC0000080
%define EFER_LME 0x100
%define EFER_LMA 0x400
%define SEL_CODE64 0x10
%define SEL_DATA 0x18
%define SEL_CODE32 0x20
%define SEL_CODE16 0x28
%define SEL_DATA16 0x30
%define REAL_AT 0x8000		; below 1 MiB: real-mode code

org BASE - 1024			; the file's second kilobyte is what is loaded
file:
	times 0x1F1 - ($ - file) db 0
	db 1			; setup_sects
	dw 0
	dd (end - body + 15) / 16 ; syssize
	times 0x1FE - ($ - file) db 0
	dw 0xAA55
	db 0xEB, 0x66		; the header ends at 0x268
	db "HdrS"
	dw 0x020F		; protocol
	times 0x211 - ($ - file) db 0
	db 1			; loadflags: LOADED_HIGH
	times 0x22C - ($ - file) db 0
	dd 0x7FFFFFFF		; initrd_addr_max
	dd 0x1000		; kernel_alignment
	db 0, 0
	dw 1			; xloadflags: XLF_KERNEL_64
	dd 255			; cmdline_size
	times 0x258 - ($ - file) db 0
	dq BASE			; pref_address
	dd 0x10000		; init_size
	times 1024 - ($ - file) db 0

body:
	times 0x200 db 0
bits 64
entry64:
	cli
	mov rsp, stack_top
	lgdt [gdtr]
	mov rsi, text_long
	call puts64
	mov rax, cr3
	mov [tables], rax
	push SEL_CODE32
	push leave_paging
	retfq

puts64:
	mov dx, COM1
.next:	lodsb
	test al, al
	jz .out
	out dx, al
	jmp .next
.out:	ret

bits 32
leave_paging:
	mov eax, SEL_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, cr0
	and eax, ~CR0_PG
	mov cr0, eax		; here it ends without unrestricted guest
	mov ecx, EFER
	rdmsr
	test eax, EFER_LMA
	jnz failure
	and eax, ~EFER_LME
	wrmsr
	mov esi, text_unpaged
	call puts32
	; real mode, from a copy of its code that a segment reaches
	mov esi, real_code
	mov edi, REAL_AT
	mov ecx, real_end - real_code
	rep movsb
	mov eax, SEL_DATA16
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, REAL_AT
	jmp SEL_CODE16:REAL_AT

back32:
	mov eax, SEL_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, stack_top
	cmp ebx, 0x2A
	jne failure
	mov eax, cr4
	or eax, CR4_PAE
	mov cr4, eax
	mov eax, [tables]
	mov cr3, eax
	mov ecx, EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, cr0
	or eax, CR0_PG
	mov cr0, eax
	rdmsr
	test eax, EFER_LMA
	jz failure
	jmp SEL_CODE64:success

puts32:
	mov dx, COM1
.next:	lodsb
	test al, al
	jz .out
	out dx, al
	jmp .next
.out:	ret

failure:
	mov esi, text_failure
	call puts32
	mov al, 1
	jmp finish

bits 64
success:
	mov rsi, text_success
	call puts64
	xor eax, eax
finish:				; the same bytes in 32-bit code
	mov ah, al
	mov dx, COM1_LSR
.wait:	in al, dx
	test al, LSR_EMPTY
	jz .wait
	mov al, ah
	mov dx, DEBUG_EXIT
	out dx, al
.halt:	hlt
	jmp .halt

; Runs at REAL_AT: first 16-bit protected mode, then real mode, then back.
real_code:
bits 16
	mov eax, cr0
	and eax, ~CR0_PE
	mov cr0, eax
	jmp 0:REAL_AT + (.real - real_code)
.real:
	xor ax, ax
	mov ds, ax
	mov ss, ax
	mov word [0x7F0], 0x2A
	mov bx, [0x7F0]
	movzx ebx, bx
	o32 lgdt [REAL_AT + (.gdtr - real_code)]
	mov eax, cr0
	or eax, CR0_PE
	mov cr0, eax
	jmp dword SEL_CODE32:back32
.gdtr:	dw gdt_end - gdt - 1
	dd gdt
real_end:

align 8
gdt:
	dq 0, 0
	dq 0x00AF9B000000FFFF	; SEL_CODE64
	dq 0x00CF93000000FFFF	; SEL_DATA
	dq 0x00CF9B000000FFFF	; SEL_CODE32
	dq 0x00009B000000FFFF	; SEL_CODE16
	dq 0x000093000000FFFF	; SEL_DATA16
gdt_end:
gdtr:	dw gdt_end - gdt - 1
	dq gdt
tables:	dq 0
text_long: db "64-bit entry", 10, 0
text_unpaged: db "paging is off", 10, 0
text_success: db "SUCCESS", 10, 0
text_failure: db "FAILURE: EFER.LMA or what real mode left", 10, 0
	align 16
	times 512 db 0
stack_top:
end:
