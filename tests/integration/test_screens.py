# SPDX-License-Identifier: Apache-2.0
"""What hugexecctl shows on a terminal of 80 columns, and narrower ones: no line is wider, and none says less."""
import os
import re
import shutil
import unicodedata

import pytest

from lib.launched import remapped
from lib.policies import policy_with
from lib.process import run
from lib.terminal import on_terminal

COLOURS = re.compile("\x1b\\[[0-9]*m")
LONG = "a-folder-with-a-name-that-does-not-fit-into-half-a-line"


def lines_of(words, columns, locale):
    text = COLOURS.sub("", on_terminal(words, columns, env={**os.environ, "LC_ALL": locale}))
    lines = text.splitlines()
    assert lines and not [line for line in lines if len(line) > columns], text
    assert not [letter for letter in text if unicodedata.east_asian_width(letter) in "WF"]
    return lines


def words_in(text):
    """Without blanks, because a line may be broken anywhere in a long path."""
    return "".join(text.split())


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_explain(hugexecctl, write_policy, bigtext, tmp_path, columns, locale):
    program = tmp_path / LONG / LONG
    program.parent.mkdir()
    shutil.copy(bigtext(4), program)
    run(["sync", program])  # what is said of dirty pages would change meanwhile
    script = tmp_path / "script"
    script.write_text(f"#!{bigtext(4)}\n")
    script.chmod(0o755)
    libraries = {"include": ["/**"], "exclude": ["/nothing/**"], "prepare": ["/usr/lib/**/*.so"]}
    policies = [write_policy(policy_with(libraries=libraries, backing=["file", "thp"], hold_timeout="3s", round_out=True)), write_policy({"version": 1})]
    for policy in policies:
        for command in (program, script, "sh", "true"):
            words = [hugexecctl, "explain", f"--policy={policy}", command]
            assert words_in("".join(lines_of(words, columns, locale))) == words_in(run(words).stdout)


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_doctor(hugexecctl, tmp_path, columns, locale):
    folder = tmp_path / LONG / LONG
    folder.mkdir(parents=True)
    lines_of([hugexecctl, "doctor", folder, "/usr/bin"], columns, locale)
    lines_of([hugexecctl, "doctor"], columns, locale)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_status(hugexecctl, hugexec_command, bigtext, tmp_path, columns, locale):
    program = tmp_path / LONG / LONG / "big-server"
    program.parent.mkdir(parents=True)
    shutil.copy(bigtext(4), program)
    with remapped(hugexec_command, [program, "sleep"], backing="thp") as (process, _):
        for words in (["status"], ["status", process.pid]):
            lines = lines_of([hugexecctl, *words], columns, locale)
            assert lines[0].split()[:2] == ["PID", "COMMAND"] and "HUGE %" in lines[0]
            row, = [line for line in lines if line.split()[0] == str(process.pid) and line.endswith("big-server")]
            assert ("…" in row) == (locale == "C.UTF-8") and " thp " in row, row


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_attach_and_warm(hugexecctl, write_policy, tmp_path, locale):
    """A row says why below it, where lines have an end; all in one line where they have none."""
    file = tmp_path / LONG / LONG
    file.parent.mkdir()
    file.write_text("no program")
    policy = write_policy(policy_with())
    for words, reason in (([hugexecctl, "attach", f"--policy={policy}", "2147483647", os.getpid()], "tracee-gone: process 2147483647"),
                          ([hugexecctl, "warm", file, "/no/such"], "elf-invalid: ")):
        lines = lines_of(words, 80, locale)
        assert lines[2].strip().startswith(reason), lines
        assert [line for line in run(words).stdout.splitlines() if f": {reason}" in line]


def test_warm_finds_programs(hugexecctl, tmp_path):
    assert f"  {os.path.realpath(shutil.which('sh'))}: no-huge-slot" in run([hugexecctl, "warm", "sh"], cwd=tmp_path).stdout
    assert "  no-such-program: text-unreadable" in run([hugexecctl, "warm", "no-such-program"], cwd=tmp_path).stdout
