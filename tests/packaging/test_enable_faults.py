# SPDX-License-Identifier: Apache-2.0
"""
Something goes wrong at each step of hugexecctl enable --now, of its taking back, and of disable --now: the service, Debian's redis-server, goes on
answering, starts again at each later time, and everything can be made as it was.
"""
import contextlib
import shutil
import signal
import subprocess

import pytest
from clients import SERVICES, answers, set_question
from root_machine import changed

from lib.process import wait_for
from lib.steps import DISABLE, ENABLE, TAKE_BACK

REDIS = SERVICES["redis"]
KEPT = ("enable-kept",)
NOT_COMPARED = ("/run/hugexec/metrics", "/run/systemd/units", "/run/systemd/journal", "/run/systemd/transient")


def files(machine):
    return machine.files("/etc", "/run/hugexec", "/run/systemd", without=NOT_COMPARED)


class Victim:
    """redis-server in a booted machine, and what it was before."""

    def __init__(self, machine, faulty_ctl):
        machine.hugexec()
        shutil.copy(faulty_ctl, machine.path("/usr/bin/hugexecctl"))
        machine.systemctl("start", REDIS.unit)
        set_question(machine, REDIS)
        wait_for(lambda: answers(machine), what="redis to answer")
        self.machine, self.files, self.settings = machine, files(machine), machine.settings_of(REDIS.unit)

    def named(self):
        return self.machine.path(f"/etc/hugexec/units.d/{REDIS.unit}").exists()

    def through_hugexec(self):
        return "hugexec-launch" in self.machine.exec_start(REDIS.unit)

    def run(self, verb, fault="", more=()):
        """hugexecctl VERB --now; its status and what it says."""
        return self.machine.run(["env", f"HUGEXEC_FAULT={fault}", *more, "/usr/bin/hugexecctl", verb, "--now", REDIS.unit], check=False)

    @contextlib.contextmanager
    def stopped(self, verb, step):
        """Stopped at STEP for as long as the context lasts; then it goes on, to its end. Yields a dict that has its PID, and its status at the end."""
        self.machine.path("/run/ctl.pid").unlink(missing_ok=True)
        child = subprocess.Popen(self.machine.inside(["sh", "-c", "echo $$ >/run/ctl.pid; exec env HUGEXEC_FAULT=$1 /usr/bin/hugexecctl $2 --now $3 >/run/ctl.said 2>&1",
                                                      "sh", f"stop:{step}", verb, REDIS.unit]), stdin=subprocess.DEVNULL)
        try:
            pid = wait_for(lambda: self.machine.path("/run/ctl.pid").read_text().strip(), what="its PID")
            # A step that is not reached is an error of this test's.
            wait_for(lambda: "\nState:\tT" in self.machine.path(f"/proc/{pid}/status").read_text(), what=f"the step {step}", process=child)
            happened = {"pid": pid}
            yield happened
            self.machine.run(["kill", "-CONT", pid])
            happened["status"] = child.wait(120)
            happened["said"] = self.machine.path("/run/ctl.said").read_text()
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.wait()

    def is_well(self):
        """It answers now, and after what a package's upgrade would do; then everything can be undone."""
        assert answers(self.machine)
        self.machine.systemctl("daemon-reload")
        self.machine.systemctl("restart", REDIS.unit)
        wait_for(lambda: answers(self.machine), what="redis to answer")
        done = self.run("disable")
        assert done.returncode == 0 and answers(self.machine), done
        self.is_as_it_was()

    def is_as_it_was(self):
        assert not self.named() and self.machine.settings_of(REDIS.unit) == self.settings
        self.machine.run(["sh", "-c", "rm -f /run/ctl.pid /run/ctl.said"])
        assert changed(self.files, files(self.machine)) == {}


@pytest.fixture
def victim(machine, faulty_ctl):
    return Victim(machine, faulty_ctl)


def test_killed(victim):
    """A unit that was not seen through starts without hugexec from the next reload on."""
    for step in ENABLE:
        assert victim.run("enable", f"kill:{step}").returncode in (137, -9), step
        assert answers(victim.machine), step
        victim.machine.systemctl("daemon-reload")
        assert victim.through_hugexec() == (step in KEPT), step
        victim.is_well()
    for step in DISABLE:
        assert victim.run("enable").returncode == 0
        assert victim.run("disable", f"kill:{step}").returncode in (137, -9), step
        victim.is_well()


def test_killed_while_it_takes_back(victim):
    """The unit cannot be enabled, because systemd does not read what the generator makes: another one has the last word."""
    generator = victim.machine.write("/etc/systemd/system-generators/theirs", f"""#!/bin/sh
mkdir -p $1/{REDIS.unit}.d && printf '[Service]\\nNice=1\\nExecStart=\\nExecStart=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd --daemonize no\\n' \
>$1/{REDIS.unit}.d/zzzz.conf
""", 0o755)
    for step in TAKE_BACK:
        assert victim.run("enable", f"kill:{step}").returncode in (137, -9), step
        assert not victim.named()
    generator.unlink()
    generator.parent.rmdir()
    victim.machine.systemctl("daemon-reload")
    victim.is_well()


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_interrupted(victim, name):
    """All is taken back, until the unit was seen through."""
    for step in ENABLE if name == "TERM" else ENABLE[3:5]:
        with victim.stopped("enable", step) as happened:
            victim.machine.run(["kill", f"-{name}", happened["pid"]])
        assert answers(victim.machine), step
        assert victim.named() == victim.through_hugexec(), (step, happened)
        if step in ENABLE[:4]:
            assert happened["status"] == 1 and not victim.named(), (step, happened)
        victim.is_well()


def test_the_bus_dies(victim):
    """And nobody starts it again while enable is at work; systemctl needs none."""
    for step in ENABLE:
        with victim.stopped("enable", step):
            victim.machine.systemctl("stop", "dbus.socket", "dbus.service")
        happened_named = victim.named()
        assert answers(victim.machine), step
        assert happened_named == victim.through_hugexec(), step
        if step in ENABLE[:4]:
            assert not happened_named, step
        victim.machine.systemctl("start", "dbus.socket", "dbus.service")
        victim.is_well()


def test_no_room_for_the_name(victim):
    machine = victim.machine
    machine.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tests", "/etc/hugexec/units.d"])
    machine.run(["sh", "-c", "cat /dev/zero >/etc/hugexec/units.d/full"], check=False)
    done = victim.run("enable")
    assert done.returncode == 1 and "No space left" in done.stderr and not victim.named(), done
    assert answers(machine)
    machine.run(["umount", "/etc/hugexec/units.d"])
    victim.is_as_it_was()


def test_no_room_for_the_drop_in(victim):
    """Where the generator writes not even a folder can be made."""
    machine = victim.machine
    machine.run(["sh", "-c", "mkdir -p /run/systemd/generator && mount -t tmpfs -o nr_inodes=1 tests /run/systemd/generator"])
    done = victim.run("enable")
    machine.run(["umount", "/run/systemd/generator"])
    assert done.returncode == 1 and "not-taken" in done.stderr and "all was taken back" in done.stderr, done
    assert answers(machine) and not victim.named() and not victim.through_hugexec()
    victim.is_well()


def test_systemctl_fails(victim):
    """It restarts nothing: what ran runs on."""
    victim.machine.write("/root/bin/systemctl", "#!/bin/sh\nexit 1\n", 0o755)
    pid = victim.machine.show(REDIS.unit, "MainPID")
    done = victim.run("enable", more=["PATH=/root/bin:/usr/bin:/bin"])
    assert done.returncode == 1, done
    assert victim.machine.show(REDIS.unit, "MainPID") == pid and not victim.through_hugexec()
    victim.is_as_it_was()
    victim.is_well()
