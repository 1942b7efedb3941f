/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_text.h - coverage "full": have text that is out of step with its file mapped from the copy that all processes
 * share (shared_store.h).
 *
 * The tracer has looked at the copy; the tracee opens it by itself, by its name and with its own rights, and the tracer
 * compares: it must be the same file. A tracee with a root or mounts of its own goes without. So no tracee gets a
 * descriptor that it could not have opened. A descriptor of ours would be a way out of a container: root in it could
 * open it again for writing through /proc/PID/fd, and change the code of other programs.
 */
#pragma once

#include "base/error.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"

/*
 * Map what there is of the object that OBJECT is a mapping of. FD: its file, of mapped_file_open(). TRACEE: STOPPED,
 * other threads of a program that runs are stopped for it; STOPPED afterwards, or GONE. MAPPED: what was mapped, in
 * ranges.
 *
 * Returns 0 if all that MAPPED has is mapped, which may be nothing; or -1 with ERR: what is in MAPPED is mapped and
 * right all the same, the rest is what it was. GONE: as widen_text().
 */
int shared_text_map(struct tracee *tracee, const struct mapping *object, const struct settings *settings, int fd,
                    struct plan *mapped, struct error *err);
