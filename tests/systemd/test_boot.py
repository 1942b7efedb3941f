"""The bed itself: a systemd that has come up, and nothing of it outside."""
import os
import pathlib

from lib.process import wait_for


def test_systemd_is_up(bed):
    assert bed.run(["systemctl", "is-active", "dbus.service"]).stdout == "active\n"
    assert bed.run(["hugexec", "--version"]).stdout.startswith("hugexec ")
    assert bed.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout == ""


def test_the_journal_has_a_launch(bed, bigtext):
    bed.run(["systemd-run", "--unit=launch", "/usr/bin/hugexec", f"/srv/programs/{pathlib.Path(bigtext(8)).name}", "sleep"])
    try:
        entry, = wait_for(lambda: bed.journal("OBJECT_SYSTEMD_UNIT=launch.service", "SYSLOG_IDENTIFIER=hugexec"))
        assert entry["HUGEXEC_OUTCOME"] == "remapped", entry
    finally:
        bed.systemctl("stop", "launch.service", check=False)


def test_the_machine_does_not_see_it(bed):
    before = pathlib.Path("/etc/systemd/system/seen.service")
    bed.write("/etc/systemd/system/seen.service", "[Service]\nExecStart=/bin/true\n")
    bed.write("/usr/bin/seen", "")
    bed.path("/etc/systemd/system/seen.service").unlink()
    assert not before.exists() and not os.path.exists("/usr/bin/seen")
    assert not os.path.exists("/dev/log") or os.stat("/dev/log").st_dev != os.stat(bed.path("/dev/null")).st_dev
    assert bed.run(["sh", "-c", "echo 1 >/proc/sys/vm/nr_hugepages"], check=False).returncode != 0
