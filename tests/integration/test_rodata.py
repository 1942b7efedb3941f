# SPDX-License-Identifier: Apache-2.0
"""rodata: the program's read-only data on huge pages of the page cache, too; nothing is done in the program for it."""
import json
import shutil
import subprocess

import pytest

from lib.cached_files import read_small
from lib.machine import HUGE, MIB
from lib.policies import policy_with
from lib.process import Process, run
from lib.report import read_report
from lib.smaps import HUGE_COUNTS, smaps
from lib.surroundings import ROOT
from programs import bigtext

# 9 MiB of constants that the program adds up.
SOURCE = """
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
extern const uint64_t constants[];
extern const char end_of_constants[];
int main(void)
{
	uint64_t sum = 0;
	for (const uint64_t *at = constants; (const char *)at < end_of_constants; at++)
		sum += *at;
	printf("%llu\\n", (unsigned long long)sum);
	fflush(stdout);
	pause();
	return 0;
}
"""
CONSTANTS = 9 * MIB // 8
DATA = f"\t.section .rodata\n\t.balign 4096\n\t.globl constants, end_of_constants\nconstants:\t.rept {CONSTANTS}\n\t.quad 3\n\t.endr\nend_of_constants:\n"


@pytest.fixture(scope="module", params=["pie", "no-pie"])
def built(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rodata")
    (folder / "main.c").write_text(SOURCE)
    (folder / "text.s").write_text(bigtext.assembly(5) + DATA)
    subprocess.run(["cc", "-O1", f"-{request.param}", "-o", folder / "program", folder / "main.c", folder / "text.s"], check=True, cwd=ROOT)
    run(["sync", folder / "program"])
    return folder / "program"


def look(hugexec_command, path, **settings):
    """The report's line, and smaps of what is read-only and was read."""
    words, report = hugexec_command([path], policy_with(**settings), "file")
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"{3 * CONSTANTS}\n"
        entries = smaps(process.pid)
        process.kill()
    line = read_report(report)[0]
    if line["outcome"] != "remapped":
        pytest.skip(line["reason"])
    return line, [entry for entry in entries if entry["path"] == path and entry["perms"] == "r--p"]


def huge(entries):
    return sum(entry.get(count, 0) for entry in entries for count in HUGE_COUNTS)


def whole_slots(entries):
    return sum(max(0, entry["end"] // HUGE - -(-entry["start"] // HUGE)) * HUGE for entry in entries)


@pytest.mark.parametrize("round_out", [False, True])
def test_rodata(hugexec_command, built, tmp_path, round_out):
    """
    A file that nobody has run, in small folios: its whole slots of constants come huge with it, and small without; reports are about text
    either way.
    """
    lines = {}
    for wanted in (False, True):
        path = str(shutil.copy(built, tmp_path / f"program-{wanted}"))
        run(["sync", path])
        read_small(path)
        lines[wanted], entries = look(hugexec_command, path, round_out=round_out, rodata=wanted, file_timeout="60s", hold_timeout="60s")
        assert whole_slots(entries) >= 6 * MIB
        assert huge(entries) == (whole_slots(entries) if wanted else 0)
    assert lines[True]["huge_bytes"] == lines[False]["huge_bytes"] and lines[True]["copied_bytes"] == 0


def test_explain(hugexecctl, built, write_policy):
    """explain says how much more the page cache would hold."""
    for wanted in (False, True):
        policy = write_policy(policy_with(rodata=wanted))
        said = json.loads(run([hugexecctl, "explain", "--json", f"--policy={policy}", built]).stdout)
        assert 6 * MIB <= said["rodata_bytes"] <= 9 * MIB if wanted else said["rodata_bytes"] == 0
        line = f"rodata     {said['rodata_bytes'] / MIB:.1f} MiB more in the page cache"
        assert (line in run([hugexecctl, "explain", f"--policy={policy}", built]).stdout) == wanted


def test_warm(hugexecctl, built, write_policy):
    """hugexecctl warm prepares it for the programs of rules that want it."""
    said = {}
    for wanted in (False, True):
        read_small(built)
        policy = {"version": 1, "rules": [{"match": {"exe": str(built)}, "min_text": 0, "rodata": wanted}]}
        file, = json.loads(run([hugexecctl, "warm", "--json", f"--policy={write_policy(policy)}"]).stdout)["files"]
        if file["reason"]:
            pytest.skip(file["reason"])
        said[wanted] = file
    assert said[True]["slot_bytes"] >= said[False]["slot_bytes"] + 6 * MIB
    assert said[True]["huge_bytes"] == said[True]["slot_bytes"] and said[True]["text_bytes"] == said[False]["text_bytes"]
