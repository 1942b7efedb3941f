# SPDX-License-Identifier: Apache-2.0
"""What hugexec-metrics.service runs, in a folder whose owner has put links in its way."""
import os
import re

from lib.process import run
from lib.surroundings import BUILD


def test_it_writes_behind_no_link(tmp_path):
    unit = (BUILD / "units" / "hugexec-metrics.service").read_text(encoding="ascii")
    options, script = re.search(r"^ExecStart=/bin/sh (\S+) '(.*)'$", unit, re.MULTILINE).groups()
    script = re.sub(r"\S*/hugexecctl ", f"{BUILD}/shim/hugexecctl ", script.replace("$$", "$"))
    folder, victim, made = tmp_path / "folder", tmp_path / "victim", tmp_path / "made"
    folder.mkdir()
    victim.write_text("root's")
    for target in (victim, made):
        for name in (".hugexec.prom", "hugexec.prom"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)
        done = run(["sh", options, script], env={**os.environ, "FOLDER": str(folder)}, umask=0o022)
        assert done.returncode == 0, done.stderr
        assert victim.read_text() == "root's" and not made.exists()
        assert os.listdir(folder) == ["hugexec.prom"] and not (folder / "hugexec.prom").is_symlink()
        assert "hugexec_policy_valid" in (folder / "hugexec.prom").read_text(encoding="utf-8")
