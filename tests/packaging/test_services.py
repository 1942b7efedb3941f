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


class Usual:
    """What clients see of a plain restart, which chance has its part in if the processors are busy."""

    def __init__(self, machine, unit):
        self.restart = lambda: machine.systemctl("restart", unit, seconds=240)
        self.machine, self.gaps = machine, 1

    def is_so(self, gaps):
        """Whether some of five plain restarts show a client as many GAPS."""
        for _ in range(5):
            if gaps <= self.gaps:
                break
            self.gaps = max(self.gaps, under_load(self.machine, self.restart)[1])
        return gaps <= self.gaps


def started(machine, unit):
    machine.systemctl("start", unit, seconds=240)
    wait_for(lambda: answers(machine), 120, f"{unit} to answer")


def test_what_will_come_of_it(machine):
    """enable --dry-run knows what Debian's units start: nothing, little text, a shell that starts the server, what is to stay as it is."""
    machine.hugexec()

    def foretold(unit, status=0):
        done = machine.run(["hugexecctl", "enable", "--dry-run", unit], check=False)
        assert done.returncode == status, done
        return done.stderr

    said = foretold("postgresql")
    assert "/true: its text would stay on small pages: text-small: " in said
    server = unit_of(machine, SERVICES["postgresql"])
    assert f"postgresql.service: {server} is part of it, and is enabled by its own name" in said
    assert "followed to what it starts" in foretold(server)
    assert "/usr/sbin/nginx: its text would stay on small pages: text-small: " in foretold("nginx")
    assert "/usr/bin/prometheus: its text would come on huge pages" in foretold("prometheus")
    assert "left alone itself, and followed to what it starts" in foretold("apache2")
    for unit in ("systemd-journald", "dbus", "hugexecd"):
        assert f"{unit}.service is a service of the system" in foretold(unit, 1)
    assert not machine.files("/etc/hugexec/units.d") and not [path for path in machine.files("/run/systemd/generator") if "hugexec" in path]


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
    usual = Usual(machine, unit)
    starts = machine.starts(unit)

    done, gaps = under_load(machine, lambda: machine.run(["hugexecctl", "enable", "--now", unit], check=False, seconds=240))
    print(name, done.stdout, done.stderr, gaps)
    if done.returncode != 0:
        # A unit that a generator makes of /etc/init.d: nothing was touched.
        assert "or a generator's" in done.stderr and "/run/systemd/generator" in machine.show(unit, "FragmentPath")["FragmentPath"], done
        assert gaps == 0 and machine.starts(unit) == starts
        return
    assert f"{unit} is active: " in done.stdout and "hugexec-launch" in machine.exec_start(unit)
    # It was restarted once, and no client has seen more of it than of any restart.
    assert machine.starts(unit) == starts + 1 and usual.is_so(gaps)
    machine.systemctl("reload", unit, check=False)
    wait_for(lambda: answers(machine), 120, "an answer after a reload")

    starts = machine.starts(unit)
    done, gaps = under_load(machine, lambda: machine.run(["hugexecctl", "disable", "--now", unit], seconds=240))
    assert machine.starts(unit) == starts + 1 and usual.is_so(gaps)
    assert changed(before, files(machine)) == {} and machine.settings_of(unit) == plain
    assert machine.systemctl("--failed", "--plain", "--no-legend").stdout == ""
