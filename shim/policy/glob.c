/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Globs on paths.
 *
 * fnmatch(3) knows * ? and [...] but no **. A pattern is cut at its ** into runs of plain components. A run has a fixed
 * number of components and so has only one candidate at any place of the path: the first run stands at the path's
 * beginning, the last one at its end, and each one between at the first place where it matches, because what a **
 * swallows is free. That is at most one fnmatch() a run and component of the path; nothing is ever tried twice.
 */
#include <fnmatch.h>
#include <limits.h>
#include <string.h>

#include "policy/internal.h"

/* Behind the first COUNT components of PATH and their slash; NULL if there are fewer. *LEN: bytes without the slash.
 */
static const char *components_end(const char *path, size_t count, size_t *len)
{
	const char *at = path;
	for (; count > 0; count--) {
		if (*at == '\0')
			return NULL;
		const char *slash = strchrnul(at, '/');
		*len = (size_t)(slash - path);
		at = *slash ? slash + 1 : slash;
	}
	return at;
}

static size_t count_components(const char *text, size_t len)
{
	size_t count = 1;
	for (size_t i = 0; i < len; i++)
		count += text[i] == '/';
	return count;
}

/* Whether the run (LEN bytes) matches as many components at the beginning of PATH. *REST: what is behind them. */
static bool run_matches(const char *run, size_t len, const char *path, const char **rest)
{
	char pattern[PATH_MAX + 1], text[PATH_MAX + 1];
	size_t text_len = 0;
	*rest = components_end(path, count_components(run, len), &text_len);
	if (!*rest || len > PATH_MAX || text_len > PATH_MAX)
		return false;
	*(char *)mempcpy(pattern, run, len) = '\0';
	*(char *)mempcpy(text, path, text_len) = '\0';
	return fnmatch(pattern, text, FNM_PATHNAME) == 0;
}

static bool last_run_matches(const char *run, const char *path)
{
	size_t wanted = count_components(run, strlen(run));
	size_t there = *path ? count_components(path, strlen(path)) : 0;
	size_t ignored;
	if (there < wanted)
		return false;
	return fnmatch(run, components_end(path, there - wanted, &ignored), FNM_PATHNAME) == 0;
}

bool policy_path_matches(const char *glob, const char *path)
{
	const char *stars = strstr(glob, "**");
	if (!stars)
		return fnmatch(glob, path, FNM_PATHNAME) == 0;
	if (*path++ != '/')
		return false;
	const char *run = *glob == '/' ? glob + 1 : glob;
	for (bool anchored = true; stars; stars = strstr(run, "**"), anchored = false) {
		if (stars > run) {
			size_t len = (size_t)(stars - run) - 1; /* without the slash before the stars */
			const char *rest;
			size_t ignored;
			while (!run_matches(run, len, path, &rest)) {
				path = anchored ? NULL : components_end(path, 1, &ignored);
				if (!path)
					return false;
			}
			path = rest;
		}
		run = stars + 2;
		if (*run == '\0')
			return true;
		run++;
	}
	return last_run_matches(run, path);
}
