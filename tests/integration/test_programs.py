# SPDX-License-Identifier: Apache-2.0
"""Real programs: the same output and exit status as plain, and their text on huge pages, by report and by smaps."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

from lib.machine import HUGE, pool_for
from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.programs import BACKINGS, C_SOURCE, GENERATED, UNPACKED, needed, one_builder
from lib.report import read_report
from lib.servers import SERVERS, serve
from lib.smaps import huge_text_bytes
from programs import bigtext as bigtext_generator

PROGRAM_SOURCES = pathlib.Path(__file__).resolve().parents[1] / "programs"


def cc1():
    """A copy: whoever else compiles something meanwhile maps the compiler's own in small pages."""
    path = needed(subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True,
                                 check=True).stdout.strip())
    copy = GENERATED / "cc1"
    with one_builder():
        if not copy.exists() or copy.stat().st_size != os.stat(path).st_size:
            shutil.copy(path, copy)
            os.sync()
    return str(copy)


# Programs that wait for their standard input, so that they can be looked at while they run: command and input.
INTERACTIVE = {
    "node": (lambda: [needed("/usr/bin/node"), "-e",
                      "console.log(require('fs').readFileSync(0, 'utf8').toUpperCase(), [3,1,2].sort())"], "some text"),
    "cc1": (lambda: [cc1(), "-quiet", "-O2", "-o", "-", "-"], C_SOURCE),
    "clang": (lambda: [needed("/usr/bin/clang"), "-x", "c", "-O2", "-S", "-o", "-", "-"], C_SOURCE),
    "python3": (lambda: [needed("/usr/bin/python3"), "-c", "print(sum(map(ord, input())))"], "abc\n"),
    "bash": (lambda: [needed("/bin/bash"), "-c", "read line; echo got $line; exit 5"], "abc\n"),
    "busybox": (lambda: [needed("/bin/busybox"), "cat"], "abc\n"),
}

VARIANTS = {
    "pie": ("cc",),
    "no-pie": ("cc", "-no-pie"),
    "static": ("cc", "-static"),
    "static-pie": ("cc", "-static-pie"),
    "static-pie-musl": ("musl-gcc", "-static", "-fPIE", "-Wl,-pie,--no-dynamic-linker", "-nostartfiles",
                        "/usr/lib/x86_64-linux-musl/rcrt1.o", "/usr/lib/x86_64-linux-musl/crti.o",
                        "/usr/lib/x86_64-linux-musl/crtn.o"),
    "dynamic-musl": ("musl-gcc", "-fPIE", "-pie"),
    "max-page-size-2M": ("cc", "-Wl,-z,max-page-size=0x200000"),
    "noseparate-code": ("cc", "-Wl,-z,noseparate-code"),
    "stripped": ("cc", "-s"),
    "lld": ("clang", "-fuse-ld=lld"),
}


def check_report(report, pid, backing):
    """One line, about this process, and smaps says the same."""
    assert len(report) == 1, report
    line = report[0]
    assert line["pid"] == pid
    assert line["huge_bytes"] == sum(huge_text_bytes(pid, int(each["start"], 16), int(each["end"], 16))
                                     for each in line["objects"])
    if line["outcome"] == "remapped":
        assert line["backing"] == backing and line["reason"] is None
        assert line["huge_bytes"] >= HUGE
        assert line["huge_bytes"] % HUGE == 0
        assert line["huge_bytes"] >= line["text_bytes"] - 2 * HUGE - 8192 * len(line["objects"])
        assert line["objects"][0]["build_id"] is None or len(line["objects"][0]["build_id"]) >= 16
    else:
        word = line["reason"].split(":")[0]
        # A shell or interpreter that the machine runs anyway is mapped in small pages by others.
        assert word == "no-huge-slot" or (backing == "file" and word == "file-busy")
        assert line["text_bytes"] < 2 * HUGE and line["huge_bytes"] == 0
    return line


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("name", INTERACTIVE)
def test_interactive(hugexec_command, name, backing):
    make_command, text = INTERACTIVE[name]
    command = make_command()
    plain = run(command, input=text, stdin=None)
    policy = policy_with(follow="none")
    words, report_path = hugexec_command(command, policy, backing)
    with pool_for(backing, 64):
        process = Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        wait_for(lambda: read_report(report_path), process=process)
        wait_for(lambda: status_of(process.pid)["TracerPid"] == "0", process=process)
        line = check_report(read_report(report_path), process.pid, backing)
        out, err = process.communicate(text, timeout=60)
    assert (out, err, process.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    if name == "cc1":
        assert line["outcome"] == "remapped"


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variant(hugexec_command, hugexec_run, bigtext, variant, backing):
    """Differently linked programs; each checks a sum over all of its text."""
    compiler = VARIANTS[variant]
    needed(compiler[0])
    if "-fuse-ld=lld" in compiler and not shutil.which("ld.lld"):
        pytest.skip("lld is not installed")
    program = bigtext(8, variant, compiler)
    plain = run([program, "exit", "9"])
    assert plain.returncode == 9
    with pool_for(backing, 16):
        done, report = hugexec_run([program, "exit", "9"], backing=backing)
        assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
        assert report[0]["outcome"] == "remapped" and report[0]["huge_bytes"] >= 3 * HUGE
        words, report_path = hugexec_command([program, "sleep"], backing=backing)
        with Process(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == plain.stdout
            assert process.stdout.readline() == "ready\n"
            check_report(read_report(report_path), process.pid, backing)
            process.send_signal(signal.SIGTERM)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("backing", BACKINGS)
def test_large(hugexec_run, bigtext, backing):
    program = bigtext(200)
    plain = run([program])
    with pool_for(backing, 200):
        done, report = hugexec_run([program], backing=backing)
    assert (done.stdout, done.returncode) == (plain.stdout, 0)
    assert report[0]["huge_bytes"] >= 198 << 20, report


@pytest.mark.parametrize("backing", BACKINGS)
def test_executes_itself_again(hugexec_run, bigtext, backing):
    """The first program is remapped; what it executes later is plain again, and its sum is right."""
    command = [bigtext(8), "again", "3"]
    plain = run(command)
    with pool_for(backing, 16):
        done, report = hugexec_run(command, backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 0)
    assert [line["outcome"] for line in report] == ["remapped"]


@pytest.mark.parametrize("backing", BACKINGS)
def test_deleted_after_start(hugexec_run, bigtext, tmp_path, backing):
    copy = tmp_path / "bigtext"
    shutil.copy(bigtext(8), copy)
    os.sync()  # dirty pages are never dropped
    with pool_for(backing, 16):
        done, report = hugexec_run([copy, "unlink"], backing=backing)
    assert done.returncode == 0 and done.stdout.endswith("unlinked\n")
    assert report[0]["outcome"] == "remapped" and not copy.exists()


@pytest.mark.parametrize("backing", BACKINGS)
def test_cxx_exceptions(hugexec_run, backing):
    needed("c++")
    program = GENERATED / "throws"
    newest = max((PROGRAM_SOURCES / f"throws.{end}").stat().st_mtime for end in ("cc", "py"))
    with one_builder():
        if not program.exists() or program.stat().st_mtime < newest:
            subprocess.run([sys.executable, PROGRAM_SOURCES / "throws.py", program], check=True)
            os.sync()
    plain = run([program])
    assert "100 exceptions" in plain.stdout
    with pool_for(backing, 16):
        done, report = hugexec_run([program], backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, 0)
    assert report[0]["outcome"] == "remapped"


GO_SOURCE = """package main

import ("crypto/sha256"; "fmt"; "net/http"; "runtime"; "sort"; "sync"; "encoding/json"; "html/template"; "os")

func main() {
	if len(os.Args) > 9 {
		panic(http.ListenAndServe(os.Args[9], nil))
	}
	var group sync.WaitGroup
	sums := make([]string, 64)
	for i := range sums {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for k := 0; k < 40; k++ { sums[i] = fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(i, k)))) ; runtime.GC() }
		}(i)
	}
	group.Wait()
	sort.Strings(sums)
	text, _ := json.Marshal(sums[:2])
	fmt.Println(string(text), http.StatusText(404), template.HTMLEscapeString("<>"))
	defer fmt.Println("deferred")
	var nothing *int
	defer func() { fmt.Println("recovered:", recover()) }()
	fmt.Println(*nothing)
}
"""


@pytest.mark.parametrize("backing", BACKINGS)
def test_go_program(hugexec_run, backing):
    """Go preempts with SIGURG and turns SIGSEGV into a panic: signals must find their handlers in the copied text."""
    root = UNPACKED / "usr/lib/go-1.19"
    go = needed(root / "bin" / "go")
    program = GENERATED / "go-program"
    with one_builder():
        if not program.exists():
            source = GENERATED / "program.go"
            source.write_text(GO_SOURCE)
            environment = {**os.environ, "GOROOT": str(root), "GOCACHE": str(GENERATED / "go-cache"),
                           "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0", "GO111MODULE": "off"}
            subprocess.run([go, "build", "-o", program, source], check=True, env=environment)
            os.sync()
    plain = run([program])
    assert "recovered:" in plain.stdout
    with pool_for(backing, 16):
        done, report = hugexec_run([program], backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    assert report[0]["outcome"] == "remapped"


@pytest.mark.parametrize("backing", BACKINGS)
def test_podman(hugexec_run, backing):
    command = [needed(UNPACKED / "usr/bin/podman"), "--version"]
    plain = run(command)
    with pool_for(backing, 32):
        done, report = hugexec_run(command, backing=backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    assert plain.returncode == 0 and report[0]["outcome"] == "remapped"


@pytest.mark.parametrize("backing", BACKINGS)
@pytest.mark.parametrize("name", SERVERS)
def test_server(hugexec_command, tmp_path, name, backing):
    plain_folder, our_folder = tmp_path / "plain", tmp_path / "ours"
    plain_folder.mkdir()
    our_folder.mkdir()
    plain = serve(*SERVERS[name](plain_folder))
    command, is_ready = SERVERS[name](our_folder)
    words, report_path = hugexec_command(command, backing=backing)
    if command[0] == "setpriv":  # the program that is meant comes after setpriv, as that user
        split = command.index("--clear-groups") + 1
        words, report_path = hugexec_command(command[split:], backing=backing)
        words = [*command[:split], *words]
        report_path.touch()
        report_path.chmod(0o666)

    def look(pid):
        assert check_report(read_report(report_path), pid, backing)["outcome"] == "remapped"
        assert status_of(pid)["TracerPid"] == "0"

    with pool_for(backing, 32):
        ours = serve(words, is_ready, look)
    assert ours == plain


def test_small_text_is_left_alone(hugexec_command, bigtext):
    """Text below min_text: untouched, and untraced once the follow timeout is over."""
    program = bigtext(4)
    policy = policy_with(min_text="64M", follow_timeout=1)
    words, report_path = hugexec_command([program, "sleep"], policy)
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: status_of(process.pid)["TracerPid"] == "0", process=process)
        assert huge_text_bytes(process.pid) == 0
        process.terminate()
    wait_for(lambda: read_report(report_path))
    assert [line["outcome"] for line in read_report(report_path)] == ["skipped"]
    assert read_report(report_path)[0]["reason"].startswith("text-small: ")


def test_small_text_without_follow_is_let_go_at_once(hugexec_command, bigtext):
    words, report_path = hugexec_command([bigtext(4), "sleep"], policy_with(min_text="64M", follow="none"))
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        assert status_of(process.pid)["TracerPid"] == "0"
        assert not pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.terminate()
    assert read_report(report_path)[0]["reason"].startswith("text-small: ")


# More than a slot of pointers, so that some slot behind the text holds nothing else.
RELRO_LIBRARY = """
const char *const names[] = {[0 ... 600000] = "name"};
const unsigned name_count = sizeof names / sizeof names[0];
"""
RELRO_PROGRAM = """
#include <stdio.h>
extern const char *const names[];
extern const unsigned name_count;
int main(void) { unsigned sum = 0; for (unsigned i = 0; i < name_count; i++) sum += names[i][i % 4]; return printf("%u\\n", sum) < 0; }
"""


@pytest.mark.parametrize("backing", ["hugetlb", "thp"])
def test_rounding_out_stops_at_relro(hugexec_run, tmp_path, backing):
    """What ld.so has relocated and then made read-only is the library's own read-only memory, but not what its file says."""
    (tmp_path / "text.s").write_text(bigtext_generator.assembly(3))
    (tmp_path / "names.c").write_text(RELRO_LIBRARY)
    (tmp_path / "main.c").write_text(RELRO_PROGRAM)
    library, program = tmp_path / "libnames.so", tmp_path / "names"
    run(["cc", "-shared", "-fPIC", "-Wl,-z,relro,-z,now", "-o", library, tmp_path / "names.c", tmp_path / "text.s"], check=True)
    run(["cc", "-o", program, tmp_path / "main.c", library], check=True)
    plain = run([program], check=True)
    policy = policy_with(libraries={"include": [str(library)]}, round_out=True)
    with pool_for(backing, 16):
        done, report = hugexec_run([program], policy, backing)
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, "", 0)
    assert [line["outcome"] for line in report] == ["remapped"]
