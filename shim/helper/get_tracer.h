/* SPDX-License-Identifier: Apache-2.0 */
/*
 * get_tracer.h - which tracer a launch gets: one of its own, or hugexecd's.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "launch/launch.h"

/*
 * Have the calling process traced from its next exec on: by a tracer of its own, or if that cannot be by hugexecd.
 * If a seccomp filter is in force hugexecd is asked first: a filter that kills whoever calls ptrace would kill only
 * the tracer, but leave a line in the audit log and perhaps a core file.
 * If a wrapper cannot be followed by a tracer of our own, nor by hugexecd, a script still gets one for its
 * interpreter alone (job.no_follow). Returns 0; or -1 with ERR and nothing left behind: what kept the own tracer
 * from working, and in the detail what kept hugexecd; word "unprivileged-wrapper" or "no-reaper" for a wrapper; or word
 * "followed-already", if another hugexec traces us and sees to COMMAND.
 */
int get_tracer(struct launch *launch, struct error *err);

/* Whether ERR, of get_tracer(), says that nothing was to be done, rather than that it has failed. */
bool get_tracer_is_skipped(const struct error *err);
