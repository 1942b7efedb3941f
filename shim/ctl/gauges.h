/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gauges.h - what hugexecctl metrics looks up when it is asked: version, policy, switch, pools, enabled units, and
 * which processes have text on huge pages now.
 */
#pragma once

#include "ctl/metrics_format.h"

void gauges_print(const struct metrics_format *format);

/*
 * The processes with text on huge pages, and those of enabled units: how many, how much text and how much of it huge, a
 * unit. It reads smaps of every process that it may read.
 */
void gauges_print_processes(const struct metrics_format *format);
