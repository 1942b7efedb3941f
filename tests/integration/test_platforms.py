# SPDX-License-Identifier: Apache-2.0
"""docs/platforms.md says of each distribution what the kernels that are booted (tests/kernels/expected.txt) say of the one that stands for it."""
import re
import shutil

import pytest

from lib.process import run
from lib.surroundings import ROOT

TRIED = [(5, 10), (6, 1), (6, 12), (6, 18), (7, 2)]


def version(text):
    return tuple(map(int, text.split(".")))


def rows():
    for line in (ROOT / "docs/platforms.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 8 and re.match(r"\d", cells[3]):
            yield cells


def expected(case, kernel):
    """What the kernel answers: the last whose version it has reached."""
    text = (ROOT / "tests/kernels/expected.txt").read_text(encoding="utf-8")
    line, = re.findall(rf"^{case} +(.+)$", text, re.MULTILINE)
    words = line.split()
    answers = [answer for since, answer in zip(words[::2], words[1::2]) if version(since) <= kernel]
    return answers[-1] == "remapped"


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[2]}")
def test_row(row):
    _, kernels, filesystem, stands, *answers, known = row
    kernel = version(stands)
    oldest = min(version(text) for text in re.findall(r"\d+\.\d+", kernels))
    assert kernel == max(tried for tried in TRIED if tried <= oldest)
    assert known == "by its kernel" or (known == "tried" and kernel == oldest)
    cases = (f"file-{filesystem.split()[0]}-clean", "hugetlb", "thp")
    assert answers == ["yes" if expected(case, kernel) else "no" for case in cases]


def test_every_distribution_has_its_row():
    named = " ".join(row[0] for row in rows())
    for name in ("Debian 12", "Debian 13", "Ubuntu 22.04", "Ubuntu 24.04", "RHEL 9", "RHEL 10", "Amazon Linux 2023", "SUSE 15", "Flatcar",
                 "Container-Optimized OS", "Bottlerocket"):
        assert name in named


def test_the_module_for_selinux_compiles(tmp_path):
    """By the commands of docs/platforms.md, up to what needs a kernel with SELinux."""
    if not shutil.which("checkmodule") or not shutil.which("semodule_package"):
        pytest.skip("Debian's checkpolicy and semodule-utils are not installed")
    folder = ROOT / "config" / "selinux"
    told = re.search(r"cd /tmp && (checkmodule .*)\n +(semodule_package .*)\n", (ROOT / "docs/platforms.md").read_text(encoding="utf-8"))
    for command in told.groups():
        words = [word.replace("/usr/share/hugexec/selinux", str(folder)) for word in command.split()]
        done = run(words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert b"hugexec_exec_t" in (tmp_path / "hugexec.pp").read_bytes()
    # Every program that systemd executes in a service's place has the label.
    labelled = [line.split()[0] for line in (folder / "hugexec.fc").read_text(encoding="ascii").splitlines()]
    assert labelled == ["/usr/bin/hugexec", "/usr/libexec/hugexec/hugexec-launch"]
