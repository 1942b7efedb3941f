# SPDX-License-Identifier: Apache-2.0
"""Steps at which a build with -Dfaults=true can be stopped or killed."""

import pytest

from lib.process import run

HELPER_STEPS = ("helper-accepted", "helper-received", "helper-seized", "helper-answered")

# hugexecctl's own: tests/packaging/test_enable_faults.py kills it at each.
ENABLE = ("enable-named", "enable-reloaded", "enable-taken", "enable-restarted", "enable-watched", "enable-kept")
TAKE_BACK = ("enable-unnamed", "enable-unloaded")
DISABLE = ("disable-unnamed", "disable-reloaded")

# Of hugexecctl warm --share.
SHARE = ("shared-written",)


def list_steps(hugexec):
    """Their names; skips the test in another build."""
    listed = run([hugexec, "--list-steps"])
    if listed.returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")
    return listed.stdout.split()
