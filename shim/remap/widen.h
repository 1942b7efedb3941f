/* SPDX-License-Identifier: Apache-2.0 */
/*
 * widen.h - have the slots at the ends of the text mapped by one mapping of the file each, together with what lies
 * beside the text in them (plan_in_place.h says which may be).
 *
 * A fresh mapping of the same file, rather than mprotect(2): that would turn pages executable that were not, which
 * systemd's MemoryDenyWriteExecute=, prctl(PR_SET_MDWE) and SELinux forbid; and perf hears of a mapping.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"
#include "mm/maps.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"

/*
 * Map each range of PLAN (plan_in_place()) that is not all text, as a whole. TRACEE: STOPPED; STOPPED
 * afterwards, or GONE. SPACE: as it is now, or, of a program that runs, as it was a moment ago. FD: the object's file.
 *
 * Returns 0, or -1 with ERR: a range that was not mapped anew is what it was, one that was is right. GONE: killed if
 * the kernel took text away and put nothing in its place.
 */
int widen_text(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int fd,
               struct error *err);

/*
 * Of a program that runs: stop the other threads, and see that what SPACE has in the ranges of PLAN is there still, and
 * nothing else; a thread may have unmapped the library, and have other memory there. Of another program: nothing.
 * Returns 0, and others_start() is due; or -1 with ERR, as other_threads_stop() or word "text-changed".
 */
int others_stop_around(struct tracee *tracee, const struct address_space *space, const struct plan *plan,
                       struct error *err);
void others_start(struct tracee *tracee);

/*
 * What widen_text() does once TRACEE (INJECTING) has a file open as TRACEE_FD: map each range of PLAN at the offset
 * that its piece says. IS_OWN_FILE: it is the file of the text, so that a range that is all text stands already.
 * Returns and leaves as widen_text().
 */
int map_over(struct tracee *tracee, const struct address_space *space, const struct plan *plan, int tracee_fd,
             bool is_own_file, struct error *err);
