# SPDX-License-Identifier: Apache-2.0
"""A Go panic, an uncaught C++ exception and a Rust panic print the same frames plain and with each backing."""
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from lib.machine import HUGE, pool_for
from lib.process import run
from lib.programs import BACKINGS, GENERATED, needed, one_builder
from lib.surroundings import PROGRAMS, ROOT
from programs import bigtext as bigtext_generator

GO_SOURCE = """package main

import ("fmt"; "net/http"; "os")

//go:noinline
func inner(values []int, at int) int { return values[at] }

//go:noinline
func outer(values []int) int { return inner(values, len(values)) + 1 }

func main() {
	if len(os.Args) > 9 {
		panic(http.ListenAndServe(os.Args[9], nil))
	}
	fmt.Println(outer(make([]int, 3)))
}
"""

# The second is what is advised for huge pages: one segment from the ELF header on, so that the first whole slot has the header.
LAYOUTS = {"separate-code": [], "noseparate-code": ["-C", "link-arg=-fuse-ld=bfd", "-C", "link-arg=-Wl,-z,noseparate-code,-z,max-page-size=2097152"]}
RUST_SOURCE = """
// Between four MiB and bigtext's: in the middle of huge pages.
core::arch::global_asm!(".text", ".skip 0x400000, 0xcc");

#[inline(never)]
fn inner(values: &[u32], at: usize) -> u32 { values[at] }

#[inline(never)]
fn outer(values: &[u32]) -> u32 { inner(values, values.len()) + 1 }

fn main() { println!("{}", outer(&vec![1; std::env::args().count()])); }
"""


def go_program(kind):
    root = PROGRAMS / "root/usr/lib/go-1.19"
    go = needed(root / "bin" / "go")
    program = GENERATED / f"panics-{kind}"
    with one_builder():
        if not program.exists():
            source = GENERATED / "panics.go"
            source.write_text(GO_SOURCE)
            environment = {**os.environ, "GOROOT": str(root), "GOCACHE": str(GENERATED / "go-cache"), "GOFLAGS": "-mod=mod",
                           "CGO_ENABLED": "0", "GO111MODULE": "off"}
            subprocess.run([go, "build", f"-buildmode={kind}", "-o", program, source], check=True, env=environment, timeout=250)
    return [program], 2, r"main\.(inner|outer|main)"


def cxx_program():
    needed("c++")
    program = GENERATED / "throws-frames"
    sources = ROOT / "tests" / "programs"
    newest = max((sources / f"throws.{end}").stat().st_mtime for end in ("cc", "py"))
    with one_builder():
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run([sys.executable, sources / "throws.py", program], check=True, timeout=120)
    return [program, "uncaught"], -signal.SIGABRT, r"\(_Z\d+frame_(\d+)i"


def rust_program(layout="separate-code"):
    rustc = shutil.which("rustc")
    if not rustc:
        pytest.skip("rustc is not installed (Debian's brings half a gigabyte)")
    program = GENERATED / f"panics-rust-{layout}"
    with one_builder():
        if not program.exists():
            source, text, text_object = (GENERATED / f"panics{end}" for end in (".rs", ".s", ".o"))
            source.write_text(RUST_SOURCE)
            text.write_text(bigtext_generator.assembly(4))
            subprocess.run(["cc", "-c", "-o", text_object, text], check=True)
            subprocess.run([rustc, "-g", "-C", "opt-level=1", "-C", "codegen-units=1", "-C", f"link-arg={text_object}", "-C",
                            "link-arg=-Wl,--no-gc-sections", *LAYOUTS[layout], "-o", program, source], check=True, timeout=250, cwd=GENERATED)
    return [program], 101, r"panics::(inner|outer|main)"


MAKERS = {"go": lambda: go_program("exe"), "go-pie": lambda: go_program("pie"), "c++": cxx_program, "rust": rust_program}


@pytest.fixture(scope="module", params=MAKERS)
def panicking(request):
    made = MAKERS[request.param]()
    os.sync()
    return made


def frames_told(done):
    """What was printed, without addresses, arguments and thread numbers."""
    text = re.sub(r"0x[0-9a-f]+\b(?!\))|\[0x[0-9a-f]+\]|thread '(\w+)' \(\d+\)", r"\1", done.stderr)
    return re.sub(r"\(0x[0-9a-f, x.{}]*\)|\{[0-9a-fx, .?]+\}", "()", text)


@pytest.mark.parametrize("backing", BACKINGS)
def test_frames(hugexec_run, panicking, backing):
    words, status, frame = panicking
    environment = {**os.environ, "RUST_BACKTRACE": "1"}
    plain = run(words, env=environment)
    assert plain.returncode == status, plain.stderr
    assert len(re.findall(frame, plain.stderr)) >= 3, plain.stderr
    with pool_for(backing, 24):
        done, report = hugexec_run(words, backing=backing, env=environment)
    assert (frames_told(done), done.stdout, done.returncode) == (frames_told(plain), plain.stdout, status)
    if backing == "file" and report[0]["reason"] and report[0]["reason"].startswith("file-misaligned"):
        return  # a program at a fixed address, which cannot be moved
    if report[0]["outcome"] == "skipped" and report[0]["text_bytes"] < 2 * HUGE:
        assert report[0]["reason"].startswith("no-huge-slot") and "panics-pie" in str(words[0])  # its random address decides
        return
    assert report[0]["outcome"] == "remapped" and report[0]["huge_bytes"] >= HUGE


@pytest.mark.parametrize("backing", BACKINGS)
def test_rust_with_its_header_in_the_text(hugexec_run, backing):
    """Newer versions of Rust look for a file at its load address: a copy is none, and then it tells no frame, but no wrong one."""
    words, status, frame = rust_program("noseparate-code")
    environment = {**os.environ, "RUST_BACKTRACE": "1"}
    plain = run(words, env=environment)
    assert len(re.findall(frame, plain.stderr)) >= 3, plain.stderr
    with pool_for(backing, 24):
        done, report = hugexec_run(words, backing=backing, env=environment)
    assert report[0]["outcome"] == "remapped" and report[0]["backing"] == backing, report
    assert done.returncode == status and "index out of bounds" in done.stderr
    assert frames_told(done) == frames_told(plain) or (backing != "file" and not re.findall(frame, done.stderr)), done.stderr
