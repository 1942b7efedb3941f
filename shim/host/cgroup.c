/* SPDX-License-Identifier: Apache-2.0 */
#include "host/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/size.h"
#include "host/host.h"

#define PROC_LIMIT_BYTES (4 * MIB)
#define DEPTH_MAX        64
#define LINE_BYTES       PATH_MAX

/* v1 says "no limit" with the largest multiple of the page size that a signed 64-bit number holds. */
#define V1_UNLIMITED_FROM (UINT64_C(1) << 62)

/* Is WORD one of the comma-separated words of LIST (LIST_LEN characters)? */
static bool list_has(const char *list, size_t list_len, const char *word)
{
	size_t word_len = strlen(word);
	for (const char *p = list; p < list + list_len;) {
		size_t len = strcspn(p, ",");
		if (p + len > list + list_len)
			len = (size_t)(list + list_len - p);
		if (len == word_len && memcmp(p, word, len) == 0)
			return true;
		p += len + 1;
	}
	return false;
}

/*
 * The path in /proc/PID/cgroup of the hierarchy with CONTROLLER ("" for the unified one), into PATH. A line is
 * ID:CONTROLLERS:PATH (cgroups(7)).
 */
static bool path_in_hierarchy(const char *text, const char *controller, char *path, size_t path_bytes)
{
	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");
		const char *controllers = memchr(line, ':', len);
		const char *where =
		    controllers ? memchr(controllers + 1, ':', len - (size_t)(controllers + 1 - line)) : NULL;
		if (where) {
			size_t controllers_len = (size_t)(where - controllers - 1);
			bool match =
			    *controller ? list_has(controllers + 1, controllers_len, controller) : controllers_len == 0;
			if (match) {
				snprintf(path, path_bytes, "%.*s", (int)(line + len - where - 1), where + 1);
				return true;
			}
		}
		line += len + (line[len] == '\n');
	}
	return false;
}

/* Undo mountinfo's "\\040" for a space and its like (proc(5)). */
static void unescape(const char *from, char *to, size_t bytes)
{
	size_t used = 0;
	for (; *from && used < bytes - 1; used++) {
		unsigned code;
		if (sscanf(from, "\\%3o", &code) == 1 && code > 0 && code < 256) {
			to[used] = (char)code;
			from += 4;
		} else {
			to[used] = *from++;
		}
	}
	to[used] = '\0';
}

/* A line of mountinfo (proc(5)): ... ROOT MOUNT-POINT OPTIONS ... - TYPE SOURCE SUPER-OPTIONS. */
static bool mount_in_line(const char *line, const char *controller, char *root, struct cgroup_place *out)
{
	const char *separator = strstr(line, " - ");
	char type[32] = "", super_options[512] = "", found_root[512] = "", found_mount[512] = "";
	if (!separator || sscanf(separator, " - %31s %*s %511s", type, super_options) != 2 ||
	    sscanf(line, "%*s %*s %*s %511s %511s", found_root, found_mount) != 2)
		return false;
	bool match = *controller
	                 ? strcmp(type, "cgroup") == 0 && list_has(super_options, strlen(super_options), controller)
	                 : strcmp(type, "cgroup2") == 0;
	if (match) {
		unescape(found_root, root, sizeof out->mount);
		unescape(found_mount, out->mount, sizeof out->mount);
		out->counts_hugetlb =
		    !*controller && list_has(super_options, strlen(super_options), "memory_hugetlb_accounting");
	}
	return match;
}

/* ROOT: as much room as OUT->mount has. */
static bool find_mount(const char *mountinfo, const char *controller, char *root, struct cgroup_place *out)
{
	bool found = false;
	/* The last match counts: it may be mounted over an earlier one. Lines of cgroup mounts are short. */
	for (const char *at = mountinfo; *at;) {
		char line[LINE_BYTES];
		size_t len = strcspn(at, "\n");
		snprintf(line, sizeof line, "%.*s", (int)(len < sizeof line ? len : sizeof line), at);
		found |= mount_in_line(line, controller, root, out);
		at += len + (at[len] == '\n');
	}
	return found;
}

/* PATH as seen below a mount that shows the hierarchy from ROOT on; a path outside of it stands at the mount itself. */
static const char *below_root(const char *path, const char *root)
{
	size_t len = strlen(root);
	if (strcmp(root, "/") == 0)
		return path;
	if (strncmp(path, root, len) == 0 && (path[len] == '/' || path[len] == '\0'))
		return path + len;
	return "";
}

int cgroup_find_in(const char *cgroup_text, const char *mountinfo_text, const char *controller,
                   struct cgroup_place *out)
{
	char path[PATH_MAX - 512], root[sizeof out->mount];
	*out = (struct cgroup_place){.unified = false};
	if (!path_in_hierarchy(cgroup_text, controller, path, sizeof path) ||
	    !find_mount(mountinfo_text, controller, root, out)) {
		out->unified = true;
		if (!path_in_hierarchy(cgroup_text, "", path, sizeof path) ||
		    !find_mount(mountinfo_text, "", root, out))
			return -1;
	}
	if (strncmp(path, "/..", 3) == 0)
		path[0] = '\0'; /* outside of our cgroup namespace: only the mount's own limits can be asked */
	const char *below = below_root(path, root);
	snprintf(out->directory, sizeof out->directory, "%s%s", out->mount, strcmp(below, "/") == 0 ? "" : below);
	return 0;
}

int cgroup_find(pid_t pid, const char *controller, struct cgroup_place *out)
{
	char path[64];
	cleanup_free char *cgroup_text = NULL;
	cleanup_free char *mountinfo = NULL;
	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	if (read_file_at(AT_FDCWD, path, PROC_LIMIT_BYTES, &cgroup_text, NULL) < 0 ||
	    read_file_at(AT_FDCWD, "/proc/self/mountinfo", PROC_LIMIT_BYTES, &mountinfo, NULL) < 0)
		return -1;
	return cgroup_find_in(cgroup_text, mountinfo, controller, out);
}

static int read_in(const char *directory, const char *name, uint64_t *out)
{
	char path[PATH_MAX + 64];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	return read_number_file(path, out);
}

/* The value of "NAME N" in the memory.stat of DIRECTORY; 0 if it is not there. */
static uint64_t memory_stat(const char *directory, const char *name)
{
	char path[PATH_MAX + 64];
	cleanup_free char *text = NULL;
	snprintf(path, sizeof path, "%s/memory.stat", directory);
	if (read_file_at(AT_FDCWD, path, PROC_LIMIT_BYTES, &text, NULL) < 0)
		return 0;
	size_t len = strlen(name);
	for (const char *line = text; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n')) {
		if (strncmp(line, name, len) == 0 && line[len] == ' ')
			return strtoull(line + len + 1, NULL, 10);
	}
	return 0;
}

static uint64_t room(uint64_t limit, uint64_t used)
{
	return used < limit ? limit - used : 0;
}

static uint64_t memory_room_here(const char *directory, bool unified)
{
	uint64_t limit, used;
	/* "max" is no number: no limit. */
	if (read_in(directory, unified ? "memory.max" : "memory.limit_in_bytes", &limit) < 0 ||
	    limit >= V1_UNLIMITED_FROM ||
	    read_in(directory, unified ? "memory.current" : "memory.usage_in_bytes", &used) < 0)
		return UINT64_MAX;
	uint64_t cache = memory_stat(directory, unified ? "inactive_file" : "total_inactive_file") +
	                 memory_stat(directory, unified ? "active_file" : "total_active_file");
	return room(limit, used > cache ? used - cache : 0);
}

/* "2MB", "1GB": as the hugetlb controller names page sizes. */
const char *cgroup_page_size(uint64_t page_bytes, char *buf, size_t buf_bytes)
{
	if (page_bytes >= GIB)
		snprintf(buf, buf_bytes, "%dGB", (int)(page_bytes / GIB));
	else if (page_bytes >= MIB)
		snprintf(buf, buf_bytes, "%dMB", (int)(page_bytes / MIB));
	else
		snprintf(buf, buf_bytes, "%dKB", (int)(page_bytes / KIB));
	return buf;
}

/* COUNTED: "", or "rsvd." for reservations, which have limits of their own and are charged for pages without one too.
 */
static uint64_t hugetlb_room_of(const char *directory, bool unified, uint64_t page_bytes, const char *counted)
{
	char size[16], limit_name[64], used_name[64];
	uint64_t limit, used;
	cgroup_page_size(page_bytes, size, sizeof size);
	snprintf(limit_name, sizeof limit_name, "hugetlb.%s.%s%s", size, counted, unified ? "max" : "limit_in_bytes");
	snprintf(used_name, sizeof used_name, "hugetlb.%s.%s%s", size, counted, unified ? "current" : "usage_in_bytes");
	if (read_in(directory, limit_name, &limit) < 0 || limit >= V1_UNLIMITED_FROM ||
	    read_in(directory, used_name, &used) < 0)
		return UINT64_MAX;
	return room(limit, used);
}

static uint64_t hugetlb_room_here(const char *directory, bool unified, uint64_t page_bytes)
{
	uint64_t pages = hugetlb_room_of(directory, unified, page_bytes, "");
	uint64_t reservations = hugetlb_room_of(directory, unified, page_bytes, "rsvd.");
	return pages < reservations ? pages : reservations;
}

/* The least room of PLACE and everything above it; PAGE_BYTES 0 asks for memory, else for hugetlb pages. */
static uint64_t least_room(const struct cgroup_place *place, uint64_t page_bytes)
{
	char directory[sizeof place->directory];
	uint64_t least = UINT64_MAX;
	memcpy(directory, place->directory, sizeof directory);
	for (int depth = 0; depth < DEPTH_MAX && strlen(directory) >= strlen(place->mount); depth++) {
		uint64_t here = page_bytes ? hugetlb_room_here(directory, place->unified, page_bytes)
		                           : memory_room_here(directory, place->unified);
		least = here < least ? here : least;
		char *slash = strrchr(directory, '/');
		if (!slash || slash == directory)
			break;
		*slash = '\0';
	}
	return least;
}

uint64_t cgroup_memory_headroom(const struct cgroup_place *place)
{
	return least_room(place, 0);
}

uint64_t cgroup_hugetlb_headroom(const struct cgroup_place *place, uint64_t page_bytes)
{
	return least_room(place, page_bytes);
}

int host_memory_headroom(pid_t pid, uint64_t *out_bytes)
{
	struct cgroup_place place;
	*out_bytes = cgroup_find(pid, "memory", &place) < 0 ? UINT64_MAX : cgroup_memory_headroom(&place);
	return 0;
}

int host_hugetlb_memory_headroom(pid_t pid, uint64_t *out_bytes)
{
	struct cgroup_place place;
	bool counts = cgroup_find(pid, "memory", &place) == 0 && place.counts_hugetlb;
	*out_bytes = counts ? cgroup_memory_headroom(&place) : UINT64_MAX;
	return 0;
}

int host_hugetlb_headroom(pid_t pid, uint64_t page_bytes, uint64_t *out_bytes)
{
	struct cgroup_place place;
	*out_bytes = cgroup_find(pid, "hugetlb", &place) < 0 ? UINT64_MAX : cgroup_hugetlb_headroom(&place, page_bytes);
	return 0;
}

char *host_cgroup_of(pid_t pid)
{
	char path[64], found[PATH_MAX];
	cleanup_free char *text = NULL;
	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	if (read_file_at(AT_FDCWD, path, PROC_LIMIT_BYTES, &text, NULL) < 0)
		return NULL;
	bool unified = path_in_hierarchy(text, "", found, sizeof found) && strcmp(found, "/") != 0;
	if (!unified && !path_in_hierarchy(text, "name=systemd", found, sizeof found) &&
	    !path_in_hierarchy(text, "", found, sizeof found))
		return NULL;
	return strdup(found);
}

bool host_shares_cgroups(pid_t pid)
{
	char path[64];
	cleanup_free char *other = NULL;
	cleanup_free char *own = NULL;
	snprintf(path, sizeof path, "/proc/%d/cgroup", (int)pid);
	return read_file_at(AT_FDCWD, path, PROC_LIMIT_BYTES, &other, NULL) == 0 &&
	       read_file_at(AT_FDCWD, "/proc/self/cgroup", PROC_LIMIT_BYTES, &own, NULL) == 0 &&
	       strcmp(own, other) == 0;
}
