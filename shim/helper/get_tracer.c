/* SPDX-License-Identifier: Apache-2.0 */
#include "helper/get_tracer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/proc.h"
#include "helper/client.h"
#include "helper/protocol.h"
#include "launch/prescreen.h"
#include "launch/spawn_tracer.h"

static bool is_a_hugexec(pid_t pid)
{
	cleanup_free char *name = NULL;
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	if (read_file_at(AT_FDCWD, path, 64, &name, NULL) < 0)
		return false;
	return strncmp(name, "hugexec", strlen("hugexec")) == 0;
}

/*
 * Whether it is another hugexec that traces us, and so will see to COMMAND by its own policy: a script may use hugexec
 * where its unit does, too. Told by its name, which is a hint: if it is wrong COMMAND runs as it is.
 */
static bool is_followed(const char *status)
{
	uint64_t tracer_pid;
	return proc_u64(status, "TracerPid", 10, &tracer_pid) == 0 && tracer_pid > 0 && is_a_hugexec((pid_t)tracer_pid);
}

static int ask(struct launch *launch, bool filtered, struct error *err)
{
	launch->tracer_pid = 0;
	int64_t left_ms = (launch->hold_until_us - now_us()) / 1000;
	/* The connection is exec's to close. */
	return helper_ask(&launch->job.overrides, launch->job.report, filtered, left_ms > 0 ? (int)left_ms : 0, err) < 0
	           ? -1
	           : 0;
}

/* ERR says why there is no tracer; add why hugexecd is none either, unless nobody has expected one. */
static void add_reason(struct error *err, const struct error *helper)
{
	char both[sizeof err->detail];
	char text[ERROR_TEXT_BYTES];
	if (snprintf(both, sizeof both, "%s; hugexecd: %s", err->detail, error_text(helper, text, sizeof text)) < 0)
		return;
	memcpy(err->detail, both, sizeof both);
}

bool get_tracer_is_skipped(const struct error *err)
{
	return err->code == REASON_FOLLOWED_ALREADY || err->code == REASON_UNPRIVILEGED_WRAPPER ||
	       err->code == REASON_NO_REAPER;
}

int get_tracer(struct launch *launch, struct error *err)
{
	struct error helper = {0};
	cleanup_free char *status = proc_own_status();
	if (is_followed(status))
		return error_set(err, REASON_FOLLOWED_ALREADY, "the hugexec that has started this one decides");
	bool filtered = proc_may_be_filtered(status);
	bool may_trace = !launch->job.follows || command_check_follow(err) == 0;
	bool asks_first = !may_trace || (filtered && helper_is_there());
	if (asks_first && ask(launch, filtered, &helper) == 0)
		return 0;
	if (!may_trace && launch->is_interpreted) {
		add_reason(err, &helper);
		launch->job.no_follow = *err;
		launch->job.follows = false;
		may_trace = true;
	}
	if (may_trace && launch_start_tracer(launch, filtered, err) == 0)
		return 0;
	if (!asks_first && ask(launch, filtered, &helper) == 0)
		return 0;
	add_reason(err, &helper);
	return -1;
}
