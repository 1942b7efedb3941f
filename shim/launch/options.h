/*
 * options.h - the exec shim's command line.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

enum verbosity { VERBOSITY_QUIET, VERBOSITY_NORMAL, VERBOSITY_VERBOSE };

/* Where reports go that are written for somebody else: his files, written to with no more than his rights. */
struct delivery {
	int report_fd, stderr_fd; /* -1: none */
	uid_t uid;
	gid_t gid;
};

struct options {
	const char *policy_file; /* NULL: the host's */
	const char *backing;     /* NULL: the rule's */
	const char *argv0;       /* NULL: COMMAND */
	const char *report_path; /* NULL: none; "-": standard error */
	bool dry_run;
	enum verbosity verbosity;
	const struct delivery *delivery; /* NULL: reports go to our own files (report_path, standard error) */
	char **command;                  /* COMMAND and its arguments, NULL-terminated */
};

/* What main() does after parsing. */
enum options_verdict { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/*
 * Parse ARGV. OPTIONS_RUN: *OUT is filled in. OPTIONS_DONE: --help or --version was printed. OPTIONS_WRONG: a message
 * was printed to standard error.
 */
enum options_verdict options_parse(int argc, char **argv, struct options *out);
