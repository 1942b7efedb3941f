/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace - what a simulation was fed with, as text, for a second implementation to compute the same from.
 *
 *   O ID KIND FIXED TEXT_OFF TEXT_BYTES TEXT_START SECTION_OFF SECTION_BYTES RELINKED   an object (objects.h), numbers
 * in hex F CORE ID OFFSET           a fetch from the page at OFFSET of the object's
 * file A CORE ADDRESS               a fetch from anonymous code D CORE ADDRESS STORE
 * data is read (0) or written (1)
 */
#ifndef ITLB_TRACE_H
#define ITLB_TRACE_H

#include <stdio.h>

#include "objects.h"

void trace_object(FILE *trace, const struct object *object);
void trace_fetch(FILE *trace, unsigned core, const struct object *object, uint64_t offset);
void trace_anonymous(FILE *trace, unsigned core, uint64_t address);
void trace_data(FILE *trace, unsigned core, uint64_t address, bool store);

#endif
