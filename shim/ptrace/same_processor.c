/* SPDX-License-Identifier: Apache-2.0 */
#include "ptrace/same_processor.h"

#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Only memory for the mask can be short, for a moment. */
#define TRIES 100

#define LONG_WAIT_US 500

static bool is_crowded; /* somebody else wants our processor: not again */

/* How many processors there are, if more than one and we may ask for them; 0: leave everybody where they are. */
static int processors(void)
{
	static int count = -1;
	if (count < 0)
		count = prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 0 ? (int)sysconf(_SC_NPROCESSORS_ONLN) : 0;
	return count > 1 ? count : 0;
}

/* Whether PID (0: we) may run on every processor. */
static bool has_all(pid_t pid)
{
	cpu_set_t has;
	return sched_getaffinity(pid, sizeof has, &has) == 0 && CPU_COUNT(&has) == processors();
}

bool same_processor_begin(pid_t pid)
{
	cpu_set_t one;
	if (is_crowded || !processors() || !has_all(0) || !has_all(pid))
		return false;
	int here = sched_getcpu();
	if (here < 0 || here >= CPU_SETSIZE)
		return false;
	CPU_ZERO(&one);
	CPU_SET((unsigned)here, &one);
	if (sched_setaffinity(pid, sizeof one, &one) < 0)
		return false;
	sched_setaffinity(0, sizeof one, &one);
	return true;
}

bool same_processor_is_crowded(int64_t waited_us)
{
	is_crowded |= waited_us >= LONG_WAIT_US;
	return is_crowded;
}

int same_processor_end(pid_t pid)
{
	cpu_set_t all;
	memset(&all, 0xff, sizeof all);
	sched_setaffinity(0, sizeof all, &all);
	for (int i = 0; i < TRIES; i++) {
		if (sched_setaffinity(pid, sizeof all, &all) == 0)
			return 0;
	}
	return -1;
}
