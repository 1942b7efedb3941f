/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.h - options of the command line, and what is wrong with them in the same words in every program.
 */
#pragma once

#include <getopt.h>

#define USAGE_BYTES 256

/*
 * The next option as getopt_long(3) has it, which writes nothing: SHORTS without ":" in front, the values of LONGS
 * below 4096. '?': one that is not known, or has no value, or has one; MESSAGE says which.
 */
int usage_option(int argc, char **argv, const char *shorts, const struct option *longs, char message[USAGE_BYTES]);
