/*
 * One policy file's text to rules. The shape is that of config/policy.schema.json; a test holds the two together.
 *
 * Every function here gets a value and its place in the document, and either stores what it says or complains with
 * complain(), which looks up line and column: only a wrong file pays for positions.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "policy/internal.h"
#include "policy/locate.h"
#include "policy/parse.h"

#define DEPTH_MAX 32
#define RULES_MAX 10000
#define LIST_MAX 1024
#define GLOB_STARS_MAX 4

int complain(const struct parser *parser, const struct json_place *place, enum json_point point, const char *format, ...)
{
	char message[256];
	unsigned line, column;
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	size_t offset = json_locate(parser->text, parser->bytes, place, point);
	json_line_column(parser->text, parser->bytes, offset, &line, &column);
	return error_set(parser->err, "policy-invalid", "%s:%u:%u: %s", parser->name, line, column, message);
}

/* How many single-character edits apart two words are, as far as it matters here (both short). */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t a_len = strlen(a), b_len = strlen(b);
	if (b_len >= 31 || a_len >= 31)
		return 99;
	for (unsigned j = 0; j <= b_len; j++)
		row[j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];
		row[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
			unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			diagonal = row[j];
			row[j] = replaced < least ? replaced : least;
		}
	}
	return row[b_len];
}

int complain_unknown_key(const struct parser *parser, const struct json_place *place, const char *const *known)
{
	const char *best = NULL;
	unsigned best_distance = 3;
	for (size_t i = 0; known[i]; i++) {
		unsigned distance = edit_distance(place->key, known[i]);
		if (distance < best_distance) {
			best_distance = distance;
			best = known[i];
		}
	}
	if (best)
		return complain(parser, place, JSON_AT_KEY, "unknown key \"%.64s\", did you mean \"%s\"?", place->key, best);
	return complain(parser, place, JSON_AT_KEY, "unknown key \"%.64s\"", place->key);
}

int parse_string(const struct parser *parser, const struct json_place *place, json_object *value, const char **out)
{
	if (!json_object_is_type(value, json_type_string))
		return complain(parser, place, JSON_AT_VALUE, "expected a string");
	const char *text = json_object_get_string(value);
	if (strlen(text) != (size_t)json_object_get_string_len(value))
		return complain(parser, place, JSON_AT_VALUE, "a string must not contain \\u0000");
	*out = text;
	return 0;
}

int parse_bool(const struct parser *parser, const struct json_place *place, json_object *value, bool *out)
{
	if (!json_object_is_type(value, json_type_boolean))
		return complain(parser, place, JSON_AT_VALUE, "expected true or false");
	*out = json_object_get_boolean(value);
	return 0;
}

int parse_word(const struct parser *parser, const struct json_place *place, json_object *value,
               const char *const *words, int *out)
{
	const char *text;
	char list[128] = "";
	for (int i = 0; words[i]; i++)
		snprintf(list + strlen(list), sizeof list - strlen(list), "%s\"%s\"", i ? ", " : "", words[i]);
	if (!json_object_is_type(value, json_type_string))
		return complain(parser, place, JSON_AT_VALUE, "expected one of %s", list);
	if (parse_string(parser, place, value, &text) < 0)
		return -1;
	for (int i = 0; words[i]; i++) {
		if (strcmp(text, words[i]) == 0) {
			*out = i;
			return 0;
		}
	}
	return complain(parser, place, JSON_AT_VALUE, "\"%.64s\" is not one of %s", text, list);
}

/* A glob that cannot make matching slow: bounded in length and in the number of its "**". */
static int check_glob(const struct parser *parser, const struct json_place *place, const char *text)
{
	int stars = 0;
	if (!*text)
		return complain(parser, place, JSON_AT_VALUE, "an empty pattern matches nothing");
	if (strlen(text) > GLOB_LENGTH_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a pattern has at most %d characters", GLOB_LENGTH_MAX);
	for (const char *p = text; (p = strstr(p, "**")) != NULL; p += 2)
		stars++;
	if (stars > GLOB_STARS_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a pattern has at most %d \"**\"", GLOB_STARS_MAX);
	return 0;
}

int parse_globs(const struct parser *parser, const struct json_place *place, json_object *value, const char ***out)
{
	bool is_list = json_object_is_type(value, json_type_array);
	if (!is_list && !json_object_is_type(value, json_type_string))
		return complain(parser, place, JSON_AT_VALUE, "expected a string or a list of strings");
	size_t count = is_list ? json_object_array_length(value) : 1;
	if (count == 0)
		return complain(parser, place, JSON_AT_VALUE, "an empty list matches nothing; leave the key out to match all");
	if (count > LIST_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a list has at most %d entries", LIST_MAX);
	const char **list = policy_keep(parser->policy, calloc(count + 1, sizeof list[0]));
	if (!list)
		return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
	for (size_t i = 0; i < count; i++) {
		struct json_place entry_place = {place, NULL, i};
		const struct json_place *at = is_list ? &entry_place : place;
		json_object *entry = is_list ? json_object_array_get_idx(value, i) : value;
		if (parse_string(parser, at, entry, &list[i]) < 0 || check_glob(parser, at, list[i]) < 0)
			return -1;
	}
	*out = list;
	return 0;
}

static int parse_build_ids(const struct parser *parser, const struct json_place *place, json_object *value,
                           const char ***out)
{
	if (parse_globs(parser, place, value, out) < 0)
		return -1;
	for (size_t i = 0; (*out)[i]; i++) {
		const char *given = (*out)[i];
		if (strlen(given) < 4 || given[strspn(given, "0123456789abcdefABCDEF")] != '\0')
			return complain(parser, place, JSON_AT_VALUE, "a build id is at least 4 hexadecimal digits");
		char *lower = policy_keep(parser->policy, strdup(given));
		if (!lower)
			return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
		for (char *p = lower; *p; p++)
			*p = (char)tolower((unsigned char)*p);
		(*out)[i] = lower;
	}
	return 0;
}

/* A user is a name, or a uid as number or digits. */
static int parse_users(const struct parser *parser, const struct json_place *place, json_object *value,
                       const char ***out)
{
	if (!json_object_is_type(value, json_type_int))
		return parse_globs(parser, place, value, out);
	int64_t uid = json_object_get_int64(value);
	if (uid < 0 || uid >= UINT32_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a uid is between 0 and 4294967294");
	const char **list = policy_keep(parser->policy, calloc(2, sizeof list[0]));
	char *text = NULL;
	if (!list || asprintf(&text, "%lld", (long long)uid) < 0)
		return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
	list[0] = policy_keep(parser->policy, text);
	*out = list;
	return 0;
}

static int parse_annotations(const struct parser *parser, const struct json_place *place, json_object *value,
                             struct match *match)
{
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected an object of annotation names and patterns");
	size_t count = (size_t)json_object_object_length(value);
	match->annotations = policy_keep(parser->policy, calloc(count + 1, sizeof match->annotations[0]));
	if (!match->annotations)
		return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
	json_object_object_foreach(value, name, pattern)
	{
		struct json_place at = {place, name, 0};
		struct annotation_match *annotation = &match->annotations[match->annotation_count++];
		annotation->name = name;
		if (parse_globs(parser, &at, pattern, &annotation->globs) < 0)
			return -1;
	}
	return 0;
}

static int parse_via(const struct parser *parser, const struct json_place *place, json_object *value, unsigned *out)
{
	static const char *const words[] = {"shim", "hook", "attach", NULL};
	bool is_list = json_object_is_type(value, json_type_array);
	size_t count = is_list ? json_object_array_length(value) : 1;
	if (count == 0)
		return complain(parser, place, JSON_AT_VALUE, "an empty list matches nothing; leave the key out to match all");
	for (size_t i = 0; i < count; i++) {
		struct json_place entry_place = {place, NULL, i};
		int word;
		if (parse_word(parser, is_list ? &entry_place : place, is_list ? json_object_array_get_idx(value, i) : value,
		               words, &word) < 0)
			return -1;
		*out |= 1U << word;
	}
	return 0;
}

static int parse_match(const struct parser *parser, const struct json_place *place, json_object *value,
                       struct match *match)
{
	static const char *const keys[] = {"exe",    "build_id",   "user", "unit",
	                                   "cgroup", "annotation", "via",  NULL};
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected an object; {} matches every program");
	json_object_object_foreach(value, key, wanted)
	{
		struct json_place at = {place, key, 0};
		int result;
		if (strcmp(key, "exe") == 0)
			result = parse_globs(parser, &at, wanted, &match->exe);
		else if (strcmp(key, "build_id") == 0)
			result = parse_build_ids(parser, &at, wanted, &match->build_id);
		else if (strcmp(key, "user") == 0)
			result = parse_users(parser, &at, wanted, &match->user);
		else if (strcmp(key, "unit") == 0)
			result = parse_globs(parser, &at, wanted, &match->unit);
		else if (strcmp(key, "cgroup") == 0)
			result = parse_globs(parser, &at, wanted, &match->cgroup);
		else if (strcmp(key, "annotation") == 0)
			result = parse_annotations(parser, &at, wanted, match);
		else if (strcmp(key, "via") == 0)
			result = parse_via(parser, &at, wanted, &match->via);
		else
			result = complain_unknown_key(parser, &at, keys);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int parse_action(const struct parser *parser, const struct json_place *place, json_object *value,
                        enum action *out)
{
	static const char *const words[] = {"skip", "remap", NULL};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	*out = word == 0 ? ACTION_SKIP : ACTION_REMAP;
	return 0;
}

static int parse_rule(const struct parser *parser, const struct json_place *place, json_object *value,
                      struct rule *rule)
{
	*rule = (struct rule){.action = ACTION_REMAP, .file = parser->name};
	bool has_match = false;
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected a rule: an object with \"match\"");
	json_object_object_foreach(value, key, member)
	{
		struct json_place at = {place, key, 0};
		int result;
		if (strcmp(key, "name") == 0) {
			result = parse_string(parser, &at, member, &rule->name);
		} else if (strcmp(key, "match") == 0) {
			has_match = true;
			result = parse_match(parser, &at, member, &rule->match);
		} else if (strcmp(key, "action") == 0) {
			result = parse_action(parser, &at, member, &rule->action);
		} else {
			result = parse_setting(parser, &at, member, &rule->settings);
			if (result == SETTING_UNKNOWN)
				result = complain_unknown_key(parser, &at, rule_keys);
		}
		if (result < 0)
			return -1;
	}
	if (!has_match)
		return complain(parser, place, JSON_AT_VALUE, "a rule needs \"match\"; {} matches every program");
	return 0;
}

static int parse_rules(const struct parser *parser, const struct json_place *place, json_object *value)
{
	struct policy *policy = parser->policy;
	if (!json_object_is_type(value, json_type_array))
		return complain(parser, place, JSON_AT_VALUE, "expected a list of rules");
	size_t count = json_object_array_length(value);
	if (policy->rule_count + count > RULES_MAX)
		return complain(parser, place, JSON_AT_VALUE, "more than %d rules", RULES_MAX);
	struct rule *larger = realloc(policy->rules, (policy->rule_count + count + 1) * sizeof larger[0]);
	if (!larger)
		return error_set(parser->err, "policy-unreadable", "%s: out of memory", parser->name);
	policy->rules = larger;
	for (size_t i = 0; i < count; i++) {
		struct json_place at = {place, NULL, i};
		if (parse_rule(parser, &at, json_object_array_get_idx(value, i), &policy->rules[policy->rule_count]) < 0)
			return -1;
		policy->rule_count++;
	}
	return 0;
}

static int parse_version(const struct parser *parser, const struct json_place *place, json_object *value)
{
	if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) != 1)
		return complain(parser, place, JSON_AT_VALUE, "expected 1, the only version there is");
	return 0;
}

static int parse_settings(const struct parser *parser, const struct json_place *place, json_object *value)
{
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected an object of settings");
	json_object_object_foreach(value, key, setting)
	{
		struct json_place at = {place, key, 0};
		int result = parse_setting(parser, &at, setting, &parser->policy->settings);
		if (result == SETTING_UNKNOWN)
			result = complain_unknown_key(parser, &at, setting_keys);
		if (result < 0)
			return -1;
	}
	return 0;
}

static int parse_document(const struct parser *parser, json_object *root)
{
	static const char *const keys[] = {"version", "default", "settings", "rules", "$schema", NULL};
	bool has_version = false;
	if (!json_object_is_type(root, json_type_object))
		return complain(parser, NULL, JSON_AT_VALUE, "expected an object: { \"version\": 1, ... }");
	json_object_object_foreach(root, key, value)
	{
		struct json_place at = {NULL, key, 0};
		const char *ignored;
		int result;
		if (strcmp(key, "version") == 0) {
			has_version = true;
			result = parse_version(parser, &at, value);
		} else if (strcmp(key, "default") == 0) {
			result = parse_action(parser, &at, value, &parser->policy->default_action);
		} else if (strcmp(key, "settings") == 0) {
			result = parse_settings(parser, &at, value);
		} else if (strcmp(key, "rules") == 0) {
			result = parse_rules(parser, &at, value);
		} else if (strcmp(key, "$schema") == 0) {
			result = parse_string(parser, &at, value, &ignored);
		} else {
			result = complain_unknown_key(parser, &at, keys);
		}
		if (result < 0)
			return -1;
	}
	if (!has_version)
		return complain(parser, NULL, JSON_AT_VALUE, "\"version\": 1 is missing");
	return 0;
}

static int complain_at(const struct parser *parser, size_t offset, const char *message)
{
	unsigned line, column;
	json_line_column(parser->text, parser->bytes, offset, &line, &column);
	return error_set(parser->err, "policy-invalid", "%s:%u:%u: %s", parser->name, line, column, message);
}

/* Text to a json-c tree; NULL with an error. JSON_TOKENER_STRICT refuses comments, single quotes and trailing commas. */
static json_object *parse_json(const struct parser *parser)
{
	json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	json_object *root = json_tokener_parse_ex(tokener, parser->text, (int)parser->bytes);
	enum json_tokener_error problem = json_tokener_get_error(tokener);
	size_t end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	if (problem == json_tokener_continue)
		complain_at(parser, parser->bytes, "the JSON ends too early");
	else if (problem != json_tokener_success)
		complain_at(parser, end, json_tokener_error_desc(problem));
	else if (parser->text[end + strspn(parser->text + end, " \t\r\n")] != '\0')
		complain_at(parser, end + strspn(parser->text + end, " \t\r\n"), "something follows the end of the JSON");
	else
		return root;
	json_object_put(root);
	return NULL;
}

/* What a file says of on_error, whatever else is wrong with it. */
static void peek_on_error(json_object *root, enum on_error *said)
{
	json_object *settings, *on_error;
	if (said && json_object_object_get_ex(root, "settings", &settings) &&
	    json_object_is_type(settings, json_type_object) && json_object_object_get_ex(settings, "on_error", &on_error) &&
	    json_object_is_type(on_error, json_type_string))
		*said = strcmp(json_object_get_string(on_error), "fail") == 0 ? ON_ERROR_FAIL : ON_ERROR_CONTINUE;
}

int policy_add_text(struct policy *policy, const char *text, size_t text_bytes, const char *name,
                    enum on_error *said, struct error *err)
{
	const char *kept_name = policy_keep(policy, strdup(name));
	struct parser parser = {policy, kept_name ? kept_name : "policy", text, text_bytes, err};
	if (memchr(text, '\0', text_bytes))
		return complain_at(&parser, (size_t)((const char *)memchr(text, '\0', text_bytes) - text), "a NUL byte");
	json_object *root = parse_json(&parser);
	if (!root) {
		if (err && !error_is_set(err))
			error_set(err, "policy-unreadable", "%s: out of memory", name);
		return -1;
	}
	json_object **larger = realloc(policy->roots, (policy->root_count + 1) * sizeof larger[0]);
	if (!larger) {
		json_object_put(root);
		return error_set(err, "policy-unreadable", "%s: out of memory", name);
	}
	policy->roots = larger;
	policy->roots[policy->root_count++] = root;
	peek_on_error(root, said);
	size_t duplicate = json_find_duplicate_key(text, text_bytes);
	if (duplicate != SIZE_MAX)
		return complain_at(&parser, duplicate, "this key is there twice");
	return parse_document(&parser, root);
}
