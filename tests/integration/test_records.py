# SPDX-License-Identifier: Apache-2.0
"""hugexecctl status names the container that a process is in, from the records that the hook leaves."""
import json
import os

import pytest

from lib.policies import ALL
from lib.process import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")

SCRIPT = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/hugexec/containers
$hugexec --backing=thp $program sleep >/run/out & pid=$!
for i in $(seq 300); do grep -q ready /run/out && break; sleep 0.1; done
start=$(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20)
cd /run/hugexec/containers
echo "$record" >web-0123456789abcdef.$pid.$start
echo "$record" >old.$pid.1
echo "$record" >gone.4194305.7
$ctl status $words $pid
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
    lines = status("", json.dumps(RECORD)).splitlines()
    assert "CONTAINER" in lines[0]
    assert "shop/web-0/ser?ver" in lines[1]
    # The stale ones went at the first look, and this one with its process.
    assert not [line for line in lines if line.startswith(("web-", "old.", "gone."))]


def test_in_json_too(status):
    shown, _ = json.JSONDecoder().raw_decode(status("--json", json.dumps(RECORD)))
    assert shown["processes"][0]["container"] == {"id": "web-0123456789abcdef", "namespace": "shop", "pod": "web-0",
                                                  "name": "ser\x1bver", "image": "i:1"}


def test_without_a_pod_the_id_is_shown(status):
    assert "web-01234567 " in status("", "{}")


def test_without_records_there_is_no_column(status):
    assert "CONTAINER" not in status("", "no record")
