# SPDX-License-Identifier: Apache-2.0
"""What a wrapper may do on the way from hugexec's exec to that of the program."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib.confinement import cgroup
from lib.machine import HUGE
from lib.policies import policy_with
from lib.process import Process, wait_for
from lib.report import read_report

IDS = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); return 9; }\n'


def compiled(folder, name, text, *flags):
    """The program NAME in FOLDER, from a source text (assembly where it has a _start)."""
    source = folder / f"{name}{'.s' if '_start' in text else '.c'}"
    source.write_text(text)
    subprocess.run(["cc", "-w", "-o", folder / name, source, *flags], check=True)
    return folder / name


@pytest.fixture
def set_uid(public_folder):
    """A program that is set-uid root and prints its user's numbers."""
    program = compiled(public_folder, "ids", IDS, "-static")
    program.chmod(0o4755)
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        pytest.skip("the test folder's filesystem is mounted nosuid")
    return program


@pytest.mark.parametrize("way", [["/bin/sh", "-c", 'exec "$@"', "sh"], ["/usr/bin/env", "A=1"], ["/bin/sh", "-c", '"$@"; exit $?', "sh"]])
def test_no_privilege_is_lost_behind_a_users_wrapper(hugexec_command, nobody, public_folder, set_uid, way):
    """Who lacks CAP_SYS_PTRACE follows no wrapper: a set-uid program has its privileges; and the report says why."""
    command = [*way, str(set_uid)]
    plain = subprocess.run([*nobody, *command], capture_output=True, text=True, check=False)
    assert (plain.stdout, plain.returncode) == ("65534 0\n", 9)
    words, report = hugexec_command(command, policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    ours = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 9)
    assert [(line["outcome"], line["reason"].split(":")[0]) for line in read_report(report)] == [("skipped", "unprivileged-wrapper")]


def test_users_wrapper_with_no_new_privileges(hugexec_command, bigtext, nobody, public_folder, set_uid):
    """Nothing can gain any, so nothing can lose them: a user's wrapper is followed."""
    program = public_folder / "program"
    shutil.copy(bigtext(4), program)
    words, report = hugexec_command(["/bin/sh", "-c", f"{set_uid}; exec {program} exit 9"], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, "--no-new-privs", *words], capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines()[0], done.stderr, done.returncode) == ("65534 65534", "", 9)
    assert [line["outcome"] for line in read_report(report)] == ["remapped"]


def test_users_script_in_a_large_interpreter(hugexec_command, bigtext, nobody, public_folder, set_uid):
    """The interpreter is executed first, and can be looked at before; what the script executes is not traced."""
    interpreter = public_folder / "interpreter"
    shutil.copy(bigtext(4), interpreter)
    script = public_folder / "script"
    for line, status, about in ((f"#!{interpreter} exit\n", 0, ("remapped", None)), (f"#!/bin/sh\nexec {set_uid}\n", 9, ("skipped", "unprivileged-wrapper"))):
        script.write_text(line)
        script.chmod(0o755)
        words, report = hugexec_command([script], policy_with(), "thp")
        report.touch()
        report.chmod(0o666)
        done = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
        assert done.returncode == status and (about[1] is None or done.stdout == "65534 0\n"), done
        assert [(line["outcome"], line["reason"] and line["reason"].split(":")[0]) for line in read_report(report)] == [about]


@pytest.mark.parametrize("first", ["without its interpreter", "a script that cannot be run"])
def test_privileged_program_that_is_found_second(hugexec_command, bigtext, nobody, public_folder, set_uid, first):
    """execvp(3) passes over what cannot be executed: COMMAND is another file than the first of its name."""
    (public_folder / "first").mkdir()
    (public_folder / "second").mkdir()
    if first == "without its interpreter":
        program = (public_folder / "first" / "program")
        program.write_bytes(pathlib.Path(bigtext(4)).read_bytes().replace(b"/lib64/ld-linux-x86-64.so.2", b"/lib64/ld-nowhere-64-64.so."))
    else:
        interpreter = public_folder / "interpreter"
        interpreter.write_text("")
        program = public_folder / "first" / "program"
        program.write_text(f"#!{interpreter}\n")
    program.chmod(0o755)
    set_uid.rename(public_folder / "second" / "program")
    path = ["env", f"PATH={public_folder}/first:{public_folder}/second:/usr/bin:/bin"]
    plain = subprocess.run([*nobody, *path, "env", "program"], capture_output=True, text=True, check=False)
    assert (plain.stdout, plain.returncode) == ("65534 0\n", 9), plain
    words, report = hugexec_command(["program"], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    ours = subprocess.run([*nobody, *path, *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 9)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["exec-failed"]


def test_wrapper_that_goes_to_another_cgroup(hugexec_command, bigtext):
    """As cgexec and systemd-run --scope do: the copy is charged to where the program runs."""
    with cgroup("memory", {}) as procs:
        words, report = hugexec_command(["sh", "-c", f'echo $$ >{procs} && exec "$@"', "sh", bigtext(8), "sleep"], policy_with(), "thp")
        with Process(words, stdout=subprocess.PIPE, text=True) as process:
            assert [process.stdout.readline() for _ in range(2)][1] == "ready\n"
            huge = read_report(report)[0]["huge_bytes"]
            # The kernel sums up now and then.
            wait_for(lambda: int(re.search(r"^shmem (\d+)$", (procs.parent / "memory.stat").read_text(), re.M)[1]) >= huge >= 3 * HUGE)
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_wrapper_that_unmounts_its_working_directory(hugexec, write_policy, tmp_path):
    """It is not busy with the tracer, and a report's relative path means what it did."""
    (tmp_path / "mounted").mkdir()
    command = ["sh", "-c", f"cd / && umount {tmp_path}/mounted && exit 9"]
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--report=../report", "--", *command]
    script = f'mount -t tmpfs none {tmp_path}/mounted && cd {tmp_path}/mounted && exec "$@"'
    for way in (command, words):
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *way], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (9, "")
    assert [line["outcome"] for line in read_report(tmp_path / "report")] == ["skipped"]
