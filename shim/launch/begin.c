#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "helper/client.h"
#include "helper/protocol.h"
#include "launch/launch.h"

/* By reading, not by prctl(2), which a filter could kill for. Where that cannot be told, there may be one. */
static bool may_be_filtered(void)
{
	cleanup_free char *status = NULL;
	if (read_file_at(AT_FDCWD, "/proc/self/status", 65536, &status, NULL) < 0)
		return true;
	return !strstr(status, "\nSeccomp:\t0\n");
}

static int ask(struct launch *launch, bool filtered, struct error *err)
{
	launch->tracer_pid = 0;
	return helper_ask(launch->options, filtered, err) < 0 ? -1 : 0; /* the connection is exec's to close */
}

/* ERR says why there is no tracer; add why hugexecd is none either, unless nobody has expected one. */
static void add_reason(struct error *err, const struct error *helper)
{
	char both[sizeof err->detail];
	char text[sizeof *helper + 2];
	if (snprintf(both, sizeof both, "%s; hugexecd: %s", err->detail, error_text(helper, text, sizeof text)) < 0)
		return;
	memcpy(err->detail, both, sizeof both);
}

int launch_begin(struct launch *launch, struct error *err)
{
	struct error helper = {0};
	bool filtered = may_be_filtered();
	if (filtered && helper_is_there() && ask(launch, filtered, &helper) == 0)
		return 0;
	if (launch_start_tracer(launch, filtered, err) == 0)
		return 0;
	if (!error_is_set(&helper) && ask(launch, filtered, &helper) == 0)
		return 0;
	add_reason(err, &helper);
	return -1;
}
