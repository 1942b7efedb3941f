/* SPDX-License-Identifier: Apache-2.0 */
#include "tracer/seccomp_preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/prctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/aside.h"
#include "base/missing.h"
#include "base/pidfd.h"
#include "base/retry.h"
#include "host/pages.h"

/* What is called here does not depend on sizes, so it is a page of each. */
/* What the tracee will be made to do. The results do not matter, only that we live. */
static void tracee_calls(void)
{
	int memfd = (int)syscall(SYS_memfd_create, "preflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t page_bytes = host_pages()->base_bytes, huge_bytes = host_pages()->huge_bytes;
	void *text = mmap(NULL, huge_bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_NORESERVE, memfd, 0);
	/* What a tracer outside of our cgroup leaves to the tracee. */
	if (ftruncate(memfd, 0) == 0)
		fallocate(memfd, FALLOC_FL_KEEP_SIZE, 0, (off_t)page_bytes);
	if (text != MAP_FAILED) {
		madvise(text, page_bytes, MADV_POPULATE_READ);
		void *moved = mremap(text, huge_bytes, huge_bytes, MREMAP_MAYMOVE);
		munmap(moved == MAP_FAILED ? text : moved, huge_bytes);
	}
	close(memfd);
	int sockets[2] = {-1, -1};
	struct msghdr nothing = {0};
	socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, sockets);
	close((int)syscall(SYS_openat, AT_FDCWD, "", O_RDONLY | O_CLOEXEC));
	recvmsg(sockets[0], &nothing, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	close(sockets[0]);
	if (sockets[1] >= 0)
		close_range((unsigned)sockets[1], (unsigned)sockets[1], 0);
	siginfo_t info;
	sigaction(SIGCHLD, NULL, NULL);
	prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, 0, 0, 0);
	waitid(P_PID, (id_t)getpid(), &info, WEXITED | WNOHANG | __WALL);
	getpid();
}

/* What the tracer will do meanwhile. */
static void tracer_calls(void)
{
	struct rlimit limit;
	char byte;
	uint64_t page_bytes = host_pages()->base_bytes;
	struct iovec io = {&byte, 1};
	int memfd = (int)syscall(SYS_memfd_create, "preflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	close(pidfd_take(getpid(), memfd));
	if (ftruncate(memfd, 0) == 0 && fallocate(memfd, 0, 0, (off_t)page_bytes) == 0)
		fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL);
	close(memfd);
	void *window = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	madvise(window, page_bytes, MADV_COLLAPSE);
	munmap(window, page_bytes);
	process_vm_readv(getpid(), &io, 1, &io, 1, 0);
	process_vm_writev(getpid(), &io, 1, &io, 1, 0);
	sendmsg(-1, &(struct msghdr){0}, MSG_DONTWAIT | MSG_NOSIGNAL);
	poll(NULL, 0, 0);
	prlimit(0, RLIMIT_NOFILE, NULL, &limit);
	ptrace(PTRACE_GETSIGMASK, getpid(), 8, &byte);
	(void)!getrandom(&byte, sizeof byte, GRND_NONBLOCK);
	syscall(SYS_set_robust_list, NULL, 0);
	cpu_set_t allowed;
	sched_getscheduler(getpid());
	sched_getaffinity(getpid(), sizeof allowed, &allowed);
	sigset_t none;
	sigemptyset(&none);
	sigtimedwait(&none, NULL, &(struct timespec){0});
	waitpid(-1, NULL, __WALL | WNOHANG);
}

static void remote_calls(void)
{
	tracee_calls();
	tracer_calls();
}

/* Whoever stops the target's process group stops the child with it, and may continue the target alone. */
static pid_t wait_for_end(pid_t child, int *status)
{
	pid_t got;
	while ((got = waitpid(child, status, __WALL | WUNTRACED)) == child && WIFSTOPPED(*status))
		kill(child, SIGCONT);
	return got;
}

int preflight_calls(void (*calls)(void), struct error *err)
{
	long child = syscall(SYS_clone, 0UL, NULL, NULL, NULL, 0UL);
	if (child == 0) {
		calls();
		_exit(0);
	}
	int status;
	aside_prove();
	if (child < 0 || retry(wait_for_end((pid_t)child, &status)) < 0)
		return error_set_errno(err, errno, REASON_SECCOMP, "trying the system calls that are needed");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return error_set(err, REASON_SECCOMP, "a seccomp filter kills system calls that are needed");
}

int preflight(struct error *err)
{
	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) <= 0)
		return 0;
	return preflight_calls(remote_calls, err);
}

int preflight_tracee(struct error *err)
{
	return preflight_calls(tracee_calls, err);
}
