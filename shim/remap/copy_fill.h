/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_fill.h - the bytes of a private copy: from the object's file into a memfd on huge pages.
 *
 * Half of the time goes into zeroing fresh huge pages, which is the kernel's business, half into copying. Both can be
 * done on two processors at once, so a large copy is shared with a child of the tracer: part by part, whoever is free
 * takes the next. The child does nothing but that. It dies with the tracer, is reaped before the function returns, and
 * if it is killed the copy counts as failed: a copy is used only when every part of it was reported complete.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"
#include "remap/backing.h"
#include "remap/plan.h"

/*
 * Fill the copy in MEMFD (sized already) with what the pieces of PLAN name in TEXT_FD, on pages of PAGE_BYTES made
 * ready by BACKING (NULL: they are all there already). No more than a few MiB of it are mapped here at a time: the
 * tracer stays small whatever the text's size. Returns 0, or -1 with ERR: words "text-unreadable",
 * "address-space-limit", "remap", or the backing's.
 */
int fill_copy(int memfd, const struct plan *plan, const struct backing_copy *backing, uint64_t page_bytes, int text_fd,
              struct error *err);
