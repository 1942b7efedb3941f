/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod_table.h - hugexecctl status --pods: a row for each container that came on huge pages and runs, with its pod, its
 * image, and what is on huge pages in all of its processes.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/text_objects.h"
#include "report/container_state.h"

struct pod_table {
	const struct records *containers;
	struct pod_sum {
		unsigned processes;
		uint64_t text_bytes, huge_bytes; /* of objects with at least a huge page of text */
	} * sums;                                /* one for each of CONTAINERS; NULL: memory is short */
};

/* An empty table of CONTAINERS, which are borrowed. pod_table_free() it. */
struct pod_table pod_table_of(const struct records *containers);

/* Add a process of CONTAINER, which is one of the table's, and has mapped OBJECTS. */
void pod_table_add(struct pod_table *table, const struct record *container, const struct text_objects *objects);

/* Print it by namespace, pod and container: on a terminal in lines that fit, and with a heading unless NO_LEGEND. */
void pod_table_print(const struct pod_table *table, bool no_legend);

/* Who CONTAINER is. */
json_object *container_to_json(const struct record *container);

/* The same as pod_table_print() as an array. */
json_object *pod_table_to_json(const struct pod_table *table);

void pod_table_free(struct pod_table *table);
