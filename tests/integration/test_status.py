# SPDX-License-Identifier: Apache-2.0
"""hugexecctl status: what is on huge pages, as smaps has it."""
import contextlib
import json
import os
import pathlib
import shutil

import pytest

from lib.launched import remapped
from lib.machine import MIB
from lib.process import at_rest, run, wait_for
from lib.report import read_report
from lib.terminal import on_terminal

NOBODY = 65534


def test_status_of_a_process_that_there_is_not(hugexecctl):
    done = run([hugexecctl, "status", "2147483647"])
    assert done.returncode == 1 and "2147483647" in done.stderr and done.stdout == ""
    done = run([hugexecctl, "status", "--json", "2147483647"])
    assert done.returncode == 1 and done.stdout == ""


def test_status_shows_small_text_of_a_process_asked_for(hugexecctl):
    with at_rest(["sleep", "60"]) as process:
        wait_for(lambda: "sleep" in os.readlink(f"/proc/{process.pid}/exe"))
        said = json.loads(run([hugexecctl, "status", "--json", process.pid]).stdout)
        entry, = said["processes"]
        assert entry["pid"] == process.pid and entry["command"] == "sleep"
        exe = os.path.realpath("/bin/sleep")
        one = next(one for one in entry["objects"] if one["path"] == exe)
        assert one["text_bytes"] > 0 and one["huge_bytes"] == 0
        assert one["backing"] is None and one["shared"] is None
        text = run([hugexecctl, "status", process.pid]).stdout
        assert exe in text and "0 %" in text


@pytest.mark.parametrize("backing", ["thp", "hugetlb", "file"])
def test_status_agrees_with_the_report(hugexecctl, hugexec_command, hugetlb_pool, bigtext, backing):
    program = bigtext(8)
    probe = json.loads(run([hugexecctl, "doctor", "--json"]).stdout)["backings"]
    pool = hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext()
    if backing != "hugetlb" and not probe[backing]:
        pytest.skip(f"{backing} does not work here")
    with pool:
        words, report = hugexec_command([program, "sleep"], backing=backing)
        with at_rest(words) as process:
            line, = wait_for(lambda: read_report(report))
            if line["outcome"] != "remapped":
                pytest.skip(f"not remapped: {line['reason']}")
            said = json.loads(run([hugexecctl, "status", "--json"]).stdout)
            entry = next(one for one in said["processes"] if one["pid"] == process.pid)
            one, = entry["objects"]
            assert one["path"] == program
            assert one["huge_bytes"] == line["huge_bytes"] > 0
            assert one["text_bytes"] == line["text_bytes"]
            assert one["backing"] == backing
            assert one["shared"] is (backing == "file")
            text = run([hugexecctl, "status"]).stdout
            row = next(row for row in text.splitlines() if row.split()[0] == str(process.pid))
            assert f"{100 * one['huge_bytes'] // one['text_bytes']} %" in row
            assert row.split()[-2:] == [backing, program]
        said = json.loads(run([hugexecctl, "status", "--json"]).stdout)
        assert process.pid not in [one["pid"] for one in said["processes"]]


def status_of(hugexecctl, pid, name):
    """The object NAME of a process, which is there."""
    entry, = json.loads(run([hugexecctl, "status", "--json", pid]).stdout)["processes"]
    return next(one for one in entry["objects"] if one["name"] == name)


def test_status_of_node(hugexecctl, hugexec_command):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    with remapped(hugexec_command, [node, "-e", "setTimeout(() => {}, 60000)"], backing="thp") as (process, line):
        one = status_of(hugexecctl, process.pid, os.path.realpath(node))
        assert one["huge_bytes"] == line["huge_bytes"] > 16 * MIB
        assert one["text_bytes"] == line["text_bytes"]
        assert one["backing"] == "thp" and one["shared"] is False


def test_status_of_a_program_that_was_deleted(hugexecctl, hugexec_command, bigtext, tmp_path):
    program = tmp_path / "soon-gone"
    shutil.copy(bigtext(4, "static", ("cc", "-static")), program)
    with remapped(hugexec_command, [program, "sleep"], backing="thp") as (process, line):
        program.unlink()
        one = status_of(hugexecctl, process.pid, str(program))
        assert one["path"] == f"{program} (deleted)" and one["huge_bytes"] == line["huge_bytes"]
        assert run([hugexecctl, "status", process.pid]).stdout.rstrip().splitlines()[-1].endswith(f" {program}")


def test_status_draws_bars_on_a_wide_terminal_only(hugexecctl, hugexec_command, bigtext):
    with remapped(hugexec_command, [bigtext(8), "sleep"], backing="thp") as (process, line):
        tenths = 10 * line["huge_bytes"] // line["text_bytes"]
        bars = {"C.UTF-8": "█" * tenths + "░" * (10 - tenths), "C": "#" * tenths + "." * (10 - tenths)}
        for locale, bar in bars.items():
            environment = {**os.environ, "LC_ALL": locale}
            assert f"  {bar} " in on_terminal([hugexecctl, "status", process.pid], columns=120, env=environment)
            assert bar not in on_terminal([hugexecctl, "status", process.pid], env=environment)
            assert bar not in run([hugexecctl, "status", process.pid], env=environment).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_status_counts_what_it_may_not_read(hugexecctl):
    done = run([hugexecctl, "status", "--json"], user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 0 and json.loads(done.stdout)["unreadable"] > 0
    done = run([hugexecctl, "status", os.getpid()], user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 1 and "Permission denied" in done.stderr


def test_status_cannot_be_fooled_by_names(hugexecctl, tmp_path):
    program = tmp_path / "x\033[2J\nFilePmdMapped: 4096 kB"
    program.write_bytes(pathlib.Path("/bin/sleep").resolve().read_bytes())
    program.chmod(0o755)
    with at_rest([str(program), "60"]) as process:
        wait_for(lambda: "[2J" in os.readlink(f"/proc/{process.pid}/exe"))
        done = run([hugexecctl, "status", process.pid])
        assert done.returncode == 0 and "\033" not in done.stdout and "x?[2J?FilePmdMapped" in done.stdout
        said = json.loads(run([hugexecctl, "status", "--json", process.pid]).stdout)
        one = next(one for one in said["processes"][0]["objects"] if one["path"] == str(program))
        assert one["huge_bytes"] == 0


def test_no_legend(hugexecctl, hugexec_command, bigtext):
    """Rows, and nothing else."""
    with remapped(hugexec_command, [bigtext(4), "sleep"], backing="thp") as (process, _):
        heading, *rows = run([hugexecctl, "status", process.pid]).stdout.splitlines()
        assert run([hugexecctl, "status", "--no-legend", process.pid]).stdout.splitlines() == rows and "PID" in heading
        others = run([hugexecctl, "status", "--no-legend"]).stdout.splitlines()
        assert heading not in others and all(line.split()[0].isdigit() for line in others)
        assert str(process.pid) in {line.split()[0] for line in others}
