# SPDX-License-Identifier: Apache-2.0
"""Which libraries a program will load: found as its ld.so finds them, for programs that are there and made ones, glibc and musl."""
import json
import os
import pathlib
import re
import shutil
import stat

import pytest

from lib.libraries import Built
from lib.policies import policy_with
from lib.process import run
from lib.report import read_report

LOADER = re.compile(r"/ld-(linux|musl)|-musl/libc\.so|/libc\.musl|/ld-[0-9.]+so")
PROGRAMS_LOOKED_AT = 120


def found_by(hugexecctl, policy, program, **options):
    """The resolved paths of what explain says that the program would load."""
    done = run([hugexecctl, "explain", "--json", f"--policy={policy}", program], **options)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["libraries_unknown"] is None, said["libraries_unknown"]
    return {os.path.realpath(each["path"]) for each in said["libraries"] if not LOADER.search(os.path.realpath(each["path"]))}


def loaded(program, **options):
    """What its own ld.so says, started to tell just that."""
    interpreter = re.search(r"interpreter: (/\S+?)\]", run(["readelf", "-lW", program]).stdout).group(1)
    done = run([interpreter, "--list", program], **options)
    assert done.returncode == 0, done.stderr
    paths = re.findall(r"(?:=> (\S+)|^\s((?!linux-vdso)\S+)) \(", done.stdout, re.MULTILINE)
    paths = {os.path.realpath(os.path.join(options.get("cwd", "/"), *path)) for path in paths}
    return {path for path in paths if not LOADER.search(path)}


@pytest.fixture
def policy(write_policy):
    return write_policy({"version": 1, "rules": [{"match": {}, "libraries": True, "follow": "none"}]})


def dynamic_programs():
    """Programs of the machine whose libraries ld.so finds; those that only their wrappers can start are left out."""
    files = sorted({path.resolve() for folder in ("/usr/bin", "/usr/sbin") for path in pathlib.Path(folder).iterdir() if path.is_file()})
    for file in files[::max(1, len(files) // (3 * PROGRAMS_LOOKED_AT))]:
        with open(file, "rb") as handle:
            if handle.read(5) != b"\x7fELF\x02":
                continue
        if "interpreter: /lib64/" in run(["readelf", "-lW", file]).stdout and \
                run(["/lib64/ld-linux-x86-64.so.2", "--list", file]).returncode == 0:
            yield file


def test_programs_of_this_machine(hugexecctl, policy):
    programs = list(dynamic_programs())
    if not programs:
        pytest.skip("no program of this machine is started by /lib64/ld-linux-x86-64.so.2")
    different = {}
    for program in programs:
        ours, theirs = found_by(hugexecctl, policy, program), loaded(program)
        if ours != theirs:
            different[str(program)] = (sorted(ours - theirs), sorted(theirs - ours))
    assert not different
    assert len(programs) >= 10


@pytest.fixture(params=["cc", "musl-gcc"])
def small(request, tmp_path):
    """Builds programs and libraries of hardly any text."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")

    class Small:
        compiler, folder = request.param, tmp_path

        def library(self, path, *words):
            path = tmp_path / path
            path.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "empty.c").write_text("")
            run([self.compiler, "-shared", "-fPIC", "-o", path, tmp_path / "empty.c", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed",
                 *words], check=True)
            return path

        def program(self, path, *words):
            path = tmp_path / path
            path.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
            run([self.compiler, "-fPIE", "-pie", "-o", path, tmp_path / "main.c", "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined",
                 *words], check=True)
            return path

    return Small()


OLD, NEW = "-Wl,--disable-new-dtags", "-Wl,--enable-new-dtags"


@pytest.mark.parametrize("tags", [OLD, NEW])
@pytest.mark.parametrize("rpath", ["$ORIGIN/../lib", "$ORIGIN/../other:$ORIGIN/../lib", "${ORIGIN}/../lib/.", "/nowhere"])
def test_rpath_and_runpath(hugexecctl, policy, small, tags, rpath):
    """DT_RPATH of the program holds for its libraries' libraries, DT_RUNPATH (but musl's) does not."""
    second = small.library("lib/libsecond.so")
    first = small.library("lib/libfirst.so", second)
    third = small.library("other/libsecond.so")
    program = small.program("bin/program", first, tags, f"-Wl,-rpath,{rpath}", f"-Wl,-rpath-link,{small.folder}/lib")
    for environment in ({}, {"LD_LIBRARY_PATH": str(second.parent)}, {"LD_LIBRARY_PATH": f"/nowhere:{third.parent}:{second.parent}"}):
        environment = {**os.environ, **environment}
        done = run([program], env=environment)
        if done.returncode == 0:
            assert found_by(hugexecctl, policy, program, env=environment) == loaded(program, env=environment)
        else:
            said = run([hugexecctl, "explain", "--json", f"--policy={policy}", program], env=environment)
            assert json.loads(said.stdout)["libraries_unknown"].startswith("library-unknown: 1 of its libraries"), done.stderr


def test_preload(hugexecctl, policy, small):
    if small.compiler != "cc":
        pytest.skip("hugexecctl, of glibc's, would have to preload musl's libraries, too; test_libraries has a launch")
    libraries = [small.library(f"lib{name}.so") for name in "xyz"]
    inner = small.library("libinner.so")
    outer = small.library("libouter.so", inner, f"-Wl,-rpath,{small.folder}")
    program = small.program("program", libraries[2], f"-Wl,-rpath,{small.folder}")
    environment = {**os.environ, "LD_PRELOAD": f"{libraries[0]}:{outer} liby.so", "LD_LIBRARY_PATH": str(small.folder)}
    ours = found_by(hugexecctl, policy, program, env=environment)
    assert ours == loaded(program, env=environment)
    assert {str(inner), str(outer), *map(str, libraries)} <= ours
    environment["LD_PRELOAD"] = "/no/such.so nor-this.so"
    assert found_by(hugexecctl, policy, program, env=environment) == loaded(program, env=environment)


@pytest.mark.parametrize("way", ["relative", "empty"])
def test_folders_that_are_not_absolute(hugexecctl, policy, small, way):
    library = small.library("sub/libhere.so")
    program = small.program("program", library)
    environment = {**os.environ, "LD_LIBRARY_PATH": "sub" if way == "relative" else "/nowhere:"}
    where = small.folder if way == "relative" else library.parent
    if small.compiler != "cc" and way == "empty":
        assert run([program], env=environment, cwd=where).returncode == 127  # musl passes it over
        done = run([hugexecctl, "explain", "--json", f"--policy={policy}", program], env=environment, cwd=where)
        assert json.loads(done.stdout)["libraries_unknown"]
        return
    assert run([program], env=environment, cwd=where).returncode == 0
    assert str(library) in found_by(hugexecctl, policy, program, env=environment, cwd=where)
    assert found_by(hugexecctl, policy, program, env=environment, cwd=where) == loaded(program, env=environment, cwd=where)


def test_what_is_no_library_is_passed_over(hugexecctl, policy, small):
    """As glibc's ld.so does where a file is another processor's; musl's takes what it can open."""
    library = small.library("good/libit.so")
    program = small.program("program", library)
    other = small.folder / "other" / "libit.so"
    other.parent.mkdir()
    other.write_bytes(library.read_bytes()[:18] + b"\xb7\x00" + library.read_bytes()[20:])  # AArch64
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{other.parent}:{library.parent}"}
    if small.compiler == "cc":
        assert run([program], env=environment).returncode == 0
        assert found_by(hugexecctl, policy, program, env=environment) == loaded(program, env=environment)
    for kind in ("fifo", "folder", "loop", "device"):
        place = small.folder / kind / "libit.so"
        place.parent.mkdir()
        if kind == "fifo":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        elif kind == "loop":
            place.symlink_to("libit.so")
        else:
            place.symlink_to("/dev/zero")
        environment["LD_LIBRARY_PATH"] = f"{place.parent}:{library.parent}"
        assert str(library) in found_by(hugexecctl, policy, program, env=environment, timeout=120)


def test_folders_for_better_processors(hugexecctl, policy, small):
    """glibc-hwcaps, in a folder of LD_LIBRARY_PATH; musl has none."""
    library = small.library("lib/libit.so")
    program = small.program("program", library)
    for level in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        folder = library.parent / "glibc-hwcaps" / level
        folder.mkdir(parents=True)
        shutil.copy(library, folder)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library.parent)}
    assert found_by(hugexecctl, policy, program, env=environment) == loaded(program, env=environment)


def test_more_than_there_may_be(hugexecctl, policy, small):
    """A program that needs hundreds of libraries, and one whose libraries need each other."""
    libraries = [small.library(f"many/lib{number}.so") for number in range(60)]
    circle = [small.library("circle/libone.so"), small.library("circle/libtwo.so")]
    small.library("circle/libone.so", circle[1])
    small.library("circle/libtwo.so", circle[0])
    program = small.program("program", *libraries, *circle, f"-Wl,-rpath,{small.folder}/many:{small.folder}/circle")
    assert found_by(hugexecctl, policy, program) == loaded(program)


# Launches: what is found is prepared, and with the program's own rights and in its own root.

@pytest.fixture(name="built")
def built_fixture(public_folder):
    return Built("cc", public_folder)


def prepared(report):
    """Paths of the libraries that the last report calls prepared."""
    return {each["path"] for each in read_report(report)[-1]["objects"] if each["prepared_bytes"] > 0}


def launch(hugexec_command, words, **settings):
    words, report = hugexec_command(words, policy_with(**{"libraries": True, "min_text": "2M", "match": {"exe": "/**/program"}, **settings}),
                                    "file")
    report.touch()
    report.chmod(0o666)
    return words, report


def needs_preparing(report):
    """Where the filesystem of the tests has no large folios there is nothing to see."""
    if run(["stat", "-f", "-c", "%T", report.parent]).stdout == "tmpfs\n":
        pytest.skip("not here: files on tmpfs become huge where they are mapped")
    line = read_report(report)[-1]
    for each in line["objects"]:
        if each["reason"] and re.match("file-(unsupported|busy|misaligned)", each["reason"]):
            pytest.skip(f"not here: {each['reason']}")


def test_needed_by_the_environment(hugexec_command, built):
    library = built.library("big")
    program = built.program("program")
    words, report = launch(hugexec_command, [program])
    done = run(words, env={**os.environ, "LD_PRELOAD": "libbig.so", "LD_LIBRARY_PATH": str(built.folder)})
    assert done.stdout == "right\n"
    needs_preparing(report)
    assert prepared(report) == {str(library)}


def test_set_group_id_ignores_the_environment(hugexec_command, built):
    """AT_SECURE: ld.so does not look where the caller says, so neither do we."""
    if os.geteuid() != 0:
        pytest.skip("changing a file's group takes root")
    built.library("big")
    program = built.program("program")
    os.chown(program, 0, 65534)
    program.chmod(0o755 | stat.S_ISGID)
    words, report = launch(hugexec_command, [program])
    done = run(words, env={**os.environ, "LD_PRELOAD": "libbig.so", "LD_LIBRARY_PATH": str(built.folder)})
    assert done.stdout == "no library\n"
    assert prepared(report) == set() and not [each for each in read_report(report)[-1]["objects"] if "libbig" in each["path"]]


def test_with_the_programs_rights(hugexec_command, built, nobody):
    """Root traces a program of nobody's: files that only root may read are none for it."""
    open_one, closed = built.library("open"), built.folder / "libclosed.so"
    shutil.copy(open_one, closed)
    os.sync()
    closed.chmod(0o600)
    program = built.program("program")
    words, report = launch(hugexec_command, [*nobody, program], follow="exec", libraries={"prepare": [f"{built.folder}/lib*.so"]})
    assert run(words).stdout == "no library\n"
    needs_preparing(report)
    assert prepared(report) == {str(open_one)}


def test_without_the_groups_of_root(hugexec_command, built, nobody):
    """What root's own supplementary groups may read is nothing for nobody's program."""
    open_one, closed = built.library("open"), built.folder / "libclosed.so"
    shutil.copy(open_one, closed)
    os.sync()
    os.chown(closed, 0, 54321)
    closed.chmod(0o640)
    program = built.program("program")
    words, report = launch(hugexec_command, [*nobody, program], follow="exec", libraries={"prepare": [f"{built.folder}/lib*.so"]})
    assert run(["setpriv", "--groups=0,54321", *words]).stdout == "no library\n"
    needs_preparing(report)
    assert prepared(report) == {str(open_one)}
    # Its own groups count.
    words, report = launch(hugexec_command, [*nobody[:-1], "--groups=54321", program], follow="exec",
                           libraries={"prepare": [f"{built.folder}/lib*.so"]})
    assert run(words).stdout == "no library\n" and prepared(report) == {str(open_one), str(closed)}


def test_in_its_own_root(hugexec_command, built):
    """A path leads where it leads the program, links included."""
    if os.geteuid() != 0:
        pytest.skip("chroot takes root")
    library = built.library("big")
    program = built.program("program", library)
    root = built.folder / "root"
    for path in (program, pathlib.Path("/lib64/ld-linux-x86-64.so.2"), *map(pathlib.Path, loaded(program))):
        place = root / path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    inside = root / library.relative_to("/")
    (root / "elsewhere").mkdir()
    inside.rename(root / "elsewhere" / "text")
    inside.symlink_to("/elsewhere/text")
    library.unlink()
    os.sync()
    libc, = [path for path in loaded(program) if "libc.so" in path] if library.exists() else ["/lib/x86_64-linux-gnu/libc.so.6"]
    words, report = launch(hugexec_command, ["chroot", root, program], follow="exec")
    done = run(words, env={**os.environ, "LD_LIBRARY_PATH": os.path.dirname(os.path.realpath(libc))})
    assert done.stdout == "right\n", done.stderr
    needs_preparing(report)
    assert prepared(report) == {str(library)}


@pytest.mark.parametrize("libraries", [False, True])
def test_the_search_is_made_where_libraries_are_wanted_only(hugexec_command, built, tmp_path, libraries):
    """And where the reader does not answer, the program runs all the same, and is looked at at its entry point."""
    library = built.library("big", "-Wl,-z,max-page-size=0x200000")
    program = built.program("program", library)
    words, report = launch(hugexec_command, [program], libraries=libraries)
    folder = tmp_path / "without-reader"
    folder.mkdir()
    shutil.copy(words[0], folder / "hugexec")
    reader = folder / "hugexec-elf-reader"
    reader.write_text(f"#!/bin/sh\nshift\necho \"asked for: $*\" >>{folder}/asked\n")
    reader.chmod(0o755)
    assert run([folder / "hugexec", *words[1:]]).stdout == "right\n"
    asked = (folder / "asked").read_text().splitlines() if (folder / "asked").exists() else []  # perhaps for the build id
    assert ("asked for: libraries" in asked) == libraries, asked
    found = [each for each in read_report(report)[-1]["objects"] if each["path"] == str(library)]
    assert len(found) == libraries and all(each["prepared_bytes"] == 0 and each["start"] for each in found)


# Says of openat2(2), as systemd's RestrictSUIDSGID= and Linux 5.5 do, that there is no such call.
WITHOUT_OPENAT2 = """
import errno, os, seccomp, sys
rules = seccomp.SyscallFilter(seccomp.ALLOW)
rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "openat2")
rules.load()
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_without_openat2(hugexec_command, hugexecctl, write_policy, built):
    if run(["/usr/bin/python3", "-c", "import seccomp"]).returncode != 0:
        pytest.skip("python3-seccomp is not installed")
    library = built.library("big")
    program = built.program("program", library)
    words, report = launch(hugexec_command, [program])
    before = ["/usr/bin/python3", "-c", WITHOUT_OPENAT2]
    assert run([*before, *words]).stdout == "right\n"
    needs_preparing(report)
    assert prepared(report) == {str(library)}
    policy = write_policy({"version": 1, "rules": [{"match": {"exe": f"{built.folder}/progr*"}, "libraries": {"include": ["**/libbig.so"]}}]})
    done = run([*before, hugexecctl, "warm", "--json", f"--policy={policy}"])
    assert [each["path"] for each in json.loads(done.stdout)["files"]] == [str(library)]


def test_a_list_that_is_too_long(hugexec_command, built):
    """Nothing is guessed then: the program is looked at at its entry point, as it would be without the search."""
    library = built.library("big", "-Wl,-z,max-page-size=0x200000")
    program = built.program("program", library)
    words, report = launch(hugexec_command, [program])
    done = run(words, env={**os.environ, "LD_LIBRARY_PATH": ":".join([f"/{'x' * 100}"] * 300)})
    assert done.stdout == "right\n"
    found, = [each for each in read_report(report)[-1]["objects"] if each["path"] == str(library)]
    assert found["prepared_bytes"] == 0 and found["start"] is not None
