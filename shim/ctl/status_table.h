/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status_table.h - what hugexecctl status shows people: a row for each text object of a process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "ctl/text_objects.h"

struct status_row {
	pid_t pid;
	char *command, *name;
	char *container; /* label; NULL: in none that we know of */
	uint64_t text_bytes, huge_bytes;
	enum backing backing;
};

struct status_table {
	bool no_legend;
	bool has_containers; /* some run: there is a column for them */
	struct status_row *rows;
	size_t count, process_count;
};

/* Add OBJECT of process PID, which runs COMMAND; all is copied. A row is lost if memory is short. */
void status_table_add(struct status_table *table, pid_t pid, const char *command, const char *container,
                      const struct text_object *object);

/* To standard output, in the order in which the rows were added; on a terminal in lines that fit. */
void status_table_print(const struct status_table *table);

/* What all rows come to, and the largest MOST of them: the rest is counted. NAME: whose they are. */
void status_table_print_sum(struct status_table *table, const char *name, size_t most);

void status_table_free(struct status_table *table);
