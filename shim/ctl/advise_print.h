/* SPDX-License-Identifier: Apache-2.0 */
/*
 * advise_print.h - what `hugexecctl advise` tells of a survey.
 */
#pragma once

#include "ctl/survey.h"

void advise_print(const struct survey *survey, const struct watch *watch, const struct huge_tlb *tlb);
void advise_print_json(const struct survey *survey, const struct watch *watch, const struct huge_tlb *tlb);
