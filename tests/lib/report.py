# SPDX-License-Identifier: Apache-2.0
"""Reports of hugexec."""
import json
import pathlib


def read_report(path):
    """The lines of a report file, as dicts."""
    path = pathlib.Path(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def split_report(stderr):
    """Standard error without the report line that --report=- put there, and that line."""
    lines = stderr.splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in lines if not line.startswith("{")], reports
