# SPDX-License-Identifier: Apache-2.0
"""Containers that mean no good, and one that looks closely at itself."""
import os
import re
import subprocess

import pytest
from containers import big

from lib.machine import HUGE
from lib.programs import GENERATED
from lib.surroundings import ROOT
from programs.elf import elf64, write

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and containers need root")
TIB = 1 << 40


TEXT = (1, 5, 0, 0x400000, 8 * HUGE, 8 * HUGE)
HOSTILE = {  # content, size of the (sparse) file
    "text of 1 TiB": (elf64([(1, 5, 0, 0x400000, TIB, TIB)]), TIB),
    "text behind the end of the file": (elf64([TEXT]), 4096),
    "section headers beyond all": (elf64([TEXT], shoff=2**63 + 8, shnum=65535), 8 * HUGE),
    "a note of 4 GiB": (elf64([TEXT, (4, 4, 0, 0x400000, 1 << 32, 1 << 32)]), 8 * HUGE),
    "a note behind all": (elf64([TEXT, (4, 4, 2**64 - 8, 0, 2**63, 2**63)]), 8 * HUGE),
    "overlapping text": (elf64([TEXT, (1, 5, 0, 0x400000 + 4 * HUGE, 8 * HUGE, 8 * HUGE)]), 16 * HUGE),
    "more program headers than there are": (elf64([TEXT], phnum=70), 8 * HUGE),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_absurd_program(containers, name, backing):
    """It runs, or does not, exactly as without the hook."""
    content, size = HOSTILE[name]

    def prepare(rootfs):
        write(rootfs / "bin" / "absurd", content, max(size, len(content)))

    ours = containers(backing=[backing])
    told = []
    for number, hook in enumerate((False, True)):
        done = ours.run(ours.bundle(str(number), ["/bin/absurd"], hook=hook, prepare=prepare))
        told.append((done.returncode, done.stdout, re.sub(r"\d{4}-\d\d-\d\dT\S+", "", done.stderr)))
    assert told[0] == told[1]
    for line in ours.reports():
        assert line["huge_bytes"] <= line["text_bytes"] and (line["outcome"] == "remapped" or line["reason"])


def compiled(tmp_path, name, source, *flags):
    path = tmp_path / name
    subprocess.run(["cc", "-O1", "-static", "-o", path, "-x", "c", "-", *flags], input=source, text=True, check=True, timeout=60)
    return path


EXECUTES_FROM_A_THREAD = """
#include <pthread.h>
#include <unistd.h>
static void *run(void *unused) { execl("/bin/big", "big", "exit", "9", (char *)0); return unused; }
static void *idle(void *unused) { pause(); return unused; }
int main(void)
{
	pthread_t thread;
	for (int i = 0; i < 8; i++)
		pthread_create(&thread, 0, idle, 0);
	pthread_create(&thread, 0, run, 0);
	pause();
}
"""

TRACES_ITSELF = """
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
int main(int argc, char **argv)
{
	(void)argc, (void)argv;
	return ptrace(PTRACE_TRACEME, 0, 0, 0) == 0 ? 9 : 1;
}
"""

EXECUTES_ON_AND_ON = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char left[16];
	int number = argc > 1 ? atoi(argv[1]) : 0;
	snprintf(left, sizeof left, "%d", number - 1);
	if (number > 0)
		execl("/bin/me", "me", left, (char *)0);
	return 9;
}
"""


@pytest.mark.parametrize("source", [EXECUTES_FROM_A_THREAD, TRACES_ITSELF, EXECUTES_ON_AND_ON],
                         ids=["executes from a thread", "traces itself", "executes 500 times"])
def test_strange_program(containers, tmp_path, source):
    program = compiled(tmp_path, "me", source, "-pthread")
    # What traces itself is remapped, so it is alone by then; the others are followed.
    settings = {"min_text": 0} if source == TRACES_ITSELF else {"min_text": "4M", "wrappers": ["me"]}
    ours = containers(**settings)
    if source == TRACES_ITSELF:
        settings["follow"] = "none"
        ours = containers(**settings)
    done = ours.run(ours.bundle("strange", ["/bin/me", "500"], {"/bin/me": program, "/bin/big": big()}))
    assert done.returncode == 9, done.stderr
    if source == EXECUTES_FROM_A_THREAD:
        assert "remapped" in {line["outcome"] for line in ours.reports()}


def test_program_is_a_fifo(containers):
    """The runtime's own error, and no hang."""
    ours = containers()
    done = ours.run(ours.bundle("fifo", ["/bin/fifo"], prepare=lambda rootfs: os.mkfifo(rootfs / "bin" / "fifo", 0o755)))
    assert done.returncode != 0 and ours.reports() == []


def test_path_leads_out_of_the_container(containers):
    """A link to a path that the host has too: the container's own file counts."""
    ours = containers()
    bundle = ours.bundle("link", ["/bin/link", "exit", "9"], {"/usr/bin/sort": big()},
                         prepare=lambda rootfs: (rootfs / "bin" / "link").symlink_to("/usr/bin/sort"))
    done = ours.run(bundle)
    assert done.returncode == 9 and ours.report()["outcome"] == "remapped" and ours.report()["exe"] == "/usr/bin/sort"


def test_probe(containers, tmp_path):
    """All that a program can know of itself is the same with and without the hook, but for its text."""
    source = ROOT / "tests" / "programs" / "probe.c"
    GENERATED.mkdir(parents=True, exist_ok=True)
    program = tmp_path / "probe"
    text = tmp_path / "text.s"
    text.write_text(".text\n.balign 2097152\n.globl filler\nfiller:\n.fill 3 * 2097152, 1, 0xcc\n"
                    ".section .note.GNU-stack,\"\",@progbits\n")
    subprocess.run(["cc", "-O1", "-static", "-o", program, source, text], check=True, timeout=60)
    ours = containers()
    told = []
    for name, hook in (("probe", False), ("probe2", False), ("ours0", True)):
        done = ours.run(ours.bundle(name, ["/bin/probe"], {"/bin/probe": program}, hook=hook))
        assert done.returncode == 42, done.stderr
        out = re.sub(r"pipe:\[\d+\]", "pipe", re.sub(r"SigQ:\t\d+", "SigQ", done.stdout))
        out = re.sub(r"^(ns: \w+):\[\d+\]", r"\1", out, flags=re.M)  # each container has its own
        told.append([re.sub(r"\b(t\d+-)?bundle-\w+", "BUNDLE", line) for line in out.splitlines()])
    assert ours.report()["outcome"] == "remapped"
    steady = {line for line in told[0] if line in told[1]}  # what two plain runs agree on
    assert len(steady) > 0.8 * len(told[0])
    assert [line for line in told[2] if line in steady] == [line for line in told[0] if line in steady]
