/*
 * facts.h - what the policy may ask about a process, gathered from /proc, and only what it does ask.
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"

struct fact_store {
	struct facts facts; /* its strings are the store's */
	char exe[4096];
	char build_id[129];
	char *unit;
	char *cgroup;
};

/*
 * Gather the facts about PID, which came through VIA. NEEDS: fact_bit bits from policy_needs(); of these, FACT_BUILD_ID is
 * left out (see facts_read_build_id()). Returns 0 (facts_free() it), or -1 with ERR word "no-proc".
 */
int facts_gather(struct fact_store *store, pid_t pid, enum via via, unsigned needs, struct error *err);

/* Read the build id of PID's program into the store through the sandboxed reader; "" where it has none or can't be read. */
void facts_read_build_id(struct fact_store *store, pid_t pid);

void facts_free(struct fact_store *store);
