/* SPDX-License-Identifier: Apache-2.0 */
#include "base/kill_switch.h"

#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

bool is_switched_off(void)
{
	static const char *const words[] = {"0", "off", "no", "false"};
	const char *value = getenv("HUGEXEC");
	for (size_t i = 0; value && i < sizeof words / sizeof words[0]; i++) {
		if (strcasecmp(value, words[i]) == 0)
			return true;
	}
	return access(KILL_SWITCH_FILE, F_OK) == 0;
}
