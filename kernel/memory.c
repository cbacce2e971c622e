// SPDX-License-Identifier: Apache-2.0
// Takes the boot paths' memory map into mm: what is usable, what stays reserved (kernel image, boot files,
// the page for the AP trampoline below 1 MiB, firmware tables), how large the pool is.
#include "kernel/memory.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mtrr.h"
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/cpu/regs.h"
#include "arch/x86/cpu/trap.h"
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"
#include "kernel/smp.h"
#include "mm/insn.h"

static struct frames frames;
static struct hostpt hostpt;
static struct hostpt_cpu hostpt_cpu[CPU_MAX];
static struct frames_range range[BOOT_MEM_MAX + BOOT_FILE_MAX + 4 + 2 * MTRR_PAIRS_MAX];
static uint64_t usable_bytes, image_bytes;
static hpa_t trampoline;

extern const unsigned char __image_start[], __text_end[], __rodata_end[], __image_end[];

struct frames *memory_frames(void) {
	return &frames;
}
struct hostpt *memory_hostpt(void) {
	return &hostpt;
}
struct hostpt_cpu *memory_cpu(uint32_t cpu_id) {
	return &hostpt_cpu[cpu_id];
}
uint64_t memory_usable_bytes(void) { return usable_bytes; }

uint64_t memory_own_bytes(void) {
	return image_bytes +
	       (frames.total[FRAMES_POOL] - frames.free[FRAMES_POOL] + frames.meta_pages) * PAGE_BYTES;
}

static void range_add(unsigned *count, uint64_t base, uint64_t bytes, bool usable) {
	if (bytes == 0 || *count >= array_count(range)) return;
	range[(*count)++] = (struct frames_range){.base = base, .bytes = bytes, .usable = usable};
	if (usable) usable_bytes += bytes;
}

// Memory below 1 MiB is not handed out, so a page that is free now stays so. From the top: firmware and DOS-time
// software keep theirs at the bottom.
static bool page_free(unsigned count, uint64_t page) {
	bool usable = false;
	for (unsigned i = 0; i < count; i++) {
		const struct frames_range *r = &range[i];
		if (!r->usable && r->base < page + PAGE_BYTES && page < r->base + r->bytes) return false;
		usable = usable || (r->usable && r->base <= page && page + PAGE_BYTES <= r->base + r->bytes);
	}
	return usable;
}

static hpa_t low_page(unsigned count) {
	uint64_t page = FRAMES_LOW_BYTES - PAGE_BYTES;
	while (page > 0 && !page_free(count, page)) page -= PAGE_BYTES;
	return hpa(page);
}

// What the firmware lists as memory, in runs that are write-back and runs that are not, which nobody gets.
static void usable_add(unsigned *count, const struct mtrr_set *mtrr, uint64_t base, uint64_t bytes) {
	uint64_t end = base + bytes, at = base, next;
	bool wb = true;
	while (base < end) {
		if (at < end && mtrr_write_back(mtrr, at, &next) == wb) {
			at = min_u64(next - 1, end - 1) + 1;
			continue;
		}
		if (wb)
			range_add(count, base, at - base, true);
		else
			log_warn("memory", "%#llx - %#llx is not used: not write-back by the firmware's MTRRs",
			         (unsigned long long)base, (unsigned long long)(at - 1));
		base = at;
		wb = !wb;
	}
}

static int frames_build(const struct boot_info *boot) {
	unsigned count = 0;
	struct mtrr_set mtrr = {.default_type = MTRR_TYPE_WB};
	if (features.vmx) mtrr_read(&mtrr);
	for (uint32_t i = 0; i < boot->mem_count; i++)
		if (boot->mem[i].type == BOOT_MEM_USABLE)
			usable_add(&count, &mtrr, boot->mem[i].base, boot->mem[i].bytes);
		else
			range_add(&count, boot->mem[i].base, boot->mem[i].bytes, false);
	// Whatever the map says, these stay where they are: boot files are kept for restarts of their VMs.
	range_add(&count, boot->kernel_base, boot->kernel_bytes, false);
	for (uint32_t i = 0; i < boot->file_count; i++)
		range_add(&count, boot->file[i].base, align_up(boot->file[i].bytes, PAGE_BYTES), false);
	if (boot->fb.format != BOOT_FB_NONE) range_add(&count, boot->fb.base, boot->fb.bytes, false);
	trampoline = low_page(count);
	return frames_init(&frames, range, count, frames_pool_suggest(usable_bytes));
}

static struct hostpt_section section(const unsigned char *from, const unsigned char *to,
                                     enum hostpt_prot prot) {
	uint64_t base = (uint64_t)(uintptr_t)from;
	return (struct hostpt_section){.virt = base, .bytes = (uint64_t)(uintptr_t)to - base, .prot = prot};
}

struct span {
	uint64_t va, bytes;
};

static void span_forget(void *arg) {
	const struct span *s = arg;
	for (uint64_t at = s->va; at < s->va + s->bytes; at += PAGE_BYTES) mm_invlpg(at);
}

// The host's own translations in the TLBs of the other CPUs. mm holds its lock meanwhile; whoever waits for that serves
// its mailbox.
static void shootdown(uint64_t va, uint64_t bytes) {
	smp_call_others(span_forget, &(struct span){va, bytes});
}

int memory_init(const struct boot_info *boot) {
	int err = frames_build(boot);
	if (err < 0) {
		log_error("memory", "no usable memory for the hypervisor in the firmware's map: %s", err_name(err));
		return err;
	}
	const struct hostpt_section sections[] = {
	    section(__image_start, __text_end, HOSTPT_RX),
	    section(__text_end, __rodata_end, HOSTPT_R),
	    section(__rodata_end, __image_end, HOSTPT_RW),
	};
	image_bytes = (uint64_t)(__image_end - __image_start);
	wrmsr(MSR_PAT, HOSTPT_PAT);
	err = hostpt_init(&hostpt, &frames, (read_cr4() & CR4_LA57) != 0 ? 5 : 4,
	                  features.page_1g ? PT_LEAF_1G : PT_LEAF_2M, hpa(boot->kernel_base), sections,
	                  array_count(sections), shootdown);
	if (err == 0) err = hostpt_cpu_init(&hostpt, &hostpt_cpu[0]);
	if (err < 0) {
		log_error("memory", "the hypervisor's page tables cannot be built: %s", err_name(err));
		return err;
	}
	hostpt_cpu_live(&hostpt_cpu[0]);
	// A page more: an access may begin at the window's last bytes.
	trap_fixup_range_set(WINDOW_BASE, WINDOW_BYTES + PAGE_BYTES);
	return 0;
}

#define STACK_MAIN_PAGES 4u
#define STACK_IST_PAGES 2u
#define CPU_STACKS 4u

int memory_cpu_stacks(uint32_t cpu_id, struct cpu_stacks *s) {
	unsigned index = cpu_id * CPU_STACKS;
	int err = hostmap_stack(&hostpt, index, STACK_MAIN_PAGES, &s->main);
	if (err == 0) err = hostmap_stack(&hostpt, index + 1, STACK_IST_PAGES, &s->nmi);
	if (err == 0) err = hostmap_stack(&hostpt, index + 2, STACK_IST_PAGES, &s->df);
	if (err == 0) err = hostmap_stack(&hostpt, index + 3, STACK_IST_PAGES, &s->mc);
	return err;
}

hpa_t memory_trampoline(void) { return trampoline; }

int memory_pool_pages(uint64_t pages, hpa_t *first) {
	pfn_t pfn;
	int err = frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_POOL, pages), &pfn);
	if (err < 0) return err;
	*first = pfn_hpa(pfn);
	memset(frame_ptr(*first), 0, pages * PAGE_BYTES);
	return 0;
}

void memory_pool_pages_free(hpa_t first, uint64_t pages) { frames_free(&frames, hpa_pfn(first), pages); }

// Size classes: powers of two from 64 bytes to half a page; larger objects are whole pages.
#define CLASS_MIN_SHIFT 6u
#define CLASS_COUNT 6u
static struct pool class_pool[CLASS_COUNT];

static struct pool *class_of(uint64_t bytes) {
	unsigned shift = CLASS_MIN_SHIFT;
	while ((UINT64_C(1) << shift) < bytes) shift++;
	return shift - CLASS_MIN_SHIFT < CLASS_COUNT ? &class_pool[shift - CLASS_MIN_SHIFT] : NULL;
}

int memory_object(uint64_t bytes, void **object) {
	struct pool *pool = class_of(bytes);
	if (pool == NULL) {
		hpa_t first;
		int err = memory_pool_pages(bytes_pages(bytes), &first);
		if (err == 0) *object = frame_ptr(first);
		return err;
	}
	if (pool->frames == NULL) {
		uint32_t size = (uint32_t)1 << (CLASS_MIN_SHIFT + (unsigned)(pool - class_pool));
		int err = pool_init(pool, "object", &frames, size, 64);
		if (err < 0) return err;
	}
	return pool_alloc(pool, object);
}

void memory_object_free(void *object, uint64_t bytes) {
	struct pool *pool = class_of(bytes);
	if (pool != NULL)
		pool_free(pool, object);
	else
		memory_pool_pages_free(frame_hpa(object), bytes_pages(bytes));
}
