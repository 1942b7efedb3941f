# SPDX-License-Identifier: Apache-2.0
"""hugexecd under a real systemd: units that may not trace have their text on huge pages through it."""
import os
import pathlib

import pytest

from lib.process import status_of, wait_for
from lib.smaps import huge_text_bytes

FILTER = "SystemCallFilter=@system-service"
SANDBOXES = {
    "filter": FILTER,
    "filter that refuses": f"{FILTER}\nSystemCallErrorNumber=EPERM",
    "user": f"{FILTER}\nUser=nobody\nNoNewPrivileges=yes",
    "dynamic user": f"{FILTER}\nDynamicUser=yes\nCapabilityBoundingSet=\nRestrictAddressFamilies=AF_UNIX AF_INET\nPrivateTmp=yes",
    "user namespace": f"{FILTER}\nPrivateUsers=yes",
    "hidden processes": f"{FILTER}\nDynamicUser=yes\nProtectProc=invisible\nProcSubset=pid",
    "network namespace": f"{FILTER}\nPrivateNetwork=yes\nPrivateIPC=yes\nPrivateDevices=yes",
    "all": f"""{FILTER}
SystemCallArchitectures=native
DynamicUser=yes
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateNetwork=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
UMask=0077""",
}


@pytest.fixture
def helper(container):
    """The socket is up, the service not yet."""
    container.systemctl("stop", "hugexecd.service", "hugexecd.socket", check=False)
    container.systemctl("reset-failed", "hugexecd.service", check=False)
    container.systemctl("start", "hugexecd.socket")
    yield container
    container.systemctl("stop", "hugexecd.service", "hugexecd.socket", check=False)


@pytest.fixture
def start(container, make_unit, bigtext):
    """Start a unit that runs a program under hugexec with these settings; returns (PID, its report in the journal)."""

    def call(name, settings, backing="thp"):
        program = "/srv/programs/" + os.path.basename(bigtext(8))
        make_unit(name, f"[Service]\nExecStart=/usr/bin/hugexec --backing={backing} {program} sleep\n{settings}\n")
        container.systemctl("start", name)
        pid = wait_for(lambda: container.main_pid(name), what="its main process")
        wait_for(lambda: os.readlink(f"/proc/{pid}/exe").endswith("bigtext-pie-8"), what="its program")
        entries = wait_for(lambda: container.journal(f"HUGEXEC_EXE={program}", f"OBJECT_SYSTEMD_UNIT={name}") or
                           container.journal(f"HUGEXEC_EXE={program}", f"_SYSTEMD_UNIT={name}"), what="the journal")
        return pid, entries[-1]

    return call


@pytest.mark.parametrize("backing", ["file", "thp"])
@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_sandboxed(helper, start, sandbox, backing):
    name = f"sandboxed-{sandbox.replace(' ', '-')}-{backing}.service"
    pid, entry = start(name, SANDBOXES[sandbox], backing)
    assert entry["HUGEXEC_OUTCOME"] == "remapped", entry
    assert int(entry["HUGEXEC_HUGE_BYTES"]) == huge_text_bytes(pid) > 0
    status = status_of(pid)
    assert (status["TracerPid"], status["Seccomp"]) == ("0", "2")
    assert helper.pids_of(name) == [pid]
    assert helper.show("hugexecd.service", "ActiveState")["ActiveState"] == "active"
    assert "its socket can be reached" in helper.run(["env", "-u", "HUGEXEC_HELPER", "hugexecctl", "doctor"], check=False).stdout
    assert helper.show(name, "Result", "NRestarts") == {"Result": "success", "NRestarts": "0"}


def test_without_helper(container, start):
    container.systemctl("stop", "hugexecd.socket", "hugexecd.service", check=False)
    assert "hugexecd.socket" in container.run(["env", "-u", "HUGEXEC_HELPER", "hugexecctl", "doctor"], check=False).stdout  # says what to do
    pid, entry = start("alone.service", FILTER)
    assert entry["HUGEXEC_OUTCOME"] == "failed" and "; hugexecd: helper-absent: " in entry["HUGEXEC_REASON"]
    assert huge_text_bytes(pid) == 0


def test_root_directory(helper, start, tmp_path):
    """Inside another root the socket is there where it is bound, and elsewhere its absence is the reason."""
    helper.run(["mkdir", "-p", "/var/lib/small"])
    binds = "RootDirectory=/var/lib/small\nMountAPIVFS=yes\nBindReadOnlyPaths=/usr /lib /lib64 /srv/programs /etc/hugexec"
    _, entry = start("rooted.service", f"{FILTER}\n{binds}\nBindReadOnlyPaths=-/run/systemd/journal")
    assert "; hugexecd: helper-absent: " in entry["HUGEXEC_REASON"]
    pid, entry = start("rooted-bound.service", f"{FILTER}\n{binds}\nBindReadOnlyPaths=/run/hugexec -/run/systemd/journal")
    assert entry["HUGEXEC_OUTCOME"] == "remapped", entry
    assert huge_text_bytes(pid) > 0


def test_killed_and_started_again(helper, start):
    """SIGKILL of the service: the next client finds a new one; what was remapped before is as it was."""
    first, _ = start("first.service", FILTER)
    huge = huge_text_bytes(first)
    helper.systemctl("kill", "--signal=KILL", "hugexecd.service")
    wait_for(lambda: helper.show("hugexecd.service", "ActiveState")["ActiveState"] == "failed")
    second, entry = start("second.service", FILTER)
    assert entry["HUGEXEC_OUTCOME"] == "remapped"
    assert huge_text_bytes(first) == huge > 0 and huge_text_bytes(second) > 0
    assert helper.show("hugexecd.service", "ActiveState")["ActiveState"] == "active"
    # SIGTERM: it ends by itself, and well.
    helper.systemctl("stop", "hugexecd.service")
    assert helper.show("hugexecd.service", "Result")["Result"] == "success"
    assert helper.pids_of("hugexecd.service") == []


def test_exposure(helper):
    """What systemd says of how much the service could do."""
    done = helper.run(["systemd-analyze", "security", "--no-pager", "--threshold=20", "hugexecd.service"], check=False)
    assert done.returncode == 0, done.stdout[-200:]
    assert pathlib.Path(helper.path("/run/hugexec/hugexecd.sock")).is_socket()
