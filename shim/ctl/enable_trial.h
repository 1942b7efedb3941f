/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enable_trial.h - a unit is restarted, and watched: is it active, and does it stay so?
 */
#pragma once

#include "ctl/unit.h"

/* How long a unit that has become active is watched. */
#define TRIAL_MS 3000

/* Run systemctl with WORDS ("restart", "--", "a.service", NULL) to its end. Returns whether it succeeded. */
bool trial_systemctl(const char *const *words);

/*
 * Restart UNIT (start it if it is stopped), wait until it is active, and TRIAL_MS more. Returns 0; -1 with ERR
 * "unit-down" if it is not, has been restarted by systemd meanwhile, or a signal asks us to stop.
 */
int trial_restart(sd_bus *bus, const struct unit *unit, struct error *err);

/* Make UNIT run as it did, from the unit files as they are now; stop it if it was stopped (STATE). */
int trial_take_back(sd_bus *bus, const struct unit *unit, const struct unit_state *state, struct error *err);

/* SIGINT, SIGTERM and SIGHUP no longer end us: they end what trial_restart() waits for, and all is taken back. */
void trial_guard(void);
bool trial_is_interrupted(void);
