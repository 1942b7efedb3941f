/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/match_input.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/open_in_root.h"
#include "host/host.h"
#include "host/users.h"
#include "mm/mapped_file.h"
#include "mm/mapping_build_id.h"

/* Reading a few headers takes a millisecond; a disk that has fallen asleep must not hold a workload for long. */
#define BUILD_ID_TIMEOUT_MS 500

/* To ask a server whether a path leads to the program. */
#define CALLED_TIMEOUT_MS 200

/* A user's name, of which there is more than one to ask for now and then; a server that is there answers sooner. */
#define USER_TIMEOUT_MS 500

/*
 * Whether the kernel has marked PATH, what /proc/PID/exe leads to, as that of a file that was unlinked (fs/d_path.c).
 * A file may also have such a name: then it is there, in the process' root.
 */
static bool is_marked_deleted(pid_t pid, const char *path)
{
	static const char mark[] = " (deleted)";
	struct stat about, named;
	size_t length = strlen(path), mark_length = sizeof mark - 1;
	char name[sizeof((struct gathered_input){0}).exe + 32];
	if (length <= mark_length || strcmp(path + length - mark_length, mark) != 0)
		return false;
	snprintf(name, sizeof name, "/proc/%d/exe", (int)pid);
	if (stat(name, &about) < 0 || about.st_nlink == 0)
		return true;
	snprintf(name, sizeof name, "/proc/%d/root%s", (int)pid, path);
	return lstat(name, &named) < 0 || named.st_dev != about.st_dev || named.st_ino != about.st_ino;
}

static int read_exe_link(struct gathered_input *store, pid_t pid, struct error *err)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	ssize_t got = readlink(path, store->exe, sizeof store->exe - 1);
	if (got < 0)
		return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
	store->exe[got] = '\0';
	/* The rule was written for the path that it had. */
	if (is_marked_deleted(pid, store->exe))
		*strrchr(store->exe, ' ') = '\0';
	store->input.exe = store->exe;
	return 0;
}

/* The file that PATH names for PID. In a container it is asked for below the root of that, whatever links there say. */
static int stat_as(pid_t pid, const char *path, enum via via, struct stat *st)
{
	char name[PATH_MAX + 32];
	snprintf(name, sizeof name, "/proc/%d/root%s", (int)pid, via == VIA_HOOK ? "" : path);
	if (via != VIA_HOOK) /* openat2(2) is one more call that a filter of the target's could kill for */
		return stat(name, st);
	cleanup_close int root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = root < 0 ? -1 : open_in_root(root, path, O_PATH);
	return fd < 0 ? -1 : fstat(fd, st);
}

struct called {
	pid_t pid;
	const char *path;
	enum via via;
};

/* Whether the path names the file that the process runs. */
static int is_of_its_file(void *context)
{
	const struct called *called = context;
	char exe[64];
	struct stat about, named;
	aside_die_with_caller();
	snprintf(exe, sizeof exe, "/proc/%d/exe", (int)called->pid);
	return stat(exe, &about) == 0 && stat_as(called->pid, called->path, called->via, &named) == 0 &&
	       about.st_dev == named.st_dev && about.st_ino == named.st_ino;
}

/* Keep PATH if it is an absolute one, another than the resolved one, of the file that PID runs. */
static void note_called(struct gathered_input *store, pid_t pid, const char *path)
{
	struct called called = {pid, path, store->input.via};
	if (!path || *path != '/' || strcmp(path, store->exe) == 0)
		return;
	bool is_its = mapped_file_exe_is_remote(pid) ? aside(is_of_its_file, &called, CALLED_TIMEOUT_MS, -1) == 1
	                                             : is_of_its_file(&called);
	if (is_its)
		store->input.called = path;
}

int match_input_gather(struct gathered_input *store, pid_t pid, enum via via, unsigned needs, struct error *err)
{
	memset(store, 0, sizeof *store);
	store->input.via = via;
	if (read_exe_link(store, pid, err) < 0)
		return -1;
	if (needs & INPUT_USER) {
		char path[64];
		struct stat st;
		snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)pid);
		if (stat(path, &st) < 0)
			return error_set_errno(err, errno, REASON_NO_PROC, "%s", path);
		store->input.uid = st.st_uid;
	}
	if (needs & INPUT_CGROUP)
		store->input.cgroup = store->cgroup = host_cgroup_of(pid);
	if (needs & INPUT_UNIT)
		store->input.unit = store->unit = host_unit_of(pid);
	return 0;
}

static bool start_reader(struct reader *reader, pid_t pid)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return fd >= 0 && elf_reader_start(reader, fd, NULL) == 0;
}

void match_input_begin_build_id(struct gathered_input *store, pid_t pid, uint64_t entry_addr)
{
	if (store->input.build_id)
		return;
	bool is_remote = mapped_file_exe_is_remote(pid);
	if (!is_remote && entry_addr &&
	    mapping_build_id(pid, entry_addr, store->build_id, sizeof store->build_id) == 0 && store->build_id[0])
		return;
	store->asked_of = is_remote ? pid : 0;
	store->reading = !store->asked_of && start_reader(&store->reader, pid);
}

static int left_ms(int64_t until_us, int most_ms)
{
	int64_t left = (until_us - now_us()) / 1000;
	return left > most_ms ? most_ms : left > 0 ? (int)left : 0;
}

/* Of a remote file, whose server may not answer whoever opens or closes it. */
struct remote_build_id {
	pid_t pid;
	char *build_id; /* shared with who waits */
};

static int read_remote_build_id(void *context)
{
	const struct remote_build_id *remote = context;
	struct reader reader;
	struct elf_info elf;
	aside_die_with_caller();
	if (start_reader(&reader, remote->pid) && elf_reader_finish(&reader, BUILD_ID_TIMEOUT_MS, &elf, NULL) == 0)
		elf_build_id_hex(&elf, remote->build_id);
	return 0;
}

static void ask_remote_build_id(struct gathered_input *store, int timeout_ms)
{
	char *told = mmap(NULL, sizeof store->build_id, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED)
		return;
	struct remote_build_id remote = {store->asked_of, told};
	if (aside(read_remote_build_id, &remote, timeout_ms, -1) == 0)
		memcpy(store->build_id, told, sizeof store->build_id);
	munmap(told, sizeof store->build_id);
}

void match_input_finish_build_id(struct gathered_input *store, int64_t until_us)
{
	struct elf_info elf;
	if (store->asked_of)
		ask_remote_build_id(store, left_ms(until_us, BUILD_ID_TIMEOUT_MS));
	else if (store->reading &&
	         elf_reader_finish(&store->reader, left_ms(until_us, BUILD_ID_TIMEOUT_MS), &elf, NULL) == 0)
		elf_build_id_hex(&elf, store->build_id);
	store->asked_of = 0;
	store->reading = false;
	store->input.build_id = store->build_id;
}

/* The names that were looked up: the tracer has those that the target has asked for. */
static struct known_user *users;
static size_t user_count;
static const char *untold_user;

static int look_up(const char *name, int timeout_ms)
{
	struct known_user *larger = realloc(users, (user_count + 1) * sizeof larger[0]);
	if (!larger)
		return -1;
	users = larger;
	struct known_user *user = &users[user_count++];
	*user = (struct known_user){.name = name};
	int found = host_user(name, timeout_ms, &user->uid);
	user->exists = found > 0;
	if (found < 0)
		untold_user = name;
	return 0;
}

void match_input_ask_policy(const struct policy *policy, const struct match_input *input, int64_t until_us,
                            struct decision *decision)
{
	struct match_input known = *input;
	if (policy_needs(policy) & INPUT_MACHINE_ID)
		known.machine_id = host_machine_id();
	do {
		known.users = users;
		known.user_count = user_count;
		policy_decide(policy, &known, decision);
	} while (decision->action == ACTION_UNDECIDED && decision->user &&
	         look_up(decision->user, left_ms(until_us, USER_TIMEOUT_MS)) == 0);
}

void match_input_blame_user(struct error *reason)
{
	if (untold_user)
		error_set(reason, REASON_USER_UNKNOWN,
		          "no rule matches, but the name service did not answer in time who %s is: write the UID into "
		          "the rule",
		          untold_user);
}

int match_input_decide(struct gathered_input *store, pid_t pid, const struct match_input *given,
                       const struct policy *policy, int64_t until_us, struct decision *decision, struct error *err)
{
	if (match_input_gather(store, pid, given->via, policy_needs(policy), err) < 0)
		return -1;
	if (policy_needs(policy) & INPUT_CALLED)
		note_called(store, pid, given->called);
	store->input.container = given->container;
	match_input_ask_policy(policy, &store->input, until_us, decision);
	if (decision->action == ACTION_UNDECIDED) {
		match_input_begin_build_id(store, pid, 0);
		match_input_finish_build_id(store, until_us);
		match_input_ask_policy(policy, &store->input, until_us, decision);
	}
	return 0;
}

void match_input_free(struct gathered_input *store)
{
	free(store->unit);
	free(store->cgroup);
}

void wrapper_reason(enum follow follow, struct error *reason)
{
	if (follow == FOLLOW_FORK)
		error_set(reason, REASON_WRAPPER,
		          "a wrapper, left alone itself: what it and its children execute is looked at");
	else
		error_set(reason, REASON_WRAPPER,
		          "a wrapper, left alone itself: what it executes in its place is looked at, what its children "
		          "execute is not (\"follow\": \"fork\")");
}
