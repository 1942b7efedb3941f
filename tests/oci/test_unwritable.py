# SPDX-License-Identifier: Apache-2.0
"""The hook and hugexec-runtime with a standard error that takes nothing, or ends who writes to it."""
import json
import os
import shutil
import subprocess

import pytest
from mount_sandbox import MountSandbox

from lib.surroundings import BUILD
from lib.unwritable import STANDARD_ERRORS, default_signals, full_file

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

HANG = 60  # seconds
FAILS = {"version": 1, "settings": {"on_error": "fail"}, "rules": [{"match": {"via": "hook"}}]}
GOES_ON = {"version": 1, "rules": [{"match": {"via": "hook"}}]}


@pytest.fixture
def call(tmp_path):
    """Run WORDS on a host with POLICY: CompletedProcess."""
    boxes = []

    def run(place, policy, words, **options):
        boxes.append(MountSandbox(tmp_path / f"box{len(boxes)}", {"hugexec/policy.json": policy}))
        with place(tmp_path) as (stderr, _):
            return subprocess.run(boxes[-1].inside(["sh", "-c", 'exec "$@"', "sh", *map(str, words)]), stdout=subprocess.PIPE,
                                  stderr=stderr, timeout=HANG, check=False,
                                  preexec_fn=default_signals(stderr, is_limited=place is full_file), **options)

    yield run
    for sandbox in boxes:
        sandbox.close()


@pytest.mark.parametrize("place", STANDARD_ERRORS.values(), ids=STANDARD_ERRORS)
@pytest.mark.parametrize("policy, status", [(GOES_ON, 0), (FAILS, 1)])
def test_hook(call, place, policy, status):
    """A state that it cannot read: the container starts, or not, as the policy says."""
    done = call(place, policy, [BUILD / "oci-hook" / "hugexec-oci-hook"], input=b"{")
    assert (done.stdout, done.returncode) == (b"", status)


@pytest.mark.parametrize("place", STANDARD_ERRORS.values(), ids=STANDARD_ERRORS)
def test_hook_with_wrong_words(call, place):
    for words in (["--nonsense"], ["two", "stages"]):
        assert call(place, GOES_ON, [BUILD / "oci-hook" / "hugexec-oci-hook", *words], input=b"").returncode == 2


@pytest.mark.parametrize("place", STANDARD_ERRORS.values(), ids=STANDARD_ERRORS)
def test_runtime(call, tmp_path, place):
    """No hook is beside it, which it says; then it is the real runtime."""
    (tmp_path / "bin").mkdir()
    runtime = shutil.copy(BUILD / "oci-hook" / "hugexec-runtime", tmp_path / "bin")
    tells = tmp_path / "bin" / "tells"
    tells.write_text("#!/bin/sh\necho $#\nexit 7\n")
    tells.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"annotations": {}}))
    done = call(place, "{", [runtime, "--runtime", tells, "create", "-b", tmp_path, "id"], stdin=subprocess.DEVNULL)
    assert (done.stdout, done.returncode) == (b"4\n", 7)
