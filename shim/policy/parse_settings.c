/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of a rule or a file: a table of key, bit and parser.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/parse.h"

#define FOLLOW_TIMEOUT_MAX_S 86400

typedef int value_parser(const struct parser *parser, const struct json_place *place, json_object *value,
                         struct settings *out);

/*
 * Bytes as a number, or digits with a suffix. No size needs more than 15 digits, 7 with a suffix: bounds that a schema
 * can say, and within which nothing overflows.
 */
static int parse_size(const struct parser *parser, const struct json_place *place, json_object *value, uint64_t *out)
{
	static const char expected[] = "a size: bytes as a number, or \"64K\", \"4M\", \"1G\"";
	if (!json_object_is_type(value, json_type_string)) {
		int64_t bytes;
		if (parse_integer(parser, place, value, 0, NUMBER_MAX, expected, &bytes) < 0)
			return -1;
		*out = (uint64_t)bytes;
		return 0;
	}
	const char *text = json_object_get_string(value);
	size_t digits = strspn(text, "0123456789");
	if (digits > (text[digits] ? 7 : 15) || size_parse(text, out) < 0)
		return complain(parser, place, JSON_AT_VALUE, "\"%.32s\" is not a size; expected %s", text, expected);
	return 0;
}

static int parse_min_text(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	return parse_size(parser, place, value, &out->min_text_bytes);
}

static int parse_max_text(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	return parse_size(parser, place, value, &out->max_text_bytes);
}

static int parse_page_size(const struct parser *parser, const struct json_place *place, json_object *value,
                           struct settings *out)
{
	static const char *const words[] = {"2M", "1G", NULL};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	return size_parse(words[word], &out->page_size_bytes);
}

static int parse_backing(const struct parser *parser, const struct json_place *place, json_object *value,
                         struct settings *out)
{
	static const char *const words[] = {"file", "hugetlb", "thp", NULL};
	if (!json_object_is_type(value, json_type_array))
		return complain(parser, place, JSON_AT_VALUE, "expected a list of \"file\", \"hugetlb\", \"thp\"");
	size_t count = json_object_array_length(value);
	if (count == 0 || count > BACKING_COUNT)
		return complain(parser, place, JSON_AT_VALUE,
		                "expected one to three of \"file\", \"hugetlb\", \"thp\"");
	for (size_t i = 0; i < count; i++) {
		struct json_place at = {place, NULL, i};
		int word;
		if (parse_word(parser, &at, json_object_array_get_idx(value, i), words, &word) < 0)
			return -1;
		for (size_t j = 0; j < i; j++) {
			if (out->backing[j] == (enum backing)word)
				return complain(parser, &at, JSON_AT_VALUE, "\"%s\" is a duplicate", words[word]);
		}
		out->backing[i] = (enum backing)word;
	}
	out->backing_count = (unsigned)count;
	return 0;
}

/* Files are looked for on the disk: a pattern must say where to begin. */
static int parse_rooted_glob(const struct parser *parser, const struct json_place *place, json_object *value,
                             const char **out)
{
	if (parse_path_glob(parser, place, value, out) < 0)
		return -1;
	if ((*out)[0] != '/' || strcspn(*out + 1, "*?[/") == 0 || (*out)[1 + strcspn(*out + 1, "*?[/")] != '/')
		return complain(parser, place, JSON_AT_VALUE,
		                "files to prepare lie below a folder that is named: \"/usr/lib/**/libjvm.so\"");
	return 0;
}

static int parse_libraries(const struct parser *parser, const struct json_place *place, json_object *value,
                           struct settings *out)
{
	static const char *const keys[] = {"include", "exclude", "prepare", NULL};
	char *const **const lists[] = {&out->library_include, &out->library_exclude, &out->library_prepare};
	/* An earlier file's lists are not this one's. */
	for (unsigned i = 0; keys[i]; i++)
		*lists[i] = NULL;
	if (json_object_is_type(value, json_type_boolean))
		return parse_bool(parser, place, value, &out->libraries);
	if (!json_object_is_type(value, json_type_object))
		return complain(
		    parser, place, JSON_AT_VALUE,
		    "expected true, false or { \"include\": [...], \"exclude\": [...], \"prepare\": [...] }");
	out->libraries = true;
	json_object_object_foreach(value, key, list)
	{
		struct json_place at = {place, key, 0};
		const char **globs = NULL;
		unsigned which = 0;
		while (keys[which] && strcmp(key, keys[which]) != 0)
			which++;
		if (!keys[which])
			return complain_unknown_key(parser, &at, keys);
		if (!json_object_is_type(list, json_type_array))
			return complain(parser, &at, JSON_AT_VALUE, "expected a list of patterns");
		if (parse_entries(parser, &at, list, which == 2 ? parse_rooted_glob : parse_path_glob, &globs) < 0)
			return -1;
		*lists[which] = (char *const *)globs;
	}
	return 0;
}

static int parse_rebase(const struct parser *parser, const struct json_place *place, json_object *value,
                        struct settings *out)
{
	return parse_bool(parser, place, value, &out->rebase);
}

static int parse_round_out(const struct parser *parser, const struct json_place *place, json_object *value,
                           struct settings *out)
{
	return parse_bool(parser, place, value, &out->round_out);
}

static int parse_coverage(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	int word;
	if (parse_word(parser, place, value, coverage_names, &word) < 0)
		return -1;
	out->coverage = (enum coverage)word;
	return 0;
}

static int parse_rodata(const struct parser *parser, const struct json_place *place, json_object *value,
                        struct settings *out)
{
	return parse_bool(parser, place, value, &out->rodata);
}

static int parse_perf_map(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	return parse_bool(parser, place, value, &out->perf_map);
}

static int parse_follow(const struct parser *parser, const struct json_place *place, json_object *value,
                        struct settings *out)
{
	static const char *const words[] = {"none", "exec", "fork", NULL};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	out->follow = (enum follow)word;
	return 0;
}

static int parse_wrappers(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	const char **names = NULL;
	if (!json_object_is_type(value, json_type_array))
		return complain(parser, place, JSON_AT_VALUE, "expected a list of names");
	if (parse_entries(parser, place, value, parse_name_glob, &names) < 0)
		return -1;
	out->wrappers = (char *const *)names;
	return 0;
}

static int parse_on_error(const struct parser *parser, const struct json_place *place, json_object *value,
                          struct settings *out)
{
	static const char *const words[] = {"continue", "fail", NULL};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	out->on_error = (enum on_error)word;
	return 0;
}

static int parse_follow_timeout(const struct parser *parser, const struct json_place *place, json_object *value,
                                struct settings *out)
{
	int64_t seconds;
	if (parse_integer(parser, place, value, 1, FOLLOW_TIMEOUT_MAX_S, "a number of seconds from 1 to 86400",
	                  &seconds) < 0)
		return -1;
	out->follow_timeout_s = (unsigned)seconds;
	return 0;
}

/* "500ms" or "2s": up to 6 digits of milliseconds or 3 of seconds. */
static int parse_duration(const struct parser *parser, const struct json_place *place, json_object *value,
                          unsigned *out_ms)
{
	const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
	size_t digits = strspn(text, "0123456789");
	bool seconds = strcmp(text + digits, "s") == 0;
	if (digits == 0 || *text == '0' || digits > (seconds ? 3 : 6) || (!seconds && strcmp(text + digits, "ms") != 0))
		return complain(parser, place, JSON_AT_VALUE,
		                "expected a duration of 1 to 999999 milliseconds or 999 seconds: \"500ms\", \"2s\"");
	*out_ms = (unsigned)strtoul(text, NULL, 10) * (seconds ? 1000 : 1);
	return 0;
}

static int parse_file_timeout(const struct parser *parser, const struct json_place *place, json_object *value,
                              struct settings *out)
{
	return parse_duration(parser, place, value, &out->file_timeout_ms);
}

static int parse_hold_timeout(const struct parser *parser, const struct json_place *place, json_object *value,
                              struct settings *out)
{
	return parse_duration(parser, place, value, &out->hold_timeout_ms);
}

static int parse_keep_free(const struct parser *parser, const struct json_place *place, json_object *value,
                           struct settings *out)
{
	static const char expected[] = "a number of pages, or a share from \"0%\" to \"100%\"";
	int64_t pages = 0;
	unsigned long percent = 0;
	if (json_object_is_type(value, json_type_string)) {
		const char *text = json_object_get_string(value);
		size_t digits = strspn(text, "0123456789");
		percent = strtoul(text, NULL, 10);
		if (digits == 0 || (*text == '0' && digits > 1) || digits > 3 || percent > 100 ||
		    strcmp(text + digits, "%") != 0)
			return complain(parser, place, JSON_AT_VALUE, "expected %s", expected);
	} else if (parse_integer(parser, place, value, 0, NUMBER_MAX, expected, &pages) < 0) {
		return -1;
	}
	out->keep_free_pages = (uint64_t)pages;
	out->keep_free_percent = (unsigned)percent;
	return 0;
}

static const struct {
	const char *key;
	enum setting_bit bit;
	value_parser *parse;
} table[] = {
    {"min_text", SETTING_MIN_TEXT, parse_min_text},
    {"max_text", SETTING_MAX_TEXT, parse_max_text},
    {"backing", SETTING_BACKING, parse_backing},
    {"page_size", SETTING_PAGE_SIZE, parse_page_size},
    {"libraries", SETTING_LIBRARIES, parse_libraries},
    {"rebase", SETTING_REBASE, parse_rebase},
    {"round_out", SETTING_ROUND_OUT, parse_round_out},
    {"coverage", SETTING_COVERAGE, parse_coverage},
    {"rodata", SETTING_RODATA, parse_rodata},
    {"follow", SETTING_FOLLOW, parse_follow},
    {"wrappers", SETTING_WRAPPERS, parse_wrappers},
    {"follow_timeout", SETTING_FOLLOW_TIMEOUT, parse_follow_timeout},
    {"keep_free", SETTING_KEEP_FREE, parse_keep_free},
    {"file_timeout", SETTING_FILE_TIMEOUT, parse_file_timeout},
    {"hold_timeout", SETTING_HOLD_TIMEOUT, parse_hold_timeout},
    {"perf_map", SETTING_PERF_MAP, parse_perf_map},
    {"on_error", SETTING_ON_ERROR, parse_on_error},
};

/* The table's keys once more, for "did you mean": "name", "match" and "action" go before them in a rule. */
const char *const rule_keys[] = {
    "name",           "match",     "action",       "min_text",     "max_text", "backing",  "page_size",
    "libraries",      "rebase",    "round_out",    "coverage",     "rodata",   "follow",   "wrappers",
    "follow_timeout", "keep_free", "file_timeout", "hold_timeout", "perf_map", "on_error", NULL};
const char *const setting_keys[] = {"min_text", "max_text",       "backing",   "page_size",    "libraries",
                                    "rebase",   "round_out",      "coverage",  "rodata",       "follow",
                                    "wrappers", "follow_timeout", "keep_free", "file_timeout", "hold_timeout",
                                    "perf_map", "on_error",       NULL};

int parse_setting(const struct parser *parser, const struct json_place *place, json_object *value,
                  struct setting_set *set)
{
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (strcmp(table[i].key, place->key) != 0)
			continue;
		if (table[i].parse(parser, place, value, &set->values) < 0)
			return -1;
		set->given |= table[i].bit;
		return 0;
	}
	return SETTING_UNKNOWN;
}
