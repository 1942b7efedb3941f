# SPDX-License-Identifier: Apache-2.0
"""The container itself: a systemd that has come up, and nothing of it outside."""
import os
import pathlib

from lib.process import wait_for


def test_systemd_is_up(container):
    assert container.run(["systemctl", "is-active", "dbus.service"]).stdout == "active\n"
    assert container.run(["hugexec", "--version"]).stdout.startswith("hugexec ")
    assert container.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""


def test_the_journal_has_a_launch(container, bigtext):
    container.run(["systemd-run", "--unit=launch", "/usr/bin/hugexec", f"/srv/programs/{pathlib.Path(bigtext(8)).name}", "sleep"])
    try:
        entry, = wait_for(lambda: container.journal("OBJECT_SYSTEMD_UNIT=launch.service", "SYSLOG_IDENTIFIER=hugexec"))
        assert entry["HUGEXEC_OUTCOME"] == "remapped", entry
    finally:
        container.systemctl("stop", "launch.service", check=False)


def test_the_machine_does_not_see_it(container):
    before = pathlib.Path("/etc/systemd/system/seen.service")
    container.write("/etc/systemd/system/seen.service", "[Service]\nExecStart=/bin/true\n")
    container.write("/usr/bin/seen", "")
    container.path("/etc/systemd/system/seen.service").unlink()
    assert not before.exists() and not os.path.exists("/usr/bin/seen")
    assert not os.path.exists("/dev/log") or os.stat("/dev/log").st_dev != os.stat(container.path("/dev/null")).st_dev
    assert container.run(["sh", "-c", "echo 1 >/proc/sys/vm/nr_hugepages"], check=False).returncode != 0
