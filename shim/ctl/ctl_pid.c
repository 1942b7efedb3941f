/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"

pid_t ctl_pid(const char *word)
{
	errno = 0;
	long pid = strtol(word, NULL, 10);
	bool is_number = *word && word[strspn(word, "0123456789")] == '\0';
	return is_number && errno == 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}
