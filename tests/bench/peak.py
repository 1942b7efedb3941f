#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""peak.py COMMAND...: run COMMAND, watch the processes that hugexec starts, print their peak memory as JSON.

The kernel keeps each process's peak itself (VmHWM); it is looked at until the process is gone, so what can be missed is
only what a process takes in its last few hundred microseconds. A command is run several times, the largest peak counts.
"""
import json
import pathlib
import subprocess
import sys


def peak_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def children(pid):
    return [int(word) for word in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def watch(command):
    peaks, looks = {}, 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as root:
        pids = {}
        while root.poll() is None:
            try:
                for child in children(root.pid):
                    pids.setdefault(child, "tracer")
                    for grandchild in children(child):
                        pids.setdefault(grandchild, "helper")
            except OSError:
                pass
            for pid, name in pids.items():
                try:
                    peaks[name] = max(peaks.get(name, 0), peak_kib(pid))
                    looks += 1
                except OSError:
                    pass
    return peaks, looks


def main():
    largest, looks = {}, 0
    for _ in range(7):
        peaks, count = watch(sys.argv[1:])
        looks += count
        for name, peak in peaks.items():
            largest[name] = max(largest.get(name, 0), peak)
    if not largest:
        sys.exit("peak: no process of hugexec's was seen")
    print(json.dumps({"peak_kib": sum(largest.values()), "by_process_kib": largest, "looks": looks}))


if __name__ == "__main__":
    main()
