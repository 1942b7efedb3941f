/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A switch that begins and cannot be finished, in a real process: a child whose seccomp filter refuses mremap(2), as
 * the kernel might for want of memory. Where the old text is still there the child goes on with it; where it has gone,
 * which no refused call brings about here and so the child does beforehand, it must not run on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/size.h"
#include "mm/maps.h"
#include "policy/policy.h"
#include "ptrace/stop_threads.h"
#include "ptrace/tracee.h"
#include "remap/plan.h"
#include "remap/private_copy.h"

#define SLOT (2 * MIB)

/* What the child's text is, and at which address. */
struct text {
	int fd;
	char *addr;
	bool goes;     /* the child unmaps it when it is told to go on */
	bool inherits; /* the child's filter refuses MADV_DOFORK, and not mremap */
};

static void set_filter(struct sock_filter *code, unsigned short length)
{
	struct sock_fprog program = {length, code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		_exit(1);
}

static void refuse_mremap(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	set_filter(code, sizeof code / sizeof code[0]);
}

/* As Linux from 7.2 on does for hugetlb pages. */
static void refuse_dofork(void)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DOFORK, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	set_filter(code, sizeof code / sizeof code[0]);
}

/* The child: ready when it has stopped itself, and with its text as it will be when it does so again. */
static _Noreturn void run_child(const struct text *text)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (text->inherits)
		refuse_dofork();
	else
		refuse_mremap();
	raise(SIGSTOP);
	if (text->goes)
		munmap(text->addr, SLOT);
	raise(SIGSTOP);
	_exit(text->goes ? 2 : text->addr[0] == 'x' ? 42 : 3);
}

static void await_group_stop(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

/* A file of one slot, mapped as text at an address that a huge page can be mapped at, in us and so in our child. */
static struct text make_text(bool goes)
{
	struct text text = {.fd = memfd_create("text", MFD_CLOEXEC), .goes = goes};
	char *reserve = mmap(NULL, 2 * SLOT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(text.fd >= 0 && reserve != MAP_FAILED);
	assert_int_equal(ftruncate(text.fd, SLOT), 0);
	assert_int_equal(pwrite(text.fd, "x", 1, 0), 1);
	text.addr = reserve + (SLOT - (uintptr_t)reserve % SLOT) % SLOT;
	assert_ptr_equal(mmap(text.addr, SLOT, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, text.fd, 0), text.addr);
	return text;
}

/* Try to remap; returns what waitpid(2) says of the child afterwards. */
static int run_on(struct tracee *tracee, const struct text *text, int expected, struct error *err)
{
	struct address_space space;
	struct plan plan;
	struct settings settings;
	int status;
	pid_t pid = fork();
	if (pid == 0)
		run_child(text);
	await_group_stop(pid);
	assert_int_equal(address_space_read(pid, &space, NULL), 0);
	kill(pid, SIGCONT);
	await_group_stop(pid);

	struct running_process *process = tracee->process;
	assert_int_equal(tracee_seize(tracee, pid, 0, NULL), 0);
	tracee->process = process;
	ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	tracee->state = TRACEE_STOPPED;
	settings_default(&settings);
	settings.min_text_bytes = 0;
	plan_make(&space, (size_t)address_space_find(&space, (uintptr_t)text->addr), &settings, SLOT, &plan);
	assert_int_equal(plan.range_bytes, SLOT);
	int result = remap_copy(tracee, &space, &plan, &settings, BACKING_THP, text->fd, err);
	if (!error_is_set(err) || strcmp(reason_word(err->code), "thp-refused") != 0)
		assert_int_equal(result, expected);
	enum tracee_state ended = tracee->state;
	tracee_detach(tracee);
	tracee->state = ended;
	kill(pid, SIGCONT);
	assert_int_equal(waitpid(pid, &status, __WALL), pid);
	address_space_free(&space);
	munmap(text->addr, SLOT);
	close(text->fd);
	return status;
}

static int try_to_remap(bool goes, enum tracee_state *state, struct error *err)
{
	struct text text = make_text(goes);
	struct tracee tracee = {0};
	int status = run_on(&tracee, &text, -1, err);
	*state = tracee.state;
	return status;
}

static void test_text_is_still_there(void **state)
{
	(void)state;
	struct error err = {0};
	enum tracee_state ended;
	int status = try_to_remap(false, &ended, &err);
	if (strcmp(reason_word(err.code), "thp-refused") == 0)
		skip(); /* no huge page to be had on this machine */
	assert_string_equal(reason_word(err.code), "remap");
	assert_int_equal(ended, TRACEE_STOPPED);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* How often the other threads, of which there are none here, were stopped and started (-Wl,--wrap). */
static unsigned stops, starts;
static bool copy_was_in_place;

int __wrap_other_threads_stop(struct tracee *tracee, struct error *err);
void __wrap_other_threads_start(struct tracee *tracee);

int __wrap_other_threads_stop(struct tracee *tracee, struct error *err)
{
	(void)tracee, (void)err;
	stops++;
	return 0;
}

void __wrap_other_threads_start(struct tracee *tracee)
{
	struct address_space space;
	unsigned copies = 0;
	starts++;
	if (address_space_read(tracee->pid, &space, NULL) < 0)
		return;
	for (size_t i = 0; i < space.count; i++)
		copies += mapping_is_text(&space.mappings[i]) && strncmp(space.mappings[i].path, "/memfd:", 7) == 0 &&
		          !strstr(space.mappings[i].path, "/memfd:text");
	copy_was_in_place = copies == 1;
	address_space_free(&space);
}

/* Where a mapping cannot be kept from children for a while, no other thread runs as long as it is there. */
static void test_nobody_forks_meanwhile(void **state)
{
	(void)state;
	for (unsigned inherits = 0; inherits < 2; inherits++) {
		struct error err = {0};
		struct text text = make_text(false);
		struct running_process process = {0};
		struct tracee tracee = {.process = &process};
		text.inherits = inherits;
		stops = starts = 0;
		/* The other filter refuses the switch: until then the threads ran, but while the memfd was open. */
		run_on(&tracee, &text, inherits ? 0 : -1, &err);
		if (strcmp(reason_word(err.code), "thp-refused") == 0)
			skip(); /* no huge page to be had on this machine */
		assert_int_equal(stops, inherits ? 1 : 2);
		assert_int_equal(starts, stops);
		assert_int_equal(copy_was_in_place, inherits);
	}
}

static void test_text_has_gone(void **state)
{
	(void)state;
	struct error err = {0};
	enum tracee_state ended;
	int status = try_to_remap(true, &ended, &err);
	if (strcmp(reason_word(err.code), "thp-refused") == 0)
		skip();
	assert_int_equal(ended, TRACEE_GONE);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_text_is_still_there),
	    cmocka_unit_test(test_nobody_forks_meanwhile),
	    cmocka_unit_test(test_text_has_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
