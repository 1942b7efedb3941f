"""GLIBC_TUNABLES that put heaps on hugetlb pages are for the command; hugexec and its tracer live on ordinary ones."""
import os

import pytest

from conftest import policy_with, read_report, run, take_hugetlb_pool

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


def test_command_gets_its_environment(hugexec_command):
    """To the byte, in the same order."""
    for before in ({}, {"A": "1"}, {"HUGEXEC_REPORT": "x"}):
        environment = {**before, "GLIBC_TUNABLES": TUNABLES, "PATH": os.environ["PATH"], "Z": "9"}
        words, _ = hugexec_command(["env"], policy_with(min_text="1G", follow="none"))
        assert run(words, env=environment).stdout == run(["env"], env=environment).stdout != ""
