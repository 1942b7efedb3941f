/*
 * follow.h - the tracer's loop: pass events on, ask the policy at each exec, let go when a rule has matched.
 *
 * Between execs a followed process hardly notices: signals are passed on as they come, stops stay stops.
 */
#pragma once

#include "engine/tracee.h"
#include "launch/launch.h"

/*
 * Follow ROOT, which is our parent and was just seized, until a rule matches it, it ends, or follow_timeout is over;
 * with "follow": "fork" its descendants too. Ends the calling process.
 */
_Noreturn void follow(struct launch *launch, const struct tracee *root);
