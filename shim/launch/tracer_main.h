/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tracer_main.h - the life of the tracer of spawn_tracer.h: prepare, attach, follow, leave.
 */
#pragma once

#include <sys/types.h>

#include "launch/launch.h"

/* Runs in the freshly cloned child of PARENT_PID. Never returns. */
_Noreturn void tracer_main(struct launch *launch, pid_t parent_pid);
