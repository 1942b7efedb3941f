# SPDX-License-Identifier: Apache-2.0
"""Whatever cannot be done, the workload runs as if hugexec were not there, and the report has the right reason.

With "on_error": "fail" the same is exit status 125, and the workload has not run.
"""
import ctypes
import os
import re

import pytest

from lib.policies import policy_with
from lib.process import run
from lib.surroundings import ROOT

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


def arguments_of(text, start):
    """The arguments of the call whose opening parenthesis ends at START."""
    depth, begin, found = 1, start, []
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0 or (depth == 1 and text[at] == ","):
            found.append(text[begin:at])
            begin = at + 1
        if depth == 0:
            return found
    return found


def words_of(source):
    """Every word that a C source gives an error: the argument before the format, whatever it is chosen by."""
    text = re.sub(r"/\*.*?\*/", "", source.read_text(), flags=re.DOTALL)
    for call in re.finditer(r"\b(error_set|error_set_errno|reader_start|reader_start_with_socket)\(", text):
        arguments = arguments_of(text, call.end())
        place = {"error_set": 1, "error_set_errno": 2}.get(call[1], 4)
        if len(arguments) > place:
            # What is compared to decide is no word.
            yield from re.findall(r'"([a-z][a-z-]+)"', re.sub(r"\bstrcmp\([^)]*\)", "", arguments[place]))


def test_reason_words_are_documented():
    """Every word that a report may have is in a manual."""
    manuals = "".join(path.read_text() for path in (ROOT / "docs").iterdir() if path.suffix in (".1", ".5", ".8")).replace("\\-", "-")
    sources = [ROOT / "shim/hugexec.c", *(ROOT / "oci-hook").glob("*.c"),
               *(path for path in (ROOT / "shim").rglob("*.c") if path.parts[len(ROOT.parts) + 1] not in ("ctl", "base"))]
    words = {word for source in sources for word in words_of(source)} | {"not-permitted"}
    assert {"elf-invalid", "elf-reader", "helper-busy", "fd-limit", "policy-too-large", "bundle-reader"} <= words and len(words) > 70
    internal = {"usage"}  # of a command line
    assert not [word for word in sorted(words - internal) if not re.search(rf"(?<![\w-]){word}(?![\w-])", manuals)]
