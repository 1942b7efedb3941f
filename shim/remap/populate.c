/* SPDX-License-Identifier: Apache-2.0 */
#include "remap/populate.h"
#include "base/missing.h"
#include "ptrace/inject.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

bool populate_knows_advice(int advice)
{
	return madvise(NULL, 0, advice) == 0;
}

static int64_t read_each(const struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t page_bytes)
{
	char byte;
	for (uint64_t at = 0; at < bytes; at += page_bytes) {
		if (tracee_read(tracee, tracee_addr + at, &byte, 1) != 1)
			return -errno;
	}
	return 0;
}

int64_t populate_read(struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t page_bytes,
                      struct error *err)
{
	int64_t result = remote_syscall(tracee, err, SYS_madvise, tracee_addr, bytes, MADV_POPULATE_READ, 0, 0, 0);
	if (result == -EINVAL && !populate_knows_advice(MADV_POPULATE_READ))
		return read_each(tracee, tracee_addr, bytes, page_bytes);
	return result;
}
