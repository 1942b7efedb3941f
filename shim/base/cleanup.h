/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - scope-bound release of memory, file descriptors and streams.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_p(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose_p(FILE **stream)
{
	if (*stream)
		fclose(*stream);
}

static inline void cleanup_closedir_p(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define cleanup_free     __attribute__((cleanup(cleanup_free_p)))
#define cleanup_close    __attribute__((cleanup(cleanup_close_p)))
#define cleanup_fclose   __attribute__((cleanup(cleanup_fclose_p)))
#define cleanup_closedir __attribute__((cleanup(cleanup_closedir_p)))

/* Hand an fd out of a cleanup_close variable: the variable no longer owns it. */
static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}
