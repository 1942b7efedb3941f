# SPDX-License-Identifier: Apache-2.0
"""perf_map: /tmp/perf-PID.map names the functions of a private copy, for the workload's user alone, whatever /tmp holds."""
import contextlib
import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

from lib.machine import HUGE, take_hugetlb_pool
from lib.policies import PATIENT, policy_with
from lib.process import Process, run, wait_for
from lib.report import read_report
from lib.smaps import smaps

POLICY = policy_with(perf_map=True)
NOBODY = 65534


def map_of(pid):
    return pathlib.Path(f"/tmp/perf-{pid}.map")


@contextlib.contextmanager
def started(words, report):
    with Process(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        try:
            wait_for(lambda: read_report(report), process=process)
            yield process, read_report(report)[-1]
        finally:
            process.kill()


def functions(program):
    """(name, address as linked, bytes) of the program's functions."""
    lines = re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [tTwWi] (\S+)$", run(["nm", "-S", program]).stdout, re.M)
    return [(name, int(address, 16), int(size, 16)) for address, size, name in lines if int(size, 16)]


@pytest.mark.parametrize("backing", ["thp", "hugetlb"])
@pytest.mark.parametrize("variant", [("pie", ("cc",)), ("no-pie", ("cc", "-no-pie")), ("static-pie", ("cc", "-static-pie"))],
                         ids=lambda variant: variant[0])
def test_every_function_of_the_copy_is_there(hugexec_command, bigtext, backing, variant):
    program = bigtext(8, *variant)
    words, report = hugexec_command([program, "sleep"], POLICY, backing)
    pool = take_hugetlb_pool(16) if backing == "hugetlb" else contextlib.nullcontext()
    with pool, started(words, report) as (process, line):
        assert line["backing"] == backing and line["reason"] is None
        path = map_of(process.pid)
        info = path.lstat()
        assert stat.S_ISREG(info.st_mode) and stat.S_IMODE(info.st_mode) == 0o600
        assert (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())
        entries = smaps(process.pid)
        text = path.read_text()
    copy, = [entry for entry in entries if entry["path"].startswith("/memfd:") and "x" in entry["perms"]]
    base = next(entry["start"] for entry in entries if entry["path"] == program)
    base = 0 if variant[0] == "no-pie" else base
    told = {(name, int(start, 16), int(size, 16)) for start, size, name in map(str.split, text.splitlines())}
    expected = set()
    for name, address, size in functions(program):
        start, end = max(base + address, copy["start"]), min(base + address + size, copy["end"])
        if start < end:
            expected.add((name, start, end - start))
    assert len(expected) >= copy["end"] // HUGE - copy["start"] // HUGE
    assert told == expected


def hottest(data):
    told = run(["perf", "report", "-i", data, "--stdio", "--sort=sym", "-g", "none"]).stdout
    return {line.split()[-1] for line in told.splitlines() if "[.]" in line and float(line.split("%")[0]) >= 1}


@pytest.mark.parametrize("backing", ["thp", "hugetlb"])
def test_perf_report_names_functions(hugexec_command, bigtext, tmp_path, backing):
    """perf that comes later asks the map for what it takes for anonymous memory: so the copy's name is changed in its data."""
    if not shutil.which("perf"):
        pytest.skip("perf is not installed")
    words, report = hugexec_command([bigtext(8), "loop", "1000000000"], POLICY, backing)
    pool = take_hugetlb_pool(16) if backing == "hugetlb" else contextlib.nullcontext()
    data = tmp_path / "perf.data"
    with pool, started(words, report) as (process, _):
        done = run(["perf", "record", "-q", "-e", "cpu-clock", "-o", data, "-p", process.pid, "--", "sleep", "1"])
        if not data.exists():
            pytest.skip(f"perf record does not work here: {done.stderr}")
        copy, = [entry for entry in smaps(process.pid) if entry["path"].startswith("/memfd:") and "x" in entry["perms"]]
        inside = {line.split()[2] for line in map_of(process.pid).read_text().splitlines()}
        plain = hottest(data)
        data.write_bytes(data.read_bytes().replace(b"/memfd:", b"/SYSV00"))
        named = hottest(data)
    work = {name for name in named if name.startswith("work_")}
    if not work:
        pytest.skip("perf names no function here")
    assert copy["end"] - copy["start"] >= 3 * HUGE
    assert len(work & inside) >= 10 and not any(name.startswith("0x") for name in named), named
    assert len(work - plain) >= 10  # without the map those had no name


def test_perf_that_ran_before_needs_no_map(hugexec_command, bigtext, tmp_path):
    if not shutil.which("perf"):
        pytest.skip("perf is not installed")
    data = tmp_path / "perf.data"
    words, report = hugexec_command([bigtext(8), "loop", "2000"], backing="thp")
    done = run(["perf", "record", "-q", "-e", "cpu-clock", "-o", data, "--", *words])
    if not data.exists():
        pytest.skip(f"perf record does not work here: {done.stderr}")
    assert read_report(report)[0]["backing"] == "thp"
    named = hottest(data)
    if not named:
        pytest.skip("perf names no function here")
    assert not any(name.startswith("0x") for name in named) and any(name.startswith("work_") for name in named), named


def plant(kind, path):
    if kind == "symlink":
        return f'ln -s {path}/victim "$map"'
    if kind == "dangling":
        return f'ln -s {path}/nothing "$map"'
    if kind == "fifo":
        return 'mkfifo "$map"'
    if kind == "folder":
        return 'mkdir "$map"'
    if kind == "other":
        return 'echo precious >"$map"; chown 65534 "$map"'
    return f'ln {path}/victim "$map"'  # a second name of a file that is the user's own


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "folder", "other", "hardlink"])
def test_planted(hugexec_command, bigtext, kind):
    """What somebody else put under that name is neither followed nor changed; the program runs all the same."""
    if kind == "other" and os.geteuid() != 0:
        pytest.skip("a file of another user takes root")
    folder = pathlib.Path(f"/tmp/perf-planted-{os.getpid()}")
    folder.mkdir()
    try:
        victim = folder / "victim"
        victim.write_text("precious\n")
        words, report = hugexec_command([bigtext(8), "sleep"], POLICY, "thp")
        script = f'map=/tmp/perf-$$.map; rm -rf "$map"; {plant(kind, folder)}; exec "$@"'
        with started(["sh", "-c", script, "sh", *words], report) as (process, line):
            assert line["outcome"] == "remapped" and line["backing"] == "thp"
            assert line["reason"].startswith("perf-map: "), line
            info = map_of(process.pid).lstat()
            kinds = {"symlink": stat.S_ISLNK, "dangling": stat.S_ISLNK, "fifo": stat.S_ISFIFO, "folder": stat.S_ISDIR}
            assert kinds.get(kind, stat.S_ISREG)(info.st_mode)
            if kind == "other":
                assert map_of(process.pid).read_text() == "precious\n" and info.st_uid == NOBODY
            assert process.stdout.readline().startswith("bigtext:")
        assert victim.read_text() == "precious\n" and not (folder / "nothing").exists()
    finally:
        shutil.rmtree(folder)


def test_map_of_an_earlier_process_is_replaced(hugexec_command, bigtext):
    words, report = hugexec_command([bigtext(8), "sleep"], POLICY, "thp")
    report.touch()
    with started(["sh", "-c", 'umask 777; echo old >/tmp/perf-$$.map; exec "$@"', "sh", *words], report) as (process, line):
        assert line["reason"] is None
        assert "work_" in map_of(process.pid).read_text() and "old" not in map_of(process.pid).read_text()
        assert stat.S_IMODE(map_of(process.pid).stat().st_mode) == 0o600


@pytest.mark.parametrize("order", ["user first", "hugexec first"])
def test_map_is_the_workloads_own(hugexec_command, bigtext, nobody, public_folder, order):
    """Also where hugexec is root and the workload has become somebody else since."""
    copy = public_folder / "bigtext"
    shutil.copy(bigtext(8), copy)
    policy = {"version": 1, "rules": [{"name": "one", "match": {"exe": str(copy)}, "min_text": 0, "perf_map": True, **PATIENT}]}
    words, report = hugexec_command([copy, "sleep"], policy, "thp")
    report.touch()
    report.chmod(0o666)
    if order == "hugexec first":
        words, report = hugexec_command([*nobody, copy, "sleep"], policy, "thp")
    else:
        words = [*nobody, *words]
    with started(words, report) as (process, line):
        assert line["outcome"] == "remapped" and line["reason"] is None
        info = map_of(process.pid).stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (NOBODY, NOBODY, 0o600)


def test_number_and_tmp_of_the_workloads_namespaces(hugexec_command, bigtext, tmp_path):
    if run(["unshare", "-pfm", "true"]).returncode != 0:
        pytest.skip("no namespaces can be made here")
    own = tmp_path / "own"
    own.mkdir()
    policy = {"version": 1, "rules": [{"name": "one", "match": {"exe": "/tmp/bigtext"}, "min_text": 0, "perf_map": True, **PATIENT},
                                      {"match": {}, "min_text": "1G", "follow": "fork"}]}
    script = 'mount -t tmpfs tmpfs "$0" && cp "$1" "$0"/bigtext && mount --bind "$0" /tmp && exec /tmp/bigtext sleep'
    words, report = hugexec_command(["unshare", "-pfm", "--kill-child", "sh", "-c", script, own, bigtext(8)], policy, "thp")
    with Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: any(line["outcome"] == "remapped" for line in read_report(report)), process=process)
            line, = [line for line in read_report(report) if line["outcome"] == "remapped"]
            inner = pathlib.Path(f"/proc/{line['pid']}/root/tmp/perf-1.map")
            assert line["reason"] is None and "work_" in inner.read_text()
            assert not map_of(1).exists() and not map_of(line["pid"]).exists()
        finally:
            process.kill()


def test_tmp_that_leads_out_of_the_root(hugexec_command, bigtext, tmp_path):
    """The workload's /tmp is looked up inside its root."""
    if os.geteuid() != 0:
        pytest.skip("chroot takes root")
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    shutil.copy(bigtext(8, "static", ("cc", "-static")), root / "bigtext")
    (root / "tmp").symlink_to(outside)
    policy = {"version": 1, "rules": [{"match": {"exe": ["/bigtext", f"{root}/bigtext"]}, "min_text": 0, "perf_map": True, **PATIENT}]}
    words, report = hugexec_command(["chroot", root, "/bigtext"], policy, "thp")
    assert run(words).returncode == 0
    line = read_report(report)[-1]
    assert line["outcome"] == "remapped" and line["reason"].startswith("perf-map: the workload's /tmp"), line
    assert not list(outside.iterdir())


def test_backing_file_needs_none(hugexec_command, bigtext):
    words, report = hugexec_command([bigtext(8), "sleep"], POLICY, "file")
    with started(words, report) as (process, line):
        assert (line["backing"], line["reason"]) == ("file", None)
        assert not map_of(process.pid).exists()


def test_stripped_program_has_what_it_exports(hugexec_command, bigtext):
    words, report = hugexec_command([bigtext(8, "stripped", ("cc", "-s")), "sleep"], POLICY, "thp")
    with started(words, report) as (process, line):
        assert line["reason"] is None and map_of(process.pid).read_text() == ""


def test_names_that_would_forge_lines(hugexec_command, bigtext, tmp_path):
    program = tmp_path / "forged"
    run(["objcopy", "--redefine-sym", "work_12=ev\nil \x1b[2J\u00fc", bigtext(8), program], check=True)
    words, report = hugexec_command([program, "sleep"], POLICY, "thp")
    with started(words, report) as (process, line):
        assert line["reason"] is None
        text = map_of(process.pid).read_bytes()
    assert b" ev?il??[2J??\n" in text
    assert all(re.fullmatch(rb"[0-9a-f]+ [0-9a-f]+ [!-~]+", each) for each in text.splitlines())


# Of a section header: where in the file, how many bytes, which section has the names, how large an entry is.
ABSURD = {"offset": (24, 8, 1 << 62), "bytes": (32, 8, 1 << 62), "many bytes": (32, 8, 1 << 31), "no bytes": (32, 8, 0),
          "names": (40, 4, (1 << 32) - 1), "entry": (56, 8, 1), "no entry": (56, 8, 0)}


@pytest.mark.parametrize("field", ABSURD)
def test_absurd_symbol_tables(hugexec_run, bigtext, tmp_path, field):
    """A section header that lies about the symbols: the program runs on huge pages, with a map or the reason why there is none."""
    image = bytearray(pathlib.Path(bigtext(8)).read_bytes())
    headers, count = int.from_bytes(image[40:48], "little"), int.from_bytes(image[60:62], "little")
    at = next(at for at in range(headers, headers + 64 * count, 64) if int.from_bytes(image[at + 4:at + 8], "little") == 2)
    place, size, value = ABSURD[field]
    image[at + place:at + place + size] = value.to_bytes(size, "little")
    program = tmp_path / "absurd"
    program.write_bytes(image)
    program.chmod(0o755)
    done, report = hugexec_run([program], POLICY, "thp")
    assert done.returncode == 0 and done.stdout == run([bigtext(8)]).stdout
    assert report[0]["outcome"] == "remapped" and report[0]["huge_bytes"] >= 3 * HUGE
    assert report[0]["reason"] is None or report[0]["reason"].startswith("perf-map: its symbols"), report


def test_libraries_are_added(hugexec_command):
    clang = shutil.which("clang")
    if not clang:
        pytest.skip("clang is not installed")
    policy = policy_with(perf_map=True, libraries=True, min_text="1M", follow="none")
    words, report = hugexec_command([clang, "--version"], policy, "thp")
    with Process(words, stdout=subprocess.DEVNULL) as process:
        process.wait(60)
        assert read_report(report)[0]["outcome"] == "remapped"
        lines = [line.split() for line in map_of(process.pid).read_text().splitlines()]
    objects = [each for each in read_report(report)[0]["objects"] if each["huge_bytes"] and each["backing"] == "thp"]
    assert len(objects) >= 2
    for each in objects:
        inside = [line for line in lines if int(each["start"], 16) <= int(line[0], 16) < int(each["end"], 16)]
        assert len(inside) > 10, each
