/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl.h - the verbs of hugexecctl, and what they share.
 *
 * A verb gets its own words (argv[0] is "hugexecctl VERB", for messages of getopt(3)), prints to standard output,
 * complains to standard error, and returns the exit status: 0, 1 (the answer is no, as the verb's help says) or 2
 * (wrong usage).
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/usage.h"

enum { CTL_OK = 0, CTL_NO = 1, CTL_USAGE = 2 };

int ctl_advise(int argc, char **argv);
int ctl_attach(int argc, char **argv);
int ctl_check(int argc, char **argv);
int ctl_compare(int argc, char **argv);
int ctl_disable(int argc, char **argv);
int ctl_doctor(int argc, char **argv);
int ctl_enable(int argc, char **argv);
int ctl_explain(int argc, char **argv);
int ctl_list(int argc, char **argv);
int ctl_metrics(int argc, char **argv);
int ctl_pool(int argc, char **argv);
int ctl_status(int argc, char **argv);
int ctl_warm(int argc, char **argv);

/* Whether what is printed may have characters beyond ASCII: by LC_ALL, LC_CTYPE, LANG (hugexecctl.c sets the locale).
 */
bool ctl_is_utf8(void);

bool ctl_is_terminal(void); /* standard output */

/* Columns for lines of text on STREAM: the terminal's; if it is none what COLUMNS in the environment says, or 80. */
unsigned ctl_columns(FILE *stream);

/* Columns that TEXT, valid UTF-8 without wide characters, takes. */
unsigned ctl_width(const char *text);

/* Print TEXT and a newline behind INDENT columns, in lines that fit, the others indented as much. A word that is longer
 * than a line is broken on a terminal only. */
void ctl_wrap(FILE *stream, unsigned indent, const char *text);
void ctl_print_wrapped(unsigned indent, const char *text);

/* Print a line: NAME in a first column of COLUMNS, and VALUE (any bytes) beside it, wrapped. */
void ctl_print_named(unsigned columns, const char *name, const char *value);
void ctl_print_line(const char *name, const char *value); /* in 10 columns */

/* Print TEXT (any bytes) in COLUMNS, padded if PADS. On a terminal, of one that is longer its end. */
void ctl_print_cell(const char *text, unsigned columns, bool pads);

/* End a row, and have REASON (any bytes; NULL: none) below it and behind INDENT columns. */
void ctl_print_reason(unsigned indent, const char *reason);

/* The next option of a verb, by usage_option(); '?': said what is wrong, and where to read on. */
int ctl_option(int argc, char **argv, const char *shorts, const struct option *longs);

/* Say on standard error what is wrong with the words that SELF ("hugexecctl VERB") was given, and where to read on.
 * Returns CTL_USAGE. */
int ctl_wrong_usage(const char *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* WORD as the number of a process, which need not be there; 0 if it is none. */
pid_t ctl_pid(const char *word);
int ctl_no_pid(const char *self, const char *word); /* as ctl_wrong_usage() */

/* Say on standard error that there is no process PID. */
void ctl_no_process(pid_t pid);

/* The same of a unit without processes. Returns CTL_NO. */
int ctl_unit_is_idle(const char *unit);

/* The processes of the systemd unit UNIT into PIDS, MOST of them at most. Returns how many. */
size_t ctl_pids_of_unit(const char *unit, pid_t *pids, size_t most);

/* TEXT (any bytes; NULL or "": null) as a JSON string of valid UTF-8. */
json_object *ctl_text(const char *text);

/* Whether this machine's TLB holds huge pages, for the member "tlb" of a verb's JSON. */
struct huge_tlb;
json_object *ctl_tlb(const struct huge_tlb *tlb);
void ctl_print_tlb(const struct huge_tlb *tlb); /* nothing if it does */

/* Print JSON as one document, and release it. */
void ctl_print_json(json_object *json);
