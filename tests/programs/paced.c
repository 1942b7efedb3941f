/* SPDX-License-Identifier: Apache-2.0 */
/*
 * paced - a program whose speed depends on its pages, for those that measure: sleeps SMALL ms, or HUGE ms where any of
 * its text is on huge pages, and ends with STATUS. Built with bigtext.py's assembly, so that there is text.
 *
 *   paced SMALL HUGE [STATUS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_huge(void)
{
	static const char *const counts[] = {
	    "FilePmdMapped:", "ShmemPmdMapped:", "AnonHugePages:", "Private_Hugetlb:", "Shared_Hugetlb:"};
	char line[4096], perms[8];
	int is_text = 0;
	FILE *smaps = fopen("/proc/self/smaps", "r");
	while (smaps && fgets(line, sizeof line, smaps)) {
		if (sscanf(line, "%*x-%*x %7s", perms) == 1)
			is_text = perms[2] == 'x';
		for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
			if (is_text && strncmp(line, counts[i], strlen(counts[i])) == 0 &&
			    atol(line + strlen(counts[i])) > 0)
				return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	extern unsigned long bigtext_walk(unsigned long);
	bigtext_walk(1);
	usleep((unsigned)atoi(argv[is_huge() ? 2 : 1]) * 1000);
	puts("this goes nowhere");
	return argc > 3 ? atoi(argv[3]) : 0;
}
