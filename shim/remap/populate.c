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

int64_t populate_read(struct tracee *tracee, uint64_t tracee_addr, uint64_t bytes, uint64_t page_bytes,
                      struct error *err)
{
	int64_t result = remote_syscall(tracee, err, SYS_madvise, tracee_addr, bytes, MADV_POPULATE_READ, 0, 0, 0);
	if (result == -EINVAL && !populate_knows_advice(MADV_POPULATE_READ))
		return tracee_touch(tracee, tracee_addr, bytes, page_bytes) < 0 ? -errno : 0;
	return result;
}
