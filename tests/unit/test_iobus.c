// SPDX-License-Identifier: Apache-2.0
// kernel/iobus.c: registration errors, lookup at the edges, and random tables against a linear search.
#include "tests/unit/support.h"

#include "kernel/iobus.h"
#include "kernel/lib/err.h"

struct probe {
	unsigned reads, writes;
	uint64_t offset, value;
	unsigned bytes;
};

static uint64_t probe_read(void *dev, uint64_t offset, unsigned bytes) {
	struct probe *p = dev;
	p->reads++;
	p->offset = offset;
	p->bytes = bytes;
	return p->value;
}

static void probe_write(void *dev, uint64_t offset, unsigned bytes, uint64_t value) {
	struct probe *p = dev;
	p->writes++;
	p->offset = offset;
	p->bytes = bytes;
	p->value = value;
}

static const struct io_ops probe_ops = {.read = probe_read, .write = probe_write};

static void iobus_register_bad_range_is_refused(void **state) {
	(void)state;
	struct iobus bus;
	iobus_init(&bus);
	assert_int_equal(iobus_register(&bus, 0x60, 0, &probe_ops, NULL), -ERR_INVAL);
	assert_int_equal(iobus_register(&bus, UINT64_MAX, 2, &probe_ops, NULL), -ERR_INVAL);
	assert_int_equal(iobus_register(&bus, 0x60, 1, NULL, NULL), -ERR_INVAL);
	assert_int_equal(iobus_register(&bus, UINT64_MAX, 1, &probe_ops, NULL), 0);
}

static void iobus_register_overlap_is_refused(void **state) {
	(void)state;
	struct iobus bus;
	iobus_init(&bus);
	assert_int_equal(iobus_register(&bus, 0x40, 4, &probe_ops, NULL), 0);
	assert_int_equal(iobus_register(&bus, 0x40, 4, &probe_ops, NULL), -ERR_OVERLAP);
	assert_int_equal(iobus_register(&bus, 0x43, 1, &probe_ops, NULL), -ERR_OVERLAP);
	assert_int_equal(iobus_register(&bus, 0x3f, 2, &probe_ops, NULL), -ERR_OVERLAP);
	assert_int_equal(iobus_register(&bus, 0x30, 0x40, &probe_ops, NULL), -ERR_OVERLAP);
	assert_int_equal(iobus_register(&bus, 0x44, 1, &probe_ops, NULL), 0);
	assert_int_equal(iobus_register(&bus, 0x3f, 1, &probe_ops, NULL), 0);
	assert_int_equal(bus.count, 3);
}

static void iobus_register_full_table_is_refused(void **state) {
	(void)state;
	struct iobus bus;
	iobus_init(&bus);
	for (uint32_t i = 0; i < IOBUS_RANGE_MAX; i++) {
		assert_int_equal(iobus_register(&bus, 1000 - i * 2, 1, &probe_ops, NULL), 0);
	}
	assert_int_equal(iobus_register(&bus, 5000, 1, &probe_ops, NULL), -ERR_NOMEM);
	assert_int_equal(iobus_register(&bus, 1000, 1, &probe_ops, NULL), -ERR_OVERLAP);
}

static void iobus_read_at_edges_is_exact(void **state) {
	(void)state;
	struct iobus bus;
	struct probe p = {.value = 0x5a};
	uint64_t value = 0;
	iobus_init(&bus);
	assert_false(iobus_read(&bus, 0, 1, &value));
	assert_int_equal(iobus_register(&bus, 0x3f8, 8, &probe_ops, &p), 0);
	assert_true(iobus_read(&bus, 0x3ff, 1, &value));
	assert_int_equal(value, 0x5a);
	assert_int_equal(p.offset, 7);
	assert_true(iobus_read(&bus, 0x3fc, 4, &value));
	assert_int_equal(p.bytes, 4);
	assert_false(iobus_read(&bus, 0x3ff, 2, &value)); // straddles the upper edge
	assert_false(iobus_read(&bus, 0x3f7, 2, &value)); // and the lower one
	assert_false(iobus_read(&bus, 0x400, 1, &value));
	assert_false(iobus_write(&bus, UINT64_MAX, 8, 0)); // an end that wraps
	assert_int_equal(bus.missed, 5);
	assert_int_equal(p.reads, 2);
}

static void iobus_write_reaches_the_device(void **state) {
	(void)state;
	struct iobus bus;
	struct probe a = {0}, b = {0};
	iobus_init(&bus);
	assert_int_equal(iobus_register(&bus, 0x80, 1, &probe_ops, &b), 0);
	assert_int_equal(iobus_register(&bus, 0x20, 2, &probe_ops, &a), 0);
	assert_true(iobus_write(&bus, 0x21, 1, 0xfe));
	assert_int_equal(a.value, 0xfe);
	assert_int_equal(a.offset, 1);
	assert_true(iobus_write(&bus, 0x80, 1, 0x12));
	assert_int_equal(b.value, 0x12);
	assert_int_equal(a.writes, 1);
}

static void iobus_random_table_equals_linear_search(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 1);
	for (unsigned round = 0; round < 200; round++) {
		struct iobus bus;
		struct probe probes[IOBUS_RANGE_MAX] = {{0}};
		struct {
			uint64_t base, len;
		} model[IOBUS_RANGE_MAX];
		unsigned n = 0;
		iobus_init(&bus);
		for (unsigned i = 0; i < 100 && n < IOBUS_RANGE_MAX; i++) {
			uint64_t base = rng_below(&rng, 512), len = 1 + rng_below(&rng, 16);
			bool meets = false;
			for (unsigned k = 0; k < n; k++) {
				meets |= base < model[k].base + model[k].len && model[k].base < base + len;
			}
			assert_int_equal(iobus_register(&bus, base, len, &probe_ops, &probes[n]),
			                 meets ? -ERR_OVERLAP : 0);
			if (meets) continue;
			model[n].base = base;
			model[n++].len = len;
		}
		for (unsigned i = 0; i < 500; i++) {
			uint64_t addr = rng_below(&rng, 540), value;
			unsigned bytes = 1u << rng_below(&rng, 4);
			struct probe *want = NULL;
			for (unsigned k = 0; k < n; k++) {
				if (addr >= model[k].base && addr + bytes <= model[k].base + model[k].len) want = &probes[k];
			}
			unsigned before = want ? want->reads : 0;
			assert_int_equal(iobus_read(&bus, addr, bytes, &value), want != NULL);
			if (want) assert_int_equal(want->reads, before + 1);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(iobus_register_bad_range_is_refused),
	    cmocka_unit_test(iobus_register_overlap_is_refused),
	    cmocka_unit_test(iobus_register_full_table_is_refused),
	    cmocka_unit_test(iobus_read_at_edges_is_exact),
	    cmocka_unit_test(iobus_write_reaches_the_device),
	    cmocka_unit_test(iobus_random_table_equals_linear_search),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
