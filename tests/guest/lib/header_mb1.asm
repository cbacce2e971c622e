; SPDX-License-Identifier: Apache-2.0
; Multiboot 1 header (Multiboot Specification 0.6.96, 3.1): page-aligned modules, memory information.
%define MB1_MAGIC 0x1BADB002
%define MB1_FLAGS 3
section .header align=4
	dd MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)
