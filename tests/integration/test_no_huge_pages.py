# SPDX-License-Identifier: Apache-2.0
"""Huge pages that are not there, or that the program may not have: it runs on small ones, with the reason in the report."""
import os
import pathlib
import shutil

import pytest

from lib.cached_files import LIBC, PR_SET_THP_DISABLE, cached, drop
from lib.confinement import cgroup, joining
from lib.machine import MIB, mounted, switched, take_hugetlb_pool
from lib.policies import policy_with
from lib.process import run
from lib.report import read_report


def test_empty_pool(check):
    with take_hugetlb_pool(0):
        check("hugetlb-pool", "hugetlb")


def test_pool_too_small(check):
    with take_hugetlb_pool(2):
        check("hugetlb-pool", "hugetlb", detail="2 of the")
        assert pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text() == "2\n"


def test_pages_kept_free(hugexec_run, bigtext):
    with take_hugetlb_pool(8):
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free=6), "hugetlb")
        assert done.returncode == 9 and report[0]["reason"].startswith("hugetlb-reserved: ")
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free="90%"), "hugetlb")
        assert done.returncode == 9 and report[0]["reason"].startswith("hugetlb-reserved: ")
        done, report = hugexec_run([bigtext(8), "exit", "9"], policy_with(keep_free=2), "hugetlb")
        assert done.returncode == 9 and report[0]["outcome"] == "remapped"


def test_next_backing_is_tried(hugexec_run, bigtext):
    with take_hugetlb_pool(0):
        _, report = hugexec_run([bigtext(8)], backing="hugetlb,thp")
    assert report[0]["backing"] == "thp" and report[0]["reason"].startswith("hugetlb-pool: ")






def test_hugetlb_cgroup_limit(check):
    limit = {("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"): "0"}
    with cgroup("hugetlb", limit) as procs, take_hugetlb_pool(8):
        check("hugetlb-limit", "hugetlb", preexec_fn=joining(procs))


def test_memory_cgroup_limit(check):
    limit = {("memory.limit_in_bytes", "memory.max"): str(40 * MIB)}
    with cgroup("memory", limit) as procs:
        check("memory-limit", "thp", mib=64, preexec_fn=joining(procs))


def test_thp_disabled_for_the_process(check):
    check("thp-refused", "thp", preexec_fn=lambda: LIBC.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))


def except_advised():
    """Huge pages only for what is advised to be (PR_THP_DISABLE_EXCEPT_ADVISED, Linux 6.18), as text on them is."""
    return LIBC.prctl(PR_SET_THP_DISABLE, 1, 2, 0, 0)


@pytest.fixture(name="knows_except_advised")
def knows_except_advised_fixture():
    child = os.fork()
    if child == 0:
        os._exit(0 if except_advised() == 0 else 1)
    if os.waitpid(child, 0)[1] != 0:
        pytest.skip("this kernel has no PR_THP_DISABLE_EXCEPT_ADVISED (Linux 6.18)")


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_thp_disabled_except_where_advised(knows_except_advised, hugexec_run, bigtext, tmp_path, backing):
    with mounted(["-t", "tmpfs", "-o", "size=64M", "none"], tmp_path / "tmpfs") as folder:
        program = shutil.copy(bigtext(8), folder)
        done, report = hugexec_run([program, "exit", "9"], backing=backing, preexec_fn=except_advised)
    assert done.returncode == 9
    assert (report[0]["outcome"], report[0]["backing"]) == ("remapped", backing), report


@pytest.mark.alone
def test_another_reason_than_thp_disabled(knows_except_advised, hugexec_run, bigtext, hugexecctl):
    with switched("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "deny"):
        _, report = hugexec_run([bigtext(8)], backing="thp", preexec_fn=except_advised)
        told = run([hugexecctl, "doctor"], preexec_fn=except_advised).stdout
    assert report[0]["reason"].startswith("thp-refused: ") and "PR_SET_THP_DISABLE" not in report[0]["reason"]
    assert "thp-refused" in told and "PR_SET_THP_DISABLE" not in told


@pytest.mark.alone
def test_thp_never(hugexec_run, bigtext):
    """The host's switch: where it stops the backing the reason says so; either way the program runs."""
    with switched("/sys/kernel/mm/transparent_hugepage/enabled", "never"):
        done, report = hugexec_run([bigtext(8), "exit", "9"], backing="thp")
    assert done.returncode == 9
    assert report[0]["outcome"] == "remapped" or report[0]["reason"].startswith("thp-refused: ")


@pytest.mark.alone
def test_thp_denied_for_shared_memory(check):
    with switched("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "deny"):
        check("thp-refused", "thp", detail="shmem_enabled is deny")


def test_memory_cgroup_limit_of_what_is_not_in_memory(hugexec_command, hugexecctl, write_policy, bigtext, huge_ext4):
    """
    Text that a plain run does not touch is not read where memory is short: neither by a launch nor in explain's forecast. What
    is in the cache already needs none.
    """
    program = huge_ext4 / "large"
    shutil.copy(bigtext(64), program)
    run(["sync", program])
    limit = {("memory.limit_in_bytes", "memory.max"): str(40 * MIB)}
    words, report = hugexec_command([program, "idle"], policy_with(), "file")
    with cgroup("memory", limit) as procs:
        drop(program)
        said = run([hugexecctl, "explain", f"--policy={write_policy(policy_with())}", "--backing=file", program], preexec_fn=joining(procs)).stdout
        assert "reason     memory-limit: the memory cgroup has" in said, said
        before = sum(cached(program))
        assert run(words, preexec_fn=joining(procs)).returncode == 0
        line = read_report(report)[-1]
        assert line["outcome"] == "failed" and line["reason"].startswith("memory-limit: the memory cgroup has"), line
        assert before <= sum(cached(program)) < 20 * MIB // 4096
        run(words)
        if read_report(report)[-1]["outcome"] != "remapped":
            pytest.skip(read_report(report)[-1]["reason"])
        assert run(words, preexec_fn=joining(procs)).returncode == 0
        assert read_report(report)[-1]["outcome"] == "remapped"
