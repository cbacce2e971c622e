// SPDX-License-Identifier: Apache-2.0
// The sequence of a VM's records. What the VM is made of says which records come, so reading is a walk over the VM
// beside a walk over the buffer.
#include "kernel/save.h"

#include "kernel/arch.h"
#include "kernel/clock.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

#define TSC_TOLERANCE 1000u // frequencies that differ by more than 1/1000 are not the same

// One end of the walk: the record that the VM has at this place.
struct place {
	char name[12];
	uint32_t index, bytes;
	uint16_t version;
	struct vcpu *vcpu;
	struct vdev *vdev; // both NULL: the VM itself
};

// Where in the VM, and where in the buffer.
struct walk {
	struct vm *vm;
	uint32_t n;
	const struct list *node; // next device
	uint64_t at;
};

static uint32_t device_count(const struct vm *vm) {
	uint32_t count = 0;
	for (const struct list *it = vm->devices.next; it != &vm->devices; it = it->next) count++;
	return count;
}

static uint32_t record_count(const struct vm *vm) { return 1 + vm->vcpu_count + device_count(vm); }

static struct walk walk_start(struct vm *vm) {
	return (struct walk){.vm = vm, .node = vm->devices.next, .at = sizeof(struct save_head)};
}

// How many devices of the same class come before.
static uint32_t device_index(const struct vm *vm, const struct vdev *vdev) {
	uint32_t index = 0;
	for (const struct list *it = vm->devices.next; it != &vdev->node; it = it->next)
		if (container_of(it, struct vdev, node)->class == vdev->class) index++;
	return index;
}

static bool walk_next(struct walk *w, struct place *p) {
	uint32_t n = w->n++;
	if (n == 0) {
		*p = (struct place){.name = "vm", .bytes = sizeof(struct save_vm), .version = SAVE_VM_VERSION};
		return true;
	}
	if (n <= w->vm->vcpu_count) {
		*p = (struct place){.name = "vcpu",
		                    .index = n - 1,
		                    .bytes = arch_vcpu_record_bytes(),
		                    .version = arch_vcpu_record_version(),
		                    .vcpu = w->vm->vcpu[n - 1]};
		return true;
	}
	if (w->node == &w->vm->devices) return false;
	struct vdev *vdev = container_of((struct list *)(uintptr_t)w->node, struct vdev, node);
	w->node = w->node->next;
	*p = (struct place){.index = device_index(w->vm, vdev),
	                    .bytes = vdev->class->state_bytes,
	                    .version = vdev->class->state_version,
	                    .vdev = vdev};
	memcpy(p->name, vdev->class->name, sizeof p->name);
	return true;
}

static uint64_t padded(uint32_t bytes) { return align_up(bytes, SAVE_ALIGN); }

uint64_t save_bytes(const struct vm *vm) {
	struct walk w = walk_start((struct vm *)(uintptr_t)vm);
	struct place p;
	while (walk_next(&w, &p)) w.at += sizeof(struct save_tag) + padded(p.bytes);
	return w.at;
}

// ---- writing ----------------------------------------------------------------------------------------------------

static void vm_save(const struct vm *vm, struct save_vm *record) {
	*record = (struct save_vm){.clock_ns = vm_now_ns(vm),
	                           .tsc_khz = vm_tsc_khz(vm),
	                           .vcpus = vm->vcpu_count,
	                           .devices = device_count(vm)};
	memcpy(record->asserted, vm->routes.asserted, sizeof record->asserted);
}

int save_write(struct vm *vm, void *buffer, uint64_t room) {
	uint64_t bytes = save_bytes(vm);
	struct walk w = walk_start(vm);
	struct place p;
	assert(!vm->clock_running);
	if (room < bytes) return -ERR_NOMEM;
	memset(buffer, 0, bytes);
	const struct save_head head = {
	    .magic = SAVE_MAGIC, .version = SAVE_VERSION, .bytes = bytes, .records = record_count(vm)};
	memcpy(buffer, &head, sizeof head);
	while (walk_next(&w, &p)) {
		struct save_tag tag = {.index = p.index, .bytes = p.bytes, .version = p.version};
		memcpy(tag.name, p.name, sizeof tag.name);
		uint8_t *record = (uint8_t *)buffer + w.at + sizeof tag;
		memcpy(record - sizeof tag, &tag, sizeof tag);
		if (p.vcpu != NULL)
			arch_vcpu_record_save(p.vcpu, record);
		else if (p.vdev != NULL)
			p.vdev->class->save(p.vdev, record);
		else
			vm_save(vm, (struct save_vm *)(void *)record);
		w.at += sizeof tag + padded(p.bytes);
	}
	return 0;
}

// ---- reading ----------------------------------------------------------------------------------------------------

static int refuse(const struct vm *vm, const char *what, int err) {
	log_warn("save", "vm=%u state refused: %s (%s)", vm->id, what, err_name(err));
	return err;
}

static int vm_check(const struct vm *vm, const struct save_vm *r) {
	uint64_t khz = vm_tsc_khz(vm), apart = r->tsc_khz > khz ? r->tsc_khz - khz : khz - r->tsc_khz;
	const uint32_t sources =
	    BIT32(IRQROUTE_SOURCE_DEVICE) | BIT32(IRQROUTE_SOURCE_SIGNAL) | BIT32(IRQROUTE_SOURCE_CONTROL);
	if (r->vcpus != vm->vcpu_count || r->devices != device_count(vm)) return -ERR_FORMAT;
	for (unsigned gsi = 0; gsi < IRQROUTE_GSI_MAX; gsi++)
		if ((r->asserted[gsi] & ~sources) != 0) return -ERR_FORMAT;
	if (r->clock_ns > INT64_MAX) return -ERR_FORMAT;
	return apart > khz / TSC_TOLERANCE ? -ERR_UNSUP : 0;
}

// The record at the walk's place in the buffer, when it is the one the VM has there.
static int record_find(const struct walk *w, const struct place *p, const void *buffer, uint64_t bytes,
                       const void **record) {
	struct save_tag tag;
	if (bytes - w->at < sizeof tag) return -ERR_TRUNC;
	memcpy(&tag, (const uint8_t *)buffer + w->at, sizeof tag);
	if (memcmp(tag.name, p->name, sizeof tag.name) != 0 || tag.index != p->index || tag.reserved != 0)
		return -ERR_FORMAT;
	if (tag.version != p->version) return -ERR_VERSION;
	if (tag.bytes != p->bytes) return -ERR_FORMAT;
	if (bytes - w->at - sizeof tag < padded(tag.bytes)) return -ERR_TRUNC;
	*record = (const uint8_t *)buffer + w->at + sizeof tag;
	return 0;
}

static int record_check(const struct vm *vm, const struct place *p, const void *record) {
	if (p->vcpu != NULL) return arch_vcpu_record_check(p->vcpu, record, p->bytes);
	return p->vdev != NULL ? 0 : vm_check(vm, record);
}

static int sequence_check(struct vm *vm, const void *buffer, uint64_t bytes) {
	struct save_head head;
	struct walk w = walk_start(vm);
	struct place p;
	const void *record;
	if (bytes < sizeof head) return refuse(vm, "head", -ERR_TRUNC);
	memcpy(&head, buffer, sizeof head);
	if (head.magic != SAVE_MAGIC || head.reserved != 0) return refuse(vm, "head", -ERR_FORMAT);
	if (head.version != SAVE_VERSION) return refuse(vm, "head", -ERR_VERSION);
	if (head.bytes != bytes) return refuse(vm, "head", -ERR_TRUNC);
	if (head.records != record_count(vm)) return refuse(vm, "head", -ERR_FORMAT);
	while (walk_next(&w, &p)) {
		int err = record_find(&w, &p, buffer, bytes, &record);
		if (err == 0) err = record_check(vm, &p, record);
		if (err < 0) return refuse(vm, p.name, err);
		w.at += sizeof(struct save_tag) + padded(p.bytes);
	}
	return w.at == bytes ? 0 : refuse(vm, "length", -ERR_FORMAT);
}

// The earliest instant at which the clock shows that time. The lines are taken over as they are: pins and messages
// have seen them already, and the chips' records hold what became of that.
static void vm_load(struct vm *vm, const struct save_vm *r) {
	uint64_t ticks = clock_ns_to_tsc(r->clock_ns);
	while (ticks > 0 && clock_tsc_to_ns(ticks - 1) >= r->clock_ns) ticks--;
	vm->clock_base_tsc = vm->clock_stopped_tsc - ticks;
	memcpy(vm->routes.asserted, r->asserted, sizeof r->asserted);
}

int save_read(struct vm *vm, const void *buffer, uint64_t bytes) {
	struct walk w = walk_start(vm);
	struct place p;
	assert(!vm->clock_running && is_aligned((uintptr_t)buffer, SAVE_ALIGN));
	int err = sequence_check(vm, buffer, bytes);
	if (err < 0) return err;
	while (walk_next(&w, &p)) {
		const void *record = (const uint8_t *)buffer + w.at + sizeof(struct save_tag);
		if (p.vcpu != NULL)
			err = arch_vcpu_record_load(p.vcpu, record, p.bytes);
		else if (p.vdev != NULL)
			err = p.vdev->class->load(p.vdev, record, p.bytes, p.version);
		else
			vm_load(vm, record);
		if (err < 0) return refuse(vm, p.name, err);
		w.at += sizeof(struct save_tag) + padded(p.bytes);
	}
	return 0;
}
