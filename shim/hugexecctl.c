/*
 * hugexecctl - the operator's view of hugexec: is the policy right, what would happen to this program, what can this
 * host do, what is running; and prepares the host: units, page cache, pool.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "ctl/ctl.h"
#include "ctl/pool.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
} verbs[] = {
    {"check", ctl_check},     {"explain", ctl_explain}, {"doctor", ctl_doctor}, {"status", ctl_status},
    {"metrics", ctl_metrics}, {"attach", ctl_attach},   {"warm", ctl_warm},     {"enable", ctl_enable},
    {"disable", ctl_disable}, {"pool", ctl_pool},
};

static const char help[] = "Usage: hugexecctl VERB [OPTIONS]\n"
                           "Look at what hugexec does and could do on this host, and prepare the host for it.\n"
                           "\n"
                           "  check [FILE...]           validate policies: FILE:LINE:COLUMN: what is wrong\n"
                           "  explain [--] PROGRAM      the rule that matches, why, and the plan for it\n"
                           "  doctor                    what this host can do, and the setting that would change it\n"
                           "  status [PID]              processes whose text is on huge pages, with coverage\n"
                           "  metrics                   what was done since boot, counted, for OpenMetrics\n"
                           "  attach PID...             put the text of processes that run on huge pages\n"
                           "  warm FILE...              have the page cache hold programs in huge pages beforehand\n"
                           "  enable UNIT, disable UNIT start a systemd service through hugexec, or no longer\n"
                           "  pool [FILE]               reserve the huge pages that " POOL_CONF " asks for\n"
                           "\n"
                           "  --help, --version         and 'hugexecctl VERB --help' for a verb's options\n"
                           "\n"
                           "attach, explain, doctor, status and warm take --json.\n"
                           "Exit status: 0; 1 where the answer is no; 2 for wrong usage.\n"
                           "\n"
                           "See also hugexec(1), hugexec-policy(5).\n";

/* Output that could not be written is a failure, however well the rest went. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("hugexecctl: standard output");
	return status == CTL_OK ? CTL_NO : status;
}

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");
	if (argc < 2) {
		fputs("hugexecctl: no verb given\nTry 'hugexecctl --help'.\n", stderr);
		return CTL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		fputs(help, stdout);
		return finish(CTL_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("hugexecctl " HUGEXEC_VERSION);
		return finish(CTL_OK);
	}
	/* With a file size limit, what is tried is to fail with EFBIG and not to kill us. */
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		char name[32];
		snprintf(name, sizeof name, "hugexecctl %s", verbs[i].name);
		argv[1] = name;
		return finish(verbs[i].run(argc - 1, argv + 1));
	}
	fprintf(stderr,
	        "hugexecctl: unknown verb '%s': it is one of attach, check, disable, doctor, enable, explain, metrics, "
	        "pool, "
	        "status, warm\n",
	        argv[1]);
	return CTL_USAGE;
}
