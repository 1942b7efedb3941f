/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/exec_line.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
	const char *name;
	unsigned flag;
} flags[] = {
    {"ignore-failure", EXEC_IGNORE_FAILURE},
    {"no-env-expand", EXEC_NO_ENV_EXPAND},
    {"privileged", EXEC_PRIVILEGED},
    {"no-setuid", EXEC_NO_SETUID},
    {"ambient", EXEC_AMBIENT},
};

unsigned exec_flag_of(const char *name)
{
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
		if (strcmp(flags[i].name, name) == 0)
			return flags[i].flag;
	}
	return 0;
}

static void free_words(char **words)
{
	for (char **word = words; word && *word; word++)
		free(*word);
	free(words);
}

void exec_commands_free(struct exec_commands *commands)
{
	for (size_t i = 0; i < commands->count; i++) {
		free(commands->list[i].path);
		free_words(commands->list[i].argv);
	}
	free(commands->list);
	*commands = (struct exec_commands){.count = 0};
}

bool exec_commands_equal(const struct exec_commands *a, const struct exec_commands *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct exec_command *x = &a->list[i], *y = &b->list[i];
		size_t word = 0;
		if (x->flags != y->flags || strcmp(x->path, y->path) != 0)
			return false;
		while (x->argv[word] && y->argv[word] && strcmp(x->argv[word], y->argv[word]) == 0)
			word++;
		if (x->argv[word] || y->argv[word])
			return false;
	}
	return true;
}

/* TEXT with every "$" doubled, which is how a command line has a "$" that starts no variable. */
static char *without_variables(const char *text)
{
	char *out = calloc(2, strlen(text) + 1), *to = out;
	for (; out && *text; *to++ = *text++) {
		if (*text == '$')
			*to++ = '$';
	}
	return out;
}

/* Whether FROM can be prefixed at all. */
static int check_command(const struct exec_command *from, const char *launcher, struct error *err)
{
	const char *name = from->argv[0];
	if (!name)
		return error_set(err, REASON_UNIT_UNFIT, "a command without a name");
	if (strcmp(from->path, launcher) == 0)
		return error_set(err, REASON_UNIT_UNFIT, "%s is before the command already", launcher);
	/* A whole word "$NAME" becomes as many words as the variable has; in the middle of a word it is none. */
	bool expands = !(from->flags & EXEC_NO_ENV_EXPAND) && strcmp(name, from->path) != 0;
	if (expands && name[0] == '$' && name[1] != '$' && name[1] != '{')
		return error_set(err, REASON_UNIT_UNFIT, "the name after @ is the variable %s", name);
	return 0;
}

/* The words of FROM with LAUNCHER before them, as a fresh NULL-terminated list; NULL when out of memory. */
static char **prefix_words(const struct exec_command *from, const char *launcher)
{
	size_t words = 0, used = 0;
	while (from->argv[words])
		words++;
	char **argv = calloc(words + 4, sizeof argv[0]);
	if (!argv)
		return NULL;
	argv[used++] = strdup(launcher);
	if (strcmp(from->argv[0], from->path) != 0 && asprintf(&argv[used++], "--argv0=%s", from->argv[0]) < 0)
		argv[used - 1] = NULL;
	argv[used++] = strdup("--");
	argv[used++] = from->flags & EXEC_NO_ENV_EXPAND ? strdup(from->path) : without_variables(from->path);
	for (size_t i = 1; i < words; i++)
		argv[used++] = strdup(from->argv[i]);
	for (size_t i = 0; i < used; i++) {
		if (argv[i])
			continue;
		for (size_t j = 0; j < used; j++)
			free(argv[j]);
		free(argv);
		return NULL;
	}
	return argv;
}

static int prefix_one(const struct exec_command *from, const char *launcher, struct exec_command *out,
                      struct error *err)
{
	if (check_command(from, launcher, err) < 0)
		return -1;
	char *path = strdup(launcher);
	char **argv = prefix_words(from, launcher);
	if (!path || !argv) {
		free(path);
		free_words(argv);
		return error_set(err, REASON_MEMORY, "for a command line");
	}
	*out = (struct exec_command){.path = path, .argv = argv, .flags = from->flags};
	return 0;
}

int exec_commands_prefix(const struct exec_commands *from, const char *launcher, struct exec_commands *out,
                         struct error *err)
{
	*out = (struct exec_commands){.list = calloc(from->count + 1, sizeof out->list[0])};
	if (!out->list)
		return error_set(err, REASON_MEMORY, "for %zu commands", from->count);
	if (from->count == 0) {
		exec_commands_free(out);
		return error_set(err, REASON_UNIT_UNFIT, "it has no ExecStart=");
	}
	for (size_t i = 0; i < from->count; i++) {
		out->count++;
		if (prefix_one(&from->list[i], launcher, &out->list[i], err) < 0) {
			exec_commands_free(out);
			return -1;
		}
	}
	return 0;
}
