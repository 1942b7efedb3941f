/* SPDX-License-Identifier: Apache-2.0 */
#include <langinfo.h>
#include <string.h>

#include "ctl/ctl.h"

bool ctl_is_utf8(void)
{
	return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
