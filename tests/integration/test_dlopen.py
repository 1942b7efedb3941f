# SPDX-License-Identifier: Apache-2.0
"""Code that programs load when they run, with dlopen(3): in place on huge pages by policy, without a stop and without attach."""
import base64
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

from lib.filesystems import overlay_above_ext4
from lib.libraries import Built
from lib.machine import HUGE
from lib.policies import policy_with
from lib.process import Process, run, status_of, wait_for
from lib.report import read_report
from lib.smaps import smaps
from lib.surroundings import PROGRAMS

# public class Sleep: prints "up", and sleeps.
SLEEP_CLASS = (
    "yv66vgAAADQAJQoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWCQAIAAkHAAoMAAsADAEAEGphdmEvbGFuZy"
    "9TeXN0ZW0BAANvdXQBABVMamF2YS9pby9QcmludFN0cmVhbTsIAA4BAAJ1cAoAEAARBwASDAATABQBABNqYXZhL2lvL1ByaW50U3RyZWFtAQAH"
    "cHJpbnRsbgEAFShMamF2YS9sYW5nL1N0cmluZzspVgUAAAAAAAknwAoAGAAZBwAaDAAbABwBABBqYXZhL2xhbmcvVGhyZWFkAQAFc2xlZXABAA"
    "QoSilWBwAeAQAFU2xlZXABAARDb2RlAQAEbWFpbgEAFihbTGphdmEvbGFuZy9TdHJpbmc7KVYBAApFeGNlcHRpb25zBwAkAQATamF2YS9sYW5n"
    "L0V4Y2VwdGlvbgAhAB0AAgAAAAAAAgABAAUABgABAB8AAAARAAEAAQAAAAUqtwABsQAAAAAACQAgACEAAgAfAAAAGwACAAEAAAAPsgAHEg22AA"
    "8UABW4ABexAAAAAAAiAAAABAABACMAAA=="
)
# An extension of Python's stable ABI, which uses all of its text when it is imported.
EXTENSION = r"""
int text_is_right(void);
void *PyModule_Create2(void *, int);
static struct {
	long refcount;
	void *type, *init;
	long index;
	void *copy;
	const char *name, *doc;
	long size;
	void *methods, *slots, *traverse, *clear, *free;
} definition = {.refcount = 1, .name = "large", .size = -1};
void *PyInit_large(void) { return text_is_right() ? PyModule_Create2(&definition, 1013) : 0; }
"""
CONSTRUCTOR = r"""
#include <unistd.h>
int text_is_right(void);
__attribute__((constructor)) static void use(void) { if (!text_is_right()) _exit(99); }
"""


@pytest.fixture(name="built")
def built_fixture(public_folder):
    return Built("cc", public_folder)


def library(built, name, source, *flags):
    """A library with 6 MiB of text, and SOURCE, which uses it."""
    (built.folder / "more.c").write_text(source)
    path = built.library(name, "more.c", *flags)
    os.sync()
    return path


def start(hugexec_command, program, words, patterns, **options):
    """Start WORDS by a policy that names PATTERNS to be prepared; the process, once it prints, and its report."""
    policy = policy_with(match={"exe": os.path.realpath(program)}, min_text="2M", libraries={"prepare": patterns})
    words, report = hugexec_command(words, policy, "file")
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)
    return process, report


def in_place(process, report, path):
    """
    Bytes of the file's text that the kernel maps by huge pages in the process, which nobody traces; and those that were
    prepared.
    """
    assert status_of(process.pid)["TracerPid"] == "0"
    line = read_report(report)[0]
    told, = [each for each in line["objects"] if os.path.realpath(each["path"]) == str(path)]
    if told["reason"] and told["reason"].startswith(("file-unsupported", "file-misaligned")):
        pytest.skip(f"not on this filesystem: {told['reason']}")
    assert (told["huge_bytes"], told["backing"], told["reason"]) == (0, "file", None), told
    text = [entry for entry in smaps(process.pid) if entry["path"] == str(path) and "x" in entry["perms"]]
    assert text, "it was not loaded"
    assert len(read_report(report)) == 1
    return sum(entry["FilePmdMapped"] for entry in text), told["prepared_bytes"]


def test_java(hugexec_command, tmp_path):
    """Java itself is a small program, and all of its code is in libjvm."""
    java = os.path.realpath(shutil.which("java") or "/no/such/one")
    jvm = pathlib.Path(java).parents[1] / "lib" / "server" / "libjvm.so"
    if not jvm.exists():
        pytest.skip("Java is not installed")
    (tmp_path / "Sleep.class").write_bytes(base64.b64decode(SLEEP_CLASS))
    process, report = start(hugexec_command, java, [java, "-cp", tmp_path, "Sleep"], [f"{jvm.parents[2]}/**/libjvm.so"])
    with process:
        assert process.stdout.readline() == "up\n"
        huge, prepared = in_place(process, report, jvm.resolve())
        # It uses most of its text in a start, and what it does not use is not mapped.
        assert prepared >= huge >= prepared // 2 >= HUGE
        process.kill()


def test_extension_of_python(hugexec_command, built):
    python = shutil.which("python3", path="/usr/bin")
    if not python:
        pytest.skip("/usr/bin/python3 is not installed")
    extension = library(built, "large", EXTENSION)
    folder = built.folder / "site" / "package"
    folder.mkdir(parents=True)
    extension = extension.rename(folder / "large.so")
    os.sync()
    program = f"import sys; sys.path.insert(0, '{folder}'); import large; print('up', flush=True); sys.stdin.read()"
    process, report = start(hugexec_command, python, [python, "-c", f"{program}; import time; time.sleep(600)"], [f"{built.folder}/site/**/*.so"])
    with process:
        assert process.stdout.readline() == "up\n"
        huge, prepared = in_place(process, report, extension)
        assert huge == prepared >= 2 * HUGE
        process.kill()


def glibc():
    return tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split(".")))


@pytest.mark.parametrize("aligned", [False, True], ids=["as linked by default", "linked for 2 MiB"])
def test_on_overlayfs(hugexec_command, tmp_path, aligned):
    """The kernel puts it anywhere there, as the report says; glibc (2.35) aligns one that was linked for it."""
    python = shutil.which("python3", path="/usr/bin")
    if not python:
        pytest.skip("/usr/bin/python3 is not installed")
    with overlay_above_ext4(tmp_path, 100) as folder:
        extension = library(Built("cc", folder), "large", EXTENSION, *(["-Wl,-z,max-page-size=0x200000"] if aligned else []))
        extension = extension.rename(folder / "large.so")
        os.sync()
        program = f"import sys; sys.path.insert(0, '{folder}'); import large; print('up', flush=True); import time; time.sleep(600)"
        process, report = start(hugexec_command, python, [python, "-c", program], [f"{folder}/*.so"])
        with process:
            assert process.stdout.readline() == "up\n"
            told, = [each for each in read_report(report)[0]["objects"] if each["path"] == str(extension)]
            huge = sum(entry["FilePmdMapped"] for entry in smaps(process.pid) if entry["path"] == str(extension) and "x" in entry["perms"])
            assert status_of(process.pid)["TracerPid"] == "0"
            assert told["prepared_bytes"] == 0 and told["reason"].startswith("file-misaligned"), told  # whichever loader it will have
            assert huge >= 2 * HUGE or not aligned or glibc() < (2, 35)
            process.kill()
            process.wait()


def test_module_of_apache(hugexec_command, built):
    apache = shutil.which("apache2") or shutil.which(PROGRAMS / "root" / "usr" / "sbin" / "apache2")
    modules = pathlib.Path(apache or "/no/such/one").parents[1] / "lib" / "apache2" / "modules"
    if not apache or not (modules / "mod_mpm_event.so").exists():
        pytest.skip("apache2 is not there (tests/get-programs fetches it from Debian)")
    module = library(built, "module", CONSTRUCTOR)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = built.folder / "apache.conf"
    configuration.write_text(f"ServerRoot {built.folder}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {built.folder}/pid\n"
                             f"ErrorLog {built.folder}/log\nLoadModule mpm_event_module {modules}/mod_mpm_event.so\n"
                             f"LoadModule authz_core_module {modules}/mod_authz_core.so\nLoadFile {module}\n"
                             "User nobody\nGroup nogroup\nMutex sem\n")
    if run([apache, "-f", configuration, "-t"]).returncode != 0:
        pytest.skip("apache2 does not start here")
    process, report = start(hugexec_command, apache, [apache, "-X", "-f", configuration], [f"{built.folder}/**/*.so"])

    def answers():
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 ")

    with process:
        wait_for(answers, process=process)
        huge, prepared = in_place(process, report, module)
        assert huge == prepared >= 2 * HUGE
        process.kill()


def test_what_it_needs_in_turn(hugexec_command, built):
    """The library behind an extension is what counts in many of them."""
    python = shutil.which("python3", path="/usr/bin")
    if not python:
        pytest.skip("/usr/bin/python3 is not installed")
    large = library(built, "behind", CONSTRUCTOR)
    (built.folder / "thin.c").write_text("")
    built.call("-shared", "-fPIC", "-o", "thin.so", "thin.c", "-Wl,--no-as-needed", large, f"-Wl,-rpath,{built.folder}")
    os.sync()
    program = f"import ctypes; ctypes.CDLL('{built.folder}/thin.so'); print('up', flush=True); import time; time.sleep(600)"
    process, report = start(hugexec_command, python, [python, "-c", program], [f"{built.folder}/thin*.so"])
    with process:
        assert process.stdout.readline() == "up\n"
        huge, prepared = in_place(process, report, large)
        assert huge == prepared >= 2 * HUGE
        process.kill()


def test_aligned_by_its_loader(hugexec_run, built):
    """glibc makes room for such a library where it comes to stand anywhere: nothing is promised."""
    built.library("aligned", "-Wl,-z,max-page-size=0x8000")
    _, report = hugexec_run([built.program("program")], policy_with(libraries={"prepare": [f"{built.folder}/lib*.so"]}, min_text="2M"), "file")
    told, = [each for each in report[0]["objects"] if "libaligned" in each["path"]]
    assert told["prepared_bytes"] == 0 and told["reason"].startswith("file-"), told


def test_a_filesystem_that_does_not_answer(hugexec_run, built):
    """Nobody reads what the kernel asks the server of a FUSE mount: the program starts all the same."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        pytest.skip("mounting a FUSE filesystem takes root and /dev/fuse")
    program, where = built.program("program"), built.folder / "dead"
    where.mkdir()
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    done = run(["mount", "-i", "-t", "fuse", "-o", f"fd={server},rootmode=40000,user_id=0,group_id=0", "dead", where], pass_fds=[server])
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    try:
        for pattern in (f"{where}/lib.so", f"{where}/*.so", f"{where}/**/x.so"):
            policy = policy_with(libraries={"prepare": [pattern]}, file_timeout="300ms")
            done, report = hugexec_run([program], policy, "file", timeout=60)
            assert (done.stdout, done.returncode) == ("no library\n", 0)
            assert report[0]["latency_us"] < 30_000_000
            assert not [each for each in report[0]["objects"] if "/dead/" in each["path"]]
    finally:
        os.close(server)
        run(["umount", "--lazy", where])


@pytest.mark.parametrize("backing,prepares", [(["thp", "file"], True), (["thp"], False), (["hugetlb", "thp"], False)])
def test_with_other_backings(hugexec_run, built, backing, prepares):
    """In place is all that can be done for them, so only where the rule allows that."""
    path = library(built, "later", CONSTRUCTOR)
    program = built.program("program")
    policy = policy_with(min_text="2M", backing=backing, libraries={"prepare": [f"{built.folder}/lib*.so"]})
    done, report = hugexec_run([program], policy)
    assert done.stdout == "no library\n"
    told = [each for each in report[0]["objects"] if each["path"] == str(path)]
    assert len(told) == prepares
    if told and not told[0]["reason"]:
        assert told[0]["prepared_bytes"] > 0 and told[0]["huge_bytes"] == 0


def test_excluded(hugexec_run, built):
    path = library(built, "later", CONSTRUCTOR)
    program = built.program("program")
    for more, wanted in ({}, 1), ({"exclude": [str(path)]}, 0), ({"include": ["/none"]}, 1):
        _, report = hugexec_run([program], policy_with(min_text="2M", libraries={"prepare": [f"{built.folder}/lib*.so"], **more}), "file")
        assert len([each for each in report[0]["objects"] if each["path"] == str(path)]) == wanted
