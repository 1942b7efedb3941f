# SPDX-License-Identifier: Apache-2.0
"""
What hugexecctl advise costs the program that it watches, and how long it takes, by processor time of the program in turns: plain, watched,
and sampled SAMPLED_TIMES as often as advise does. What one sample costs is told from the last, where it stands out of the noise.
"""
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import time

WATCH_HZ = int(re.search(r"#define WATCH_HZ (\d+)", (pathlib.Path(__file__).resolve().parents[2] / "shim/ctl/watch.h").read_text())[1])
# Far enough apart that the kernel's code is out of the nearest caches again, as it is with fewer.
SAMPLED_TIMES = 8
WORK_SECONDS = 1
SECONDS = 1
RESAMPLES = 2000


def pinned(command, processor):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {processor})
    return process


def run(command, watch):
    """COMMAND from start to exit, watched by WATCH's words if any. Returns (its processor time, the watcher's, what that said)."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {os.cpu_count() - 1})
    watcher = pinned([word.replace("{pid}", str(process.pid)) for word in watch], 0) if watch else None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    watched, said = 0, b""
    if watcher:
        watcher.send_signal(signal.SIGTERM)
        said = watcher.stdout.read()
        _, status, used = os.wait4(watcher.pid, 0)
        watcher.returncode = os.waitstatus_to_exitcode(status)
        if watcher.returncode not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{watch[0]} did not watch to the end")
        watched = used.ru_utime + used.ru_stime
    return usage.ru_utime + usage.ru_stime, watched, said


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


def measure(hugexecctl, sampler, program, rounds):
    """What is told by print_result() and bench.py. None: it may not watch here."""
    if subprocess.run([hugexecctl, "advise", "--seconds=0.1", str(os.getpid())], capture_output=True, check=False).returncode:
        return None
    words = work_of(program)
    ways = {"plain": None, "watched": [hugexecctl, "advise", "--seconds=600", "{pid}"],
            "sampled": [sampler, "{pid}", str(SAMPLED_TIMES * WATCH_HZ)]}
    watched, sample_us, own = [], [], []
    for number in range(rounds):
        order = list(ways)[number % 3:] + list(ways)[:number % 3]
        runs = {way: run(words, ways[way]) for way in order}
        plain = runs["plain"][0]
        watched.append(runs["watched"][0] / plain)
        own.append(runs["watched"][1] / runs["watched"][0])
        sample_us.append(1e6 * (runs["sampled"][0] - plain) / int(runs["sampled"][2]))
    late = []
    with subprocess.Popen([program, "loop", str(10**12)], stdout=subprocess.DEVNULL) as process:
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run([hugexecctl, "advise", f"--seconds={SECONDS}", str(process.pid)], stdout=subprocess.DEVNULL, check=True)
            late.append(time.perf_counter() - begin - SECONDS)
        process.kill()
    by_samples = [1 + WATCH_HZ * us / 1e6 for us in sample_us]
    return {"rounds": rounds, "sample_us": interval(sample_us), "watched": interval(watched), "by_samples": interval(by_samples),
            "own_processor_share": statistics.median(own), "late_seconds": max(late)}


def print_result(result):
    print(f"\n{'hugexecctl advise watches: processor time':<56}{'x plain':>9}{'95 % interval':>18}")
    for name, what in (("watched", "the program's, watched"),
                       ("by_samples", f"{WATCH_HZ} samples a second, from what one costs of {SAMPLED_TIMES * WATCH_HZ}")):
        row = result[name]
        interval_text = "{:.3f} to {:.3f}".format(row["low"], row["high"])
        print(f"{what:<56}{row['median']:>9.3f}{interval_text:>18}")
    print("a sample takes {median:.0f} us ({low:.0f} to {high:.0f}) of the program's time; ".format(**result["sample_us"]) +
          f"advise itself takes {100 * result['own_processor_share']:.1f} % of a processor, and ends {result['late_seconds']:.2f} s later than asked")
