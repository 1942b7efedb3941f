/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/enable_trial.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/retry.h"

#define POLL_MS 100

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t may_stop_waiting; /* for the systemctl that runs, which may wait for a unit for minutes */
static volatile sig_atomic_t running;          /* its PID */

static void on_signal(int number)
{
	(void)number;
	interrupted = 1;
	if (may_stop_waiting && running > 0)
		kill(running, SIGTERM);
}

bool trial_is_interrupted(void)
{
	return interrupted;
}

void trial_guard(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

bool trial_systemctl(const char *const *words)
{
	const char *line[8] = {"systemctl"};
	int status;
	for (size_t i = 0; words[i] && i < sizeof line / sizeof line[0] - 2; i++)
		line[i + 1] = words[i];
	pid_t child = fork();
	if (child == 0) {
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(line[0], (char *const *)(uintptr_t)line);
		_exit(127);
	}
	running = child;
	if (child > 0 && may_stop_waiting && interrupted)
		kill(child, SIGTERM);
	bool done = child > 0 && retry(waitpid(child, &status, 0)) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	running = 0;
	return done;
}

static int down(const struct unit *unit, const struct unit_state *state, struct error *err)
{
	return error_set(err, REASON_UNIT_DOWN, "%s is %s (%s, status %d)", unit->name, state->active, state->result,
	                 (int)state->exec_status);
}

/* Whether STATE is what a unit that does its work has; a oneshot has done it. */
static bool is_well(const struct unit_state *state)
{
	if (strcmp(state->type, "oneshot") == 0)
		return strcmp(state->active, "failed") != 0 && strcmp(state->result, "success") == 0;
	return strcmp(state->active, "active") == 0 || strcmp(state->active, "reloading") == 0;
}

int trial_restart(sd_bus *bus, const struct unit *unit, struct error *err)
{
	const char *words[] = {"restart", "--", unit->name, NULL};
	struct unit_state first, state;
	may_stop_waiting = 1;
	bool started = trial_systemctl(words);
	may_stop_waiting = 0;
	fault_point("enable-restarted");
	if (unit_read_state(bus, unit, &first, err) < 0)
		return -1;
	if (interrupted)
		return error_set(err, REASON_UNIT_DOWN, "interrupted while %s was started", unit->name);
	if (!started || !is_well(&first))
		return down(unit, &first, err);
	for (unsigned waited = 0; waited < TRIAL_MS; waited += POLL_MS) {
		struct timespec pause = {.tv_nsec = POLL_MS * 1000000};
		nanosleep(&pause, NULL);
		if (unit_read_state(bus, unit, &state, err) < 0)
			return -1;
		if (!is_well(&state) || state.restarts != first.restarts)
			return down(unit, &state, err);
		if (interrupted)
			return error_set(err, REASON_UNIT_DOWN, "interrupted while %s was watched", unit->name);
	}
	fault_point("enable-watched");
	return 0;
}

int trial_take_back(sd_bus *bus, const struct unit *unit, const struct unit_state *state, struct error *err)
{
	bool ran = strcmp(state->active, "inactive") != 0 && strcmp(state->active, "failed") != 0;
	const char *reset[] = {"reset-failed", "--", unit->name, NULL};
	const char *again[] = {ran ? "restart" : "stop", "--", unit->name, NULL};
	struct unit_state now;
	trial_systemctl(reset);
	bool done = trial_systemctl(again);
	if (!ran)
		trial_systemctl(reset);
	/* Without a D-Bus systemctl's word is all there is. */
	if (unit_read_state(bus, unit, &now, err) < 0)
		return done ? 0 : -1;
	return done && (!ran || is_well(&now)) ? 0 : down(unit, &now, err);
}
