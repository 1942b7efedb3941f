# SPDX-License-Identifier: Apache-2.0
"""What all tests share; loaded before any other module of theirs, so that these find the surroundings set."""
import pytest

from lib.process import end_processes
from lib.programs import build_bigtext
from lib.surroundings import pytest_configure  # noqa: F401


@pytest.fixture(scope="session")
def bigtext():
    """Path of a generated program with MIB of text."""
    return build_bigtext


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    end_processes()
