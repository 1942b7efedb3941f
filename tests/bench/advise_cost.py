# SPDX-License-Identifier: Apache-2.0
"""What hugexecctl advise costs the program that it watches, and how long it takes: pairs of runs, one of each watched."""
import os
import random
import signal
import statistics
import subprocess
import time

WORK_SECONDS = 1
SECONDS = 1
RESAMPLES = 2000


def pinned(command, processor):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {processor})
    return process


def run(command, advise):
    """COMMAND from start to exit, watched by ADVISE's words if any. Returns (its wall, its processor time, the watcher's processor time)."""
    begin = time.perf_counter()
    process = pinned(command, os.cpu_count() - 1)
    watcher = pinned([*advise, str(process.pid)], 0) if advise else None
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    watched = 0
    if watcher:
        watcher.send_signal(signal.SIGTERM)
        _, status, used = os.wait4(watcher.pid, 0)
        watcher.returncode = os.waitstatus_to_exitcode(status)
        if watcher.returncode != -signal.SIGTERM:
            raise RuntimeError("hugexecctl advise did not watch to the end")
        watched = used.ru_utime + used.ru_stime
    return wall, usage.ru_utime + usage.ru_stime, watched


def interval(ratios):
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return {"median": statistics.median(ratios), "low": medians[RESAMPLES // 40], "high": medians[-RESAMPLES // 40]}


def work_of(program):
    """Words with which PROGRAM works for about WORK_SECONDS."""
    count = 16
    while True:
        begin = time.perf_counter()
        subprocess.run([program, "loop", str(count)], stdout=subprocess.DEVNULL, check=True)
        took = time.perf_counter() - begin
        if took > 0.2 * WORK_SECONDS:
            return [program, "loop", str(max(1, round(count * WORK_SECONDS / took)))]
        count *= 4


def measure(hugexecctl, program, pairs):
    """Ratios of watched to plain; and by how much advise exceeds the seconds that it was asked for. None: it may not watch here."""
    if subprocess.run([hugexecctl, "advise", "--seconds=0.1", str(os.getpid())], capture_output=True, check=False).returncode:
        return None
    words, watch = work_of(program), [hugexecctl, "advise", "--seconds=600"]
    wall, processor, own = [], [], []
    for number in range(pairs):
        runs = {watched: run(words, watch if watched else None) for watched in ((False, True) if number % 2 else (True, False))}
        wall.append(runs[True][0] / runs[False][0])
        processor.append(runs[True][1] / runs[False][1])
        own.append(runs[True][2] / runs[True][0])
    late = []
    with subprocess.Popen([program, "loop", str(10**12)], stdout=subprocess.DEVNULL) as process:
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run([hugexecctl, "advise", f"--seconds={SECONDS}", str(process.pid)], stdout=subprocess.DEVNULL, check=True)
            late.append(time.perf_counter() - begin - SECONDS)
        process.kill()
    return {"pairs": pairs, "wall": interval(wall), "processor": interval(processor), "own_processor_share": statistics.median(own),
            "late_seconds": max(late)}


def print_result(result):
    print(f"\n{'hugexecctl advise watches':<44}{'x plain':>9}{'95 % interval':>18}")
    for name, what in (("wall", "the program, start to exit"), ("processor", "the program's processor time")):
        row = result[name]
        interval_text = "{:.3f} to {:.3f}".format(row["low"], row["high"])
        print(f"{what:<44}{row['median']:>9.3f}{interval_text:>18}")
    print(f"advise itself takes {100 * result['own_processor_share']:.1f} % of a processor, and ends {result['late_seconds']:.2f} s later than asked")
