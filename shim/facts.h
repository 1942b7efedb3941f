/*
 * facts.h - what the policy may ask about a process, gathered from /proc, and only what it does ask.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "elf/elf_reader.h"
#include "policy/policy.h"

struct fact_store {
	struct facts facts; /* its strings are the store's */
	char exe[4096];
	char build_id[129];
	bool reading; /* READER is at work */
	struct reader reader;
	char *unit;
	char *cgroup;
};

/*
 * Gather the facts about PID, which came through VIA. NEEDS: fact_bit bits from policy_needs(); of these, FACT_BUILD_ID
 * is left out (see facts_begin_build_id()). Returns 0 (facts_free() it), or -1 with ERR word "no-proc".
 */
int facts_gather(struct fact_store *store, pid_t pid, enum via via, unsigned needs, struct error *err);

/*
 * Read the build id of PID's program through the sandboxed reader, in two steps, because it takes a millisecond in
 * which the caller has other things to do. After the second the store has it: "" where there is none or it can't be
 * read. Both do nothing where it is known already; between them, the caller must not wait for unknown children.
 */
void facts_begin_build_id(struct fact_store *store, pid_t pid);
void facts_finish_build_id(struct fact_store *store);

/*
 * What POLICY says of PID: gather what it asks for, the build id only where the rest does not decide. VIA and
 * annotations are taken from GIVEN. Returns 0 with DECISION (its strings are the policy's, those of STORE the caller's
 * to free), or -1 with ERR word "no-proc" and nothing to free.
 */
int facts_decide(struct fact_store *store, pid_t pid, const struct facts *given, const struct policy *policy,
                 struct decision *decision, struct error *err);

void facts_free(struct fact_store *store);
