# SPDX-License-Identifier: Apache-2.0
"""Resource limits under which hugexec cannot do its work, or only just: the workload runs as if hugexec were not there."""
import contextlib
import os
import resource

import pytest

from lib.confinement import limited
from lib.machine import MIB, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import run
from lib.report import read_report, split_report
from lib.sanitized import NOT_SANITIZED


@pytest.mark.parametrize("files", [3, 4, 5, 8])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_few_files(check, files, backing):
    """So few files that nothing can be opened. With 3 of 3 in use not even a library can be loaded: standard input is closed."""

    def apply():
        if files == 3:
            os.close(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    check("fd-limit", backing, variant=("static", ("cc", "-static")), preexec_fn=apply)


@NOT_SANITIZED
def test_small_address_space(check):
    """Enough for hugexec and for the program, not for a second mapping of its text."""
    check("address-space-limit", "thp", mib=64, preexec_fn=limited((resource.RLIMIT_AS, 100 * MIB, 100 * MIB)))


@NOT_SANITIZED
def test_address_space_of_any_size(hugexec, write_policy):
    """From where hugexec can just be loaded to where it has all that it wants: whatever it lacks, the program runs."""
    # So that it is here that memory runs out: where a name is copied, which json-c does not survive.
    rules = [{"match": {"via": "hook", "annotation": {f"{number}-{'x' * 2000}": "*"}}} for number in range(200)]
    policy = write_policy({**policy_with(), "rules": rules + policy_with()["rules"]})
    program = ["/bin/sh", "-c", "exit 9"]  # which needs less than hugexec
    lowest = next(size for size in range(2 * MIB, 64 * MIB, 32768)
                  if run([hugexec, "--version"], preexec_fn=limited((resource.RLIMIT_AS, size, size))).returncode == 0)
    for size in range(lowest, lowest + 4 * MIB, 32768):
        limit = limited((resource.RLIMIT_AS, size, size))
        plain = run(program, preexec_fn=limit)
        ours = run([hugexec, f"--policy={policy}", "-q", "--", *program], preexec_fn=limit)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode), size
    assert plain.returncode == 9


@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_no_file_size(check, backing):
    """RLIMIT_FSIZE 0: what is too large to write raises SIGXFSZ, which must not reach the workload."""
    with take_hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext():
        check("file-size-limit", backing, preexec_fn=limited((resource.RLIMIT_FSIZE, 0, 0)))


@NOT_SANITIZED
def test_stack_of_any_size(hugexec, bigtext, write_policy, tmp_path):
    """From one on which the program can just run: it does, and is remapped, as hugexec brings a stack of its own."""
    program = [bigtext(4), "exit", "9"]
    report = tmp_path / "report"
    words = [hugexec, f"--policy={write_policy(policy_with(libraries=True, perf_map=True))}", "--backing=thp", f"--report={report}", "--"]
    few = {"PATH": os.environ["PATH"]}  # the environment is on the stack, from a random place on: with much of it chance decides
    for size in range(16384, 192 * 1024, 8192):
        limit = limited((resource.RLIMIT_STACK, size, size))
        plain = run(program, preexec_fn=limit, env=few)
        if plain.returncode != 9:
            continue
        report.write_text("")
        ours = run([*words, *program], preexec_fn=limit, env=few)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode), size
        assert [line["outcome"] for line in read_report(report)] == ["remapped"], size
    assert plain.returncode == 9


def test_small_soft_stack(hugexec_run):
    """It is the program's, as before."""
    soft = limited((resource.RLIMIT_STACK, 65536, resource.RLIM_INFINITY))
    done, report = hugexec_run(["sh", "-c", "ulimit -s; ulimit -H -s"], policy_with(), preexec_fn=soft)
    assert (done.stdout, done.stderr) == ("64\nunlimited\n", "") and len(report) == 1


@pytest.mark.parametrize("limits", [
    pytest.param([(resource.RLIMIT_STACK, 40960, resource.RLIM_INFINITY)], marks=NOT_SANITIZED),
    [(resource.RLIMIT_FSIZE, 0, resource.RLIM_INFINITY)],
    [(resource.RLIMIT_NOFILE, 4, 64)],
    [(resource.RLIMIT_CORE, resource.RLIM_INFINITY, resource.RLIM_INFINITY)],
])
def test_soft_limits_do_not_matter(hugexec_run, bigtext, limits):
    done, report = hugexec_run([bigtext(8), "exit", "9"], backing="thp", preexec_fn=limited(*limits))
    assert done.returncode == 9 and report[0]["outcome"] == "remapped", report


def test_no_process_left(hugexec, bigtext, write_policy, nobody, public_folder):
    """RLIMIT_NPROC: no tracer can be started."""
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--report=-", "--", bigtext(8), "exit", "9"]
    done = run([*nobody, "prlimit", "--nproc=1:1", *words])
    assert done.returncode == 9
    assert split_report(done.stderr)[1][0]["reason"].startswith("fork: ")
