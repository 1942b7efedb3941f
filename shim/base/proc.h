/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - texts of /proc whose lines are "KEY:", blanks and a value: status, fdinfo, meminfo. The kernel writes a
 * newline in a process's name as "\n", so no name can look like a line of its own.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The text of /proc/PID/status, to be freed; NULL with errno set if it could not be read. */
char *proc_status(pid_t pid);

/* As proc_status() of our own process, whatever PID namespace /proc shows. */
char *proc_own_status(void);

/*
 * The value of KEY (without the colon) in TEXT: points into TEXT behind the blanks, and goes on to the end of the line,
 * where it may be empty. NULL if there is no such line, or TEXT is NULL.
 */
const char *proc_value(const char *text, const char *key);

/* The number at the start of KEY's value, in BASE (10 or 16). Returns 0, or -1 if there is none; then *OUT is
 * untouched. */
int proc_u64(const char *text, const char *key, int base, uint64_t *out);

/* As proc_u64(), the last number of KEY's value, decimal: of NSpid, the PID in the innermost namespace. */
int proc_last_u64(const char *text, const char *key, uint64_t *out);
