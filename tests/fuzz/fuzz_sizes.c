/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words: sizes, globs with a slow and simple matcher beside the real one, lists of backings, and text of any bytes for
 * JSON and terminals. The input's lines: a size or list, a glob, a path.
 */
#include <fnmatch.h>

#include "base/size.h"
#include "base/utf8.h"
#include "fuzzing.h"
#include "policy/policy.h"

#define COMPONENTS_MAX 10

static void check_size(const char *text)
{
	uint64_t bytes = 7;
	if (size_parse(text, &bytes) < 0) {
		MUST(bytes == 7);
		return;
	}
	/* Read once more, with more bits. */
	__extension__ unsigned __int128 wide = 0;
	while (*text >= '0' && *text <= '9')
		wide = wide * 10 + (unsigned)(*text++ - '0');
	static const char suffixes[] = "kmgt";
	const char *suffix = *text ? strchr(suffixes, *text | 0x20) : NULL;
	if (suffix)
		wide <<= 10 * (suffix - suffixes + 1);
	MUST(wide == bytes && text[suffix ? 1 : 0] == '\0');
	char formatted[16];
	MUST(strlen(size_format(bytes, formatted, sizeof formatted)) > 0);
}

static unsigned split(char *text, char *components[COMPONENTS_MAX])
{
	unsigned count = 0;
	for (char *at = text; at && count < COMPONENTS_MAX; count++) {
		components[count] = at;
		at = strchr(at, '/');
		if (at)
			*at++ = '\0';
	}
	return count;
}

/* By trying everything. */
static bool matches(char *const *glob, unsigned globs, char *const *path, unsigned paths)
{
	if (globs == 0)
		return paths == 0;
	if (strcmp(glob[0], "**") == 0) {
		for (unsigned skip = 0; skip <= paths; skip++) {
			if (matches(glob + 1, globs - 1, path + skip, paths - skip))
				return true;
		}
		return false;
	}
	return paths > 0 && fnmatch(glob[0], path[0], 0) == 0 && matches(glob + 1, globs - 1, path + 1, paths - 1);
}

/* Absolute, without empty components, as the path of a program is, and not too long to try everything. */
static bool is_plain(const char *path)
{
	size_t slashes = 0;
	for (const char *at = path; *at; at++)
		slashes += *at == '/';
	return path[0] == '/' && path[strlen(path) - 1] != '/' && !strstr(path, "//") && slashes < COMPONENTS_MAX;
}

static bool is_comparable(const char *glob, const char *path)
{
	/* What the parser lets through, and where a component ends is told by slashes alone. */
	for (const char *at = glob; (at = strstr(at, "**")); at += 2) {
		if ((at > glob && at[-1] != '/') || (at[2] != '\0' && at[2] != '/'))
			return false;
	}
	return is_plain(glob) && is_plain(path) && !strpbrk(glob, "[\\");
}

static void check_glob(char *glob, char *path)
{
	bool got = policy_path_matches(glob, path);
	char *globs[COMPONENTS_MAX], *paths[COMPONENTS_MAX];
	if (!is_comparable(glob, path))
		return;
	unsigned glob_count = split(glob, globs), path_count = split(path, paths);
	MUST(got == matches(globs, glob_count, paths, path_count));
}

static void check_text(const char *text)
{
	char shown[64];
	char *utf8 = text_to_utf8(text);
	MUST(utf8 && strlen(text_printable(text, shown, sizeof shown)) < sizeof shown);
	for (const char *at = shown; *at; at++)
		MUST((unsigned char)*at >= 0x20 && *at != 0x7f);
	/* What is valid stays as it is. */
	char *again = text_to_utf8(utf8);
	MUST(again && strcmp(again, utf8) == 0);
	free(again);
	free(utf8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	char *word = input_line(&input), *glob = input_line(&input), *path = input_line(&input);
	struct settings settings;
	settings_default(&settings);
	check_size(word);
	check_text(word);
	if (settings_override(&settings, &(struct overrides){.backing = word}, NULL) == 0)
		MUST(settings.backing_count >= 1 && settings.backing_count <= BACKING_COUNT);
	check_glob(glob, path);
	free(word);
	free(glob);
	free(path);
	return 0;
}
