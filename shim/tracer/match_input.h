/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracer/match_input.h - what the policy may ask about a process, gathered from /proc, and only what it does ask.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"
#include "sandbox/elf/elf_client.h"

struct gathered_input {
	struct match_input input; /* its strings are the store's */
	char exe[PATH_MAX];
	char build_id[129];
	bool reading;   /* READER is at work */
	pid_t asked_of; /* a remote file's is read at the end, aside; 0 */
	struct reader reader;
	char *unit;
	char *cgroup;
};

/*
 * Gather what rules ask about PID, which came through VIA. NEEDS: input_bit bits from policy_needs(); of these,
 * INPUT_BUILD_ID is left out (see match_input_begin_build_id()). Returns 0 (match_input_free() it), or -1 with ERR word
 * "no-proc".
 */
int match_input_gather(struct gathered_input *store, pid_t pid, enum via via, unsigned needs, struct error *err);

/*
 * Get the build ID of PID's program, in two steps. ENTRY_ADDR: a place in the program's text that only the kernel has
 * named (its AT_ENTRY at the exec stop); then Linux 6.11 tells the build ID at once. 0, an older kernel, or one that
 * finds none (it looks at short IDs only): the sandboxed reader does, which takes a millisecond, in which the caller
 * has other things to do. After the second step the store has it: "" if there is none or it cannot be read by UNTIL_US
 * or within half a second. Both do nothing if it is known already; between them, the caller must not wait for unknown
 * children.
 */
void match_input_begin_build_id(struct gathered_input *store, pid_t pid, uint64_t entry_addr);
void match_input_finish_build_id(struct gathered_input *store, int64_t until_us);

/*
 * Ask POLICY about FACTS, and look up the users' names that its decision hangs on, but no longer than UNTIL_US
 * (CLOCK_MONOTONIC). What was told, or not, is remembered for the life of the process. One whose uid nobody tells is no
 * match.
 */
void match_input_ask_policy(const struct policy *policy, const struct match_input *input, int64_t until_us,
                            struct decision *decision);

/* REASON is "no-rule": if a rule was passed over because nobody told its user's uid it is "user-unknown" then. */
void match_input_blame_user(struct error *reason);

/* Set REASON to "wrapper", for one that is followed as FOLLOW says: whose programs are looked at, and whose are not. */
void wrapper_reason(enum follow follow, struct error *reason);

/*
 * What POLICY says of PID: gather what it asks for, the build id only if the rest does not decide. VIA and
 * container are taken from GIVEN, and CALLED, a hint: it counts if it is a path of the very file that runs, and must
 * last as long as STORE. UNTIL_US: when it must be over. Returns 0 with DECISION (its strings are the policy's, those
 * of STORE the caller's to free), or -1 with ERR word "no-proc" and nothing to free.
 */
int match_input_decide(struct gathered_input *store, pid_t pid, const struct match_input *given,
                       const struct policy *policy, int64_t until_us, struct decision *decision, struct error *err);

void match_input_free(struct gathered_input *store);
