; SPDX-License-Identifier: Apache-2.0
; The 256 entries of the IDT. Each pushes a uniform frame (struct trap_frame, trap.h) and calls trap_enter.
; Entered with interrupts off (interrupt gates), from the hypervisor only: there is no ring 3 here and a
; guest's interrupts arrive through the vendor's exit, so no SWAPGS decision exists.
default rel
bits 64

extern trap_enter

section .text
; Six bytes each: a short jump reaches the hub in the middle. The CPU pushed an error code for some (SDM vol. 3,
; table 6-1; APM vol. 2, table 8-1).
%macro exception_stub 1
	%if (%1 == 8) || (%1 >= 10 && %1 <= 14) || (%1 == 17) || (%1 == 21) || (%1 == 29) || (%1 == 30)
	nop
	nop
	%else
	push byte 0
	%endif
	push byte %1
	jmp short exception_hub
%endmacro

; Four bytes each, the vector as a signed byte. Vectors 32 to 63 and 224 to 226 are in use; a stranger between them is
; delivered as 255, the spurious one, and counted there.
%macro interrupt_stub 1
	push byte %1 - 256 * (%1 >= 128)
	jmp short interrupt_common
%endmacro

align 16
global trap_stubs
trap_stubs:
%assign vector 0
%rep 16
	exception_stub vector
%assign vector vector + 1
%endrep
exception_hub:
	jmp near trap_common
%rep 16
	exception_stub vector
%assign vector vector + 1
%endrep
global trap_interrupt_stubs
trap_interrupt_stubs:
%rep 32
	interrupt_stub vector
%assign vector vector + 1
%endrep

interrupt_common:
	push qword [rsp]             ; the frame has the vector below the error code
	mov qword [rsp + 8], 0
	and qword [rsp], 0xff
trap_common:
	push r15
	push r14
	push r13
	push r12
	push r11
	push r10
	push r9
	push r8
	push rdi
	push rsi
	push rbp
	push rbx
	push rdx
	push rcx
	push rax
	cld
	mov rdi, rsp
	mov rbx, rsp
	and rsp, -16
	call trap_enter
	mov rsp, rbx
	pop rax
	pop rcx
	pop rdx
	pop rbx
	pop rbp
	pop rsi
	pop rdi
	pop r8
	pop r9
	pop r10
	pop r11
	pop r12
	pop r13
	pop r14
	pop r15
	add rsp, 16
	iretq

global trap_high_stubs
trap_high_stubs:
%assign vector 224
%rep 3
	interrupt_stub vector
%assign vector vector + 1
%endrep
	interrupt_stub 255
