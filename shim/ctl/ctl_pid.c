/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/proc.h"
#include "ctl/ctl.h"
#include "host/host.h"

pid_t ctl_pid(const char *word)
{
	errno = 0;
	long pid = strtol(word, NULL, 10);
	bool is_number = *word && word[strspn(word, "0123456789")] == '\0';
	return is_number && errno == 0 && pid <= INT_MAX ? (pid_t)pid : 0;
}

void ctl_no_process(pid_t pid)
{
	fprintf(stderr, "hugexecctl: " NO_PROCESS "\n", (int)pid);
}

int ctl_no_pid(const char *self, const char *word)
{
	return ctl_wrong_usage(self, "'%s' is no PID", word);
}

int ctl_unit_is_idle(const char *unit)
{
	fprintf(stderr, "hugexecctl: %s has no process: systemctl status %s\n", unit, unit);
	return CTL_NO;
}

size_t ctl_pids_of_unit(const char *unit, pid_t *pids, size_t most)
{
	size_t count = 0;
	cleanup_closedir DIR *proc = opendir("/proc");
	for (struct dirent *entry; proc && count < most && (entry = readdir(proc)) != NULL;) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid_t pid = (pid_t)atoi(entry->d_name);
		cleanup_free char *of = host_unit_of(pid);
		if (of && strcmp(of, unit) == 0)
			pids[count++] = pid;
	}
	return count;
}
