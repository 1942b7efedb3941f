"""hugexecctl attach: text of a program that runs is put on huge pages, and the program does not notice."""
import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from conftest import (GENERATED, HUGE, ROOT, Process, bigtext_generator, children_of, huge_text_bytes, policy_with, run, smaps, status_of,
                      take_hugetlb_pool, wait_for)
from test_programs import SERVERS, serve

LINKED = {"library": ("-fPIC",), "pie": ("-pie", "-fPIE"), "fixed": ("-no-pie",), "static": ("-static", "-no-pie")}
MAY_BE_INTERRUPTED = {"epoll", "sigtimedwait"}  # signal(7), "by stop signals"


@pytest.fixture(scope="session")
def busy():
    """tests/programs/busy.c with 8 MiB of text, linked in one way or another."""
    def build(how="pie"):
        GENERATED.mkdir(parents=True, exist_ok=True)
        path, source = GENERATED / f"busy-{how}", ROOT / "tests/programs/busy.c"
        with open(GENERATED / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
                (GENERATED / "busy.s").write_text(bigtext_generator.assembly(8))
                text = [GENERATED / "busy.s"]
                if how == "library":
                    subprocess.run(["cc", "-shared", "-o", GENERATED / "libbusy.so", *text], check=True)
                    text = [GENERATED / "libbusy.so", "-Wl,-rpath,$ORIGIN"]
                subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-pthread", *LINKED[how], "-o", path, source, *text], check=True)
                os.sync()
        return str(path)
    return build


@contextlib.contextmanager
def running(words, **options):
    """Its Popen, when it has said that it is ready."""
    with Process(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as process:
        for line in process.stdout:
            if line == "ready\n":
                break
        yield process
        process.kill()


@pytest.fixture
def attach(hugexecctl, write_policy):
    """Returns (exit status, report, standard error)."""
    def call(pid, policy=None, backing="thp", **options):
        words = [hugexecctl, "attach", "--json", f"--policy={write_policy(policy or policy_with())}",
                 *([f"--backing={backing}"] if backing else []), pid]
        done = run(words, **options)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr
    return call


def tracers_of(pid):
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # threads come and go
            found.add(status_of(task)["TracerPid"])
    return found


def end_well(process):
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and said.startswith("ok: "), said
    return dict(re.findall(r"(\w+) (\d+)", said))


@pytest.mark.parametrize("how, backing", [("pie", "thp"), ("pie", "hugetlb"), ("fixed", "thp"), ("fixed", "file"), ("static", "thp")])
def test_busy_threads(busy, attach, hugexecctl, how, backing):
    """The page cache is made ready beforehand: it cannot be while somebody runs what is cached in small pages."""
    if backing == "file":
        assert run([hugexecctl, "warm", busy(how)]).returncode == 0
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext(), running([busy(how), "work"]) as process:
        status, report, _ = attach(process.pid, backing=backing)
        assert status == 0, report
        assert report["outcome"] == "remapped" and report["via"] == "attach" and report["backing"] == backing
        assert report["rule"] == "all" and report["exe"] == busy(how) and report["pid"] == process.pid
        assert report["rebased"] is False and report["reason"] is None
        assert report["huge_bytes"] == huge_text_bytes(process.pid) >= 2 * HUGE
        assert tracers_of(process.pid) == {"0"}
        assert not [fd for fd in os.listdir(f"/proc/{process.pid}/fd") if "memfd" in os.readlink(f"/proc/{process.pid}/fd/{fd}")]
        time.sleep(1)
        counted = end_well(process)
        assert all(int(count) > 0 for count in counted.values()), counted


def test_many_times_while_it_works(busy, attach):
    """Each time anew, at another moment of its work."""
    for _ in range(8):
        with running([busy(), "work"]) as process:
            assert attach(process.pid)[0] == 0
            end_well(process)


@pytest.mark.parametrize("call", ["nanosleep", "poll", "poll-timeout", "ppoll", "select", "read", "futex", "sigtimedwait", "wait", "epoll"])
def test_a_call_that_sleeps_goes_on(busy, attach, call):
    """The main thread makes the engine's calls in the middle of its own, which ends as without: not early, not with an error."""
    said = []
    for attached in (False, True):
        with running([busy(), "rest", call]) as process:
            wait_for(lambda: status_of(process.pid)["State"].startswith("S"))
            if attached:
                status, report, _ = attach(process.pid)
                assert status == 0, report
            time.sleep(0.55)
            said.append(process.communicate("x", timeout=60)[0])
            assert process.returncode == 0
    if call in MAY_BE_INTERRUPTED:
        said[1] = re.sub("-1 Interrupted system call, too early", said[0].strip(), said[1])
    assert said[0] == said[1]
    assert "in time" in said[0]


@pytest.mark.parametrize("step", ["aside", "filled", "switching"])
@pytest.mark.parametrize("call", ["nanosleep", "poll", "poll-timeout", "ppoll", "select", "read", "futex"])
def test_a_signal_that_ends_a_call(busy, attach_up_to, call, step):
    """It comes while the main thread stands, which slept in that call: its handler ends the call, as without us."""
    with running([busy(), "alarmed", call]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("S"))
        with attach_up_to(process.pid, step) as report:
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.02)
        assert report["outcome"] == "remapped", report
        assert process.communicate(timeout=120)[0].startswith("-1 Interrupted system call")


def test_threads_that_start_threads(busy, attach):
    """Stopped in the middle of that, a thread stops for another reason first, which takes the kernel's mind off ours."""
    for _ in range(15):
        with running([busy(), "start"]) as process:
            status, report, _ = attach(process.pid)
            assert status == 0, report["reason"]
            end_well(process)


def test_a_stopped_process_stays_stopped(busy, attach):
    with running([busy(), "work"]) as process:
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: status_of(process.pid)["State"].startswith("T"))
        assert attach(process.pid)[0] == 0
        time.sleep(0.1)
        assert {status_of(task)["State"][0] for task in os.listdir(f"/proc/{process.pid}/task")} == {"T"}
        process.send_signal(signal.SIGCONT)
        end_well(process)


def test_no_signal_is_lost(busy, hugexecctl, write_policy):
    """Stopped again and again while signals come in."""
    policy = write_policy(policy_with())
    with running([busy(), "count", "300000"]) as process:
        times = 0
        while process.poll() is None and times < 200:
            done = run([hugexecctl, "attach", f"--policy={policy}", "--backing=thp", process.pid])
            assert done.returncode == 0 or process.poll() is not None, done.stdout
            times += 1
        assert process.communicate(timeout=60)[0] == "ok\n" and times > 5


def test_twice_is_as_once(busy, attach):
    """Where the entry point lies in the copy, too, so that the copy might be taken for the program."""
    with running([busy("static"), "work"]) as process:
        policy = policy_with(round_out=True)
        first = attach(process.pid, policy)[1]
        maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text().count("memfd:")
        status, second, _ = attach(process.pid, policy)
        assert status == 0 and second["huge_bytes"] == first["huge_bytes"] and second["text_bytes"] >= first["text_bytes"]
        assert pathlib.Path(f"/proc/{process.pid}/maps").read_text().count("memfd:") == maps == 1
        end_well(process)


def test_text_that_was_changed_is_left_alone(tmp_path, busy, attach):
    """As by a debugger's breakpoint: a copy of the file would take it away."""
    with running([busy(), "rest", "read"]) as process:
        text = max((m for m in smaps(process.pid) if m["path"] == busy() and "x" in m["perms"]), key=lambda m: m["end"] - m["start"])
        with open(f"/proc/{process.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(text["start"] + 3 * HUGE + 8)
            byte = memory.read(1)
            memory.seek(-1, os.SEEK_CUR)
            memory.write(byte)
        status, report, _ = attach(process.pid)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("text-changed"), report
        assert huge_text_bytes(process.pid) == 0
        assert "1 Success" in process.communicate("x", timeout=60)[0]


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


def test_text_changed_while_it_is_copied(busy, attach_up_to):
    """Somebody writes to it between the copy and the switch: what was copied is not what is there."""
    with running([busy(), "work"]) as process:
        text = max((m for m in smaps(process.pid) if m["path"] == busy() and "x" in m["perms"]), key=lambda m: m["end"] - m["start"])
        with attach_up_to(process.pid, "filled") as report, open(f"/proc/{process.pid}/mem", "r+b", buffering=0) as memory:
            memory.seek(text["start"] + 3 * HUGE + 8)
            byte = memory.read(1)
            memory.seek(-1, os.SEEK_CUR)
            memory.write(byte)
        assert report["outcome"] == "failed" and report["reason"].startswith("text-changed"), report
        assert huge_text_bytes(process.pid) == 0
        end_well(process)


def test_system_calls_that_are_dispatched(busy, attach):
    """Ours would be, too: a SIGSYS while signals are blocked."""
    with running([busy(), "dispatch"]) as process:
        time.sleep(0.1)
        status, report, _ = attach(process.pid)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("syscall-dispatch"), report
        assert process.communicate(timeout=60)[0] == "ok\n" and process.returncode == 0


def test_restartable_sequences(busy, attach):
    """One that the main thread is in the middle of is aborted, as it is whenever a thread is interrupted."""
    for _ in range(4):
        with running([busy(), "add"]) as process:
            for _ in range(3):
                assert attach(process.pid)[0] == 0
            end_well(process)


@pytest.mark.parametrize("backing", ["thp", "hugetlb"])
def test_forked_while_it_is_copied(busy, attach_up_to, backing):
    """A child has the text as it was, without the copy beside it; one that comes later has the copy."""
    def child(process):
        process.stdin.write("x")
        process.stdin.flush()
        pid = int(process.stdout.readline())
        return pathlib.Path(f"/proc/{pid}/maps").read_text().count("memfd:"), huge_text_bytes(pid) > 0

    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext(), running([busy(), "forks"]) as process:
        with attach_up_to(process.pid, "filled", backing) as report:
            assert child(process) == (0, False)
        assert report["outcome"] == "remapped", report
        assert child(process)[0] == 1


def test_no_fork_while_its_descriptor_is_open(busy, attach_up_to):
    """A child would have it for its life."""
    with running([busy(), "forks"]) as process:
        with attach_up_to(process.pid, "memfd-created") as report:
            process.stdin.write("x")
            process.stdin.flush()
            time.sleep(0.3)
        child = pathlib.Path("/proc") / process.stdout.readline().strip() / "fd"
        assert not any("memfd:" in os.readlink(link) for link in child.iterdir())
        assert report["outcome"] == "remapped", report


@pytest.mark.parametrize("step", ["allocated-inside", "filled", "populated"])
def test_another_thread_executes_a_program(busy, attach_up_to, step):
    """It has the number of the main thread, which is ours: it must not be taken for that, and not be ended for a call that has failed."""
    with running([busy(), "becomes"]) as process:
        with attach_up_to(process.pid, step) as report:
            process.stdin.write("x")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
        assert report["outcome"] == "failed" and report["reason"].startswith("tracee-gone"), report
        assert process.communicate(timeout=60)[0] == "0 Success, in time\n" and process.returncode == 0


def test_threads_that_execute_programs(busy, attach):
    """At any moment of that: nobody waits for ever for a main thread whose number is another's now."""
    for _ in range(3):
        with running([busy(), "again", "400"]) as process:
            while process.poll() is None:
                attach(process.pid, timeout=120)
            assert process.communicate(timeout=60)[0] == "ok\n" and process.returncode == 0


@pytest.mark.parametrize("step", ["frozen", "frozen-call"])
def test_killed_while_all_threads_stand(busy, attach_up_to, step):
    """Its other threads are ours to reap then, and the main thread's end is told after theirs only."""
    with running([busy(), "work"]) as process:
        with attach_up_to(process.pid, step) as report:
            process.kill()
        assert report["outcome"] == "failed" and report["reason"].startswith("tracee-gone"), report
        assert process.wait(60) == -signal.SIGKILL


def test_libraries(busy, attach):
    with running([busy("library"), "work"]) as process:
        status, report, _ = attach(process.pid)
        assert status == 1 and report["reason"].startswith("no-huge-slot")
        status, report, _ = attach(process.pid, policy_with(libraries=True))
        assert status == 0, report
        library, = [each for each in report["objects"] if each["path"].endswith("/libbusy.so")]
        assert library["huge_bytes"] == report["huge_bytes"] == huge_text_bytes(process.pid) >= 2 * HUGE
        time.sleep(0.1)
        end_well(process)


REFUSED = {
    "no rule": ({"version": 1, "rules": [{"match": {"exe": "/nowhere"}}]}, "skipped", "no-rule"),
    "another door": ({"version": 1, "rules": [{"match": {"via": ["shim", "hook"]}}]}, "skipped", "no-rule"),
    "skip": ({"version": 1, "rules": [{"match": {"via": "attach"}, "action": "skip"}]}, "skipped", "rule-skip"),
    "small": ({"version": 1, "rules": [{"match": {}, "min_text": "1G"}]}, "skipped", "text-small"),
    "fail": ({"version": 1, "rules": [{"match": {}, "min_text": 0, "on_error": "fail", "backing": ["hugetlb"], "page_size": "1G"}]},
             "skipped", "no-huge-slot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_policy(busy, attach, name):
    policy, outcome, word = REFUSED[name]
    with running([busy(), "work"]) as process:
        status, report, _ = attach(process.pid, policy, backing=None)
        assert status == 1 and report["outcome"] == outcome and report["reason"].startswith(word)
        end_well(process)


def test_file_where_addresses_do_not_agree(busy, attach):
    """It runs where it runs; the next backing serves."""
    with running([busy(), "work"]) as process:
        address = min(m["start"] for m in smaps(process.pid) if m["path"] == busy())
        status, report, _ = attach(process.pid, backing="file,thp")
        assert status == 0 and report["backing"] == ("file" if address % HUGE == 0 else "thp"), report
        end_well(process)


def test_traced_by_somebody_else(busy, attach):
    """One thread only: all others would have been stopped before that is seen."""
    with running([busy(), "work"]) as process:
        other = min(
            int(task) for task in os.listdir(f"/proc/{process.pid}/task") if int(task) != process.pid)
        holder = ("import ctypes, sys, time\nlibc = ctypes.CDLL(None, use_errno=True)\n"
                  "libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]\n"
                  f"print(libc.ptrace(0x4206, {other}, None, None), flush=True)\ntime.sleep(60)\n")
        with Process([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as tracer:
            assert tracer.stdout.readline() == "0\n"
            status, report, _ = attach(process.pid)
            assert status == 1 and report["reason"].startswith("ptrace-refused") and str(other) in report["reason"], report
            tracer.kill()
        assert huge_text_bytes(process.pid) == 0
        end_well(process)


def test_main_thread_waits_for_its_vfork(tmp_path, attach):
    """The kernel does not let it stop: it is told, and nobody waits for long."""
    source = tmp_path / "vforks.c"
    source.write_text('#include <stdio.h>\n#include <unistd.h>\nint main(void) { char c; puts("ready"); fflush(stdout);'
                      ' if (vfork() == 0) { read(0, &c, 1); _exit(0); } puts("on"); return 0; }\n')
    subprocess.run(["cc", "-w", "-o", tmp_path / "vforks", source], check=True)
    with running([tmp_path / "vforks"]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("D"))
        status, report, _ = attach(process.pid)  # returns while the child is still there
        assert status == 1 and report["reason"].startswith("threads-busy"), report
        assert process.communicate("x", timeout=120)[0] == "on\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_proc_of_another_pid_namespace(bigtext, hugexecctl, write_policy):
    """There the number of our process is that of another one: nothing of it may be looked at, let alone changed."""
    script = '"$1" sleep >/dev/null & "$2" attach --json --policy="$3" --backing=thp $!; kill $!'
    done = run(["unshare", "--pid", "--fork", "sh", "-c", script, "sh", bigtext(4), hugexecctl, write_policy(policy_with())])
    report = json.loads(done.stdout.splitlines()[0])
    assert report["outcome"] == "failed" and report["reason"].startswith("no-proc") and report["exe"] == ""


@pytest.mark.usefixtures("public_folder")
def test_process_of_somebody_else(nobody, hugexecctl, write_policy):
    """It is not /proc that is missing."""
    done = run([*nobody, hugexecctl, "attach", f"--policy={write_policy(policy_with())}", "--json", "1"])
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["reason"].startswith("ptrace-refused") and "Permission denied" in report["reason"], report


def test_usage(hugexecctl, tmp_path):
    for words, text in (([], "no PID"), (["x"], "'x' is no PID"), (["--backing=y", "1"], "y"), (["0"], "'0' is no PID")):
        done = run([hugexecctl, "attach", *words])
        assert done.returncode == 2 and text in done.stderr and done.stdout == "", done
    done = run([hugexecctl, "attach", f"--policy={tmp_path}/none", "1"])
    assert done.returncode == 1 and "none" in done.stderr
    done = run([hugexecctl, "attach", "--help"])
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 80


def test_main_thread_has_ended(tmp_path, attach):
    source = tmp_path / "headless.c"
    source.write_text('#include <pthread.h>\n#include <stdio.h>\n#include <unistd.h>\nstatic void *rest(void *unused) { sleep(60); return unused; }'
                      ' int main(void) { pthread_t thread; pthread_create(&thread, NULL, rest, NULL); puts("ready"); fflush(stdout);'
                      ' pthread_exit(NULL); }\n')
    subprocess.run(["cc", "-w", "-pthread", "-o", tmp_path / "headless", source], check=True)
    with running([tmp_path / "headless"]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("Z"))
        status, report, _ = attach(process.pid)
        assert status == 1 and report["reason"].startswith("no-text") and "main thread" in report["reason"], report


def test_children_are_ignored(busy, hugexecctl, write_policy):
    """As by a shell's `trap '' CHLD`: it is inherited."""
    with running([busy(), "work"]) as process:
        script = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
        done = run([sys.executable, "-c", script, hugexecctl, "attach", f"--policy={write_policy(policy_with())}", "--backing=thp", process.pid])
        assert done.returncode == 0 and done.stderr == "", done
        end_well(process)


def test_several_in_a_table(busy, hugexecctl, write_policy):
    """Each has its line; what cannot be done for one does not keep the others from it."""
    policy = write_policy(policy_with())
    with running([busy(), "work"]) as first, running([busy("fixed"), "rest", "read"]) as second:
        done = run([hugexecctl, "attach", f"--policy={policy}", "--backing=thp", first.pid, 2, 4194304, second.pid])
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        assert lines[0].split()[:3] == ["PID", "TEXT", "HUGE"]
        assert [line.split()[0] for line in lines[1:]] == [str(first.pid), "2", "4194304", str(second.pid)]
        assert ("no-text" in lines[2] or "ptrace-refused" in lines[2]) and "tracee-gone" in lines[3] and "thp" in lines[1] and "thp" in lines[4]
        assert len({line.index(" ms  ") for line in lines[1:]}) == 1
        end_well(first)


def test_not_root(public_folder, busy, hugexecctl, write_policy, nobody):
    """Another user's process is refused by the kernel."""
    policy = write_policy(policy_with())
    with running([busy(), "work"]) as process:
        done = run([*nobody, hugexecctl, "attach", "--json", f"--policy={policy}", process.pid])
        assert done.returncode == 1 and json.loads(done.stdout)["outcome"] == "failed"
        end_well(process)


@pytest.mark.parametrize("backing", ["thp", "hugetlb"])
@pytest.mark.parametrize("name", SERVERS)
def test_server_at_work(attach, tmp_path, name, backing):
    """It answers while we attach, and afterwards, and ends as it always does."""
    command, is_ready = SERVERS[name](tmp_path)
    asked = []

    def ask(ends):
        while not ends.is_set():
            asked.append(is_ready())

    def look(pid):
        ends = threading.Event()
        asking = threading.Thread(target=ask, args=[ends])
        asking.start()
        try:
            for _ in range(3):  # the second time there is nothing left to do
                status, report, _ = attach(pid, policy_with(libraries=True), backing=backing)
                if (name, backing) == ("mariadbd", "thp"):  # it does not want any
                    assert status == 1 and "PR_SET_THP_DISABLE" in report["reason"], report["reason"]
                    continue
                assert status == 0 and report["outcome"] == "remapped", report["reason"]
        finally:
            before = len(asked)
            wait_for(lambda: len(asked) > before + 2)
            ends.set()
            asking.join(20)
        assert huge_text_bytes(pid) >= report["huge_bytes"]
        assert all(asked) and tracers_of(pid) == {"0"}

    with take_hugetlb_pool(32) if backing == "hugetlb" else contextlib.nullcontext():
        ended = serve(command, is_ready, look)
    assert ended == (-signal.SIGTERM if name == "etcd" else 0)


@pytest.mark.parametrize("backing", ["hugetlb,thp", "thp"])
def test_sealed_text(attach, bigtext, tmp_path, backing):
    """It cannot be replaced, whoever asks; the program works on with it."""
    program = shutil.copy(bigtext(8, "static", ("cc", "-static")), tmp_path)  # whose pages are in the cache by chance
    with running([program, "seal"]) as process:
        if " sl" not in pathlib.Path(f"/proc/{process.pid}/smaps").read_text():
            pytest.skip("this kernel has no mseal (Linux 6.10)")
        with take_hugetlb_pool(8) if "hugetlb" in backing else contextlib.nullcontext():
            status, report, _ = attach(process.pid, backing=backing)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("text-sealed: "), report
        assert report["reason"].count("text-sealed") == 1  # it was not tried again with another copy
        assert not [entry for entry in smaps(process.pid) if "memfd" in entry["path"]]
        assert status_of(process.pid)["State"].startswith("S") and status_of(process.pid)["TracerPid"] == "0"


def test_killed_at_any_step(busy, hugexecctl, write_policy):
    """The program works on, or, where its registers were borrowed, was killed; it is never left stopped, nor with wrong text."""
    if run([hugexecctl.removesuffix("ctl"), "--list-steps"]).returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")
    policy = write_policy(policy_with())
    killed, survived = set(), set()
    for step in ("attached", "borrowed", "memfd-created", "memfd-fetched", "aside", "fd-closed", "aside-returned", "allocated-inside", "filled", "sealed",
                 "populated", "frozen", "switching", "switched", "returned", "verified"):
        with running([busy(), "work"]) as process:
            done = run([hugexecctl, "attach", f"--policy={policy}", "--backing=thp", process.pid], env={**os.environ, "HUGEXEC_FAULT": f"kill:{step}"})
            assert done.returncode == 1 and "killed by signal 9" in done.stderr, (step, done)
            time.sleep(0.05)
            if process.poll() is None:
                survived.add(step)
                end_well(process)
            else:
                assert process.returncode == -signal.SIGKILL, step
                killed.add(step)
    assert survived >= {"attached", "aside-returned", "filled", "sealed", "frozen", "returned", "verified"}
    assert killed >= {"borrowed", "memfd-created", "aside", "populated", "switching", "switched"}
