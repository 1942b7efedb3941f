/* SPDX-License-Identifier: Apache-2.0 */
/*
 * version.h - what --version says: which release, made of which commit, built with what.
 */
#pragma once

/* "NAME 0.2.0", the commit if it is known, and a line with what the build has (+) and has not (-), to standard output.
 * Returns a negative number if that cannot be written. */
int version_print(const char *name);
