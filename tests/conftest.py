"""What all topics share (surroundings.py): loaded before any other module of theirs."""
from surroundings import pytest_configure  # noqa: F401
