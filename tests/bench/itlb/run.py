#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
run.py BUILD [PROGRAM...]: bench-itlb. Run each program of loads.py once under QEMU with the plugin and write the raw counts to
BUILD/bench-itlb/results.json; with all programs, also docs/itlb.md's tables and docs/itlb.svg.

ITLB_INSNS: how many instructions of each program are simulated (500 million).
"""
import http.client
import json
import os
import pathlib
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
INSNS = int(os.environ.get("ITLB_INSNS", 500 * loads.MILLION))
ADDRESS_SPACE = 256 << 30  # QEMU keeps a few bytes for each page that a program reserves
START_SECONDS = 300  # that a server may take until it answers: for hangs
RUN_SECONDS = 1800  # that a program may take


class Failed(Exception):
    pass


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


def simulate_load(name, load, plugin, folder):
    out, begin = folder / "results", folder / "begin"
    arguments = {"begin": begin} if load.port else {"skip": load.skip}
    command = simulate.command_for(plugin, load.command, out=out, limit=INSNS, **arguments)
    with open(load.stdin or os.devnull, "rb") as stdin, open(folder / "output", "wb") as output:
        process = subprocess.Popen([*load.prefix, *command], env=simulate.environment(**load.environment), stdin=stdin,
                                   stdout=output, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=bound_memory)
    try:
        if load.port:
            serve(load, process, begin)
        process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"under qemu-x86_64 it was not done within {RUN_SECONDS} s") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if not out.exists():
        last = (folder / "output").read_text(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"under qemu-x86_64 it ended with status {process.returncode}: {' '.join(last)[:160]}")
    return simulate.results_of(out)


def run_load(name, prepare, plugin, programs, folder):
    """What one program gives: results, or the reason why there are none. FOLDER is the same each time: programs see its name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        load = prepare(loads.Place(programs, folder, plugin.with_name("steady.so")))
        results = simulate_load(name, load, plugin, folder)
        results["objects"] = [each for each in results["objects"] if each["insns"]]
        return {"name": name, "what": load.what, "exact": load.exact, **results}
    except (loads.Missing, Failed) as error:
        return {"name": name, "reason": str(error)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    plugin = build / "tests" / "bench" / "itlb" / "itlb.so"
    reason = simulate.why_not(plugin)
    if reason:
        sys.exit(f"bench-itlb: {reason}")
    names = sys.argv[2:] or list(loads.LOADS)
    programs = build / "programs"
    subprocess.run([ROOT / "tests" / "get-programs", programs], check=True)
    subprocess.run([ROOT / "tests" / "get-programs", programs, *loads.PACKAGES], check=True)
    done = []
    output = build / "bench-itlb"
    begin = time.monotonic()
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name}: ", end="", flush=True)
        start = time.monotonic()
        done.append(run_load(name, loads.LOADS[name], plugin, programs, output / name))
        print(done[-1].get("reason") or f"{done[-1]['insns'] / loads.MILLION:.0f} million instructions, "
              f"{time.monotonic() - start:.0f} s", flush=True)
    (output / "results.json").write_text(json.dumps({"insns": INSNS, "programs": done}, indent=1) + "\n", encoding="utf-8")
    print(f"{time.monotonic() - begin:.0f} s; raw counts: {output}/results.json")
    if names == list(loads.LOADS):
        report.write(ROOT / "docs" / "itlb.md", done, INSNS)
        chart.write(ROOT / "docs" / "itlb.svg", done)
        print("tables: docs/itlb.md, picture: docs/itlb.svg")


if __name__ == "__main__":
    main()
