; SPDX-License-Identifier: Apache-2.0
; Multiboot 2 header (Multiboot2 Specification 2.0, 3.1): no requests, i386 protected mode, end tag.
%define MB2_MAGIC 0xE85250D6
section .header align=8
header:
	dd MB2_MAGIC, 0, header.end - header, -(MB2_MAGIC + (header.end - header)) & 0xFFFFFFFF
	align 8
	dw 1, 0			; information request: command line, modules, memory map
	dd .request_end - .request
.request equ $ - 8
	dd 1, 3, 6
.request_end:
	align 8
	dw 0, 0
	dd 8
.end:
