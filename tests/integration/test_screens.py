# SPDX-License-Identifier: Apache-2.0
"""
What hugexecctl shows on a terminal of 80 columns, and narrower ones: no line is wider, and none says less. Elsewhere lines of text have
80 columns too, but no path is broken or cut.
"""
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


def piped(words, columns=None):
    """What a file or a pipe gets, if COLUMNS in the environment says so many."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return run(["env", "-u", "COLUMNS", *(f"COLUMNS={columns}" for _ in range(bool(columns))), *words], env=environment).stdout


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


def test_explain_in_a_pipe(hugexecctl, write_policy, bigtext, tmp_path):
    """Lines of 80 columns, or as many as COLUMNS asks for; the same words in the same order."""
    program = tmp_path / LONG / LONG
    program.parent.mkdir()
    shutil.copy(bigtext(4), program)
    run(["sync", program])
    words = [hugexecctl, "explain", f"--policy={write_policy(policy_with(backing=['thp'], hold_timeout='3s', round_out=True))}", program]
    unwrapped, text = run(words).stdout, piped(words)
    assert text.split() == unwrapped.split() == piped(words, 60).split()
    assert is_within(text, 80) and is_within(piped(words, 60), 60) and piped(words, "x") == text
    assert len(unwrapped.splitlines()) < len(text.splitlines()) and f"{program}\n" in text


def is_within(text, columns):
    """Whether no line is wider, but for one that ends with a path, or has a long one."""
    return not [line for line in text.splitlines() if len(line) > columns and not line.split()[-1].startswith("/") and max(map(len, line.split())) < columns // 2]


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
    """A row says why below it."""
    file = tmp_path / LONG / LONG
    file.parent.mkdir()
    file.write_text("no program")
    policy = write_policy(policy_with())
    for words, reason in (([hugexecctl, "attach", f"--policy={policy}", "2147483647", os.getpid()], "tracee-gone: there is no process"),
                          ([hugexecctl, "warm", file, "/no/such"], "elf-invalid: ")):
        lines = lines_of(words, 80, locale)
        assert lines[2].strip().startswith(reason), lines
        text = piped(words)
        assert text.splitlines()[2].strip().startswith(reason) and is_within(text, 80), text
        assert "warm" not in words or f"  {file}\n" in text


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("verb", ["advise", "compare", "compare with text", "compare a server", "check", "pool"])
def test_verbs(hugexecctl, write_policy, bigtext, tmp_path, verb, locale):
    long = tmp_path / LONG / LONG
    long.parent.mkdir()
    shutil.copy(bigtext(4), long)
    policy = write_policy(policy_with())
    words = {"advise": ["advise", "--seconds=0.1", "--", long, "loop", "1000000000"], "compare": ["compare", "-n2", "true"],
             "compare with text": ["compare", "-n8", f"--policy={policy}", "--backing=thp", "--", long],
             "compare a server": ["compare", "--before=before", "-s2", os.getpid()],
             "check": ["check", policy, tmp_path / LONG / "policy.json"], "pool": ["pool", "--dry-run", tmp_path / "pool.conf"]}[verb]
    shutil.copy(policy, tmp_path / LONG / "policy.json")
    (tmp_path / "pool.conf").write_text("2M 1000000\n")
    command = ["env", "-C", tmp_path, hugexecctl]
    text = "\n".join(lines_of([*command, *words], 80, locale))
    assert is_within(piped([*command, *words]), 80)
    if verb == "compare a server":
        text = "\n".join(lines_of([*command, "compare", "--after=before", os.getpid()], 80, locale))
    assert text.endswith({"check": " rule", "pool": " reserved"}.get(verb, ".")), text


def test_warm_finds_programs(hugexecctl, tmp_path):
    assert f"  {os.path.realpath(shutil.which('sh'))}\n{' ' * 24}no-huge-slot" in run([hugexecctl, "warm", "sh"], cwd=tmp_path).stdout
    assert f"  no-such-program\n{' ' * 24}text-unreadable" in run([hugexecctl, "warm", "no-such-program"], cwd=tmp_path).stdout
