/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hugexecctl status: which processes have text on huge pages, and how much of it.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "base/utf8.h"
#include "ctl/ctl.h"
#include "ctl/last_report.h"
#include "ctl/pod_table.h"
#include "ctl/status_table.h"
#include "ctl/text_objects.h"
#include "ctl/unit.h"
#include "host/host.h"
#include "report/container_state.h"

#define SMAPS_LIMIT_BYTES (256 * MIB)
#define LABEL_BYTES       1024
#define REPORT_BYTES      1024
#define ROWS_OF_UNIT      20

static const char help[] = "Usage: hugexecctl status [OPTIONS] [PID | --unit=NAME | --pods]\n"
                           "Show the processes whose text is on huge pages, and how much of it is. For PID,\n"
                           "or for the processes of the systemd unit NAME, show all text. With --pods, show\n"
                           "the containers that came on huge pages and run, for root.\n"
                           "\n"
                           "  --unit=NAME      processes of this systemd unit only\n"
                           "  --pods           a row for each container, with its pod and image\n"
                           "  --no-legend      no heading, nothing below the rows\n"
                           "  --json           print JSON, for programs\n"
                           "  -h, --help       this text\n"
                           "\n"
                           "Exit status: 0; 1 if PID does not exist or cannot be read, NAME has no process,\n"
                           "or --pods is not root's; 2 for wrong usage.\n";

struct status {
	bool json, pods;
	pid_t only;       /* 0: all */
	const char *unit; /* NULL: all */
	unsigned in_unit; /* processes of UNIT */
	json_object *processes;
	struct records containers;
	struct status_table table;
	struct pod_table pod_table;
	unsigned unreadable;
};

struct process {
	pid_t pid;
	const char *comm;
	const struct record *container; /* NULL: in none that we know of */
};

static json_object *object_to_json(const struct text_object *object)
{
	bool huge = object->huge_bytes > 0;
	char name[PATH_MAX];
	json_object *json = json_object_new_object();
	json_object_object_add(json, "name", ctl_text(text_object_name(object, name, sizeof name)));
	json_object_object_add(json, "path", ctl_text(object->path));
	json_object_object_add(json, "text_bytes", json_object_new_uint64(object->text_bytes));
	json_object_object_add(json, "huge_bytes", json_object_new_uint64(object->huge_bytes));
	json_object_object_add(json, "backing", huge ? ctl_text(backing_name(object->backing)) : NULL);
	json_object_object_add(json, "shared", huge ? json_object_new_boolean(text_object_is_shared(object)) : NULL);
	return json;
}

static void show_process(struct status *status, pid_t pid, const char *comm, const struct text_objects *objects)
{
	struct process shown = {.pid = pid, .comm = comm};
	json_object *list = NULL;
	char label[LABEL_BYTES];
	for (size_t i = 0; i < objects->count; i++) {
		const struct text_object *object = &objects->list[i];
		if (!status->only && !status->unit && !object->huge_bytes)
			continue;
		if (!shown.container)
			shown.container = records_find(&status->containers, pid);
		if (!status->json) {
			const char *in = shown.container ? record_label(shown.container, label, sizeof label) : NULL;
			status_table_add(&status->table, pid, comm, in, object);
			continue;
		}
		if (!list)
			list = json_object_new_array();
		json_object_array_add(list, object_to_json(object));
	}
	if (!list)
		return;
	json_object *process = json_object_new_object();
	json_object_object_add(process, "pid", json_object_new_int(pid));
	json_object_object_add(process, "command", ctl_text(comm));
	json_object_object_add(process, "container", shown.container ? container_to_json(shown.container) : NULL);
	json_object_object_add(process, "objects", list);
	json_object_array_add(status->processes, process);
}

/* Returns 0, or -1 with errno if PID cannot be read (ESRCH, ENOENT: it has ended). */
static int read_process(struct status *status, pid_t pid)
{
	char path[64];
	cleanup_free char *smaps = NULL;
	cleanup_free char *comm = NULL;
	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	if (read_file_at(AT_FDCWD, path, SMAPS_LIMIT_BYTES, &smaps, NULL) < 0)
		return -1;
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	if (read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &comm, NULL) < 0)
		return -1;
	comm[strcspn(comm, "\n")] = '\0';
	struct text_objects objects;
	if (text_objects_read(smaps, &objects) < 0) {
		errno = EBADMSG;
		return -1;
	}
	const struct record *container = status->pods ? records_find(&status->containers, pid) : NULL;
	if (container)
		pod_table_add(&status->pod_table, container, &objects);
	else if (!status->pods)
		show_process(status, pid, comm, &objects);
	text_objects_free(&objects);
	return 0;
}

static bool is_wanted(struct status *status, pid_t pid)
{
	if (!status->unit)
		return true;
	cleanup_free char *unit = host_unit_of(pid);
	bool wanted = unit && strcmp(unit, status->unit) == 0;
	status->in_unit += wanted;
	return wanted;
}

static int read_all_processes(struct status *status)
{
	cleanup_closedir DIR *proc = opendir("/proc");
	if (!proc) {
		fprintf(stderr, "hugexecctl: /proc: %s\n", strerror(errno));
		return CTL_NO;
	}
	struct dirent *entry;
	while ((entry = readdir(proc)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !is_wanted(status, (pid_t)atoi(entry->d_name)))
			continue;
		if (read_process(status, (pid_t)atoi(entry->d_name)) < 0 && errno != ESRCH && errno != ENOENT)
			status->unreadable++;
	}
	return CTL_OK;
}

static bool has_huge(const struct status_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		if (table->rows[i].huge_bytes > 0)
			return true;
	}
	return false;
}

/* What it comes to first; and why it is nothing, as far as the journal knows. */
static void print_unit(struct status *status)
{
	char report[REPORT_BYTES], line[REPORT_BYTES + 32], shown[REPORT_BYTES + 32];
	status_table_print_sum(&status->table, status->unit, ROWS_OF_UNIT);
	if (has_huge(&status->table))
		return;
	const char *last = last_report_of(status->unit, report, sizeof report);
	snprintf(line, sizeof line, "Last report: %s",
	         last ? last : "none in the journal: is it started through hugexec? see hugexecctl enable");
	ctl_print_wrapped(0, text_printable(line, shown, sizeof shown));
}

static void finish(struct status *status)
{
	if (status->json) {
		json_object *json = json_object_new_object();
		json_object_object_add(json, "version", json_object_new_int(1));
		if (status->pods)
			json_object_object_add(json, "containers", pod_table_to_json(&status->pod_table));
		else
			json_object_object_add(json, "processes", status->processes);
		json_object_object_add(json, "unreadable", json_object_new_int((int)status->unreadable));
		ctl_print_json(json);
		return;
	}
	if (status->pods) {
		pod_table_print(&status->pod_table, status->table.no_legend);
		return;
	}
	status->table.has_containers = status->containers.count > 0;
	if (status->table.no_legend) {
		status_table_print(&status->table);
		return;
	}
	if (status->unit && status->table.count > 0)
		print_unit(status);
	else
		status_table_print(&status->table);
	if (status->table.count == 0 && !(status->unit && status->in_unit == 0))
		puts(status->only || status->unit ? "It has no text." : "No process has text on huge pages.");
	if (status->unreadable)
		printf("%u process%s could not be read%s.\n", status->unreadable, status->unreadable == 1 ? "" : "es",
		       geteuid() == 0 ? "" : "; root can");
}

int ctl_status(int argc, char **argv)
{
	static const struct option known[] = {
	    {"json", no_argument, NULL, 'j'},      {"pods", no_argument, NULL, 'p'},
	    {"no-legend", no_argument, NULL, 'l'}, {"unit", required_argument, NULL, 'u'},
	    {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
	char unit[UNIT_NAME_MAX + 1];
	struct error err = {0};
	struct status status = {.json = false};
	int option;
	while ((option = ctl_option(argc, argv, "h", known)) != -1) {
		switch (option) {
		case 'j': status.json = true; break;
		case 'p': status.pods = true; break;
		case 'l': status.table.no_legend = true; break;
		case 'u':
			if (unit_any_name(optarg, unit, &err) < 0)
				return ctl_wrong_usage(argv[0], "%s", err.detail);
			status.unit = unit;
			break;
		case 'h': fputs(help, stdout); return CTL_OK;
		default: return CTL_USAGE;
		}
	}
	if (argc - optind + (status.unit != NULL) + status.pods > 1)
		return ctl_wrong_usage(argv[0], "it takes one of PID, --unit=NAME and --pods");
	if (optind < argc && !(status.only = ctl_pid(argv[optind])))
		return ctl_no_pid(argv[0], argv[optind]);
	if (status.pods && geteuid() != 0) {
		fputs("hugexecctl: only root may read which containers there are: run it as root\n", stderr);
		return CTL_NO;
	}
	if (status.json && !status.pods)
		status.processes = json_object_new_array();
	records_read(RECORD_DIRECTORY, &status.containers);
	status.pod_table = pod_table_of(&status.containers);
	int result = CTL_OK;
	if (!status.only) {
		result = read_all_processes(&status);
		if (status.unit && status.in_unit == 0) {
			result = ctl_unit_is_idle(status.unit);
		}
	} else if (read_process(&status, status.only) < 0) {
		if (errno == ENOENT || errno == ESRCH)
			ctl_no_process(status.only);
		else
			fprintf(stderr, "hugexecctl: process %d: %s%s\n", (int)status.only, strerror(errno),
			        errno == EACCES || errno == EPERM ? ": root can read it" : "");
		json_object_put(status.processes);
		pod_table_free(&status.pod_table);
		records_free(&status.containers);
		return CTL_NO;
	}
	finish(&status);
	status_table_free(&status.table);
	pod_table_free(&status.pod_table);
	records_free(&status.containers);
	return result;
}
