; SPDX-License-Identifier: Apache-2.0
; Ring transitions of the long-mode test.
bits 64
global user_int80, user_int80_end, syscall_entry, user_enter, user_return, compat_call, syscall_seen_flags

section .text
; Runs in ring 3 at another address: says which CS it has.
user_int80:
	mov eax, cs
	int 0x80
user_int80_end:

; uint64_t user_enter(ip, sp, cs): IRET to ring 3; comes back through user_return with the RAX of ring 3.
user_enter:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [saved_sp], rsp
	push 0x28 | 3
	push rsi
	push 0x3202		; IOPL 3, interrupts on
	pop rax
	and eax, ~0x3200	; IOPL 0 and interrupts off
	push rax
	push rdx
	push rdi
	xor eax, eax
	iretq

; trap_handler of INT 0x80.
user_return:
	mov rax, [rdi + 14 * 8]	; struct regs: RAX
	mov rsp, [saved_sp]
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; RCX and R11 as SYSCALL left them go back by SYSRET.
syscall_entry:
	mov [user_sp], rsp
	mov rsp, syscall_stack
	pushfq
	pop qword [syscall_seen_flags]
	mov rsp, [user_sp]
	mov eax, 0xCA11
	o64 sysret

; uint64_t compat_call(void): far call to 32-bit code and back.
compat_call:
	push rbx
	mov rax, .far
	call far dword [rax]
	mov eax, eax
	pop rbx
	ret
.far:
	dd compat_code
	dw 0x18

bits 32
compat_code:
	mov eax, 0x12345678
	db 0x40, 0x48		; INC EAX, DEC EAX: prefixes of long mode
	retf

section .bss nobits alloc write
alignb 16
saved_sp: resq 1
user_sp: resq 1
syscall_seen_flags: resq 1
	resb 256
syscall_stack:
