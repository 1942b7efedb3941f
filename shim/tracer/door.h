/* SPDX-License-Identifier: Apache-2.0 */
/*
 * door.h - what differs between the ways to hugexec; all else is the same. docs/design.md has the same table.
 *
 * A runtime wrapper has no row: it puts the hook into the container's config.json, and the hook does the rest.
 */
#pragma once

#include <stdbool.h>

#include "policy/policy.h"
#include "ptrace/tracee.h"

/* The seccomp filters of the target that the injected calls are known to pass. */
enum known_filters {
	KNOWN_OWN,   /* as many as the tracer is under itself, which has tried them */
	KNOWN_TRIED, /* all that are there when it is seized: the client tries the calls under them, if they are not
	                suspended */
	KNOWN_NONE,  /* they are suspended, or the target is left alone */
};

struct door {
	enum via via;        /* what rules and reports call it */
	bool charges_target; /* the target allocates a copy itself; else the tracer, while both share their cgroups */
	bool may_suspend_filters; /* the tracer may have the capability for it */
	enum known_filters filters;
	bool may_stay; /* the tracer may outlive a launch, for libraries that are loaded later (library_watch.h) */
};

enum door_name { DOOR_COMMAND, DOOR_HUGEXECD, DOOR_HOOK, DOOR_ATTACH, DOOR_COUNT };

extern const struct door doors[DOOR_COUNT];

/* Set in TRACEE, just seized, what DOOR decides. */
void door_prepare(const struct door *door, struct tracee *tracee);
