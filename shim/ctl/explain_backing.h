/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain_backing.h - what each backing could do for a program here, found out by looking: nothing is written, taken,
 * read from a disk or dropped. What only trying would tell is doctor's (probe.h).
 */
#pragma once

#include "ctl/explanation.h"

/* The file backing, from the filesystem, the kernel and what of the program is in the page cache. */
void explain_file_backing(const struct explanation *explanation, struct backing_outlook *outlook);

/* A private copy, hugetlb or thp, that would have FORECAST's bytes: from the pool, the limits and the kernel. */
void explain_copy(const struct explanation *explanation, const struct forecast *forecast,
                  struct backing_outlook *outlook);
