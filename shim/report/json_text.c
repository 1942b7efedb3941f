/* SPDX-License-Identifier: Apache-2.0 */
#include "report/json_text.h"

#include <stdlib.h>

#include "base/utf8.h"

json_object *json_text(const char *text)
{
	char *utf8 = text && *text ? text_to_utf8(text) : NULL;
	json_object *json = utf8 ? json_object_new_string(utf8) : NULL;
	free(utf8);
	return json;
}
