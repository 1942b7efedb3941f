#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
run.py BUILD [--arm64|--rodata] [PROGRAM...]: bench-itlb. Run each program of loads.py once under QEMU with the plugin and write
the raw counts to BUILD/bench-itlb/results.json; with all programs, also docs/itlb.md's tables and docs/itlb.svg.
--arm64   Debian's programs for arm64, BUILD/bench-itlb-arm64, and docs/itlb.md's tables of them. Exit 77: they could not be had (said)
--rodata  the TLBs for data of some of them, BUILD/bench-rodata, and docs/backings.md's tables

ITLB_INSNS: how many instructions of each program are simulated (500 million, of arm64 and for data 100 million).
"""
import dataclasses
import http.client
import json
import os
import pathlib
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time

import chart
import loads
import report
import simulate

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parents[1] / "kernels"))
import packages

ADDRESS_SPACE = 256 << 30  # QEMU keeps a few bytes for each page that a program reserves
START_SECONDS = 300  # that a server may take until it answers: for hangs
RUN_SECONDS = 1800  # that a program may take


class Failed(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Bench:
    name: str
    loads: tuple
    insns: int
    write: object              # makes the tables of results
    arguments: dict = dataclasses.field(default_factory=dict)  # of the plugin


def write_itlb(done, insns):
    report.write(ROOT / "docs" / "itlb.md", done, insns)
    chart.write(ROOT / "docs" / "itlb.svg", done)


ITLB = Bench("bench-itlb", tuple(loads.LOADS), 500 * loads.MILLION, write_itlb)
ARM64 = Bench("bench-itlb-arm64", loads.ARM64, 100 * loads.MILLION,
              lambda done, insns: report.write(ROOT / "docs" / "itlb.md", done, insns, report.ARM64))
RODATA = Bench("bench-rodata", ("prometheus", "etcd", "cc1plus", "python3", "node"), 100 * loads.MILLION,
               lambda done, insns: report.write_rodata(ROOT / "docs" / "backings.md", done, insns), {"data": 1})
BENCHES = {"--arm64": ARM64, "--rodata": RODATA}


def bound_memory():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def wait_for_port(port, process):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Failed(f"it ended with status {process.returncode} before it answered")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise Failed(f"it did not answer within {START_SECONDS} s")


def serve(load, process, begin):
    """Have clients ask until the server is gone: it ends when enough is simulated."""
    wait_for_port(load.port, process)
    number = 0
    while process.poll() is None:
        try:
            load.client(number)
        except (OSError, http.client.HTTPException, subprocess.CalledProcessError):
            time.sleep(0.05)  # it is gone, or not ready yet
        if number == 2:
            begin.touch()
        number += 1


def simulate_load(load, plugin, folder, guest, more):
    """MORE: arguments of the plugin."""
    out, begin = folder / "results", folder / "begin"
    arguments = {**({"begin": begin} if load.port else {"skip": load.skip}), **more}
    variables, environment = (load.environment, {}) if guest.root else ({}, load.environment)
    command = simulate.command_for(plugin, load.command, guest, variables, out=out, **arguments)
    with open(load.stdin or os.devnull, "rb") as stdin, open(folder / "output", "wb") as output:
        process = subprocess.Popen([*load.prefix, *command], env=simulate.environment(**environment), stdin=stdin,
                                   stdout=output, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=bound_memory)
    try:
        if load.port:
            serve(load, process, begin)
        process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"under {guest.qemu} it was not done within {RUN_SECONDS} s") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not out.exists():
        last = (folder / "output").read_text(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"under {guest.qemu} it ended with status {process.returncode}: {' '.join(last)[:160]}")
    return simulate.results_of(out)


def run_load(name, place, more):
    """What one program gives: results, or the reason why there are none. The folder is the same each time: programs see its name."""
    folder = place.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        load = loads.LOADS[name](place)
        results = simulate_load(load, place.steady.with_name("itlb.so"), folder, place.guest, more)
        results["objects"] = [each for each in results["objects"] if each["insns"]]
        return {"name": name, "what": load.what, "exact": load.exact, **results}
    except (loads.Missing, Failed) as error:
        return {"name": name, "reason": str(error)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def passed_over(why):
    print(f"passed over: bench-itlb-arm64: {why}")
    sys.exit(77)


def arm64_guest(programs):
    """Debian's programs for arm64, unpacked once; they are this machine's suite's, as its own programs are."""
    folder = programs / "arm64"
    root = folder / "programs"
    suite = platform.freedesktop_os_release().get("VERSION_CODENAME")
    if not root.exists():
        print("fetching Debian's programs for arm64 (350 MiB)", flush=True)
        if not packages.Packages(folder, "arm64").make_root(root, suite, loads.ARM64_PACKAGES):
            passed_over(f"not all of these can be had of Debian {suite} for arm64: {' '.join(loads.ARM64_PACKAGES)}")
    return simulate.arm64(root)


def steady_for_arm64(output):
    """steady.c for arm64; None if there is no compiler."""
    library = output / "steady.so"
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler:
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, HERE / "steady.c"], check=True)
    return library if compiler else None


def run_all(names, place, output, more):
    done = []
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name}: ", end="", flush=True)
        start = time.monotonic()
        done.append(run_load(name, dataclasses.replace(place, folder=output / name), more))
        print(done[-1].get("reason") or f"{done[-1]['insns'] / loads.MILLION:.0f} million instructions, "
              f"{time.monotonic() - start:.0f} s", flush=True)
    return done


def main():
    build, *names = sys.argv[1:]
    build = pathlib.Path(build).resolve()
    bench = BENCHES.get(names[0], ITLB) if names else ITLB
    names = tuple(names[bench != ITLB:]) or bench.loads
    insns = int(os.environ.get("ITLB_INSNS", bench.insns))
    programs, output, folder = build / "programs", build / bench.name, build / "tests" / "bench" / "itlb"
    output.mkdir(exist_ok=True)
    guest = arm64_guest(programs) if bench == ARM64 else simulate.X86_64
    reason = simulate.why_not(folder / "itlb.so", guest)
    if reason and bench == ARM64:
        passed_over(reason)
    if reason:
        sys.exit(f"{bench.name}: {reason}")
    subprocess.run([ROOT / "tests" / "get-programs", programs], check=True)
    subprocess.run([ROOT / "tests" / "get-programs", programs, *loads.PACKAGES], check=True)
    begin = time.monotonic()
    place = loads.Place(programs, output, folder / "steady.so", guest, steady_for_arm64(output) if bench == ARM64 else None)
    done = run_all(names, place, output, {"limit": insns, **bench.arguments})
    (output / "results.json").write_text(json.dumps({"insns": insns, "programs": done}, indent=1) + "\n", encoding="utf-8")
    print(f"{time.monotonic() - begin:.0f} s; raw counts: {output}/results.json")
    if names == bench.loads:
        bench.write(done, insns)
        print("the tables in docs/ are of these counts now")


if __name__ == "__main__":
    main()
