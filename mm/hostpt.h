// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own address space (mm/layout.h). One master tree with what all CPUs share, a root per
// CPU whose upper-half entries copy the master's, plus that CPU's own TEMP and WINDOW slots. W^X: the
// rights are an enum without "write and execute". The lower half is empty, except for the identity map
// of the AP trampoline while a CPU comes up.
//
// Order at boot: frames_init, hostpt_init, hostpt_cpu_init(boot CPU), hostpt_cpu_live. The PAT register
// of every CPU must hold HOSTPT_PAT, EFER.NXE, CR0.WP and CR4.PGE must be set before its root is loaded.
// Every call that changes what is shared takes the host's own lock; a CPU's own part is touched by that CPU.
#pragma once

#include "mm/layout.h"
#include "mm/pt_store.h"

// IA32_PAT: WB, WC, UC-, UC, WB, WP, UC-, WT (SDM vol. 3, 11.12.2 "IA32_PAT MSR"). Entries 0, 2, 3 are as at
// reset, so WB and UC mappings mean the same on a CPU that has not loaded it yet.
#define HOSTPT_PAT UINT64_C(0x0407050600070106)

enum hostpt_prot { HOSTPT_R, HOSTPT_RW, HOSTPT_RX };

// x86-64 long-mode entries; the same for 4 and 5 levels.
extern const struct pt_format hostpt_format;

struct hostpt_section {
	uint64_t virt, bytes; // page aligned, inside the image
	enum hostpt_prot prot;
};

// Makes other CPUs forget [va, va + bytes) before it returns; the local CPU is mm's own business. NULL while
// only the boot CPU runs.
typedef void hostpt_shootdown_fn(uint64_t va, uint64_t bytes);

#define HOSTPT_IO_MAX 128u

struct hostpt_io {
	uint64_t va, bytes; // whole pages
};

struct hostpt {
	struct pt pt;  // master, never loaded itself; its tables are never freed
	struct pt low; // identity map of the AP trampoline; hangs in a CPU's root only while wanted
	struct pt_store store, low_store;
	struct lock lock; // LOCK_RANK_HOST_PAGES: pt, low, io
	struct frames *frames;
	hostpt_shootdown_fn *shootdown;
	hpa_t pml4; // of the master
	uint32_t io_count;
	struct hostpt_io io[HOSTPT_IO_MAX]; // sorted by va
};

struct hostpt_cpu {
	hpa_t root;     // for CR3; below 4 GiB, so that an AP can load it from 32-bit code
	hpa_t pml4;     // == root with 4 levels
	struct pt temp; // three levels, all tables made at init
	struct pt_store temp_store;
	hpa_t temp_table[TEMP_COUNT];    // the level-1 table of each temporary mapping
	uint64_t temp_bytes[TEMP_COUNT]; // mapped now, from its first page; 0 = free
	const struct window *window;     // hanging in the WINDOW slot, NULL = none
};

// Builds the master: image sections, direct map of all pool ranges, empty IO and STACKS. levels = what
// the CPU's CR4.LA57 says (4 or 5), leaf_levels = PT_LEAF_1G when CPUID has 1 GiB pages, else PT_LEAF_2M.
// -ERR_NOMEM, -ERR_RANGE / -ERR_INVAL for a section outside the image region.
__must_check int hostpt_init(struct hostpt *h, struct frames *f, unsigned levels, unsigned leaf_levels,
                             hpa_t kernel_base, const struct hostpt_section *sections, unsigned count,
                             hostpt_shootdown_fn *shootdown);
// A CPU's root and its TEMP tables. -ERR_NOMEM.
__must_check int hostpt_cpu_init(struct hostpt *h, struct hostpt_cpu *c);
void hostpt_cpu_destroy(struct hostpt *h, struct hostpt_cpu *c);
// Boot CPU: loads the root, and turns frame_ptr() to the direct map. The caller runs in the image, on a
// stack of the image, and holds no identity-mapped pointer.
void hostpt_cpu_live(const struct hostpt_cpu *c);
// Physical address for an AP's CR3.
static inline uint64_t hostpt_cpu_cr3(const struct hostpt_cpu *c) { return c->root.v; }

// Identity map (R X) of the trampoline below 4 GiB, shown in the lower half of a CPU's root while `on`.
// Turning it off flushes the calling CPU: the AP does it for itself. low_map: once, -ERR_EXIST otherwise.
__must_check int hostpt_low_map(struct hostpt *h, hpa_t base, uint64_t bytes);
void hostpt_cpu_low(struct hostpt *h, struct hostpt_cpu *c, bool on);

// Device memory, firmware tables, the framebuffer: any physical range that is not guest memory. *va points
// at the byte asked for; unmapped pages lie around every mapping. Not for the run path.
// -ERR_NOMEM, -ERR_INVAL for an empty or wrapping range or PT_WP/PT_WT.
__must_check int hostmap_io(struct hostpt *h, hpa_t base, uint64_t bytes, enum pt_type type,
                            enum hostpt_prot prot, void **va);
void hostunmap_io(struct hostpt *h, void *va);

// A stack of `pages` (1 .. STACK_PAGES_MAX) pool frames at slot `index`, with unmapped pages below and
// above; *top is 16-byte aligned, just past the last byte. -ERR_NOMEM, -ERR_RANGE, -ERR_EXIST.
__must_check int hostmap_stack(struct hostpt *h, unsigned index, unsigned pages, void **top);

// Temporary mapping number `slot` (0 .. TEMP_COUNT-1, free now) of the calling CPU: [base, base + bytes)
// must fit TEMP_BYTES counted from the page of base. Write-back, never executable. Never fails: the tables
// are there. The pointer dies with hostunmap_temp and must not outlive the handler.
void *hostmap_temp(struct hostpt_cpu *c, unsigned slot, hpa_t base, uint64_t bytes, bool write);
void hostunmap_temp(struct hostpt_cpu *c, unsigned slot);
