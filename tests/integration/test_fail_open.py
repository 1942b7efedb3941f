"""Whatever cannot be done, the workload runs as if hugexec were not there, and the report has the right reason.

With "on_error": "fail" the same is exit status 125, and the workload has not run.
"""
import contextlib
import ctypes
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import time

import pytest

from conftest import (HUGE, NOT_SANITIZED, ROOT, Process, marked, mounted, policy_with, smaps, switched, take_hugetlb_pool,
                      wait_until, without_leak_check)

MIB = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_THP_DISABLE = 41


def run(words, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False, **options)


def split_report(stderr):
    """Standard error without the report line that --report=- put there, and that line."""
    lines = stderr.splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in lines if not line.startswith("{")], reports


@pytest.fixture
def check(hugexec, bigtext, write_policy, mark):
    """Run a program plain and under hugexec in surroundings in which something fails; see that it fails open."""

    def call(word, backing, mib=8, outcome="failed", prefix=(), detail="", variant=("pie", ("cc",)), **options):
        program = [bigtext(mib, *variant), "exit", "9"]
        environment = {**os.environ, **without_leak_check(), "MARK": mark}
        plain = run([*prefix, *program], env=environment, **options)
        assert plain.returncode == 9, plain.stderr
        words = [*prefix, hugexec, f"--backing={backing}", "--report=-"]
        ours = run([*words, f"--policy={write_policy(policy_with())}", "--", *program], env=environment, **options)
        stderr, reports = split_report(ours.stderr)
        assert (ours.stdout, stderr, ours.returncode) == (plain.stdout, plain.stderr.splitlines(), 9)
        assert len(reports) == 1, ours.stderr
        assert (reports[0]["outcome"], reports[0]["reason"].split(":")[0]) == (outcome, word), reports[0]["reason"]
        assert detail in reports[0]["reason"]
        assert reports[0]["huge_bytes"] == 0
        policy = write_policy(policy_with(on_error="fail"))
        fails = run([*words, f"--policy={policy}", "--", *program], env=environment, **options)
        stderr, reports = split_report(fails.stderr)
        assert (fails.stdout, fails.returncode) == ("", 125)
        assert len(reports) == 1 and reports[0]["reason"].split(":")[0] == word
        assert len(stderr) == 1 and stderr[0].startswith("hugexec: ") and word in stderr[0]
        wait_until(lambda: not marked(mark))

    return call


def test_on_error_fail_where_nothing_fails(hugexec_run, bigtext):
    """It is about failures: what is remapped, and what is left alone for a good reason, runs."""
    done, report = hugexec_run([bigtext(4), "exit", "9"], policy_with(on_error="fail"), "thp")
    assert (done.returncode, report[0]["outcome"]) == (9, "remapped")
    done, report = hugexec_run([bigtext(4), "exit", "9"], policy_with(on_error="fail", min_text="1G", follow="none"), "thp")
    assert (done.returncode, report[0]["outcome"]) == (9, "skipped")


# Huge pages that are not there


def test_empty_pool(check):
    with take_hugetlb_pool(0):
        check("hugetlb-pool", "hugetlb")


def test_pool_too_small(check):
    with take_hugetlb_pool(2):
        check("hugetlb-pool", "hugetlb", detail="2 of the")
        assert pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text() == "2\n"


def test_pages_kept_free(hugexec_run, bigtext):
    with take_hugetlb_pool(8):
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free=6), "hugetlb")
        assert done.returncode == 9 and report[0]["reason"].startswith("hugetlb-reserved: ")
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free="90%"), "hugetlb")
        assert done.returncode == 9 and report[0]["reason"].startswith("hugetlb-reserved: ")
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free=2), "hugetlb")
        assert done.returncode == 9 and report[0]["outcome"] == "remapped"


def test_next_backing_is_tried(hugexec_run, bigtext):
    with take_hugetlb_pool(0):
        _, report = hugexec_run([bigtext(8)], backing="hugetlb,thp")
    assert report[0]["backing"] == "thp" and report[0]["reason"].startswith("hugetlb-pool: ")


@contextlib.contextmanager
def cgroup(controller, limits):
    """A new cgroup with LIMITS (file: value), v2 or v1, removed afterwards; yields its cgroup.procs."""
    v1 = pathlib.Path("/sys/fs/cgroup", controller)
    parents = [pathlib.Path("/sys/fs/cgroup/unified"), pathlib.Path("/sys/fs/cgroup")]
    parent = next((path for path in parents if (path / "cgroup.controllers").exists()
                   and controller in (path / "cgroup.controllers").read_text().split()), None)
    version = 2
    if (v1 / "cgroup.procs").exists():
        parent, version = v1, 1
    if parent is None or not os.access(parent / "cgroup.procs", os.W_OK):
        pytest.skip(f"no cgroup can be made under the {controller} controller here")
    switch = parent / "cgroup.subtree_control"
    was_on = version == 1 or controller in switch.read_text().split()
    folder = parent / f"hugexec-test-{os.getpid()}"
    try:
        if not was_on:
            switch.write_text(f"+{controller}")
        folder.mkdir()
        for names, value in limits.items():
            (folder / names[version - 1]).write_text(value)
        yield folder / "cgroup.procs"
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    finally:
        if folder.exists():
            wait_until(lambda: folder.rmdir() is None)
        if not was_on:
            switch.write_text(f"-{controller}")


def joining(procs):
    return lambda: procs.write_text(str(os.getpid()))


def test_hugetlb_cgroup_limit(check):
    limit = {("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"): "0"}
    with cgroup("hugetlb", limit) as procs, take_hugetlb_pool(8):
        check("hugetlb-limit", "hugetlb", preexec_fn=joining(procs))


def test_memory_cgroup_limit(check):
    limit = {("memory.limit_in_bytes", "memory.max"): str(40 * MIB)}
    with cgroup("memory", limit) as procs:
        check("memory-limit", "thp", mib=64, preexec_fn=joining(procs))


def test_thp_disabled_for_the_process(check):
    check("thp-refused", "thp", preexec_fn=lambda: LIBC.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))


def except_advised():
    """Huge pages only for what is advised to be (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18), as text on them is."""
    return LIBC.prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0)


@pytest.fixture(name="knows_except_advised")
def knows_except_advised_fixture():
    child = os.fork()
    if child == 0:
        os._exit(0 if except_advised() == 0 else 1)
    if os.waitpid(child, 0)[1] != 0:
        pytest.skip("this kernel has no PR_THP_DISABLE_EXCEPT_ADVISED (Linux 6.18)")


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_thp_disabled_except_where_advised(knows_except_advised, hugexec_run, bigtext, tmp_path, backing):
    with mounted(["-t", "tmpfs", "-o", "size=64M", "none"], tmp_path / "tmpfs") as folder:
        program = shutil.copy(bigtext(8), folder)
        done, report = hugexec_run([program, "exit", "9"], backing=backing, preexec_fn=except_advised)
    assert done.returncode == 9
    assert (report[0]["outcome"], report[0]["backing"]) == ("remapped", backing), report


def test_another_reason_than_thp_disabled(knows_except_advised, hugexec_run, bigtext, hugexecctl):
    with switched("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "deny"):
        _, report = hugexec_run([bigtext(8)], backing="thp", preexec_fn=except_advised)
        told = run([hugexecctl, "doctor"], preexec_fn=except_advised).stdout
    assert report[0]["reason"].startswith("thp-refused: ") and "PR_SET_THP_DISABLE" not in report[0]["reason"]
    assert "thp-refused" in told and "PR_SET_THP_DISABLE" not in told


def test_thp_never(hugexec_run, bigtext):
    """The host's switch: where it stops the backing the reason says so; either way the program runs."""
    with switched("/sys/kernel/mm/transparent_hugepage/enabled", "never"):
        done, report = hugexec_run([bigtext(8), "exit", "9"], backing="thp")
    assert done.returncode == 9
    assert report[0]["outcome"] == "remapped" or report[0]["reason"].startswith("thp-refused: ")


def test_thp_denied_for_shared_memory(check):
    with switched("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "deny"):
        check("thp-refused", "thp")


# Tracing that is not allowed


def seccomp_filter(action, *calls):
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def load():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        for call in calls:
            rules.add_rule(seccomp.ERRNO(1) if action == "errno" else seccomp.KILL_PROCESS, call)
        rules.load()

    return load


def test_ptrace_refused(check):
    check("ptrace-refused", "thp", preexec_fn=seccomp_filter("errno", "ptrace"))


def test_ptrace_killed(check):
    check("seccomp", "thp", preexec_fn=seccomp_filter("kill", "ptrace"))


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_getfd", "pidfd_open", "mremap", "madvise", "fallocate",
                                  "process_vm_readv", "process_vm_writev", "waitid", "clone3", "pipe2", "poll",
                                  "ftruncate", "capget", "close_range", "setsid", "prlimit64", "socketpair", "recvmsg", "sendmsg"])
@pytest.mark.parametrize("action", ["errno", "kill"])
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_one_call_filtered(hugexec, bigtext, write_policy, action, call, backing):
    """One system call of those that hugexec makes is refused or answered with SIGSYS: the workload never pays for that."""
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter(action, call)
    plain = run(program, preexec_fn=filtered)
    if plain.returncode != 9:
        pytest.skip("the program itself needs this call")
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        ours = run([hugexec, f"--policy={write_policy(policy_with())}", f"--backing={backing}", "--report=-", "--", *program],
                   preexec_fn=filtered, env={**os.environ, **without_leak_check()})
    stderr, _ = split_report(ours.stderr)
    assert (ours.stdout, stderr, ours.returncode) == (plain.stdout, [], 9)


def test_a_kernel_that_cannot_move_hugetlb_pages(hugexec, bigtext, write_policy, tmp_path):
    """mremap is refused, as before Linux 5.16: the copy is mapped over the text from the memfd, of which nothing stays."""
    report = tmp_path / "report.json"
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--backing=hugetlb", f"--report={report}", "--",
             bigtext(8, "static", ("cc", "-static")), "sleep"]
    with take_hugetlb_pool(8), Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                       preexec_fn=seccomp_filter("errno", "mremap")) as process:
        assert [process.stdout.readline()[:8], process.stdout.readline()] == ["bigtext:", "ready\n"]
        line = json.loads(report.read_text())
        assert (line["outcome"], line["backing"]) == ("remapped", "hugetlb") and line["huge_bytes"] >= 3 * HUGE, line
        copies = [entry for entry in smaps(process.pid) if entry["path"].startswith("/memfd:")]
        assert sum(entry["end"] - entry["start"] for entry in copies) == line["huge_bytes"]
        assert all(entry["perms"] == "r-xp" for entry in copies)
        assert not [fd for fd in os.listdir(f"/proc/{process.pid}/fd") if "memfd" in os.readlink(f"/proc/{process.pid}/fd/{fd}")]
        process.kill()


@pytest.mark.parametrize("action", ["errno", "kill"])
def test_the_wait_for_libraries_is_filtered(hugexec, bigtext, write_policy, action):
    """A tracer that is killed while the program loads its libraries: the program does not wait for it at its entry point."""
    program = [bigtext(8), "exit", "9"]
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True))}", "--backing=thp", "--report=-", "--", *program]
    ours = run(words, preexec_fn=seccomp_filter(action, "rt_sigtimedwait"), env={**os.environ, **without_leak_check()})
    assert (ours.stdout, ours.returncode) == (run(program).stdout, 9)
    assert split_report(ours.stderr)[1][0]["reason"] or action == "errno"


@pytest.mark.parametrize("call", ["clone", "wait4", "futex", "getpid", "access", "rt_sigprocmask"])
def test_one_call_refused(hugexec, bigtext, write_policy, call):
    """Those that hugexec makes itself before the command: without them there is no tracer, or one that does not wait."""
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter("errno", call)
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True))}", "--backing=thp", "--report=-"]
    for _ in range(10):  # waiting in vain takes a coincidence
        plain = run(program, preexec_fn=filtered)
        begin = time.monotonic()
        ours = run([*words, "--", *program], preexec_fn=filtered, env={**os.environ, **without_leak_check()})
        assert (ours.stdout, split_report(ours.stderr)[0], ours.returncode) == (plain.stdout, [], 9)
        assert time.monotonic() - begin < 25  # less than follow_timeout, for which it would be waited


@pytest.mark.parametrize("scope", ["1", "2"])
def test_yama(hugexec, bigtext, write_policy, nobody, public_folder, scope):
    """Scope 1 lets the tracer in because it is named; scope 2 lets nobody in without CAP_SYS_PTRACE."""
    words = [*nobody, hugexec, f"--policy={write_policy(policy_with())}", "--backing=thp", "--report=-", "--", bigtext(8)]
    with switched("/proc/sys/kernel/yama/ptrace_scope", scope):
        done = run(words)
    assert done.returncode == 0
    report = split_report(done.stderr)[1][0]
    assert report["outcome"] == "remapped" if scope == "1" else report["reason"].startswith("ptrace-refused: ")


# Limits


def limited(*limits):
    def apply():
        for which, soft, hard in limits:
            resource.setrlimit(which, (soft, hard))

    return apply


@pytest.mark.parametrize("files", [3, 4, 5, 8])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_few_files(check, files, backing):
    """So few files that nothing can be opened. With 3 of 3 in use not even a library can be loaded: standard input is closed."""

    def apply():
        if files == 3:
            os.close(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    check("fd-limit", backing, variant=("static", ("cc", "-static")), preexec_fn=apply)


@NOT_SANITIZED
def test_small_address_space(check):
    """Enough for hugexec and for the program, not for a second mapping of its text."""
    check("address-space-limit", "thp", mib=64, preexec_fn=limited((resource.RLIMIT_AS, 100 * MIB, 100 * MIB)))


@NOT_SANITIZED
def test_address_space_of_any_size(hugexec, write_policy):
    """From where hugexec can just be loaded to where it has all that it wants: whatever it lacks, the program runs."""
    # So that it is here that memory runs out: where a name is copied, which json-c does not survive.
    rules = [{"match": {"via": "hook", "annotation": {f"{number}-{'x' * 2000}": "*"}}} for number in range(200)]
    policy = write_policy({**policy_with(), "rules": rules + policy_with()["rules"]})
    program = ["/bin/sh", "-c", "exit 9"]  # which needs less than hugexec
    lowest = next(size for size in range(2 * MIB, 64 * MIB, 32768)
                  if run([hugexec, "--version"], preexec_fn=limited((resource.RLIMIT_AS, size, size))).returncode == 0)
    for size in range(lowest, lowest + 4 * MIB, 32768):
        limit = limited((resource.RLIMIT_AS, size, size))
        plain = run(program, preexec_fn=limit)
        ours = run([hugexec, f"--policy={policy}", "-q", "--", *program], preexec_fn=limit)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode), size
    assert plain.returncode == 9


@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_no_file_size(check, backing):
    """RLIMIT_FSIZE 0: what is too large to write raises SIGXFSZ, which must not reach the workload."""
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        check("file-size-limit", backing, preexec_fn=limited((resource.RLIMIT_FSIZE, 0, 0)))


@NOT_SANITIZED
def test_small_stack(check):
    check("stack-limit", "thp", preexec_fn=limited((resource.RLIMIT_STACK, 128 * 1024, 128 * 1024)))


@NOT_SANITIZED
def test_stack_of_any_size(hugexec, bigtext, write_policy, tmp_path):
    """From one on which the program can just run: it does, and hugexec says why it does no more from where it has room for that."""
    program = [bigtext(4), "exit", "9"]
    report, reasons = tmp_path / "report", []
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True, perf_map=True))}", "--backing=thp", f"--report={report}", "--"]
    for size in range(16384, 256 * 1024, 8192):
        limit = limited((resource.RLIMIT_STACK, size, size))
        plain = run(program, preexec_fn=limit)
        report.write_text("")
        ours = run([*words, *program], preexec_fn=limit)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode), size
        reasons += [json.loads(line)["reason"] for line in report.read_text().splitlines()]
    assert plain.returncode == 9 and reasons[0].startswith("stack-limit: ") and not reasons[-1]


def test_small_soft_stack(hugexec_run):
    """It is the program's, as before."""
    soft = limited((resource.RLIMIT_STACK, 65536, resource.RLIM_INFINITY))
    done, report = hugexec_run(["sh", "-c", "ulimit -s; ulimit -H -s"], policy_with(), preexec_fn=soft)
    assert (done.stdout, done.stderr) == ("64\nunlimited\n", "") and not report[0]["reason"].startswith("stack-limit")


@pytest.mark.parametrize("limits", [
    [(resource.RLIMIT_STACK, 40960, resource.RLIM_INFINITY)],
    [(resource.RLIMIT_FSIZE, 0, resource.RLIM_INFINITY)],
    [(resource.RLIMIT_NOFILE, 4, 64)],
    [(resource.RLIMIT_CORE, resource.RLIM_INFINITY, resource.RLIM_INFINITY)],
])
def test_soft_limits_do_not_matter(hugexec_run, bigtext, limits):
    done, report = hugexec_run([bigtext(8), "exit", "9"], backing="thp", preexec_fn=limited(*limits))
    assert done.returncode == 9 and report[0]["outcome"] == "remapped", report


def test_no_process_left(hugexec, bigtext, write_policy, nobody, public_folder):
    """RLIMIT_NPROC: no tracer can be started."""
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--report=-", "--", bigtext(8), "exit", "9"]
    done = run([*nobody, "prlimit", "--nproc=1:1", *words])
    assert done.returncode == 9
    assert split_report(done.stderr)[1][0]["reason"].startswith("fork: ")


# Surroundings


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace takes root")
def test_no_proc(check):
    prefix = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh"]
    check("no-proc", "thp", prefix=prefix)


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_proc_of_another_pid_namespace(check):
    """There our number is that of another process: its mappings are not the workload's."""
    check("no-proc", "thp", prefix=["unshare", "--pid", "--fork"], detail="another PID namespace")


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_first_child_would_be_pid_1(check):
    check("pid-namespace", "thp", prefix=["unshare", "--pid"])


def test_standard_files_closed(hugexec_command, bigtext):
    """Without standard files: descriptors of hugexec's own must not take their place in the workload."""
    words, report = hugexec_command(["/bin/sh", "-c", f"ls -l /proc/self/fd >&3; {bigtext(4)} >&3"], backing="thp")
    script = '"$@" 3>&1 <&- >&- 2>&-'
    plain = run(["sh", "-c", script, "sh", *words[words.index("--") + 1:]])
    ours = run(["sh", "-c", script, "sh", *words])
    assert plain.returncode == ours.returncode
    count = [sum("->" in line for line in done.stdout.splitlines()) for done in (plain, ours)]
    assert count[0] == count[1] > 0
    assert report.exists()


# Policies


BAD_POLICIES = {
    "not JSON": ("rules:\n  - none\n", "policy-invalid"),
    "empty": ("", "policy-invalid"),
    "wrong version": ({"version": 2, "rules": []}, "policy-invalid"),
    "no version": ({"rules": []}, "policy-invalid"),
    "unknown key": ({"version": 1, "rulez": []}, "policy-invalid"),
    "wrong type": ({"version": 1, "rules": {}}, "policy-invalid"),
    "bad size": ({"version": 1, "settings": {"min_text": "4 parsecs"}}, "policy-invalid"),
    "cut": ('{"version": 1, "rules": [{"match"', "policy-invalid"),
}


def check_bad_policy(hugexec, bigtext, path, word, prefix=()):
    program = [bigtext(4), "exit", "9"]
    done = run([*prefix, hugexec, f"--policy={path}", "--report=-", "--", *program])
    assert done.returncode == 9 and done.stdout == run(program).stdout
    _, reports = split_report(done.stderr)
    assert reports[0]["outcome"] == "failed"
    assert reports[0]["reason"].split(":")[0] == word, reports[0]["reason"]
    assert str(path) in reports[0]["reason"]


@pytest.mark.parametrize("name", BAD_POLICIES)
def test_bad_policy(hugexec, bigtext, write_policy, name):
    text, word = BAD_POLICIES[name]
    check_bad_policy(hugexec, bigtext, write_policy(text), word)


def test_missing_policy(hugexec, bigtext, tmp_path):
    check_bad_policy(hugexec, bigtext, tmp_path / "nothing.json", "policy-unreadable")


def test_policy_is_a_folder(hugexec, bigtext, tmp_path):
    check_bad_policy(hugexec, bigtext, tmp_path, "policy-unreadable")


def test_policy_is_a_fifo(hugexec, bigtext, tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o644)
    check_bad_policy(hugexec, bigtext, tmp_path / "fifo", "policy-unreadable")


def test_policy_is_endless(hugexec, bigtext):
    check_bad_policy(hugexec, bigtext, "/dev/zero", "policy-unreadable")


def test_policy_of_100_mib(hugexec, bigtext, tmp_path):
    path = tmp_path / "large.json"
    with open(path, "w", encoding="ascii") as file:
        file.write('{"version": 1, "rules": [')
        file.truncate(100 * MIB)
    check_bad_policy(hugexec, bigtext, path, "policy-too-large")


def test_policy_unreadable(hugexec, bigtext, write_policy, nobody, public_folder):
    path = write_policy(policy_with())
    os.chmod(path, 0o600)
    check_bad_policy(hugexec, bigtext, path, "policy-unreadable", nobody)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root distrusts other people's policies")
def test_policy_of_somebody_else(hugexec, bigtext, write_policy):
    path = write_policy(policy_with())
    os.chown(path, 65534, 65534)
    check_bad_policy(hugexec, bigtext, path, "policy-untrusted")
    os.chown(path, 0, 0)
    for mode in (0o664, 0o646):
        os.chmod(path, mode)
        check_bad_policy(hugexec, bigtext, path, "policy-untrusted")


def test_broken_policy_that_says_fail(hugexec, bigtext, write_policy):
    """Only an explicit "fail" makes a broken policy an error."""
    policy = {"version": 1, "settings": {"on_error": "fail"}, "rules": [{"match": {"exe": 1}}]}
    done = run([hugexec, f"--policy={write_policy(policy)}", "--report=-", "--", bigtext(4)])
    assert (done.stdout, done.returncode) == ("", 125)
    assert split_report(done.stderr)[1][0]["reason"].startswith("policy-invalid: ")


# Programs that are left alone


@pytest.mark.parametrize("policy, word", [
    (policy_with(min_text="64M", follow="none"), "text-small"),
    (policy_with(max_text="4M", follow="none"), "text-large"),
    ({"version": 1, "rules": [{"match": {"exe": "/**"}, "action": "skip"}, {"match": {}}]}, "rule-skip"),
    ({"version": 1, "settings": {"follow": "none"}, "rules": [{"match": {"exe": "/nowhere"}}]}, "no-rule"),
    ({"version": 1, "rules": []}, "no-rule"),
    ({"version": 1, "rules": [{"match": {"via": "hook"}}]}, "no-rule"),
])
def test_left_alone(hugexec_run, bigtext, policy, word):
    done, report = hugexec_run([bigtext(8), "exit", "9"], policy, "thp")
    assert (done.returncode, done.stderr) == (9, "")
    assert [(line["outcome"], line["reason"].split(":")[0]) for line in report] == [("skipped", word)]


def test_no_whole_slot(hugexec_run, run):
    policy = policy_with(follow="none")
    done, report = hugexec_run(["/bin/true"], policy, "thp")
    assert done.returncode == 0 and report[0]["reason"].startswith("no-huge-slot: ")


def test_reason_words_are_documented():
    """Every word that the sources give an error is explained somewhere in docs/."""
    docs = "".join(path.read_text(errors="replace") for path in (ROOT / "docs").rglob("*") if path.is_file())
    docs = docs.replace("\\-", "-")  # as manual pages write it
    rooms = ("shim/host", "shim/mm", "shim/ptrace", "shim/remap", "shim/tracer", "shim/launch", "shim/helper", "oci-hook")
    sources = [ROOT / "shim/hugexec.c", *(path for room in rooms for path in (ROOT / room).glob("*.c"))]
    call = re.compile(r'error_set(?:_errno)?\(\s*[^,]+,\s*(?:[^",]+,\s*)?"([a-z][a-z-]+)"')
    words = {word for source in sources for word in call.findall(source.read_text())}
    words |= {"policy-invalid", "policy-unreadable", "policy-untrusted", "policy-too-large", "fd-limit", "not-permitted"}
    assert len(words) > 50
    assert not [word for word in sorted(words) if not re.search(rf"(?<![\w-]){word}(?![\w-])", docs)]
