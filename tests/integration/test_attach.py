# SPDX-License-Identifier: Apache-2.0
"""hugexecctl attach: text of a program that runs is put on huge pages, and the program does not notice."""
import contextlib
import os
import pathlib
import re
import signal
import threading
import time

import pytest

from lib.busy import end_well, running, tracers_of
from lib.machine import HUGE, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import run, status_of, wait_for
from lib.servers import SERVERS, serve
from lib.smaps import huge_text_bytes, smaps

MAY_BE_INTERRUPTED = {"epoll", "sigtimedwait"}  # signal(7), "by stop signals"


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
    def rested(seconds, is_attached):
        """What it says, and whether the call was certainly still under way when we were done."""
        began = time.monotonic()
        with running([busy(), "rest", call, int(seconds * 1000)]) as process:
            wait_for(lambda: status_of(process.pid)["State"].startswith("S"))
            status, report, _ = attach(process.pid) if is_attached else (0, None, None)
            is_in_time = time.monotonic() - began < seconds
            assert status == 0 or not is_in_time, report
            time.sleep(seconds * 1.1)
            out = process.communicate("x", timeout=60)[0]
            assert process.returncode == 0
        return out, is_in_time

    said = [rested(0.5, False)[0]]
    for seconds in (0.5, 5, 50):  # on a slow machine a call may be over before it is attached to
        out, is_in_time = rested(seconds, True)
        if is_in_time:
            break
    said.append(out)
    if call in MAY_BE_INTERRUPTED:
        said[1] = re.sub("-1 Interrupted system call, too early", said[0].strip(), said[1])
    assert said[0] == said[1]
    assert "in time" in said[0]


@pytest.mark.parametrize("step", ["aside", "filled", "switching"])
@pytest.mark.parametrize("call", ["nanosleep", "poll", "poll-timeout", "ppoll", "select", "read", "futex"])
def test_a_signal_that_ends_a_call(busy, attach_up_to, call, step):
    """It comes while the main thread stands, which slept in that call: its handler ends the call, as without us."""
    with running([busy(), "alarmed", call, 600000]) as process:
        wait_for(lambda: status_of(process.pid)["State"].startswith("S"))
        with attach_up_to(process.pid, step) as report:
            process.send_signal(signal.SIGUSR1)
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
        wait_for(lambda: {status_of(task)["State"][0] for task in os.listdir(f"/proc/{process.pid}/task")} == {"T"})
        process.send_signal(signal.SIGCONT)
        end_well(process)


def test_no_signal_is_lost(busy, hugexecctl, write_policy):
    """Stopped again and again while signals come in."""
    policy = write_policy(policy_with())
    with running([busy(), "count"]) as process:
        for _ in range(30):
            done = run([hugexecctl, "attach", f"--policy={policy}", "--backing=thp", process.pid])
            assert done.returncode == 0, done.stdout
        assert process.communicate("x", timeout=60)[0] == "ok\n"


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
        status, report, _ = attach(process.pid)
        assert status == 1 and report["outcome"] == "failed" and report["reason"].startswith("syscall-dispatch"), report
        end_well(process)


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


@pytest.mark.parametrize("how", ["pie", "library"])
def test_a_second_time(busy, attach, hugexecctl, write_policy, how):
    """What is on huge pages already is left as it is, and that is said."""
    with running([busy(how), "work"]) as process:
        status, first, _ = attach(process.pid, policy_with(libraries=True))
        assert status == 0 and first["reason"] is None, first
        before = [(m["start"], m["path"]) for m in smaps(process.pid)]
        status, second, _ = attach(process.pid, policy_with(libraries=True))
        assert status == 0 and second["outcome"] == "remapped" and second["huge_bytes"] == first["huge_bytes"], second
        said = second["reason"] or next(each["reason"] for each in second["objects"] if each["huge_bytes"])
        assert said.startswith("already-huge: "), second
        done = run([hugexecctl, "attach", f"--policy={write_policy(policy_with(libraries=True))}", process.pid])
        assert done.returncode == 0 and (how == "library" or "on huge pages already" in done.stdout), done.stdout
        assert before == [(m["start"], m["path"]) for m in smaps(process.pid)]
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
            process.send_signal(signal.SIGTERM)  # after the tracer's end, with which a SIGKILL has come, if one comes
            said = process.communicate(timeout=60)[0]
            if process.returncode == -signal.SIGKILL:
                killed.add(step)
            else:
                assert process.returncode == 0 and said.startswith("ok: "), (step, process.returncode, said)
                survived.add(step)
    assert survived >= {"attached", "aside-returned", "filled", "sealed", "frozen", "returned", "verified"}
    assert killed >= {"borrowed", "memfd-created", "aside", "populated", "switching", "switched"}
