/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/elf/library_search.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/elf_arch.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "sandbox/elf/elf_needs.h"
#include "sandbox/elf/elf_parse.h"
#include "sandbox/elf/ld_cache.h"
#include "sandbox/elf/library_search_paths.h"

#define TEXT_FILE_BYTES_MAX (64 * KIB)
#define FOLDERS_MAX         256
#define MUSL_NAME           "ld-musl-"
#define MUSL_FOLDERS        "/lib:/usr/local/lib:/usr/lib"

/* Something that is loaded, or will be. */
struct loaded {
	char *name; /* by which it was asked for first */
	char *path;
	uint64_t device, inode;
	struct elf_needs needs;
	const struct loaded *loader; /* who needs it; NULL: the program itself, and the loader */
	bool is_later;
};

struct folder {
	char *path;
	bool exists;
};

struct search {
	const struct search_request *request;
	const struct search_world *world;
	struct search_result *result;
	unsigned level;
	struct loaded *list; /* SEARCH_OBJECTS_MAX; the first is the program */
	unsigned count, opens;
	struct elf_info program; /* its class and machine are those of all */
	bool is_musl;
	char *musl_folders; /* of musl's path file; NULL: its defaults */
	struct ld_cache cache;
	char *cache_bytes;
	struct folder folders[FOLDERS_MAX];
	unsigned folder_count;
};

/* What is looked for at the moment. */
struct lookup {
	struct search *search;
	const char *name;
	const struct loaded *loader;
	bool is_later;
};

static const char *after_slash(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int ask(struct search *search, const char *path, bool is_folder, struct search_file *file)
{
	if (path[0] != '/' || strlen(path) >= SEARCH_PATH_MAX || search->opens++ >= SEARCH_OPENS_MAX)
		return ENOENT;
	return search->world->open(search->world->context, path, is_folder, file);
}

/* Whether nobody can say by this what ld.so will find. EREMOTE: world->open()'s, the others: we could not look. */
static bool is_open_question(int errnum)
{
	return errnum == EREMOTE || errnum == EAGAIN || errnum == EMFILE || errnum == ENFILE || errnum == ENOMEM;
}

/* Whether there is such a folder, as far as can be said; each is asked for once. */
static bool has_folder(struct search *search, const char *path)
{
	struct search_file none;
	for (unsigned i = 0; i < search->folder_count; i++) {
		if (strcmp(search->folders[i].path, path) == 0)
			return search->folders[i].exists;
	}
	int errnum = ask(search, path, true, &none);
	bool exists = errnum == 0 || is_open_question(errnum);
	char *copy = search->folder_count < FOLDERS_MAX ? strdup(path) : NULL;
	if (copy)
		search->folders[search->folder_count++] = (struct folder){copy, exists};
	return exists;
}

/* The text of the file at PATH in fresh memory, or NULL. */
static char *read_text(struct search *search, const char *path, size_t limit, size_t *bytes)
{
	struct search_file file;
	char *text = NULL;
	if (ask(search, path, false, &file) != 0)
		return NULL;
	if (read_all(file.fd, limit, &text, bytes) < 0)
		text = NULL;
	close(file.fd);
	return text;
}

/* ld.so starts no program that lacks a library; what is loaded later is the program's own affair. */
static void note_unknown(struct search *search, const char *name, bool is_later)
{
	if (!is_later && search->result->unknown++ == 0)
		snprintf(search->result->first_unknown, sizeof search->result->first_unknown, "%s", name);
}

static struct loaded *add(struct search *search, const char *name, const char *path)
{
	if (search->count == SEARCH_OBJECTS_MAX)
		return NULL;
	struct loaded *loaded = &search->list[search->count];
	*loaded = (struct loaded){.name = strdup(name), .path = strdup(path)};
	if (!loaded->name || !loaded->path) {
		free(loaded->name);
		free(loaded->path);
		return NULL;
	}
	search->count++;
	return loaded;
}

static bool is_file_loaded(const struct search *search, const struct search_file *file)
{
	for (unsigned i = 0; i < search->count; i++) {
		if (search->list[i].inode == file->inode && search->list[i].device == file->device && file->inode)
			return true;
	}
	return false;
}

/* musl has these in its own file, whatever files of these names there are (ldso/dynlink.c, load_library()). */
static bool is_part_of_musl(const char *name)
{
	static const char *const names[] = {"c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."};
	for (size_t i = 0; strncmp(name, "lib", 3) == 0 && i < sizeof names / sizeof names[0]; i++) {
		if (strncmp(name + 3, names[i], strlen(names[i])) == 0)
			return true;
	}
	return false;
}

static bool is_name_loaded(const struct search *search, const char *name)
{
	if (search->is_musl && is_part_of_musl(name))
		return true;
	for (unsigned i = 0; i < search->count; i++) {
		const struct loaded *loaded = &search->list[i];
		if (strcmp(loaded->name, name) == 0 ||
		    (loaded->needs.soname && strcmp(loaded->needs.soname, name) == 0))
			return true;
	}
	return false;
}

/* Load FILE, at PATH, if it is a library for this program. Whether the name is found with that. FILE is closed. */
static bool load(const struct lookup *lookup, const char *path, const struct search_file *file)
{
	struct search *search = lookup->search;
	struct elf_info info = {0};
	struct elf_needs needs;
	bool fits = elf_parse(file->fd, &info) == ELF_ANSWER_OK && info.type == ET_DYN &&
	            info.elf_class == search->program.elf_class && info.machine == search->program.machine &&
	            elf_read_needs(file->fd, &info, &needs) == 0;
	close(file->fd);
	if (!fits)
		return false;
	struct loaded *loaded = add(search, lookup->name, path);
	if (!loaded) {
		elf_needs_free(&needs);
		note_unknown(search, lookup->name, false);
		return true;
	}
	loaded->needs = needs;
	loaded->device = file->device;
	loaded->inode = file->inode;
	loaded->loader = lookup->loader;
	loaded->is_later = lookup->is_later;
	search->result->found++;
	search->world->found(search->world->context, &info, lookup->is_later, needs.has_text_relocations);
	return true;
}

/* Whether what is looked for is the file at PATH; then it is loaded. */
static int try_file(void *context, const char *path)
{
	struct lookup *lookup = context;
	struct search_file file;
	int errnum = ask(lookup->search, path, false, &file);
	if (is_open_question(errnum))
		note_unknown(lookup->search, lookup->name, lookup->is_later);
	if (errnum)
		return is_open_question(errnum);
	if (is_file_loaded(lookup->search, &file)) {
		close(file.fd);
		return 1;
	}
	return load(lookup, path, &file);
}

/* The same in FOLDER, and in its folders for better processors. */
static int try_folder(void *context, const char *folder)
{
	static const char *const levels[] = {LOADER_LEVEL_NAMES};
	struct lookup *lookup = context;
	struct search *search = lookup->search;
	char path[2 * SEARCH_PATH_MAX];
	if (!has_folder(search, folder))
		return 0;
	snprintf(path, sizeof path, "%s/glibc-hwcaps", folder);
	bool has_levels = !search->is_musl && has_folder(search, path);
	for (unsigned i = search->level; has_levels && levels[i]; i++) {
		snprintf(path, sizeof path, "%s/glibc-hwcaps/%s", folder, levels[i]);
		if (!has_folder(search, path))
			continue;
		snprintf(path, sizeof path, "%s/glibc-hwcaps/%s/%s", folder, levels[i], lookup->name);
		if (try_file(lookup, path))
			return 1;
	}
	snprintf(path, sizeof path, "%s/%s", folder, lookup->name);
	return try_file(lookup, path);
}

/* What the words of a list of LOADED's stand for. ORIGIN keeps the folder that it lies in. */
static struct path_words words_of(const struct search *search, const struct loaded *loaded, char *origin)
{
	size_t bytes = (size_t)(after_slash(loaded->path) - loaded->path);
	snprintf(origin, SEARCH_PATH_MAX, "%.*s", (int)(bytes > 1 ? bytes - 1 : bytes), loaded->path);
	bool known = origin[0] == '/' && !search->request->is_secure;
	return (struct path_words){known ? origin : NULL, search->request->folder, search->is_musl};
}

/* Look in the folders of LIST (NULL: none), which LOADED has. */
static int try_list(struct lookup *lookup, const char *list, const char *separators, const struct loaded *loaded)
{
	char origin[SEARCH_PATH_MAX];
	struct path_words words = words_of(lookup->search, loaded, origin);
	return list ? paths_each(list, separators, &words, try_folder, lookup) : 0;
}

static int try_environment(struct lookup *lookup, const char *separators)
{
	const struct search *search = lookup->search;
	if (search->request->is_secure || !search->request->library_path[0])
		return 0;
	return try_list(lookup, search->request->library_path, separators, &search->list[0]);
}

static bool find_with_glibc(struct lookup *lookup)
{
	struct search *search = lookup->search;
	const struct loaded *loader = lookup->loader;
	for (const struct loaded *at = loader->needs.runpath ? NULL : loader; at; at = at->loader) {
		if (!at->needs.runpath && try_list(lookup, at->needs.rpath, ":", at))
			return true;
	}
	if (try_environment(lookup, ":;") || try_list(lookup, loader->needs.runpath, ":", loader))
		return true;
	if (loader->needs.no_default_lib)
		return false;
	const char *cached = ld_cache_find(&search->cache, lookup->name, search->level);
	return (cached && try_file(lookup, cached)) || try_list(lookup, LOADER_FOLDERS, ":", &search->list[0]);
}

static bool find_with_musl(struct lookup *lookup)
{
	struct search *search = lookup->search;
	if (try_environment(lookup, ":\n"))
		return true;
	const struct loaded *at = lookup->loader;
	do {
		if (try_list(lookup, at->needs.runpath ? at->needs.runpath : at->needs.rpath, ":\n", at))
			return true;
		at = at->loader;
	} while (at);
	return try_list(lookup, search->musl_folders ? search->musl_folders : MUSL_FOLDERS, ":\n", &search->list[0]);
}

/* Find and load what LOADER calls NAME. */
static bool find(struct search *search, const char *name, const struct loaded *loader, bool is_later)
{
	struct lookup lookup = {search, name, loader, is_later};
	char origin[SEARCH_PATH_MAX];
	if (is_name_loaded(search, name))
		return true;
	if (!strchr(name, '/'))
		return search->is_musl ? find_with_musl(&lookup) : find_with_glibc(&lookup);
	struct path_words words = words_of(search, loader, origin);
	return paths_each(name, "", &words, try_file, &lookup);
}

/* What is loaded before all that the program needs; that there is no such file ends no program. */
static void preload(struct search *search, char *names, const char *separators)
{
	char *rest = NULL;
	for (char *name = strtok_r(names, separators, &rest); name; name = strtok_r(NULL, separators, &rest))
		find(search, name, &search->list[0], false);
}

static void preload_all(struct search *search)
{
	if (!search->request->is_secure) {
		char *names = strdup(search->request->preload);
		if (names)
			preload(search, names, " :\t\n");
		free(names);
	}
	cleanup_free char *text =
	    search->is_musl ? NULL : read_text(search, "/etc/ld.so.preload", TEXT_FILE_BYTES_MAX, NULL);
	if (!text)
		return;
	for (char *comment = strchr(text, '#'); comment; comment = strchr(comment, '#'))
		memset(comment, ' ', strcspn(comment, "\n"));
	preload(search, text, " :\t\n");
}

/* Load what the object at FROM and those behind it need: breadth first. Returns where the list ends. */
static unsigned load_needed(struct search *search, unsigned from)
{
	for (; from < search->count; from++) {
		const struct loaded *loader = &search->list[from];
		for (unsigned i = 0; i < loader->needs.needed_count; i++) {
			if (!find(search, loader->needs.needed[i], loader, loader->is_later))
				note_unknown(search, loader->needs.needed[i], loader->is_later);
		}
	}
	return from;
}

/* The folders of a musl that is PREFIX/lib/ld-musl-ARCH.so.1 are in PREFIX/etc/ld-musl-ARCH.path. */
static void read_musl_folders(struct search *search, const char *interp)
{
	char path[SEARCH_PATH_MAX];
	const char *name = after_slash(interp);
	const char *folder = name - 1;
	while (folder > interp && folder[-1] != '/')
		folder--;
	snprintf(path, sizeof path, "%.*s/etc/%.*s.path", folder > interp ? (int)(folder - 1 - interp) : 0, interp,
	         (int)strcspn(name, "."), name);
	search->musl_folders = read_text(search, path, TEXT_FILE_BYTES_MAX, NULL);
}

/* The program and its loader, which are there already, and what the loader reads first. */
static enum elf_answer_status begin(struct search *search, int exe_fd)
{
	enum elf_answer_status status = elf_parse(exe_fd, &search->program);
	struct loaded *program = status == ELF_ANSWER_OK ? add(search, "", search->request->exe) : NULL;
	if (!program)
		return status == ELF_ANSWER_OK ? ELF_ANSWER_ABSURD : status;
	if (!search->program.has_interp)
		return ELF_ANSWER_OK;
	if (elf_read_needs(exe_fd, &search->program, &program->needs) < 0 || !program->needs.interp)
		return ELF_ANSWER_ABSURD;
	const char *interp = program->needs.interp;
	search->is_musl = strncmp(after_slash(interp), MUSL_NAME, sizeof MUSL_NAME - 1) == 0;
	add(search, after_slash(interp), interp);
	if (search->is_musl) {
		if (interp[0] == '/')
			read_musl_folders(search, interp);
		return ELF_ANSWER_OK;
	}
	size_t bytes;
	search->cache_bytes = read_text(search, "/etc/ld.so.cache", LD_CACHE_BYTES_MAX, &bytes);
	if (search->cache_bytes)
		ld_cache_open(&search->cache, search->cache_bytes, bytes);
	return ELF_ANSWER_OK;
}

static void end(struct search *search)
{
	for (unsigned i = 0; i < search->count; i++) {
		free(search->list[i].name);
		free(search->list[i].path);
		elf_needs_free(&search->list[i].needs);
	}
	for (unsigned i = 0; i < search->folder_count; i++)
		free(search->folders[i].path);
	free(search->list);
	free(search->musl_folders);
	free(search->cache_bytes);
}

enum elf_answer_status search_libraries(int exe_fd, const struct search_request *request, char *const *later,
                                        unsigned level, const struct search_world *world, struct search_result *result)
{
	struct search search = {.request = request, .world = world, .result = result, .level = level};
	*result = (struct search_result){0};
	search.list = calloc(SEARCH_OBJECTS_MAX, sizeof search.list[0]);
	enum elf_answer_status status = search.list ? begin(&search, exe_fd) : ELF_ANSWER_ABSURD;
	if (status == ELF_ANSWER_OK && search.program.has_interp) {
		preload_all(&search);
		unsigned done = load_needed(&search, 0);
		for (uint32_t i = 0; i < request->later_count; i++)
			find(&search, later[i], &search.list[0], true);
		load_needed(&search, done);
	}
	end(&search);
	return status;
}
