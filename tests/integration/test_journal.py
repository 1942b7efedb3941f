# SPDX-License-Identifier: Apache-2.0
"""The journal, as hugexec writes to it."""
import contextlib
import os
import pathlib
import re
import socket

import pytest

from lib.later import Later, ask
from lib.process import run
from lib.report import read_report

# The journal: a socket in its place, in a mount namespace of our own

JOURNAL = "/run/systemd/journal"


@pytest.fixture
def journal(tmp_path):
    """A listening socket, and the words that put it where the journal's is for what they run."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        put = f"mount -t tmpfs none /run && mkdir -p {JOURNAL} && touch {JOURNAL}/socket && " \
              f"mount --bind {path} {JOURNAL}/socket && exec \"$@\""
        yield listener, ["unshare", "--mount", "--propagation=private", "sh", "-c", put, "sh"]


def test_journal_gets_the_fields(hugexec_command, journal, bigtext):
    listener, inside = journal
    words, report = hugexec_command([bigtext(8)], backing="thp")
    done = run([*inside, *words])
    assert done.returncode == 0, done.stderr
    line, = read_report(report)
    fields = dict(field.split("=", 1) for field in listener.recv(65536).decode().splitlines())
    assert fields["SYSLOG_IDENTIFIER"] == "hugexec"
    assert re.fullmatch("[0-9a-f]{32}", fields["MESSAGE_ID"])
    assert fields["HUGEXEC_OUTCOME"] == line["outcome"]
    assert fields["HUGEXEC_RULE"] == line["rule"]
    assert fields["HUGEXEC_EXE"] == line["exe"]
    assert fields["HUGEXEC_PID"] == fields["OBJECT_PID"] == str(line["pid"])
    assert fields["HUGEXEC_HUGE_BYTES"] == str(line["huge_bytes"])
    assert fields["HUGEXEC_TEXT_BYTES"] == str(line["text_bytes"])
    assert fields["HUGEXEC_LATENCY_US"] == str(line["latency_us"])
    assert fields["PRIORITY"] == ("6" if line["outcome"] != "failed" else "4")
    assert fields["MESSAGE"].startswith(pathlib.Path(line["exe"]).name)


def test_what_comes_later_is_told_as_what_attach_does(hugexec_command, journal, public_folder):
    listener, inside = journal
    later = Later(public_folder, hugexec_command)
    with later.running(before=inside) as (process, _):
        launch = dict(field.split("=", 1) for field in listener.recv(65536).decode().splitlines())
        assert ask(process, "open") == "open right\n"
        fields = dict(field.split("=", 1) for field in listener.recv(65536).decode().splitlines())
        assert later.is_whole(process.pid)
        process.kill()
    assert (launch["HUGEXEC_VIA"], launch["HUGEXEC_OUTCOME"]) == ("shim", "skipped")
    assert (fields["HUGEXEC_VIA"], fields["HUGEXEC_OUTCOME"], fields["HUGEXEC_BACKING"]) == ("attach", "remapped", "file")
    assert (fields["HUGEXEC_PID"], fields["HUGEXEC_EXE"], fields["HUGEXEC_RULE"]) == (str(process.pid), later.path, "later")
    assert int(fields["HUGEXEC_TEXT_BYTES"]) >= 6 << 20 and int(fields["HUGEXEC_LATENCY_US"]) > 0


def test_a_policy_that_cannot_be_used_is_an_error(hugexec, journal, write_policy):
    """No program comes on huge pages any more: that is more than a warning about one of them."""
    listener, inside = journal
    for policy in ("/nonexistent/policy.json", write_policy("{")):
        assert run([*inside, hugexec, f"--policy={policy}", "true"]).returncode == 0
        fields = dict(field.split("=", 1) for field in listener.recv(65536).decode().splitlines())
        assert fields["PRIORITY"] == "3" and policy in fields["MESSAGE"], fields


def test_a_stopped_journal_holds_nobody(hugexec_command, journal, bigtext):
    listener, inside = journal
    program = bigtext(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"MESSAGE=x\n", listener.getsockname())
        words, _ = hugexec_command([program], backing="thp")
        done = run([*inside, *words], timeout=120)
        assert done.returncode == 0
