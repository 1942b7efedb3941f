# SPDX-License-Identifier: Apache-2.0
"""A container that was remapped can be checkpointed and restored."""
import json
import os
import shutil

import pytest
from containers import Containers, big, policy

from lib.machine import HUGE
from lib.process import wait_for
from lib.smaps import huge_text_bytes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and containers need root")


def test_checkpoint_and_restore(tmp_path):
    if not shutil.which("criu"):
        pytest.skip("criu is not installed")
    ours = Containers("runc", tmp_path / "runc", policy(backing=["file"]))
    try:
        plain = ours.bundle("plain", ["/bin/big", "sleep"], {"/bin/big": big()}, hook=False)
        name, _ = ours.start(plain)
        tried = ours.call("checkpoint", "--image-path", tmp_path / "plain", name)
        if tried.returncode != 0:
            pytest.skip(f"criu cannot do it here, without hugexec: {tried.stderr.strip()[-200:]}")
        bundle = ours.bundle("ours", ["/bin/big", "sleep"], {"/bin/big": big()})
        name, pid = ours.start(bundle)
        assert huge_text_bytes(pid) >= 3 * HUGE
        done = ours.call("checkpoint", "--image-path", tmp_path / "images", name)
        assert done.returncode == 0, done.stderr
        done = ours.call("restore", "--detach", "--image-path", tmp_path / "images", "--bundle", bundle, name)
        assert done.returncode == 0, done.stderr
        wait_for(lambda: json.loads(ours.call("state", name).stdout)["status"] == "running", what="the restored container")
    finally:
        ours.close()
