#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "ctl/ctl.h"

json_object *ctl_text(const char *text)
{
	char *utf8 = text && *text ? text_to_utf8(text) : NULL;
	json_object *json = utf8 ? json_object_new_string(utf8) : NULL;
	free(utf8);
	return json;
}

void ctl_print_json(json_object *json)
{
	const char *text =
	    json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
	if (text)
		puts(text);
	json_object_put(json);
}
