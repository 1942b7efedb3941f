# SPDX-License-Identifier: Apache-2.0
"""Programs that stand still on huge pages."""
import contextlib

import pytest

from lib.process import at_rest, wait_for
from lib.report import read_report


@contextlib.contextmanager
def remapped(hugexec_command, command, **arguments):
    """COMMAND, on huge pages and at rest; yields its Popen and its report."""
    words, report = hugexec_command(command, **arguments)
    with at_rest(words) as process:
        lines = wait_for(lambda: read_report(report))
        assert lines, process.poll()
        if lines[0]["outcome"] != "remapped":
            pytest.skip(f"not remapped: {lines[0]['reason']}")
        yield process, lines[0]
