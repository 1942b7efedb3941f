/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policy/container_attrs.h"
#include "report/container_state.h"

struct place {
	char top[64], directory[128];
};

static int set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);
	strcpy(place->top, "/tmp/hugexec-record-XXXXXX");
	if (!place || !mkdtemp(place->top))
		return -1;
	snprintf(place->directory, sizeof place->directory, "%s/run/containers", place->top);
	*state = place;
	return 0;
}

static int tear_down(void **state)
{
	struct place *place = *state;
	char command[160];
	snprintf(command, sizeof command, "rm -rf %s", place->top);
	int result = system(command);
	free(place);
	return result;
}

static unsigned count_files(const struct place *place)
{
	unsigned count = 0;
	DIR *directory = opendir(place->directory);
	for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	if (directory)
		closedir(directory);
	return count;
}

/* A process that does nothing until it is killed, or the test ends. */
static pid_t start_idle(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static const struct annotation of_containerd[] = {
    {"io.hugexec.remap", "true"},
    {"io.kubernetes.cri.sandbox-namespace", "shop"},
    {"io.kubernetes.cri.sandbox-name", "web-0"},
    {"io.kubernetes.cri.container-name", "server"},
    {"io.kubernetes.cri.image-name", "shop/web:7"},
};

static const struct annotation of_crio[] = {
    {"io.kubernetes.pod.namespace", "shop"},
    {"io.kubernetes.pod.name", "web-1"},
    {"io.kubernetes.container.name", "side\x1b[31mcar"},
};

static const struct container_attrs nothing;

static void what_is_written_is_read(void **state)
{
	struct place *place = *state;
	struct records records;
	char label[256];
	const struct container_attrs by_containerd = container_attrs_of(of_containerd, 5);
	const struct container_attrs by_crio = container_attrs_of(of_crio, 3);
	pid_t first = start_idle(), second = start_idle();
	assert_int_equal(record_write(place->directory, "a.b_c-1", first, &by_containerd, NULL), 0);
	assert_int_equal(record_write(place->directory, "0123456789abcdef", second, &by_crio, NULL), 0);
	assert_int_equal(record_write(place->directory, "0123456789abcdef", second, &by_crio, NULL), 0);
	assert_int_equal(count_files(place), 2);
	records_read(place->directory, &records);
	assert_int_equal(records.count, 2);
	const struct record *record = records_find(&records, first);
	assert_non_null(record);
	assert_string_equal(record->id, "a.b_c-1");
	assert_string_equal(record->image, "shop/web:7");
	assert_string_equal(record_label(record, label, sizeof label), "shop/web-0/server");
	assert_string_equal(record_label(records_find(&records, second), label, sizeof label),
	                    "shop/web-1/side?[31mcar");
	/* They are in our own mount namespace, like all the rest of the host: that must not count. */
	assert_null(records_find(&records, getpid()));
	records_free(&records);
	end(first);
	end(second);
}

static void without_names_the_id_is_shown(void **state)
{
	struct place *place = *state;
	struct records records;
	char label[256];
	pid_t pid = start_idle();
	assert_int_equal(record_write(place->directory, "0123456789abcdef", pid, &nothing, NULL), 0);
	records_read(place->directory, &records);
	assert_int_equal(records.count, 1);
	assert_string_equal(record_label(&records.list[0], label, sizeof label), "0123456789ab");
	records_free(&records);
	end(pid);
}

/* A zombie has ended: the runtime may run its poststop hooks before the parent hears of it. */
static void what_has_ended_is_swept_and_nothing_else(void **state)
{
	struct place *place = *state;
	struct records records;
	char path[256];
	pid_t zombie = start_idle(), gone = start_idle(), alive = start_idle();
	assert_int_equal(record_write(place->directory, "zombie", zombie, &nothing, NULL), 0);
	assert_int_equal(record_write(place->directory, "gone", gone, &nothing, NULL), 0);
	assert_int_equal(record_write(place->directory, "alive", alive, &nothing, NULL), 0);
	snprintf(path, sizeof path, "%s/not.ours", place->directory);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	/* A name that we would have written in another way. */
	snprintf(path, sizeof path, "%s/odd.+%d.1", place->directory, (int)gone);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	/* The same process ids, started at another time: PIDs come again. */
	snprintf(path, sizeof path, "%s/reused.%d.1", place->directory, (int)alive);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(count_files(place), 6);
	end(gone);
	kill(zombie, SIGKILL);
	siginfo_t info;
	waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT);
	record_sweep(place->directory);
	assert_int_equal(count_files(place), 3);
	records_read(place->directory, &records);
	assert_int_equal(records.count, 1);
	assert_string_equal(records.list[0].id, "alive");
	records_free(&records);
	end(zombie);
	end(alive);
	records_read(place->directory, &records);
	assert_int_equal(records.count, 0);
	assert_int_equal(count_files(place), 2);
}

static void the_next_container_sweeps_too(void **state)
{
	struct place *place = *state;
	pid_t pid = start_idle();
	assert_int_equal(record_write(place->directory, "old", pid, &nothing, NULL), 0);
	end(pid);
	pid = start_idle();
	assert_int_equal(record_write(place->directory, "new", pid, &nothing, NULL), 0);
	assert_int_equal(count_files(place), 1);
	end(pid);
}

static void ids_cannot_lead_elsewhere(void **state)
{
	struct place *place = *state;
	struct error err = {0};
	char long_id[RECORD_ID_MAX + 2];
	char path[256];
	assert_int_equal(record_write(place->directory, "good", getpid(), &nothing, NULL), 0);
	snprintf(path, sizeof path, "%s/a", place->directory);
	assert_int_equal(mkdir(path, 0700), 0);
	memset(long_id, 'a', sizeof long_id - 1);
	long_id[sizeof long_id - 1] = '\0';
	const char *const wrong[] = {"", ".", "..", "../up", "a/b", ".hidden", "line\nbreak", "a b", long_id};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(record_write(place->directory, wrong[i], getpid(), &nothing, &err), -1);
		assert_string_equal(reason_word(err.code), "record");
	}
	assert_int_equal(count_files(place), 2);
	long_id[RECORD_ID_MAX] = '\0';
	assert_int_equal(record_write(place->directory, long_id, getpid(), &nothing, &err), 0);
	assert_int_equal(count_files(place), 3);
}

static void broken_records_are_passed_over(void **state)
{
	struct place *place = *state;
	struct records records;
	char path[256], name[128];
	assert_int_equal(record_write(place->directory, "good", getpid(), &nothing, NULL), 0);
	records_read(place->directory, &records);
	assert_int_equal(records.count, 1);
	snprintf(name, sizeof name, "%d.%llu", (int)getpid(), (unsigned long long)records.list[0].init_start);
	records_free(&records);
	static const char *const texts[] = {"", "[]", "{", "{\"pod\": 1, \"mount_namespace\": \"x\"}"};
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof path, "%s/bad%zu.%s", place->directory, i, name);
		int fd = open(path, O_CREAT | O_WRONLY, 0600);
		assert_int_equal(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
		close(fd);
	}
	records_read(place->directory, &records);
	assert_int_equal(records.count, 2); /* the last is an object; whatever stands in it is only shown */
	records_free(&records);
}

static void who_has_ended_leaves_no_record(void **state)
{
	struct place *place = *state;
	struct error err = {0};
	pid_t pid = start_idle();
	end(pid);
	assert_int_equal(record_write(place->directory, "late", pid, &nothing, &err), -1);
	assert_string_equal(reason_word(err.code), "record");
	assert_int_equal(count_files(place), 0);
}

static void processes_of_a_mount_namespace_belong_together(void **state)
{
	struct place *place = *state;
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	pid_t init = fork();
	if (init == 0) {
		pid_t child = unshare(CLONE_NEWNS) == 0 ? start_idle() : -1;
		if (write(ready[1], &child, sizeof child) < 0)
			_exit(1);
		waitpid(child, NULL, 0);
		_exit(0);
	}
	pid_t child = -1;
	assert_int_equal(read(ready[0], &child, sizeof child), sizeof child);
	close(ready[0]);
	close(ready[1]);
	if (child < 0) {
		end(init);
		skip(); /* only root may have a mount namespace of its own */
	}
	struct records records;
	assert_int_equal(record_write(place->directory, "container", init, &nothing, NULL), 0);
	records_read(place->directory, &records);
	assert_ptr_equal(records_find(&records, child), &records.list[0]);
	assert_null(records_find(&records, getpid()));
	records_free(&records);
	kill(child, SIGKILL);
	end(init);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_is_written_is_read, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(without_names_the_id_is_shown, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_has_ended_is_swept_and_nothing_else, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_next_container_sweeps_too, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(ids_cannot_lead_elsewhere, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(broken_records_are_passed_over, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(who_has_ended_leaves_no_record, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(processes_of_a_mount_namespace_belong_together, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
