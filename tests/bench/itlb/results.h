/* SPDX-License-Identifier: Apache-2.0 */
/* results - what a simulation has counted, as JSON. */
#ifndef ITLB_RESULTS_H
#define ITLB_RESULTS_H

#include <stdio.h>

#include "core.h"

/* The members "layouts" and "processors" of an object that the caller has begun and ends. */
void results_write(FILE *out, const struct counts *counts);

/* A list with one number a layout. */
void results_write_numbers(FILE *out, const uint64_t numbers[LAYOUT_COUNT]);

/* A string, with what JSON needs escaped. */
void results_write_string(FILE *out, const char *text);

#endif
