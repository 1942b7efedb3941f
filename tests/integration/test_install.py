# SPDX-License-Identifier: Apache-2.0
"""make install: below PREFIX, also of a build that was configured for another, and where hugexec and systemd look."""
import os

import pytest

from lib.process import run
from lib.sanitized import SANITIZED
from lib.surroundings import ROOT

pytestmark = pytest.mark.skipif(SANITIZED, reason="it is a build of its own")


def test_another_prefix(tmp_path):
    build, target = tmp_path / "build", tmp_path / "target"
    quick = ["-Dtests=false", "-Doptimization=0", "-Ddebug=false"]
    done = run(["meson", "setup", build, ROOT, "--prefix=/usr", *quick])
    assert done.returncode == 0, done.stdout
    done = run(["make", "-C", ROOT, "install", f"BUILD={build}", "PREFIX=/opt/x"], timeout=280,
               env={**os.environ, "DESTDIR": str(target)})
    assert done.returncode == 0, done.stdout + done.stderr
    files = {str(path.relative_to(target)) for path in target.rglob("*")}
    assert {"opt/x/bin/hugexec", "opt/x/bin/hugexecctl", "opt/x/sbin/hugexecd", "opt/x/libexec/hugexec/hugexec-oci-hook",
            "opt/x/share/man/man1/hugexec.1", "opt/x/share/containers/oci/hooks.d/hugexec.json",
            "opt/x/share/hugexec/examples/strict.json"} <= files
    # What is read from one place only.
    assert {"usr/lib/hugexec/policy.json", "etc/hugexec/policy.d"} <= files
    assert not {path for path in files if path.startswith(("usr/bin", "usr/libexec", "usr/share", "opt/x/etc", "opt/x/lib/hugexec"))}
    unit, = target.rglob("hugexecd.service")
    assert "\nExecStart=/opt/x/sbin/hugexecd" in unit.read_text()
    hook = target / "opt/x/share/containers/oci/hooks.d/hugexec.json"
    assert '"/opt/x/libexec/hugexec/hugexec-oci-hook"' in hook.read_text()
    assert b"/opt/x/bin" in (target / "opt/x/bin/hugexecctl").read_bytes()
    folder = run(["pkg-config", "--variable=tmpfilesdir", "systemd"]).stdout.strip()
    assert not folder or f"{folder}/hugexec.conf".lstrip("/") in files
