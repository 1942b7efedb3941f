/* SPDX-License-Identifier: Apache-2.0 */
#include "base/version.h"

#include <stdbool.h>
#include <stdio.h>

#include "commit.h"
#include "config.h"

int version_print(const char *name)
{
	static const char commit[] = HUGEXEC_COMMIT;
	bool is_known = commit[0] != '-'; /* an empty word is none to meson 1.7, which takes the version then */
	return printf("%s " HUGEXEC_VERSION "%s%s%s\n" HUGEXEC_FEATURES "\n", name, is_known ? " (commit " : "",
	              is_known ? commit : "", is_known ? ")" : "");
}
