/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-bundle-reader - sandboxed parser of a container's config.json.
 *
 * Started by bundle_ask.c for hugexec-oci-hook and hugexec-runtime. It locks itself up (sandbox/sandbox_enter.h),
 * parses (bundle_parse.h), writes one struct bundle_answer and exits.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/size.h"
#include "bundle.h"
#include "bundle_parse.h"
#include "policy/json_strict.h"
#include "sandbox/sandbox_enter.h"

/* strict_parse() wants 100 bytes for each of the text's 8 MiB, and some more for each object in it. */
#define MEMORY_BYTES (1024 * MIB)

/* What libraries do once: json-c asks for a random number to hash names with. */
static void warm_up(void)
{
	static const char text[] = "{\"name\":[\"value\",1.5]}";
	json_object *json;
	size_t offset;
	const char *what;
	if (strict_parse(text, sizeof text - 1, &json, &offset, &what) == 0)
		json_object_put(json);
}

int main(int argc, char **argv)
{
	static struct bundle_answer answer;
	char *text = NULL;
	size_t bytes;
	if (argc < 3 || argv[1][0] == '-') {
		fputs(
		    "hugexec-bundle-reader: the hook starts it, with the file that it is to read; it has no options\n",
		    stderr);
		return 2;
	}
	warm_up();
	sandbox_enter(argv[1], MEMORY_BYTES);
	const char *hook = argc > 3 && strcmp(argv[2], BUNDLE_READER_HOOKS) == 0 ? argv[3] : NULL;
	if (!hook && strcmp(argv[2], BUNDLE_READER_ANNOTATIONS) != 0) {
		reader_misbehave(argv[2]);
		_exit(0);
	}
	if (read_all(READER_FILE_FD, BUNDLE_CONFIG_MAX_BYTES, &text, &bytes) < 0)
		_exit(1);
	bundle_parse(text, bytes, hook, &answer);
	_exit(write_all(READER_ANSWER_FD, &answer, BUNDLE_ANSWER_BYTES(&answer)) == 0 ? 0 : 1);
}
