/* SPDX-License-Identifier: Apache-2.0 */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/proc.h"
#include "base/size.h"

#define POOL_DIR "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s"

static int read_pool_file(uint64_t page_bytes, const char *name, uint64_t *out)
{
	char path[128];
	snprintf(path, sizeof path, POOL_DIR, page_bytes / KIB, name);
	return read_number_file(path, out);
}

int host_hugetlb_pool(uint64_t page_bytes, struct hugetlb_pool *out)
{
	uint64_t overcommit = 0;
	uint64_t surplus = 0;
	*out = (struct hugetlb_pool){.page_bytes = page_bytes};
	if (read_pool_file(page_bytes, "nr_hugepages", &out->total) < 0 ||
	    read_pool_file(page_bytes, "free_hugepages", &out->free) < 0 ||
	    read_pool_file(page_bytes, "resv_hugepages", &out->reserved) < 0)
		return -1;
	read_pool_file(page_bytes, "nr_overcommit_hugepages", &overcommit);
	read_pool_file(page_bytes, "surplus_hugepages", &surplus);
	out->overcommit_left = overcommit > surplus ? overcommit - surplus : 0;
	return 0;
}

const char *host_machine_id(void)
{
	static char id[33];
	static bool is_read;
	cleanup_free char *text = NULL;
	if (!is_read && read_file_at(AT_FDCWD, "/etc/machine-id", SMALL_FILE_BYTES, &text, NULL) == 0 &&
	    strspn(text, "0123456789abcdef") == sizeof id - 1 && (text[sizeof id - 1] == '\n' || !text[sizeof id - 1]))
		memcpy(id, text, sizeof id - 1);
	is_read = true;
	return id[0] ? id : NULL;
}

int host_yama_scope(void)
{
	uint64_t scope;
	return read_number_file("/proc/sys/kernel/yama/ptrace_scope", &scope) < 0 ? -1 : (int)scope;
}

const char *host_switch(const char *path, char *buf, size_t buf_bytes)
{
	cleanup_free char *text = NULL;
	buf[0] = '\0';
	if (read_file_at(AT_FDCWD, path, SMALL_FILE_BYTES, &text, NULL) < 0)
		return buf;
	char *open_bracket = strchr(text, '[');
	char *close_bracket = open_bracket ? strchr(open_bracket, ']') : NULL;
	if (close_bracket)
		snprintf(buf, buf_bytes, "%.*s", (int)(close_bracket - open_bracket - 1), open_bracket + 1);
	else
		snprintf(buf, buf_bytes, "%.*s", (int)strcspn(text, "\n"), text);
	return buf;
}

/*
 * The unit in a path of cgroups: what follows the slices, without the "_" that systemd puts before names which would
 * clash with the kernel's own (cg_unescape() in systemd). NULL if that is no unit.
 */
static char *unit_in_cgroup(const char *path)
{
	static const char *const kinds[] = {".service", ".scope", ".socket", ".mount", ".swap"};
	char name[256];
	for (;;) {
		path += strspn(path, "/");
		size_t length = strcspn(path, "/");
		snprintf(name, sizeof name, "%.*s", (int)length, path);
		const char *dot = strrchr(name, '.');
		if (length >= sizeof name || !dot)
			return NULL;
		for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
			if (strcmp(dot, kinds[i]) == 0)
				return strdup(name + (name[0] == '_'));
		}
		if (strcmp(dot, ".slice") != 0)
			return NULL;
		path += length;
	}
}

/*
 * CGROUP behind what is above the units: in a container that shares its host's cgroup tree that is not the top, but
 * where process 1 is. "" if that is elsewhere, or hidden (ProtectProc=invisible).
 */
static const char *below_process_1(const char *cgroup)
{
	static const char *const own[] = {"/init.scope", "/system.slice", "/system"};
	cleanup_free char *top = host_cgroup_of(1);
	size_t length = top ? strlen(top) : 0;
	for (size_t i = 0; top && i < sizeof own / sizeof own[0]; i++) {
		size_t own_length = strlen(own[i]);
		if (length >= own_length && strcmp(top + length - own_length, own[i]) == 0) {
			length -= own_length;
			break;
		}
	}
	return top && strncmp(cgroup, top, length) == 0 && cgroup[length] == '/' ? cgroup + length : "";
}

char *host_unit_of(pid_t pid)
{
	cleanup_free char *cgroup = host_cgroup_of(pid);
	if (!cgroup)
		return NULL;
	char *unit = unit_in_cgroup(below_process_1(cgroup));
	return unit ? unit : unit_in_cgroup(cgroup);
}

bool host_is_in_service(pid_t pid)
{
	static const char *const kinds[] = {".service", ".scope"};
	cleanup_free char *cgroup = host_cgroup_of(pid);
	bool is_service = false;
	for (const char *part = cgroup; part && *part; part += strcspn(part, "/")) {
		part += strspn(part, "/");
		size_t length = strcspn(part, "/");
		for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
			size_t of_kind = strlen(kinds[i]);
			if (length > of_kind && memcmp(part + length - of_kind, kinds[i], of_kind) == 0)
				is_service = i == 0;
		}
	}
	return is_service;
}

uint64_t host_memory_available(void)
{
	cleanup_free char *text = NULL;
	uint64_t kib;
	if (read_file_at(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL) < 0)
		return UINT64_MAX;
	return proc_u64(text, "MemAvailable", 10, &kib) == 0 ? kib * 1024 : UINT64_MAX;
}

/* Room to leave below a memory limit: page tables, the tracer, and the workload's own first pages. */
#define MEMORY_SLACK_BYTES (4 * MIB)

int host_check_memory(pid_t pid, uint64_t bytes, const char *what, struct error *err)
{
	uint64_t headroom_bytes = UINT64_MAX, available_bytes = host_memory_available();
	host_memory_headroom(pid, &headroom_bytes);
	bool is_limit = headroom_bytes <= available_bytes;
	uint64_t left_bytes = is_limit ? headroom_bytes : available_bytes;
	if (left_bytes >= MEMORY_SLACK_BYTES && left_bytes - MEMORY_SLACK_BYTES >= bytes)
		return 0;
	char left[16], wanted[16];
	return error_set(err, REASON_MEMORY_LIMIT, "%s has %s left, %s needs %s",
	                 is_limit ? "the memory cgroup" : "this machine", size_format(left_bytes, left, sizeof left),
	                 what, size_format(bytes, wanted, sizeof wanted));
}

/* The number that /proc/PID/status has last in the line KEY; 0 if that cannot be told. */
static uint64_t status_number(pid_t pid, const char *key)
{
	cleanup_free char *status = proc_status(pid);
	uint64_t number = 0;
	proc_last_u64(status, key, &number);
	return number;
}

bool host_is_single_threaded(pid_t pid)
{
	return status_number(pid, "Threads") == 1;
}

bool host_is_init(pid_t pid)
{
	return status_number(pid, "NSpid") == 1;
}

pid_t host_process_of(pid_t tid)
{
	return (pid_t)status_number(tid, "Tgid");
}

pid_t host_parent_of(pid_t tid)
{
	return (pid_t)status_number(tid, "PPid");
}

bool host_shares(pid_t pid, const char *what)
{
	char of_pid[64], own[64];
	struct stat a, b;
	snprintf(of_pid, sizeof of_pid, "/proc/%d/%s", (int)pid, what);
	snprintf(own, sizeof own, "/proc/self/%s", what);
	return stat(of_pid, &a) == 0 && stat(own, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool host_has_two_processors(void)
{
	cpu_set_t allowed;
	return sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 1;
}
