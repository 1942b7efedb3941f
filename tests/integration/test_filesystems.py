# SPDX-License-Identifier: Apache-2.0
"""The file backing by filesystem: every whole 2 MiB slot of the text on huge pages in place, or a reason and the next one."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib.filesystems import image, overlay_above_ext4
from lib.machine import HUGE, mounted
from lib.policies import policy_with
from lib.process import Process, run
from lib.report import read_report
from lib.smaps import huge_text_bytes, smaps
from lib.surroundings import PROGRAMS

UNPACKED = PROGRAMS / "root"
# What Linux can do there; "either" where it hangs on the kernel's version.
FILESYSTEMS = {"ext4": "huge", "xfs": "huge", "btrfs": "either", "overlay": "huge", "tmpfs": "huge"}


@contextlib.contextmanager
def tmpfs(folder, mib):
    with mounted(["-t", "tmpfs", "-o", f"huge=advise,size={mib}M", "tmpfs"], folder / "mnt") as target:
        yield target


@pytest.fixture(scope="module", params=FILESYSTEMS)
def filesystem(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    makers = {"overlay": overlay_above_ext4, "tmpfs": tmpfs}
    make = makers.get(request.param, lambda *words: image(request.param, *words))
    with make(folder, 1500) as target:
        yield request.param, target


def whole_slots(path):
    """Bytes of the whole 2 MiB slots of the file inside its executable segments."""
    told = run(["readelf", "-lW", path]).stdout
    total = 0
    for offset, size in re.findall(r"LOAD\s+(0x\w+)\s+0x\w+\s+0x\w+\s+(0x\w+)\s+0x\w+\s+R E", told):
        start = int(offset, 16) // 4096 * 4096
        end = -(-(int(offset, 16) + int(size, 16)) // 4096) * 4096
        total += max(0, end // HUGE - -(-start // HUGE)) * HUGE
    return total


def cc1():
    return subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()


PROGRAMS_TO_TRY = {
    "prometheus": lambda: (UNPACKED / "usr/bin/prometheus", ["--version"]),
    "mariadbd": lambda: (UNPACKED / "usr/sbin/mariadbd", ["--version"]),
    "postgres": lambda: (UNPACKED / "usr/lib/postgresql/15/bin/postgres", ["--version"]),
    "node": lambda: (pathlib.Path("/usr/bin/node"), ["-p", "6 * 7"]),
    "cc1": lambda: (pathlib.Path(cc1()), ["--version"]),
}


def copy_to(target, path):
    if not path.exists():
        pytest.skip(f"{path} is not there (tests/get-programs fetches it from Debian)")
    copy = target / path.name
    if not copy.exists():
        shutil.copy(path, copy)
        os.sync()
    return copy


def check(line, kind, path):
    """The whole slots on huge pages by the file backing; else why not, and the next backing served."""
    if line["backing"] == "file":
        # tmpfs and ext4 hold what they can; a slot that the kernel cannot get (no free 2 MiB page) is told of.
        assert line["huge_bytes"] == whole_slots(path) > 0, json.dumps(line)
        assert line["reason"] is None and line["objects"][0]["path"] == str(path)
    else:
        assert FILESYSTEMS[kind] == "either", line
        assert line["reason"].startswith("file-") and line["backing"] == "thp", line


@pytest.mark.parametrize("name", PROGRAMS_TO_TRY)
def test_program(filesystem, hugexec_run, name):
    kind, target = filesystem
    path, arguments = PROGRAMS_TO_TRY[name]()
    copy = copy_to(target, path)
    if not whole_slots(copy):
        pytest.skip(f"{name} has its text in libraries here")
    plain = run([copy, *arguments])
    done, report = hugexec_run([copy, *arguments], policy=policy_with(), backing="file,thp")
    assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, plain.stderr, plain.returncode)
    check(report[0], kind, copy)


@pytest.mark.parametrize("mib,variant", [(62, ("pie", ("cc",))), (8, ("static-pie", ("cc", "-static-pie")))])
def test_maps_still_name_the_file(filesystem, hugexec_command, bigtext, mib, variant):
    kind, target = filesystem
    copy = copy_to(target, pathlib.Path(bigtext(mib, *variant)))
    words, report = hugexec_command([copy, "sleep"], policy_with(), "file,thp")
    with Process(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("bigtext:")
        assert process.stdout.readline() == "ready\n"
        line = read_report(report)[0]
        check(line, kind, copy)
        text = [entry for entry in smaps(process.pid) if "x" in entry["perms"] and entry["path"] == str(copy)]
        if line["backing"] == "file":
            assert huge_text_bytes(process.pid) >= whole_slots(copy), line
            counts = "ShmemPmdMapped" if kind == "tmpfs" else "FilePmdMapped"
            assert sum(entry[counts] for entry in text) == whole_slots(copy)
            assert all((entry["start"] - entry["offset"]) % HUGE == 0 for entry in text)
            assert sum(entry["end"] - entry["start"] for entry in text) == line["text_bytes"]
        process.kill()


def test_clang_with_its_libraries(filesystem, hugexec_command):
    """Libraries on that filesystem, found through LD_LIBRARY_PATH."""
    kind, target = filesystem
    clang = shutil.which("clang")
    if not clang:
        pytest.skip("clang is not installed")
    copy = copy_to(target, pathlib.Path(clang).resolve())
    listed = run(["ldd", clang]).stdout
    libraries = [pathlib.Path(path).resolve() for path in re.findall(r"=> (/\S*(?:LLVM|clang-cpp)\S*)", listed)]
    if not libraries:
        pytest.skip("this clang is linked statically")
    for library in libraries:
        copy_to(target, library)
        for name in re.findall(r"(\S+) => \S*", listed):
            if name.split(".so")[0] == library.name.split(".so")[0] and not (target / name).exists():
                (target / name).symlink_to(library.name)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(target)}
    policy = policy_with(libraries={"include": [f"{target}/*"]}, min_text="8M", follow="none")
    words, report = hugexec_command([copy, "--version"], policy, "file,thp")
    plain = run([copy, "--version"], env=environment)
    ours = run(words, env=environment)
    assert (ours.stdout, ours.returncode) == (plain.stdout, plain.returncode)
    objects = read_report(report)[0]["objects"][1:]
    assert len(objects) == len(libraries)
    for each in objects:
        # Prepared, where the filesystem has the kernel choose addresses that agree with the offset. Else it is ld.so that
        # chooses: in place if they agree, else a copy.
        assert each["backing"] in ("file", "thp") and max(each["huge_bytes"], each["prepared_bytes"]) >= each["text_bytes"] - 2 * HUGE, each
        assert each["backing"] == "file" or each["reason"].startswith("file-"), each
