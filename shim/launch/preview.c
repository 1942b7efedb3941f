#include "launch/preview.h"

#include <stdio.h>

int preview_print(const struct options *options, const struct policy *policy, const struct program *program)
{
	(void)options, (void)policy;
	fprintf(stderr, "%s\n", program->path);
	return 0;
}
