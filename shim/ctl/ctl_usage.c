/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

int ctl_wrong_usage(const char *self, const char *format, ...)
{
	char message[1024], shown[1024];
	if (format) {
		va_list args;
		va_start(args, format);
		vsnprintf(message, sizeof message, format, args);
		va_end(args);
		fprintf(stderr, "%s: %s\n", self, text_printable(message, shown, sizeof shown));
	}
	fprintf(stderr, "Try '%s --help'.\n", self);
	return CTL_USAGE;
}
