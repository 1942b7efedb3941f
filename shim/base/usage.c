/* SPDX-License-Identifier: Apache-2.0 */
#include "base/usage.h"

#include <stdio.h>

#define LONG        (1 << 16) /* beside every letter: optopt tells what was wrong by the option's value only */
#define LONGS_MAX   24
#define SHORTS_MAX  16
#define SHOWN_BYTES "200"

static void say_what(int verdict, char *const *argv, char message[USAGE_BYTES])
{
	const char *word = argv[optind - 1];
	if (optopt == 0)
		snprintf(message, USAGE_BYTES, "unknown option '%." SHOWN_BYTES "s'", word);
	else if (optopt >= LONG)
		snprintf(message, USAGE_BYTES, "option '%." SHOWN_BYTES "s' %s", word,
		         verdict == ':' ? "lacks its value" : "takes no value");
	else if (verdict == ':')
		snprintf(message, USAGE_BYTES, "option '-%c' lacks its value", optopt);
	else
		snprintf(message, USAGE_BYTES, "unknown option '-%c'", optopt);
}

int usage_option(int argc, char **argv, const char *shorts, const struct option *longs, char message[USAGE_BYTES])
{
	struct option told_apart[LONGS_MAX] = {{NULL, 0, NULL, 0}};
	char with_colon[SHORTS_MAX];
	/* "+" and "-" stay in front (getopt(3)). */
	int ordering = *shorts == '+' || *shorts == '-';
	snprintf(with_colon, sizeof with_colon, "%.*s:%s", ordering, shorts, shorts + ordering);
	for (int i = 0; i < LONGS_MAX - 1 && longs[i].name; i++) {
		told_apart[i] = longs[i];
		told_apart[i].val += LONG;
	}
	opterr = 0;
	int option = getopt_long(argc, argv, with_colon, told_apart, NULL);
	if (option == '?' || option == ':') {
		say_what(option, argv, message);
		return '?';
	}
	return option >= LONG ? option - LONG : option;
}
