/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime_call.h"

#include <string.h>

/* Options that are followed by a value, runc's (1.1) and crun's (1.8): NULL-terminated. */
static const char *const global_options[] = {"runtime",  "log",  "log-format",     "log-level", "root",
                                             "rootless", "criu", "cgroup-manager", NULL};
static const char *const create_options[] = {"bundle", "b",      "console-socket", "pid-file",
                                             "f",      "config", "preserve-fds",   NULL};

struct option_word {
	const char *name; /* without dashes; one of the known, or NULL */
	const char *value;
	int words; /* 2: the value is the next word */
};

/* The option that WORD is, and its value, which may be NEXT (NULL: there is none). */
static struct option_word read_option(const char *word, const char *next, const char *const *known)
{
	const char *text = word + strspn(word, "-");
	size_t length = strcspn(text, "=");
	for (; *known; known++) {
		if (strlen(*known) != length || strncmp(text, *known, length) != 0)
			continue;
		if (text[length] == '=')
			return (struct option_word){*known, text + length + 1, 1};
		return (struct option_word){next ? *known : NULL, next, next ? 2 : 1};
	}
	return (struct option_word){NULL, NULL, 1};
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] != '\0';
}

static bool is(const struct option_word *option, const char *name)
{
	return option->name && strcmp(option->name, name) == 0;
}

/* Options before the verb. Returns the verb's index. */
static int parse_global(int *argc, char **argv, struct runtime_call *out)
{
	int i = 1;
	while (i < *argc && is_option(argv[i])) {
		struct option_word option = read_option(argv[i], argv[i + 1], global_options);
		if (is(&option, "log"))
			out->log = *option.value ? option.value : NULL;
		else if (is(&option, "log-format"))
			out->log_is_json = strcmp(option.value, "json") == 0;
		if (is(&option, "runtime")) {
			out->runtime = option.value;
			*argc -= option.words;
			memmove(argv + i, argv + i + option.words, (size_t)(*argc - i + 1) * sizeof argv[0]);
		} else {
			i += option.words;
		}
	}
	return i;
}

static void parse_create(int argc, char **argv, int i, struct runtime_call *out)
{
	while (i < argc && strcmp(argv[i], "--") != 0) {
		struct option_word option = {.words = 1};
		if (is_option(argv[i]))
			option = read_option(argv[i], argv[i + 1], create_options);
		if (is(&option, "bundle") || is(&option, "b"))
			out->bundle = option.value;
		else if (is(&option, "config") || is(&option, "f"))
			out->config = option.value;
		else if (argv[i][0] == '-' && argv[i][1] == 'b' && !option.name && argv[i][2])
			out->bundle = argv[i] + 2;
		i += option.words;
	}
}

void runtime_call_parse(int *argc, char **argv, struct runtime_call *out)
{
	*out = (struct runtime_call){.bundle = ".", .config = "config.json"};
	int verb = parse_global(argc, argv, out);
	if (verb >= *argc)
		return;
	out->creates = strcmp(argv[verb], "create") == 0 || strcmp(argv[verb], "run") == 0;
	if (out->creates)
		parse_create(*argc, argv, verb + 1, out);
}
