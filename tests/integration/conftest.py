"""What all integration tests share: the built programs, policies, huge pages that are given back, test programs."""
import contextlib
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import time

import bigtext as bigtext_generator
import pytest
from surroundings import BUILD, PROGRAMS, ROOT, is_open, open_up  # noqa: F401

GENERATED = PROGRAMS / "generated"  # test programs that are built on first use
POOL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
MIB = 1 << 20
HUGE = 2 * MIB

# Built with AddressSanitizer: it wants terabytes of address space, and looks for leaks with ptrace(2).
SANITIZED = "HUGEXEC_SANITIZED" in os.environ
NOT_SANITIZED = pytest.mark.skipif(SANITIZED, reason="AddressSanitizer does not work under this limit")

# A machine that is busy with something else is no reason to leave text on small pages, here.
PATIENT = {"file_timeout": "60s"}
ALL = {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, **PATIENT}]}


def without_leak_check():
    """An environment for surroundings in which leaks cannot be looked for."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"} if SANITIZED else {}


def policy_with(**settings):
    """A policy that remaps every program, with these settings."""
    return {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, **PATIENT, **settings}]}


# What AddressSanitizer itself needs: descriptors for its maps, /proc, its own system calls.
TAKEN_AWAY = ("few_files", "core_file", "no_proc", "errno-prlimit64", "kill-madvise", "refuses_ptrace[2147483648-kills]")


# Topics about what is in the page cache.
ABOUT_PAGE_CACHE = ("attach", "page_cache", "filesystems", "files_change", "frames", "libraries", "programs", "rebase",
                    "round_out", "coverage", "status", "tools", "warm")


def takes_pages_back():
    """Whether DAMON has this kernel page out, now and then, what nobody has used for a moment (seen on virtual machines)."""
    for state in pathlib.Path("/sys/kernel/mm/damon/admin/kdamonds").glob("*/state"):
        for scheme in state.parent.glob("contexts/*/schemes/*/action"):
            try:
                if (state.read_text().strip(), scheme.read_text().strip()) == ("on", "pageout"):
                    return True
            except PermissionError:
                return True  # for all that a user can know
    return False


def pytest_collection_modifyitems(items):
    if takes_pages_back():
        for item in items:
            if any(topic in item.path.name for topic in ABOUT_PAGE_CACHE):
                item.add_marker(pytest.mark.flaky(reruns=2))
    if not SANITIZED:
        return
    skip = pytest.mark.skip(reason="takes away what the sanitizers' own runtime needs; run without them too")
    for item in items:
        if any(word in item.name for word in TAKEN_AWAY):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def hugexec():
    path = BUILD / "shim" / "hugexec"
    if not path.exists():
        pytest.fail(f"{path} is not built")
    return str(path)


@pytest.fixture(scope="session")
def hugexecctl():
    path = BUILD / "shim" / "hugexecctl"
    if not path.exists():
        pytest.fail(f"{path} is not built")
    return str(path)


@pytest.fixture
def write_policy(tmp_path):
    """Write a policy (a dict, or text) to a file; returns its path."""
    count = 0

    def write(policy):
        nonlocal count
        count += 1
        path = tmp_path / f"policy-{count}.json"
        path.write_text(policy if isinstance(policy, str) else json.dumps(policy))
        path.chmod(0o644)
        return str(path)

    return write


class Process(subprocess.Popen):
    """
    A started program that never outlives its test: ended where its block is left by a failed assertion (Popen's own
    __exit__ would wait for it for ever), and when the test is over.
    """
    started = []

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        Process.started.append(self)

    def __exit__(self, kind, value, traceback):
        if kind and self.poll() is None:
            self.kill()
        super().__exit__(kind, value, traceback)


@pytest.fixture(autouse=True)
def end_processes():
    yield
    while Process.started:
        process = Process.started.pop()
        if process.returncode is None and process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


def run(command, **options):
    """Run COMMAND to its end and keep what it prints."""
    options.setdefault("timeout", 120)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


@pytest.fixture(name="run")
def run_fixture():
    return run


def read_report(path):
    """The lines of a report file, as dicts."""
    path = pathlib.Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def hugexec_command(hugexec, write_policy, tmp_path):
    """The words of a hugexec command line, and the file that its report goes to."""
    count = 0

    def command(arguments, policy=None, backing=None, options=()):
        nonlocal count
        count += 1
        report = tmp_path / f"report-{count}.json"
        words = [hugexec, f"--policy={write_policy(policy or ALL)}", f"--report={report}"]
        if backing:
            words.append(f"--backing={backing}")
        return [*words, *options, "--", *map(str, arguments)], report

    return command


@pytest.fixture
def hugexec_run(hugexec_command):
    """Run a command under hugexec to its end: (CompletedProcess, list of report lines)."""

    def call(arguments, policy=None, backing=None, options=(), **run_options):
        words, report = hugexec_command(arguments, policy, backing, options)
        done = run(words, **run_options)
        return done, read_report(report)

    return call


@contextlib.contextmanager
def mounted(words, where):
    """A mount that is gone afterwards, and its loop device with it."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    where.mkdir(exist_ok=True)
    done = run(["mount", *words, where])
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield where
    finally:
        for _ in range(50):  # a mount namespace that has a copy of it may be about to end
            if run(["umount", where]).returncode == 0:
                break
            time.sleep(0.1)
        else:
            run(["umount", "--lazy", where])
            pytest.fail(f"{where} was busy")


@contextlib.contextmanager
def take_hugetlb_pool(pages):
    """Have exactly PAGES free 2 MiB pages in the pool; the pool is as before afterwards. One test at a time."""
    count = POOL / "nr_hugepages"
    if not count.exists() or not os.access(count, os.W_OK):
        pytest.skip("the hugetlb pool cannot be changed here")
    with open("/tmp/hugexec-test-pool.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = int(count.read_text())
        try:
            used = before - int((POOL / "free_hugepages").read_text())
            count.write_text(str(used + pages))
            if int((POOL / "free_hugepages").read_text()) != pages:
                pytest.skip(f"the kernel has no {pages} free 2 MiB pages")
            yield
        finally:
            count.write_text(str(before))


@pytest.fixture
def hugetlb_pool():
    return take_hugetlb_pool


@pytest.fixture(scope="session")
def bigtext():
    """Path of a generated program with MIB of text (tests/programs/bigtext.c); FLAGS after the compiler, kept by NAME."""

    def build(mib=8, name="pie", command=("cc",)):
        GENERATED.mkdir(parents=True, exist_ok=True)
        path = GENERATED / f"bigtext-{name}-{mib}"
        sources = [ROOT / "tests" / "programs" / file for file in ("bigtext.c", "bigtext.py")]
        if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            bigtext_generator.build(mib, str(path), tuple(command))
            os.sync()  # the file backing leaves dirty pages alone
        return str(path)

    return build


def smaps(pid):
    """The mappings of a process: dicts with start, end, perms, offset, path and the counts of smaps in bytes."""
    entries = []
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split(None, 5)
        if "-" in words[0] and not words[0].endswith(":"):
            start, end = (int(part, 16) for part in words[0].split("-"))
            entries.append({"start": start, "end": end, "perms": words[1], "offset": int(words[2], 16),
                            "path": words[5] if len(words) > 5 else ""})
        elif words[-1] == "kB":
            entries[-1][words[0][:-1]] = int(words[1]) * 1024
    return entries


@contextlib.contextmanager
def at_rest(command):
    """Run COMMAND, which must be at rest in sleep or read soon; yields its Popen."""
    process = Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    return condition()


HUGE_COUNTS = ("FilePmdMapped", "ShmemPmdMapped", "AnonHugePages", "Private_Hugetlb", "Shared_Hugetlb")


def huge_text_bytes(pid, start=0, end=1 << 64):
    """Bytes of a process's executable mappings inside [START, END) that are on huge pages."""
    return sum(entry.get(count, 0) for entry in smaps(pid) for count in HUGE_COUNTS
               if "x" in entry["perms"] and entry["start"] >= start and entry["end"] <= end)


def status_of(pid):
    """/proc/PID/status as a dict."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def children_of(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.fixture
def mark():
    """A word for the environment of everything that a test starts: what is left of it can be found, and is ended here."""
    word = f"hugexec-test-{os.getpid()}-{time.monotonic_ns()}"
    yield word
    for pid in marked(word):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def marked(mark):
    """PIDs of processes that were started with MARK in their environment."""
    pids = []
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes():
                pids.append(int(environ.parent.name))
    return pids


def wait_until(condition, seconds=120, process=None):
    """Wait for CONDITION (OSError: not yet); fails where PROCESS ends before or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if condition():
                return
        if process and process.poll() is not None:
            pytest.fail(f"ended early with {process.returncode}")
        time.sleep(0.01)
    pytest.fail("waited in vain")


@pytest.fixture
def public_folder(tmp_path):
    """A folder that every user may use."""
    open_up(tmp_path)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture
def nobody():
    """Words before a command that run it as an unprivileged user."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes root")
    if not is_open(BUILD) or not is_open(PROGRAMS):
        pytest.skip(f"another user cannot reach {BUILD}, and binding it elsewhere is refused")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@contextlib.contextmanager
def switched(path, word):
    """A kernel setting changed for a while. One test at a time."""
    path = pathlib.Path(path)
    if not path.exists() or not os.access(path, os.W_OK):
        pytest.skip(f"{path} cannot be changed here")
    text = path.read_text()
    before = text[text.index("[") + 1:text.index("]")] if "[" in text else text.strip()
    with open("/tmp/hugexec-test-switch.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            path.write_text(word)
            yield
        finally:
            path.write_text(before)
