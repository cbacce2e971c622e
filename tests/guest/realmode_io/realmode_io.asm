; SPDX-License-Identifier: Apache-2.0
; Real mode from 0:7C00 without a BIOS: port I/O of all sizes, string I/O in both directions and with
; prefixes, INT and IRET through the vector table, faults, a PIC interrupt that wakes HLT. Flat code, also
; started by the realboot guest after it went back to real mode.
%define COM1 0x3F8
%define DEBUG_EXIT 0xF4
%define PORT_NONE 0x2F0		; nobody answers here
%define PORT_SCRATCH 0x3FF	; UART scratch register
%define PORT_PIC 0x21		; interrupt mask
%define BUFFER_SEG 0x2000

%macro CHECK 2			; condition that must hold, text
	j%1 %%good
	mov si, %%text
	jmp failure
%%text:	db %2, 0
%%good:
%endmacro

%macro VECTOR 2			; number, handler
	mov word [%1 * 4], %2
	mov word [%1 * 4 + 2], 0
%endmacro

bits 16
org 0x7C00
	cli
	cld
	xor ax, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7C00
	jmp 0:start
start:
	mov si, text_ports
	call puts
	; bytes to a device and back
	mov al, 0xA5
	out PORT_PIC, al
	xor al, al
	in al, PORT_PIC
	cmp al, 0xA5
	CHECK e, "PIC mask reads back"
	mov dx, PORT_SCRATCH
	mov ax, 0x115A
	out dx, al
	mov ax, 0x7700
	in al, dx
	cmp ax, 0x775A
	CHECK e, "scratch reads back, AH stays"
	; nobody there: all ones, in the width of the access only
	mov dx, PORT_NONE
	mov eax, 0x12345678
	out dx, eax
	in al, dx
	cmp eax, 0x123456FF
	CHECK e, "IN AL of an empty port"
	mov eax, 0x12345678
	in ax, dx
	cmp eax, 0x1234FFFF
	CHECK e, "IN AX of an empty port"
	in eax, dx
	cmp eax, 0xFFFFFFFF
	CHECK e, "IN EAX of an empty port"

	mov si, text_strings
	call puts
	; OUTSB one by one to a device: the last byte stays
	mov si, bytes
	mov cx, 4
	mov dx, PORT_SCRATCH
	rep outsb
	cmp cx, 0
	CHECK e, "REP OUTSB: CX"
	cmp si, bytes + 4
	CHECK e, "REP OUTSB: SI"
	in al, dx
	cmp al, 0x44
	CHECK e, "REP OUTSB: last byte"
	; backwards, with a segment override
	mov ax, BUFFER_SEG
	mov fs, ax
	mov byte [fs:0x10], 0x66
	mov byte [fs:0x0F], 0x77
	std
	mov si, 0x10
	mov cx, 2
	rep fs outsb
	cld
	cmp si, 0x0E
	CHECK e, "OUTSB with DF: SI"
	in al, dx
	cmp al, 0x77
	CHECK e, "OUTSB with FS: data"
	; INSB
	mov ax, BUFFER_SEG
	mov es, ax
	mov di, 0x100
	mov cx, 3
	rep insb
	cmp di, 0x103
	CHECK e, "REP INSB: DI"
	cmp word [fs:0x101], 0x7777
	CHECK e, "REP INSB: data"
	std
	mov di, 0x200
	mov cx, 2
	rep insb
	cld
	cmp di, 0x1FE
	CHECK e, "INSB with DF: DI"
	cmp word [fs:0x1FF], 0x7777
	CHECK e, "INSB with DF: data"
	; INSW and INSD from nowhere, with the count zero, 32-bit address
	mov dx, PORT_NONE
	mov di, 0x300
	insw
	cmp di, 0x302
	CHECK e, "INSW: DI"
	insd
	cmp di, 0x306
	CHECK e, "INSD: DI"
	cmp dword [fs:0x302], -1
	CHECK e, "INSD: data"
	xor cx, cx
	rep insd
	cmp di, 0x306
	CHECK e, "REP INSD of nothing"
	mov edi, 0x400
	mov ecx, 2
	a32 rep insw
	cmp edi, 0x404
	CHECK e, "INSW with 32-bit address: EDI"
	; a long one, in whatever pieces
	mov di, 0x1000
	mov cx, 5000
	rep insb
	cmp di, 0x1000 + 5000
	CHECK e, "long REP INSB: DI"
	cmp cx, 0
	CHECK e, "long REP INSB: CX"
	mov di, 0x1000
	mov cx, 5000
	mov al, 0xFF
	repe scasb
	CHECK e, "long REP INSB: data"
	mov si, 0x1000
	mov cx, 3000
	rep fs outsb
	cmp si, 0x1000 + 3000
	CHECK e, "long REP OUTSB: SI"
	; DI wraps at 64 KiB
	mov di, 0xFFFE
	mov cx, 4
	rep insb
	cmp di, 2
	CHECK e, "REP INSB around 64 KiB: DI"
	xor ax, ax
	mov es, ax

	mov si, text_int
	call puts
	VECTOR 0x60, handler_60
	VECTOR 0, handler_de
	VECTOR 3, handler_bp
	VECTOR 4, handler_of
	VECTOR 5, handler_br
	VECTOR 6, handler_ud
	VECTOR 13, handler_gp
	mov bx, 0
	stc
	int 0x60
	CHECK c, "IRET restores CF"
	cmp bx, 0x60
	CHECK e, "INT 0x60 ran"
	cmp sp, 0x7C00
	CHECK e, "IRET restores SP"
	int3
	cmp bx, 3
	CHECK e, "INT3"
	mov al, 0x7F
	add al, 1
	into
	cmp bx, 4
	CHECK e, "INTO"
	mov ax, 100
	bound ax, [bounds]
	cmp bx, 5
	CHECK e, "BOUND"
	mov ax, 100
	mov cl, 0
	div cl
	cmp bx, 0xDE
	CHECK e, "division by zero"
	ud2
	cmp bx, 6
	CHECK e, "UD2"
	mov bx, 0xFFFF
	mov ax, [bx]		; word at the last byte of the segment
	cmp bx, 13
	je .limit
	mov si, text_no_limit	; QEMU's TCG checks no limits in real mode
	call puts
.limit:

	mov si, text_irq
	call puts
	VECTOR 8, handler_timer
	mov al, 0x11
	out 0x20, al
	mov al, 8
	out 0x21, al
	mov al, 4
	out 0x21, al
	mov al, 1
	out 0x21, al
	mov al, 0xFE
	out 0x21, al		; only IRQ 0
	mov al, 0x30
	out 0x43, al		; PIT channel 0, mode 0, 5 ms
	mov ax, 5966
	out 0x40, al
	mov al, ah
	out 0x40, al
	mov bx, 0
	sti
	hlt
	cli
	cmp bx, 8
	CHECK e, "the PIT woke HLT"
	mov al, 0xFF
	out 0x21, al

	mov si, text_success
	mov bl, 0
end:
	call puts
	mov dx, COM1 + 5
.drain:
	in al, dx
	test al, 0x40
	jz .drain
	mov al, bl
	out DEBUG_EXIT, al
.hang:
	cli
	hlt
	jmp .hang

failure:
	xor ax, ax
	mov ds, ax
	push si
	mov si, text_failure
	call puts
	pop si
	mov bl, 1
	call puts
	mov si, text_newline
	jmp end

handler_60:
	mov bx, 0x60
	clc
	iret
handler_bp:
	mov bx, 3
	iret
handler_of:
	mov bx, 4
	iret
handler_br:			; a fault: the saved IP is BOUND itself
	mov bx, 5
	add word [esp], 4
	iret
handler_de:
	mov bx, 0xDE
	add word [esp], 2
	iret
handler_ud:
	mov bx, 6
	add word [esp], 2
	iret
handler_gp:
	mov bx, 13
	add word [esp], 2
	iret
handler_timer:
	mov bx, 8
	push ax
	mov al, 0x20
	out 0x20, al
	pop ax
	iret

; SI: text
puts:
	pusha
.next:
	lodsb
	test al, al
	jz .done
	mov ah, al
	mov dx, COM1 + 5
.wait:
	in al, dx
	test al, 0x20
	jz .wait
	mov al, ah
	mov dx, COM1
	out dx, al
	jmp .next
.done:
	popa
	ret

bytes:	db 0x11, 0x22, 0x33, 0x44
bounds:	dw 0, 50
text_ports: db "- ports", 13, 10, 0
text_strings: db "- strings", 13, 10, 0
text_int: db "- interrupts by instruction", 13, 10, 0
text_irq: db "- interrupt by the PIC", 13, 10, 0
text_no_limit: db "  NOTE no segment limits on this emulator", 13, 10, 0
text_success: db "SUCCESS", 13, 10, 0
text_failure: db "FAILURE ", 0
text_newline: db 13, 10, 0
