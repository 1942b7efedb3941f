/* SPDX-License-Identifier: Apache-2.0 */
#include "mm/file_view.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/open_in_root.h"
#include "base/proc.h"

#define DEPTH_MAX 24 /* folders below the one that ** stands in */

/* Whether PID has the mount namespace and the root that we have, which is at ROOT_FD. */
static bool has_own_root(pid_t pid, int root_fd)
{
	char path[64], its[64] = "", ours[64] = "";
	struct stat its_root, our_root;
	snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)pid);
	return readlink(path, its, sizeof its - 1) > 0 && readlink("/proc/self/ns/mnt", ours, sizeof ours - 1) > 0 &&
	       strcmp(its, ours) == 0 && fstat(root_fd, &its_root) == 0 && stat("/", &our_root) == 0 &&
	       its_root.st_ino == our_root.st_ino && its_root.st_dev == our_root.st_dev;
}

int file_view_open(struct file_view *view, pid_t pid, struct error *err)
{
	char path[64];
	*view = (struct file_view){.root_fd = -1};
	rights_own(&view->rights);
	snprintf(path, sizeof path, pid ? "/proc/%d/root" : "/", (int)pid);
	cleanup_close int root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
	cleanup_free char *status = pid ? proc_status(pid) : NULL;
	if (pid && (!status || rights_parse(status, &view->rights) < 0))
		return error_set(err, REASON_NO_PROC, "/proc/%d/status tells no user", (int)pid);
	view->is_own_root = pid == 0 || has_own_root(pid, root_fd);
	view->root_fd = steal_fd(&root_fd);
	return 0;
}

void file_view_close(struct file_view *view)
{
	rights_free(&view->rights);
	cleanup_close_p(&view->root_fd);
	view->root_fd = -1;
}

/* systemd's RestrictSUIDSGID= says that there is no openat2(2), because a filter cannot see what it would create. */
static int open_below(const struct file_view *view, const char *path, uint64_t flags)
{
	int fd = open_in_root(view->root_fd, path, flags);
	return fd < 0 && errno == ENOSYS && view->is_own_root ? open(path, (int)flags | O_CLOEXEC) : fd;
}

/* Reading from these may wait for another computer, or for a process that need not answer. */
static bool is_local(int fd)
{
	static const unsigned long remote[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC,
	                                       FUSE_SUPER_MAGIC, V9FS_MAGIC,      AFS_SUPER_MAGIC,  AFS_FS_MAGIC,
	                                       CEPH_SUPER_MAGIC, CODA_SUPER_MAGIC};
	struct statfs st;
	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
		if ((unsigned long)st.f_type == remote[i])
			return false;
	}
	return true;
}

static int refuse(int errnum)
{
	errno = errnum;
	return -1;
}

/* Open for reading the file that is open as a place only. */
static int open_place(int there)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", there);
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

int file_view_reopen(const struct file_view *view, int there)
{
	int fd = rights_take(&view->rights) ? open_place(there) : -1;
	rights_give_back(&view->rights);
	return fd;
}

static int open_plain(const struct file_view *view, const char *path)
{
	struct stat st;
	cleanup_close int there = open_below(view, path, O_PATH);
	if (there < 0 || fstat(there, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode))
		return refuse(ENOENT);
	if (!is_local(there))
		return refuse(EREMOTE);
	return open_place(there);
}

int file_view_open_file(const struct file_view *view, const char *path, bool is_folder)
{
	int fd = -1;
	if (rights_take(&view->rights))
		fd = is_folder ? open_below(view, path, O_PATH | O_DIRECTORY) : open_plain(view, path);
	rights_give_back(&view->rights);
	if (fd < 0 || !is_folder)
		return fd;
	close(fd);
	return 0;
}

/* A walk along a glob. PATH is what stands before the component at hand; it ends without a slash. */
struct walk {
	const struct file_view *view;
	unsigned *budget;
	void (*each)(void *context, const char *path);
	void *context;
	char path[PATH_MAX];
};

static void walk_on(struct walk *walk, const char *glob, unsigned depth);

/* Go on below PATH/NAME with the rest of the glob. */
static void walk_into(struct walk *walk, const char *name, const char *rest, unsigned depth)
{
	size_t used = strlen(walk->path);
	if (used + strlen(name) + 2 > sizeof walk->path)
		return;
	sprintf(walk->path + used, "/%s", name);
	walk_on(walk, rest, depth);
	walk->path[used] = '\0';
}

static DIR *open_folder(const struct walk *walk)
{
	int fd = -1;
	if (rights_take(&walk->view->rights))
		fd = open_below(walk->view, walk->path[0] ? walk->path : "/", O_RDONLY | O_DIRECTORY | O_NONBLOCK);
	rights_give_back(&walk->view->rights);
	DIR *folder = fd >= 0 && is_local(fd) ? fdopendir(fd) : NULL;
	if (fd >= 0 && !folder)
		close(fd);
	return folder;
}

static bool is_folder_entry(const struct walk *walk, const struct dirent *entry)
{
	char path[PATH_MAX + NAME_MAX + 2];
	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	snprintf(path, sizeof path, "%s/%s", walk->path, entry->d_name);
	return file_view_open_file(walk->view, path, true) == 0;
}

/* Each entry of the folder that matches COMPONENT; NULL: each folder in it, with the same glob again. */
static void walk_entries(struct walk *walk, const char *component, const char *rest, unsigned depth)
{
	cleanup_closedir DIR *folder = open_folder(walk);
	for (struct dirent *entry; folder && *walk->budget > 0 && (entry = readdir(folder)) != NULL;) {
		(*walk->budget)--;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (component ? fnmatch(component, entry->d_name, 0) == 0 : is_folder_entry(walk, entry))
			walk_into(walk, entry->d_name, rest, depth + 1);
	}
}

/* A component without wildcards, as a name; false if it has some. */
static bool to_name(const char *component, char *name)
{
	if (strpbrk(component, "*?["))
		return false;
	for (; *component; component++) {
		if (*component == '\\' && component[1])
			component++;
		*name++ = *component;
	}
	*name = '\0';
	return true;
}

/* GLOB: what is left, without a slash before it; "" is the end. */
static void walk_on(struct walk *walk, const char *glob, unsigned depth)
{
	char component[NAME_MAX + 1], name[NAME_MAX + 1];
	size_t bytes = strcspn(glob, "/");
	const char *rest = glob + bytes + (glob[bytes] == '/');
	if (*walk->budget == 0 || depth > DEPTH_MAX || bytes > NAME_MAX)
		return;
	if (*glob == '\0') {
		walk->each(walk->context, walk->path);
		return;
	}
	snprintf(component, sizeof component, "%.*s", (int)bytes, glob);
	if (strcmp(component, "**") == 0) {
		if (*rest)
			walk_on(walk, rest, depth);
		walk_entries(walk, NULL, glob, depth);
		if (!*rest)
			walk_entries(walk, "*", "", depth);
	} else if (to_name(component, name)) {
		(*walk->budget)--;
		walk_into(walk, name, rest, depth + 1);
	} else {
		walk_entries(walk, component, rest, depth);
	}
}

void file_view_glob(const struct file_view *view, const char *glob, unsigned *budget,
                    void (*each)(void *context, const char *path), void *context)
{
	struct walk walk = {.view = view, .budget = budget, .each = each, .context = context};
	if (*glob == '/')
		walk_on(&walk, glob + 1, 0);
}
