/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a policy file, from its first byte to decisions made with it.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzzing.h"
#include "policy/container_attrs.h"
#include "policy/policy.h"

static void decide(const struct policy *policy, const struct match_input *input)
{
	struct decision decision;
	policy_decide(policy, input, &decision);
	MUST(decision.action <= ACTION_UNDECIDED);
	MUST(decision.settings.backing_count <= BACKING_COUNT);
	MUST(decision.settings.page_size_bytes == 0 || decision.settings.page_size_bytes == UINT64_C(2) << 20 ||
	     decision.settings.page_size_bytes == 1U << 30);
	MUST(!decision.settings.keep_free_pages || !decision.settings.keep_free_percent);
	MUST(decision.settings.keep_free_percent <= 100);
}

static void look_at_rule(void *policy, const char *const *exe, const struct settings *settings)
{
	MUST(settings->backing_count >= 1 && settings->backing_count <= BACKING_COUNT);
	for (; exe && *exe; exe++)
		policy_skips_exe(policy, *exe);
	for (char *const *glob = settings->library_prepare; glob && *glob; glob++)
		MUST((*glob)[0] == '/');
}

static void note(void *context, const char *mistake)
{
	(void)context;
	MUST(mistake && *mistake);
}

/* As programs are started by it: what is wrong in rules alone makes no policy invalid, and nothing else is let pass. */
static void leave_out(const uint8_t *data, size_t size, bool is_right)
{
	char path[64];
	struct error err = {0};
	struct policy *policy = NULL;
	int fd = memfd_create("policy", MFD_CLOEXEC);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct policy_sources sources = {.file = path, .leave_out = true};
	int loaded = policy_load(&sources, &policy, NULL, &err);
	close(fd);
	MUST(loaded == 0 || (!is_right && error_is_set(&err)));
	if (loaded < 0)
		return;
	MUST((policy_each_left_out(policy, note, NULL) == 0) == is_right);
	struct match_input input = {.via = VIA_SHIM, .exe = "/usr/sbin/mariadbd"};
	struct decision decision;
	policy_decide(policy, &input, &decision);
	MUST(decision.action != ACTION_NOT_UNDERSTOOD || decision.mistake);
	policy_may_remap(policy, VIA_HOOK);
	policy_free(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct policy *policy = NULL;
	struct error err = {0};
	char *text = malloc(size + 1);
	MUST(text);
	memcpy(text, data, size);
	text[size] = '\0';
	bool is_right = policy_parse(text, size, "fuzz.json", &policy, &err) == 0;
	leave_out(data, size, is_right);
	if (!is_right) {
		/* A message that says where: FILE:LINE:COLUMN. */
		unsigned line, column;
		MUST(error_is_set(&err));
		MUST(sscanf(err.detail, "fuzz.json:%u:%u:", &line, &column) == 2 && line >= 1 && column >= 1);
		free(text);
		return 0;
	}
	free(text); /* what a policy holds is its own */
	const struct annotation annotations[] = {{"io.hugexec.remap", "true"}, {"io.kubernetes.pod.name", "web-0"}};
	const struct container_attrs container = container_attrs_of(annotations, 2);
	struct match_input input = {.via = VIA_SHIM, .exe = "/usr/sbin/mariadbd"};
	decide(policy, &input);
	const struct known_user users[] = {{"mysql", true, 1000}};
	input = (struct match_input){.via = VIA_HOOK,
	                             .exe = "/opt/a/b/c-server",
	                             .build_id = "abcdef",
	                             .uid = 1000,
	                             .users = users,
	                             .user_count = 1,
	                             .unit = "x.service",
	                             .cgroup = "/system.slice/x.service",
	                             .container = &container};
	decide(policy, &input);
	policy_each_file_rule(policy, look_at_rule, policy);
	policy_needs(policy);
	policy_may_remap(policy, VIA_ATTACH);
	policy_may_remap_container(policy, &container);
	policy_free(policy);
	return 0;
}
