/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/door.h"

const struct door doors[DOOR_COUNT] = {
    /* `hugexec COMMAND`, with a tracer of its own */
    [DOOR_COMMAND] = {.via = VIA_SHIM, .filters = KNOWN_OWN, .may_stay = true},
    /* the same, traced by the daemon */
    [DOOR_HUGEXECD] = {.via = VIA_SHIM, .charges_target = true, .may_suspend_filters = true, .filters = KNOWN_TRIED},
    /* a container's entry point */
    [DOOR_HOOK] = {.via = VIA_HOOK, .charges_target = true, .may_suspend_filters = true, .filters = KNOWN_NONE},
    /* `hugexecctl attach`, of a program that runs */
    [DOOR_ATTACH] = {.via = VIA_ATTACH, .charges_target = true, .may_suspend_filters = true, .filters = KNOWN_NONE},
};

void door_prepare(const struct door *door, struct tracee *tracee)
{
	tracee->charges_itself = door->charges_target;
	tracee->suspends_seccomp = door->may_suspend_filters && tracee_may_suspend_seccomp();
	tracee->known_filters = door->filters == KNOWN_OWN ? OWN_FILTERS : 0;
	if (door->filters == KNOWN_TRIED) {
		int filters = tracee_filters(tracee->pid);
		if (filters == FILTERS_UNKNOWN) /* for want of memory, perhaps: then a page of ours would stay */
			filters = tracee_filters(tracee->pid);
		tracee->known_filters = filters == FILTERS_UNKNOWN ? 0 : filters;
	}
}
