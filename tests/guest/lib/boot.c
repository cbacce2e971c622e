// SPDX-License-Identifier: Apache-2.0
// Readers of multiboot 1 and 2 and PVH information, for test guests.
#include "tests/guest/lib/boot.h"

#include "tests/guest/lib/insn.h"

#define HV_LEAF_FIRST 0x40000000u
#define HV_LEAF_LAST 0x40000F00u
#define HV_LEAF_STEP 0x100u

enum { MB2_TAG_END = 0, MB2_TAG_CMDLINE = 1, MB2_TAG_MODULE = 3, MB2_TAG_MMAP = 6 };

struct mb2_tag {
	uint32_t type, size;
	uint32_t data[];
};

// hvm_start_info of the PVH protocol.
struct pvh_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

static const struct mb1_info *mb1(void) { return (const struct mb1_info *)(uintptr_t)boot_info_addr; }

static const struct pvh_info *pvh(void) {
	const struct pvh_info *p = (const struct pvh_info *)(uintptr_t)boot_info_addr;
	return boot_magic != MB1_BOOT_MAGIC && boot_magic != MB2_BOOT_MAGIC && p && p->magic == PVH_START_MAGIC
	           ? p
	           : 0;
}

static const struct mb2_tag *mb2_tag(uint32_t type) {
	uintptr_t at = (uintptr_t)boot_info_addr + 8;
	for (;;) {
		const struct mb2_tag *t = (const struct mb2_tag *)at;
		if (t->type == type) return t;
		if (t->type == MB2_TAG_END) return 0;
		at += (t->size + 7u) & ~7u;
	}
}

const char *boot_cmdline(void) {
	if (boot_magic == MB1_BOOT_MAGIC)
		return mb1()->flags & MB1_HAS_CMDLINE ? (const char *)(uintptr_t)mb1()->cmdline : "";
	if (boot_magic == MB2_BOOT_MAGIC) {
		const struct mb2_tag *t = mb2_tag(MB2_TAG_CMDLINE);
		return t ? (const char *)t->data : "";
	}
	return pvh() && pvh()->cmdline ? (const char *)(uintptr_t)pvh()->cmdline : "";
}

bool boot_module(const uint8_t **start, uint32_t *bytes) {
	uintptr_t first, last;
	if (boot_magic == MB1_BOOT_MAGIC) {
		if (!(mb1()->flags & MB1_HAS_MODS) || !mb1()->mods_count) return false;
		const struct mb1_module *m = (const struct mb1_module *)(uintptr_t)mb1()->mods_addr;
		first = m->start;
		last = m->end;
	} else if (boot_magic == MB2_BOOT_MAGIC) {
		const struct mb2_tag *t = mb2_tag(MB2_TAG_MODULE);
		if (!t) return false;
		first = t->data[0];
		last = t->data[1];
	} else {
		if (!pvh() || !pvh()->nr_modules) return false;
		const uint64_t *m = (const uint64_t *)(uintptr_t)pvh()->modlist;
		first = (uintptr_t)m[0];
		last = first + (uintptr_t)m[1];
	}
	*start = (const uint8_t *)first;
	*bytes = (uint32_t)(last - first);
	return true;
}

static bool mb1_range(unsigned i, struct boot_range *range) {
	if (!(mb1()->flags & MB1_HAS_MMAP)) return false;
	uintptr_t at = mb1()->mmap_addr, end = at + mb1()->mmap_length;
	for (; at < end; at += *(const uint32_t *)at + 4, i--) {
		const uint32_t *e = (const uint32_t *)at;
		*range = (struct boot_range){(uint64_t)e[2] << 32 | e[1], (uint64_t)e[4] << 32 | e[3], e[5]};
		if (i == 0) return true;
	}
	return false;
}

bool boot_range(unsigned i, struct boot_range *range) {
	if (boot_magic == MB1_BOOT_MAGIC) return mb1_range(i, range);
	if (boot_magic == MB2_BOOT_MAGIC) {
		const struct mb2_tag *t = mb2_tag(MB2_TAG_MMAP);
		uint32_t entry_bytes = t ? t->data[0] : 0;
		if (!t || 16 + (i + 1) * entry_bytes > t->size) return false;
		const uint32_t *e = (const uint32_t *)((uintptr_t)t + 16 + i * entry_bytes);
		*range = (struct boot_range){(uint64_t)e[1] << 32 | e[0], (uint64_t)e[3] << 32 | e[2], e[4]};
		return true;
	}
	if (!pvh() || pvh()->version < 1 || i >= pvh()->memmap_entries) return false;
	const uint32_t *e = (const uint32_t *)(uintptr_t)(pvh()->memmap + i * 24);
	*range = (struct boot_range){(uint64_t)e[1] << 32 | e[0], (uint64_t)e[3] << 32 | e[2], e[4]};
	return true;
}

// The text after `key` when a word of the command line begins with it, else NULL.
static const char *word_after(const char *key) {
	for (const char *c = boot_cmdline(); *c;) {
		while (*c == ' ') c++;
		const char *k = key, *w = c;
		while (*k && *k == *w) k++, w++;
		if (!*k) return w;
		while (*c && *c != ' ') c++;
	}
	return 0;
}

bool boot_has_word(const char *word) {
	const char *rest = word_after(word);
	return rest && (*rest == ' ' || *rest == 0);
}

bool boot_value(const char *key, char *out, unsigned out_bytes) {
	const char *v = word_after(key);
	if (!v) return false;
	unsigned n = 0;
	for (; v[n] && v[n] != ' ' && n + 1 < out_bytes; n++) out[n] = v[n];
	out[n] = 0;
	return true;
}

bool text_equal(const char *a, const char *b) {
	while (*a && *a == *b) a++, b++;
	return *a == *b;
}

uint32_t hypervisor_leaf(const char *signature) {
	if (!(cpuid(1, 0).ecx >> 31)) return 0;
	for (uint32_t leaf = HV_LEAF_FIRST; leaf <= HV_LEAF_LAST; leaf += HV_LEAF_STEP) {
		struct cpuid r = cpuid(leaf, 0);
		char text[13] = {0};
		__builtin_memcpy(text, &r.ebx, 4);
		__builtin_memcpy(text + 4, &r.ecx, 4);
		__builtin_memcpy(text + 8, &r.edx, 4);
		const char *s = signature, *t = text;
		while (*s && *s == *t) s++, t++;
		if (!*s) return leaf;
	}
	return 0;
}

bool on_bulkhead(void) { return hypervisor_leaf("Bulkhead") != 0; }

bool on_tcg(void) {
	char host[16];
	if (boot_value("host=", host, sizeof host)) return text_equal(host, "tcg");
	return hypervisor_leaf("TCG") != 0;
}

bool on_bochs(void) {
	char host[16];
	return boot_value("host=", host, sizeof host) && text_equal(host, "bochs");
}

bool on_bare_tcg(void) { return on_tcg() && !on_bulkhead(); }

bool on_bare_bochs(void) { return on_bochs() && !on_bulkhead(); }

bool cpu_is_intel(void) { return cpuid(0, 0).ecx == 0x6C65746E; } // "ntel"
