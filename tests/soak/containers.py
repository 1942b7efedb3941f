#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Many containers: containers.py [COUNT [AT_ONCE]] (default: 1000, 200 at once), with the hook and without in turn.

None is lost, all that have the hook are remapped, and nothing stays: no process, no file in /run/hugexec, no huge page, no
memfd. Prints how long both took, as a ratio, and fails where that is above 1.2 (or anything else is not as it has to be).
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1]), str(pathlib.Path(__file__).resolve().parents[1] / "oci")]
from containers import Containers, big, policy, tracers

from lib.process import wait_for

RATIO_MAX = 1.2
ROUND_SECONDS = 900


def memory_files():
    """How many memfds and unlinked files of shared memory there are in all processes."""
    count = 0
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        try:
            count += os.readlink(link).startswith("/memfd:")
        except OSError:
            pass
    return count


def run_all(containers, bundles, hook, number):
    """Run a container for each of BUNDLES, all at once; seconds."""
    begin = time.monotonic()
    running = [subprocess.Popen(containers.sandbox.inside(containers.words("run", "--bundle", bundle, f"soak-{hook}-{number}-{i}")),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for i, bundle in enumerate(bundles)]
    try:
        for process in running:
            _, err = process.communicate(timeout=ROUND_SECONDS)
            if process.returncode != 9:
                sys.exit(f"soak: a container ended with {process.returncode}: {err.decode(errors='replace')}")
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait(20)
    return time.monotonic() - begin


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    at_once = min(count, int(sys.argv[2]) if len(sys.argv) > 2 else 200)
    if os.geteuid() != 0:
        sys.exit("soak: containers take root")
    before = memory_files()
    ratios, seconds, done = [], {True: 0.0, False: 0.0}, 0
    with tempfile.TemporaryDirectory(prefix=f"hugexec-soak-{os.getpid()}-") as folder:
        containers = Containers("runc", pathlib.Path(folder), policy())
        try:
            bundles = {}
            for hook in (False, True):
                first = containers.bundle(f"hook{hook}", ["/bin/big", "exit", "9"], {"/bin/big": big()}, hook=hook)
                bundles[hook] = [first] * at_once  # one image for all, as on a node
            while done < count:
                took = {hook: run_all(containers, bundles[hook], hook, done) for hook in (False, True)}
                ratios.append(took[True] / took[False])
                for hook, value in took.items():
                    seconds[hook] += value
                done += at_once
                print(f"soak: {done} containers, {took[False]:.1f} s without and {took[True]:.1f} s with the hook",
                      file=sys.stderr)
            wait_for(lambda: not tracers(), what="all tracers to be gone")
            outcomes = [line["outcome"] for line in containers.reports()]
            if outcomes != ["remapped"] * done:
                sys.exit(f"soak: of {done} containers {outcomes.count('remapped')} were remapped")
            if containers.records():
                sys.exit(f"soak: left in /run/hugexec: {containers.records()}")
            held = sorted(line["latency_us"] / 1000 for line in containers.reports())
        finally:
            containers.close()
    wait_for(lambda: memory_files() <= before, what="all memfds to be gone")
    ratio = statistics.median(ratios)
    print(f"{done} containers with the hook, {at_once} at once: {ratio:.2f} times as long as without "
          f"({seconds[True]:.1f} s and {seconds[False]:.1f} s)")
    print(f"held for: median {held[len(held) // 2]:.1f} ms, 99 % within {held[len(held) * 99 // 100]:.1f} ms")
    return 1 if ratio > RATIO_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
