/* SPDX-License-Identifier: Apache-2.0 */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int size_parse(const char *text, uint64_t *out_bytes)
{
	if (!isdigit((unsigned char)text[0]))
		return -1;
	char *end = NULL;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno)
		return -1;
	unsigned shift = 0;
	switch (*end) {
	case '\0': break;
	case 'k':
	case 'K': shift = 10; break;
	case 'm':
	case 'M': shift = 20; break;
	case 'g':
	case 'G': shift = 30; break;
	case 't':
	case 'T': shift = 40; break;
	default: return -1;
	}
	if (shift && end[1] != '\0')
		return -1;
	if (shift && number > (UINT64_MAX >> shift))
		return -1;
	*out_bytes = (uint64_t)number << shift;
	return 0;
}

const char *size_format(uint64_t bytes, char *buf, size_t buf_bytes)
{
	if (bytes >= GIB)
		snprintf(buf, buf_bytes, "%.1f GiB", (double)bytes / (double)GIB);
	else if (bytes >= MIB)
		snprintf(buf, buf_bytes, "%.1f MiB", (double)bytes / (double)MIB);
	else if (bytes >= KIB)
		snprintf(buf, buf_bytes, "%" PRIu64 " KiB", bytes / KIB);
	else
		snprintf(buf, buf_bytes, "%" PRIu64 " B", bytes);
	return buf;
}
