# SPDX-License-Identifier: Apache-2.0
"""Commands that cannot be executed, and those of another kind: as env(1) does with them."""
import contextlib
import os
import subprocess

import pytest

from lib.policies import policy_with
from lib.process import marked, run, wait_for
from lib.sanitized import without_leak_check


def make_commands(folder):
    def script(name, text, mode=0o755):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)

    (folder / "directory").mkdir()
    script("plain-file", "echo ran\n", 0o644)
    script("no-interpreter-line", "echo ran; exit 3\n")
    script("interpreter-missing", "#!/nowhere/interpreter\n")
    script("interpreter-loop", f"#!{folder}/interpreter-loop\n")
    script("interpreter-long", "#!" + "/x" * 300 + "\n")
    script("empty", "")
    script("cut-elf", "\x7fELF\x02\x01\x01")
    script("script", "#!/bin/sh\necho ran; exit 4\n")
    source = folder / "32.s"
    source.write_text("_start: mov $1, %eax\n mov $7, %ebx\n int $0x80\n .globl _start\n")
    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        subprocess.run(["as", "--32", "-o", folder / "32.o", source], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-o", folder / "32-bit", folder / "32.o"], check=True)


@pytest.mark.parametrize("name, status, word", [
    ("directory", 126, None), ("plain-file", 126, None), ("not-there", 127, None), ("plain-file/below", 126, None),
    ("interpreter-missing", 127, None), ("interpreter-loop", 126, None), ("interpreter-long", None, None),
    ("no-interpreter-line", 3, "no-huge-slot"), ("empty", 0, "no-huge-slot"), ("cut-elf", None, None),
    ("script", 4, "no-huge-slot"), ("32-bit", 7, "not-native"), ("", 127, None),
])
def test_command_of_another_kind(hugexec_run, tmp_path, mark, name, status, word):
    make_commands(tmp_path)
    command = [f"{tmp_path}/{name}" if name else ""]
    if name == "32-bit" and not (tmp_path / name).exists():
        pytest.skip("no 32-bit assembler and linker")
    environment = {**os.environ, **without_leak_check(), "MARK": mark}
    plain = run(["env", *command], env=environment)
    done, report = hugexec_run(command, policy_with(follow="none"), env=environment)
    assert (done.stdout, done.returncode) == (plain.stdout, plain.returncode)
    if name == "32-bit" and plain.returncode != status:  # execvp(3) tries sh, which cannot read it
        pytest.skip("this kernel runs no 32-bit programs")
    assert status in (None, plain.returncode)
    assert len(done.stderr.splitlines()) == len(plain.stderr.splitlines())
    assert done.stderr.replace("hugexec: ", "") == plain.stderr.replace("env: ", "").replace("‘", "").replace("’", "") or \
        plain.returncode < 126
    if word:
        assert [(line["outcome"], line["reason"].split(":")[0]) for line in report] == [("skipped", word)]
    wait_for(lambda: not marked(mark))


def test_a_script_that_executes_a_32_bit_program(hugexec_run, tmp_path):
    """It is left alone as one that is named: nothing has failed, also where the policy ends what fails."""
    make_commands(tmp_path)
    program = tmp_path / "32-bit"
    if not program.exists() or run(["env", program]).returncode != 7:
        pytest.skip("there are no 32-bit programs here")
    done, report = hugexec_run(["sh", "-c", f"exec {program}"], policy_with(on_error="fail"), "thp")
    assert done.returncode == 7
    assert [(line["exe"], line["outcome"], line["reason"].split(":")[0]) for line in report] == [
        (str(program), "skipped", "not-native")]


def test_search_path(hugexec_run, tmp_path, bigtext):
    """COMMAND is looked up as execvp does: a file that is not executable is passed over, the next one runs."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "tool").write_text("not executable")
    os.symlink(bigtext(4), second / "tool")
    done, report = hugexec_run(["tool", "exit", "5"], backing="thp",
                               env={**os.environ, "PATH": f"{first}:/nowhere::{second}"}, cwd="/")
    assert done.returncode == 5
    assert report[0]["exe"] == os.path.realpath(bigtext(4)) and report[0]["outcome"] == "remapped"
    done, _ = hugexec_run(["tool"], env={**os.environ, "PATH": str(first)})
    assert done.returncode == 126
