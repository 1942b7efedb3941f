# SPDX-License-Identifier: Apache-2.0
"""
Crashes of hugexec's own processes, as the kernel's log tells them: a tracer or a reader that crashes costs the workload nothing, so
that no other test need notice. machine_state.py asks before and after each phase.
"""
import os
import pathlib
import re
import sys

DEVICE = pathlib.Path("/dev/kmsg")
SWITCH = pathlib.Path("/proc/sys/debug/exception-trace")
# "hugexec-tracer[123]: segfault at ...", "traps: hugexecd[123] general protection fault ip:...", "... trap invalid opcode ..."
CRASH = re.compile(r"(?:traps: )?(hugexec[\w-]*)\[(\d+)\]:? (?:segfault|general protection|trap |unhandled|bad frame|stack segment|alignment|#)")
# What tests bring about: what the line has, and which test.
PROVOKED = (
    (" in libnss_test.so", "integration/test_hold.py: a name service that crashes"),
    ("hugexec-planted[", "integration/test_kernel_log.py: a program that crashes by this name"),
)


def records():
    """The sequence number and the text of all that the kernel still has of its log; OSError where it may not be read."""
    log = os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                head, _, text = os.read(log, 8192).decode(errors="replace").partition(";")
            except BrokenPipeError:  # overwritten while we read: it goes on with the oldest
                continue
            except BlockingIOError:
                return
            yield int(head.split(",")[1]), text.partition("\n")[0]
    finally:
        os.close(log)


def why_not():
    """Why the log tells of no crash here; "" if it does."""
    try:
        log = os.open(DEVICE, os.O_RDONLY | os.O_NONBLOCK)
        os.close(log)
    except OSError as error:
        return f"the kernel's log cannot be read ({error.strerror})"
    if SWITCH.exists() and SWITCH.read_text().strip() == "0":
        return "the kernel logs no crashes: debug.exception-trace is 0"
    return ""


def position():
    """After which record to look later; -1: the log cannot be read, or is empty."""
    try:
        return max((number for number, _ in records()), default=-1)
    except OSError:
        return -1


def crashes(lines, provoked=PROVOKED):
    """Those of LINES that tell of a crash of hugexec's which no test has brought about."""
    for line in lines:
        if CRASH.match(line) and not any(what in line for what, _ in provoked):
            yield line


def crashes_since(number, provoked=PROVOKED):
    if why_not():
        return []
    return list(crashes((text for at, text in records() if at > number), provoked))


if __name__ == "__main__":
    print("\n".join(crashes_since(-1)) or why_not() or "no crash of hugexec's in the kernel's log")
    sys.exit(1 if crashes_since(-1) else 0)
