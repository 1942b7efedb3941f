/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/container_attrs.h"

#include <string.h>

enum { ENGINES = 2 };

/* What containerd's CRI plugin calls it; what the kubelet does, whose names CRI-O takes over. */
static const struct source {
	size_t offset; /* in struct container_attrs */
	const char *annotations[ENGINES];
} sources[] = {
    {offsetof(struct container_attrs, pod_namespace),
     {"io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"}},
    {offsetof(struct container_attrs, pod), {"io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"}},
    {offsetof(struct container_attrs, container), {"io.kubernetes.cri.container-name", "io.kubernetes.container.name"}},
    {offsetof(struct container_attrs, image), {"io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"}},
};

/* The image's is the last. */
enum { SOURCES = sizeof sources / sizeof sources[0] };

bool container_attrs_name_image(const char *name)
{
	return strcmp(name, sources[SOURCES - 1].annotations[0]) == 0 ||
	       strcmp(name, sources[SOURCES - 1].annotations[1]) == 0;
}

/* Whether anything was found; the members that were go to TOLD. */
static bool look(const struct annotation *annotations, size_t count, int engine, const char *told[SOURCES])
{
	bool found = false;
	for (size_t i = 0; i < SOURCES; i++) {
		for (size_t j = 0; j < count && !told[i]; j++) {
			if (strcmp(annotations[j].name, sources[i].annotations[engine]) == 0)
				told[i] = annotations[j].value;
		}
		found |= told[i] != NULL;
	}
	return found;
}

struct container_attrs container_attrs_of(const struct annotation *annotations, size_t count)
{
	struct container_attrs attrs = {.annotations = annotations, .annotation_count = count};
	const char *told[ENGINES][SOURCES] = {{NULL}};
	bool by_first = look(annotations, count, 0, told[0]);
	bool by_second = look(annotations, count, 1, told[1]);
	if (by_first == by_second)
		return attrs;
	for (size_t i = 0; i < SOURCES; i++)
		memcpy((char *)&attrs + sources[i].offset, &told[by_second][i], sizeof told[0][0]);
	return attrs;
}
