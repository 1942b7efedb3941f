/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server_compare.h - a server that runs, measured before and after it was restarted under hugexec.
 *
 * Nothing is run in turn here: the two are minutes apart, and the load may have changed. So what is compared is
 * processor time a second, in twenty slices of the time, and the answer says on what it rests.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define SERVER_SECONDS_MIN 2.0 /* of processor time that is counted in steps of 10 ms */
#define SERVER_SECONDS_MAX 3600.0

/* Measure PID and its children for SECONDS, and write that to FILE. Returns 0, or -1 after a message. */
int server_measure_before(pid_t pid, double seconds, const char *file);

/* Measure PID as long as FILE's was, compare and tell, as JSON if wanted. Returns 0, or -1 after a message. */
int server_compare_after(pid_t pid, const char *file, bool json);
