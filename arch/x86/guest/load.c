// SPDX-License-Identifier: Apache-2.0
// Loads a guest's kernel and initrd by kernel/load and gives vCPU 0 the state it asks for.
#include "arch/x86/guest/acpi_tables.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/vcpu.h"
#include "kernel/bootfile.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"
#include "kernel/load/load.h"
#include "kernel/memory.h"
#include "mm/gmem.h"

// Pieces in which a file is copied into guest memory.
#define COPY_BYTES 4096u

static int guest_write(void *context, gpa_t at, const void *bytes, size_t len) {
	struct vm *vm = context;
	return gmem_write(&vm->space, at, bytes, len);
}

static int guest_zero(void *context, gpa_t at, uint64_t len) {
	struct vm *vm = context;
	return gmem_zero(&vm->space, at, len);
}

static int guest_copy(void *context, gpa_t at, const struct source *file, uint64_t offset, uint64_t len) {
	struct vm *vm = context;
	uint8_t piece[COPY_BYTES];
	while (len > 0) {
		size_t run = (size_t)min_u64(len, sizeof piece);
		int err = source_read(file, offset, piece, run);
		if (err == 0) err = gmem_write(&vm->space, at, piece, run);
		if (err < 0) return err;
		at = gpa_add(at, run);
		offset += run;
		len -= run;
	}
	return 0;
}

static const struct load_ops load_ops = {.write = guest_write, .zero = guest_zero, .copy = guest_copy};

static struct guest_segment flat(uint16_t selector, uint32_t access) {
	return (struct guest_segment){.limit = UINT32_MAX, .access = access, .selector = selector};
}

#define ACCESS_CODE (SEG_ACCESS_CODE | SEG_G)
#define ACCESS_DATA (SEG_ACCESS_DATA | SEG_G | SEG_DB)

static void entry_state(struct vcpu *vcpu, const struct load_entry *e) {
	struct guest_sregs s;
	ops->sregs_get(vcpu, &s);
	s.cr0 = e->cr0 | CR0_ET;
	s.cr3 = e->cr3;
	s.cr4 = e->cr4;
	s.efer = e->efer;
	if (e->gdt_limit != 0) s.gdt = (struct guest_table){.base = e->gdt.v, .limit = e->gdt_limit};
	if (e->mode == LOAD_MODE_REAL) {
		s.seg[SEG_CS].base = 0;
		s.seg[SEG_CS].selector = 0;
	} else {
		s.seg[SEG_CS] = flat(e->code_selector, ACCESS_CODE | (e->mode == LOAD_MODE_LONG64 ? SEG_L : SEG_DB));
		const enum guest_seg data[] = {SEG_DS, SEG_ES, SEG_SS, SEG_FS, SEG_GS};
		for (unsigned i = 0; i < array_count(data); i++) s.seg[data[i]] = flat(e->data_selector, ACCESS_DATA);
	}
	if (e->mode == LOAD_MODE_REAL) s.idt = (struct guest_table){.base = 0, .limit = 0x3ff};
	ops->sregs_set(vcpu, &s);
	uint64_t *g = vcpu->arch->gpr;
	g[GPR_RAX] = e->rax;
	g[GPR_RBX] = e->rbx;
	g[GPR_RCX] = e->rcx;
	g[GPR_RDX] = e->rdx;
	g[GPR_RBP] = e->rbp;
	g[GPR_RSI] = e->rsi;
	g[GPR_RDI] = e->rdi;
	ops->rsp_set(vcpu, e->rsp);
	ops->rip_set(vcpu, e->rip);
	ops->rflags_set(vcpu, e->rflags);
}

#define IOAPIC_ID 0u
#define RSDP_BYTES 36u // revision 2

// Builds the firmware tables aside and copies them in. `rsdp_bytes` gets a copy of the RSDP for the loaders.
static int tables_write(struct vm *vm, uint64_t *rsdp, uint8_t rsdp_bytes[static RSDP_BYTES]) {
	uint32_t apic_ids[VM_VCPU_MAX];
	for (unsigned i = 0; i < vm->vcpu_count; i++) apic_ids[i] = vm->vcpu[i]->id;
	const struct acpi_guest in = {.vcpu_count = vm->vcpu_count, .apic_ids = apic_ids, .ioapic_id = IOAPIC_ID};
	uint64_t bytes = acpi_tables_bytes(&in);
	void *aside;
	int err = memory_object(bytes, &aside);
	if (err < 0) return err;
	err = acpi_tables_build(&in, aside, bytes, ACPI_GUEST_AREA_GPA, rsdp);
	if (err == 0) {
		memcpy(rsdp_bytes, (const uint8_t *)aside + (*rsdp - ACPI_GUEST_AREA_GPA), RSDP_BYTES);
		err = gmem_write(&vm->space, gpa(ACPI_GUEST_AREA_GPA), aside, bytes);
	}
	memory_object_free(aside, bytes);
	return err;
}

int arch_vm_load(struct vm *vm, struct arch_why *why) {
	uint8_t rsdp_bytes[RSDP_BYTES];
	uint64_t rsdp;
	struct source kernel, initrd;
	struct load_why load_why;
	struct load_entry entry;
	bool has_initrd = vm->config->initrd[0] != '\0';
	int err = bootfile_find(vm->config->kernel, &kernel);
	if (err == 0 && has_initrd) err = bootfile_find(vm->config->initrd, &initrd);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "a boot file is gone: %s", err_name(err));
		return err;
	}
	err = tables_write(vm, &rsdp, rsdp_bytes);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "the guest's ACPI tables: %s", err_name(err));
		return err;
	}
	const struct load_request request = {
	    .kernel = &kernel,
	    .initrd = has_initrd ? &initrd : NULL,
	    .initrd_name = vm->config->initrd,
	    .cmdline = vm->config->cmdline,
	    .map = vm->map,
	    .map_count = vm->map_count,
	    .rsdp = gpa(rsdp),
	    .rsdp_bytes = rsdp_bytes,
	    .rsdp_len = sizeof rsdp_bytes,
	    .ops = &load_ops,
	    .context = vm,
	};
	err = load_guest(&request, &entry, &load_why);
	if (err < 0) {
		fmt_print(why->text, sizeof why->text, "%s", load_why.text);
		return err;
	}
	if ((entry.cr0 & CR0_PG) == 0 && guest_features.unpaged_lacks != NULL) {
		fmt_print(why->text, sizeof why->text, "\"%s\" (%s) starts %s: the CPU lacks the %s",
		          vm->config->kernel, load_kind_name(entry.kind),
		          entry.mode == LOAD_MODE_REAL ? "in real mode" : "without paging",
		          guest_features.unpaged_lacks);
		return -ERR_UNSUP;
	}
	entry_state(vm->vcpu[0], &entry);
	return 0;
}
