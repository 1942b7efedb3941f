/* SPDX-License-Identifier: Apache-2.0 */
#include "told_container.h"

#include <string.h>

static void add(struct annotation *list, size_t *count, char *pair)
{
	char *equals = strchr(pair, '=');
	if (!equals || *count == TOLD_MAX)
		return;
	*equals = '\0';
	list[(*count)++] = (struct annotation){pair, equals + 1};
}

bool told_container_add(struct told_container *told, int option, char *value)
{
	struct container_attrs *attrs = &told->attrs;
	switch (option) {
	case TOLD_NAMESPACE: attrs->pod_namespace = value; break;
	case TOLD_POD: attrs->pod = value; break;
	case TOLD_CONTAINER: attrs->container = value; break;
	case TOLD_IMAGE: attrs->image = value; break;
	case TOLD_ANNOTATION: add(told->annotations, &attrs->annotation_count, value); break;
	case TOLD_LABEL: add(told->labels, &attrs->label_count, value); break;
	default: return false;
	}
	attrs->annotations = told->annotations;
	attrs->labels = told->labels;
	told->is_told = true;
	return true;
}
