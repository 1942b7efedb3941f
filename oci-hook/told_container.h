/* SPDX-License-Identifier: Apache-2.0 */
/*
 * told_container.h - what hugexec-nri tells the hook of its container: options that it puts into the hook's arguments.
 *
 * Not annotations: those a pod can name itself where an engine passes them on, and two plugins that set the same one
 * fail the container. A hook's arguments come from the engine and its plugins only.
 */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "policy/policy.h"

#define TOLD_MAX 128 /* annotations, and labels: more are not told */

enum told_option { TOLD_NAMESPACE = 256, TOLD_POD, TOLD_CONTAINER, TOLD_IMAGE, TOLD_ANNOTATION, TOLD_LABEL };

/* As getopt_long(3) takes them. */
#define TOLD_OPTIONS                                                                                                \
	{"namespace", required_argument, NULL, TOLD_NAMESPACE}, {"pod", required_argument, NULL, TOLD_POD},         \
	    {"container", required_argument, NULL, TOLD_CONTAINER}, {"image", required_argument, NULL, TOLD_IMAGE}, \
	    {"annotation", required_argument, NULL, TOLD_ANNOTATION}, /* NAME=VALUE */                              \
	{                                                                                                           \
		"label", required_argument, NULL, TOLD_LABEL                                                        \
	}

/*
 * By these others know such a hook: the name of its file, and an argument that each has, for each pod is in a
 * namespace. A hook that was told nothing leaves the container to one that was; for an engine may also have read
 * hugexec.json.
 */
#define TOLD_HOOK_NAME "hugexec-oci-hook"
#define TOLD_HOOK_MARK "--namespace="

struct told_container {
	bool is_told; /* by any of the options; then nothing else is to be believed */
	struct container_attrs attrs;
	struct annotation annotations[TOLD_MAX], labels[TOLD_MAX];
};

/* Take in VALUE of OPTION, which is borrowed and, if it is NAME=VALUE, cut in two. Returns false if it is none of
 * these. */
bool told_container_add(struct told_container *told, int option, char *value);
