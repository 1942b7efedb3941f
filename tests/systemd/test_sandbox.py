# SPDX-License-Identifier: Apache-2.0
"""
Each sandboxing option of systemd.exec(5) alone, and all together: the service runs and answers, and its text is on huge
pages, or the journal says why not. What comes out is kept as JSON, of which table.py makes the table in docs/systemd.md.
"""
import json

import pytest
from service import ENOUGH, PROGRAM, ask, on_huge_pages, untouched

from lib.process import wait_for
from lib.surroundings import BUILD

ALL = """User=nobody
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateNetwork=yes
PrivateIPC=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
IPAddressDeny=any
KeyringMode=private
RemoveIPC=yes
UMask=0077"""

SANDBOXES = {name: name for name in (
    "User=nobody", "DynamicUser=yes", "PrivateTmp=yes", "PrivateUsers=yes", "PrivateDevices=yes", "PrivateNetwork=yes",
    "PrivateIPC=yes", "ProtectSystem=strict", "ProtectHome=yes", "ProtectProc=invisible", "ProcSubset=pid",
    "ProtectKernelTunables=yes", "ProtectControlGroups=yes", "NoNewPrivileges=yes", "MemoryDenyWriteExecute=yes",
    "RestrictNamespaces=yes", "RestrictAddressFamilies=AF_UNIX", "RestrictRealtime=yes", "LockPersonality=yes",
    "RestrictSUIDSGID=yes", "SystemCallFilter=@system-service", "SystemCallArchitectures=native",
    "CapabilityBoundingSet=", "LimitNOFILE=16", "LimitAS=64M", "MemoryMax=64M")}
SANDBOXES["SystemCallFilter=@system-service, SystemCallErrorNumber=EPERM"] = \
    "SystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM"
SANDBOXES["ProtectProc=invisible, User=nobody"] = "ProtectProc=invisible\nUser=nobody"
SANDBOXES["RootDirectory="] = "RootDirectory=/srv/root\nBindReadOnlyPaths=/usr /srv/programs /run/systemd/journal /run/hugexec\nMountAPIVFS=yes"
SANDBOXES["all of these that systemd-analyze security counts"] = ALL

# What cannot be, with the word that the journal has for it.
SMALL = {}

RESULTS = BUILD / "systemd" / "sandbox.json"


@pytest.fixture(scope="module")
def results():
    """What the tests of this module have found out, written when they are over."""
    found = {}
    yield found
    if set(found) == set(SANDBOXES):
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1), encoding="utf-8")


@pytest.fixture(scope="module")
def surroundings(booted):
    """The helper's socket, as where hugexec is installed; a root directory for one that has its own."""
    booted.systemctl("start", "hugexecd.socket")
    booted.run(["sh", "-c", "mkdir -p /srv/root/usr /srv/root/srv/programs /srv/root/run /srv/root/etc && cd /srv/root && "
                            "for i in bin sbin lib lib64; do ln -sf usr/$i $i; done && mkdir -p var tmp proc sys dev etc/hugexec"])
    yield booted
    booted.systemctl("stop", "hugexecd.service", "hugexecd.socket", check=False)


@pytest.mark.parametrize("name", SANDBOXES)
def test_sandbox(surroundings, container, make_unit, results, name):
    container.write("/srv/root/etc/hugexec/policy.json", container.path("/etc/hugexec/policy.json").read_text(encoding="utf-8"))
    make_unit("boxed.socket", "[Socket]\nListenStream=/run/boxed.sock\nSocketMode=0666\n")
    unit = make_unit("boxed.service", f"[Service]\nType=notify\nExecStart=/usr/bin/hugexec {PROGRAM} --notify\n{SANDBOXES[name]}\n")
    try:
        container.systemctl("stop", "hugexecd.service")
        container.systemctl("start", "boxed.socket")
        container.systemctl("start", unit)
        answer = ask(container, "/run/boxed.sock")
        pid = answer["pid"]
        assert answer["right"] == "1" and pid == answer["listen_pid"] == container.show(unit, "MainPID")["MainPID"]
        untouched(container.main_pid(unit))
        entry = wait_for(lambda: container.journal("SYSLOG_IDENTIFIER=hugexec", f"HUGEXEC_PID={pid}") +
                         container.journal("SYSLOG_IDENTIFIER=hugexecd", f"HUGEXEC_PID={pid}"),
                         what="the journal")[-1]
        huge = on_huge_pages(container, unit)
        reason = entry.get("HUGEXEC_REASON", "")
        helped = container.show("hugexecd.service", "ActiveState")["ActiveState"] == "active"
        results[name] = {"outcome": entry["HUGEXEC_OUTCOME"], "helped": helped, "huge_bytes": huge,
                         "backing": entry.get("HUGEXEC_BACKING", ""), "reason": reason}
        assert entry["HUGEXEC_UNIT"] == unit
        if name in SMALL:
            assert huge == 0 and reason.startswith(SMALL[name]), entry
        else:
            assert huge >= ENOUGH and entry["HUGEXEC_OUTCOME"] == "remapped", entry
    finally:
        container.systemctl("stop", "boxed.socket", unit, check=False)
