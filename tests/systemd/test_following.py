# SPDX-License-Identifier: Apache-2.0
"""Fifty units at once of every kind of type and program, started through hugexec: systemd knows the main process of each."""
import os
import re

import pytest

from lib.process import status_of, wait_for

COUNT = 50
TYPES = {"simple": "", "exec": "", "idle": "", "notify": "--notify", "notify-reload": "--notify", "forking": "--fork=/run/following-%i.pid",
         "forking, PIDFile": "--fork=/run/following-%i.pid"}
SCRIPTS = {"directly": "", "by a script that becomes it": 'exec "$@"', "by a script that starts it and ends": '"$@"',
           "by a script that stays": '"$@"; exit $?'}
SIZES = {"small": 1, "large": 8}
MATRIX = [(kind, how, size) for kind in TYPES for how in SCRIPTS for size in SIZES
          if (how == "by a script that starts it and ends" and kind.startswith("forking")) or
          (how == "by a script that stays" and kind in ("simple", "exec")) or
          how in ("directly", "by a script that becomes it")]


def shown(container, units, *properties):
    """Properties of many units, as dicts by the unit's name."""
    done = container.systemctl("show", "--property=Id", *(f"--property={name}" for name in properties), "--", *units)
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in done.stdout.split("\n\n")]
    return {block["Id"]: block for block in blocks}


def names_of(container, pids):
    """What processes of the container run, by the numbers that they have there."""
    done = container.run(["sh", "-c", 'for pid; do cat /proc/$pid/comm; done', "sh", *pids], check=False)
    return done.stdout.split()


@pytest.fixture
def units(container, make_unit, service_program_of):
    """Make the units of one kind: names, and what their main process is called."""

    def make(kind, how, size):
        program = f"/srv/programs/{service_program_of(SIZES[size]).name}"
        command = f"{program} --socket=/run/following-%i.sock {TYPES[kind]}"
        main = os.path.basename(program)
        if SCRIPTS[how]:
            container.write("/usr/local/bin/start", f"#!/bin/sh\n{SCRIPTS[how]}\n", 0o755)
            command = f"/usr/local/bin/start {command}"
            main = "start" if how == "by a script that stays" else main
        more = "PIDFile=/run/following-%i.pid" if "PIDFile" in kind else ""
        make_unit("following@.service", f"""[Unit]
StartLimitIntervalSec=0
[Service]
Type={kind.split(",")[0]}
ExecStartPre=/bin/rm -f /run/following-%i.pid
ExecStart=/usr/bin/hugexec {command}
ExecStartPost=/bin/sh -c "echo $MAINPID >/run/following-%i.main"
Restart=on-failure
RestartSec=50ms
TimeoutStartSec=300
{more}
""")
        return [f"following@{i}.service" for i in range(COUNT)], main

    return make


@pytest.mark.parametrize("kind, how, size", MATRIX)
def test_main_processes(container, units, kind, how, size):
    """MainPID=, $MAINPID, and Restart= after the main process was killed."""
    if kind == "notify-reload":
        container.needs_version(253, "Type=notify-reload")
    container.run(["rm", "-f", "/etc/hugexec/policy.json"])  # the shipped one
    names, main = units(kind, how, size)
    container.run(["systemctl", "start", *names], seconds=400)
    found = shown(container, names, "MainPID", "ActiveState", "SubState")
    pids = [found[name]["MainPID"] for name in names]
    assert {(found[name]["ActiveState"], found[name]["SubState"]) for name in names} == {("active", "running")}
    assert pids.count("0") == 0 and set(names_of(container, pids)) == {main}
    told = container.run(["sh", "-c", "cd /run; for i; do cat following-$i.main; done", "sh", *map(str, range(COUNT))]).stdout.split()
    assert told == pids
    if kind == "notify-reload":
        container.run(["systemctl", "reload", *names], seconds=400)
        assert shown(container, names, "MainPID", "ActiveState", "SubState") == found
    # Nobody is left of a launch but a wrapper's tracer, while that runs.
    names_there = {name for unit in names for name in comms(container, unit)}
    assert names_there <= {main, *({"hugexec-tracer", os.path.basename(f"service-{SIZES[size]}")} if main == "start" else ())}
    container.run(["kill", "-9", *pids])
    restarted = {"NRestarts": "1", "ActiveState": "active"}

    def all_restarted():
        now = shown(container, names, "NRestarts", "ActiveState", "MainPID")
        return all({**now[name], **restarted} == now[name] and now[name]["MainPID"] != "0" for name in names)

    wait_for(all_restarted, 120, "all units to be restarted")
    container.run(["systemctl", "stop", *names], seconds=400)


def comms(container, unit):
    found = []
    for pid in container.pids_of(f"system-following.slice/{unit}"):
        try:
            found.append(status_of(pid)["Name"])
        except OSError:
            continue
    return found


def test_the_count_is_right():
    """Each type of systemd.service(5) that has a main process is there."""
    assert {re.split(",", kind)[0] for kind, _, _ in MATRIX} == {"simple", "exec", "idle", "notify", "notify-reload", "forking"}
