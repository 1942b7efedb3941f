#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What huge text brings in real time here: servers under load, and commands; intervals, whatever they are.

gain.py [--rounds N] [--seconds S] [LOAD...]: each server is there three times (plain, its text copied to hugetlb pages as TiExec does,
hugexec with the backing file), on one processor; the load comes from another. One of the three is asked at a time, for S seconds, in
an order that is drawn anew each round. Told are the median of the ratios within a round and its bootstrap interval (95 %).
Commands are compared by hugexecctl compare. Writes BUILD/bench/gain.json.
"""
import argparse
import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import bench

sys.path.insert(0, str(bench.ROOT / "tests"))
import pytest

from lib import servers
from lib.process import wait_for
from lib.programs import UNPACKED
from lib.smaps import huge_text_bytes, smaps

HUGEXECCTL = str(bench.BUILD / "shim" / "hugexecctl")
CLIENTS = [str(UNPACKED / "usr/bin"), *map(str, UNPACKED.glob("usr/lib/postgresql/*/bin"))]  # what is not installed
PR_SET_THP_DISABLE = 41
POOL_PAGES = 128
RESAMPLES = 10_000
TICK = os.sysconf("SC_CLK_TCK")
VARIANTS = ("plain", "tiexec-like", "hugexec")
SETTINGS = {"tiexec-like": {"backing": ["hugetlb"], "round_out": False}, "hugexec": {"backing": ["file"], "round_out": True}}
QUERIES = ("sum(rate(prometheus_http_request_duration_seconds_bucket[1m])) by (handler)", "topk(5, {__name__=~'go_.*'})",
           "histogram_quantile(0.9, sum(rate(prometheus_http_request_duration_seconds_bucket[1m])) by (le))")


def pin(processor):
    """For preexec_fn: here and below, if there is a second processor at all."""
    if os.cpu_count() > 1:
        os.sched_setaffinity(0, {processor})


def descendants(pid):
    found = [pid]
    for tasks in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in tasks.read_text(encoding="ascii").split():
                found += descendants(int(child))
    return found


def cpu_seconds(pid):
    """User and system time of a process, its children and those that it has reaped."""
    ticks = 0
    for one in descendants(pid):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15] if one == pid else fields[11:13]))
    return ticks / TICK


rates = {}  # of a load that takes a number of operations, not seconds: how many a second it had last


def operations(name, seconds):
    return round(rates.get(name, 500) * seconds)


def rate_of(name, count, begin):
    rates[name] = count / (time.perf_counter() - begin)
    return rates[name]


# Each load: seconds -> operations a second, by whoever the processor 0 is for.

def prometheus_load(folder, command, seconds):
    port = int(re.search(r"web.listen-address=127.0.0.1:(\d+)", " ".join(command))[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        connection.request("GET", "/api/v1/query?query=" + QUERIES[count % len(QUERIES)].replace(" ", "%20").replace("{", "%7B"))
        if connection.getresponse().read()[:20].find(b"success") < 0:
            raise RuntimeError("prometheus does not answer queries")
        count += 1
    return count / (time.perf_counter() - begin)


def postgres_load(folder, command, seconds):
    words = ["pgbench", "-h", str(folder), "-U", "nobody", "-n", "-S", "-c", "2", "-T", str(max(1, round(seconds))), "postgres"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, preexec_fn=lambda: pin(0))
    return float(re.search(r"tps = ([\d.]+)", done.stdout)[1])


def mariadbd_load(folder, command, seconds):
    queries = operations("mariadbd", seconds)
    words = ["mysqlslap", f"--socket={folder}/s", "--auto-generate-sql", "--auto-generate-sql-load-type=read", "--concurrency=2",
             f"--number-of-queries={queries}", "--silent"]
    begin = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True, preexec_fn=lambda: pin(0))
    return rate_of("mariadbd", queries, begin)


def redis(folder):
    port = servers.free_port()
    server = shutil.which("redis-server")
    if not server:  # Debian has it in redis-tools, under the name of a tool, and goes by the name that it is called by
        server = str(folder / "redis-server")
        os.symlink(servers.needed("redis-check-rdb"), server)
    command = [server, "--port", str(port), "--save", "", "--dir", str(folder)]
    return command, lambda: subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True, check=False).stdout == b"PONG\n"


def redis_load(folder, command, seconds):
    requests = operations("redis", seconds)
    words = ["redis-benchmark", "-p", command[command.index("--port") + 1], "-n", str(requests), "-q", "-t", "get", "-c", "8"]
    begin = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True, preexec_fn=lambda: pin(0))
    return rate_of("redis", requests, begin)


def prometheus(folder):
    command, ready = servers.prometheus(folder)
    address = re.search(r"web.listen-address=(\S+)", " ".join(command))[1]
    (folder / "prometheus.yml").write_text("scrape_configs: [{job_name: self, scrape_interval: 1s, static_configs: "
                                           f"[{{targets: ['{address}']}}]}}]\n", encoding="ascii")
    return command, ready


def postgres_prepare(folder):
    subprocess.run(["pgbench", "-h", str(folder), "-U", "nobody", "-i", "-q", "postgres"], capture_output=True, check=True)


LOADS = {"prometheus": (prometheus, prometheus_load, None, ()),
         "postgres": (servers.postgres, postgres_load, postgres_prepare, ("pgbench",)),
         "mariadbd": (servers.mariadbd, mariadbd_load, None, ("mysqlslap",)),
         "redis": (redis, redis_load, None, ("redis-benchmark", "redis-cli"))}


def under(variant, command, policies):
    """COMMAND with hugexec before its program: behind setpriv, where root may not start it."""
    if variant == "plain":
        return command
    at = 0 if command[0] != "setpriv" else next(i for i, word in enumerate(command) if word.startswith("/"))
    return [*command[:at], bench.HUGEXEC, f"--policy={policies[variant]}", "--", *command[at:]]


def prepare(variant):
    pin(os.cpu_count() - 1)
    if variant == "plain":  # its file's huge pages are in the page cache, for hugexec
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


@contextlib.contextmanager
def started(name, folder, policies):
    """The three of a server: variant -> (folder, command, process). hugexec's first: it prepares the page cache."""
    make, _, fill, _ = LOADS[name]
    running = {}
    try:
        for variant in reversed(VARIANTS):
            place = folder / variant
            place.mkdir(mode=0o755)
            command, ready = make(place)
            process = subprocess.Popen(under(variant, list(map(str, command)), policies), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=lambda v=variant: prepare(v))
            running[variant] = (place, list(map(str, command)), process)
            wait_for(ready, process=process)
            if fill:
                fill(place)
        yield running
    finally:
        for _, _, process in running.values():
            process.terminate()
        for _, _, process in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


def coverage(pid):
    text = sum(entry["end"] - entry["start"] for entry in smaps(pid) if "x" in entry["perms"] and entry["path"][:1] == "/")
    return huge_text_bytes(pid) / text if text else 0


def interval(ratios, generator):
    """Median, and the bootstrap's interval of it."""
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return {"median": statistics.median(ratios), "low": medians[int(0.025 * RESAMPLES)], "high": medians[int(0.975 * RESAMPLES)]}


def measure(name, rounds, seconds, policies, generator):
    load = LOADS[name][1]
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="hugexec-gain-") as folder:
        pathlib.Path(folder).chmod(0o755)
        with started(name, pathlib.Path(folder), policies) as running:
            covered = {variant: coverage(process.pid) for variant, (_, _, process) in running.items()}
            samples = {variant: [] for variant in VARIANTS}
            for number in range(rounds + 1):
                for variant in generator.sample(VARIANTS, len(VARIANTS)):
                    place, command, process = running[variant]
                    before, begin = cpu_seconds(process.pid), time.perf_counter()
                    rate = load(place, command, seconds)
                    spent = cpu_seconds(process.pid) - before
                    if number:  # the first round warms up
                        samples[variant].append((rate, spent / (rate * (time.perf_counter() - begin))))
    result = {"coverage": covered, "rounds": rounds, "ratio_to_plain": {}}
    for variant in VARIANTS[1:]:
        result["ratio_to_plain"][variant] = {
            what: interval([mine[i] / plain[i] for mine, plain in zip(samples[variant], samples["plain"], strict=True)], generator)
            for i, what in enumerate(("throughput", "cpu_per_operation"))}
    return result


def print_result(name, result):
    for variant, ratios in result["ratio_to_plain"].items():
        cells = [f"{name:<10}", f"{variant:<11}", f"{100 * result['coverage'][variant]:>5.0f} %",
                 *(f"{ratio['median']:>5.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})" for ratio in ratios.values())]
        print("| " + " | ".join(cells) + " |", flush=True)


def compare_command(rounds):
    """clang, whose code is in libraries."""
    if not shutil.which("clang"):
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="ascii") as policy:
        json.dump({"version": 1, "rules": [{"match": {}, "min_text": 0, "libraries": True}]}, policy)
        policy.flush()
        source = str(bench.ROOT / "tests" / "programs" / "bigtext.c")
        print("\nclang -O2, by hugexecctl compare:\n", flush=True)
        subprocess.run([HUGEXECCTL, "compare", f"--policy={policy.name}", f"--pairs={rounds}", "--", "clang", "-O2", "-c", source,
                        "-o", "/dev/null"], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("loads", nargs="*", metavar="LOAD", help=f"of {', '.join(LOADS)}, clang")
    options = parser.parse_args()
    bench.WORK.mkdir(parents=True, exist_ok=True)
    pin(0)
    generator = random.Random()
    doctor = json.loads(subprocess.run([HUGEXECCTL, "doctor", "--json"], capture_output=True, text=True, check=False).stdout)
    tlb = next(one["text"] for one in doctor["findings"] if one["name"] == "TLB")
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *CLIENTS])
    print(f"TLB: {tlb}.\n{options.rounds} rounds of {options.seconds:g} s, medians and 95 % intervals of the ratio to plain\n")
    print(f"|{'':<12}|{'':<13}| {'huge':>7} | {'throughput':<22} | {'CPU an operation':<22} |\n| --- | --- | ---: | --- | --- |")
    policies = {name: bench.policy_file(f"gain-{name}", {"version": 1, "rules": [{"match": {}, "min_text": 0, **settings}]})
                for name, settings in SETTINGS.items()}
    results = {"tlb": tlb, "loads": {}}
    with bench.pool_of(POOL_PAGES):
        for name in options.loads or LOADS:
            missing = [tool for tool in LOADS.get(name, (0, 0, 0, ()))[3] if not shutil.which(tool)]
            if name not in LOADS or missing:
                print("" if name == "clang" else f"{name}: not measured: {', '.join(missing) or 'no such load'}")
                continue
            try:
                results["loads"][name] = measure(name, options.rounds, options.seconds, policies, generator)
            except pytest.skip.Exception as reason:
                print(f"{name}: not measured: {reason}")
                continue
            print_result(name, results["loads"][name])
    if not options.loads or "clang" in options.loads:
        compare_command(options.rounds)
    (bench.WORK / "gain.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
