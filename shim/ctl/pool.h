/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - reserve hugetlb pages, as /etc/hugexec/pool.conf asks for.
 *
 * A line asks for pages of a size, anywhere or on one NUMA node: "2M 512", "1G 4 node=1". "#" begins a comment.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "config.h"

#define POOL_CONF         HUGEXEC_CONFDIR "/pool.conf"
#define POOL_REQUESTS_MAX 256
#define POOL_PAGES_MAX    (UINT64_C(1) << 40)
#define POOL_CONF_LIMIT   (UINT64_C(64) * 1024) /* bytes */

struct pool_request {
	uint64_t page_bytes;
	uint64_t pages;
	int node; /* -1: any */
};

/*
 * Pure: parse TEXT; NAME stands for the file in messages. The same size and node twice is a mistake.
 * Returns the number of requests, or -1 with ERR "pool-conf" (NAME:LINE: what is wrong).
 */
int pool_parse(const char *text, const char *name, struct pool_request requests[POOL_REQUESTS_MAX], struct error *err);

/* The pages of the pool that REQUEST is about, into *GOT. Returns 0, or -1 with ERR "pool-size", as pool_reserve(). */
int pool_look(const char *sys, const struct pool_request *request, uint64_t *got, struct error *err);

/*
 * Have at least as many pages in the pool as REQUEST says: what others have reserved beyond is not taken from them. SYS
 * is where sysfs is ("/sys"). Returns 0 with the pool's pages in *GOT, which may be fewer than asked for if memory
 * is short; -1 with ERR "pool-size" (this kernel has no pool of that size, or no such node) or "pool-refused".
 */
int pool_reserve(const char *sys, const struct pool_request *request, uint64_t *got, struct error *err);
