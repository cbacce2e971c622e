// SPDX-License-Identifier: Apache-2.0
// The emulator's callbacks over the guest's paging, memory and buses. An access that crosses a page is split
// here; a page that is no RAM goes to the MMIO bus.
#include "arch/x86/guest/insn.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/mmio.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/pio.h"
#include "arch/x86/guest/walk.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"
#include "mm/gmem.h"

// Multiplicative hash of an instruction's first eight bytes to a cache entry.
#define HASH_FACTOR UINT64_C(0x9e3779b97f4a7c15)
#define HASH_SHIFT 61u
_Static_assert(INSN_CACHE_ENTRIES == 1u << (64 - HASH_SHIFT), "every hash is an entry");

// Iterations of a repeated string instruction an exit serves: bounds the handler, and interrupts are looked
// at in between.
#define REP_BUDGET 64u

struct emulation {
	struct emul_ctx ctx;
	struct vcpu *vcpu;
	struct guest_paging paging;
	bool stuck;  // a page table that is not in memory: nothing architectural can follow
	bool hinted; // the one memory operand is device memory; the CPU has just translated it, rights checked:
	uint64_t hint_gpa; // to this address
};

static __cold enum emul_access fault_to(struct emulation *e, uint64_t linear,
                                        const struct walk_fault *fault) {
	if (fault->unreadable) {
		e->stuck = true;
		return EMUL_ACCESS_RETRY;
	}
	e->ctx.fault =
	    (struct emul_fault){.vector = VEC_PF, .has_error = true, .error = fault->error, .cr2 = linear};
	return EMUL_ACCESS_FAULT;
}

static uint32_t user_bit(const struct emulation *e) { return e->paging.cpl == 3 ? PF_USER : 0u; }

// One piece inside a page: RAM, or a device, or nobody (ones).
static __cold void piece_read(struct vcpu *vcpu, gpa_t at, uint8_t *dst, unsigned bytes) {
	if (gmem_read(&vcpu->vm->space, at, dst, bytes) == 0) return;
	uint64_t value;
	bool whole = is_pow2(bytes) && bytes <= 8;
	for (unsigned done = 0; done < bytes;) {
		unsigned step = whole ? bytes : 1;
		value = mmio_read(vcpu, at.v + done, step);
		memcpy(dst + done, &value, step);
		done += step;
	}
}

static __cold void piece_write(struct vcpu *vcpu, gpa_t at, const uint8_t *src, unsigned bytes) {
	if (gmem_write(&vcpu->vm->space, at, src, bytes) == 0) return;
	bool whole = is_pow2(bytes) && bytes <= 8;
	for (unsigned done = 0; done < bytes;) {
		unsigned step = whole ? bytes : 1;
		uint64_t value = 0;
		memcpy(&value, src + done, step);
		mmio_write(vcpu, at.v + done, step, value);
		done += step;
	}
}

// Translates the one or two pages of an access first, so that nothing is done when the second one faults.
static __cold enum emul_access translate(struct emulation *e, uint64_t linear, unsigned bytes,
                                         uint32_t access, gpa_t at[2], unsigned *first) {
	struct walk_fault fault;
	*first = (unsigned)min_u64(bytes, PAGE_BYTES - page_offset(linear));
	if (guest_walk(e->vcpu, &e->paging, linear, access, &at[0], &fault) < 0)
		return fault_to(e, linear, &fault);
	if (*first < bytes && guest_walk(e->vcpu, &e->paging, linear + *first, access, &at[1], &fault) < 0)
		return fault_to(e, linear + *first, &fault);
	return EMUL_ACCESS_OK;
}

static bool is_hinted(const struct emulation *e, uint64_t linear, unsigned bytes) {
	return e->hinted && page_offset(linear) == page_offset(e->hint_gpa) && bytes <= 8 && is_pow2(bytes) &&
	       page_offset(linear) + bytes <= PAGE_BYTES;
}

static __cold enum emul_access emul_read(struct emul_ctx *ctx, uint64_t linear, void *dst, unsigned bytes,
                                         bool for_write) {
	struct emulation *e = ctx->owner;
	if (likely(is_hinted(e, linear, bytes))) {
		uint64_t value = mmio_read(e->vcpu, e->hint_gpa, bytes);
		memcpy(dst, &value, bytes);
		return EMUL_ACCESS_OK;
	}
	gpa_t at[2];
	unsigned first;
	enum emul_access r = translate(e, linear, bytes, user_bit(e) | (for_write ? PF_WRITE : 0), at, &first);
	if (r != EMUL_ACCESS_OK) return r;
	piece_read(e->vcpu, at[0], dst, first);
	if (first < bytes) piece_read(e->vcpu, at[1], (uint8_t *)dst + first, bytes - first);
	return r;
}

static __cold enum emul_access emul_write(struct emul_ctx *ctx, uint64_t linear, const void *src,
                                          unsigned bytes) {
	struct emulation *e = ctx->owner;
	if (likely(is_hinted(e, linear, bytes))) {
		uint64_t value = 0;
		memcpy(&value, src, bytes);
		mmio_write(e->vcpu, e->hint_gpa, bytes, value);
		return EMUL_ACCESS_OK;
	}
	gpa_t at[2];
	unsigned first;
	enum emul_access r = translate(e, linear, bytes, user_bit(e) | PF_WRITE, at, &first);
	if (r != EMUL_ACCESS_OK) return r;
	piece_write(e->vcpu, at[0], src, first);
	if (first < bytes) piece_write(e->vcpu, at[1], (const uint8_t *)src + first, bytes - first);
	return r;
}

// RAM gets a real compare-and-exchange; a device a plain write. 16 bytes and accesses that cross a page are
// not atomic against other vCPUs of the same VM (no device or kernel relies on that for MMIO).
static __cold enum emul_access emul_exchange(struct emul_ctx *ctx, uint64_t linear, const void *expected,
                                             const void *desired, unsigned bytes) {
	struct emulation *e = ctx->owner;
	gpa_t at[2];
	unsigned first;
	enum emul_access r = translate(e, linear, bytes, user_bit(e) | PF_WRITE, at, &first);
	if (r != EMUL_ACCESS_OK) return r;
	if (bytes == 8 && first == 8) {
		uint64_t seen = le64(expected);
		if (gmem_cmpxchg64(&e->vcpu->vm->space, at[0], &seen, le64(desired)) == 0)
			return seen == le64(expected) ? EMUL_ACCESS_OK : EMUL_ACCESS_RETRY;
	}
	if (bytes == 4 && first == 4) {
		uint32_t seen = le32(expected);
		if (gmem_cmpxchg32(&e->vcpu->vm->space, at[0], &seen, le32(desired)) == 0)
			return seen == le32(expected) ? EMUL_ACCESS_OK : EMUL_ACCESS_RETRY;
	}
	return emul_write(ctx, linear, desired, bytes);
}

static __cold enum emul_access emul_probe(struct emul_ctx *ctx, uint64_t linear, unsigned bytes) {
	gpa_t at[2];
	unsigned first;
	struct emulation *e = ctx->owner;
	return translate(e, linear, bytes, user_bit(e) | PF_WRITE, at, &first);
}

static __cold enum emul_access emul_port_in(struct emul_ctx *ctx, uint16_t port, unsigned bytes,
                                            uint32_t *value) {
	struct emulation *e = ctx->owner;
	*value = pio_read(e->vcpu, port, bytes);
	return EMUL_ACCESS_OK;
}

static __cold enum emul_access emul_port_out(struct emul_ctx *ctx, uint16_t port, unsigned bytes,
                                             uint32_t value) {
	struct emulation *e = ctx->owner;
	pio_write(e->vcpu, port, bytes, value);
	return EMUL_ACCESS_OK;
}

static __cold void emul_segment(struct emul_ctx *ctx, enum emul_seg seg, struct emul_segment *out) {
	struct emulation *e = ctx->owner;
	struct guest_segment s;
	ops->seg_get(e->vcpu, (enum guest_seg)seg, &s);
	*out =
	    (struct emul_segment){.base = s.base, .limit = s.limit, .access = s.access, .selector = s.selector};
}

static const struct emul_ops callbacks = {
    .read = emul_read,
    .write = emul_write,
    .exchange = emul_exchange,
    .probe_write = emul_probe,
    .port_in = emul_port_in,
    .port_out = emul_port_out,
    .segment = emul_segment,
};

static __cold void stop_undecodable(struct vcpu *vcpu, const char *why, const uint8_t *bytes,
                                    unsigned count) {
	char text[3 * EMUL_INSN_MAX + 1] = "";
	for (unsigned i = 0; i < count; i++) fmt_print(text + 3 * i, sizeof text - 3 * i, " %02x", bytes[i]);
	vm_stop_reason(vcpu->vm, VM_END_CRASH, 0, "%s at rip %#llx:%s", why,
	               (unsigned long long)ops->rip_get(vcpu), text);
}

static __cold __attribute__((noinline)) void decode_failed(struct vcpu *vcpu, int err,
                                                           const struct walk_fault *fault,
                                                           const uint64_t *code, unsigned have) {
	if (err == -ERR_INVAL)
		guest_ud(vcpu);
	else if (err == -ERR_RANGE)
		guest_gp(vcpu);
	else if (fault->unreadable)
		stop_undecodable(vcpu, "code is not in memory", (const uint8_t *)code, have);
	else
		guest_page_fault(vcpu, fault->error, fault->linear);
}

static inline struct insn_cache *cache_slot(struct vcpu *vcpu, const uint64_t *code) {
	return &vcpu->arch->insn_cache[code[0] * HASH_FACTOR >> HASH_SHIFT];
}

static inline bool cache_holds(const struct insn_cache *c, const uint64_t *code, enum emul_mode mode) {
	return c->code[0] == code[0] && c->code[1] == code[1] && c->mode == mode && c->insn.length != 0;
}

// The instruction at RIP when both its page and its bytes are remembered; 64-bit code only.
static inline const struct emul_insn *decode_remembered(struct vcpu *vcpu,
                                                        const struct guest_paging *paging) {
	const struct gspace *g = &vcpu->vm->space;
	uint64_t code[CODE_BYTES / 8], page, linear = ops->rip_get(vcpu);
	if (page_offset(linear) > PAGE_BYTES - CODE_BYTES || !guest_fetch_remembered(vcpu, paging, linear, &page))
		return NULL;
	gpa_t at = gpa(page + page_offset(linear));
	if (gmem_read64(g, at, &code[0]) < 0 || gmem_read64(g, gpa_add(at, 8), &code[1]) < 0) return NULL;
	struct insn_cache *c = cache_slot(vcpu, code);
	return cache_holds(c, code, EMUL_64) ? &c->insn : NULL;
}

// The instruction that begins the `have` bytes, zeros behind them, in the vCPU's cache.
static __cold __attribute__((noinline)) int decode_cached(struct vcpu *vcpu, const uint64_t *code,
                                                          unsigned have, enum emul_mode mode,
                                                          const struct emul_insn **insn) {
	if (have == 0) return -ERR_TRUNC;
	struct insn_cache *c = cache_slot(vcpu, code);
	*insn = &c->insn;
	if (cache_holds(c, code, mode) && c->insn.length <= have) return 0;
	int err = emul_decode((const uint8_t *)code, (unsigned)min_u64(have, EMUL_INSN_MAX), mode, &c->insn);
	if (err < 0) c->insn.length = 0;
	c->code[0] = code[0];
	c->code[1] = code[1];
	c->mode = (uint8_t)mode;
	return err;
}

// The instruction at RIP, in the vCPU's cache; NULL: a fault was raised or the VM stopped. Where the CPU gave all its
// bytes with the exit nothing is fetched.
static __cold const struct emul_insn *fetch_decode(struct vcpu *vcpu, const struct guest_paging *paging,
                                                   enum emul_mode mode) {
	uint64_t code[CODE_BYTES / 8];
	const struct emul_insn *insn;
	struct walk_fault fault;
	if (decode_cached(vcpu, code, ops->insn_bytes(vcpu, code), mode, &insn) == 0) return insn;
	fault.unreadable = false;
	unsigned have = guest_fetch(vcpu, paging, code, &fault);
	int err = decode_cached(vcpu, code, have, mode, &insn);
	if (err == 0) return insn;
	decode_failed(vcpu, err, &fault, code, have);
	return NULL;
}

__cold bool guest_decode(struct vcpu *vcpu, struct emul_insn *insn) {
	struct guest_paging paging;
	ops->paging_get(vcpu, &paging);
	const struct emul_insn *cached = fetch_decode(vcpu, &paging, guest_mode(&paging));
	if (cached == NULL) return false;
	*insn = *cached;
	return true;
}

// Apart, so that the usual way needs no stack of its own.
static __cold __attribute__((noinline)) void skip_decoded(struct vcpu *vcpu) {
	struct emul_insn insn;
	if (guest_decode(vcpu, &insn)) ops->advance(vcpu, insn.length);
}

void guest_skip(struct vcpu *vcpu, const struct exit *exit) {
	if (likely(exit->insn_len != 0))
		ops->advance(vcpu, exit->insn_len);
	else
		skip_decoded(vcpu);
}

static __cold void raise_fault(struct vcpu *vcpu, const struct emul_fault *fault) {
	if (fault->vector == VEC_PF)
		guest_page_fault(vcpu, fault->error, fault->cr2);
	else if (fault->has_error)
		guest_exception_error(vcpu, fault->vector, fault->error);
	else
		guest_exception(vcpu, fault->vector);
}

static __cold void emulation_init(struct emulation *e, struct vcpu *vcpu, enum emul_mode mode) {
	struct emul_ctx *c = &e->ctx;
	e->vcpu = vcpu;
	e->stuck = false;
	vcpu->arch->gpr[GPR_RSP] = ops->rsp_get(vcpu);
	c->ops = &callbacks;
	c->owner = e;
	c->gpr = vcpu->arch->gpr;
	c->rip = ops->rip_get(vcpu);
	c->rflags = e->paging.rflags = ops->rflags_get(vcpu); // without what a backend has put there for itself
	c->mode = mode;
	c->cpl = e->paging.cpl;
	c->linear_bits = (e->paging.cr4 & CR4_LA57) != 0 ? 57 : 48;
	c->rep_budget = REP_BUDGET;
	c->sti_shadow = false;
}

static __cold void stop_stuck(const struct emulation *e) {
	vm_stop_reason(e->vcpu->vm, VM_END_CRASH, 0, "page tables are not in memory (rip %#llx cr3 %#llx)",
	               (unsigned long long)e->ctx.rip, (unsigned long long)e->paging.cr3);
}

static __cold bool linear_access(struct emulation *e, uint64_t linear, void *dst, const void *src,
                                 unsigned bytes) {
	enum emul_access r =
	    src != NULL ? emul_write(&e->ctx, linear, src, bytes) : emul_read(&e->ctx, linear, dst, bytes, false);
	if (e->stuck)
		stop_stuck(e);
	else if (r == EMUL_ACCESS_FAULT)
		raise_fault(e->vcpu, &e->ctx.fault);
	return r == EMUL_ACCESS_OK;
}

__cold bool guest_linear_access(struct vcpu *vcpu, uint64_t linear, void *dst, const void *src,
                                unsigned bytes, uint8_t cpl) {
	struct emulation e;
	e.hinted = false;
	ops->paging_get(vcpu, &e.paging);
	emulation_init(&e, vcpu, guest_mode(&e.paging));
	e.paging.cpl = cpl;
	e.paging.rflags &= ~RFLAGS_AC; // an implicit access (SDM vol. 3, 4.6.1 "Determination of Access Rights")
	return linear_access(&e, (uint32_t)linear, dst, src, bytes);
}

static __cold bool operand_access(struct vcpu *vcpu, const struct emul_insn *insn, void *dst, const void *src,
                                  unsigned bytes) {
	struct emulation e;
	e.hinted = false;
	ops->paging_get(vcpu, &e.paging);
	emulation_init(&e, vcpu, guest_mode(&e.paging));
	uint64_t linear;
	if (emul_linear(&e.ctx, insn, bytes, src != NULL, &linear) != EMUL_DONE) {
		raise_fault(vcpu, &e.ctx.fault);
		return false;
	}
	return linear_access(&e, linear, dst, src, bytes);
}

bool guest_operand_read(struct vcpu *vcpu, const struct emul_insn *insn, void *dst, unsigned bytes) {
	return operand_access(vcpu, insn, dst, NULL, bytes);
}

bool guest_operand_write(struct vcpu *vcpu, const struct emul_insn *insn, const void *src, unsigned bytes) {
	return operand_access(vcpu, insn, NULL, src, bytes);
}

// The explicit memory operand is the only access of the instruction.
static __cold bool one_access(const struct emul_insn *insn) {
	return insn->has_mem && insn->op != EMUL_OP_PUSH && insn->op != EMUL_OP_POP && insn->op != EMUL_OP_CALL;
}

// MOV between a register and device memory, nearly all there is: done without the emulator. An aligned access
// that is not at the start of a page lies in one page, so fault_gpa is its first byte, all checks made.
static bool plain_move(struct vcpu *vcpu, const struct emul_insn *insn, uint64_t fault_gpa) {
	uint64_t *gpr = vcpu->arch->gpr;
	unsigned bytes = insn->dst.bytes;
	if (insn->op != EMUL_OP_MOV || bytes < 4 || page_offset(fault_gpa) == 0 || !is_aligned(fault_gpa, bytes))
		return false;
	if (insn->dst.kind == EMUL_KIND_MEM && insn->src.kind == EMUL_KIND_REG && insn->src.reg != EMUL_RSP)
		mmio_write(vcpu, fault_gpa, bytes, trunc_bytes(gpr[insn->src.reg], bytes));
	else if (insn->dst.kind == EMUL_KIND_MEM && insn->src.kind == EMUL_KIND_IMM)
		mmio_write(vcpu, fault_gpa, bytes, trunc_bytes(insn->imm, bytes));
	else if (insn->dst.kind == EMUL_KIND_REG && insn->src.kind == EMUL_KIND_MEM && insn->dst.reg != EMUL_RSP)
		gpr[insn->dst.reg] = mmio_read(vcpu, fault_gpa, bytes);
	else
		return false;
	ops->advance(vcpu, insn->length);
	return true;
}

static __cold __attribute__((noinline)) void emulate(struct vcpu *vcpu, const uint64_t *device_gpa) {
	struct emulation e;
	ops->paging_get(vcpu, &e.paging);
	enum emul_mode mode = guest_mode(&e.paging);
	const struct emul_insn *cached = fetch_decode(vcpu, &e.paging, mode);
	if (cached == NULL) return;
	vcpu->stat.emulated++;
	if (device_gpa != NULL && plain_move(vcpu, cached, *device_gpa)) return;
	const struct emul_insn insn = *cached;
	e.hinted = device_gpa != NULL && one_access(&insn);
	e.hint_gpa = e.hinted ? *device_gpa : 0;
	emulation_init(&e, vcpu, mode);
	enum emul_result result = emul_execute(&e.ctx, &insn);
	if (result == EMUL_UNHANDLED) {
		// A guest that runs garbage meets this too: the architectural way out is #UD (CHECKLIST: "Unknown:
		// inject, do not panic"), counted and logged.
		vm_guest_error(vcpu->vm, "emul",
		               "opcode %#x map %u at rip %#llx is not emulated on device memory: #UD", insn.opcode,
		               insn.map, (unsigned long long)e.ctx.rip);
		guest_ud(vcpu);
		return;
	}
	ops->rsp_set(vcpu, vcpu->arch->gpr[GPR_RSP]);
	if (e.stuck) {
		stop_stuck(&e);
		return;
	}
	if (result == EMUL_FAULT) {
		raise_fault(vcpu, &e.ctx.fault);
		return;
	}
	if (result == EMUL_AGAIN) return;
	ops->rflags_set(vcpu, e.ctx.rflags);
	ops->rip_set(vcpu, e.ctx.rip);
	ops->shadow_clear(vcpu);
	if ((e.paging.rflags & RFLAGS_TF) != 0) guest_trap_step(vcpu);
}

void guest_emulate(struct vcpu *vcpu) { emulate(vcpu, NULL); }

void guest_emulate_device(struct vcpu *vcpu, uint64_t device_gpa) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if (likely((p.efer & EFER_LMA) != 0 && (p.cs_access & SEG_L) != 0)) {
		const struct emul_insn *insn = decode_remembered(vcpu, &p);
		if (likely(insn != NULL) && plain_move(vcpu, insn, device_gpa)) return;
	}
	emulate(vcpu, &device_gpa);
}
