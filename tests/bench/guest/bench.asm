; SPDX-License-Identifier: Apache-2.0
; The loops of the benchmark guest: the operation and its operands, DEC and JNZ. R15 counts, as nothing that
; is measured touches it. The label NAME_end stands behind the last round: tests/bench/measure.py looks there.
bits 64
%define LAPIC 0xFEE00000
%define LAPIC_ID_OFFSET 0x20
%define LAPIC_TPR_OFFSET 0x80
%define LAPIC_EOI_OFFSET 0xB0
%define LAPIC_ICR_OFFSET 0x300
%define LAPIC_TIMER_OFFSET 0x380
%define ICR_SELF_ASSERT 0x44000
%define VEC_XAPIC 0x41
%define VEC_X2APIC 0x42
%define MSR_APIC_BASE 0x1B
%define MSR_TSC_DEADLINE 0x6E0
%define X2_TPR 0x808
%define X2_EOI 0x80B
%define X2_ICR 0x830
%define X2_SELF_IPI 0x83F
%define VEC_LATENCY 0x43
%define DEADLINE_TICKS 20000

global irq_xapic, irq_x2apic, irq_latency
section .text

; LOOP name, what is done once, BODY, what is done each round, ENDLOOP
%macro LOOP 1
global %1, %1_end
%define END %1_end
align 16
%1:
	push rbx
	push r15
	mov r15, rdi
%endmacro
%macro BODY 0
align 16
%%again:
%define AGAIN %%again
%endmacro
%macro ENDLOOP 0
	dec r15
	jnz AGAIN
END:
	pop r15
	pop rbx
	ret
%endmacro

LOOP loop_empty
BODY
ENDLOOP

LOOP loop_rdtsc
BODY
	rdtsc
ENDLOOP

LOOP loop_cpuid
BODY
	xor eax, eax
	cpuid
ENDLOOP

LOOP loop_vmmcall
BODY
	xor eax, eax
	vmmcall
ENDLOOP

LOOP loop_vmcall
BODY
	xor eax, eax
	vmcall
ENDLOOP

LOOP loop_out_pic
	mov al, 0xFF
BODY
	out 0x21, al
ENDLOOP

LOOP loop_in_pic
BODY
	in al, 0x21
ENDLOOP

LOOP loop_out_uart
	mov edx, 0x3FF
BODY
	out dx, al
ENDLOOP

LOOP loop_in_none
	mov edx, 0x2F0
BODY
	in al, dx
ENDLOOP

LOOP loop_out_none
	mov edx, 0x2F0
BODY
	out dx, al
ENDLOOP

LOOP loop_mmio_read
	mov ebx, LAPIC
BODY
	mov eax, [rbx + LAPIC_ID_OFFSET]
ENDLOOP

LOOP loop_mmio_write
	mov ebx, LAPIC
	xor eax, eax
BODY
	mov [rbx + LAPIC_TPR_OFFSET], eax
ENDLOOP

LOOP loop_timer_xapic		; the LVT is masked: the arming is measured, not the interrupt
	mov ebx, LAPIC
	mov eax, 0x10000000
BODY
	mov [rbx + LAPIC_TIMER_OFFSET], eax
ENDLOOP

LOOP loop_rdmsr
	mov ecx, MSR_APIC_BASE
BODY
	rdmsr
ENDLOOP

LOOP loop_wrmsr
	mov ecx, MSR_APIC_BASE
	rdmsr
BODY
	wrmsr
ENDLOOP

LOOP loop_x2_read
	mov ecx, X2_TPR
BODY
	rdmsr
ENDLOOP

LOOP loop_x2_write
	mov ecx, X2_TPR
	xor eax, eax
	xor edx, edx
BODY
	wrmsr
ENDLOOP

LOOP loop_timer_deadline
	mov ecx, MSR_TSC_DEADLINE
BODY
	rdtsc
	add edx, 0x10			; far away
	wrmsr
ENDLOOP

LOOP loop_deadline_irq		; a deadline that is over: interrupt and EOI
BODY
	mov ecx, MSR_TSC_DEADLINE
	mov eax, 1
	xor edx, edx
	wrmsr
ENDLOOP

LOOP loop_ipi_xapic
	mov ebx, LAPIC
BODY
	mov dword [rbx + LAPIC_ICR_OFFSET], ICR_SELF_ASSERT | VEC_XAPIC
ENDLOOP

LOOP loop_ipi_x2apic
BODY
	mov ecx, X2_SELF_IPI
	mov eax, VEC_X2APIC
	xor edx, edx
	wrmsr
ENDLOOP

LOOP loop_ipi_icr
BODY
	mov ecx, X2_ICR
	mov eax, ICR_SELF_ASSERT | VEC_X2APIC
	xor edx, edx
	wrmsr
ENDLOOP

LOOP loop_hlt_ipi		; pending before HLT: the interrupt comes, HLT does not sleep
BODY
	mov ecx, X2_SELF_IPI
	mov eax, VEC_X2APIC
	xor edx, edx
	wrmsr
	sti
	hlt
	cli
ENDLOOP

irq_xapic:
	push rbx
	mov ebx, LAPIC
	mov dword [rbx + LAPIC_EOI_OFFSET], 0
	pop rbx
	iretq

irq_x2apic:
	mov ecx, X2_EOI
	xor eax, eax
	xor edx, edx
	wrmsr
	iretq

; Ticks from an instruction to its interrupt's handler. Each round sets R12 to the TSC of the cause; the handler
; adds the ticks since then to R13 and counts in R14. The sum is returned.
%macro LATENCY 1
global %1
align 16
%1:
	push r12
	push r13
	push r14
	push r15
	mov r15, rdi
	xor r13d, r13d
%endmacro
%macro ENDLATENCY 0
	dec r15
	jnz AGAIN
	mov rax, r13
	pop r15
	pop r14
	pop r13
	pop r12
	ret
%endmacro
%macro TSC_TO_RAX 0
	rdtsc
	shl rdx, 32
	or rax, rdx
%endmacro

LATENCY latency_ipi
BODY
	TSC_TO_RAX
	mov r12, rax
	mov ecx, X2_SELF_IPI
	mov eax, VEC_LATENCY
	xor edx, edx
	wrmsr
ENDLATENCY

LATENCY latency_deadline		; the guest computes when it comes
BODY
	TSC_TO_RAX
	add rax, DEADLINE_TICKS
	mov r12, rax
	mov rdx, rax
	shr rdx, 32
	xor r14d, r14d
	mov ecx, MSR_TSC_DEADLINE
	wrmsr
wait_deadline:
	test r14d, r14d
	jz wait_deadline
ENDLATENCY

irq_latency:
	TSC_TO_RAX
	sub rax, r12
	add r13, rax
	inc r14d
	mov ecx, X2_EOI
	xor eax, eax
	xor edx, edx
	wrmsr
	iretq
