/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remap_program.h - from a decision and a stopped process to text on huge pages.
 *
 * Address space, plan, remap, and what the kernel says afterwards, in that order; everything else of this folder serves
 * one of them. The engine reads no JSON, prints nothing and never decides whether: only what is possible, and undoes
 * the rest.
 */
#pragma once

#include "base/error.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/libraries.h"
#include "report/report.h"

/*
 * Put the text of TRACEE's program on huge pages as SETTINGS say.
 *
 * TRACEE: STOPPED at the exit of execve, its first instruction not run; STOPPED afterwards, or GONE.
 * It may be held as long as SETTINGS say, from tracee.held_since_us on; what is not done by then is left as it was.
 * REPORT: outcome, reason, backing, bytes and objects are filled in (report_free() it); the rest is the caller's.
 * Never fails as such: what could not be done is in the report, and then the tracee is as it was.
 */
void remap_program(struct tracee *tracee, const struct settings *settings, struct report *report);

/*
 * Before TRACEE runs on: have the libraries in the page cache that it will load, and say whether anything is left for
 * remap_libraries() (libraries.h). AWAITED (empty at first, or NULL): for which remap_awaited() can do more.
 */
enum libraries_need remap_prepare_libraries(struct tracee *tracee, const struct settings *settings,
                                            struct report *report, struct awaited_libraries *awaited);

/*
 * The same for the libraries that are mapped now, adding to what remap_program() reported. TRACEE: STOPPED at its entry
 * point, where ld.so has done its work.
 */
void remap_libraries(struct tracee *tracee, const struct settings *settings, struct report *report);

/*
 * Do nothing, and say what remap_program() (MAY_MOVE) or remap_running() would: REPORT's reason is "observed" and
 * observed_bytes how much of the text would come on huge pages at most, by the first backing that has any; or the
 * reason is why there would be none. Only PID's /proc is read. Whether memory and filesystem allow it, nobody tries.
 */
void remap_observe(pid_t pid, const struct settings *settings, bool may_move, struct report *report);

/*
 * The same for a program that runs, and for its libraries if SETTINGS want them: it stays where it is, and text that
 * is no longer what its file says is left alone. TRACEE: STOPPED anywhere, as are all other threads of its process.
 */
void remap_running(struct tracee *tracee, const struct settings *settings, struct report *report);

/* The same for LIBRARY alone, if the program has it mapped by now. */
void remap_awaited(struct tracee *tracee, const struct settings *settings, const struct awaited_library *library,
                   struct report *report);
