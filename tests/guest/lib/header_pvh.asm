; SPDX-License-Identifier: Apache-2.0
; The PVH entry note (Xen's elfnote 18, PHYS32_ENTRY): name "Xen", one 32-bit physical entry point.
extern guest_entry
section .note.xen note align=4
	dd 4, 4, 18
	db "Xen", 0
	dd guest_entry
