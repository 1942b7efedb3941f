# SPDX-License-Identifier: Apache-2.0
"""Where libraries are mapped: on overlayfs, which aligns nothing, ld.so is given places at which the page cache's huge pages can be mapped."""
import os
import shutil
import subprocess

import pytest

from lib.filesystems import overlay_above_ext4
from lib.libraries import Built, look, policy
from lib.machine import HUGE
from lib.report import read_report
from programs import bigtext as bigtext_generator

# A library that maps a large file as ld.so would, in its constructor and for its program, and tells whether the places agree by chance.
MAPS = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
void map(void)
{
	const char *path = getenv("MAPPED");
	unsigned long places[3];
	int fd = open(path, O_RDONLY);
	for (int i = 0; i < 3; i++)
		places[i] = (unsigned long)mmap(NULL, (6UL << 20) + 4096 * i, PROT_READ, MAP_PRIVATE, fd, 0) % (2 << 20);
	printf("%s\n", fd < 0 || !(places[0] | places[1] | places[2]) ? "aligned" : "anywhere");
}
__attribute__((constructor)) static void start(void) { map(); }
"""


@pytest.fixture(name="overlay", scope="module")
def overlay_fixture(tmp_path_factory):
    with overlay_above_ext4(tmp_path_factory.mktemp("overlay"), 400) as folder:
        yield folder


@pytest.fixture(name="built_there", params=["cc", "musl-gcc"])
def built_there_fixture(request, overlay):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    folder = overlay / request.param
    folder.mkdir()
    yield Built(request.param, folder)
    shutil.rmtree(folder)


def places(path, entries):
    """Where the mappings of the file at PATH lie, modulo 2 MiB, counted from where its beginning would."""
    return {(entry["start"] - entry["offset"]) % HUGE for entry in entries if entry["path"] == str(path)}


def test_in_place_on_overlayfs(hugexec_command, built_there):
    """Each of several libraries; the kernel puts the same ones anywhere by itself."""
    libraries = [built_there.library(name) for name in ("first", "second")]
    program = built_there.program("program", *libraries)
    words, report = hugexec_command([program, "sleep"], policy(libraries=False), "file")
    _, _, _, plain = look(words, report, libraries[0])
    if all(places(library, plain) == {0} for library in libraries):
        pytest.skip("this kernel aligns large mappings of overlayfs")
    words, report = hugexec_command([program, "sleep"], policy(), "file")
    told, line, _, entries = look(words, report, libraries[0])
    assert told == "right\n" and line["outcome"] == "remapped", str(line)
    for library in libraries:
        found = [each for each in line["objects"] if each["path"] == str(library)]
        assert len(found) == 1 and (found[0]["backing"], found[0]["reason"]) == ("file", None), line
        assert found[0]["huge_bytes"] >= found[0]["text_bytes"] - 2 * HUGE > 0
        text = [entry for entry in entries if entry["path"] == str(library) and "x" in entry["perms"]]
        assert 0 in places(library, entries) and sum(entry["FilePmdMapped"] for entry in text) == found[0]["huge_bytes"]


def test_other_mappings_lie_where_the_kernel_puts_them(hugexec_command, overlay):
    """Constructors and programs map what they like, and find nothing changed."""
    (overlay / "maps.c").write_text(MAPS)
    (overlay / "main.c").write_text("void map(void);\nint main(void) { map(); return 7; }\n")
    (overlay / "text.s").write_text(bigtext_generator.assembly(6))
    (overlay / "file").write_bytes(bytes(8 << 20))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libmaps.so", "maps.c", "text.s"], cwd=overlay, check=True)
    subprocess.run(["cc", "-o", "maps", "main.c", "-L.", "-lmaps", f"-Wl,-rpath,{overlay}"], cwd=overlay, check=True)
    os.sync()
    words, report = hugexec_command([overlay / "maps"], policy(), "file")
    for command in ([overlay / "maps"], words):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "MAPPED": f"{overlay}/file"})
        if (done.stdout, command) == ("aligned\naligned\n", [overlay / "maps"]):
            pytest.skip("this kernel aligns large mappings of overlayfs")
        assert (done.stdout, done.returncode) == ("anywhere\nanywhere\n", 7), done
    assert read_report(report)[-1]["outcome"] == "remapped"
