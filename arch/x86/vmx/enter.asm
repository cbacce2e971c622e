; SPDX-License-Identifier: Apache-2.0
; The world switch of VMX (SDM vol. 3, ch. 26 "VM Entries", 27 "VM Exits").
;
; vmx_enter(rdi = struct arch_vcpu *), called with IF = 0 and never returning: the CPU's stack is discarded. After the guest's exit vmx_exit(arch_vcpu) begins on an empty stack with IF = 0; the exit
; itself has restored every host register, GS base among them.
;
; Nothing may be missed between the test of the request word and the entry. Interrupts are off and pend: with
; external-interrupt exiting they end the guest before its first instruction. VMX has no GIF, so an NMI comes at
; any instruction; its handler runs here, on its own stack, and the handler sends every return into
; [vmx_window_start, vmx_window_end) to vmx_window_cancel, where the run loop looks again (arch/x86/cpu/trap.c).
default rel
bits 64
%include "arch/x86/guest/enter.inc"

extern vmx_exit
extern vmx_enter_failed
extern vmx_enter_cancelled
extern vmx_access_failed

REQUESTS      equ 16
CPU_STACK_TOP equ 8
HOST_RSP      equ 0x6c14 ; VMCS_HOST_RSP

section .text
global vmx_enter
global vmx_exit_entry
global vmx_entry_try
global vmx_entry_try_exit
global vmx_window_start
global vmx_window_end
global vmx_window_cancel
global vmx_vmread_failed
global vmx_vmwrite_failed

align 64
vmx_enter:
	mov rsp, [gs:CPU_STACK_TOP]
	push rdi                     ; HOST_RSP points here
	mov rax, cr2                 ; a write costs more than the test
	cmp rax, [rdi + VCPU_CR2]
	je vmx_window_start
	mov rax, [rdi + VCPU_CR2]
	mov cr2, rax
vmx_window_start:
	mov rax, [rdi + VCPU_VCPU]
	cmp dword [rax + REQUESTS], 0
	jne vmx_window_cancel
	cmp qword [rdi + VCPU_LAUNCHED], 0
	mov rax, [rdi + VCPU_RAX]
	GUEST_GPRS_LOAD
	je .launch
	vmresume
	jmp vmx_window_end
.launch:
	vmlaunch
vmx_window_end:                  ; only reached when the instruction failed: CF or ZF says how
	pushfq
	pop rsi
	mov rdi, [rsp]
	xor ebp, ebp
	jmp vmx_enter_failed

vmx_window_cancel:
	mov rdi, [rsp]
	xor ebp, ebp
	jmp vmx_enter_cancelled

align 64
vmx_exit_entry:
	push rdi
	mov rdi, [rsp + 8]
	mov [rdi + VCPU_RAX], rax
	pop qword [rdi + VCPU_RDI]
	GUEST_GPRS_SAVE
	mov rax, cr2                 ; before a fault of ours takes its place
	mov [rdi + VCPU_CR2], rax
	xor ebp, ebp                 ; end of the backtrace
	jmp vmx_exit                 ; RSP: one slot pushed, so it is aligned as after a CALL

; Where a VMREAD or VMWRITE of C jumps that failed, with the field in RAX. Nothing returns from here.
vmx_vmwrite_failed:
	mov esi, 1
	jmp vmx_vmread_failed.call
vmx_vmread_failed:
	xor esi, esi
.call:	mov rdi, rax
	and rsp, -16
	call vmx_access_failed

; vmx_entry_try(rdi = launched): an entry that the CPU refuses, which changes no general register, as a function. Returns
; 0 when the refusal was an exit, RFLAGS with CF or ZF set when the instruction failed. HOST_RIP: vmx_entry_try_exit.
vmx_entry_try:
	mov eax, HOST_RSP
	vmwrite rax, rsp
	jbe .failed
	test edi, edi
	jz .launch
	vmresume
	jmp .failed
.launch:
	vmlaunch
.failed:
	pushfq
	pop rax
	ret
vmx_entry_try_exit:
	xor eax, eax
	ret
