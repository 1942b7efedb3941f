# SPDX-License-Identifier: Apache-2.0
"""What the tests of containers share."""
import shutil

import pytest
from containers import Containers, policy, tracers

from lib.process import wait_for


@pytest.fixture
def containers(tmp_path):
    made = []

    def make(runtime="runc", **settings):
        if not shutil.which(runtime):
            pytest.skip(f"{runtime} is not installed")
        made.append(Containers(runtime, tmp_path / f"{runtime}{len(made)}", policy(**settings)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    wait_for(lambda: not tracers(), what="all tracers to be gone")
