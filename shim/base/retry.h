/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - a system call again while signals interrupt it.
 *
 * Not for ever: a seccomp filter may answer EINTR always, and the workload would wait for us.
 */
#pragma once

#include <errno.h>

#define RETRIES_MAX 1000

/* The value of EXPR, a system call that returns -1 and errno: EINTR only after that many tries. */
#define retry(expr)                                                                            \
	({                                                                                     \
		__typeof__(expr) retry_result;                                                 \
		int retry_count = 0;                                                           \
		do {                                                                           \
			retry_result = (expr);                                                 \
		} while (retry_result == -1 && errno == EINTR && ++retry_count < RETRIES_MAX); \
		retry_result;                                                                  \
	})
