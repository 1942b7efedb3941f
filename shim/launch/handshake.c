/* SPDX-License-Identifier: Apache-2.0 */
#include "launch/handshake.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void handshake_set(struct handshake_memory *shared, enum handshake value)
{
	__atomic_store_n(&shared->handshake, (uint32_t)value, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->handshake, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

enum handshake handshake_wait(struct handshake_memory *shared, enum handshake value, int timeout_ms)
{
	uint32_t now = __atomic_load_n(&shared->handshake, __ATOMIC_SEQ_CST);
	if (now != (uint32_t)value)
		return (enum handshake)now;
	struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
	syscall(SYS_futex, &shared->handshake, FUTEX_WAIT, (uint32_t)value, &timeout, NULL, 0);
	return (enum handshake)__atomic_load_n(&shared->handshake, __ATOMIC_SEQ_CST);
}
