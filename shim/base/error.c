/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void set_reason_and_detail(struct error *err, enum reason reason,
                                                                        const char *format, va_list args)
{
	err->code = reason;
	vsnprintf(err->detail, sizeof err->detail, format, args);
}

int error_set(struct error *err, enum reason reason, const char *format, ...)
{
	if (!err)
		return -1;
	va_list args;
	va_start(args, format);
	set_reason_and_detail(err, reason, format, args);
	va_end(args);
	return -1;
}

int error_set_errno(struct error *err, int errnum, enum reason reason, const char *format, ...)
{
	if (!err)
		return -1;
	va_list args;
	va_start(args, format);
	set_reason_and_detail(err, reason, format, args);
	va_end(args);
	size_t used = strlen(err->detail);
	snprintf(err->detail + used, sizeof err->detail - used, ": %s", strerror(errnum));
	return -1;
}

const char *error_text(const struct error *err, char *buf, size_t buf_bytes)
{
	if (err->detail[0])
		snprintf(buf, buf_bytes, "%s: %s", reason_word(err->code), err->detail);
	else
		snprintf(buf, buf_bytes, "%s", reason_word(err->code));
	return buf;
}
