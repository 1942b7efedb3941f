/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexec-runtime - an OCI runtime that is another one, with hugexec's hook in the containers that the policy wants.
 *
 * containerd, and so Kubernetes, knows no hooks.d: what it creates has the hooks of its config.json and no others. So
 * this program stands where containerd expects runc. On create and run it adds the hook to config.json; then, and for
 * every other verb at once, it becomes the real runtime by execve: same process, files, signals and exit status. If
 * anything fails the runtime is executed with the bundle as it is, and a line says why where the runtime itself would
 * log.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/kill_switch.h"
#include "base/say.h"
#include "base/utf8.h"
#include "config.h"
#include "hook_path.h"
#include "inject.h"
#include "policy/policy.h"
#include "real_runtime.h"
#include "runtime_call.h"

enum { EXIT_CANNOT_EXECUTE = 126, EXIT_NOT_FOUND = 127 };

/* In the format of runc's log, which containerd reads for what to say of a failure: only "error" lines, though. */
static void tell(const struct runtime_call *call, const char *level, const struct error *err)
{
	char text[sizeof *err + 32], shown[sizeof text + 32], when[40];
	time_t now = time(NULL);
	struct tm utc;
	snprintf(text, sizeof text, "hugexec-runtime: ");
	error_text(err, text + strlen(text), sizeof text - strlen(text));
	text_printable(text, shown, sizeof shown);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	cleanup_close int fd =
	    call->log ? open(call->log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644)
	              : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (!call->log_is_json) {
		say_line(fd, "time=\"%s\" level=%s msg=\"%s\"\n", when, level, shown);
		return;
	}
	json_object *json = json_object_new_object();
	if (!json)
		return;
	json_object_object_add(json, "level", json_object_new_string(level));
	json_object_object_add(json, "msg", json_object_new_string(shown));
	json_object_object_add(json, "time", json_object_new_string(when));
	say_line(fd, "%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
	json_object_put(json);
}

static int add_hook(const struct runtime_call *call, struct error *err)
{
	char hook[PATH_MAX];
	struct policy *policy = NULL;
	struct policy_sources sources = {.require_root_owned = geteuid() == 0, .leave_out = true};
	/* A hook that is not there would fail the container. */
	if (access(hook_path(hook, sizeof hook), X_OK) < 0)
		return error_set_errno(err, errno, REASON_HOOK, "%s", hook);
	if (policy_load(&sources, &policy, NULL, err) < 0)
		return -1;
	int result = 0;
	if (policy_may_remap(policy, VIA_HOOK))
		result = inject_into_bundle(call->bundle, call->config, hook, policy, err);
	policy_free(policy);
	return result;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	struct runtime_call call;
	char runtime[PATH_MAX];
	runtime_call_parse(&argc, argv, &call);
	if (call.creates && !is_switched_off() && add_hook(&call, &err) < 0)
		tell(&call, "warning", &err);
	err = (struct error){0};
	int found = real_runtime_find(call.runtime, runtime, sizeof runtime, &err);
	if (error_is_set(&err))
		tell(&call, found < 0 ? "error" : "warning", &err);
	if (found < 0)
		return EXIT_NOT_FOUND;
	argv[0] = runtime;
	execv(runtime, argv);
	int saved_errno = errno;
	error_set_errno(&err, saved_errno, REASON_RUNTIME, "%s", runtime);
	tell(&call, "error", &err);
	return saved_errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}
