// SPDX-License-Identifier: Apache-2.0
// Loading of ELF segments: taken first, so that overlaps and missing memory are found before a byte is moved.
#include "kernel/load/elfimage.h"

#include "kernel/lib/err.h"

int elfimage_open(struct load_job *job, struct elf *elf) {
	int rc = elf_open(elf, job->request->kernel);

	if (rc != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, rc, "is a damaged ELF file (%s)",
		                 rc == -ERR_TRUNC ? "its tables lie outside of it" : "its header makes no sense");
	if (elf->machine != (elf->is64 ? ELF_MACHINE_X86_64 : ELF_MACHINE_386))
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
		                 "is an ELF file for machine %u, not for x86", elf->machine);
	return 0;
}

// False for segments that take no memory.
static int segment_at(struct load_job *job, const struct elf *elf, uint32_t index,
                      struct elf_segment *segment, bool *loaded) {
	int rc = elf_segment(elf, index, segment);

	*loaded = false;
	if (rc != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, rc, "is a %s ELF file: segment %u %s",
		                 rc == -ERR_TRUNC ? "truncated" : "damaged", index,
		                 rc == -ERR_TRUNC ? "lies outside of it" : "makes no sense");
	*loaded = segment->type == ELF_SEGMENT_LOAD && segment->memory_bytes != 0;
	return 0;
}

int elfimage_load(struct load_job *job, const struct elf *elf, uint64_t *lowest) {
	struct elf_segment segment;
	bool loaded;
	int rc = 0;

	*lowest = UINT64_MAX;
	for (uint32_t i = 0; rc == 0 && i < elf->segment_count; i++) {
		rc = segment_at(job, elf, i, &segment, &loaded);
		if (rc != 0 || !loaded) continue;
		rc = job_take(job, segment.physical_address, segment.memory_bytes, "an ELF segment");
		*lowest = min_u64(*lowest, segment.physical_address);
	}
	if (rc == 0 && *lowest == UINT64_MAX)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
		                 "is an ELF file without a segment to load");
	for (uint32_t i = 0; rc == 0 && i < elf->segment_count; i++) {
		rc = segment_at(job, elf, i, &segment, &loaded);
		if (rc != 0 || !loaded) continue;
		rc = job_copy(job, segment.physical_address, elf->source, segment.offset, segment.file_bytes);
		if (rc == 0)
			rc = job_zero(job, segment.physical_address + segment.file_bytes,
			              segment.memory_bytes - segment.file_bytes);
	}
	return rc;
}

int elfimage_entry(struct load_job *job, const struct elf *elf, uint64_t *entry) {
	struct elf_segment segment;
	bool loaded;

	*entry = elf->entry;
	for (uint32_t i = 0; i < elf->segment_count; i++) {
		int rc = segment_at(job, elf, i, &segment, &loaded);

		if (rc != 0) return rc;
		if (!loaded || elf->entry - segment.virtual_address >= segment.memory_bytes) continue;
		*entry = segment.physical_address + (elf->entry - segment.virtual_address);
		break;
	}
	return elfimage_check_entry(job, elf, *entry);
}

int elfimage_check_entry(struct load_job *job, const struct elf *elf, uint64_t entry) {
	struct elf_segment segment;
	bool loaded;

	for (uint32_t i = 0; entry <= LOAD_LAST_32BIT && i < elf->segment_count; i++) {
		int rc = segment_at(job, elf, i, &segment, &loaded);

		if (rc != 0) return rc;
		if (loaded && entry - segment.physical_address < segment.memory_bytes) return 0;
	}
	return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
	                 "is an ELF file whose entry point 0x%lx lies in no segment below 4 GiB", entry);
}
