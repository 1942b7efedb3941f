# SPDX-License-Identifier: Apache-2.0
"""Steps at which a build with -Dfaults=true can be stopped or killed."""

import pytest

from lib.process import run

HELPER_STEPS = ("helper-accepted", "helper-received", "helper-seized", "helper-answered")


def list_steps(hugexec):
    """Their names; skips the test in another build."""
    listed = run([hugexec, "--list-steps"])
    if listed.returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")
    return listed.stdout.split()
