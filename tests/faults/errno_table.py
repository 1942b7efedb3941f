# SPDX-License-Identifier: Apache-2.0
"""Which errors a system call can return here: by its man page, for those that hugexec makes itself or injected."""
import errno

# Calls that cannot fail on Linux, or whose failure is no event of its own: there is nothing to inject.
#   close          releases the descriptor whatever it returns (close(2), "Dealing with error returns"); EBADF would be a
#                  defect of ours
#   waitid         the workload's last call for us: see docs/reliability.md
#   exit, exit_group, rt_sigreturn, getpid and its like never return an error
#   rt_sigprocmask with a constant and pointers to variables cannot fail; that a filter refuses it is tested elsewhere
NEVER_FAIL = {"close", "waitid", "rt_sigprocmask", "exit", "exit_group", "rt_sigreturn", "getpid", "getppid", "getuid", "geteuid", "getgid",
              "getegid", "gettid", "umask", "sched_yield", "set_tid_address", "set_robust_list", "alarm", "getpgrp"}

OPEN = "EACCES EMFILE ENFILE ENOENT ENOMEM EINTR"
ERRNOS = {
    "access": "EACCES ENOENT", "faccessat": "EACCES ENOENT", "brk": "EPERM", "capget": "EPERM", "clone": "EAGAIN ENOMEM EPERM",
    "clone3": "EAGAIN ENOMEM ENOSYS EPERM", "vfork": "EAGAIN ENOMEM", "close_range": "ENOSYS EMFILE ENOMEM",
    "connect": "ENOENT ECONNREFUSED EACCES", "dup": "EMFILE", "dup2": "EMFILE EBUSY", "dup3": "EMFILE EBUSY",
    "execve": "ENOENT EACCES ENOMEM ETXTBSY EAGAIN", "fadvise64": "EINVAL", "fallocate": "ENOSPC ENOMEM EFBIG EINTR EPERM",
    "fcntl": "EMFILE EBUSY EPERM EINVAL", "fstat": "ENOMEM EIO", "ftruncate": "EFBIG EINVAL EPERM EINTR", "futex": "EINTR ENOSYS",
    "getdents64": "EIO", "getrandom": "ENOSYS EINTR EAGAIN", "getsockopt": "ENOPROTOOPT", "getxattr": "ENODATA ENOTSUP EIO",
    "kill": "EPERM", "lseek": "EINVAL", "lstat": "EACCES ENOENT", "madvise": "ENOMEM EAGAIN EINVAL EIO EBUSY EPERM",
    "memfd_create": "EMFILE ENFILE ENOMEM EACCES EINVAL ENOSYS", "mincore": "EAGAIN ENOMEM EPERM", "mmap": "ENOMEM EACCES EAGAIN EPERM",
    "linkat": "EEXIST ENOSPC EPERM", "mkdir": "EEXIST EACCES ENOSPC EROFS", "mkdirat": "EEXIST EACCES ENOSPC EROFS", "mprotect": "ENOMEM EACCES",
    "mremap": "ENOMEM EAGAIN EFAULT EINVAL", "munmap": "ENOMEM", "newfstatat": "ENOENT EACCES ENOMEM",
    "nanosleep": "EINTR", "clock_nanosleep": "EINTR", "openat": OPEN, "open": OPEN, "pidfd_getfd": "EMFILE ENFILE EPERM ENOSYS",
    "pidfd_open": "EMFILE ENFILE ENOMEM ENOSYS", "pidfd_send_signal": "EPERM", "pipe2": "EMFILE ENFILE", "poll": "EINTR ENOMEM", "ppoll": "EINTR ENOMEM",
    "prctl": "EINVAL EPERM", "pread64": "EIO EINTR ENOMEM", "prlimit64": "EPERM EINVAL", "process_vm_readv": "EPERM ENOMEM EFAULT",
    "process_vm_writev": "EPERM ENOMEM EFAULT", "read": "EIO EINTR ENOMEM", "readlink": "EACCES ENOENT ENOMEM",
    "readlinkat": "EACCES ENOENT ENOMEM", "rt_sigaction": "EINVAL", "rt_sigtimedwait": "EAGAIN EINTR",
    "seccomp": "ENOMEM EINVAL EACCES", "recvmsg": "EAGAIN ENOMEM EMFILE", "sendmsg": "EAGAIN ENOBUFS EPIPE EMSGSIZE ETOOMANYREFS",
    "socketpair": "EMFILE ENFILE ENOMEM EAFNOSUPPORT EACCES", "sendto": "EAGAIN ENOBUFS EPIPE",
    "setgroups": "EPERM ENOMEM", "setresgid": "EPERM EAGAIN", "setresuid": "EPERM EAGAIN", "setrlimit": "EPERM", "setsid": "EPERM",
    "setsockopt": "EPERM", "socket": "EMFILE ENFILE EAFNOSUPPORT EACCES", "stat": "EACCES ENOENT", "statfs": "EACCES EIO",
    "statx": "ENOENT ENOMEM", "uname": "EFAULT", "unlinkat": "ENOENT EACCES EROFS", "wait4": "EINTR",
    "write": "EIO ENOSPC EPIPE EINTR EFBIG", "writev": "EIO ENOSPC EPIPE",
    "sysinfo": "EFAULT", "sched_getaffinity": "EINVAL", "arch_prctl": "EINVAL", "rseq": "EINVAL", "sigaltstack": "EPERM",
}


# A process that stands in a ptrace stop and lives takes every request (ESRCH says that it has been killed, which
# "killed" does for real), but for becoming a tracee. A filter might refuse those that change it all the same.
PTRACE_SEIZE = 0x4206
PTRACE_ERRNOS = {PTRACE_SEIZE: "EPERM ESRCH"}
# PTRACE_SYSCALL, SETOPTIONS, GETREGSET, SETREGSET, INTERRUPT, GETSIGMASK, SETSIGMASK
PTRACE_REFUSED = (24, 0x4200, 0x4204, 0x4205, 0x4207, 0x420a, 0x420b)

READS = {"read", "pread64"}
GARBLED = ["nonsense", "reversed", "wordless", "enormous", "escaped", "cut"]  # what the kernel never writes
OURS = ("tracer", "child", "reader")


def errors_of(call, argument):
    """By number. A call that is not in the table: refused, or not there."""
    if call == "ptrace":
        names = PTRACE_ERRNOS.get(argument, "EPERM" if argument in PTRACE_REFUSED else "")
    else:
        names = "" if call in NEVER_FAIL else ERRNOS.get(call, "EPERM ENOSYS")
    return [getattr(errno, name) for name in names.split()]


def faults_of(role, call, argument):
    """How the call can go wrong, given its role and first argument: errors by number, and words for the injector. Of the
    workload's own death hugexec hears by whatever call it makes next."""
    faults = errors_of(call, argument)
    first = faults[0] if faults else errno.EPERM
    if call in READS:
        faults += ["end", *GARBLED]
    if call == "pread64":
        faults.append("elsewhere")
    if call == "getrandom" and role in OURS:
        faults.append("chosen")
    if role in (*OURS, "injected"):
        faults.append("killed")
    if role in OURS:
        faults.append("suicide")
    if role == "injected" and call not in NEVER_FAIL:
        faults += [f"{first}+", f"{first}*", f"{first}!"]  # undoing fails, too
    return faults


def leaves_memory(role, call, fault):
    """Whether address space that nobody uses may stay: where undoing or tidying up is refused, or nobody is left to do it."""
    hides = role in ("tracer", "child") and call == "process_vm_readv" and fault == errno.EPERM  # as who is not dumpable any more does
    return (hides or (role, call) in (("injected", "munmap"), ("tracer", "ptrace"), ("child", "ptrace")) or fault == "suicide"
            or str(fault)[-1] in "*!")


def may_end_it(role, call, fault):
    """Whether a workload that this leads to may have been killed: better no program than one that is wrong."""
    return fault in ("killed", "suicide") or str(fault)[-1] in "+*!" or (role in ("tracer", "child") and call == "ptrace")

