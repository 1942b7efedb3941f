/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.h - what hugexec and hugexecd say to each other.
 *
 * A process whose surroundings forbid tracing (a seccomp filter, Yama, no /proc) asks the helper outside of them to
 * trace it. One connection on a SOCK_SEQPACKET socket is one process, one request, one answer:
 *
 *   client                                          worker of hugexecd
 *   struct helper_request, with its credentials
 *     and a pidfd of its own                   ->   is it the sender's own? may anything be remapped? seize
 *                                              <-   struct helper_answer: SEIZED, or REFUSED with a reason
 *   struct helper_word "I execute now", with its
 *     credentials and the files to report to   ->
 *   execve(), which closes the connection           at the exec stop: policy, engine, report; let go
 *
 * The word is what makes a client safe that has timed out: without it nothing is done to the program that it
 * executes. It is the main thread that is traced and has to execute. The files come that late because a helper that
 * hangs would keep them open. There is no answer after the word, because nobody is left to read one: the report goes to
 * the journal, and to the files, which the client has opened and which are written to with no more than its rights.
 *
 * What may be done is never the client's to say: the host's policy decides, and it decides about the sender only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "policy/policy.h"

#define HELPER_SOCKET  "/run/hugexec/hugexecd.sock"
#define HELPER_MAGIC   0x64786768U
#define HELPER_VERSION 1

/*
 * The helper's socket: HELPER_SOCKET, or what the environment variable HUGEXEC_HELPER names. NULL if that is "off".
 */
const char *helper_socket(void);

/* Whether something is there under that name. */
bool helper_is_there(void);

/* All integers in the byte order of this machine: both ends are on it. */
struct helper_request {
	uint32_t magic;
	uint32_t version;
	/* As the options; empty: the rule's. NUL-terminated. */
	char backing[40];
	char coverage[16];
};

enum helper_verdict {
	HELPER_SEIZED = 1,
	HELPER_SEIZED_FILTERED =
	    2, /* but a seccomp filter of the client's would see the engine's calls: try them first */
	HELPER_REFUSED = 3,
};

struct helper_answer {
	uint32_t magic;
	uint32_t verdict;
	char word[32]; /* if it is REFUSED: of the reason, and its detail; NUL-terminated */
	char detail[480];
};

enum helper_flag {
	HELPER_REPORT = 1,  /* a file comes along to which the report's JSON line is appended */
	HELPER_STDERR = 2,  /* the client's standard error comes along (after the report's file) */
	HELPER_VERBOSE = 4, /* a line about what was done goes there */
};

struct helper_word {
	uint32_t magic;
	uint32_t flags;
};

#define HELPER_FILES_MAX 2 /* that come with one message */

/*
 * Check the BYTES of DATA that came with FILE_COUNT open files, and copy them to *OUT. Pure.
 * Returns 0, or -1 with ERR word "helper-request".
 */
int helper_request_check(const void *data, size_t bytes, unsigned file_count, struct helper_request *out,
                         struct error *err);

/* What a request asks for, by its own strings. */
struct overrides helper_request_overrides(const struct helper_request *request);

int helper_word_check(const void *data, size_t bytes, unsigned file_count, struct helper_word *out, struct error *err);

/* The same of an answer: *VERDICT, and of a refusal the reason in *ERR, printable. -1: "helper-answer". */
int helper_answer_check(const void *data, size_t bytes, enum helper_verdict *verdict, struct error *err);
