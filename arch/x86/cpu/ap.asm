; SPDX-License-Identifier: Apache-2.0
; The trampoline of the other CPUs. A STARTUP interrupt starts a CPU in real mode at a page below 1 MiB (SDM vol. 3,
; 8.4.4.1 "Typical BSP Initialization Sequence"); these bytes are copied there, with struct ap_params (ap.h) filled in
; behind them. They run at any page: what needs an address gets it from the parameters. The page is mapped one to one,
; read and execute only, in the root that the CPU loads here.
MSR_EFER     equ 0xc0000080
LEAF_TOPOLOGY equ 0xb

CODE32       equ 0x08
DATA32       equ 0x10
CODE64       equ 0x18

section .rodata
global ap_trampoline_start
global ap_trampoline_params
global ap_trampoline_end

align 16
bits 16
ap_trampoline_start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	movzx esi, ax
	shl esi, 4                   ; the page's physical address, kept to the end
	o32 lgdt [gdtr - ap_trampoline_start]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword far [far32 - ap_trampoline_start]

bits 32
protected:
	mov ax, DATA32
	mov ds, ax
	mov eax, [esi + param_cr4 - ap_trampoline_start]
	mov cr4, eax
	mov eax, [esi + param_cr3 - ap_trampoline_start]
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, [esi + param_efer - ap_trampoline_start]
	wrmsr
	mov eax, [esi + param_cr0 - ap_trampoline_start]
	mov cr0, eax
	jmp far [esi + far64 - ap_trampoline_start]

bits 64
in_long_mode:
	mov esi, esi
	; Is it the one that is being started, or one that was given up and comes late?
	xor eax, eax
	cpuid
	cmp eax, LEAF_TOPOLOGY
	jb .legacy_id
	mov eax, LEAF_TOPOLOGY
	xor ecx, ecx
	cpuid
	test ebx, ebx                ; 0: there is no such leaf
	jnz .id_known
.legacy_id:
	mov eax, 1
	cpuid
	shr ebx, 24
	mov edx, ebx
.id_known:
	cmp edx, [rsi + param_apic_id - ap_trampoline_start]
	jne .stranger
	mov rsp, [rsi + param_stack - ap_trampoline_start]
	mov rdi, [rsi + param_cpu - ap_trampoline_start]
	xor ebp, ebp                 ; end of every backtrace
	call [rsi + param_entry - ap_trampoline_start] ; does not return
.stranger:
	cli
	hlt
	jmp .stranger

align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff        ; 32-bit code, flat
	dq 0x00cf93000000ffff        ; data, flat
	dq 0x00af9b000000ffff        ; 64-bit code
gdt_end:

; struct ap_params
align 8
ap_trampoline_params:
param_entry:   dq 0
param_stack:   dq 0
param_cpu:     dq 0
param_cr0:     dd 0
param_cr3:     dd 0
param_cr4:     dd 0
param_efer:    dd 0
param_apic_id: dd 0
far32:                               ; offset, then selector; the C side adds the page's address to these
	dd protected - ap_trampoline_start
	dd CODE32
far64:
	dd in_long_mode - ap_trampoline_start
	dd CODE64
gdtr:
	dw gdt_end - gdt - 1
	dd gdt - ap_trampoline_start
ap_trampoline_end:
