/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

int ctl_wrong_usage(const char *self, const char *format, ...)
{
	char message[1024], shown[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	fprintf(stderr, "%s: %s\n", self, text_printable(message, shown, sizeof shown));
	fprintf(stderr, "Try '%s --help'.\n", self);
	return CTL_USAGE;
}

int ctl_option(int argc, char **argv, const char *shorts, const struct option *longs)
{
	char message[USAGE_BYTES];
	int option = usage_option(argc, argv, shorts, longs, message);
	if (option == '?')
		ctl_wrong_usage(argv[0], "%s", message);
	return option;
}
