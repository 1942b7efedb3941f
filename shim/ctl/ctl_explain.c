/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl explain: what would hugexec do with this program, and why.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/explain.h"
#include "ctl/unit.h"

static const char help[] = "Usage: hugexecctl explain [OPTIONS] [--] PROGRAM\n"
                           "Say what hugexec would do with PROGRAM, looked up as a shell would: the rule\n"
                           "that matches, the settings in force, and the plan. Nothing is run, written or\n"
                           "taken: \"hugexecctl doctor\" tries things. Without these options user, unit and\n"
                           "cgroup are the caller's, and so is what may be traced.\n"
                           "\n"
                           "  --policy=FILE    read this policy instead of the host's\n"
                           "  --backing=LIST   in place of the rule's: file, hugetlb, thp\n"
                           "  --coverage=WORD  in place of the rule's: cheap, full\n"
                           "  --unit=NAME      as if this systemd unit started it\n"
                           "  --cgroup=PATH    as if it were started there; with --unit else not known\n"
                           "  --user=USER      as if this user started it; only root may ask that\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 1 if PROGRAM is not found or the policy is broken; 2 for wrong\n"
                           "usage.\n";

/* Be who USER is, so that all is seen as USER's launch would see it. Returns CTL_OK, or another status with a message.
 */
static int become(const char *self, const char *user)
{
	errno = 0;
	bool is_number = user[strspn(user, "0123456789")] == '\0' && *user;
	const struct passwd *entry = is_number ? getpwuid((uid_t)strtoul(user, NULL, 10)) : getpwnam(user);
	if (!entry && !is_number)
		return ctl_wrong_usage(self, "there is no user '%s'%s%s", user, errno ? ": " : "",
		                       errno ? strerror(errno) : "");
	uid_t uid = entry ? entry->pw_uid : (uid_t)strtoul(user, NULL, 10);
	gid_t gid = entry ? entry->pw_gid : (gid_t)uid;
	if (uid == geteuid())
		return CTL_OK;
	int groups = geteuid() != 0 ? -1 : entry ? initgroups(entry->pw_name, gid) : setgroups(0, NULL);
	if (groups < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
		fprintf(stderr, "%s: --user: only root can see what another user's launch would\n", self);
		return CTL_NO;
	}
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* else /proc/self is still root's */
	return CTL_OK;
}

int ctl_explain(int argc, char **argv)
{
	static const struct option known[] = {{"policy", required_argument, NULL, 'p'},
	                                      {"backing", required_argument, NULL, 'b'},
	                                      {"coverage", required_argument, NULL, 'C'},
	                                      {"unit", required_argument, NULL, 'u'},
	                                      {"cgroup", required_argument, NULL, 'c'},
	                                      {"user", required_argument, NULL, 'U'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	struct explain_request request = {.json = false};
	struct settings ignored = {0};
	struct error err = {0};
	char unit[UNIT_NAME_MAX + 1];
	const char *user = NULL;
	for (int option; (option = ctl_option(argc, argv, "h", known)) != -1;) {
		switch (option) {
		case 'p': request.policy_file = optarg; break;
		case 'b': request.overrides.backing = optarg; break;
		case 'C': request.overrides.coverage = optarg; break;
		case 'u':
			if (unit_any_name(optarg, unit, &err) < 0)
				return ctl_wrong_usage(argv[0], "%s", err.detail);
			request.unit = unit;
			break;
		case 'c': request.cgroup = optarg; break;
		case 'U': user = optarg; break;
		case 'j': request.json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (settings_override(&ignored, &request.overrides, &err) < 0)
		return ctl_wrong_usage(argv[0], "%s", err.detail);
	if (argc - optind != 1)
		return ctl_wrong_usage(argv[0], "it takes one PROGRAM");
	if (request.policy_file && !request.policy_file[0])
		return ctl_wrong_usage(argv[0], "--policy=FILE: the name of the file is empty");
	request.command = argv[optind];
	int result = user ? become(argv[0], user) : CTL_OK;
	if (result == CTL_OK)
		result = explain_program(&request) == EXPLAINED ? CTL_OK : CTL_NO;
	return result;
}
