# SPDX-License-Identifier: Apache-2.0
"""The hooks.d file that is installed for podman and CRI-O, as podman reads it, with a stand-in for the hook."""
import contextlib
import json
import os
import pathlib
import shutil

import pytest
from mount_sandbox import MountSandbox

from lib.process import wait_for
from lib.surroundings import BUILD

STAND_IN = """#!/bin/sh
exec cat >"$(dirname "$0")/states/$$.json"
"""

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
              pytest.mark.skipif(not shutil.which("podman") or not shutil.which("runc"),
                                 reason="podman or runc is not installed")]


@pytest.fixture
def podman(tmp_path):
    """Run a container by podman with the annotations; returns what came of it and the states that the hook was told."""
    (tmp_path / "states").mkdir()
    hook = tmp_path / "hugexec-oci-hook"
    hook.write_text(STAND_IN)
    hook.chmod(0o755)
    definition = json.loads((BUILD / "oci-hook" / "hugexec.json").read_text())
    assert definition["hook"]["path"].endswith("/libexec/hugexec/hugexec-oci-hook")
    definition["hook"]["path"] = str(hook)
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hooks.d" / "hugexec.json").write_text(json.dumps(definition))
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "rootfs" / "bin")
    parents = {path / "libpod_parent" for path in pathlib.Path("/sys/fs/cgroup").iterdir() if path.is_dir()}
    new = [path for path in [*parents, pathlib.Path("/sys/fs/cgroup/libpod_parent")] if not path.exists()]
    sandbox = MountSandbox(tmp_path / "box", {})

    def call(*annotations):
        words = [word for annotation in annotations for word in ("--annotation", annotation)]
        done = sandbox.run(
            ["podman", "--root", tmp_path / "storage", "--runroot", "/run/podman", "--cgroup-manager", "cgroupfs",
             "--runtime", shutil.which("runc"), "--hooks-dir", tmp_path / "hooks.d", "run", "--rm", "--network=none",
             "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000", *words, "--rootfs", tmp_path / "rootfs",
             "/bin/busybox", "sh", "-c", "echo out; exit 6"])
        assert (done.returncode, done.stdout) == (6, "out\n"), done.stderr
        return tmp_path / "states"

    yield call
    sandbox.close()
    for path in new:  # podman leaves them; another podman may be in there by now
        for folder, _, _ in os.walk(path, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def test_annotated_containers_get_the_hook_at_both_stages(podman):
    states = podman("io.hugexec.remap=true", "other=1")
    wait_for(lambda: len(list(states.iterdir())) == 2, what="the poststop hook")
    told = sorted((json.loads(path.read_text()) for path in states.iterdir()), key=lambda state: state["status"])
    assert [state["status"] for state in told] == ["creating", "stopped"]
    assert told[0]["annotations"]["io.hugexec.remap"] == "true"


@pytest.mark.parametrize("annotations", [[], ["other=true"], ["xio.hugexec.remap=true"], ["io.hugexec.remapx=true"]])
def test_others_do_not(podman, annotations):
    assert not list(podman(*annotations).iterdir())
