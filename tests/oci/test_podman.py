# SPDX-License-Identifier: Apache-2.0
"""podman, which calls the hook by the hooks.d file that is installed."""
import json
import os
import shutil

import pytest
from containers import HOOK, Containers, big, policy, tracers

from lib.machine import HUGE
from lib.process import wait_for
from lib.surroundings import BUILD, ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("podman"), reason="podman is not installed, or this is not root")


@pytest.fixture(params=["runc", "crun"])
def podman(request, tmp_path):
    """Run ARGS from a root folder with busybox and big: CompletedProcess. With the installed file, but for the hook's path."""
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    containers = Containers(request.param, tmp_path / "podman", policy())
    hooks = json.loads((BUILD / "oci-hook" / "hugexec.json").read_text())
    hooks["hook"]["path"] = str(HOOK)
    hooks["hook"]["args"] = [HOOK.name, f"--report={containers.report_file}"]
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "hugexec.json").write_text(json.dumps(hooks))
    bundle = containers.bundle("root", ["true"], {"/bin/big": big()}, hook=False)

    def call(*args, annotation="true", options=()):
        # Without CAP_SYS_RESOURCE it cannot raise limits; without a network there is nothing to set up.
        return containers.sandbox.run([
            "podman", "--root", tmp_path / "storage", "--runroot", "/run/podman", "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime", shutil.which(request.param),
            "--hooks-dir", tmp_path / "hooks", "run", "--rm", "--annotation", f"io.hugexec.remap={annotation}",
            "--network=none", "--log-driver=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000",
            *(["--cgroups=disabled"] if request.param == "crun" else []), *options, "--rootfs", bundle / "rootfs", *args], timeout=90)

    call.containers = containers
    yield call
    containers.close()
    wait_for(lambda: not tracers(), what="all tracers to be gone")


def test_podman(podman):
    plain = podman("/bin/big", "exit", "9", annotation="false")
    assert plain.returncode == 9, plain.stderr
    assert podman.containers.reports() == []
    ours = podman("/bin/big", "exit", "9")
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 9)
    line = podman.containers.report()
    assert line["outcome"] == "remapped" and line["exe"] == "/bin/big" and line["huge_bytes"] >= 3 * HUGE
    assert podman.containers.records() == []


@pytest.mark.skipif(not shutil.which("catatonit"), reason="Debian's catatonit is not installed")
def test_init(podman):
    """--init puts catatonit before the program, as the parent of it; the shipped policy has such containers."""
    podman.containers.sandbox.run(["cp", ROOT / "config" / "policy.json", "/etc/hugexec/policy.json"])
    done = podman("/bin/big", "exit", "9", options=["--init", "--init-path", shutil.which("catatonit")])
    assert done.returncode == 9, done.stderr
    lines = {line["exe"]: line["outcome"] for line in podman.containers.reports()}
    assert lines["/bin/big"] == "remapped" and len(lines) == 2
