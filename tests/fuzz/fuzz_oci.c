/*
 * A container's config.json as a runtime writes it, or a stranger: the hook is added once, what was there is still
 * there, and the result is JSON that the same parser takes. And the command line of an OCI runtime.
 */
#include <json-c/json.h>

#include "fuzzing.h"
#include "inject.h"
#include "policy/strict.h"
#include "runtime_call.h"

#define HOOK      "/usr/libexec/hugexec/hugexec-oci-hook"
#define WORDS_MAX 16

static void check_result(json_object *config)
{
	size_t offset;
	const char *what = NULL;
	json_object *again = NULL;
	const char *text =
	    json_object_to_json_string_ext(config, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	MUST(text && strict_parse(text, strlen(text), &again, &offset, &what) == 0);
	struct error err = {0};
	MUST(inject_add_hook(again, HOOK, &err) == 0);
	json_object_put(again);
}

static void check_config(const char *text, size_t bytes, const struct policy *policy)
{
	json_object *config = NULL;
	size_t offset;
	const char *what = NULL;
	struct error err = {0};
	if (strict_parse(text, bytes, &config, &offset, &what) < 0) {
		MUST(offset <= bytes);
		return;
	}
	inject_is_wanted(config, policy, &err);
	int members = json_object_is_type(config, json_type_object) ? json_object_object_length(config) : 0;
	int result = inject_add_hook(config, HOOK, &err);
	if (result < 0) {
		MUST(error_is_set(&err));
	} else {
		MUST(json_object_object_length(config) - members <= 1);
		check_result(config);
	}
	json_object_put(config);
}

static void check_command_line(char *text)
{
	char program[] = "hugexec-runtime";
	char *argv[WORDS_MAX + 1] = {program};
	int argc = 1;
	for (char *save, *word = strtok_r(text, " \n", &save); word && argc < WORDS_MAX;
	     word = strtok_r(NULL, " \n", &save))
		argv[argc++] = word;
	int before = argc;
	struct runtime_call call;
	runtime_call_parse(&argc, argv, &call);
	MUST(argc >= 1 && argc <= before && argv[argc] == NULL);
	MUST(!call.creates || (call.bundle && call.config));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char rules[] = "{\"version\":1,\"rules\":[{\"match\":{\"annotation\":{\"a\":\"b*\"}}}]}";
	struct policy *policy = NULL;
	MUST(policy_parse(rules, sizeof rules - 1, "fuzz.json", &policy, NULL) == 0);
	char *text = malloc(size + 1);
	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	check_config(text, size, policy);
	check_command_line(text);
	free(text);
	policy_free(policy);
	return 0;
}
