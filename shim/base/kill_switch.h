/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill_switch.h - whether somebody has switched hugexec off: in the environment, or for the whole host.
 */
#pragma once

#include <stdbool.h>

#define KILL_SWITCH_FILE "/run/hugexec/disabled" /* only root can make it */

/*
 * Whether HUGEXEC is 0, off, no or false (in any case) in our environment, or KILL_SWITCH_FILE is there. Whatever else
 * is asked of the file (EACCES, say) leaves hugexec on: only a file that is there switches off.
 */
bool is_switched_off(void);
