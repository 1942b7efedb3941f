#include "inject.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "bundle.h"
#include "policy/strict.h"

/* When the runtime calls it: before the container's program is executed, and when the container is gone. */
static const char *const stages[] = {"createRuntime", "poststop"};

static struct annotation *read_annotations(json_object *config, size_t *count)
{
	json_object *json = json_object_object_get(config, "annotations");
	*count = 0;
	if (!json_object_is_type(json, json_type_object))
		return calloc(1, sizeof(struct annotation));
	struct annotation *list = calloc((size_t)json_object_object_length(json) + 1, sizeof *list);
	if (!list)
		return NULL;
	json_object_object_foreach(json, name, value)
	{
		if (json_object_is_type(value, json_type_string))
			list[(*count)++] = (struct annotation){name, json_object_get_string(value)};
	}
	return list;
}

bool inject_is_wanted(json_object *config, const struct policy *policy, struct error *err)
{
	size_t count;
	struct annotation *annotations = read_annotations(config, &count);
	if (!annotations) {
		error_set(err, "config", "out of memory");
		return false;
	}
	bool wanted = policy_may_remap_container(policy, annotations, count);
	free(annotations);
	return wanted;
}

static bool has_hook(json_object *list, const char *hook)
{
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *entry = json_object_array_get_idx(list, i);
		json_object *path =
		    json_object_is_type(entry, json_type_object) ? json_object_object_get(entry, "path") : NULL;
		if (json_object_is_type(path, json_type_string) && strcmp(json_object_get_string(path), hook) == 0)
			return true;
	}
	return false;
}

static int add_text(json_object *list, const char *text)
{
	json_object *json = json_object_new_string(text);
	return json ? json_object_array_add(list, json) : -1;
}

/* {"path": HOOK, "args": [its name, STAGE]}; NULL where there is no memory. No timeout: at its end the runtime would
 * fail the container. */
static json_object *make_entry(const char *hook, const char *stage)
{
	const char *slash = strrchr(hook, '/');
	json_object *entry = json_object_new_object();
	json_object *args = json_object_new_array();
	if (entry && args && add_text(args, slash ? slash + 1 : hook) == 0 && add_text(args, stage) == 0 &&
	    json_object_object_add(entry, "path", json_object_new_string(hook)) == 0 &&
	    json_object_object_get(entry, "path") &&
	    json_object_object_add(entry, "args", json_object_get(args)) == 0) {
		json_object_put(args);
		return entry;
	}
	json_object_put(entry);
	json_object_put(args);
	return NULL;
}

/*
 * Whether TEXT is CONFIG, which has our hook, and no value of it is missing: json-c goes on without what it has no
 * memory for, and a configuration that was cut short would cost the container.
 */
static bool says_the_same(const char *text, json_object *config, const char *hook)
{
	json_object *again = NULL;
	size_t offset;
	const char *what;
	bool same = strict_parse(text, strlen(text), &again, &offset, &what) == 0 && json_object_equal(config, again);
	json_object *hooks = same ? json_object_object_get(again, "hooks") : NULL;
	for (size_t i = 0; same && i < sizeof stages / sizeof stages[0]; i++) {
		json_object *list = json_object_object_get(hooks, stages[i]);
		same = json_object_is_type(list, json_type_array) && has_hook(list, hook);
	}
	json_object_put(again);
	return same;
}

/* runc, as Go does, takes "Hooks" for "hooks", too, and of two the last one. */
static bool has_other_spelling(json_object *parent, const char *key)
{
	json_object_object_foreach(parent, name, value)
	{
		(void)value;
		if (strcasecmp(name, key) == 0 && strcmp(name, key) != 0)
			return true;
	}
	return false;
}

/* The member KEY of PARENT, made with MAKE where it is missing or null; NULL: it is not to be had as a TYPE. */
static json_object *member(json_object *parent, const char *key, enum json_type type, json_object *(*make)(void))
{
	if (has_other_spelling(parent, key))
		return NULL;
	json_object *json = json_object_object_get(parent, key);
	if (!json) {
		json = make();
		json_object_object_add(parent, key, json);
	}
	return json_object_is_type(json, type) ? json : NULL;
}

int inject_add_hook(json_object *config, const char *hook, struct error *err)
{
	if (!json_object_is_type(config, json_type_object))
		return error_set(err, "config", "it is no JSON object");
	json_object *hooks = member(config, "hooks", json_type_object, json_object_new_object);
	if (!hooks)
		return error_set(err, "config", "\"hooks\" is no object, or spelled in another way");
	int added = 0;
	for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
		json_object *list = member(hooks, stages[i], json_type_array, json_object_new_array);
		if (!list)
			return error_set(err, "config", "\"%s\" is no array, or spelled in another way", stages[i]);
		if (has_hook(list, hook))
			continue;
		json_object *entry = make_entry(hook, stages[i]);
		if (!entry || json_object_array_add(list, entry) < 0)
			return error_set(err, "config", "out of memory");
		added = 1;
	}
	return added;
}

/* Write TEXT beside the file NAME in DIRECTORY_FD, like ABOUT in owner and mode, and put it in its place. */
static int replace_file(int directory_fd, const char *name, const char *text, const struct stat *about,
                        struct error *err)
{
	char temporary[64];
	snprintf(temporary, sizeof temporary, ".hugexec-%d", (int)getpid());
	unlinkat(directory_fd, temporary, 0); /* left by a namesake that was killed here */
	cleanup_close int fd =
	    openat(directory_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, "config", "a new file in the bundle");
	if (write_all(fd, text, strlen(text)) < 0 || fchown(fd, about->st_uid, about->st_gid) < 0 ||
	    fchmod(fd, about->st_mode & 07777) < 0 || renameat(directory_fd, temporary, directory_fd, name) < 0) {
		error_set_errno(err, errno, "config", "writing it");
		unlinkat(directory_fd, temporary, 0);
		return -1;
	}
	return 0;
}

/*
 * json-c (0.16) takes an integer beyond 64 bits for the nearest one that fits, strict or not. TEXT is JSON that it
 * took; returns the first such integer, or NULL.
 */
static const char *find_huge_integer(const char *text)
{
	for (bool in_string = false; *text; text++) {
		if (in_string && *text == '\\')
			text++;
		else if (*text == '"')
			in_string = !in_string;
		if (in_string || (*text != '-' && !isdigit((unsigned char)*text)))
			continue;
		size_t length = strspn(text, "0123456789+-.eE");
		bool negative = *text == '-';
		const char *limit = negative ? "9223372036854775808" : "18446744073709551615";
		size_t digits = length - negative;
		bool is_integer = strcspn(text, ".eE") >= length;
		if (is_integer && (digits > strlen(limit) ||
		                   (digits == strlen(limit) && strncmp(text + negative, limit, digits) > 0)))
			return text;
		text += length - 1;
	}
	return NULL;
}

static int edit(int directory_fd, const char *name, const char *text, size_t bytes, const struct stat *about,
                const char *hook, const struct policy *policy, struct error *err)
{
	json_object *config = NULL;
	size_t offset;
	const char *what;
	if (strict_parse(text, bytes, &config, &offset, &what) < 0)
		return error_set(err, "config", "at byte %zu: %s", offset, what ? what : "out of memory");
	const char *huge = find_huge_integer(text);
	if (huge) {
		json_object_put(config);
		return error_set(err, "config", "at byte %td: an integer of more than 64 bits", huge - text);
	}
	struct error why = {0};
	int result = 0;
	if (inject_is_wanted(config, policy, &why))
		result = inject_add_hook(config, hook, err);
	else if (error_is_set(&why))
		result = error_set(err, why.word, "%s", why.detail);
	if (result > 0) {
		const char *changed =
		    json_object_to_json_string_ext(config, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
		if (!changed || !says_the_same(changed, config, hook))
			result = error_set(err, "config", "out of memory");
		else if (replace_file(directory_fd, name, changed, about, err) < 0)
			result = -1;
	}
	json_object_put(config);
	return result;
}

int inject_into_bundle(const char *bundle, const char *config, const char *hook, const struct policy *policy,
                       struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes;
	struct stat about;
	cleanup_close int directory_fd = bundle_read(bundle, config, &text, &bytes, &about, err);
	if (directory_fd < 0)
		return -1;
	return edit(directory_fd, config, text, bytes, &about, hook, policy, err);
}
