# SPDX-License-Identifier: Apache-2.0
"""hugexecd: where a process may not be traced from where it is, its text comes on huge pages all the same."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from lib.confinement import cgroup, joining, seccomp_filter
from lib.helper_daemon import KILLS_PTRACE, REFUSED, Client, asking, credentials, files, request
from lib.machine import MIB, take_hugetlb_pool
from lib.policies import ALL, policy_with
from lib.probes import run_probe
from lib.process import Process, marked, status_of, wait_for
from lib.report import read_report
from lib.smaps import huge_text_bytes


def run(words, **options):
    process = Process([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE, text=True, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("backing", ["file", "thp"])
@pytest.mark.parametrize("filtered", [KILLS_PTRACE, ("errno", "ptrace")], ids=["kills", "refuses"])
def test_filtered(start_daemon, hugexec_command, bigtext, mark, backing, filtered):
    """A filter that lets nobody trace: through the helper the program's text is huge, and the report says so."""
    daemon = start_daemon()
    words, report = hugexec_command([bigtext(8), "exit", "9"], backing=backing)
    code, out, err = run(words, env=asking(daemon.path, MARK=mark), preexec_fn=seccomp_filter(*filtered))
    assert (code, err) == (9, "")
    lines = read_report(report)
    assert [line["outcome"] for line in lines] == ["remapped"], lines
    assert lines[0]["backing"] == backing and lines[0]["huge_bytes"] >= 4 << 20 and lines[0]["rule"] == "all"
    wait_for(lambda: not marked(mark) and not daemon.workers())


def test_text_is_huge(start_daemon, hugexec_command, bigtext, mark):
    """Seen from outside while it runs; nobody traces it, and it has no child."""
    daemon = start_daemon()
    words, report = hugexec_command([bigtext(8), "sleep"], backing="thp")
    process = Process(words, stdout=subprocess.PIPE, text=True, env=asking(daemon.path, MARK=mark),
                      preexec_fn=seccomp_filter(*KILLS_PTRACE))
    while process.stdout.readline() not in ("ready\n", ""):
        pass
    wait_for(lambda: not daemon.workers())
    line, = read_report(report)
    assert line["pid"] == process.pid
    assert huge_text_bytes(process.pid) == line["huge_bytes"] > 0
    assert status_of(process.pid)["TracerPid"] == "0"
    assert marked(mark) == [process.pid]
    assert not any("socket" in os.readlink(fd) for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")
def test_switched_off_for_the_host(start_daemon):
    """As long as /run/hugexec/disabled is there, it refuses whoever asks, and says why."""
    script = 'mount -t tmpfs tmpfs /run && mkdir /run/hugexec && touch /run/hugexec/disabled && exec "$@"'
    daemon = start_daemon(prefix=["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"])
    with Client(daemon.path) as client, open(os.pidfd_open(os.getpid()), "rb") as own:
        said = client.ask(request(), credentials(), files(own.fileno()))
    assert said[:2] == (REFUSED, "switched-off") and "/run/hugexec/disabled" in said[2], said


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_probe_sees_nothing(probe, start_daemon, hugexec_command, backing):  # noqa: F811
    daemon = start_daemon()
    words, report = hugexec_command([probe("pie"), "a b", "", "ü"], backing=backing)
    options = {"stdin": subprocess.DEVNULL, "env": asking(daemon.path), "preexec_fn": seccomp_filter(*KILLS_PTRACE)}
    plain = run_probe(words[words.index("--") + 1:], **options)
    ours = run_probe(words, **options)
    assert plain[0] == 42 and ours == plain
    assert [line["outcome"] for line in read_report(report)] == ["remapped"]


def test_unprivileged_user(start_daemon, hugexec_command, bigtext, nobody):
    """Any user may ask for its own process; the report's file is written with its rights."""
    daemon = start_daemon(policy_with(match={"user": "nobody"}))
    words, report = hugexec_command([bigtext(8), "exit", "9"], backing="thp")
    code, _, err = run([*nobody, "--no-new-privs", *words], env=asking(daemon.path),
                       preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert (code, err) == (9, "")
    assert [line["outcome"] for line in read_report(report)] == ["remapped"]
    assert report.stat().st_uid == 65534


def test_host_policy_decides(start_daemon, hugexec_command, bigtext):
    """The client's policy says remap, the helper's does not; whose word counts is no question."""
    daemon = start_daemon(policy_with(match={"exe": "/nowhere"}, follow="none"))
    words, report = hugexec_command([bigtext(8), "exit", "9"], backing="thp")
    code, _, err = run(words, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert (code, err) == (9, "")
    assert [(line["outcome"], line["reason"].split(":")[0]) for line in read_report(report)] == [("skipped", "no-rule")]


def test_verbose_and_report_to_standard_error(start_daemon, hugexec, write_policy, bigtext):
    daemon = start_daemon()
    words = [hugexec, f"--policy={write_policy(ALL)}", "--backing=thp", "-v", "--report=-", "--", bigtext(8), "exit", "9"]
    code, _, err = run(words, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    line, report = err.splitlines()
    assert code == 9 and line.startswith("hugexec: bigtext-pie-8: ") and "huge pages (thp)" in line
    assert json.loads(report)["outcome"] == "remapped"


def test_on_error_fail(start_daemon, hugexec_command, bigtext):
    """The policy turns a failure into 125 before the first instruction, also from outside."""
    daemon = start_daemon(policy_with(backing=["hugetlb"], on_error="fail", keep_free=1 << 40))
    words, report = hugexec_command([bigtext(8), "exit", "9"], policy_with(on_error="fail"))
    code, out, err = run(words, env=asking(daemon.path), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert (code, out) == (125, "") and "not started" in err
    assert [line["outcome"] for line in read_report(report)] == ["failed"]


@pytest.mark.parametrize("command, status", [("/nowhere/at/all", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_executed(start_daemon, hugexec_command, mark, command, status):
    daemon = start_daemon()
    words, _ = hugexec_command([command], backing="thp")
    code, out, _ = run(words, env=asking(daemon.path, MARK=mark), preexec_fn=seccomp_filter(*KILLS_PTRACE))
    assert (code, out) == (status, "")
    wait_for(lambda: not marked(mark) and not daemon.workers())


def test_what_cannot_be_executed_with_standard_input_closed(start_daemon, hugexec_command, bigtext, tmp_path):
    """The connection is not in the place of a standard file, and nobody else is ended with a launch that comes to nothing."""
    daemon = start_daemon()
    bad = tmp_path / "bad"
    bad.write_text("#!/nowhere/interpreter\n")
    bad.chmod(0o755)
    prepare = seccomp_filter(*KILLS_PTRACE)
    for command, status in ((bad, 127), (bigtext(4), 0)):
        words, report = hugexec_command([command], backing="thp")
        script = '"$@" <&-; echo $?'
        code, out, _ = run(["sh", "-c", script, "sh", *words], env=asking(daemon.path), preexec_fn=prepare, start_new_session=True)
        assert (code, out.splitlines()[-1]) == (0, str(status))
    assert read_report(report)[0]["outcome"] == "remapped"


def in_cgroup(procs, *filtered):
    def prepare():
        joining(procs)()
        seccomp_filter(*filtered)()

    return prepare


@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_client_pays(start_daemon, hugexec_command, bigtext, backing):
    """What the helper allocates is charged to the client's cgroup, where it also has to fit; then the worker is gone from it."""
    daemon = start_daemon()
    controller = "hugetlb" if backing == "hugetlb" else "memory"
    roomy, tight = ({("memory.limit_in_bytes", "memory.max"): str(size)} for size in (256 * MIB, 4 * MIB + 5 * MIB))
    if backing == "hugetlb":
        roomy, tight = ({("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"): str(size)} for size in (8 * MIB, 0))
    with cgroup(controller, roomy) as procs, take_hugetlb_pool(8):
        words, report = hugexec_command([bigtext(8), "sleep"], backing=backing)
        with Process(words, stdout=subprocess.PIPE, env=asking(daemon.path), preexec_fn=in_cgroup(procs, *KILLS_PTRACE)) as process:
            process.stdout.readline()
            line, = read_report(report)
            assert line["outcome"] == "remapped", line
            charged = [procs.parent / name for name in ("hugetlb.2MB.usage_in_bytes", "hugetlb.2MB.current")]
            if backing == "thp":
                charged = [procs.parent / name for name in ("memory.usage_in_bytes", "memory.current")]
            assert int(next(path for path in charged if path.exists()).read_text()) >= line["huge_bytes"] > 4 * MIB
            wait_for(lambda: procs.read_text().split() == [str(process.pid)])
            process.kill()
    with cgroup(controller, tight) as procs, take_hugetlb_pool(8):
        words, report = hugexec_command([bigtext(8), "exit", "9"], backing=backing)
        code, _, _ = run(words, env=asking(daemon.path), preexec_fn=in_cgroup(procs, *KILLS_PTRACE))
        assert code == 9
        assert [line["reason"].split(":")[0] for line in read_report(report)] == [f"{controller}-limit"]
        wait_for(lambda: not daemon.workers())


# Without a helper, or with one that is no use, the program runs as if there were none


def fails_open(hugexec_command, bigtext, environment, **options):
    """The reason of a run that nobody can trace."""
    words, report = hugexec_command([bigtext(8), "exit", "9"], backing="thp")
    began = time.monotonic()
    code, _, err = run(words, env=environment, **{"preexec_fn": seccomp_filter(*KILLS_PTRACE), **options})
    assert (code, err) == (9, "")
    line, = read_report(report)
    assert line["outcome"] == "failed"
    return line["reason"], time.monotonic() - began


def test_absent(hugexec_command, bigtext, tmp_path):
    reason, _ = fails_open(hugexec_command, bigtext, asking(tmp_path / "nothing"))
    assert reason.startswith("seccomp: ") and "; hugexecd: helper-absent: " in reason
    reason, _ = fails_open(hugexec_command, bigtext, asking("off"))
    assert "; hugexecd: helper-absent: " in reason


@pytest.mark.usefixtures("public_folder")
def test_no_descriptor_for_the_socket(hugexec_command, nobody, tmp_path):
    """That is a limit of this process', and no setting of its unit's that is guessed at."""
    path = tmp_path / "hugexecd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        words, report = hugexec_command(["sh", "-c", "exit 9"], backing="thp")
        report.touch()
        report.chmod(0o666)
        few_files = ["sh", "-c", 'ulimit -n 4; exec "$@"', "sh"]
        assert run([*nobody, *few_files, *words], env=asking(path))[0] == 9
    line, = read_report(report)
    assert "; hugexecd: fd-limit: " in line["reason"] and "Restrict" not in line["reason"], line


@pytest.mark.usefixtures("public_folder")
def test_socket_that_this_user_may_not_open(hugexec_command, bigtext, nobody, tmp_path):
    """It is there: that is another word."""
    path = tmp_path / "hugexecd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        words, report = hugexec_command(["sh", "-c", "exit 9"], backing="thp")
        report.touch()
        report.chmod(0o666)
        assert run([*nobody, *words], env=asking(path))[0] == 9
    line, = read_report(report)
    assert line["reason"].startswith("unprivileged-wrapper: ") and "; hugexecd: helper-refused: " in line["reason"], line
    assert "Permission denied" in line["reason"]


def test_nobody_listens(hugexec_command, bigtext, start_daemon):
    daemon = start_daemon()
    daemon.wait_until_serving()
    daemon.stop()
    reason, _ = fails_open(hugexec_command, bigtext, asking(daemon.path))
    assert reason.startswith("seccomp: ") and "; hugexecd: helper-absent: " in reason and "refused" in reason


def test_stopped(hugexec_command, bigtext, start_daemon):
    """A helper that hangs holds a start for a second, no more; what it does when it wakes up harms nobody."""
    daemon = start_daemon()
    daemon.wait_until_serving()
    os.kill(daemon.pid, signal.SIGSTOP)
    reason, seconds = fails_open(hugexec_command, bigtext, asking(daemon.path))
    assert reason.startswith("seccomp: ") and "; hugexecd: helper-timeout: " in reason
    assert seconds < 60
    os.kill(daemon.pid, signal.SIGCONT)
    daemon.wait_until_serving()


def test_no_unix_sockets(hugexec_command, bigtext, start_daemon):
    """As RestrictAddressFamilies= does it; and a filter that kills for it does not kill the workload."""
    daemon = start_daemon()
    for action, word in (("errno", "helper-refused"), ("kill", "seccomp")):
        reason, _ = fails_open(hugexec_command, bigtext, asking(daemon.path),
                               preexec_fn=seccomp_filter(action, "ptrace", "socket"))
        assert f"; hugexecd: {word}: " in reason


@pytest.mark.parametrize("call", ["pidfd_open", "connect", "sendmsg", "recvmsg", "poll", "memfd_create", "clone3", "mremap", "prctl",
                                  "fallocate"])
@pytest.mark.parametrize("action", ["errno", "kill"])
@pytest.mark.parametrize("suspends", [True, False], ids=["suspends", "tries"])
def test_one_call_filtered(hugexec_command, bigtext, start_daemon, action, call, suspends):
    """Whatever the filter takes away beside ptrace: the workload runs, with a helper that may suspend it or not."""
    if suspends and os.geteuid() != 0:
        pytest.skip("suspending filters takes CAP_SYS_ADMIN")
    daemon = start_daemon(prefix=() if suspends else ["setpriv", "--bounding-set=-sys_admin"])
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter(action, "ptrace", call)
    if run(program, preexec_fn=filtered)[0] != 9:
        pytest.skip("the program itself needs this call")
    words, report = hugexec_command(program, backing="thp")
    code, _, err = run(words, env=asking(daemon.path), preexec_fn=filtered)
    assert (code, err) == (9, "")
    line, = read_report(report)
    engine = call in ("memfd_create", "mremap", "prctl", "fallocate")
    if action == "kill" or call not in ("prctl", "fallocate"):  # refused, those are not missed
        assert (line["outcome"] == "remapped") == (suspends if engine else call == "clone3"), line
    if line["outcome"] == "failed" and engine:
        assert "seccomp" in line["reason"] if action == "kill" else call in line["reason"] or "helper" in line["reason"]


@pytest.mark.parametrize("call", ["prctl", "futex", "rt_sigprocmask", "kill"])
def test_tracer_of_its_own_is_no_risk_either(hugexec_command, bigtext, call):
    """Without a helper: what hugexec itself calls in the process that will be the workload is tried by a child first."""
    program = [bigtext(8), "exit", "9"]
    filtered = seccomp_filter("kill", call)
    if run(program, preexec_fn=filtered)[0] != 9:
        pytest.skip("the program itself needs this call")
    words, report = hugexec_command(program, backing="thp")
    code, _, err = run(words, env=asking("off"), preexec_fn=filtered)
    assert (code, err) == (9, "")
    assert len(read_report(report)) == 1


def test_ends_when_idle_and_on_request(start_daemon):
    daemon = start_daemon(ALL, "--idle=1")
    daemon.wait_until_serving()
    assert daemon.process.wait(30) == 0
    daemon.start()
    daemon.wait_until_serving()
    daemon.process.terminate()
    assert daemon.process.wait(30) == 0


def test_wrong_usage(hugexec):
    binary = hugexec + "d"
    for word in ("--idle=x", "--clients=0", "--clients-per-user=-1", "--unknown", "word"):
        code, out, err = run([binary, word])
        assert (code, out) == (2, "") and len(err.splitlines()) == 2 and err.endswith("Try 'hugexecd --help'.\n")
        assert err.splitlines()[0].find(word.split("=")[-1]) > 0 and "hugexecd: " in err
    code, out, err = run([binary])  # without a socket
    assert (code, out) == (1, "") and "hugexecd.socket" in err
    assert run([binary, "--version"])[1].startswith("hugexecd ")
    assert run([binary, "--help"])[1].startswith("Usage: hugexecd ")


# A set-uid program says who it is, then the shell becomes the large program.
SHELL = ["sh", "-c", '"$1"; exec "$2" exit 9', "sh"]


def test_a_users_wrapper(start_daemon, hugexec_command, bigtext, nobody, public_folder):
    """Followed from outside by a tracer that has CAP_SYS_PTRACE, what it executes keeps its privileges."""
    source, ids = public_folder / "ids.c", public_folder / "ids"
    source.write_text('#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); return 0; }\n')
    subprocess.run(["cc", "-static", "-o", ids, source], check=True)
    ids.chmod(0o4755)
    if os.statvfs(ids).f_flag & os.ST_NOSUID:
        pytest.skip("the test folder's filesystem is mounted nosuid")
    daemon = start_daemon()
    words, report = hugexec_command([*SHELL, ids, bigtext(8)], backing="thp")
    code, out, err = run([*nobody, *words], env=asking(daemon.path))
    assert (code, out.splitlines()[0], err) == (9, "65534 0", "")
    assert [(line["exe"], line["outcome"]) for line in read_report(report)] == [(bigtext(8), "remapped")]
    wait_for(lambda: not daemon.workers())


@pytest.mark.parametrize("how", ["a parent that reaps its own only", "SIGCHLD blocked"])
def test_where_a_tracer_of_its_own_would_be_seen(start_daemon, hugexec_command, bigtext, how):
    """As a zombie of a wrapper, or by a signal that stays pending: hugexecd is no relative."""
    daemon = start_daemon()
    blocked = how == "SIGCHLD blocked"
    words, report = hugexec_command([bigtext(8), "exit", "9"] if blocked else [*SHELL, "true", bigtext(8)], backing="thp")
    # Python takes no notice of SIGCHLD by itself.
    parent = ["/usr/bin/python3", "-c", "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"]
    code, _, err = run([*(["env", "--block-signal=CHLD"] if blocked else parent), *words], env=asking(daemon.path))
    assert (code, err) == (9, "")
    assert [(line["exe"], line["outcome"]) for line in read_report(report)] == [(bigtext(8), "remapped")]
