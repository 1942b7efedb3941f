/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One policy file's text to rules. The shape is that of config/policy.schema.json; a test holds the two together.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/json_strict.h"
#include "policy/parse.h"

#define RULES_MAX 10000

static int parse_action(const struct parser *parser, const struct json_place *place, json_object *value,
                        enum action *out)
{
	static const char *const words[] = {"skip", "remap", "observe", NULL};
	static const enum action actions[] = {ACTION_SKIP, ACTION_REMAP, ACTION_OBSERVE};
	int word;
	if (parse_word(parser, place, value, words, &word) < 0)
		return -1;
	*out = actions[word];
	return 0;
}

static int parse_rule(const struct parser *parser, const struct json_place *place, json_object *value,
                      struct rule *rule)
{
	*rule = (struct rule){.action = ACTION_REMAP, .file = parser->name};
	bool has_match = false, is_wrong = false;
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
		is_wrong |= result < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
	}
	if (!has_match)
		return complain(parser, place, JSON_AT_VALUE, "a rule needs \"match\"; {} matches every program");
	if (rule->match.has_share && !rule->name) {
		rule->match.has_share = false;
		return complain(parser, place, JSON_AT_VALUE,
		                "a rule with \"share\" needs a \"name\", by which its hosts are chosen");
	}
	return is_wrong ? -1 : 0;
}

/* Let RULE, which has a MISTAKE, match by what of it is understood, and do nothing. */
static int leave_out(const struct parser *parser, const struct error *mistake, struct rule *rule)
{
	static const char unsaid[] = ": hugexecctl check tells what this version does not understand";
	if (mistake->code == REASON_POLICY_UNREADABLE) /* out of memory */
		return error_set(parser->err, mistake->code, "%s", mistake->detail);
	size_t bytes = (mistake->detail[0] ? strlen(mistake->detail) : strlen(parser->name) + strlen(unsaid)) + 1;
	char *text = policy_alloc(parser->policy, bytes);
	if (!text)
		return complain_memory(parser);
	if (mistake->detail[0])
		strcpy(text, mistake->detail);
	else
		strcpy(stpcpy(text, parser->name), unsaid);
	rule->mistake = text;
	rule->action = ACTION_NOT_UNDERSTOOD;
	rule->settings.given = 0;
	return 0;
}

/* As parse_rule(), if rules that are not understood are left out. MISTAKES: how many of this file's were before. */
static int parse_rule_or_leave_out(const struct parser *parser, const struct json_place *place, json_object *value,
                                   unsigned *mistakes, struct rule *rule)
{
	unsigned found = 0;
	struct error mistake = {0};
	struct parser apart = {.policy = parser->policy,
	                       .name = parser->name,
	                       .text = parser->text,
	                       .bytes = parser->bytes,
	                       .err = &mistake,
	                       .mistakes = &found,
	                       .leaves_out = true,
	                       .is_silent = *mistakes >= MISTAKES_MAX};
	if (parse_rule(&apart, place, value, rule) == 0)
		return 0;
	(*mistakes)++;
	return leave_out(parser, &mistake, rule);
}

static int parse_rules(const struct parser *parser, const struct json_place *place, json_object *value)
{
	struct policy *policy = parser->policy;
	if (!json_object_is_type(value, json_type_array))
		return complain(parser, place, JSON_AT_VALUE, "expected a list of rules");
	size_t count = json_object_array_length(value);
	if (policy->rule_count + count > RULES_MAX)
		return complain(parser, place, JSON_AT_VALUE, "a policy has at most %d rules, in all its files",
		                RULES_MAX);
	struct rule *larger = realloc(policy->rules, (policy->rule_count + count + 1) * sizeof larger[0]);
	if (!larger)
		return complain_memory(parser);
	policy->rules = larger;
	bool is_wrong = false, leaves_out = parser->told && parser->told->leave_out;
	unsigned left_out = 0;
	for (size_t i = 0; i < count; i++) {
		struct json_place at = {place, NULL, i};
		struct rule *rule = &policy->rules[policy->rule_count];
		json_object *entry = json_object_array_get_idx(value, i);
		is_wrong |= (leaves_out ? parse_rule_or_leave_out(parser, &at, entry, &left_out, rule)
		                        : parse_rule(parser, &at, entry, rule)) < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
		policy->rule_count++;
	}
	return is_wrong ? -1 : 0;
}

static int parse_version(const struct parser *parser, const struct json_place *place, json_object *value)
{
	int64_t version;
	return parse_integer(parser, place, value, 1, 1, "1, the only version there is", &version);
}

static int parse_settings(const struct parser *parser, const struct json_place *place, json_object *value)
{
	if (!json_object_is_type(value, json_type_object))
		return complain(parser, place, JSON_AT_VALUE, "expected an object of settings");
	bool is_wrong = false;
	json_object_object_foreach(value, key, setting)
	{
		struct json_place at = {place, key, 0};
		int result = parse_setting(parser, &at, setting, &parser->policy->settings);
		if (result == SETTING_UNKNOWN)
			result = complain_unknown_key(parser, &at, setting_keys);
		is_wrong |= result < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
	}
	return is_wrong ? -1 : 0;
}

static int parse_document(const struct parser *parser, json_object *root)
{
	static const char *const keys[] = {"version", "default", "settings", "rules", "$schema", NULL};
	bool has_version = false, is_wrong = false;
	if (!json_object_is_type(root, json_type_object))
		return complain(parser, NULL, JSON_AT_VALUE,
		                "expected an object: { \"version\": 1, \"rules\": [...] }");
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
		is_wrong |= result < 0;
		if (is_wrong && !parser_goes_on(parser))
			return -1;
	}
	if (!has_version)
		return complain(parser, NULL, JSON_AT_VALUE, "\"version\": 1 is missing");
	return is_wrong ? -1 : 0;
}

/* What a file says of on_error, whatever else is wrong with it. */
static void peek_on_error(json_object *root, enum on_error *said)
{
	json_object *settings, *on_error;
	if (!said || !json_object_is_type(root, json_type_object) ||
	    !json_object_object_get_ex(root, "settings", &settings) ||
	    !json_object_is_type(settings, json_type_object) ||
	    !json_object_object_get_ex(settings, "on_error", &on_error) ||
	    !json_object_is_type(on_error, json_type_string))
		return;
	if (strcmp(json_object_get_string(on_error), "fail") == 0)
		*said = ON_ERROR_FAIL;
	else if (strcmp(json_object_get_string(on_error), "continue") == 0)
		*said = ON_ERROR_CONTINUE;
}

/* The tree belongs to the policy, whose strings point into it. */
static int keep_root(const struct parser *parser, json_object *root)
{
	struct policy *policy = parser->policy;
	json_object **larger = realloc(policy->roots, (policy->root_count + 1) * sizeof larger[0]);
	if (!larger) {
		json_object_put(root);
		return complain_memory(parser);
	}
	policy->roots = larger;
	policy->roots[policy->root_count++] = root;
	return 0;
}

/* What the tree does not show any more: json-c kept the last one. */
static int complain_keys_twice(const struct parser *parser)
{
	size_t at = 0;
	while ((at = json_find_duplicate_key(parser->text, parser->bytes, at)) != SIZE_MAX) {
		complain_at(parser, at++, KEY_TWICE);
		if (!parser_goes_on(parser))
			break;
	}
	return -1;
}

int policy_add_text(struct policy *policy, const char *text, size_t text_bytes, const char *name,
                    const struct policy_sources *told, enum on_error *said, struct error *err)
{
	unsigned mistakes = 0;
	struct parser parser = {.policy = policy,
	                        .name = name,
	                        .text = text,
	                        .bytes = text_bytes,
	                        .err = err,
	                        .mistakes = &mistakes,
	                        .told = told};
	size_t offset = strlen(text);
	const char *mistake;
	json_object *root;
	bool has_twice;
	char *kept_name = policy_alloc(policy, strlen(name) + 1);
	if (!kept_name)
		return complain_memory(&parser);
	parser.name = strcpy(kept_name, name);
	if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
		return complain_at(&parser, 0, "a byte order mark: remove the file's first three bytes");
	if (offset < text_bytes)
		return complain_at(&parser, offset, "a NUL byte");
	if (strict_parse_keys_apart(text, text_bytes, &root, &has_twice, &offset, &mistake) < 0)
		return mistake ? complain_at(&parser, offset, mistake) : complain_memory(&parser);
	if (keep_root(&parser, root) < 0)
		return -1;
	peek_on_error(root, said);
	int result = has_twice ? complain_keys_twice(&parser) : 0;
	if (result == 0 || parser_goes_on(&parser))
		result |= parse_document(&parser, root);
	return result;
}
