/* SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

#include <stdio.h>

#include "commit.h"
#include "config.h"

int version_print(const char *name)
{
	static const char commit[] = HUGEXEC_COMMIT;
	return printf("%s " HUGEXEC_VERSION "%s%s%s\n" HUGEXEC_FEATURES "\n", name, commit[0] ? " (commit " : "",
	              commit, commit[0] ? ")" : "");
}
