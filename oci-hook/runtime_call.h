/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime_call.h - what a command line of an OCI runtime asks for, as far as hugexec-runtime has to know.
 *
 * The runtimes agree on the verbs and on --bundle, and differ in how they read options: runc takes "-bundle" too, and
 * "-b=DIR"; crun "-bDIR". What is not understood makes the verb unknown, and then the runtime is executed as it is.
 */
#pragma once

#include <stdbool.h>

struct runtime_call {
	bool creates;        /* the verb is create or run */
	const char *bundle;  /* "." if none is named */
	const char *config;  /* file in the bundle, "config.json" but for crun's --config */
	const char *log;     /* file for messages; NULL: standard error */
	bool log_is_json;    /* --log-format=json */
	const char *runtime; /* --runtime, which is ours alone; NULL: none */
};

/* Read ARGV, and take --runtime out of it: *ARGC gets smaller. The strings in OUT are those of ARGV. */
void runtime_call_parse(int *argc, char **argv, struct runtime_call *out);
