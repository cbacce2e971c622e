// SPDX-License-Identifier: Apache-2.0
// arch/x86/guest/walk.c against a second, slower description of paging (SDM vol. 3, chapter 4), over random tables.
#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/walk.h"
#include "tests/unit/support.h"

#define ARENA_BYTES (UINT64_C(16) * 4096)
#define PHYS_BITS 40

struct cpu_features features;

static uint64_t rip;
static struct guest_segment cs;
static uint64_t get_rip(const struct vcpu *vcpu) {
	(void)vcpu;
	return rip;
}
static void get_seg(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out) {
	(void)vcpu;
	assert_int_equal(seg, SEG_CS);
	*out = cs;
}
struct vendor_ops ops[1] = {{.rip_get = get_rip, .seg_get = get_seg}};

struct rig {
	struct rng rng;
	struct vm vm;
	struct vcpu vcpu;
	struct arch_vcpu arch;
	uint8_t *memory, *before;
};

static struct rig *rig_new(uint64_t seed) {
	struct rig *r = calloc(1, sizeof *r);
	rng_init(&r->rng, seed);
	r->memory = aligned_alloc(4096, ARENA_BYTES);
	r->before = malloc(ARENA_BYTES);
	memset(r->memory, 0, ARENA_BYTES);
	gspace_init_arena(&r->vm.space, r->memory, ARENA_BYTES, NULL);
	r->vcpu.vm = &r->vm;
	r->vcpu.arch = &r->arch;
	for (unsigned i = 0; i < FETCH_WALKS; i++) r->arch.fetch[i].linear_page = FETCH_WALK_NONE;
	features = (struct cpu_features){.phys_bits = PHYS_BITS, .page_1g = true};
	return r;
}

static void rig_free(struct rig *r) {
	free(r->memory);
	free(r->before);
	free(r);
}

// ---- the model ---------------------------------------------------------------------------------------------------

struct level {
	unsigned shift, index_bits;
	bool may_be_leaf; // PS is defined here
	bool pdpte;       // PAE's top: no rights, no A bit
};

struct format {
	unsigned entry_bytes, count;
	struct level level[5];
};

static const struct format format_32 = {4, 2, {{22, 10, true, false}, {12, 10, false, false}}};
static const struct format format_pae = {
    8, 3, {{30, 2, false, true}, {21, 9, true, false}, {12, 9, false, false}}};
static const struct format format_4 = {
    8, 4, {{39, 9, false, false}, {30, 9, true, false}, {21, 9, true, false}, {12, 9, false, false}}};
static const struct format format_5 = {8,
                                       5,
                                       {{48, 9, false, false},
                                        {39, 9, false, false},
                                        {30, 9, true, false},
                                        {21, 9, true, false},
                                        {12, 9, false, false}}};

enum outcome { WALKS, FAULTS, UNREADABLE };

struct verdict {
	enum outcome outcome;
	uint64_t gpa;
	uint32_t error;
	unsigned entries;
	uint64_t at[5];
	bool marks[5]; // that entry has an A bit
};

static const struct format *format_of(const struct guest_paging *p) {
	if ((p->efer & EFER_LMA) != 0) return (p->cr4 & CR4_LA57) != 0 ? &format_5 : &format_4;
	return (p->cr4 & CR4_PAE) != 0 ? &format_pae : &format_32;
}

static uint64_t field(uint64_t v, unsigned high, unsigned low) {
	return v >> low & ((UINT64_C(1) << (high - low + 1)) - 1);
}

// Table 4-4 to 4-20: bits that must be 0 in a present entry.
static bool reserved_set(const struct guest_paging *p, const struct format *f, unsigned i, uint64_t entry,
                         bool leaf) {
	const struct level *l = &f->level[i];
	if (f->entry_bytes == 4) return leaf && l->shift == 22 && field(entry, 21, 21) != 0;
	if (l->pdpte) return false; // checked when CR3 is loaded
	if (field(entry, 51, PHYS_BITS) != 0) return true;
	if (field(entry, 63, 63) != 0 && (p->efer & EFER_NXE) == 0) return true;
	if ((p->efer & EFER_LMA) == 0 && field(entry, 62, 52) != 0) return true;
	bool ps = field(entry, 7, 7) != 0;
	if (l->shift >= 39 && ps) return true;
	if (l->shift == 30 && ps && !features.page_1g) return true;
	return leaf && l->shift > 12 && field(entry, l->shift - 1, 13) != 0;
}

static bool allowed(const struct guest_paging *p, bool user_page, bool writable, bool nx, uint32_t access) {
	bool fetch = (access & PF_FETCH) != 0, write = (access & PF_WRITE) != 0;
	if (fetch && nx) return false;
	if ((access & PF_USER) != 0) return user_page && (writable || !write);
	if (write && !writable && (p->cr0 & CR0_WP) != 0) return false;
	if (!user_page) return true;
	if (fetch) return (p->cr4 & CR4_SMEP) == 0;
	return (p->cr4 & CR4_SMAP) == 0 || (p->rflags & RFLAGS_AC) != 0;
}

static struct verdict fault(const struct guest_paging *p, struct verdict v, uint32_t access, uint32_t bits) {
	bool fetches_told = (p->efer & EFER_NXE) != 0 || (p->cr4 & CR4_SMEP) != 0;
	v.outcome = FAULTS;
	v.error = (fetches_told ? access : access & ~(uint32_t)PF_FETCH) | bits;
	return v;
}

static struct verdict model(const struct rig *r, const struct guest_paging *p, uint64_t linear,
                            uint32_t access) {
	struct verdict v = {0};
	if ((p->efer & EFER_LMA) == 0) linear &= UINT32_MAX;
	if ((p->cr0 & CR0_PG) == 0) {
		v.gpa = linear;
		return v;
	}
	const struct format *f = format_of(p);
	bool user = true, writable = true, nx = false;
	uint64_t table = f == &format_pae  ? field(p->cr3, 31, 5) << 5
	                 : f == &format_32 ? field(p->cr3, 31, 12) << 12
	                                   : field(p->cr3, 51, 12) << 12;
	for (unsigned i = 0; i < f->count; i++) {
		const struct level *l = &f->level[i];
		uint64_t entry = 0;
		uint64_t at = table + field(linear, l->shift + l->index_bits - 1, l->shift) * f->entry_bytes;
		if (at >= ARENA_BYTES) {
			v.outcome = UNREADABLE;
			return v;
		}
		memcpy(&entry, r->before + at, f->entry_bytes);
		v.at[v.entries] = at;
		v.marks[v.entries++] = !l->pdpte;
		if (field(entry, 0, 0) == 0) return fault(p, v, access, 0);
		bool leaf = l->shift == 12 || (l->may_be_leaf && field(entry, 7, 7) != 0 &&
		                               (f->entry_bytes == 8 || (p->cr4 & CR4_PSE) != 0));
		if (reserved_set(p, f, i, entry, leaf)) return fault(p, v, access, PF_PRESENT | PF_RSVD);
		if (!l->pdpte) {
			writable = writable && field(entry, 1, 1) != 0;
			user = user && field(entry, 2, 2) != 0;
			nx = nx || (f->entry_bytes == 8 && field(entry, 63, 63) != 0);
		}
		table = f->entry_bytes == 4 ? field(entry, 31, 12) << 12 : field(entry, 51, 12) << 12;
		if (!leaf) continue;
		if (!allowed(p, user, writable, nx, access)) return fault(p, v, access, PF_PRESENT);
		if (f->entry_bytes == 4 && l->shift == 22)
			table = field(entry, 31, 22) << 22 | field(entry, 20, 13) << 32;
		v.gpa = (table >> l->shift << l->shift) | field(linear, l->shift - 1, 0);
		return v;
	}
	abort();
}

// ---- random guests -----------------------------------------------------------------------------------------------

static bool chance(struct rig *r, unsigned one_in) { return rng_below(&r->rng, one_in) == 0; }

static uint64_t random_entry(struct rig *r, bool wide) {
	uint64_t e = rng_below(&r->rng, ARENA_BYTES / 4096) << 12;
	if (!chance(r, 12)) e |= 1;
	if (!chance(r, 6)) e |= 2;
	if (!chance(r, 6)) e |= 4;
	if (chance(r, 3)) e |= BIT64(5);
	if (chance(r, 3)) e |= BIT64(6);
	if (chance(r, 5)) e = (e | BIT64(7)) & (chance(r, 3) ? UINT64_MAX : ~MASK64(29, 13));
	if (chance(r, 20)) e |= UINT64_C(0xf00); // ignored and G
	if (chance(r, 40)) e |= BIT64(30);
	if (!wide) return (uint32_t)e;
	if (chance(r, 5)) e |= BIT64(63);
	if (chance(r, 40)) e |= BIT64(PHYS_BITS + rng_below(&r->rng, 52 - PHYS_BITS));
	if (chance(r, 20)) e |= BIT64(52 + rng_below(&r->rng, 11));
	return e;
}

static void random_memory(struct rig *r, bool wide) {
	for (uint64_t at = 0; at < ARENA_BYTES; at += wide ? 8 : 4) {
		uint64_t e = random_entry(r, wide);
		memcpy(r->memory + at, &e, wide ? 8 : 4);
	}
}

static struct guest_paging random_paging(struct rig *r, unsigned mode) {
	struct guest_paging p = {.cr0 = CR0_PE | (mode == 0 ? 0 : CR0_PG)};
	if (chance(r, 2)) p.cr0 |= CR0_WP;
	if (mode >= 2) p.cr4 |= CR4_PAE;
	if (mode >= 3) p.efer |= EFER_LMA | EFER_LME;
	if (mode == 4) p.cr4 |= CR4_LA57;
	if (chance(r, 2)) p.cr4 |= CR4_PSE;
	if (chance(r, 2)) p.cr4 |= CR4_SMEP;
	if (chance(r, 2)) p.cr4 |= CR4_SMAP;
	if (chance(r, 2)) p.efer |= EFER_NXE;
	if (chance(r, 2)) p.rflags |= RFLAGS_AC;
	p.cr3 = rng_below(&r->rng, ARENA_BYTES / 4096) << 12 | (mode == 2 ? rng_below(&r->rng, 128) << 5 : 0);
	return p;
}

static uint32_t random_access(struct rig *r) {
	static const uint32_t kind[] = {0, PF_WRITE, PF_FETCH};
	return kind[rng_below(&r->rng, 3)] | (chance(r, 2) ? PF_USER : 0);
}

// What the walk wrote: accessed bits on its way, the dirty bit of the last entry of a write, nothing else.
static void memory_check(const struct rig *r, const struct verdict *v, bool write) {
	static uint8_t expected[ARENA_BYTES];
	memcpy(expected, r->before, ARENA_BYTES);
	for (unsigned i = 0; i < v->entries; i++) {
		uint8_t want = v->marks[i] ? 0x20 : 0;
		if (i + 1 == v->entries && v->outcome == WALKS && write) want |= 0x40;
		bool passed = i + 1 < v->entries || v->outcome != FAULTS;
		// On the way to a failure the entries gone through may be marked.
		if (v->outcome == WALKS || (passed && (r->memory[v->at[i]] & want) != 0)) expected[v->at[i]] |= want;
	}
	assert_memory_equal(expected, r->memory, ARENA_BYTES);
}

static void guest_walk_random_tables_match_the_model(void **state) {
	(void)state;
	struct rig *r = rig_new(11);
	unsigned outcomes[3] = {0};
	unsigned mode = 0;
	for (unsigned n = 0; n < 20000; n++) {
		if (n % 16 == 0) {
			mode = (unsigned)rng_below(&r->rng, 5);
			random_memory(r, mode != 1);
		}
		features.page_1g = !chance(r, 4);
		memcpy(r->before, r->memory, ARENA_BYTES);
		struct guest_paging p = random_paging(r, mode);
		uint64_t linear = rng_next(&r->rng);
		uint32_t access = random_access(r);
		struct verdict v = model(r, &p, linear, access);
		struct walk_fault f = {0};
		gpa_t out = gpa(0);
		int err = guest_walk(&r->vcpu, &p, linear, access, &out, &f);
		outcomes[v.outcome]++;
		assert_int_equal(err, v.outcome == WALKS ? 0 : -ERR_FAULT);
		if (v.outcome == WALKS) assert_int_equal(out.v, v.gpa);
		if (v.outcome != WALKS) assert_int_equal(f.unreadable, v.outcome == UNREADABLE);
		if (v.outcome == FAULTS) assert_int_equal(f.error, v.error);
		memory_check(r, &v, (access & PF_WRITE) != 0);
	}
	assert_true(outcomes[WALKS] > 1000 && outcomes[FAULTS] > 1000);
	rig_free(r);
}

// ---- fetch -------------------------------------------------------------------------------------------------------

#define CODE_GPA UINT64_C(0x8000)
#define PTE_USUAL UINT64_C(3)

// 4-level tables at 0x1000..0x4000 that map linear 0x400000 + n pages to CODE_GPA + n pages.
static struct guest_paging fetch_tables(struct rig *r, unsigned pages) {
	uint64_t e;
	e = 0x2000 | PTE_USUAL;
	memcpy(r->memory + 0x1000, &e, 8);
	e = 0x3000 | PTE_USUAL;
	memcpy(r->memory + 0x2000, &e, 8);
	e = 0x4000 | PTE_USUAL;
	memcpy(r->memory + 0x3000 + 2 * 8, &e, 8);
	for (unsigned i = 0; i < pages; i++) {
		e = (CODE_GPA + i * 4096) | PTE_USUAL;
		memcpy(r->memory + 0x4000 + i * 8, &e, 8);
	}
	for (unsigned i = 0; i < 2 * 4096; i++) r->memory[CODE_GPA + i] = (uint8_t)(i * 7);
	return (struct guest_paging){.cr0 = CR0_PE | CR0_PG,
	                             .cr3 = 0x1000,
	                             .cr4 = CR4_PAE,
	                             .efer = EFER_LMA | EFER_LME,
	                             .cs_access = SEG_L};
}

static void guest_fetch_across_pages_takes_both(void **state) {
	(void)state;
	struct rig *r = rig_new(12);
	struct guest_paging p = fetch_tables(r, 2);
	uint64_t code[CODE_BYTES / 8];
	struct walk_fault f;
	for (unsigned offset = 4080; offset < 4096; offset++) {
		rip = 0x400000 + offset;
		assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), CODE_BYTES);
		assert_memory_equal(code, r->memory + CODE_GPA + offset, CODE_BYTES);
	}
	rig_free(r);
}

static void guest_fetch_before_an_absent_page_ends_there(void **state) {
	(void)state;
	struct rig *r = rig_new(13);
	struct guest_paging p = fetch_tables(r, 1);
	uint64_t code[CODE_BYTES / 8];
	struct walk_fault f = {0};
	rip = 0x400000 + 4090;
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 6);
	assert_false(f.unreadable);
	assert_int_equal(f.error & PF_PRESENT, 0);
	assert_int_equal(f.linear, 0x401000);
	rip = 0x401000;
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 0);
	assert_int_equal(f.linear, 0x401000);
	rig_free(r);
}

static void guest_fetch_fault_address_includes_the_segment_base(void **state) {
	(void)state;
	struct rig *r = rig_new(14);
	struct guest_paging p = {.cr0 = CR0_PE | CR0_PG, .cr3 = 0x1000, .cs_access = SEG_DB};
	uint64_t code[CODE_BYTES / 8];
	struct walk_fault f = {0};
	cs = (struct guest_segment){.base = 0x30000, .limit = UINT32_MAX};
	rip = 0x123;
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 0);
	assert_int_equal(f.linear, 0x30123);
	rig_free(r);
}

// The remembered walk must see every change that a walk would see.
static void guest_fetch_after_any_change_is_a_new_walk(void **state) {
	(void)state;
	struct rig *r = rig_new(15);
	uint64_t code[CODE_BYTES / 8];
	struct walk_fault f;
	static const uint64_t entry_at[] = {0x1000, 0x2000, 0x3010, 0x4000};
	rip = 0x400010;
	for (unsigned i = 0; i < array_count(entry_at); i++) {
		struct guest_paging p = fetch_tables(r, 1);
		assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), CODE_BYTES);
		memset(r->memory + entry_at[i], 0, 8);
		assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 0);
	}
	struct guest_paging p = fetch_tables(r, 1);
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), CODE_BYTES);
	p.cpl = 3; // a supervisor page
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 0);
	assert_int_equal(f.error & (PF_PRESENT | PF_USER), PF_PRESENT | PF_USER);
	p.cpl = 0;
	p.cr3 = 0x9000;
	memset(r->memory + 0x9000, 0, 4096);
	assert_int_equal(guest_fetch(&r->vcpu, &p, code, &f), 0);
	rig_free(r);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(guest_walk_random_tables_match_the_model),
	    cmocka_unit_test(guest_fetch_across_pages_takes_both),
	    cmocka_unit_test(guest_fetch_before_an_absent_page_ends_there),
	    cmocka_unit_test(guest_fetch_fault_address_includes_the_segment_base),
	    cmocka_unit_test(guest_fetch_after_any_change_is_a_new_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
