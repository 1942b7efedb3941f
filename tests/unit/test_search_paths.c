/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of folders, and the words in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/elf_arch.h"
#include "sandbox/elf/library_search_client.h"
#include "sandbox/elf/library_search_paths.h"

static char seen[65536];

static int note(void *context, const char *path)
{
	const char *stop_at = context;
	snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s|", path);
	return stop_at && strcmp(stop_at, path) == 0 ? 7 : 0;
}

static const char *all(const char *list, const char *origin, const char *folder)
{
	const struct path_words words = {origin, folder, false};
	seen[0] = '\0';
	assert_int_equal(paths_each(list, ":;", &words, note, NULL), 0);
	return seen;
}

static void elements(void **state)
{
	(void)state;
	assert_string_equal(all("/a:/b;/c", NULL, ""), "/a|/b|/c|");
	assert_string_equal(all("/a::x", NULL, "/here"), "/a|/here/|/here/x|");
	assert_string_equal(all("/a::x:", NULL, ""), "/a|"); /* where that is, is not known */
}

/* Each of NAMES, which are this processor's, in FOLDER. */
static const char *meanings(const char *const *names, const char *folder)
{
	static char text[128];
	int used = 0;
	for (; *names; names++)
		used += snprintf(text + used, sizeof text - (size_t)used, "%s%s|", folder, *names);
	return text;
}

static void words(void **state)
{
	(void)state;
	assert_string_equal(all("$ORIGIN/../lib:${ORIGIN}x", "/opt/bin", ""), "/opt/bin/../lib|/opt/binx|");
	assert_string_equal(all("$ORIGIN/lib:/b", NULL, "/here"), "/b|"); /* AT_SECURE */
	assert_string_equal(all("/a/$LIB", NULL, ""), meanings((const char *[]){LOADER_LIB_NAMES, NULL}, "/a/"));
	char platforms[256];
	snprintf(platforms, sizeof platforms, "%s/$OTHER|/$|",
	         meanings((const char *[]){LOADER_PLATFORM_NAMES, NULL}, "/a/"));
	assert_string_equal(all("/a/${PLATFORM}:/$OTHER:/$", NULL, ""), platforms);
	const struct path_words musl = {"/o", "", true};
	seen[0] = '\0';
	assert_int_equal(paths_each("/a/$LIB:$ORIGIN", ":", &musl, note, NULL), 0);
	assert_string_equal(seen, "/a/$LIB|/o|");
}

static void ends_where_it_is_told(void **state)
{
	(void)state;
	const struct path_words none = {NULL, "", false};
	char stop_at[] = "/b";
	seen[0] = '\0';
	assert_int_equal(paths_each("/a:/b:/c", ":", &none, note, stop_at), 7);
	assert_string_equal(seen, "/a|/b|");
}

/* A path of SEARCH_PATH_MAX bytes and more is none; the others of the list are. */
static void too_long(void **state)
{
	(void)state;
	static char origin[SEARCH_PATH_MAX], list[SEARCH_PATH_MAX + 64];
	memset(origin, 'x', sizeof origin - 1);
	origin[0] = '/';
	assert_int_equal(strlen(all("$ORIGIN:/b", origin, "")), SEARCH_PATH_MAX + 3);
	assert_string_equal(all("$ORIGIN/y:/b", origin, ""), "/b|");
	assert_string_equal(all("$ORIGIN$ORIGIN$ORIGIN:/b", origin, ""), "/b|");
	snprintf(list, sizeof list, "%s/a:/b", origin);
	assert_string_equal(all(list, NULL, ""), "/b|");
	assert_string_equal(all("relative:/b", NULL, origin), "/b|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(elements),
	    cmocka_unit_test(words),
	    cmocka_unit_test(ends_where_it_is_told),
	    cmocka_unit_test(too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
