/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/pod_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "host/pages.h"

enum { NAMESPACE, POD, CONTAINER, IMAGE, COLUMNS };

#define NUMBERS_COLUMNS (9 + 2 + 10 + 2 + 6) /* PROCESSES, HUGE, HUGE % and what is between */
#define TEXT_COLUMNS    (10 + 2)
#define WIDE_COLUMNS    100 /* a terminal so wide has room for TEXT */
#define LEAST_COLUMNS   9   /* for a name; its heading takes as many */

/* Which columns there are, and how wide those with names. */
struct layout {
	bool text;
	unsigned widths[COLUMNS];
};

static const char *const headings[COLUMNS] = {"NAMESPACE", "POD", "CONTAINER", "IMAGE"};

struct pod_table pod_table_of(const struct records *containers)
{
	return (struct pod_table){containers, calloc(containers->count + 1, sizeof(struct pod_sum))};
}

void pod_table_add(struct pod_table *table, const struct record *container, const struct text_objects *objects)
{
	if (!table->sums)
		return;
	struct pod_sum *sum = &table->sums[container - table->containers->list];
	sum->processes++;
	for (size_t i = 0; i < objects->count; i++) {
		const struct text_object *object = &objects->list[i];
		if (object->text_bytes < host_pages()->huge_bytes)
			continue;
		/* What lies beside the text in a huge page is no text. */
		sum->text_bytes += object->text_bytes;
		sum->huge_bytes += object->huge_bytes < object->text_bytes ? object->huge_bytes : object->text_bytes;
	}
}

/* What is shown of CONTAINER in COLUMN; a container of no pod goes by its id. */
static const char *cell(const struct record *container, unsigned column)
{
	const char *const names[COLUMNS] = {container->pod_namespace, container->pod,
	                                    container->name[0] ? container->name : container->id, container->image};
	return names[column][0] ? names[column] : "-";
}

static int by_name(const void *a, const void *b)
{
	const struct record *one = *(const struct record *const *)a, *other = *(const struct record *const *)b;
	int result = 0;
	for (unsigned i = 0; i < IMAGE && result == 0; i++)
		result = strcmp(cell(one, i), cell(other, i));
	return result ? result : strcmp(one->id, other->id);
}

/* The containers in the order in which they are shown; NULL: there are none, or memory is short. */
static const struct record **in_order(const struct pod_table *table)
{
	size_t count = table->containers->count;
	const struct record **list = table->sums && count ? calloc(count, sizeof(const struct record *)) : NULL;
	if (!list)
		return NULL;
	for (size_t i = 0; i < count; i++)
		list[i] = &table->containers->list[i];
	qsort(list, count, sizeof(const struct record *), by_name);
	return list;
}

/* As wide as the widest; on a terminal that is narrower, each its share of that. */
static struct layout lay_out(const struct records *containers)
{
	char shown[RECORD_NAME_BYTES];
	unsigned columns = ctl_columns(stdout);
	struct layout layout = {.text = !ctl_is_terminal() || columns >= WIDE_COLUMNS};
	unsigned numbers = NUMBERS_COLUMNS + (layout.text ? TEXT_COLUMNS : 0), all = numbers;
	unsigned *widths = layout.widths;
	for (unsigned column = 0; column < COLUMNS; column++) {
		widths[column] = LEAST_COLUMNS;
		for (size_t i = 0; i < containers->count; i++) {
			const char *text = cell(&containers->list[i], column);
			unsigned width = ctl_width(text_printable(text, shown, sizeof shown));
			widths[column] = width > widths[column] ? width : widths[column];
		}
		all += 2 + widths[column];
	}
	if (!ctl_is_terminal() || all <= columns)
		return layout;
	unsigned share = columns > numbers ? (columns - numbers) / COLUMNS : 0;
	for (unsigned column = 0; column < COLUMNS; column++) {
		unsigned most = share > LEAST_COLUMNS + 2 ? share - 2 : LEAST_COLUMNS;
		widths[column] = widths[column] < most ? widths[column] : most;
	}
	return layout;
}

static void print_row(const struct layout *layout, const char *const numbers[4], const char *const names[COLUMNS])
{
	printf("%9s  ", numbers[0]);
	if (layout->text)
		printf("%10s  ", numbers[1]);
	printf("%10s  %6s", numbers[2], numbers[3]);
	for (unsigned i = 0; i < COLUMNS; i++) {
		fputs("  ", stdout);
		ctl_print_cell(names[i], layout->widths[i], i < COLUMNS - 1);
	}
	putchar('\n');
}

static void print_container(const struct layout *layout, const struct pod_sum *sum, const struct record *container)
{
	char processes[16], text[16], huge[16], percent[32];
	const char *const numbers[] = {processes, size_format(sum->text_bytes, text, sizeof text),
	                               size_format(sum->huge_bytes, huge, sizeof huge), percent};
	const char *names[COLUMNS];
	snprintf(processes, sizeof processes, "%u", sum->processes);
	snprintf(percent, sizeof percent, "%" PRIu64 " %%",
	         sum->text_bytes ? sum->huge_bytes * 100 / sum->text_bytes : 0);
	for (unsigned column = 0; column < COLUMNS; column++)
		names[column] = cell(container, column);
	print_row(layout, numbers, names);
}

void pod_table_print(const struct pod_table *table, bool no_legend)
{
	cleanup_free const struct record **list = in_order(table);
	if (!list) {
		if (!no_legend)
			puts("No container that runs came on huge pages.");
		return;
	}
	const struct layout layout = lay_out(table->containers);
	if (!no_legend)
		print_row(&layout, (const char *const[]){"PROCESSES", "TEXT", "HUGE", "HUGE %"}, headings);
	for (size_t i = 0; i < table->containers->count; i++)
		print_container(&layout, &table->sums[list[i] - table->containers->list], list[i]);
}

json_object *container_to_json(const struct record *container)
{
	json_object *json = json_object_new_object();
	json_object_object_add(json, "id", ctl_text(container->id));
	json_object_object_add(json, "namespace", ctl_text(container->pod_namespace));
	json_object_object_add(json, "pod", ctl_text(container->pod));
	json_object_object_add(json, "name", ctl_text(container->name));
	json_object_object_add(json, "image", ctl_text(container->image));
	return json;
}

json_object *pod_table_to_json(const struct pod_table *table)
{
	json_object *array = json_object_new_array();
	cleanup_free const struct record **list = in_order(table);
	for (size_t i = 0; list && i < table->containers->count; i++) {
		const struct pod_sum *sum = &table->sums[list[i] - table->containers->list];
		json_object *json = container_to_json(list[i]);
		json_object_object_add(json, "processes", json_object_new_int64(sum->processes));
		json_object_object_add(json, "text_bytes", json_object_new_uint64(sum->text_bytes));
		json_object_object_add(json, "huge_bytes", json_object_new_uint64(sum->huge_bytes));
		json_object_array_add(array, json);
	}
	return array;
}

void pod_table_free(struct pod_table *table)
{
	free(table->sums);
	*table = (struct pod_table){0};
}
