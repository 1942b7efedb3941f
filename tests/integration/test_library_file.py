# SPDX-License-Identifier: Apache-2.0
"""Whoever traces may have more rights than the program: a library's file must be the one that is mapped, whatever its path leads to."""
import os
import subprocess

import pytest

from lib.policies import policy_with
from lib.report import read_report
from programs import bigtext as generator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")

# Tells what a slot of its text holds, once its constructor has put something else where its file was.
LIBRARY = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
extern const unsigned long bigtext_pages;
extern unsigned long bigtext_walk(unsigned long);
__attribute__((constructor)) static void swap(void)
{
	const char *folder = getenv("SWAPPED"), *by = getenv("BY");
	char path[256];
	if (!folder)
		return;
	snprintf(path, sizeof path, "%s/lib.so", folder);
	if (!by)
		chmod(path, 0);
	else if (unlink(path) < 0 || rmdir(folder) < 0 || symlink(by, folder) < 0)
		_exit(98);
}
__attribute__((destructor)) static void look(void)
{
	const char *slot = (const char *)(((unsigned long)bigtext_walk + (4UL << 20)) & ~4095UL);
	printf("%s\n", memmem(slot, 65536, "SECRET", 6) ? "leaked" : "kept");
	fflush(stdout);
}
"""
# Two filesystems of one kind number their files alike.
SCRIPT = r"""
mount -t tmpfs -o size=64M none "$1/a" && mount -t tmpfs -o size=64M none "$1/b" && chmod 777 "$1/a" &&
mkdir "$1/a/d" "$1/b/d" && cp "$1/library.so" "$1/a/d/lib.so" && cp "$1/secret" "$1/b/lib.so (deleted)" &&
chown -R 65534 "$1/a/d" && chmod "$SECRET_MODE" "$1/b/lib.so (deleted)" &&
[ "$(stat -c %i "$1/a/d/lib.so")" = "$(stat -c %i "$1/b/lib.so (deleted)")" ] || exit 97
shift
exec "$@"
"""
WITHOUT_MAP_FILES = ["setpriv", "--bounding-set=-sys_admin,-checkpoint_restore", "--inh-caps=-all"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def folder(public_folder):
    for name in ("a", "b"):
        (public_folder / name).mkdir()
    (public_folder / "library.c").write_text(LIBRARY)
    (public_folder / "text.s").write_text(generator.assembly(8))
    subprocess.run(["cc", "-w", "-D_GNU_SOURCE", "-shared", "-fPIC", "-Wl,-z,max-page-size=0x200000", "-o", "library.so", "library.c", "text.s"],
                   cwd=public_folder, check=True)
    (public_folder / "secret").write_bytes(b"SECRET".ljust(64, b".") * (16 << 14))
    return public_folder


def launch(folder, command, secret_mode="600"):
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh", folder, *WITHOUT_MAP_FILES, *map(str, command)],
                          capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "SECRET_MODE": secret_mode})
    if done.returncode == 97:
        pytest.skip("files of two tmpfs have different numbers here")
    return done


def library_of(report):
    """What the last report says of the library."""
    library, = [each for each in read_report(report)[-1]["objects"] if "/lib.so" in each["path"]]
    return library


@pytest.mark.parametrize("secret_mode", ["600", "644"])
@pytest.mark.parametrize("backing", ["thp", "file"])
def test_another_file_in_its_place(folder, hugexec_command, backing, secret_mode):
    """A file of root's is not what nobody gets for text."""
    program = [*NOBODY, "env", f"LD_PRELOAD={folder}/a/d/lib.so", f"SWAPPED={folder}/a/d", f"BY={folder}/b", "/bin/true"]
    words, report = hugexec_command(program, policy_with(libraries=True, follow="none", match={"exe": "/**/true"}), backing)
    report.touch()
    report.chmod(0o666)
    plain, ours = launch(folder, program, secret_mode), launch(folder, words, secret_mode)
    assert (plain.stdout, plain.returncode) == ("kept\n", 0), plain
    assert (ours.stdout, ours.returncode) == ("kept\n", 0), ours
    library = library_of(report)
    assert library["huge_bytes"] == 0 and library["reason"].startswith("text-unreadable: "), library


def test_its_own_file_by_its_path(folder, hugexec_command):
    """Without the right to use /proc/PID/map_files."""
    program = [*NOBODY, "env", f"LD_PRELOAD={folder}/a/d/lib.so", "/bin/true"]
    words, report = hugexec_command(program, policy_with(libraries=True, follow="none", match={"exe": "/**/true"}), "thp")
    report.touch()
    report.chmod(0o666)
    ours = launch(folder, words)
    assert (ours.stdout, ours.returncode) == ("kept\n", 0), ours
    assert library_of(report)["huge_bytes"] >= 2 << 20


def test_a_file_that_it_may_not_read_any_more(folder, hugexec_command):
    """We could, with rights that the program does not have."""
    program = [*NOBODY, "env", f"LD_PRELOAD={folder}/a/d/lib.so", f"SWAPPED={folder}/a/d", "/bin/true"]
    words, report = hugexec_command(program, policy_with(libraries=True, follow="none", match={"exe": "/**/true"}), "thp")
    report.touch()
    report.chmod(0o666)
    ours = launch(folder, words)
    assert (ours.stdout, ours.returncode) == ("kept\n", 0), ours
    assert library_of(report)["reason"].startswith("text-unreadable: ")
