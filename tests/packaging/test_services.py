# SPDX-License-Identifier: Apache-2.0
"""
Debian's own services, as apt installs them: enabled and disabled with --now while eight clients ask on and on, and answers before, meanwhile and
afterwards; then everything is as it was, byte for byte.
"""
import json
import subprocess

import pytest
from clients import SERVICES, answers, set_question, unit_of
from root_machine import changed

from lib.process import wait_for

# Counts of launches; journals; what systemd keeps of sandboxes, hugexecd's among them.
NOT_COMPARED = ("/run/hugexec/metrics", "/run/systemd/units", "/run/systemd/journal", "/run/systemd/transient", "/run/systemd/propagate",
                "/run/systemd/incoming", "/run/systemd/unit-root")


def files(machine):
    return machine.files("/etc", "/run/hugexec", "/run/systemd", "/usr/lib/systemd", without=NOT_COMPARED)


def under_load(machine, work):
    """What WORK returns, and how often at most one of the clients that ask meanwhile had no answer for a while."""
    machine.run(["rm", "-f", "/run/load.stop", "/run/load.runs"])
    client = subprocess.Popen(machine.inside(["python3", "/root/client.py"], 600), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: machine.path("/run/load.runs").exists(), what="the clients", process=None)
        done = work()
        wait_for(lambda: answers(machine), 120, "an answer")
    finally:
        machine.write("/run/load.stop", "")
        said = client.communicate(timeout=120)[0]
    good, gaps, answered = json.loads(said)
    assert good > 0 and answered, said
    return done, gaps


def started(machine, unit):
    machine.systemctl("start", unit, seconds=240)
    wait_for(lambda: answers(machine), 120, f"{unit} to answer")


@pytest.mark.parametrize("name", SERVICES)
def test_service(machine, name):
    service = SERVICES[name]
    unit = unit_of(machine, service)
    if not unit:
        pytest.skip(f"this Debian has no {name}")
    if service.prepare:
        service.prepare(machine)
    machine.hugexec()
    machine.systemctl("start", "hugexecd.socket")
    set_question(machine, service)
    started(machine, unit)
    before, plain = files(machine), machine.settings_of(unit)
    _, usual = under_load(machine, lambda: machine.systemctl("restart", unit, seconds=240))
    starts = machine.starts(unit)

    done, gaps = under_load(machine, lambda: machine.run(["hugexecctl", "enable", "--now", unit], check=False, seconds=240))
    print(name, done.stdout, done.stderr, usual, gaps)
    if done.returncode != 0:
        # A unit that a generator makes of /etc/init.d: nothing was touched.
        assert "or a generator's" in done.stderr and "/run/systemd/generator" in machine.show(unit, "FragmentPath")["FragmentPath"], done
        assert gaps == 0 and machine.starts(unit) == starts
        return
    assert f"{unit} is active: " in done.stdout and "hugexec-launch" in machine.exec_start(unit)
    # It was restarted once, and no client has seen more of it than of any restart.
    assert machine.starts(unit) == starts + 1 and gaps <= max(usual, 1)
    machine.systemctl("reload", unit, check=False)
    wait_for(lambda: answers(machine), 120, "an answer after a reload")

    done, gaps = under_load(machine, lambda: machine.run(["hugexecctl", "disable", "--now", unit], seconds=240))
    assert machine.starts(unit) == starts + 2 and gaps <= max(usual, 1)
    assert changed(before, files(machine)) == {} and machine.settings_of(unit) == plain
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
