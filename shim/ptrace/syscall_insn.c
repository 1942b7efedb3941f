/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/syscall_insn.h"

#include <elf.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/size.h"
#include "host/pages.h"
#include "mm/maps.h"

#define CHUNK_BYTES  16384
#define SEARCH_BYTES (4 * MIB) /* of a mapping: libc's first one stands within its first 200 KiB */

/* Offset of a syscall instruction in the vDSO, found in our own: 0 where there is none. */
static uint64_t vdso_syscall_offset(void)
{
	static uint64_t offset;
	const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR); // NOLINT(performance-no-int-to-ptr)
	if (offset || !vdso)
		return offset;
	const uint8_t *found = memmem(vdso, host_pages()->base_bytes, arch_syscall_insn, sizeof arch_syscall_insn);
	return offset = found ? (uint64_t)(found - vdso) : 0;
}

/* In the vDSO at VDSO_ADDR, if that is this kernel's. */
static uint64_t find_in_vdso(const struct tracee *tracee, uint64_t vdso_addr)
{
	uint64_t offset = vdso_syscall_offset();
	uint8_t insn[sizeof arch_syscall_insn];
	if (!vdso_addr || !offset || tracee_read(tracee, vdso_addr + offset, insn, sizeof insn) != sizeof insn ||
	    memcmp(insn, arch_syscall_insn, sizeof insn) != 0)
		return 0;
	return vdso_addr + offset;
}

static uint64_t find_between(const struct tracee *tracee, uint64_t start, uint64_t end)
{
	uint8_t chunk[CHUNK_BYTES];
	const size_t overlap = sizeof arch_syscall_insn - 1;
	for (uint64_t at = start; at + overlap < end && at - start < SEARCH_BYTES; at += sizeof chunk - overlap) {
		ssize_t got = tracee_read(tracee, at, chunk, end - at < sizeof chunk ? end - at : sizeof chunk);
		const uint8_t *found =
		    got > 0 ? memmem(chunk, (size_t)got, arch_syscall_insn, sizeof arch_syscall_insn) : NULL;
		if (found)
			return at + (uint64_t)(found - chunk);
	}
	return 0;
}

/* In the text of the file that is mapped at OBJECT_ADDR. */
static uint64_t find_in_object(const struct tracee *tracee, const struct image *image, uint64_t object_addr)
{
	ssize_t object = object_addr ? image_find(image, object_addr) : -1;
	for (size_t i = 0; object >= 0 && i < image->count; i++) {
		const struct mapping *mapping = &image->mappings[i];
		uint64_t found = 0;
		if (mapping_is_text(mapping) && mapping_same_file(mapping, &image->mappings[object]))
			found = find_between(tracee, mapping->start, mapping->end);
		if (found)
			return found;
	}
	return 0;
}

uint64_t syscall_insn_find(const struct tracee *tracee, uint64_t vdso_addr, struct error *err)
{
	struct image image;
	uint64_t found = find_in_vdso(tracee, vdso_addr);
	if (found)
		return found;
	if (image_read(tracee->pid, &image, err) < 0)
		return 0;
	found = find_in_object(tracee, &image, image.interp_addr);
	if (!found)
		found = find_in_object(tracee, &image, image.entry_addr);
	image_free(&image);
	if (!found)
		error_set(err, "no-vdso", "process %d has neither vDSO nor text to run a system call from",
		          (int)tracee->pid);
	return found;
}
