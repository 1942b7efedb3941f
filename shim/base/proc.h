/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - texts of /proc: those whose lines are "KEY:", blanks and a value (status, fdinfo, meminfo), and stat.
 * In status the kernel writes a newline of a process's name as "\n", so no name can look like a line of its own; in
 * stat the name stands as it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What is said of a PID (%d) that is none, or none any more. */
#define NO_PROCESS "there is no process %d (any more); 'ps -e' shows those that there are"

/* The text of /proc/PID/status, to be freed; NULL with errno set if it could not be read. */
char *proc_status(pid_t pid);

/* As proc_status() of our own process, whatever PID namespace /proc shows. */
char *proc_own_status(void);

/*
 * Whether the process that STATUS is of may be under a seccomp filter. Read, and not asked for by prctl(2), which a
 * filter could kill for. True if STATUS is NULL or does not tell.
 */
bool proc_may_be_filtered(const char *status);

/*
 * The value of KEY (without the colon) in TEXT: points into TEXT behind the blanks, and goes on to the end of the line,
 * and may be empty. NULL if there is no such line, or TEXT is NULL.
 */
const char *proc_value(const char *text, const char *key);

/* The number at the start of KEY's value, in BASE (10 or 16). Returns 0, or -1 if there is none; then *OUT is
 * untouched. */
int proc_u64(const char *text, const char *key, int base, uint64_t *out);

/* As proc_u64(), the last number of KEY's value, decimal: of NSpid, the PID in the innermost namespace. */
int proc_last_u64(const char *text, const char *key, uint64_t *out);

/* Fields of /proc/PID/stat, counted from 1 as in proc(5). */
enum {
	STAT_START_TIME = 22, /* clock ticks since boot */
	STAT_START_CODE = 26,
	STAT_END_CODE = 27,
	STAT_START_STACK = 28,
	STAT_START_DATA = 45,
	STAT_END_DATA = 46,
	STAT_START_BRK = 47,
	STAT_ARG_START = 48,
	STAT_ARG_END = 49,
	STAT_ENV_START = 50,
	STAT_ENV_END = 51,
	STAT_FIELDS = 52
};

/* The text of /proc/PID/stat, to be freed; NULL with errno set if it could not be read. */
char *proc_stat(pid_t pid);

/* The state's letter in TEXT, which is that of stat; '\0' if it has none, or TEXT is NULL. */
char proc_stat_state(const char *text);

/*
 * Fields 4 to 51 of TEXT, which is that of stat. Returns 0, or -1 if it makes no sense, or is NULL (FIELDS then may be
 * filled in part).
 */
int proc_stat_parse(const char *text, uint64_t fields[STAT_FIELDS]);
