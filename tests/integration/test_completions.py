# SPDX-License-Identifier: Apache-2.0
"""Completions of bash, zsh and fish: what they offer is what --help, /proc, systemd and the disk have."""
import os
import re
import shutil

import pytest

from lib.process import run
from lib.surroundings import BUILD

SCRIPTS = BUILD / "config"
BASH = """
PATH=$1:$PATH; source "$2"; shift 2
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
"_$1" "$1" "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


def in_bash(*words):
    done = run(["bash", "--norc", "-c", BASH, "bash", BUILD / "shim", SCRIPTS / "hugexec.bash", *words])
    assert done.stderr == "" or "compopt" in done.stderr, done.stderr
    return done.stdout.split()


def in_fish(*words):
    fish = shutil.which("fish")
    if not fish:
        pytest.skip("fish is not installed")
    line = " ".join(words)
    home = {**os.environ, "PATH": f"{BUILD / 'shim'}:{os.environ['PATH']}", "HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
    done = run([fish, "--no-config", "-c", f"source {SCRIPTS / 'hugexec.fish'}; complete -C '{line}'"], env=home)
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


SHELLS = {"bash": in_bash, "fish": in_fish}


def verbs(hugexecctl):
    return set(re.findall(r"^  ([a-z]+) ", run([hugexecctl, "--help"]).stdout, re.MULTILINE))


def options(*words):
    return {name + ("=" if value else "") for name, value in re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)([=\[]?)", run([*words, "--help"]).stdout, re.MULTILINE)}


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_and_options(hugexec, hugexecctl, shell):
    complete = SHELLS[shell]
    assert len(verbs(hugexecctl)) > 10
    assert verbs(hugexecctl) <= set(complete("hugexecctl", ""))
    assert complete("hugexecctl", "exp") == ["explain"]
    for verb in verbs(hugexecctl):
        assert {"--help"} <= options(hugexecctl, verb) == set(complete("hugexecctl", verb, "--")), verb
    assert {"--policy=", "--argv0=", "--dry-run"} <= options(hugexec) == set(complete("hugexec", "--"))


@pytest.mark.parametrize("shell", SHELLS)
def test_values(shell, tmp_path, monkeypatch):
    complete = SHELLS[shell]
    policy = tmp_path / "my-policy.json"
    policy.touch()
    monkeypatch.chdir(tmp_path)
    assert str(os.getpid()) in complete("hugexecctl", "status", str(os.getpid()))
    assert [word.split("=")[-1].split("/")[-1] for word in complete("hugexecctl", "explain", "--policy=my-p")] == ["my-policy.json"]
    assert [word.split("=")[-1] for word in complete("hugexecctl", "metrics", "--format=pro")] == ["prometheus"]
    assert [word.split("=")[-1] for word in complete("hugexec", "--coverage=f")] == ["full"]
    assert "my-policy.json" in complete("hugexecctl", "check", "my-")


def test_bash_breaks_words_at_an_equals_sign():
    assert in_bash("hugexecctl", "metrics", "--format", "=") == ["openmetrics", "prometheus"]
    assert in_bash("hugexecctl", "metrics", "--format", "=", "o") == ["openmetrics"]
    assert in_bash("hugexec", "--backing", "=", "h") == ["hugetlb", "hugetlb,thp"]


def test_units(tmp_path):
    """Those that systemd knows for enable, and those that are enabled for disable."""
    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\n[ $1 = list-units ] && echo 'mariadb.service loaded active running x' || echo 'nginx.service disabled enabled'\n")
    fake.chmod(0o755)
    script = BASH.replace("PATH=$1:", f"PATH={tmp_path}:$1:")
    for words, offered in ((("hugexecctl", "enable", "m"), "mariadb.service"), (("hugexecctl", "status", "--unit", "=", "ng"), "nginx.service")):
        done = run(["bash", "--norc", "-c", script, "bash", BUILD / "shim", SCRIPTS / "hugexec.bash", *words])
        assert done.stdout.split() == [offered]


def test_zsh_reads_it():
    """zsh's own tests of completions need a terminal of its own; here it parses, and finds what --help prints."""
    zsh = shutil.which("zsh")
    if not zsh:
        pytest.skip("zsh is not installed")
    assert run([zsh, "-n", SCRIPTS / "_hugexec"]).returncode == 0
    assert (SCRIPTS / "_hugexec").read_text().startswith("#compdef hugexec hugexecctl\n")
    script = ("compadd() { }; _describe() { print -l \"${(P@)${@[-1]}}\" }; "
              "PATH=$1:$PATH; words=(hugexecctl ''); CURRENT=2; service=hugexecctl; PREFIX=; functions[complete_it]=\"$(<$2)\"; complete_it")
    done = run([zsh, "-f", "-c", script, "zsh", BUILD / "shim", SCRIPTS / "_hugexec"])
    assert done.stderr == "" and {"check", "explain", "pool"} <= {line.split(":")[0] for line in done.stdout.splitlines()}, done.stderr
