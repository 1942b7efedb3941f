/* SPDX-License-Identifier: Apache-2.0 */
#include "hook_path.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#define HOOK "hugexec-oci-hook"

const char *hook_path(char *buf, size_t buf_bytes)
{
	ssize_t got = readlink("/proc/self/exe", buf, buf_bytes - sizeof HOOK);
	buf[got > 0 ? got : 0] = '\0';
	char *slash = strrchr(buf, '/');
	if (slash) {
		strcpy(slash + 1, HOOK);
		if (access(buf, X_OK) == 0)
			return buf;
	}
	snprintf(buf, buf_bytes, "%s", HUGEXEC_LIBEXECDIR "/" HOOK);
	return buf;
}
