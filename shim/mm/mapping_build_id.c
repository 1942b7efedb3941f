/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/mapping_build_id.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"

/* struct procmap_query of linux/fs.h, which the headers of older kernels do not have. */
struct mapping_query {
	uint64_t size;
	uint64_t query_flags;
	uint64_t query_addr;
	uint64_t vma_start, vma_end, vma_flags, vma_page_size, vma_offset;
	uint64_t inode;
	uint32_t dev_major, dev_minor;
	uint32_t vma_name_size; /* in: room; out: used */
	uint32_t build_id_size; /* in: room; out: used, 0: none */
	uint64_t vma_name_addr;
	uint64_t build_id_addr;
};

#define QUERY_MAPPING _IOWR('f', 17, struct mapping_query)

int mapping_build_id(pid_t pid, uint64_t tracee_addr, char *hex, size_t size)
{
	uint8_t id[20]; /* BUILD_ID_SIZE_MAX of the kernel: longer ones it does not tell */
	struct mapping_query query = {.size = sizeof query,
	                              .query_addr = tracee_addr,
	                              .build_id_size = sizeof id,
	                              .build_id_addr = (uintptr_t)id};
	char path[64];
	hex[0] = '\0';
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, QUERY_MAPPING, &query) < 0 || query.build_id_size > sizeof id)
		return -1;
	for (unsigned i = 0; i < query.build_id_size && (size_t)2 * i + 2 < size; i++)
		snprintf(hex + (size_t)2 * i, 3, "%02x", id[i]);
	return 0;
}
