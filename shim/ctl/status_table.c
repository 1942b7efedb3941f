/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/status_table.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "ctl/ctl.h"

#define COMMAND_COLUMNS   15
#define CONTAINER_COLUMNS 30
#define BAR_CELLS         10
#define OBJECT_COLUMNS    13  /* at least; else another column is left out */
#define BAR_FROM_COLUMNS  100 /* a terminal so wide has room for a bar */

/* Which columns there is room for. */
struct layout {
	bool bar, command;
	unsigned container; /* columns; 0: none */
	unsigned object;    /* columns; 0: as long as it is */
};

void status_table_add(struct status_table *table, pid_t pid, const char *command, const char *container,
                      const struct text_object *object)
{
	char name[PATH_MAX];
	struct status_row *larger = realloc(table->rows, (table->count + 1) * sizeof larger[0]);
	if (!larger)
		return;
	table->rows = larger;
	if (table->count == 0 || larger[table->count - 1].pid != pid)
		table->process_count++;
	/* What lies beside the text in a huge page is no text. */
	uint64_t huge_bytes = object->huge_bytes < object->text_bytes ? object->huge_bytes : object->text_bytes;
	larger[table->count++] = (struct status_row){.pid = pid,
	                                             .command = strdup(command),
	                                             .name = strdup(text_object_name(object, name, sizeof name)),
	                                             .container = container ? strdup(container) : NULL,
	                                             .text_bytes = object->text_bytes,
	                                             .huge_bytes = huge_bytes,
	                                             .backing = object->backing};
}

static unsigned percent(uint64_t huge_bytes, uint64_t text_bytes)
{
	return text_bytes ? (unsigned)(huge_bytes * 100 / text_bytes) : 0;
}

static struct layout lay_out(const struct status_table *table)
{
	/* PID, TEXT, HUGE, HUGE %, BACKING and what is between */
	enum { ALWAYS = 7 + 2 + 10 + 2 + 10 + 2 + 6 + 2 + 7 + 2 };
	unsigned columns = ctl_columns(stdout);
	struct layout layout = {.command = true, .container = table->has_containers ? CONTAINER_COLUMNS : 0};
	if (!ctl_is_terminal()) /* nothing is cut there */
		return layout;
	layout.bar = columns >= BAR_FROM_COLUMNS + (layout.container ? CONTAINER_COLUMNS + 2 : 0);
	unsigned used = ALWAYS + (layout.bar ? BAR_CELLS + 1 : 0);
	if (layout.container && columns < BAR_FROM_COLUMNS + CONTAINER_COLUMNS)
		layout.container = CONTAINER_COLUMNS / 2;
	used += layout.container ? layout.container + 2 : 0;
	layout.command = columns >= used + COMMAND_COLUMNS + 2 + OBJECT_COLUMNS;
	used += layout.command ? COMMAND_COLUMNS + 2 : 0;
	layout.object = columns > used + OBJECT_COLUMNS ? columns - used : OBJECT_COLUMNS;
	return layout;
}

static void print_heading(const struct layout *layout)
{
	printf("%7s  ", "PID");
	if (layout->command)
		printf("%-*s  ", COMMAND_COLUMNS, "COMMAND");
	printf("%10s  %10s  %*s  %-7s  ", "TEXT", "HUGE", layout->bar ? BAR_CELLS + 7 : 6, "HUGE %", "BACKING");
	if (layout->container)
		printf("%-*s  ", (int)layout->container, "CONTAINER");
	puts("OBJECT");
}

static void print_row(const struct layout *layout, const struct status_row *row)
{
	char text[16], huge[16];
	unsigned share = percent(row->huge_bytes, row->text_bytes);
	printf("%7d  ", (int)row->pid);
	if (layout->command) {
		ctl_print_cell(row->command ? row->command : "?", COMMAND_COLUMNS, true);
		fputs("  ", stdout);
	}
	printf("%10s  %10s  ", size_format(row->text_bytes, text, sizeof text),
	       size_format(row->huge_bytes, huge, sizeof huge));
	for (unsigned i = 0; layout->bar && i < BAR_CELLS; i++)
		fputs(ctl_is_utf8() ? (i < share / BAR_CELLS ? "█" : "░") : (i < share / BAR_CELLS ? "#" : "."),
		      stdout);
	printf("%s%4u %%  %-7s  ", layout->bar ? " " : "", share, row->huge_bytes ? backing_name(row->backing) : "-");
	if (layout->container) {
		ctl_print_cell(row->container ? row->container : "-", layout->container, true);
		fputs("  ", stdout);
	}
	ctl_print_cell(row->name && *row->name ? row->name : "(no file)", layout->object, false);
	putchar('\n');
}

static void print_rows(const struct status_table *table, size_t count)
{
	struct layout layout = lay_out(table);
	if (count > 0 && !table->no_legend)
		print_heading(&layout);
	for (size_t i = 0; i < count; i++)
		print_row(&layout, &table->rows[i]);
}

void status_table_print(const struct status_table *table)
{
	print_rows(table, table->count);
}

static int by_text(const void *a, const void *b)
{
	const struct status_row *one = a, *other = b;
	if (one->text_bytes != other->text_bytes)
		return one->text_bytes < other->text_bytes ? 1 : -1;
	return one->pid < other->pid ? -1 : one->pid > other->pid;
}

void status_table_print_sum(struct status_table *table, const char *name, size_t most)
{
	char text[16], huge[16], line[512];
	uint64_t text_bytes = 0, huge_bytes = 0, left_bytes = 0;
	if (table->count)
		qsort(table->rows, table->count, sizeof table->rows[0], by_text);
	for (size_t i = 0; i < table->count; i++) {
		text_bytes += table->rows[i].text_bytes;
		huge_bytes += table->rows[i].huge_bytes;
		left_bytes += i >= most ? table->rows[i].text_bytes : 0;
	}
	snprintf(line, sizeof line, "%s: %s of %s of text on huge pages (%u %%), in %zu process%s", name,
	         size_format(huge_bytes, huge, sizeof huge), size_format(text_bytes, text, sizeof text),
	         percent(huge_bytes, text_bytes), table->process_count, table->process_count == 1 ? "" : "es");
	ctl_print_wrapped(0, line);
	print_rows(table, table->count < most ? table->count : most);
	if (table->count > most)
		printf("%zu more with %s of text; --json has all.\n", table->count - most,
		       size_format(left_bytes, text, sizeof text));
}

void status_table_free(struct status_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		free(table->rows[i].command);
		free(table->rows[i].name);
		free(table->rows[i].container);
	}
	free(table->rows);
}
