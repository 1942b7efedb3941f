# SPDX-License-Identifier: Apache-2.0
"""hugexecctl status and metrics name the container and pod that a process is in, from the records that the hook leaves."""
import json
import os
import re

import pytest

from lib.policies import ALL
from lib.process import run
from lib.surroundings import BUILD
from lib.terminal import on_terminal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")

SCRIPT = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/hugexec/containers
$hugexec --backing=thp $program sleep >/run/out & pid=$!
for i in $(seq 1200); do grep -q ready /run/out && break; sleep 0.1; done
start=$(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20)
cd /run/hugexec/containers
echo "$record" >web-0123456789abcdef.$pid.$start
echo "$record" >old.$pid.1
echo "$record" >gone.4194305.7
eval "$ctl $words"
kill $pid
wait $pid || :
$ctl status --json >/dev/null
ls /run/hugexec/containers
"""
RECORD = {"version": 1, "mount_namespace": 0, "namespace": "shop", "pod": "web-0", "container": "ser\x1bver", "image": "i:1"}


@pytest.fixture
def status(hugexec, hugexecctl, write_policy, bigtext):
    def call(words, record):
        environment = {**os.environ, "hugexec": f"{hugexec} --policy={write_policy(ALL)}", "ctl": hugexecctl,
                       "program": bigtext(), "words": words, "record": record}
        done = run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", SCRIPT], env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_pod_and_container_are_shown(status):
    lines = status("status $pid", json.dumps(RECORD)).splitlines()
    assert "CONTAINER" in lines[0]
    assert "shop/web-0/ser?ver" in lines[1]
    # The stale ones went at the first look, and this one with its process.
    assert not [line for line in lines if line.startswith(("web-", "old.", "gone."))]


def test_in_json_too(status):
    shown, _ = json.JSONDecoder().raw_decode(status("status --json $pid", json.dumps(RECORD)))
    assert shown["processes"][0]["container"] == {"id": "web-0123456789abcdef", "namespace": "shop", "pod": "web-0",
                                                  "name": "ser\x1bver", "image": "i:1"}


def test_without_a_pod_the_id_is_shown(status):
    assert "web-01234567 " in status("status $pid", "{}")


def test_without_records_there_is_no_column(status):
    assert "CONTAINER" not in status("status $pid", "no record")


def test_by_pod(status):
    """One row for the container, with what its processes have."""
    heading, row, *_ = status("status --pods", json.dumps(RECORD)).splitlines()
    assert heading.split() == ["PROCESSES", "TEXT", "HUGE", "HUGE", "%", "NAMESPACE", "POD", "CONTAINER", "IMAGE"]
    assert row.split()[0] == "1" and row.split()[-4:] == ["shop", "web-0", "ser?ver", "i:1"]
    assert status("status --pods --no-legend", json.dumps(RECORD)).splitlines()[0].split()[-4:] == row.split()[-4:]


def test_by_pod_in_json(status):
    shown, _ = json.JSONDecoder().raw_decode(status("status --pods --json", json.dumps(RECORD)))
    one, = shown["containers"]
    assert {key: one[key] for key in ("id", "namespace", "pod", "name", "image", "processes")} == {
        "id": "web-0123456789abcdef", "namespace": "shop", "pod": "web-0", "name": "ser\x1bver", "image": "i:1", "processes": 1}
    assert 0 < one["huge_bytes"] <= one["text_bytes"]


HOSTILE = dict.fromkeys(("namespace", "pod", "container", "image"), "\n\x1b[2J9 4.0 MiB " + "x" * 2000)


def test_hostile_names_forge_no_row(status):
    """As an engine might tell them, longer than any that Kubernetes allows."""
    lines = status("status --pods --no-legend", json.dumps(HOSTILE)).splitlines()
    assert "\x1b" not in lines[0] and lines[0].count("??[2J9 4.0 MiB xxx") == 4 and len(lines[0]) < 1200
    assert lines[1:] == []
    lines = status("metrics | grep ^hugexec_process", json.dumps(HOSTILE)).splitlines()
    assert lines and all(line.startswith("hugexec_process") and len(line) < 300 for line in lines)


def test_without_a_pod_the_id_is_the_name(status):
    assert status("status --pods", "{}").splitlines()[1].split()[-4:] == ["-", "-", "web-0123456789abcdef", "-"]
    assert status("status --pods", "no record").splitlines()[0] == "No container that runs came on huge pages."


def test_what_is_there_now_by_namespace(status):
    shown = status("metrics | grep ^hugexec_process", json.dumps(RECORD))
    of_shop = dict(re.findall(r'^(\w+)\{unit="[^"]*",namespace="shop"\} (\d+)$', shown, re.MULTILINE))
    assert of_shop["hugexec_processes"] == "1"
    assert 0 < int(of_shop["hugexec_process_huge_bytes"]) <= int(of_shop["hugexec_process_text_bytes"])


def test_by_pod_is_for_root(hugexecctl):
    done = run([hugexecctl, "status", "--pods"], user=65534, group=65534, extra_groups=[])
    assert (done.returncode, done.stdout) == (1, "") and "root" in done.stderr


def test_one_question_at_a_time(hugexecctl):
    for words in (["--pods", "1"], ["--pods", "--unit=a.service"]):
        done = run([hugexecctl, "status", *words])
        assert done.returncode == 2 and "one of PID" in done.stderr


def test_rows_fit_a_terminal():
    """Of 80 columns, names that are longer than it has room for are cut at their beginning."""
    program = BUILD / "shim" / "hugexecctl"
    record = json.dumps({key: f"{key}-{'x' * 60}-end" for key in ("namespace", "pod", "container", "image")})
    script = ("mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/hugexec/containers\n"
              "start=$(sed 's/.*) //' /proc/$$/stat | cut -d' ' -f20)\n"
              f"echo '{record}' >/run/hugexec/containers/web.$$.$start; {program} status --pods")
    for columns in (80, 100, 200):
        heading, row = on_terminal(["unshare", "--mount", "--propagation", "private", "sh", "-ec", script], columns=columns).splitlines()
        assert len(heading) <= columns and len(row) <= columns and row.count("-end") == 4
        assert ("TEXT" in heading) == (columns >= 100)
