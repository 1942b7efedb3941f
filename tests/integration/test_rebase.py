# SPDX-License-Identifier: Apache-2.0
"""A program that was moved says the same about itself as one that was not, and so does one on a private copy."""
import os
import re
import shutil
import subprocess

import pytest

from lib.machine import HUGE, pool_for
from lib.policies import policy_with
from lib.process import Process, run, wait_for
from lib.programs import GENERATED, one_builder
from lib.report import read_report
from lib.smaps import smaps
from lib.surroundings import ROOT
from programs import bigtext as bigtext_generator

SOURCE = ROOT / "tests" / "programs" / "introspect.c"
# A static PIE is mapped by the kernel as any large file is, at a multiple of 2 MiB where it can. lld links text so that it
# does not agree with its offset even then: this one is moved in any case.
VARIANTS = {"pie": [], "static-pie": ["-static-pie"], "static-lld": ["-static-pie", "-fuse-ld=lld"], "no-pie": ["-no-pie"]}


@pytest.fixture(scope="module", params=VARIANTS)
def introspect(request):
    if "-fuse-ld=lld" in VARIANTS[request.param] and not shutil.which("ld.lld"):
        pytest.skip("lld is not installed")
    path, text, pad = (GENERATED / f"introspect{suffix}" for suffix in (f"-{request.param}", ".s", "-pad.s"))
    with one_builder():
        if not path.exists() or path.stat().st_mtime < SOURCE.stat().st_mtime:
            text.write_text(bigtext_generator.assembly(4))
            pad.write_text("\t.text\n\t.skip 0x400000, 0xcc\n\t.section .note.GNU-stack,\"\",@progbits\n")
            subprocess.run(["cc", "-D_GNU_SOURCE", "-O1", "-fno-optimize-sibling-calls", "-rdynamic", *VARIANTS[request.param],
                            "-o", path, pad, SOURCE, text], check=True)
    os.sync()
    return str(path)


@pytest.mark.parametrize("backing", ["file", "hugetlb", "thp"])
def test_program_about_itself(hugexec_run, introspect, backing):
    words = [introspect, "maps"] if backing == "file" else [introspect]
    plain = run(words)
    assert "frame: introspect_innermost" in plain.stdout or "static" in introspect, plain.stdout
    assert "AT_PHDR agrees: 1\nAT_ENTRY agrees: 1\n" in plain.stdout
    with pool_for(backing, 16):
        done, report = hugexec_run(words, backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 0)
    line, = report
    if introspect.endswith("no-pie"):
        assert line["rebased"] is False
    elif not introspect.endswith("static-pie"):  # which the kernel may have put where address and offset agree
        assert line["rebased"] is (backing == "file")
    if line["outcome"] != "remapped":
        assert introspect.endswith("no-pie") and line["reason"].startswith("file-misaligned")
        return
    assert line["backing"] == backing and line["reason"] is None and line["huge_bytes"] >= 2 * HUGE


def base_of(report):
    return int(report["objects"][0]["start"], 16)


def test_bases_are_random(hugexec_run, bigtext):
    """Two that are equal in twenty would be one case in 130,000 with 24.6 bits. make bench-entropy looks at 10,000."""
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


def test_no_rebasing_where_addresses_are_not_to_be_random(hugexec_command, bigtext):
    words, report = hugexec_command([bigtext(4), "sleep"], backing="file,thp")
    with Process(["setarch", "-R", *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            wait_for(lambda: read_report(report), process=process)
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


def test_program_headers_and_mappings_agree(hugexec_command, introspect):
    """In place each part of the program is the part of the file that its header says."""
    words, report = hugexec_command([introspect, "maps"], backing="file")
    told = run(words).stdout
    assert read_report(report)[0]["rebased"] or not introspect.endswith("introspect-pie")
    for offset, name, at in re.findall(r"file offset (\S+) is (\S+) at (\S+)", told):
        assert (int(offset, 16) // 4096, name) == (int(at, 16) // 4096, introspect)
    assert len(re.findall(r" is ", told)) == len(re.findall(r"^header", told, re.M)) >= 3


# Zeros of the program's own, far from the rest of it: a segment without a byte in the file and with a hole below.
FAR_ZEROS = """
#include <stdio.h>
extern unsigned long bigtext_walk(unsigned long);
__attribute__((section(".far,\\"aw\\",@nobits#"))) char far[1 << 20];
int main(int argc, char **argv)
{
	for (unsigned i = 0; i < sizeof far; i += 512)
		if (far[i])
			return 1;
	far[argc] = 1;
	printf("%lx %ld\\n", bigtext_walk(1), (long)(far - (char *)&main) / (1 << 20));
}
"""


@pytest.mark.parametrize("kind", ["-pie", "-static-pie"])
def test_zeros_far_away_move_too(hugexec_run, tmp_path, kind):
    (tmp_path / "far.c").write_text(FAR_ZEROS)
    (tmp_path / "text.s").write_text(bigtext_generator.assembly(4))
    program, at = tmp_path / "far", "0x10000000"
    subprocess.run(["cc", kind, "-fPIE", "-w", f"-Wl,--section-start=.far={at}", "-o", program, tmp_path / "far.c",
                    tmp_path / "text.s"], check=True)
    assert re.search(rf"LOAD +\S+ 0x0*{at[2:]} \S+ 0x0+ 0x0*100000 ", run(["readelf", "-lW", program]).stdout)
    os.sync()
    plain = run([program])
    assert plain.returncode == 0
    for backing in ("file", "thp"):
        done, report = hugexec_run([program], backing=backing)
        assert (done.stdout, done.returncode) == (plain.stdout, 0)
        assert report[0]["outcome"] == "remapped" and report[0]["backing"] == backing


# Exits with 99 where AT_BASE is not the address of the copy that runs.
START = """
	.globl _start
	.hidden __ehdr_start
_start:	mov (%rsp), %rcx
	lea 16(%rsp, %rcx, 8), %rbx
1:	cmpq $0, (%rbx)
	lea 8(%rbx), %rbx
	jne 1b
2:	cmpq $7, (%rbx)
	lea 16(%rbx), %rbx
	jne 2b
	lea __ehdr_start(%rip), %rax
	mov $99, %edi
	cmp %rax, -8(%rbx)
	jne 3f
	mov $1, %edi
	call bigtext_walk
	mov %rax, %rdi
	and $63, %rdi
3:	mov $60, %eax
	syscall
"""


def test_interpreter_is_the_same_file(hugexec_run, tmp_path):
    """The kernel loads such a program twice and starts the second one, which stays where it is."""
    program, text = tmp_path / "twice", tmp_path / "text.s"
    text.write_text(bigtext_generator.assembly(4) + "\t.text" + START)
    subprocess.run(["cc", "-nostdlib", "-pie", f"-Wl,--dynamic-linker={program}", "-o", program, text], check=True)
    assert str(program) in run(["readelf", "-lW", program]).stdout
    os.sync()
    plain = run([program])
    assert 0 <= plain.returncode < 64, "the plain program does not run"
    for backing in ("file", "thp"):
        done, report = hugexec_run([program], backing=backing)
        assert done.returncode == plain.returncode
        assert report[0]["outcome"] == "remapped", report


ALIGNED = """
#include <stdint.h>
#include <stdio.h>
extern unsigned long bigtext_walk(unsigned long);
__attribute__((aligned(ALIGN))) char data[4096] = {1}, zeros[4096];
int main(void)
{
	volatile uintptr_t at = (uintptr_t)data | (uintptr_t)zeros;
	printf("%lx\\n", bigtext_walk(1));
	return at % ALIGN != 0;
}
"""


@pytest.mark.parametrize("linker", ["bfd", "lld"])
@pytest.mark.parametrize("align", [1 << 12, 1 << 16, 1 << 21, 1 << 23])
def test_no_alignment_is_lost(hugexec_run, tmp_path, linker, align):
    """What the program has told the kernel to align stays aligned: a program that cannot be moved so is not moved."""
    if not shutil.which(f"ld.{linker}"):
        pytest.skip(f"ld.{linker} is not installed")
    (tmp_path / "aligned.c").write_text(ALIGNED)
    (tmp_path / "text.s").write_text(bigtext_generator.assembly(4))
    program = tmp_path / "aligned"
    subprocess.run(["cc", "-pie", "-fPIE", f"-fuse-ld={linker}", f"-DALIGN={align}", "-o", program, tmp_path / "aligned.c",
                    tmp_path / "text.s"], check=True)
    os.sync()
    plain = run([program])
    assert plain.returncode == 0
    done, report = hugexec_run([program], backing="file,thp")
    assert (done.stdout, done.returncode) == (plain.stdout, 0)
    assert report[0]["outcome"] == "remapped"
    if linker == "lld" and align > 4096:
        assert report[0]["backing"] == "thp" and report[0]["reason"].startswith("rebase-refused: a segment")
    else:
        assert report[0]["backing"] == "file"


def test_fixed_address_that_does_not_agree(hugexec_run, bigtext):
    """It is told as what it is; such a program cannot be moved."""
    program = bigtext(8, "no-pie-501000", ("cc", "-no-pie", "-Wl,-Ttext-segment=0x501000"))
    done, (line,) = hugexec_run([program], backing="file")
    assert (done.stdout, done.returncode) == (run([program]).stdout, 0)
    assert (line["outcome"], line["reason"].split(":")[0]) == ("failed", "file-misaligned") and line["rebased"] is False, line
