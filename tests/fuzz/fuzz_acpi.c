// SPDX-License-Identifier: Apache-2.0
// drivers/host/acpi on arbitrary firmware bytes. The input is laid over a small physical memory at the places
// where tables are looked for; a final mode byte asks for checksums to be repaired on the way, so that the
// contents are reached as well as the checks.
#include <stdlib.h>
#include <string.h>

#include "drivers/host/acpi.h"
#include "kernel/lib/bits.h"

#define BASE 0xf0000u // inside the area the RSDP search covers
#define BYTES 0x10000u

struct image {
	uint8_t mem[BYTES];
	uint8_t *window;
	bool repair;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(uint8_t *p, uint64_t bytes, unsigned field) {
	uint8_t sum = 0;
	for (uint64_t i = 0; i < bytes; i++) sum = (uint8_t)(sum + p[i]);
	p[field] = (uint8_t)(p[field] - sum);
}

// A fresh copy each time: a read outside the window or after the next call is caught by ASan.
static const void *image_map(void *ctx, hpa_t at, uint64_t bytes) {
	struct image *m = ctx;
	free(m->window);
	m->window = NULL;
	if (at.v < BASE || at.v - BASE >= BYTES || bytes == 0 || bytes > BYTES - (at.v - BASE)) return NULL;
	m->window = malloc(bytes);
	memcpy(m->window, m->mem + (at.v - BASE), bytes);
	if (m->repair && bytes == 20) repair(m->window, 20, 8);
	if (m->repair && bytes >= 36) repair(m->window, bytes, memcmp(m->window, "RSD PTR ", 8) == 0 ? 32 : 9);
	return m->window;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	static struct image m;
	static struct acpi_info info;
	if (size < 2) return 0;
	memset(m.mem, 0, sizeof m.mem);
	m.repair = data[size - 1] & 1;
	const bool given = data[size - 1] & 2;
	memcpy(m.mem, data, min_u64(size - 1, BYTES));
	acpi_read(&info, given ? hpa(BASE) : hpa(0), image_map, &m);
	if (info.cpu_count == 0 || info.cpu_count > ACPI_CPU_MAX || info.ioapic_count > ACPI_IOAPIC_MAX ||
	    info.override_count > ACPI_OVERRIDE_MAX || info.nmi_count > ACPI_NMI_MAX ||
	    info.mcfg_count > ACPI_MCFG_MAX || info.s5.type_a > 7 || info.s5.type_b > 7)
		abort();
	free(m.window);
	m.window = NULL;
	return 0;
}
