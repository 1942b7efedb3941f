# SPDX-License-Identifier: Apache-2.0
"""Following a launch through wrapper scripts, exec chains and fork trees until a rule matches."""
import os
import signal
import subprocess
import time

import pytest

from lib.policies import PATIENT, policy_with
from lib.process import Process, children_of, marked, status_of, wait_for
from lib.report import read_report


def only_bigtext(**settings):
    """Only the big program is meant, as an operator would write it: the shells and wrappers on the way match no rule."""
    return {"version": 1, "settings": settings,
            "rules": [{"name": "big", "match": {"exe": "/**/bigtext-*"}, "min_text": 0, **PATIENT}]}


CHAINS = {
    "env": ["env", "A=1", "{program}", "exit", "9"],
    "nice": ["nice", "-n", "3", "{program}", "exit", "9"],
    "bash -c exec": ["bash", "-c", "exec {program} exit 9"],
    "bash -c": ["bash", "-c", "{program} exit 9"],
    "sh, env, nice, setsid": ["sh", "-c", "exec env nice setsid {program} exit 9"],
    "setpriv": ["setpriv", "--no-new-privs", "env", "{program}", "exit", "9"],
    "script": ["{folder}/outer"],
    "exec from a thread": ["python3", "-c", "import os, threading\nthreading.Thread(target=os.execv, args=('{program}', "
                                            "['big', 'exit', '9'])).start()\nthreading.Event().wait()"],
}


def make_scripts(folder, program):
    for name, text in {"outer": f"#!/bin/sh\nexec {folder}/inner\n",
                       "inner": f"#!/usr/bin/env bash\ntrue\nexec {folder}/innermost\n",
                       "innermost": f"exec {program} exit 9\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("policy", ["no rule for wrappers", "wrappers too small"])
@pytest.mark.parametrize("name", CHAINS)
def test_exec_chain(hugexec_run, bigtext, tmp_path, mark, name, policy):
    program = bigtext(4)
    make_scripts(tmp_path, program)
    command = [word.format(program=program, folder=tmp_path) for word in CHAINS[name]]
    rules = only_bigtext() if policy.startswith("no rule") else policy_with(min_text="3M")
    rules.setdefault("settings", {})["wrappers"] = ["+", "python3*"]
    done, report = hugexec_run(command, rules, "thp", env={**os.environ, "MARK": mark})
    assert done.returncode == 9 and done.stdout.startswith("bigtext: ")
    assert [(line["exe"], line["outcome"]) for line in report] == [(program, "remapped")]
    wait_for(lambda: not marked(mark))


def test_follow_none(hugexec_run, bigtext):
    """The first program decides, whatever comes later."""
    done, report = hugexec_run(["env", bigtext(4), "exit", "9"], only_bigtext(follow="none"), "thp")
    assert done.returncode == 9
    assert [(line["outcome"], line["reason"].split(":")[0]) for line in report] == [("skipped", "no-rule")]


@pytest.mark.parametrize("mib, settings, word", [(2, {}, "no-huge-slot"), (8, {"max_text": "4M"}, "text-large")])
def test_a_program_that_is_no_wrapper_is_not_followed(hugexec_command, bigtext, mib, settings, word):
    """A rule matches it, but nothing can be done: the tracer goes at once, and leaves no zombie."""
    program = bigtext(mib, "no-pie", ("cc", "-no-pie"))  # at an address of which it is known that 2 MiB do not fit
    words, report = hugexec_command([program, "sleep"], {"version": 1, "rules": [{"match": {}, **settings}]}, "thp")
    with Process(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() and process.stdout.readline() == "ready\n"
        assert [(line["outcome"], line["reason"].split(":")[0]) for line in read_report(report)] == [("skipped", word)]
        assert status_of(process.pid)["TracerPid"] == "0"
        assert not children_of(process.pid)
        process.kill()


def test_follow_exec_does_not_follow_children(hugexec_run, bigtext):
    done, report = hugexec_run(["sh", "-c", f"{bigtext(4)} exit 9; exit 8"], only_bigtext(), "thp")
    assert done.returncode == 8
    assert [line["outcome"] for line in report] == ["skipped"]


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_fork_tree(hugexec_run, bigtext, mark, backing):
    """follow fork: a tree of shells, several programs in it, each remapped, statuses as they are."""
    program = bigtext(4)
    script = f"""
{program} exit 3; echo first $?
({program} exit 4; echo second $?) &
wait
sh -c 'sh -c "{program} exit 5"; echo third $?' | cat
echo $({program} | wc -l)
exit 6
"""
    command = ["bash", "-c", script]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    done, report = hugexec_run(command, only_bigtext(follow="fork"), backing, env={**os.environ, "MARK": mark})
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 6)
    remapped = [line for line in report if line["exe"] == program]
    assert [line["outcome"] for line in remapped] == ["remapped"] * 4
    assert len({line["pid"] for line in remapped}) == 4
    wait_for(lambda: not marked(mark))


def test_children_outlive_their_parent(hugexec_command, bigtext, tmp_path, mark):
    """The root ends first; what it has started goes on all the same, and is not killed with the tracer."""
    script = f"(sleep 0.3; {bigtext(4)} exit 3 > {tmp_path}/late; echo $? >> {tmp_path}/late) & exit 2"
    words, _ = hugexec_command(["sh", "-c", script], only_bigtext(follow="fork"), "thp")
    assert subprocess.run(words, check=False, env={**os.environ, "MARK": mark}).returncode == 2
    wait_for(lambda: not marked(mark))
    assert (tmp_path / "late").read_text().splitlines()[1:] == ["3"]


def test_signals_while_it_is_followed(hugexec_command, mark):
    """A wrapper gets each of them, with its number and its sender; what it ignores does not end it."""
    script = ("import os, signal, sys\n"
              "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
              "wanted = {signal.SIGUSR1, signal.SIGTERM, signal.SIGRTMIN + 3, signal.SIGTRAP}\n"
              "for number in wanted - {signal.SIGUSR1}: signal.signal(number, lambda number, _: os.write(1, b'%d\\n' % number))\n"
              "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
              "print('ready', flush=True)\n"
              # Now and then back, for handlers of what has come just before the call.
              "while not (got := signal.sigtimedwait([signal.SIGUSR1], 0.05)): pass\n"
              "print(got.si_signo, got.si_pid == os.getppid(), flush=True)\n")
    words, _ = hugexec_command(["/usr/bin/python3", "-c", script], only_bigtext(wrappers=["python3*"]), "thp")
    with Process(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "MARK": mark}) as process:
        assert process.stdout.readline() == "ready\n"
        assert status_of(process.pid)["TracerPid"] != "0"
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGRTMIN + 3, signal.SIGTRAP):
            process.send_signal(number)
            if number != signal.SIGUSR2:
                assert process.stdout.readline() == f"{int(number)}\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == f"{int(signal.SIGUSR1)} True\n"
        assert process.wait(60) == 0


def test_hugexec_under_hugexec(hugexec_command, bigtext):
    """The outer one does it, by its policy; the inner one does not fail for that, whatever its own policy says of failures."""
    inner, inner_report = hugexec_command([bigtext(4), "exit", "9"], policy_with(on_error="fail"), "thp")
    outer, outer_report = hugexec_command(["sh", "-c", 'exec "$@"', "sh", *inner], only_bigtext(), "thp")
    done = subprocess.run(outer, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (9, "")
    assert [line["outcome"] for line in read_report(outer_report)] == ["remapped"]
    assert [(line["outcome"], line["reason"].split(":")[0]) for line in read_report(inner_report)] == [("skipped", "followed-already")]


def test_timeout(hugexec_command, bigtext, mark):
    """After follow_timeout nothing is traced any more, and what is executed then is left alone."""
    words, report = hugexec_command(["sh", "-c", f"read word; exec {bigtext(4)} sleep"], only_bigtext(follow_timeout=1), "thp")
    begin = time.monotonic()
    with Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "MARK": mark}) as process:
        wait_for(lambda: "sh" in status_of(process.pid)["Name"] and status_of(process.pid)["TracerPid"] == "0")
        assert 1 <= time.monotonic() - begin < 30  # that is the default
        process.stdin.write("word\n")
        process.stdin.flush()
        process.stdout.readline()
        assert process.stdout.readline() == "ready\n"
        process.terminate()
    assert [line["outcome"] for line in read_report(report)] == ["skipped"]
    wait_for(lambda: not marked(mark))


def test_vfork_and_threads(hugexec_run, bigtext, mark):
    """posix_spawn's vfork, threads, and an exec from a thread that is not the first: all while followed."""
    program = f"""
import os, subprocess, threading
for _ in range(3):
    assert subprocess.run(["{bigtext(4)}", "exit", "9"], stdout=subprocess.DEVNULL).returncode == 9
threads = [threading.Thread(target=lambda: subprocess.run(["true"], check=True)) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
threading.Thread(target=lambda: os.execv("{bigtext(4)}", ["{bigtext(4)}", "exit", "7"])).start()
threading.Event().wait()
"""
    done, report = hugexec_run(["/usr/bin/python3", "-c", program], only_bigtext(follow="fork", wrappers=["python3*"]), "thp",
                               env={**os.environ, "MARK": mark})
    assert (done.returncode, done.stderr) == (7, "")
    assert [line["outcome"] for line in report if "bigtext" in line["exe"]] == ["remapped"] * 4
    wait_for(lambda: not marked(mark))


def test_many_children(hugexec_run, mark):
    """Hundreds of short-lived children, some of them orphans: nothing hangs, statuses are right."""
    script = "for i in $(seq 300); do (exit $((i % 7))); [ $? = $((i % 7)) ] || exit 99; (sleep 0.01 &) ; done; exit 5"
    done, _ = hugexec_run(["bash", "-c", script], only_bigtext(follow="fork"), "thp", env={**os.environ, "MARK": mark})
    assert (done.returncode, done.stderr) == (5, "")
    wait_for(lambda: not marked(mark))
