/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void set_word_and_detail(struct error *err, const char *word,
                                                                      const char *format, va_list args)
{
	snprintf(err->word, sizeof err->word, "%s", word);
	vsnprintf(err->detail, sizeof err->detail, format, args);
}

int error_set(struct error *err, const char *word, const char *format, ...)
{
	if (!err)
		return -1;
	va_list args;
	va_start(args, format);
	set_word_and_detail(err, word, format, args);
	va_end(args);
	return -1;
}

int error_set_errno(struct error *err, int errnum, const char *word, const char *format, ...)
{
	if (!err)
		return -1;
	va_list args;
	va_start(args, format);
	set_word_and_detail(err, word, format, args);
	va_end(args);
	size_t used = strlen(err->detail);
	snprintf(err->detail + used, sizeof err->detail - used, ": %s", strerror(errnum));
	return -1;
}

const char *error_text(const struct error *err, char *buf, size_t buf_bytes)
{
	if (err->detail[0])
		snprintf(buf, buf_bytes, "%s: %s", err->word, err->detail);
	else
		snprintf(buf, buf_bytes, "%s", err->word);
	return buf;
}
