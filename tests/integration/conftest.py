# SPDX-License-Identifier: Apache-2.0
"""What integration tests share: fixtures. What is no fixture is in tests/lib."""
import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from lib.busy import build_busy
from lib.cached_files import KERNEL, image
from lib.helper_daemon import Daemon
from lib.machine import ABOUT_PAGE_CACHE, take_hugetlb_pool, takes_pages_back
from lib.policies import ALL, policy_with
from lib.probes import build_probe
from lib.process import Process, children_of, marked, run, status_of, wait_for
from lib.report import read_report, split_report
from lib.sanitized import SANITIZED, TAKEN_AWAY, without_leak_check
from lib.steps import list_steps
from lib.surroundings import BUILD, PROGRAMS, is_open, open_up


def hangs_on_page_cache(item):
    """Whether what the page cache holds decides the outcome of a test: of one with backings only where text is put in place."""
    backing = item.callspec.params.get("backing") if hasattr(item, "callspec") else None
    if backing is None:
        return any(topic in item.path.name for topic in ABOUT_PAGE_CACHE)
    return "file" in backing and any(topic in item.path.name for topic in (*ABOUT_PAGE_CACHE, "attach"))


def pytest_collection_modifyitems(items):
    if takes_pages_back():
        for item in items:
            if hangs_on_page_cache(item):
                item.add_marker(pytest.mark.flaky(reruns=2))  # run-checks says at its end which had more than one try
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


@pytest.fixture
def hugetlb_pool():
    return take_hugetlb_pool


@pytest.fixture
def mark():
    """A word for the environment of everything that a test starts: what is left of it can be found, and is ended here."""
    word = f"hugexec-test-{os.getpid()}-{time.monotonic_ns()}"
    yield word
    for pid in marked(word):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


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
        wait_for(lambda: not marked(mark))

    return call


@pytest.fixture(scope="session")
def page_cache():
    """Call the module on a file; what it says, as a dict."""
    program = BUILD / "tests" / "programs" / "page-cache"

    def call(path, timeout_ms=60000, ranges=(), times=1, before=(), **options):
        words = [*before, program, f"--times={times}", path, timeout_ms, *ranges]
        done = run(words, **options)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["leaked_files"], said["leaked_mappings"], said["leaked_children"]) == (0, 0, False)
        return said

    return call


@pytest.fixture(name="ext4", scope="module")
def ext4_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ext4")
    open_up(folder)
    with image("ext4", folder) as where:
        yield where


@pytest.fixture(name="huge_ext4")
def huge_ext4_fixture(ext4):
    if KERNEL < (6, 16):
        pytest.skip("ext4 has large folios from Linux 6.16 on")
    return ext4


@pytest.fixture
def start_daemon(public_folder, write_policy):
    """Start hugexecd with a policy and options; ended with the test."""
    with contextlib.ExitStack() as stack:
        def start(policy=None, *options, prefix=(), **environment):
            daemon = Daemon(public_folder / "hugexecd.sock", write_policy(policy or ALL))
            stack.callback(daemon.stop)
            return daemon.start(*options, prefix=prefix, **environment)

        yield start


@pytest.fixture(scope="module")
def steps(hugexec):
    return list_steps(hugexec)


@pytest.fixture(scope="session")
def probe():
    return build_probe


@pytest.fixture(scope="session")
def busy():
    return build_busy


@pytest.fixture
def attach(hugexecctl, write_policy):
    """Returns (exit status, report, standard error)."""
    def call(pid, policy=None, backing="thp", **options):
        words = [hugexecctl, "attach", "--json", f"--policy={write_policy(policy or policy_with())}",
                 *([f"--backing={backing}"] if backing else []), pid]
        done = run(words, **options)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr
    return call


@pytest.fixture
def attach_up_to(hugexecctl, write_policy):
    """What is done within `with attach_up_to(pid, step) as report` happens when hugexecctl has come to the step; the report is there afterwards."""
    if run([hugexecctl.removesuffix("ctl"), "--list-steps"]).returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")

    @contextlib.contextmanager
    def call(pid, step, backing="thp"):
        report = {}
        words = [hugexecctl, "attach", "--json", f"--policy={write_policy(policy_with())}", f"--backing={backing}", str(pid)]
        # Its own process attaches, and stops there.
        with Process(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "HUGEXEC_FAULT": f"stop:{step}"}) as tool:
            stopped = wait_for(lambda: [pid for pid in [tool.pid, *children_of(tool.pid)] if status_of(pid)["State"][0] == "T"])
            try:
                yield report
            except BaseException:
                os.kill(int(stopped[0]), signal.SIGKILL)
                raise
            os.kill(int(stopped[0]), signal.SIGCONT)
            try:
                report.update(json.loads(tool.communicate(timeout=120)[0]))
            except subprocess.TimeoutExpired:
                os.kill(int(stopped[0]), signal.SIGKILL)
                raise
    return call
