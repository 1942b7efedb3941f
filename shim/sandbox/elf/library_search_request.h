/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_search_request.h - what a search for a program's libraries (library_search.h) is told, and its limits.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

#define SEARCH_PATH_MAX    PATH_MAX
#define SEARCH_PATHS_MAX   (16 * 1024)
#define SEARCH_OBJECTS_MAX 512  /* files that are loaded */
#define SEARCH_OPENS_MAX   8192 /* files and folders asked for */
#define SEARCH_LATER_MAX   256

/* What ld.so is told. Strings end with a NUL. */
struct search_request {
	uint32_t later_count; /* of paths that are told after this: libraries that the program loads when it runs */
	uint8_t is_secure;    /* AT_SECURE: the environment and $ORIGIN do not count */
	char exe[SEARCH_PATH_MAX];    /* the program, as it sees itself; "": not known */
	char folder[SEARCH_PATH_MAX]; /* where it is started; "": not known */
	char library_path[SEARCH_PATHS_MAX];
	char preload[SEARCH_PATHS_MAX];
};
