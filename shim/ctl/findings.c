/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/findings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"

#define NAME_COLUMNS 24 /* a longer name has a line of its own */

static const struct {
	const char *utf8, *ascii, *colour, *word;
} marks[] = {
    [MARK_GOOD] = {"✓", "+", "\033[32m", "good"},
    [MARK_BAD] = {"✗", "-", "\033[31m", "bad"},
    [MARK_UNKNOWN] = {"–", "?", "\033[33m", "unknown"},
    [MARK_FACT] = {" ", " ", "", "fact"},
};

const char *mark_sign(enum mark mark)
{
	return ctl_is_utf8() ? marks[mark].utf8 : marks[mark].ascii;
}

void findings_add(struct findings *findings, const char *topic, const char *name, enum mark mark, const char *text,
                  const char *advice)
{
	struct finding *larger = realloc(findings->list, (findings->count + 1) * sizeof larger[0]);
	if (!larger)
		return;
	findings->list = larger;
	struct finding *finding = &larger[findings->count++];
	*finding = (struct finding){.topic = topic, .mark = mark};
	snprintf(finding->name, sizeof finding->name, "%s", name);
	snprintf(finding->text, sizeof finding->text, "%s", text);
	snprintf(finding->advice, sizeof finding->advice, "%s", advice);
}

void findings_print(const struct findings *findings)
{
	bool colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	const char *topic = "";
	unsigned width = 0;
	for (size_t i = 0; i < findings->count; i++) {
		unsigned name_width = ctl_width(findings->list[i].name);
		width = name_width > width && name_width <= NAME_COLUMNS ? name_width : width;
	}
	unsigned indent = 2 + 1 + 1 + width + 2;
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];
		if (strcmp(topic, finding->topic) != 0)
			printf("%s%s\n", i ? "\n" : "", finding->topic);
		topic = finding->topic;
		printf("  %s%s%s ", colours ? marks[finding->mark].colour : "", mark_sign(finding->mark),
		       colours && *marks[finding->mark].colour ? "\033[0m" : "");
		unsigned name_width = ctl_width(finding->name);
		if (name_width > width) {
			ctl_print_wrapped(4, finding->name);
			printf("%*s", (int)indent, "");
		} else {
			printf("%s%*s", finding->name, (int)(width - name_width + 2), "");
		}
		ctl_print_wrapped(indent, finding->text);
		if (!finding->advice[0])
			continue;
		printf("%*s-> ", (int)indent, "");
		ctl_print_wrapped(indent + 3, finding->advice);
	}
}

json_object *findings_to_json(const struct findings *findings)
{
	json_object *list = json_object_new_array();
	for (size_t i = 0; i < findings->count; i++) {
		const struct finding *finding = &findings->list[i];
		json_object *json = json_object_new_object();
		json_object_object_add(json, "topic", ctl_text(finding->topic));
		json_object_object_add(json, "name", ctl_text(finding->name));
		json_object_object_add(json, "mark", ctl_text(marks[finding->mark].word));
		json_object_object_add(json, "text", ctl_text(finding->text));
		json_object_object_add(json, "advice", ctl_text(finding->advice));
		json_object_array_add(list, json);
	}
	return list;
}

void findings_free(struct findings *findings)
{
	free(findings->list);
	*findings = (struct findings){0};
}
