/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/library_search_paths.h"

#include <stddef.h>
#include <string.h>

#include "arch/elf_arch.h"
#include "sandbox/elf/library_search_request.h"

static const char *const lib_names[] = {LOADER_LIB_NAMES};
static const char *const platform_names[] = {LOADER_PLATFORM_NAMES};

#define LIBS      (sizeof lib_names / sizeof lib_names[0])
#define PLATFORMS (sizeof platform_names / sizeof platform_names[0])

/* A path that grows; one that has become too long is no path any more. */
struct growing {
	char *text;
	size_t used;
	bool too_long;
};

static void append(struct growing *path, const char *text, size_t bytes)
{
	if (path->too_long || bytes >= SEARCH_PATH_MAX - path->used) {
		path->too_long = true;
		return;
	}
	memcpy(path->text + path->used, text, bytes);
	path->used += bytes;
	path->text[path->used] = '\0';
}

/* The length of "$NAME" or "${NAME}" if TEXT begins with that, else 0. */
static size_t word_length(const char *text, const char *name)
{
	size_t length = strlen(name);
	if (text[1] == '{')
		return strncmp(text + 2, name, length) == 0 && text[2 + length] == '}' ? length + 3 : 0;
	return strncmp(text + 1, name, length) == 0 ? length + 1 : 0;
}

static bool has_word(const char *element, size_t bytes, const char *name)
{
	for (size_t i = 0; i < bytes; i++) {
		if (element[i] == '$' && word_length(element + i, name) > 0)
			return true;
	}
	return false;
}

/* The BYTES of ELEMENT with their words replaced, into OUT; false if that is no path. */
static bool expand(const char *element, size_t bytes, const struct path_words *words, const char *lib,
                   const char *platform, char *out)
{
	struct growing path = {.text = out};
	out[0] = '\0';
	if (bytes == 0 || (element[0] != '/' && element[0] != '$')) {
		if (!words->folder[0])
			return false;
		append(&path, words->folder, strlen(words->folder));
		append(&path, "/", 1);
	}
	for (size_t i = 0; i < bytes;) {
		size_t length = element[i] == '$' ? word_length(element + i, "ORIGIN") : 0;
		const char *value = words->origin;
		if (!length && element[i] == '$' && !words->is_musl) {
			value = lib;
			length = word_length(element + i, "LIB");
			if (!length) {
				value = platform;
				length = word_length(element + i, "PLATFORM");
			}
		}
		if (length && !value)
			return false;
		append(&path, length ? value : element + i, length ? strlen(value) : 1);
		i += length ? length : 1;
	}
	return !path.too_long && out[0] == '/';
}

/* All that one element may stand for. */
static int each_meaning(const char *element, size_t bytes, const struct path_words *words,
                        int (*each)(void *context, const char *path), void *context)
{
	char path[SEARCH_PATH_MAX];
	size_t libs = !words->is_musl && has_word(element, bytes, "LIB") ? LIBS : 1;
	size_t platforms = !words->is_musl && has_word(element, bytes, "PLATFORM") ? PLATFORMS : 1;
	int result = 0;
	if (bytes == 0 && words->is_musl)
		return 0;
	for (size_t i = 0; i < libs * platforms && result == 0; i++) {
		if (expand(element, bytes, words, lib_names[i / platforms], platform_names[i % platforms], path))
			result = each(context, path);
	}
	return result;
}

int paths_each(const char *list, const char *separators, const struct path_words *words,
               int (*each)(void *context, const char *path), void *context)
{
	for (;; list++) {
		size_t bytes = strcspn(list, separators);
		int result = each_meaning(list, bytes, words, each, context);
		list += bytes;
		if (result != 0 || *list == '\0')
			return result;
	}
}
