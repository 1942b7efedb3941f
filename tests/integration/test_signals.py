# SPDX-License-Identifier: Apache-2.0
"""Signals at every moment of a launch: none lost, none duplicated, none fatal that is not meant to be."""
import contextlib
import ctypes
import os
import random
import signal
import subprocess
import time

import pytest

from lib.policies import policy_with
from lib.process import Process, marked, wait_for
from lib.report import read_report

LIBC = ctypes.CDLL(None, use_errno=True)
RANDOM = random.Random(1)


def start(words, mark, **options):
    options.setdefault("stdout", subprocess.PIPE)
    return Process(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "MARK": mark}, **options)


def nothing_left(mark):
    wait_for(lambda: not marked(mark))


STORMS = {
    "SIGURG": [signal.SIGURG],
    "SIGCHLD": [signal.SIGCHLD],
    "SIGUSR1, ignored": [signal.SIGUSR1],
    "SIGSTOP and SIGCONT": [signal.SIGSTOP, signal.SIGCONT],
    "SIGTSTP and SIGCONT": [signal.SIGTSTP, signal.SIGCONT],
    "all of them": [signal.SIGURG, signal.SIGSTOP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGCONT],
}


@pytest.mark.parametrize("storm", STORMS)
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_storm(hugexec_command, bigtext, mark, storm, backing):
    """Launches under a hail of signals: over all parameters more than 1,000 of them."""
    program = bigtext(4)
    expected = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    words, report = hugexec_command([program, "exit", "7"], backing=backing)
    launches = 90
    sent = 0
    for _ in range(launches):
        process = start(words, mark, preexec_fn=lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN))
        deadline = time.monotonic() + 60
        while process.poll() is None:
            for number in STORMS[storm]:
                os.kill(process.pid, number)
                sent += 1
            time.sleep(RANDOM.random() * 0.0006)
            assert time.monotonic() < deadline, "hangs"
        out, err = process.communicate()
        assert (out, err, process.returncode) == (expected, "", 7)
    assert sent > 3 * launches
    lines = read_report(report)
    assert [(line["outcome"], line["reason"]) for line in lines] == [("remapped", None)] * launches, [line for line in lines if line["reason"]]
    nothing_left(mark)


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_none_lost_none_duplicated(hugexec_command, bigtext, mark, backing):
    """Queued signals with a number each arrive once each and in order."""
    program = bigtext(4)
    words, report = hugexec_command([program, "collect", "40"], backing=backing)
    early = 0
    for _ in range(60):
        process = start(words, mark, preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN]))
        for number in range(40):
            assert LIBC.sigqueue(process.pid, int(signal.SIGRTMIN), ctypes.c_void_p(number)) == 0
            with contextlib.suppress(FileNotFoundError):  # it has got the last one, and ended
                early += os.readlink(f"/proc/{process.pid}/exe") != program
            time.sleep(RANDOM.random() * 0.0005)
        out, err = process.communicate(timeout=60)
        assert (out.splitlines()[1:], err, process.returncode) == (["ready", "all there"], "", 0)
    assert early > 60, "the signals came too late to test anything"
    assert {(line["outcome"], line["reason"]) for line in read_report(report)} == {("remapped", None)}
    nothing_left(mark)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_ended_at_any_moment(hugexec_command, bigtext, mark, number, backing):
    """A fatal signal ends the workload with 128 + its number, at once, and the tracer is gone too."""
    words, report = hugexec_command([bigtext(16), "sleep"], backing=backing)
    began = time.monotonic()
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        assert [process.stdout.readline() for _ in range(2)][1] == "ready\n"
        latest = 2 * (time.monotonic() - began)
        process.kill()
    report.unlink()
    launches = 60
    for launch in range(5 * launches):
        if launch >= launches and 0 < len(read_report(report)) < launch:
            break  # some before the remapping and some after it; on a busy machine that may take more than one round
        # Whoever runs the tests may ignore it (nohup, a shell's background job), and that is inherited.
        process = start(words, mark, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL) if number != 9 else None)
        time.sleep(latest * (launch % launches) / launches)
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == -number
    nothing_left(mark)
    reported = read_report(report)
    assert 0 < len(reported) < launch + 1, "the moments are all before or all after the remapping"


def test_status_143_in_a_shell(hugexec_command, bigtext):
    words, _ = hugexec_command([bigtext(4), "sleep"], backing="thp")
    done = subprocess.run(["sh", "-c", '"$@" & sleep 0.1; kill $!; wait $!; echo $?', "sh", *words],
                          capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "143"


def test_stop_is_seen_by_the_parent(hugexec_command, bigtext):
    """Job control: the parent hears of stop and continuation of the workload, also while it is followed."""
    for policy in (policy_with(), policy_with(min_text="1G")):
        words, _ = hugexec_command([bigtext(4), "sleep"], policy, backing="thp")
        process = Process(words, stdout=subprocess.PIPE, text=True)
        assert [process.stdout.readline() for _ in range(2)][1] == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        pid, status = os.waitpid(process.pid, os.WUNTRACED)
        assert pid == process.pid and os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP
        os.kill(process.pid, signal.SIGCONT)
        pid, status = os.waitpid(process.pid, os.WCONTINUED)
        assert os.WIFCONTINUED(status)
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
        process.stdout.close()


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_signals_to_the_process_group(hugexec_command, bigtext, mark, backing):
    """The tracer is in no group or session of the workload's: one that is stopped with it would never be continued."""
    words, report = hugexec_command([bigtext(16), "exit", "7"], backing=backing)
    launches = 60
    for launch in range(launches):
        process = start(words, mark, start_new_session=True)
        time.sleep(0.012 * launch / launches)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.001)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=120)
        assert process.returncode == 7
    assert len(read_report(report)) == launches
    nothing_left(mark)
