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
#include <sys/types.h>

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

/* Columns of the terminal that standard output is; 0: it is none, and lines may be as long as they are. */
unsigned ctl_columns(void);

/* Columns that TEXT, valid UTF-8 without wide characters, takes. */
unsigned ctl_width(const char *text);

/* Print TEXT and a newline behind INDENT columns; on a terminal in lines that fit, the others indented as much. */
void ctl_print_wrapped(unsigned indent, const char *text);

/* Print a line: NAME in a first column, and VALUE (any bytes) beside it, wrapped. */
void ctl_print_line(const char *name, const char *value);

/* Print TEXT (any bytes) in COLUMNS (0: as many as it takes), padded if PADS; of one that is longer its end. */
void ctl_print_cell(const char *text, unsigned columns, bool pads);

/* End a row with REASON (any bytes; NULL: none): behind it, or on a terminal below it and behind INDENT columns. */
void ctl_print_reason(unsigned indent, const char *reason);

/*
 * Say on standard error what is wrong with the words that SELF ("hugexecctl VERB") was given, and where to read on.
 * With FORMAT NULL getopt(3) has said what. Returns CTL_USAGE.
 */
int ctl_wrong_usage(const char *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* WORD as the number of a process, which need not be there; 0 if it is none. */
pid_t ctl_pid(const char *word);

/* The processes of the systemd unit UNIT into PIDS, MOST of them at most. Returns how many. */
size_t ctl_pids_of_unit(const char *unit, pid_t *pids, size_t most);

/* TEXT (any bytes; NULL or "": null) as a JSON string of valid UTF-8. */
json_object *ctl_text(const char *text);

/* Whether this machine's TLB holds huge pages, for the member "tlb" of a verb's JSON. */
struct huge_tlb;
json_object *ctl_tlb(const struct huge_tlb *tlb);

/* Print JSON as one document, and release it. */
void ctl_print_json(json_object *json);
