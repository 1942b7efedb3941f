# SPDX-License-Identifier: Apache-2.0
"""make install: below PREFIX, also of a build that was configured for another, and where hugexec and systemd look."""
import os
import re
import shutil

import pytest

from lib.process import run
from lib.sanitized import SANITIZED
from lib.surroundings import ROOT

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is a build of its own")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install") / "build"
    done = run(["meson", "setup", folder, ROOT, "--prefix=/usr", "-Dtests=false", "-Doptimization=0", "-Ddebug=false"])
    assert done.returncode == 0, done.stdout
    return folder


def make(target, build, where, **variables):
    done = run(["make", "-C", ROOT, target, f"BUILD={build}", *(f"{name}={value}" for name, value in variables.items())], timeout=280,
               env={**os.environ, "DESTDIR": str(where)})
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_prefix(build, tmp_path):
    target = tmp_path / "target"
    make("install", build, target, PREFIX="/opt/x")
    files = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert {"opt/x/bin/hugexec", "opt/x/bin/hugexecctl", "opt/x/sbin/hugexecd", "opt/x/libexec/hugexec/hugexec-oci-hook",
            "opt/x/share/man/man1/hugexec.1", "opt/x/share/containers/oci/hooks.d/hugexec.json",
            "opt/x/share/hugexec/examples/strict.json"} <= files
    assert {f"opt/x/share/doc/hugexec/docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= files
    assert {f"opt/x/share/doc/hugexec/{name}" for name in ("README.md", "CHANGELOG.md", "LICENSE")} <= files
    # The administrator's policy is in /etc unless SYSCONFDIR says something else.
    assert {"opt/x/lib/hugexec/policy.json", "etc/hugexec/policy.d"} <= files
    assert not {path for path in files if path.startswith(("usr/bin", "usr/libexec", "usr/share", "usr/lib/hugexec", "opt/x/etc"))}
    unit, = target.rglob("hugexecd.service")
    assert "\nExecStart=/opt/x/sbin/hugexecd" in unit.read_text()
    # What every removal begins with: packages run the one that is installed, make uninstall the build's.
    leave_units = target / "opt/x/libexec/hugexec/leave-units"
    assert os.access(leave_units, os.X_OK) and leave_units.read_text() == (build / "config/leave-units").read_text()
    assert "\n/opt/x/bin/hugexecctl enable --migrate" in leave_units.read_text()
    hook = target / "opt/x/share/containers/oci/hooks.d/hugexec.json"
    assert '"/opt/x/libexec/hugexec/hugexec-oci-hook"' in hook.read_text()
    assert b"/opt/x/bin" in (target / "opt/x/bin/hugexecctl").read_bytes()
    folder = run(["pkg-config", "--variable=tmpfilesdir", "systemd"]).stdout.strip()
    assert not folder or f"{folder}/hugexec.conf".lstrip("/") in files
    make("uninstall", build, target)
    assert not [path for path in target.rglob("*") if not path.is_dir()]


def test_all_of_it_in_one_folder(build, tmp_path):
    """Programs, units and manuals name the folders that they are installed for."""
    target = tmp_path / "target"
    make("install", build, target, PREFIX="/opt/x", SYSCONFDIR="/opt/x/etc")
    assert (target / "opt/x/etc/hugexec/policy.d").is_dir() and not (target / "etc").exists() and not (target / "usr/bin").exists()
    installed = [path for path in target.rglob("*") if path.is_file() and "share/hugexec" not in str(path) and "share/doc" not in str(path)]
    elsewhere = re.compile(rb"(?<!/opt/x)(/etc/hugexec|/usr/lib/hugexec|/usr/libexec/hugexec|/usr/s?bin/hugexec|/usr/share/hugexec)")
    assert not [(path, found[0]) for path in installed if (found := elsewhere.search(path.read_bytes()))]
    assert b"/opt/x/etc/hugexec" in (target / "opt/x/bin/hugexec").read_bytes()
    assert b"/opt/x/lib/hugexec" in (target / "opt/x/bin/hugexec").read_bytes()
    for name, says in (("hugexec-pool.service", "=/opt/x/etc/hugexec/pool.conf\n"), ("hugexec-warm.service", "=|/opt/x/lib/hugexec/policy.d\n"),
                       ("hugexec-policy.5", "\n.I /opt/x/etc/hugexec/policy.json\n")):
        path, = target.rglob(name)
        assert says in path.read_text()


def test_the_source_is_the_same_each_time(tmp_path):
    """make dist, by two people with clones, clocks and umasks of their own; what it holds can be built."""
    if not shutil.which("git") or run(["git", "-c", "safe.directory=*", "-C", ROOT, "rev-parse", "HEAD"]).returncode != 0:
        pytest.skip("this is no clone of the repository, or git is not installed")
    made = []
    for who, umask in (("one", 0o022), ("two", 0o077)):
        clone = tmp_path / who
        assert run(["git", "-c", "safe.directory=*", "clone", "-q", "--no-hardlinks", ROOT, clone], umask=umask).returncode == 0
        for path in clone.glob("*/*"):
            os.utime(path, (len(who), umask))
        done = run(["make", "-C", clone, "dist", "BUILD=build"], umask=umask)
        assert done.returncode == 0 and "not committed" not in done.stderr, done.stdout + done.stderr
        assert run(["sha256sum", "--check", "SHA256SUMS"], cwd=clone / "build" / "dist").returncode == 0
        archive, = (clone / "build" / "dist").glob("hugexec-*.tar.gz")
        made.append((archive.name, archive.read_bytes()))
    assert made[0] == made[1]
    assert run(["tar", "-xf", archive, "-C", tmp_path]).returncode == 0
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    assert run(["meson", "setup", tmp_path / "build", source, "-Dtests=false"]).returncode == 0
    head = run(["git", "-c", "safe.directory=*", "-C", ROOT, "rev-parse", "HEAD"]).stdout
    assert f'"{head[:12]}"' in (tmp_path / "build/shim/base/commit.h").read_text()
