# SPDX-License-Identifier: Apache-2.0
"""Whatever cannot be done, the workload runs as if hugexec were not there, and the report has the right reason.

With "on_error": "fail" the same is exit status 125, and the workload has not run.
"""
import ctypes
import os

import pytest

from lib.policies import policy_with
from lib.process import run

MIB = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_THP_DISABLE = 41


def test_on_error_fail_where_nothing_fails(hugexec_run, bigtext):
    """It is about failures: what is remapped, and what is left alone for a good reason, runs."""
    done, report = hugexec_run([bigtext(4), "exit", "9"], policy_with(on_error="fail"), "thp")
    assert (done.returncode, report[0]["outcome"]) == (9, "remapped")
    done, report = hugexec_run([bigtext(4), "exit", "9"], policy_with(on_error="fail", min_text="1G", follow="none"), "thp")
    assert (done.returncode, report[0]["outcome"]) == (9, "skipped")


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


def test_no_whole_slot(hugexec_run):
    policy = policy_with(follow="none")
    done, report = hugexec_run(["/bin/true"], policy, "thp")
    assert done.returncode == 0 and report[0]["reason"].startswith("no-huge-slot: ")
