// SPDX-License-Identifier: Apache-2.0
// A TCG plugin for QEMU 7.2 that counts instructions: all of them, and each one of a range of virtual addresses
// (the hypervisor's image) by its address. A REP string instruction counts once a step, as in this emulator's TSC;
// such steps are also counted apart. When one of the named points is about to be executed, the counts so far are
// written down.
//
//   -plugin count.so,plan=FILE,out=FILE
//
// The plan has one item a line, numbers in hexadecimal:
//   image LOW HIGH          the range
//   arm ADDRESS             points are ignored before this is executed (without it: never)
//   point NAME ADDRESS N    write down the first N times
// The output, one record a hit: `point NAME ALL REP IMAGE` and below it `at ADDRESS COUNT` for each address of the
// image that ran since the record before (the addresses without leading ffffffff).
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What is used here of the plugin interface, version 1 (QEMU 7.2 documentation, "QEMU TCG Plugins"). Debian
// packages no header.
#define EXPORT __attribute__((visibility("default")))
#define API_VERSION 1
enum inline_op { INLINE_ADD_U64 };
enum callback_flags { CALLBACK_NO_REGS };
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct target_info; // only its presence matters
typedef void translate_fn(uint64_t id, struct qemu_plugin_tb *block);
typedef void execute_fn(unsigned int cpu, void *context);
typedef void exit_fn(uint64_t id, void *context);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translate_fn *fn);
void qemu_plugin_register_atexit_cb(uint64_t id, exit_fn *fn, void *context);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, execute_fn *fn,
                                            enum callback_flags flags, void *context);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum inline_op op,
                                                void *counter, uint64_t add);
EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(uint64_t id, const struct target_info *target, int argc, char **argv);

#define POINT_MAX 128
#define NAME_BYTES 48
#define IMAGE_BYTES_MAX (16u << 20)

struct point {
	char name[NAME_BYTES];
	uint64_t address;
	unsigned left; // records still to write
};

int qemu_plugin_version = API_VERSION;
static struct point points[POINT_MAX];
static unsigned point_count;
static uint64_t image_low, image_high, arm_address;
static bool armed = true;
static uint64_t all, rep;
static uint64_t *count_at, *written_at; // one for each byte of the image
static FILE *out;

static void write_record(const char *name) {
	uint64_t image = 0;
	for (uint64_t i = 0; i < image_high - image_low; i++) image += count_at[i];
	fprintf(out, "point %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, all, rep, image);
	for (uint64_t i = 0; i < image_high - image_low; i++) {
		if (count_at[i] == written_at[i]) continue;
		fprintf(out, "at %" PRIx32 " %" PRIu64 "\n", (uint32_t)(image_low + i), count_at[i] - written_at[i]);
		written_at[i] = count_at[i];
	}
	fflush(out);
}

static void arm(unsigned cpu, void *context) {
	(void)cpu, (void)context;
	armed = true;
}

static void reach(unsigned cpu, void *context) {
	struct point *p = context;
	(void)cpu;
	if (!armed || p->left == 0) return;
	p->left--;
	write_record(p->name);
}

// Operand-size, address-size, REP, REPNE and REX prefixes may precede the opcode (segment overrides do not occur
// often enough to matter); the string opcodes are 6C-6F, A4-A7 and AA-AF.
static bool is_rep_string(const struct qemu_plugin_insn *insn) {
	const uint8_t *byte = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);
	bool repeated = false;
	for (size_t i = 0; i < size; i++) {
		uint8_t b = byte[i];
		if (b == 0xf2 || b == 0xf3)
			repeated = true;
		else if (b != 0x66 && b != 0x67 && (b & 0xf0) != 0x40)
			return repeated && ((b & 0xfc) == 0x6c || (b & 0xfc) == 0xa4 || (b >= 0xaa && b <= 0xaf));
	}
	return false;
}

static void translate(uint64_t id, struct qemu_plugin_tb *block) {
	(void)id;
	size_t count = qemu_plugin_tb_n_insns(block);
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		// Callbacks run before the counting of their instruction.
		if (!armed && address == arm_address)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, arm, CALLBACK_NO_REGS, NULL);
		for (unsigned p = 0; p < point_count; p++)
			if (address == points[p].address)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, reach, CALLBACK_NO_REGS, &points[p]);
		qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &all, 1);
		if (is_rep_string(insn)) qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &rep, 1);
		if (address >= image_low && address < image_high)
			qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &count_at[address - image_low],
			                                           1);
	}
}

static void finish(uint64_t id, void *context) {
	(void)id, (void)context;
	write_record("end");
	fclose(out);
}

static bool read_line(const char *line) {
	struct point *p = &points[point_count];
	if (sscanf(line, "image %" SCNx64 " %" SCNx64, &image_low, &image_high) == 2)
		return image_low <= image_high && image_high - image_low <= IMAGE_BYTES_MAX;
	if (sscanf(line, "arm %" SCNx64, &arm_address) == 1) {
		armed = false;
		return true;
	}
	if (point_count == POINT_MAX ||
	    sscanf(line, "point %47s %" SCNx64 " %x", p->name, &p->address, &p->left) != 3)
		return false;
	point_count++;
	return true;
}

static bool read_plan(const char *path) {
	char line[256];
	FILE *plan = fopen(path, "r");
	bool good = plan != NULL;
	while (good && fgets(line, sizeof line, plan) != NULL) good = read_line(line);
	if (plan != NULL) fclose(plan);
	if (!good) fprintf(stderr, "count.so: %s cannot be read or understood\n", path);
	return good;
}

int qemu_plugin_install(uint64_t id, const struct target_info *target, int argc, char **argv) {
	const char *plan = NULL;
	(void)target;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "plan=", 5) == 0) plan = argv[i] + 5;
		if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "w");
	}
	if (plan == NULL || out == NULL || !read_plan(plan)) return -1;
	count_at = calloc(image_high - image_low + 1, sizeof *count_at);
	written_at = calloc(image_high - image_low + 1, sizeof *written_at);
	if (count_at == NULL || written_at == NULL) return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
