/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#if HUGEXEC_FAULTS

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const steps[] = {
    "tracer-started",   "seized",           "exec-stop",          "exec-finished",   "decided",
    "borrowed",         "memfd-created",    "memfd-fetched",      "aside",           "fd-closed",
    "allocated-inside", "aside-returned",   "allocated",          "filled",          "sealed",
    "populated",        "switching",        "switched",           "returned",        "verified",
    "reported",         "handoff-borrowed", "handoff-entry",      "handoff-set",     "handoff-free",
    "pass-opened",      "pass-received",    "rebase-passed",      "rebase-moved",    "rebase-fixed",
    "widened",          "file-prepared",    "libraries-prepared", "library-stop",    "fill-helper",
    "helper-accepted",  "helper-received",  "helper-seized",      "helper-answered", "hook-seized",
    "attached",         "frozen",           "frozen-call",        "entry-mapped",    "entry-set",
    "map-hinted",       "handoff-stub",     "awaiting",           "awaited",         "shared-prepared",
    "shared-opened",    "shared-mapped",
};

static bool armed(const char *verb, const char *step)
{
	const char *fault = getenv("HUGEXEC_FAULT");
	size_t verb_len = strlen(verb);
	return fault && strncmp(fault, verb, verb_len) == 0 && fault[verb_len] == ':' &&
	       strcmp(fault + verb_len + 1, step) == 0;
}

void fault_point(const char *step)
{
	if (armed("kill", step))
		kill(getpid(), SIGKILL);
	if (armed("stop", step))
		kill(getpid(), SIGSTOP);
	while (armed("hang", step))
		pause();
}

void fault_list(void)
{
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		puts(steps[i]);
}

#endif
