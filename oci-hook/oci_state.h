/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci_state.h - the state of a container, as a runtime tells its hooks (OCI runtime specification, "State").
 *
 * It comes from a runtime, but a hook that runs as root believes nothing that it has not checked: types, lengths, and
 * that what names a process could be one.
 */
#pragma once

#include <json-c/json.h>
#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "policy/policy.h"
#include "report/container_state.h"

#define OCI_STATE_MAX_BYTES (1024 * 1024)
#define OCI_ANNOTATIONS_MAX 1024

enum oci_status { OCI_CREATING, OCI_CREATED, OCI_RUNNING, OCI_STOPPED };

struct oci_state {
	char id[RECORD_ID_MAX + 1];
	enum oci_status status;
	pid_t pid; /* the container's init, as we see it; 0 if it is stopped */
	char bundle[PATH_MAX];
	struct annotation *annotations; /* their strings belong to ROOT, or to who added them */
	size_t annotation_count;
	json_object *root;
};

/*
 * Check the state in TEXT (NUL-terminated, BYTES without the NUL). Returns 0 (oci_state_free() it), or -1 with ERR word
 * "oci-state" and nothing to free. Pure.
 */
int oci_state_parse(const char *text, size_t bytes, struct oci_state *out, struct error *err);

/*
 * Add those of COUNT ANNOTATIONS (config.json's, whose strings must outlive STATE) that the state does not have: not
 * every runtime passes them on. Returns 0, or -1 with ERR word "config".
 */
int oci_state_add_annotations(struct oci_state *state, const struct annotation *annotations, size_t count,
                              struct error *err);

void oci_state_free(struct oci_state *state);
