#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What hugexec costs: paired, interleaved runs; everything is told as a ratio or difference to something run beside it.

bench.py [--rounds N] [--check]: writes BUILD/bench/results.json and prints a table. With --check it fails where a target is
missed. The machine's pool of huge pages is taken for the hugetlb runs and given back.
"""
import argparse
import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUGEXEC_BUILD", ROOT / "build")).resolve()
HUGEXEC = str(BUILD / "shim" / "hugexec")
HUGEXECCTL = str(BUILD / "shim" / "hugexecctl")
WORK = BUILD / "bench"
POOL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
POOL_LOCK = "/tmp/hugexec-test-pool.lock"
SIZES_MIB = (4, 16, 62, 128, 200)
MAIN_MIB = 62
HOLD_SIZES_MIB = (4, 21, 62)
LOOPS = 1000
OTHERS_SHARE_MAX = 0.1

sys.path.insert(0, str(ROOT / "tests"))
import advise_cost

from programs import bigtext as generator

QUIET = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]


def milliseconds(command):
    """One run, start to exit. posix_spawn, because what subprocess adds to every run flatters the ratios."""
    begin = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=QUIET)
    status = os.waitpid(pid, 0)[1]
    spent = 1000 * (time.perf_counter() - begin)
    if status:
        sys.exit(f"bench: {' '.join(command)} ended with {status}")
    return spent


def interleaved(commands, rounds):
    """Run COMMANDS (name: words) in turn, ROUNDS times; name -> list of milliseconds, one a round."""
    for command in commands.values():
        milliseconds(command)
    times = {name: [] for name in commands}
    for number in range(rounds):
        names = list(commands)
        for name in names[number % len(names):] + names[:number % len(names)]:
            times[name].append(milliseconds(commands[name]))
    return times


def added(times, name, to):
    """Median over rounds of the difference within a round."""
    return statistics.median(a - b for a, b in zip(times[name], times[to]))


def ratio(times, name, to):
    return statistics.median(a / b for a, b in zip(times[name], times[to]))


def program_path(mib, kind="pie"):
    """A program with MIB of text, a PIE or one with fixed addresses ("fixed"), built on first use."""
    path = WORK / (f"text-{mib}" if kind == "pie" else f"text-{kind}-{mib}")
    sources = [ROOT / "tests" / "programs" / name for name in ("bigtext.c", "bigtext.py")]
    if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        generator.build(mib, str(path), ("cc",) if kind == "pie" else ("cc", "-no-pie"))
        os.sync()  # what is not written yet cannot be brought into huge pages of the page cache
    return str(path)


def build_program(mib):
    """Words that run a PIE with MIB of text which exits at once: what is measured is the launch, not what it is good for."""
    return [program_path(mib), "idle"]


def policy_file(name, policy):
    path = WORK / f"{name}.json"
    path.write_text(json.dumps(policy))
    path.chmod(0o644)
    return str(path)


def rules_that_do_not_match(count, follow):
    """A rule, a policy for some services, and a host that has a rule for each service."""
    rules = [{"name": f"service {i}", "match": {"exe": [f"/opt/service-{i}/bin/*", f"/usr/lib/service-{i}/**/main"]}}
             for i in range(count)]
    return {"version": 1, "settings": {"follow": follow}, "rules": rules}


@contextlib.contextmanager
def pool_of(pages):
    """PAGES more huge pages; None where they cannot be had. The tests take the same lock: one changes the pool at a time."""
    if not os.access(POOL, os.W_OK):
        yield None
        return
    with open(POOL_LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = POOL.read_text()
        try:
            POOL.write_text(str(int(before) + pages))
            yield pages if int(POOL.read_text()) >= int(before) + pages else None
        finally:
            POOL.write_text(before)


def reports_of(command, runs):
    """What RUNS runs of hugexec COMMAND report."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as report:
        for _ in range(runs):
            subprocess.call([command[0], f"--report={report.name}", *command[1:]], stdout=subprocess.DEVNULL)
        return [json.loads(line) for line in report.read().splitlines()]


def launch_costs(rounds, has_pool):
    """plain, env and every way of hugexec on the main program."""
    program = build_program(MAIN_MIB)
    everything = policy_file("all", {"version": 1, "rules": [{"match": {}, "min_text": 0}]})
    commands = {"plain": program, "env": ["env", *program]}
    for count, follow in itertools.product((1, 20, 200), ("none", "exec")):
        policy = policy_file(f"rules-{count}-{follow}", rules_that_do_not_match(count, follow))
        commands[f"no rule of {count}, follow {follow}"] = [HUGEXEC, f"--policy={policy}", "--", *program]
    refused, held = {}, {}
    for backing in ("file", "hugetlb", "thp"):
        command = [HUGEXEC, f"--policy={everything}", f"--backing={backing}", "--", *program]
        if backing == "hugetlb" and not has_pool:
            refused[backing] = "the pool cannot be made larger here"
            continue
        reports = reports_of(command, 9)
        if reports[-1]["outcome"] != "remapped":
            refused[backing] = reports[-1]["reason"]
            continue
        commands[backing] = command
        held[backing] = {"held_ms": statistics.median(line["latency_us"] for line in reports[1:]) / 1000,
                         "text_bytes": reports[-1]["text_bytes"], "huge_bytes": reports[-1]["huge_bytes"]}
    times = interleaved(commands, rounds)
    return {"commands": {name: {"median_ms": statistics.median(values), "added_ms": added(times, name, "plain"),
                                "ratio_to_env": ratio(times, name, "env"), **held.get(name, {})}
                         for name, values in times.items()},
            "refused": refused}


def hold_times(rounds):
    """
    For how long a warm program is held, beside what true(1) takes from start to exit in the same round: one whose whole slots lie right
    (fixed), one that is moved (pie), and with the ends of the text, as the shipped policy has it.
    """
    result = {}
    ends = policy_file("ends", {"version": 1, "rules": [{"match": {}, "min_text": 0, "round_out": True}]})
    for name, kind, policy in (("fixed", "fixed", f"{WORK}/all.json"), ("pie", "pie", f"{WORK}/all.json"),
                               ("fixed, ends too", "fixed", ends), ("pie, ends too", "pie", ends)):
        for mib in HOLD_SIZES_MIB:
            command = [HUGEXEC, f"--policy={policy}", "--backing=file", "--", program_path(mib, kind), "idle"]
            lines = [(milliseconds(["true"]), reports_of(command, 1)[0]) for _ in range(rounds + 1)][1:]
            if lines[-1][1]["outcome"] != "remapped":
                return {}
            held = [line["latency_us"] / 1000 for _, line in lines]
            result.setdefault(name, {})[mib] = {"held_ms": statistics.median(held),
                                                "true_ms": statistics.median(true for true, _ in lines),
                                                "ratio_to_true": statistics.median(ms / true for ms, (true, _) in zip(held, lines))}
    return result


def other_launches(rounds):
    """No rule matches: a program that runs through its text once, and one so small that it may be a wrapper (followed)."""
    policy = f"--policy={WORK}/rules-200-exec.json"
    result = {}
    for name, command in (("walks its text once", [program_path(MAIN_MIB)]), ("true(1), which is followed", ["true"])):
        times = interleaved({"env": ["env", *command], "hugexec": [HUGEXEC, policy, "--", *command]}, rounds)
        result[name] = {"env_ms": statistics.median(times["env"]), "added_ms": added(times, "hugexec", "env"),
                        "ratio_to_env": ratio(times, "hugexec", "env")}
    return result


def throughput(rounds, backings):
    """What huge pages bring: a program that runs through all pages of its text, once (start to exit) and LOOPS times."""
    result = {}
    for name, arguments, count in (("once", [], rounds), ("loops", ["loop", str(LOOPS)], 9)):
        command = [program_path(MAIN_MIB), *arguments]
        commands = {"plain": command}
        for backing in backings:
            commands[backing] = [HUGEXEC, f"--policy={WORK}/all.json", f"--backing={backing}", "--", *command]
        times = interleaved(commands, count)
        for way, values in times.items():
            result.setdefault(way, {})[name] = {"median_ms": statistics.median(values),
                                                "ratio_to_plain": ratio(times, way, "plain")}
    return result


def node_costs(rounds, backings):
    """node, which can copy its own text into transparent huge pages: its way beside hugexec's, start to exit. None: no node."""
    node = shutil.which("node")
    if not node:
        return None
    script = ["-e", "0"]
    commands = {"plain": [node, *script], "node --use-largepages=on": [node, "--use-largepages=on", *script]}
    told = subprocess.run(commands["node --use-largepages=on"], capture_output=True, text=True, check=False)
    result, refused = {}, {}
    if told.returncode or told.stderr.strip():
        refused["node --use-largepages=on"] = told.stderr.strip().splitlines()[-1] if told.stderr.strip() else "it fails"
        if told.returncode:
            del commands["node --use-largepages=on"]
    for backing in backings:
        command = [HUGEXEC, f"--policy={WORK}/all.json", f"--backing={backing}", "--", node, *script]
        line = reports_of(command, 3)[-1]
        if line["outcome"] == "remapped":
            commands[f"hugexec, {backing}"] = command
        else:
            refused[f"hugexec, {backing}"] = line["reason"]
    times = interleaved(commands, rounds)
    for name, values in times.items():
        result[name] = {"median_ms": statistics.median(values), "added_ms": added(times, name, "plain"),
                        "ratio_to_plain": ratio(times, name, "plain")}
    return {"commands": result, "refused": refused}


def linearity(rounds, backings):
    """Added milliseconds for each size of text, and the straight line through them."""
    everything = str(WORK / "all.json")
    result = {}
    for mib in SIZES_MIB:
        program = build_program(mib)
        commands = {"plain": program}
        for backing in backings:
            commands[backing] = [HUGEXEC, f"--policy={everything}", f"--backing={backing}", "--", *program]
        times = interleaved(commands, rounds)
        for backing in backings:
            result.setdefault(backing, {})[mib] = added(times, backing, "plain")
    lines = {}
    for backing, points in result.items():
        slope, intercept = statistics.linear_regression(list(points), list(points.values()))
        r = statistics.correlation(list(points), list(points.values()))
        per_mib = {mib: (ms - intercept) / mib for mib, ms in points.items()}
        lines[backing] = {"added_ms": points, "ms_per_mib": slope, "ms_fixed": intercept, "r_squared": r * r,
                          "ms_per_mib_at_200_over_62": (points[200] - points[62]) / 138 / max(
                              (points[62] - points[4]) / 58, 1e-9), "per_mib": per_mib}
    return lines


def copy_baseline(rounds):
    """thp's added time beside that of a program which copies as many bytes of a file into fresh huge pages by memcpy."""
    program = build_program(MAIN_MIB)
    baseline = WORK / "baseline"
    source = pathlib.Path(__file__).with_name("baseline.c")
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-o", baseline, source], check=True)
    copies = [str(baseline), program[0], str(MAIN_MIB)]
    times = interleaved({"plain": program, "thp": [HUGEXEC, f"--policy={WORK}/all.json", "--backing=thp", "--", *program],
                         "copies": copies, "copies nothing": [*copies[:2], "0"]}, rounds)
    memcpy = [float(subprocess.run([*copies, "-"], capture_output=True, text=True, check=True).stdout) for _ in range(rounds)]
    return {"thp_added_ms": added(times, "thp", "plain"), "copy_added_ms": added(times, "copies", "copies nothing"),
            "ratio": added(times, "thp", "plain") / added(times, "copies", "copies nothing"),
            "memcpy_alone_ms": statistics.median(memcpy)}


def peak_memory(backings):
    """Largest resident memory of hugexec's own processes in KiB, for the smallest and the largest text."""
    probe = pathlib.Path(__file__).with_name("peak.py")
    result = {}
    for backing in backings:
        for mib in (SIZES_MIB[0], SIZES_MIB[-1]):
            done = subprocess.run([sys.executable, probe, HUGEXEC, f"--policy={WORK}/all.json", f"--backing={backing}", "--",
                                   *build_program(mib)], capture_output=True, text=True, check=True)
            result.setdefault(backing, {})[mib] = json.loads(done.stdout)
    return result


def processor_seconds():
    """Since boot: (a clock, all processors' busy seconds, those of this process and its children)."""
    words = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    ticks = [int(word) for word in words]
    idle = ticks[3] + ticks[4]
    return time.monotonic(), (sum(ticks[:8]) - idle) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def others_share(before, after):
    """The share of the processors' time that others took (tracers that are not ours to wait for count as others)."""
    clock, busy, own = (b - a for a, b in zip(before, after))
    return max(0.0, busy - own) / (clock * os.cpu_count())


def targets(results):
    """(what, value, limit) for each promise that could be measured here."""
    commands = results["launch"]["commands"]
    rows = [(f"{name}: ratio to env", row["ratio_to_env"], 1.3 if "200" in name else 1.1)
            for name, row in commands.items() if name.startswith("no rule")]
    for name, row in results["other_launches"].items():
        rows.append((f"no rule matches, {name}: ratio to env", row["ratio_to_env"], None))
    for kind, limit in (("fixed", 0.5), ("pie", 1.0)):
        for mib, row in results["hold"].get(kind, {}).items():
            rows.append((f"held, {kind}, {mib} MiB of text, warm: ratio to true", row["ratio_to_true"], limit))
        if kind in results["hold"]:
            held = [row["held_ms"] for row in results["hold"][kind].values()]
            rows.append((f"held, {kind}: {HOLD_SIZES_MIB[-1]} MiB of text over {HOLD_SIZES_MIB[0]}", held[-1] / held[0], 1.5))
    if results["advise"]:
        rows.append(("advise: processor time of the program it watches, ratio", results["advise"]["by_samples"]["median"], 1.02))
        rows.append(("advise: seconds later than asked", results["advise"]["late_seconds"], 2))
    for backing, limit in (("file", 5.0), ("hugetlb", 25.0), ("thp", None)):
        if backing in commands:
            rows.append((f"{backing}: added, ms", commands[backing]["added_ms"], limit))
    if "thp" in commands:
        rows.append(("thp: ratio to a program that copies as much with memcpy", results["copy"]["ratio"], 1.3))
        rows.append(("thp: ratio to memcpy alone, its source mapped beforehand",
                     results["copy"]["thp_added_ms"] / results["copy"]["memcpy_alone_ms"], None))
    for backing, line in results["linearity"].items():
        if backing != "file":  # its cost hardly depends on the size
            rows.append((f"{backing}: cost per MiB from 62 to 200 over that from 4 to 62", line["ms_per_mib_at_200_over_62"], 1.3))
    for backing, sizes in results["memory"].items():
        for mib, peak in sizes.items():
            rows.append((f"{backing}: peak memory of one tracer, {mib} MiB of text, MiB", peak["peak_kib"] / 1024, 16.0))
    return rows


def print_for_docs(results):
    """Rows of README.md's table of start-ups, and docs/design.md's table of holds."""
    names = {"file": "hugexec, `file`, warm", "hugetlb": "hugexec, `hugetlb`", "thp": "hugexec, `thp`"}
    print("\n| | added to start-up |\n| --- | --- |")
    for name, row in results["launch"]["commands"].items():
        if name in names:
            print(f"| {names[name]} | {row['added_ms']:.1f} ms (held for {row['held_ms']:.1f}) |")
        elif name == "env":
            print(f"| `env` | {row['added_ms']:.1f} ms |")
        elif name.startswith("no rule"):
            print(f"| hugexec, {name} | {row['added_ms']:.1f} ms, {row['ratio_to_env']:.2f} times `env` |")
    print("\n| file, warm: held, in ms, and as a ratio to `true` |" +
          "".join(f" {mib} MiB of text |" for mib in HOLD_SIZES_MIB) + "\n| --- |" + " --- |" * len(HOLD_SIZES_MIB))
    for kind, sizes in results["hold"].items():
        print(f"| {kind} |" + "".join(f" {row['held_ms']:.2f}, {row['ratio_to_true']:.2f} |" for row in sizes.values()))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    for mib in SIZES_MIB:
        program_path(mib)
    before = processor_seconds()
    with pool_of(SIZES_MIB[-1] // 2 + 8) as pages:
        results = {"machine": {"kernel": platform.release(), "processors": os.cpu_count(), "rounds": options.rounds}}
        results["launch"] = launch_costs(options.rounds, bool(pages))
        results["hold"] = hold_times(options.rounds)
        results["other_launches"] = other_launches(options.rounds)
        backings = [name for name in ("file", "hugetlb", "thp") if name in results["launch"]["commands"]]
        results["linearity"] = linearity(max(7, options.rounds // 2), backings)
        if "thp" in backings:
            results["copy"] = copy_baseline(options.rounds)
        results["memory"] = peak_memory(backings)
        results["throughput"] = throughput(options.rounds, backings)
        results["node"] = node_costs(options.rounds, backings)
    results["advise"] = advise_cost.measure(HUGEXECCTL, str(BUILD / "tests" / "unit" / "sampler"), program_path(SIZES_MIB[0]), max(5, options.rounds // 2))
    after = processor_seconds()

    print(f"\nA PIE with {MAIN_MIB} MiB of text, {options.rounds} rounds, medians")
    print(f"{'':<28}{'ms':>9}{'added ms':>10}{'x env':>8}{'held ms':>9}{'huge MiB':>10}")
    for name, row in results["launch"]["commands"].items():
        line = f"{name:<28}{row['median_ms']:>9.2f}{row['added_ms']:>10.2f}{row['ratio_to_env']:>8.2f}"
        print(line + (f"{row['held_ms']:>9.2f}{row['huge_bytes'] / 2**20:>10.1f}" if "held_ms" in row else ""))
    for backing, reason in results["launch"]["refused"].items():
        print(f"{backing}: not measured: {reason}")
    print_for_docs(results)
    print(f"\n{'added ms for text of MiB':<28}" + "".join(f"{mib:>9}" for mib in SIZES_MIB) + f"{'ms/MiB':>9}{'R^2':>7}")
    for backing, line in results["linearity"].items():
        print(f"{backing:<28}" + "".join(f"{ms:>9.1f}" for ms in line["added_ms"].values()) +
              f"{line['ms_per_mib']:>9.3f}{line['r_squared']:>7.3f}")
    print(f"\n{'start to exit':<28}{'all text once, ms':>20}{'x plain':>9}{f'{LOOPS} times, ms':>20}{'x plain':>9}")
    for name, row in results["throughput"].items():
        print(f"{name:<28}{row['once']['median_ms']:>20.1f}{row['once']['ratio_to_plain']:>9.2f}"
              f"{row['loops']['median_ms']:>20.0f}{row['loops']['ratio_to_plain']:>9.2f}")
    if results["node"]:
        print(f"\n{'node -e 0, start to exit':<28}{'ms':>9}{'added ms':>10}{'x plain':>9}")
        for name, row in results["node"]["commands"].items():
            print(f"{name:<28}{row['median_ms']:>9.1f}{row['added_ms']:>10.1f}{row['ratio_to_plain']:>9.2f}")
        for name, reason in results["node"]["refused"].items():
            print(f"{name}: {reason}")
    if results["advise"]:
        advise_cost.print_result(results["advise"])
    print()
    others = results["machine"]["others_share"] = others_share(before, after)
    if others > OTHERS_SHARE_MAX:
        print(f"Others took {100 * others:.0f} % of this machine's processors meanwhile: these numbers are rough.\n")
    missed = 0
    results["targets"] = []
    for what, value, limit in targets(results):
        verdict = "" if limit is None else "ok" if value <= limit else "MISSED"
        missed += verdict == "MISSED"
        results["targets"].append({"what": what, "value": value, "limit": limit})
        print(f"{what:<64}{value:>8.2f}  {'' if limit is None else f'at most {limit:g}':<13}{verdict}")
    (WORK / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
