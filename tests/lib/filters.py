# SPDX-License-Identifier: Apache-2.0
"""A seccomp filter under which hugexec finds no breakpoints."""

import pytest

PTRACE_POKEUSER = 6


def with_filter():
    """One that allows all that hugexec needs, which cannot know that, and takes its careful way; but no breakpoints of any kind."""
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.add_rule(seccomp.KILL, "perf_event_open")
    rules.add_rule(seccomp.KILL, "ptrace", seccomp.Arg(0, seccomp.EQ, PTRACE_POKEUSER))
    rules.load()


SURROUNDINGS = {"plain": None, "filtered, no breakpoints": with_filter}
