# SPDX-License-Identifier: Apache-2.0
"""What differs in a build with AddressSanitizer, which wants terabytes of address space, and looks for leaks with ptrace(2)."""
import os

import pytest

# Built with AddressSanitizer: it wants terabytes of address space, and looks for leaks with ptrace(2).
SANITIZED = "HUGEXEC_SANITIZED" in os.environ
NOT_SANITIZED = pytest.mark.skipif(SANITIZED, reason="AddressSanitizer does not work under this limit")
# What AddressSanitizer itself needs: descriptors for its maps, /proc, its own system calls.
TAKEN_AWAY = ("few_files", "core_file", "no_proc", "errno-prlimit64", "kill-madvise", "refuses_ptrace[2147483648-kills]")


def without_leak_check():
    """An environment for surroundings in which leaks cannot be looked for."""
    return {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"} if SANITIZED else {}
