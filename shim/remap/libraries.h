/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libraries.h - libraries in place without a stop: found out beforehand, and prepared before ld.so maps them.
 *
 * If the page cache holds a library's text as 2 MiB folios, and the filesystem gives large mappings an aligned
 * address (ext4, xfs), the kernel maps it by one entry a folio whenever it is touched. Nobody has to stop the program
 * for that: neither at its entry point nor, with dlopen(3), later. So while it stands at its exec stop the libraries
 * that ld.so will load are looked up (sandbox/elf/library_search_client.h) with those that the policy names, and their
 * text is prepared.
 *
 * All of it is a guess. What is done for it is what any reader of these files could have caused: their pages are
 * cached. The files are opened with the target's rights below its root, and a wrong guess costs time only.
 */
#pragma once

#include "base/error.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/awaited_library.h"
#include "remap/text_blocks.h"
#include "report/report.h"
#include "sandbox/elf/library_search_client.h"

enum libraries_need {
	LIBRARIES_NEED_NOTHING,   /* all that are wanted are prepared, and come in place by themselves */
	LIBRARIES_NEED_ADDRESSES, /* all are prepared, but not all would be mapped at an address that agrees */
	LIBRARIES_NEED_STOP,      /* some want a private copy, or what can be done at the entry point */
};

/*
 * Prepare the libraries of TRACEE's program as SETTINGS want, within file_timeout, and say what is left to be done at
 * its entry point. REPORT gets an object for each that was prepared, unless it will get one at the entry point; AWAITED
 * (NULL: nobody waits), with coverage "full", those of which more can be had when they are mapped. TRACEE: STOPPED at
 * the exit of execve; nothing in it is changed.
 */
enum libraries_need libraries_prepare(const struct tracee *tracee, const struct settings *settings,
                                      struct report *report, struct awaited_libraries *awaited);

/*
 * Tell FOUND of the libraries that the program at EXE would load if the caller started it, and of those that SETTINGS
 * name to be prepared. WITH_ENVIRONMENT: LD_LIBRARY_PATH and LD_PRELOAD count. Nothing is prepared. The search may wait
 * for a disk. Returns 0; or -1 with ERR if not all of them were found (as library_search_run(), or "no-proc").
 */
int libraries_find(const char *exe, const struct settings *settings, bool with_environment,
                   void (*found)(void *context, const struct found_library *library, int fd), void *context,
                   struct error *err);

/*
 * Pure: the slots of LIBRARY's text, as SETTINGS want it. The reason in OUT says why there are none: as
 * text_slots_of(), "text-small", "text-large", "rule-skip" (not one of those that are wanted), "text-changed".
 */
void library_judge(const struct settings *settings, const struct found_library *library, struct text_slots *out);

/*
 * Pure: whether something is to be done about a library of which library_judge() says SLOTS: it has whole slots, or
 * coverage "full" wants its ends as well.
 */
bool library_has_work(const struct settings *settings, const struct text_slots *slots);

/*
 * Whether the library open at FD comes to an address that agrees with its offset modulo 2 MiB by itself: if the
 * kernel gives a mapping of it such a one, as ext4 and xfs have it do and overlayfs does not (Linux 6.18), and if
 * ld.so leaves the choice to it, as it does unless the segments ask for larger alignment than that of pages.
 */
bool library_is_placed(int fd, const struct elf_info *elf);

/* Pure: whether SETTINGS want the library at PATH; IS_LATER: loaded when the program runs. */
bool library_is_wanted(const struct settings *settings, const char *path, bool is_later);
