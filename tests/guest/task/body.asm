; SPDX-License-Identifier: Apache-2.0
; The body of every task of the test: notes its registers, calls a C function when it is told one, and goes back by
; IRET or by a JMP to the first task's TSS; entered again it begins anew. All data through SS, which is flat.
bits 32
global task_entry, task_entry_end, task_seen, task_function, task_jumps, user_entry, user_entry_end, v86_entry, v86_entry_end

section .text
task_entry:
	mov [ss:task_seen + 0], eax
	mov [ss:task_seen + 4], ecx
	mov [ss:task_seen + 8], edx
	mov [ss:task_seen + 12], ebx
	mov [ss:task_seen + 16], esp
	mov [ss:task_seen + 20], ebp
	mov [ss:task_seen + 24], esi
	mov [ss:task_seen + 28], edi
	mov eax, [ss:esp]
	mov [ss:task_seen + 76], eax
	pushfd
	pop dword [ss:task_seen + 32]
	mov [ss:task_seen + 36], es
	mov [ss:task_seen + 40], cs
	mov [ss:task_seen + 44], ss
	mov [ss:task_seen + 48], ds
	mov [ss:task_seen + 52], fs
	mov [ss:task_seen + 56], gs
	sldt [ss:task_seen + 60]
	str [ss:task_seen + 64]
	mov eax, cr0
	mov [ss:task_seen + 68], eax
	mov eax, dr7
	mov [ss:task_seen + 72], eax
	clts
	mov eax, [ss:task_function]
	test eax, eax
	jz .back
	call eax
.back:
	cmp dword [ss:task_jumps], 0
	jne .jump
	iretd
	jmp near task_entry
.jump:
	jmp far [ss:first_task]
	jmp near task_entry
task_entry_end:

; Ring 3: back through a gate of ring 0.
user_entry:
	mov eax, cs
	int 0x80
user_entry_end:

bits 16
v86_entry:
	mov ax, 0x1234
	int 0x80
v86_entry_end:

section .data
align 4
first_task:
	dd 0
	dw 0x38

section .bss nobits alloc write
alignb 4
task_seen: resd 20
task_function: resd 1
task_jumps: resd 1
