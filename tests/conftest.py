# SPDX-License-Identifier: Apache-2.0
"""What all tests share; loaded before any other module of theirs, so that these find the surroundings set."""
import pytest

from lib.machine import turn
from lib.process import end_processes
from lib.programs import build_bigtext
from lib.started import remove_perf_maps
from lib.surroundings import pytest_configure  # noqa: F401


@pytest.fixture(scope="session")
def bigtext():
    """Path of a generated program with MIB of text."""
    return build_bigtext


@pytest.fixture(autouse=True)
def own_turn(request):
    """Tests run beside each other, but for those that change a setting of the whole machine or compare times (`alone`)."""
    with turn(request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(autouse=True)
def nothing_is_left(own_turn):
    yield
    end_processes()
    remove_perf_maps()
