/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-launch [--argv0=NAME] -- PATH ARG... - what ExecStart= of an enabled unit runs: it becomes hugexec, with the
 * same words, or PATH itself if hugexec is gone or cannot be executed.
 *
 * A service whose drop-in was made before hugexec was removed, replaced by something broken or made inaccessible so
 * still starts. It is small, needs the C library alone and knows no option but those that hugexec-generator writes.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

int main(int argc, char **argv)
{
	static const char name[] = "--argv0=";
	char *called = NULL;
	int at = 1;
	if (argc < 2)
		return 125;
	argv[0] = (char *)(unsigned long)HUGEXEC_BINDIR "/hugexec";
	execv(HUGEXEC_BINDIR "/hugexec", argv);
	if (strncmp(argv[at], name, sizeof name - 1) == 0)
		called = argv[at++] + sizeof name - 1;
	if (at < argc && strcmp(argv[at], "--") == 0)
		at++;
	if (at >= argc)
		return 125;
	const char *path = argv[at];
	argv[at] = called ? called : argv[at];
	execvp(path, argv + at);
	return errno == ENOENT ? 127 : 126;
}
