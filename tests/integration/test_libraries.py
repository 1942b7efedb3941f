# SPDX-License-Identifier: Apache-2.0
"""Libraries loaded at start: DT_NEEDED and LD_PRELOAD, glibc and musl, in place where address and offset agree, else a copy."""
import os
import re
import shutil

import pytest

from lib.libraries import Built, in_place, look, policy
from lib.machine import HUGE, pool_for
from lib.process import run
from lib.report import read_report


@pytest.fixture(params=["cc", "musl-gcc"])
def built(request, tmp_path):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return Built(request.param, tmp_path)


@pytest.mark.parametrize("way", ["needed", "preloaded"])
@pytest.mark.parametrize("backing", ["file,thp", "hugetlb", "thp"])
def test_library(hugexec_command, built, way, backing):
    library = built.library("big", "-Wl,-z,max-page-size=0x200000")
    program = built.program("program", *[library] if way == "needed" else [])
    environment = {**os.environ, **({"LD_PRELOAD": str(library)} if way == "preloaded" else {})}
    words, report = hugexec_command(["env", f"LD_PRELOAD={environment['LD_PRELOAD']}", program, "sleep"] if way == "preloaded"
                                    else [program, "sleep"], policy(follow="exec"), backing)
    with pool_for(backing, 16):
        told, line, found, entries = look(words, report, library)
    assert told == "right\n" and line["exe"] == str(program), line
    if in_place(line, found, entries):
        assert backing == "file,thp"
        return
    assert line["outcome"] == "remapped" and found["huge_bytes"] >= found["text_bytes"] - 2 * HUGE > 0, found
    inside = [entry for entry in entries if int(found["start"], 16) <= entry["start"] < int(found["end"], 16)]
    agrees = all((entry["start"] - entry["offset"]) % HUGE == 0 for entry in entries if entry["path"] == str(library))
    if backing != "file,thp":
        assert found["backing"] == backing and any(entry["path"].startswith("/memfd:") for entry in inside)
    elif agrees and found["backing"] == "file":
        assert {entry["path"] for entry in inside} == {str(library)}
        assert sum(entry["FilePmdMapped"] + entry["ShmemPmdMapped"] for entry in inside) == found["huge_bytes"]
    else:
        # musl's ld.so does not care for a segment's alignment; and no library is moved.
        assert found["backing"] == "thp" and found["reason"].startswith("file-misaligned"), found
        assert built.compiler == "musl-gcc"


def test_library_out_of_step_is_copied(hugexec_command, built):
    """Linked for small pages a library lies anywhere; it is not moved."""
    library = built.library("big")
    program = built.program("program", library)
    words, report = hugexec_command([program, "sleep"], policy(), "file,thp")
    told, line, found, entries = look(words, report, library)
    assert told == "right\n"
    if in_place(line, found, entries):
        return
    assert found["huge_bytes"] > 0
    in_step = [(entry["start"] - entry["offset"]) % HUGE == 0 for entry in entries if entry["path"] == str(library) and
               "x" in entry["perms"]]
    assert found["backing"] == ("file" if in_step and all(in_step) else "thp"), found
    assert found["backing"] == "file" or found["reason"].startswith("file-misaligned")


def test_one_out_of_step_hides_no_other(hugexec_command, tmp_path):
    """glibc places a library of such an alignment anywhere; it has a stop at the entry point made, and the next one is looked at as well."""
    built = Built("cc", tmp_path)
    large, anywhere = built.library("large", "-Wl,-Bsymbolic"), built.library("anywhere", "-Wl,-Bsymbolic", "-Wl,-z,max-page-size=0x8000")
    program = built.program("program")
    words, report = hugexec_command(["env", f"LD_PRELOAD={large}:{anywhere}", program, "sleep"], policy(follow="exec"), "file")
    told, line, found, _ = look(words, report, large)
    assert told == "right\n" and found, line
    assert found["huge_bytes"] or found["prepared_bytes"] or found["reason"].startswith("file-"), found


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_text_relocations_are_left_alone(hugexec_command, built, backing):
    library = built.library("relocated", "relocated.s", "-Wl,-z,notext", "-Wl,-z,max-page-size=0x200000")
    if "TEXTREL" not in run(["readelf", "-d", library]).stdout:
        pytest.skip("this linker makes no text relocations")
    program = built.program("program", library)
    if run([program]).stdout != "right\n":
        pytest.skip("this ld.so does not do text relocations")
    words, report = hugexec_command([program, "sleep"], policy(), backing)
    told, line, found, entries = look(words, report, library)
    assert told == "right\n" and line["outcome"] != "remapped"
    text = [entry for entry in entries if entry["path"] == str(library) and "x" in entry["perms"]]
    assert text
    if any("w" in entry["perms"] for entry in text):
        assert built.compiler == "musl-gcc" and found is None  # whose ld.so leaves it writable: no text that could be replaced
    else:
        assert found["huge_bytes"] == 0 and found["reason"].startswith("text-changed"), found


SEALED = """
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
extern char bigtext_walk[];
extern const uint64_t bigtext_pages;
__attribute__((constructor)) static void seal(void)
{
	syscall(462, (uintptr_t)bigtext_walk / 4096 * 4096, (bigtext_pages + 1) * 4096, 0); /* mseal */
}
"""


def test_sealed_text_is_left_alone(hugexec_command, tmp_path):
    """As ld.so seals it where a library asks for that, before the program begins (glibc's, which calls constructors before)."""
    built = Built("cc", tmp_path)
    (built.folder / "sealed.c").write_text(SEALED)
    library = built.library("sealed", "sealed.c")
    program = built.program("program", library)
    words, report = hugexec_command([program, "sleep"], policy(), "thp")
    told, line, found, entries = look(words, report, library)
    assert told == "right\n" and not [entry for entry in entries if "memfd" in entry["path"]], line
    if line["reason"] and line["reason"].startswith("no-breakpoint"):
        pytest.skip("the program cannot be stopped at its entry point here")
    assert found["huge_bytes"] == 0 and found["reason"].startswith("text-sealed: "), found


@pytest.mark.parametrize("libraries,wanted", [(True, {"one", "two"}), ({"include": ["**/libone.so"]}, {"one"}),
                                              ({"exclude": ["**/libone.so"]}, {"two"}), (False, set()),
                                              ({"include": ["**/lib*.so"], "exclude": ["**/libtwo.so"]}, {"one"})])
def test_include_and_exclude(hugexec_run, tmp_path, libraries, wanted):
    built = Built("cc", tmp_path)
    first = built.library("one")
    shutil.copy(first, tmp_path / "libtwo.so")
    os.sync()
    program = built.program("program")
    done, report = hugexec_run(["env", f"LD_PRELOAD={first}:{tmp_path}/libtwo.so", program],
                               policy(libraries=libraries, follow="exec"), "thp")
    assert done.stdout == "right\n"
    remapped = {each["path"] for line in report for each in line["objects"] if each["huge_bytes"]}
    assert remapped == {f"{tmp_path}/lib{name}.so" for name in wanted}


def test_small_libraries_are_not_worth_it(hugexec_run, tmp_path):
    built = Built("cc", tmp_path)
    program = built.program("program", built.library("one"))
    done, report = hugexec_run([program], policy(min_text="32M"), "thp")
    assert done.stdout == "right\n" and report[0]["outcome"] == "skipped"


def test_library_that_is_left_alone_has_its_reason(hugexec_command, tmp_path):
    """In the report, which is that of the whole program then, and in the line for people."""
    built = Built("cc", tmp_path)
    library = built.library("one")
    program = built.program("program", library)
    words, report = hugexec_command([program], policy(on_error="fail", keep_free=1000000), "hugetlb", options=["-v"])
    done = run(words)
    [line] = read_report(report)
    assert (done.stdout, done.returncode, line["outcome"]) == ("right\n", 0, "failed")  # its constructors had run
    assert re.match(r"hugetlb-\w+: libone.so: ", line["reason"]) and "libone.so" in done.stderr
    [found] = [each for each in line["objects"] if each["path"] == str(library)]
    assert found["huge_bytes"] == 0 and found["reason"].startswith("hugetlb-")


def test_library_that_is_left_alone_beside_one_that_is_not(hugexec_command, tmp_path):
    built = Built("cc", tmp_path)
    first = built.library("one")
    relocated = built.library("two", "relocated.s", "-Wl,-z,notext")
    program = built.program("program", first, relocated)
    if "TEXTREL" not in run(["readelf", "-d", relocated]).stdout or run([program]).stdout != "right\n":
        pytest.skip("no text relocations here")
    words, report = hugexec_command([program], policy(), "thp", options=["-v"])
    done = run(words)
    assert done.stdout == "right\n" and read_report(report)[0]["outcome"] == "remapped"
    assert re.search(r" on huge pages \(thp\), held for [0-9.]+ ms; not libtwo.so: text-changed: ", done.stderr), done.stderr
