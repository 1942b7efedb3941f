/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library_watch.h - with coverage "full": the tracer stays a while, attached to nobody, for libraries that the program
 * loads when it runs.
 *
 * The kernel brings the whole slots of a prepared library by itself (remap/libraries.h), but not the ends of its text.
 * So the tracer lets the program go as always, and then watches from afar: the kernel tells it when somebody opens the
 * library's file (inotify(7)), and it looks what the program has mapped. When ld.so is through with the library, a
 * child of the tracer does what `hugexecctl attach` does, for this library alone, and the journal is told as it is by
 * that (attach.h). Each library is waited for once.
 *
 * The tracer ends when all have come, when follow_timeout is over, when the program ends or executes another, whichever
 * is first. It holds no file, folder, terminal or signal of the program's. Only one stays that nobody can mistake for a
 * process of the workload's: library_watch_check().
 */
#pragma once

#include "remap/awaited_library.h"
#include "tracer/followed.h"
#include "tracer/trace_job.h"

struct library_watch {
	struct settings settings; /* the strings are the policy's */
	struct awaited_libraries libraries;
	char exe[PATH_MAX];
	char rule[sizeof((struct report){0}).rule];
};

/*
 * Whether the tracer of JOB may stay for the program that FOLLOWED has become. Returns 0, or -1 with ERR word
 * "not-awaited", "attach-unsupported" or "seccomp".
 */
int library_watch_check(const struct trace_job *job, const struct followed *followed, struct error *err);

/* Let go of TRACEE, all threads of which stand still and which nobody else follows, and stay as WATCH says. */
_Noreturn void library_watch_run(struct tracee *tracee, const struct library_watch *watch);
