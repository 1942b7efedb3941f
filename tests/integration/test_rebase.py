"""A program that was moved tells the same story about itself as one that was not, and so does one on a private copy."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import GENERATED, HUGE, ROOT, Process, bigtext_generator, policy_with, read_report, run, smaps, wait_until
from test_programs import pool_for

SOURCE = ROOT / "tests" / "programs" / "story.c"
# A static PIE is mapped by the kernel as any large file is, at a multiple of 2 MiB where it can. lld links text so that it
# does not agree with its offset even then: this one is moved in any case.
VARIANTS = {"pie": [], "static-pie": ["-static-pie"], "static-lld": ["-static-pie", "-fuse-ld=lld"], "no-pie": ["-no-pie"]}


@pytest.fixture(scope="module", params=VARIANTS)
def story(request):
    if "-fuse-ld=lld" in VARIANTS[request.param] and not shutil.which("ld.lld"):
        pytest.skip("lld is not installed")
    GENERATED.mkdir(parents=True, exist_ok=True)
    path, text, pad = (GENERATED / f"story{suffix}" for suffix in (f"-{request.param}", ".s", "-pad.s"))
    if not path.exists() or path.stat().st_mtime < SOURCE.stat().st_mtime:
        text.write_text(bigtext_generator.assembly(4))
        pad.write_text("\t.text\n\t.skip 0x400000, 0xcc\n\t.section .note.GNU-stack,\"\",@progbits\n")
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O1", "-fno-optimize-sibling-calls", "-rdynamic", *VARIANTS[request.param],
                        "-o", path, pad, SOURCE, text], check=True)
    os.sync()
    return str(path)


@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_program_about_itself(hugexec_run, run, story, backing):
    words = [story, "maps"] if backing == "file" else [story]
    plain = run(words)
    assert "frame: story_innermost" in plain.stdout or "static" in story, plain.stdout
    assert "AT_PHDR agrees: 1\nAT_ENTRY agrees: 1\n" in plain.stdout
    with pool_for(backing, 16):
        done, report = hugexec_run(words, backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 0)
    line, = report
    if story.endswith("no-pie"):
        assert line["rebased"] is False
    elif not story.endswith("static-pie"):  # which the kernel may have put where address and offset agree
        assert line["rebased"] is (backing == "file")
    if line["outcome"] != "remapped":
        assert story.endswith("no-pie") and line["reason"].startswith("file-misaligned")
        return
    assert line["backing"] == backing and line["reason"] is None and line["huge_bytes"] >= 2 * HUGE


def base_of(report):
    return int(report["objects"][0]["start"], 16)


def test_bases_are_random(hugexec_run, bigtext):
    """Two that are equal in twenty would be one case in 100,000 with 25 bits. make bench-entropy looks at 10,000."""
    bases = []
    for _ in range(20):
        _, report = hugexec_run([bigtext(4), "idle"], backing="file")
        assert report[0]["rebased"] is True
        bases.append(base_of(report[0]))
    assert len(set(bases)) == len(bases)
    steps = [base // HUGE for base in bases]
    assert len({base % HUGE for base in bases}) == 1
    for bit in range(25):
        assert len({step >> bit & 1 for step in steps}) == 2, f"bit {bit} of {steps}"


def test_no_rebasing_where_addresses_are_not_to_be_random(hugexec_command, run, bigtext):
    words, report = hugexec_command([bigtext(4), "sleep"], backing="file,thp")
    with Process(["setarch", "-R", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            wait_until(lambda: read_report(report), process=process)
            line = read_report(report)[0]
            start = next(entry["start"] for entry in smaps(process.pid) if entry["path"] == bigtext(4))
        finally:
            process.kill()
    with Process(["setarch", "-R", bigtext(4), "sleep"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline()
        plain_start = next(entry["start"] for entry in smaps(process.pid) if entry["path"] == bigtext(4))
        process.kill()
    assert line["rebased"] is False and line["backing"] == "thp"
    assert "ADDR_NO_RANDOMIZE" in line["reason"] and start == plain_start


def test_no_rebasing_where_the_policy_forbids_it(hugexec_run, bigtext):
    _, report = hugexec_run([bigtext(4), "idle"], policy_with(rebase=False), "file")
    assert report[0]["rebased"] is False and report[0]["reason"].startswith("file-misaligned")


def test_program_headers_and_mappings_agree(hugexec_command, run, story):
    """In place each part of the program is the part of the file that its header says."""
    words, report = hugexec_command([story, "maps"], backing="file")
    told = run(words).stdout
    assert read_report(report)[0]["rebased"] or not story.endswith("story-pie")
    for offset, name, at in re.findall(r"file offset (\S+) is (\S+) at (\S+)", told):
        assert (int(offset, 16) // 4096, name) == (int(at, 16) // 4096, story)
    assert len(re.findall(r" is ", told)) == len(re.findall(r"^header", told, re.M)) >= 3
