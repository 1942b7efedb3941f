# SPDX-License-Identifier: Apache-2.0
"""Policies that cannot be read or are wrong: the workload runs as if hugexec were not there, and the report says why."""
import os

import pytest

from lib.machine import MIB
from lib.policies import policy_with
from lib.process import run
from lib.report import split_report

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
    policy = {"version": 1, "settings": {"on_error": "fail"}, "default": 7}
    done = run([hugexec, f"--policy={write_policy(policy)}", "--report=-", "--", bigtext(4)])
    assert (done.stdout, done.returncode) == ("", 125)
    assert split_report(done.stderr)[1][0]["reason"].startswith("policy-invalid: ")
