/* SPDX-License-Identifier: Apache-2.0 */
/* proc.h - what /proc says of a process: its parent, and where its heap ends. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pid_t parent_of(pid_t pid)
{
	char path[64], text[4096];
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	char *line = strstr(text, "\nPPid:\t");
	return line ? atoi(line + 7) : 0;
}

/* What brk(2), which has no error, returns when it refuses: where the heap of PID ends. */
static int64_t heap_end(pid_t pid)
{
	char path[64], line[512];
	unsigned long long end = 0, start_brk = 0;
	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof line, maps)) {
		if (strstr(line, "[heap]"))
			sscanf(line, "%*x-%llx", &end); // NOLINT(cert-err34-c)
	}
	if (maps)
		fclose(maps);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *stat = end ? NULL : fopen(path, "re");
	const char *fields = stat && fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
	for (int field = 2; fields && field < 47; field++)
		fields = strchr(fields + 1, ' ');
	if (fields)
		start_brk = strtoull(fields, NULL, 10);
	if (stat)
		fclose(stat);
	return (int64_t)(end ? end : start_brk);
}
