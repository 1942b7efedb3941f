/*
 * hugexecctl explain: what would hugexec do with this program, and why.
 */
#include <getopt.h>
#include <stdio.h>

#include "ctl/ctl.h"
#include "ctl/explain.h"

static const char help[] = "Usage: hugexecctl explain [OPTIONS] [--] PROGRAM\n"
                           "Say what hugexec would do with PROGRAM, looked up as a shell would: the rule\n"
                           "that matches, the settings in force, and the plan. Nothing is run, written or\n"
                           "taken: \"hugexecctl doctor\" tries things. Unit, cgroup and user are the caller's.\n"
                           "\n"
                           "  --policy=FILE    read this policy instead of the host's\n"
                           "  --backing=LIST   in place of the rule's: file, hugetlb, thp\n"
                           "  --json           for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 1 if PROGRAM is not found or the policy is broken; 2 for wrong\n"
                           "usage.\n";

int ctl_explain(int argc, char **argv)
{
	static const struct option known[] = {{"policy", required_argument, NULL, 'p'},
	                                      {"backing", required_argument, NULL, 'b'},
	                                      {"json", no_argument, NULL, 'j'},
	                                      {"help", no_argument, NULL, 'h'},
	                                      {NULL, 0, NULL, 0}};
	const char *policy_file = NULL;
	const char *backing = NULL;
	struct settings ignored;
	struct error err = {0};
	bool json = false;
	int option;
	while ((option = getopt_long(argc, argv, "+h", known, NULL)) != -1) {
		switch (option) {
		case 'p': policy_file = optarg; break;
		case 'b': backing = optarg; break;
		case 'j': json = true; break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return ctl_wrong_usage(argv[0], NULL);
		}
	}
	if (backing && settings_override_backing(&ignored, backing, &err) < 0)
		return ctl_wrong_usage(argv[0], "%s", err.detail);
	if (argc - optind != 1)
		return ctl_wrong_usage(argv[0], "it takes one PROGRAM");
	return explain_program(argv[optind], policy_file, backing, json) == EXPLAINED ? CTL_OK : CTL_NO;
}
