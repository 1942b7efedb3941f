# SPDX-License-Identifier: Apache-2.0
"""Tools that look at a program from outside see the same under the file backing: perf, gdb, cores, uprobes, ps."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from lib.machine import pool_for
from lib.policies import policy_with
from lib.process import Process, run
from lib.programs import BACKINGS, GENERATED, one_builder
from lib.report import read_report
from lib.smaps import HUGE_COUNTS, huge_text_bytes, smaps
from lib.surroundings import ROOT, own_mounts
from programs import bigtext as generator

FRAMES = ["hot_innermost", "hot_middle", "hot_outer", "main"]


@pytest.fixture(scope="module")
def hot():
    path, pad, text = GENERATED / "hot", GENERATED / "hot-pad.s", GENERATED / "hot.s"
    source = ROOT / "tests" / "programs" / "hot.c"
    with one_builder():
        if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime, pathlib.Path(__file__).stat().st_mtime):
            # Code before it and behind it, so that hot's own lies in the middle of huge pages.
            pad.write_text("\t.text\n\t.skip 0x400000, 0xcc\n\t.section .note.GNU-stack,\"\",@progbits\n")
            text.write_text(generator.assembly(8))
            subprocess.run(["cc", "-g", "-O1", "-fno-omit-frame-pointer", "-o", path, pad, source, text], check=True)
    os.sync()
    return str(path)


def needed(tool):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    return tool


@contextlib.contextmanager
def running(words):
    """A program that has printed "ready"."""
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def own_address(pid, program, function):
    """Where a function of a position-independent program is: behind its headers, as far as it was linked to be."""
    auxv = pathlib.Path(f"/proc/{pid}/auxv").read_bytes()
    headers = next(int.from_bytes(auxv[i + 8:i + 16], "little") for i in range(0, len(auxv), 16) if auxv[i] == 3)
    return headers - 64 + linked_address(program, function)


def linked_address(program, function):
    return int(re.search(rf"^([0-9a-f]+) T {function}$", run(["nm", program]).stdout, re.M).group(1), 16)


def frames_of(text):
    """The names in a gdb backtrace from the first of FRAMES on."""
    names = re.findall(r"^#\d+\s+(?:0x[0-9a-f]+ in )?([\w.@]+) \(", text, re.M)
    return names[names.index(FRAMES[0]):] if FRAMES[0] in names else names


@pytest.mark.parametrize("backing", BACKINGS)
def test_gdb_attached(hugexec_command, hot, backing):
    needed("gdb")
    words, report = hugexec_command([hot, "wait"], backing=backing)
    with pool_for(backing, 16), running(words) as pid:
        assert read_report(report)[0]["outcome"] == "remapped"
        at = own_address(pid, hot, "hot_innermost")
        inside, = [entry for entry in smaps(pid) if entry["start"] <= at < entry["end"]]
        assert sum(inside.get(count, 0) for count in HUGE_COUNTS) >= 4 << 20  # what gdb looks at is on huge pages
        told = run(["gdb", "-nx", "-batch", "-p", pid, "-ex", "bt"]).stdout
    assert frames_of(told) == FRAMES, told


def test_auxv_and_stat_agree(hugexec_command, hot):
    """After rebasing, the kernel's auxv, its code and data addresses and the mappings are about the same place."""
    words, report = hugexec_command([hot, "wait"], backing="file")
    with running(words) as pid:
        assert read_report(report)[0]["rebased"] is True
        auxv = pathlib.Path(f"/proc/{pid}/auxv").read_bytes()
        pairs = {int.from_bytes(auxv[i:i + 8], "little"): int.from_bytes(auxv[i + 8:i + 16], "little")
                 for i in range(0, len(auxv), 16)}
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        start_code, end_code = int(stat[23]), int(stat[24])
        start_data, end_data = int(stat[42]), int(stat[43])
        entries = smaps(pid)
    own = [entry for entry in entries if entry["path"] == hot]
    text = [entry for entry in own if "x" in entry["perms"]]
    assert own[0]["start"] <= pairs[3] < own[0]["end"]  # AT_PHDR
    assert text[0]["start"] <= pairs[9] < text[-1]["end"]  # AT_ENTRY
    assert own[0]["start"] <= start_code < end_code <= text[-1]["end"]
    assert own[0]["start"] < start_data < end_data <= own[-1]["end"]
    assert all((entry["start"] - entry["offset"]) % (2 << 20) == 0 for entry in text)


@pytest.fixture
def core_folder(tmp_path):
    """Cores land in a folder of the test's; the machine's pattern is put back."""
    pattern = pathlib.Path("/proc/sys/kernel/core_pattern")
    if not os.access(pattern, os.W_OK):
        pytest.skip("core_pattern cannot be changed here")
    before = pattern.read_text()
    folder = tmp_path / "cores"
    folder.mkdir()
    try:
        pattern.write_text(f"{folder}/core.%p")
        yield folder
    finally:
        pattern.write_text(before)


@pytest.mark.alone
@pytest.mark.parametrize("backing", BACKINGS)
def test_core_file(hugexec_command, hot, core_folder, backing):
    needed("gdb")

    def dump(words):
        done = run(["prlimit", "--core=unlimited:unlimited", *words])
        assert done.returncode == -signal.SIGABRT
        core, = core_folder.iterdir()
        told = run(["gdb", "-nx", "-batch", "-ex", "bt", hot, core]).stdout
        # coredumpctl info prints what libdw finds in the core file alone, as eu-stack does.
        alone = run(["eu-stack", f"--core={core}"]).stdout if shutil.which("eu-stack") else ""
        size = core.stat().st_size
        core.unlink()
        return frames_of(told), size, re.findall(r"^#\d+\s+0x\w+ *(\S*)", alone, re.M)

    plain_frames, plain_bytes, plain_alone = dump([hot, "abort"])
    words, report = hugexec_command([hot, "abort"], backing=backing)
    with pool_for(backing, 16):
        frames, core_bytes, alone = dump(words)
    assert read_report(report)[0]["outcome"] == "remapped"
    assert plain_frames == frames == FRAMES
    if plain_alone:
        assert plain_alone[3:7] == FRAMES, plain_alone
        assert alone[3:7] == (FRAMES if backing == "file" else [""] * 4)  # with a copy the frames without their names
    assert core_bytes <= plain_bytes + (1 << 20)


def test_perf_names_functions(hugexec_command, hot, tmp_path):
    needed("perf")

    def hottest(words, name):
        data = tmp_path / f"{name}.data"
        done = run(["perf", "record", "-q", "-e", "cpu-clock", "-o", data, "--", *words])
        if done.returncode not in (0, 1) or not data.exists():
            pytest.skip(f"perf record does not work here: {done.stderr}")
        told = run(["perf", "report", "-i", data, "--stdio", "--sort=sym", "-g", "none"]).stdout
        lines = [line.split() for line in told.splitlines() if line.strip() and not line.startswith("#")]
        return lines[0][-1] if lines else "nothing"

    plain = hottest([hot, "spin"], "plain")
    if plain != "hot_innermost":
        pytest.skip(f"perf does not name functions here ({plain})")
    words, report = hugexec_command([hot, "spin"], backing="file")
    assert hottest(words, "ours") == plain
    assert read_report(report)[0]["outcome"] == "remapped"


def test_perf_that_was_running_before(hugexec_command, hot, tmp_path):
    """A system-wide perf sees the rebased text's mapping as an event of its own."""
    needed("perf")
    data = tmp_path / "all.data"
    program = shutil.copy(hot, tmp_path / f"hot-{os.getpid()}")  # another may spin beside this run
    os.sync()
    words, report = hugexec_command([program, "spin"], backing="file")
    done = run(["perf", "record", "-q", "-a", "-e", "cpu-clock", "-o", data, "--", *words])
    if not data.exists():
        pytest.skip(f"perf record -a does not work here: {done.stderr}")
    if done.returncode != 0 and not read_report(report):
        pytest.skip(f"perf record -a is refused: {done.stderr}")
    assert read_report(report)[0]["rebased"] is True
    told = run(["perf", "report", "-i", data, "--stdio", "--sort=sym", "--comm", pathlib.Path(program).name, "-g", "none"]).stdout
    assert "hot_innermost" in told, told


def append(path, text):
    """tracefs cannot seek, which open(..., "a") does."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@pytest.mark.parametrize("backing,hits_expected", [("file", 7), ("thp", 0)])
def test_uprobe(hugexec_command, hot, backing, hits_expected):
    """A probe on a function of the file hits in the rebased, huge-mapped program; a copy is not the file."""
    tracing = pathlib.Path("/sys/kernel/tracing")
    mounted = False
    events = tracing / "uprobe_events"
    if not os.access(events, os.W_OK):
        mounted = own_mounts() and run(["mount", "-t", "tracefs", "tracefs", tracing]).returncode == 0
    try:
        if not os.access(events, os.W_OK):
            pytest.skip("no tracefs with uprobes that we may set here")
        address = linked_address(hot, "hot_innermost")
        group = f"hugexec_test_{os.getpid()}"  # another run may be at work beside this one
        append(events, f"p:{group}/hot {hot}:{address:#x}\n")
        try:
            event = tracing / "events" / group / "hot"
            (event / "enable").write_text("1")
            words, report = hugexec_command([hot, "call", "7"], backing=backing)
            assert run(words).returncode == 0
            assert read_report(report)[0]["outcome"] == "remapped"
            hits = "".join(line for line in (tracing / "uprobe_profile").open() if f"{hot} " in line)
            (event / "enable").write_text("0")
        finally:
            append(events, f"-:{group}/hot\n")
        assert re.search(rf"\bhot\s+{hits_expected}\s", hits), hits
    finally:
        if mounted:
            run(["umount", tracing])


def test_eight_processes_share_one_text(hugexec_command, bigtext, tmp_path):
    """Proportional set sizes over the text add up to one text, and a little."""
    program = str(tmp_path / "bigtext")  # a file of the test's own: another that others run in small pages could not be had
    shutil.copy(bigtext(62), program)
    os.sync()
    # A loaded machine may take longer to read the file than a workload should wait; this is not about time.
    policy = policy_with(file_timeout="60s")
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(8):
            words, report = hugexec_command([program, "sleep"], policy, "file")
            process = stack.enter_context(Process(words, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            processes.append(process)
            assert process.stdout.readline().startswith("bigtext:")
            assert process.stdout.readline() == "ready\n"
            line = read_report(report)[0]
            assert line["backing"] == "file" and line["reason"] is None, line
        pss = sum(entry["Pss"] for process in processes for entry in smaps(process.pid)
                  if entry["path"] == program and "x" in entry["perms"])
        assert 0.9 * line["text_bytes"] <= pss <= 1.05 * line["text_bytes"]
        assert all(huge_text_bytes(process.pid) >= line["text_bytes"] - (4 << 20) for process in processes)


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_libraries(hugexec_command, backing):
    """Text that lies in libraries: clang's own is tiny, libLLVM's and libclang-cpp's are not."""
    needed("clang")
    command = ["clang", "-O2", "-S", "-o", "-", "-x", "c", "-"]
    source = "int square(int n) { return n * n; }\n"
    plain = run(command, input=source, stdin=None)
    policy = policy_with(libraries=True, min_text="1M", follow="none", file_timeout="20s")
    words, report = hugexec_command(command, policy, backing)
    ours = run(words, input=source, stdin=None)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    line = read_report(report)[0]
    llvm = [each for each in line["objects"] if "LLVM" in each["path"]]
    if not llvm:
        pytest.skip("this clang is linked statically")
    if backing == "thp":
        assert line["outcome"] == "remapped" and llvm[0]["huge_bytes"] >= llvm[0]["text_bytes"] - (4 << 20)
    else:
        assert llvm[0]["huge_bytes"] > 0 or llvm[0]["prepared_bytes"] > 0 or "file-busy" in llvm[0]["reason"]


def test_libraries_include_and_exclude(hugexec_command):
    needed("clang")
    for libraries, wanted in ({"include": ["**/libLLVM*"]}, "LLVM"), ({"exclude": ["**/libLLVM*", "**/libz3*"]}, "clang-cpp"):
        policy = policy_with(libraries=libraries, min_text="20M", follow="none")
        words, report = hugexec_command(["clang", "--version"], policy, "thp")
        assert run(words).returncode == 0
        paths = [each["path"] for each in read_report(report)[0]["objects"][1:]]
        assert len(paths) == 1 and wanted in paths[0], paths


# A probe with a semaphore, as USDT probes have that are asked whether anybody listens.
LISTENED = r"""
#include <stdio.h>
#include <unistd.h>
__attribute__((section(".probes"))) volatile unsigned short semaphore = 0;
__attribute__((noinline)) int probed(int x) { asm volatile("nop"); return x + 1; }
int main(void)
{
	for (int i = 0; i < 3; i++)
		probed(i);
	printf("%d\n", semaphore);
	fflush(stdout);
	read(0, &(char){0}, 1);
	printf("%d\n", semaphore);
	return 0;
}
"""
MOUNT_TRACEFS = '{ [ -e /sys/kernel/tracing/uprobe_events ] || mount -t tracefs none /sys/kernel/tracing; } '
IN_TRACEFS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
              MOUNT_TRACEFS + '&& echo "$1" >>/sys/kernel/tracing/uprobe_events', "sh"]


@pytest.fixture
def listened(tmp_path):
    """A program with a probe that somebody listens to; and how to have nobody listen any more."""
    (tmp_path / "text.s").write_text(generator.assembly(8))
    (tmp_path / "listened.c").write_text(LISTENED)
    subprocess.run(["cc", "-O1", "-w", "-o", "listened", "listened.c", "text.s"], cwd=tmp_path, check=True)
    os.sync()
    symbols = subprocess.run(["readelf", "--wide", "--syms", "--section-headers", tmp_path / "listened"], capture_output=True, text=True, check=True).stdout
    probed = int(re.search(r"(\w+)\s+\d+ FUNC\s+GLOBAL DEFAULT\s+\d+ probed", symbols)[1], 16)  # text: offset is address
    semaphore = int(re.search(r"(\w+)\s+\d+ OBJECT\s+GLOBAL DEFAULT\s+\d+ semaphore", symbols)[1], 16)
    section = re.search(r"\.probes\s+PROGBITS\s+(\w+)\s+(\w+)", symbols)
    name = f"hugexec_{os.getpid()}/listened"
    done = subprocess.run([*IN_TRACEFS, f"p:{name} {tmp_path}/listened:{probed:#x}({semaphore - int(section[1], 16) + int(section[2], 16):#x})"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no uprobes can be had here: {done.stderr}")

    def switch(value):
        subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                        MOUNT_TRACEFS + '&& echo "$1" >"/sys/kernel/tracing/events/$2/enable"', "sh", value, name], check=True)

    switch("1")
    yield tmp_path / "listened", switch
    switch("0")
    subprocess.run([*IN_TRACEFS, f"-:{name}"], check=True)


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_semaphore_of_a_probe(hugexec_command, listened, backing):
    """Counted once, and no more when nobody listens. In a copy a probe does not fire: at fixed addresses it is in front of the first slot."""
    program, switch = listened
    words, report = hugexec_command([program], policy_with(), backing)
    fixed = ["setarch", "-R"] if backing == "thp" else []
    for command in ([program], [*fixed, *words]):
        switch("1")
        with Process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            first = process.stdout.readline()
            switch("0")
            assert (first, process.communicate("\n", timeout=120)[0], process.returncode) == ("1\n", "0\n", 0)
    line = read_report(report)[-1]
    assert (line["outcome"], line["rebased"]) == ("remapped", backing == "file"), line
