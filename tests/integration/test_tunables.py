# SPDX-License-Identifier: Apache-2.0
"""GLIBC_TUNABLES that put heaps on hugetlb pages are for the command; hugexec and its tracer live on ordinary ones."""
import os

import pytest

from lib.libraries import Built, look
from lib.libraries import policy as library_policy
from lib.machine import HUGE, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import run
from lib.report import read_report

TUNABLES = "glibc.malloc.hugetlb=2"


@pytest.mark.parametrize("backing", ["file", "thp"])
@pytest.mark.parametrize("pages", range(5))
def test_hugetlb_heap(hugexec_command, bigtext, pages, backing):
    """A heap of private hugetlb pages is copied at the tracer's first write, and SIGBUS where the pool has no page left."""
    program = [bigtext(8), "exit", "9"]
    environment = {**os.environ, "GLIBC_TUNABLES": TUNABLES}
    with take_hugetlb_pool(pages):
        plain = run(program, env=environment)
        words, report = hugexec_command(program, backing=backing)
        done = run(words, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    line, = read_report(report)
    assert line["outcome"] == "remapped" and line["reason"] is None, line


ALIGNED = ("aligned", ("cc", "-Wl,-z,max-page-size=0x200000"))  # glibc.elf.thp (2.44) is for programs that are linked so


@pytest.mark.parametrize("variant", [("pie", ("cc",)), ALIGNED], ids=["pie", "aligned"])
@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=2", "glibc.elf.thp=1",
                                      "glibc.elf.thp=1:glibc.malloc.hugetlb=1"])
def test_huge_pages_by_glibc_as_well(hugexec_command, bigtext, tunables, backing, variant):
    """Whatever glibc does about huge pages itself, the program's text is remapped as ever, and right."""
    program = [bigtext(8, *variant), "exit", "9"]
    environment = {**os.environ, "GLIBC_TUNABLES": tunables}
    with take_hugetlb_pool(16):
        plain = run(program, env=environment)
        words, report = hugexec_command(program, backing=backing)
        done = run(words, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    line, = read_report(report)
    assert (line["outcome"], line["backing"]) == ("remapped", backing), line
    assert line["huge_bytes"] >= line["text_bytes"] - 2 * HUGE > 0, line


@pytest.mark.parametrize("tunables", ["glibc.malloc.hugetlb=1", "glibc.malloc.hugetlb=2", "glibc.elf.thp=1"])
@pytest.mark.parametrize("flags", [(), ("-Wl,-z,max-page-size=0x200000",)], ids=["plain", "aligned"])
def test_libraries_that_glibc_places(hugexec_command, tmp_path, tunables, flags):
    built = Built("cc", tmp_path)
    library = built.library("big", *flags)
    program = built.program("program", library)
    environment = {**os.environ, "GLIBC_TUNABLES": tunables}
    with take_hugetlb_pool(16):
        words, report = hugexec_command([program, "sleep"], library_policy(), "thp")
        told, line, found, _ = look(words, report, library, env=environment)
    assert told == "right\n", line
    if line["reason"] and line["reason"].startswith("no-breakpoint"):
        pytest.skip("the program cannot be stopped at its entry point here")
    assert found["backing"] == "thp" and found["huge_bytes"] >= found["text_bytes"] - 2 * HUGE > 0, found


def test_command_gets_its_environment(hugexec_command):
    """To the byte, in the same order."""
    for before in ({}, {"A": "1"}, {"HUGEXEC_REPORT": "x"}):
        environment = {**before, "GLIBC_TUNABLES": TUNABLES, "PATH": os.environ["PATH"], "Z": "9"}
        words, _ = hugexec_command(["env"], policy_with(min_text="1G", follow="none"))
        assert run(words, env=environment).stdout == run(["env"], env=environment).stdout != ""
