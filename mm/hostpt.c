// SPDX-License-Identifier: Apache-2.0
// Building and changing the hypervisor's own address space. Tables of the master are never freed, so that
// the PML4 entries copied into every CPU's root stay valid for ever.
#include "mm/hostpt.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "mm/insn.h"

// Long-mode entries, SDM vol. 3, tables 4-14 to 4-20; APM vol. 2, 5.3.
#define X86_PRESENT BIT64(0)
#define X86_WRITE BIT64(1)
#define X86_PAT_INDEX(index) ((uint64_t)(index) << 3) // PCD, PWT; the PAT bit stays 0
#define X86_ACCESSED BIT64(5)
#define X86_DIRTY BIT64(6)
#define X86_LARGE BIT64(7)
#define X86_GLOBAL BIT64(8)
#define X86_NX BIT64(63)

// Above this many pages reloading CR3 is cheaper than INVLPG for each.
#define INVLPG_PAGES_MAX 32u
#define STACK_GUARD_ABOVE_BYTES (4 * PAGE_BYTES)

const struct pt_format hostpt_format = {
    .name = "x86-64",
    .present = X86_PRESENT,
    .table_bits = X86_PRESENT | X86_WRITE,
    .large_bit = X86_LARGE,
    .read = X86_PRESENT,
    .write = X86_WRITE,
    .noexec = X86_NX,
    .global = X86_GLOBAL,
    .accessed = X86_ACCESSED,
    .dirty = X86_DIRTY,
    .addr_mask = MASK64(51, 12),
    .types = {[PT_WB] = X86_PAT_INDEX(0),
              [PT_WC] = X86_PAT_INDEX(1),
              [PT_UC] = X86_PAT_INDEX(3),
              [PT_WT] = PT_TYPE_NONE,
              [PT_WP] = PT_TYPE_NONE},
    .types_mask = X86_PAT_INDEX(3),
    .sign_extended = true,
};

// Accessed and dirty are set beforehand: nobody reads them, and the CPU is spared the update.
static uint32_t prot_attr(enum hostpt_prot prot) {
	switch (prot) {
	case HOSTPT_R: return PT_READ | PT_ACCESSED;
	case HOSTPT_RX: return PT_READ | PT_EXEC | PT_ACCESSED;
	case HOSTPT_RW: return PT_READ | PT_WRITE | PT_ACCESSED | PT_DIRTY;
	}
	assert(false);
	return 0;
}

// The table of `level` that the walk to va reaches; it exists.
static hpa_t table_at(const struct pt *pt, uint64_t va, unsigned level) {
	hpa_t table = pt->root;
	for (unsigned l = pt->levels; l > level; l--) {
		const uint64_t *entries = frame_ptr(table);
		table = hpa(entries[va >> (12 + 9 * (l - 1)) & (PT_ENTRIES - 1)] & pt->format->addr_mask);
	}
	return table;
}

static int image_map(struct hostpt *h, hpa_t kernel_base, const struct hostpt_section *s) {
	if (s->virt < KERNEL_VIRT || s->virt - KERNEL_VIRT >= KERNEL_BYTES_MAX ||
	    s->bytes > KERNEL_BYTES_MAX - (s->virt - KERNEL_VIRT))
		return -ERR_RANGE;
	return pt_map(&h->pt, s->virt, hpa_add(kernel_base, s->virt - KERNEL_VIRT), s->bytes,
	              prot_attr(s->prot) | PT_GLOBAL);
}

int hostpt_init(struct hostpt *h, struct frames *f, unsigned levels, unsigned leaf_levels, hpa_t kernel_base,
                const struct hostpt_section *sections, unsigned count, hostpt_shootdown_fn *shootdown) {
	static const unsigned shared[] = {IO_SLOT, STACKS_SLOT, KERNEL_SLOT};
	*h = (struct hostpt){.frames = f, .shootdown = shootdown};
	lock_init(&h->lock, LOCK_RANK_HOST_PAGES);
	pt_store_init(&h->store, f, &h->pt);
	int err = pt_init(&h->pt, &hostpt_format, levels, leaf_levels, &pt_store_ops, &h->store);
	h->pt.keep_level = PT_LEVEL_4K;
	for (unsigned i = 0; i < array_count(shared) && err == 0; i++)
		err = pt_populate(&h->pt, LAYOUT_SLOT_BASE(shared[i]), LAYOUT_SLOT_BYTES, PT_LEVEL_1G);
	for (unsigned i = 0; i < count && err == 0; i++) err = image_map(h, kernel_base, &sections[i]);
	hpa_t base;
	uint64_t bytes;
	for (unsigned i = 0; err == 0 && frames_pool_range(f, i, &base, &bytes); i++)
		err = pt_map(&h->pt, DIRECT_BASE + base.v, base, bytes, prot_attr(HOSTPT_RW) | PT_GLOBAL);
	if (err == 0) h->pml4 = table_at(&h->pt, KERNEL_VIRT, 4);
	return err;
}

// ---- one CPU -----------------------------------------------------------------------------------

static uint64_t temp_va(unsigned slot) { return (uint64_t)slot * TEMP_STRIDE_BYTES; } // in its own tree

static int temp_init(struct hostpt *h, struct hostpt_cpu *c) {
	pt_store_init(&c->temp_store, h->frames, &c->temp);
	int err = pt_init(&c->temp, &hostpt_format, 3, PT_LEAF_4K, &pt_store_ops, &c->temp_store);
	if (err != 0) return err;
	c->temp.keep_level = PT_LEVEL_4K;
	for (unsigned slot = 0; slot < TEMP_COUNT && err == 0; slot++) {
		err = pt_populate(&c->temp, temp_va(slot), TEMP_BYTES, PT_LEVEL_4K);
		if (err == 0) c->temp_table[slot] = table_at(&c->temp, temp_va(slot), PT_LEVEL_4K);
	}
	if (err == 0) return 0;
	pt_destroy(&c->temp);
	pt_store_reclaim(&c->temp_store, UINT64_MAX);
	return err;
}

int hostpt_cpu_init(struct hostpt *h, struct hostpt_cpu *c) {
	struct frames_request low = FRAMES_REQUEST(FRAMES_POOL, 1);
	low.limit = 4 * GIB; // an AP loads CR3 in protected mode, 32 bits of it
	*c = (struct hostpt_cpu){.window = NULL};
	pfn_t pfn;
	int err = frames_alloc(h->frames, &low, &pfn);
	if (err != 0) return err;
	c->root = c->pml4 = pfn_hpa(pfn);
	memset(frame_ptr(c->root), 0, PAGE_BYTES);
	if (h->pt.levels == 5) {
		err = frames_alloc_zeroed(h->frames, &c->pml4);
		if (err != 0) goto free_root;
		((uint64_t *)frame_ptr(c->root))[PT_ENTRIES - 1] = pt_table_entry(&hostpt_format, c->pml4);
	}
	err = temp_init(h, c);
	if (err != 0) goto free_pml4;
	uint64_t *pml4 = frame_ptr(c->pml4);
	const uint64_t *master = frame_ptr(h->pml4);
	memcpy(&pml4[PT_ENTRIES / 2], &master[PT_ENTRIES / 2], PAGE_BYTES / 2);
	pml4[TEMP_SLOT] = pt_table_entry(&hostpt_format, c->temp.root);
	return 0;
free_pml4:
	if (h->pt.levels == 5) frames_free(h->frames, hpa_pfn(c->pml4), 1);
free_root:
	frames_free(h->frames, pfn, 1);
	return err;
}

void hostpt_cpu_destroy(struct hostpt *h, struct hostpt_cpu *c) {
	pt_destroy(&c->temp);
	pt_store_reclaim(&c->temp_store, UINT64_MAX);
	if (c->pml4.v != c->root.v) frames_free(h->frames, hpa_pfn(c->pml4), 1);
	frames_free(h->frames, hpa_pfn(c->root), 1);
}

void hostpt_cpu_live(const struct hostpt_cpu *c) {
	mm_cr3_load(c->root.v);
	frame_base_set(DIRECT_BASE);
}

int hostpt_low_map(struct hostpt *h, hpa_t base, uint64_t bytes) {
	int err = -ERR_EXIST;
	if (range_wraps(base.v, bytes) || base.v + bytes > 4 * GIB) return -ERR_RANGE;
	lock_acquire(&h->lock);
	if (h->low.levels == 0) {
		pt_store_init(&h->low_store, h->frames, &h->low);
		err = pt_init(&h->low, &hostpt_format, h->pt.levels, PT_LEAF_4K, &pt_store_ops, &h->low_store);
		if (err == 0) err = pt_map(&h->low, base.v, base, bytes, prot_attr(HOSTPT_RX));
	}
	lock_release(&h->lock);
	return err;
}

void hostpt_cpu_low(struct hostpt *h, struct hostpt_cpu *c, bool on) {
	// Everything below 4 GiB hangs in entry 0 of a root, with 4 levels and with 5.
	uint64_t *root = frame_ptr(c->root);
	const uint64_t *low = frame_ptr(h->low.root);
	root[0] = on ? low[0] : 0;
	if (!on) mm_cr3_load(c->root.v);
}

// ---- mappings ------------------------------------------------------------------------------------

// First address >= at where `bytes` of `base` can go: large ranges keep their offset in a 2 MiB page.
static uint64_t io_place(uint64_t at, uint64_t base, uint64_t bytes) {
	if (bytes < PAGE_2M_BYTES) return at;
	uint64_t want = base & (PAGE_2M_BYTES - 1), have = at & (PAGE_2M_BYTES - 1);
	return at + ((want - have) & (PAGE_2M_BYTES - 1));
}

// First fit, a page of guard around each; false when there is no room.
static bool io_find(const struct hostpt *h, uint64_t base, uint64_t bytes, uint32_t *index, uint64_t *va)
    __requires_lock(h->lock) {
	uint64_t at = IO_BASE + PAGE_BYTES;
	if (h->io_count == HOSTPT_IO_MAX || bytes > IO_BYTES) return false;
	for (uint32_t i = 0; i <= h->io_count; i++) {
		uint64_t end = i < h->io_count ? h->io[i].va : IO_BASE + IO_BYTES;
		uint64_t place = io_place(at, base, bytes);
		if (place + bytes + PAGE_BYTES <= end) {
			*index = i;
			*va = place;
			return true;
		}
		if (i < h->io_count) at = end + h->io[i].bytes + PAGE_BYTES;
	}
	return false;
}

static int io_map(struct hostpt *h, hpa_t first, uint64_t bytes, uint32_t attr, uint64_t *va)
    __requires_lock(h->lock) {
	uint32_t index;
	if (!io_find(h, first.v, bytes, &index, va)) return -ERR_NOMEM;
	int err = pt_map(&h->pt, *va, first, bytes, attr);
	if (err != 0) return err;
	memmove(&h->io[index + 1], &h->io[index], (h->io_count - index) * sizeof h->io[0]);
	h->io[index] = (struct hostpt_io){.va = *va, .bytes = bytes};
	h->io_count++;
	return 0;
}

int hostmap_io(struct hostpt *h, hpa_t base, uint64_t bytes, enum pt_type type, enum hostpt_prot prot,
               void **va) {
	uint64_t first = align_down(base.v, PAGE_BYTES), offset = page_offset(base.v), at;
	if (bytes == 0 || bytes > IO_BYTES || range_wraps(base.v, bytes) || prot == HOSTPT_RX) return -ERR_INVAL;
	lock_acquire(&h->lock);
	int err = io_map(h, hpa(first), align_up(offset + bytes, PAGE_BYTES),
	                 prot_attr(prot) | PT_GLOBAL | PT_TYPE(type), &at);
	lock_release(&h->lock);
	if (err == 0) *va = (void *)(at + offset);
	return err;
}

// Removes shared translations from the TLBs of all CPUs; global ones need INVLPG.
static void shared_flush(struct hostpt *h, uint64_t va, uint64_t bytes) {
	for (uint64_t at = va; at < va + bytes; at += PAGE_BYTES) mm_invlpg(at);
	if (h->shootdown != NULL) h->shootdown(va, bytes);
}

void hostunmap_io(struct hostpt *h, void *va) {
	uint64_t at = align_down((uintptr_t)va, PAGE_BYTES);
	uint32_t i = 0;
	lock_acquire(&h->lock);
	while (i < h->io_count && h->io[i].va != at) i++;
	assert(i < h->io_count);
	uint64_t bytes = h->io[i].bytes;
	int err = pt_unmap(&h->pt, at, bytes); // whole leaves: nothing to split
	assert(err == 0);
	shared_flush(h, at, bytes);
	h->io_count--;
	memmove(&h->io[i], &h->io[i + 1], (h->io_count - i) * sizeof h->io[0]);
	lock_release(&h->lock);
}

int hostmap_stack(struct hostpt *h, unsigned index, unsigned pages, void **top) {
	if (index >= STACK_MAX || pages == 0 || pages > STACK_PAGES_MAX) return -ERR_RANGE;
	uint64_t end = STACKS_BASE + ((uint64_t)index + 1) * STACK_STRIDE_BYTES - STACK_GUARD_ABOVE_BYTES;
	uint64_t bytes = pages * PAGE_BYTES;
	pfn_t pfn;
	int err = frames_alloc(h->frames, &FRAMES_REQUEST(FRAMES_POOL, pages), &pfn);
	if (err != 0) return err;
	lock_acquire(&h->lock);
	err = pt_map(&h->pt, end - bytes, pfn_hpa(pfn), bytes, prot_attr(HOSTPT_RW) | PT_GLOBAL);
	lock_release(&h->lock);
	if (err != 0) {
		frames_free(h->frames, pfn, pages);
		return err;
	}
	memset(frame_ptr(pfn_hpa(pfn)), 0, bytes);
	*top = (void *)end;
	return 0;
}

void *hostmap_temp(struct hostpt_cpu *c, unsigned slot, hpa_t base, uint64_t bytes, bool write) {
	uint64_t first = align_down(base.v, PAGE_BYTES), pages = bytes_pages(page_offset(base.v) + bytes);
	assert(slot < TEMP_COUNT && c->temp_bytes[slot] == 0);
	assert(bytes != 0 && bytes <= TEMP_BYTES && pages <= PT_ENTRIES);
	uint32_t attr = prot_attr(write ? HOSTPT_RW : HOSTPT_R);
	uint64_t *entries = frame_ptr(c->temp_table[slot]);
	for (uint64_t i = 0; i < pages; i++)
		entries[i] = pt_leaf_entry(&hostpt_format, PT_LEVEL_4K, hpa(first + i * PAGE_BYTES), attr);
	__atomic_thread_fence(__ATOMIC_RELEASE); // the entries before the access, for the compiler
	c->temp_bytes[slot] = pages * PAGE_BYTES;
	return mm_mapped(TEMP_BASE + temp_va(slot) + page_offset(base.v), frame_ptr(base));
}

void hostunmap_temp(struct hostpt_cpu *c, unsigned slot) {
	assert(slot < TEMP_COUNT && c->temp_bytes[slot] != 0);
	uint64_t bytes = c->temp_bytes[slot], va = TEMP_BASE + temp_va(slot);
	memset(frame_ptr(c->temp_table[slot]), 0, bytes / PAGE_BYTES * sizeof(uint64_t));
	if (bytes > INVLPG_PAGES_MAX * PAGE_BYTES)
		mm_cr3_load(c->root.v); // temporary mappings are not global
	else
		for (uint64_t at = va; at < va + bytes; at += PAGE_BYTES) mm_invlpg(at);
	c->temp_bytes[slot] = 0;
}
