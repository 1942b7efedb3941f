# SPDX-License-Identifier: Apache-2.0
"""hugexecctl metrics: what it prints is OpenMetrics, and says what happened."""
import os

import pytest

from lib.machine import MIB
from lib.policies import ALL
from lib.process import run

parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="python3-prometheus-client is not installed")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")

# A /run of our own, so that the machine's counters stay as they are.
IN_OWN_RUN = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/hugexec && exec "$0" "$@"'


@pytest.fixture
def script(hugexec, hugexecctl, write_policy):
    """Run a shell script in which $hugexec has a policy; returns what it prints."""

    def call(text, policy=ALL, **options):
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_OWN_RUN, "sh", "-ec", text]
        environment = {**os.environ, "hugexec": f"{hugexec} --policy={write_policy(policy)}", "ctl": hugexecctl}
        return run(words, env=environment, **options)

    return call


def samples(text):
    """{(name, labels without le): value} and {labels: [(le, value)]}, after a strict parse."""
    assert text.endswith("# EOF\n")
    values, buckets = {}, {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            limit = labels.pop("le", None)
            key = tuple(sorted(labels.items()))
            if limit is None:
                assert (sample.name, key) not in values
                values[sample.name, key] = sample.value
            else:
                buckets.setdefault(key, []).append((float(limit), sample.value))
    return values, buckets


def labels(**given):
    return tuple(sorted({"via": "shim", "backing": "none", "reason": "none", **given}.items()))


def test_launches_are_counted(script, bigtext):
    launch = f"$hugexec --backing=thp {bigtext()} >&2;"
    done = script(f": >/run/hugexec/metrics; {launch} {launch} $ctl metrics")
    assert done.returncode == 0, done.stderr
    values, buckets = samples(done.stdout)
    key = labels(outcome="remapped", backing="thp")
    assert values["hugexec_launches_total", key] == 2
    assert values["hugexec_held_seconds_count", key] == 2
    assert 0 < values["hugexec_held_seconds_sum", key] < 60
    assert values["hugexec_huge_bytes_total", key] >= 4 * MIB
    assert values["hugexec_text_bytes_total", key] >= values["hugexec_huge_bytes_total", key]
    assert buckets[key][-1] == (float("inf"), 2)
    assert [limit for limit, _ in buckets[key]] == sorted(limit for limit, _ in buckets[key])


def test_only_what_a_rule_is_about(script):
    rules = [{"match": {"exe": "/bin/true"}, "action": "skip"}, {"match": {"exe": "/usr/bin/true"}, "action": "skip"}]
    done = script(": >/run/hugexec/metrics; $hugexec true; $hugexec false || :; $ctl metrics",
                  policy={"version": 1, "rules": [*rules, {"match": {"exe": "/nowhere"}}]})
    values, _ = samples(done.stdout)
    assert {key: value for key, value in values.items() if key[0] == "hugexec_launches_total"} == {
        ("hugexec_launches_total", labels(outcome="skipped", reason="rule-skip")): 1}


def test_counting_is_off_without_the_file(script):
    done = script("$hugexec true; ls -A /run/hugexec; $ctl metrics")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is counted: /run/hugexec/metrics" in done.stderr


def test_nothing_counted_yet(script):
    done = script(": >/run/hugexec/metrics; $ctl metrics")
    assert done.returncode == 0
    assert samples(done.stdout) == ({("hugexec_containers", ()): 0}, {})


def test_record_of_a_container_that_has_gone_is_removed(script):
    """As the manual says."""
    containers = "/run/hugexec/containers"
    done = script(f": >/run/hugexec/metrics; mkdir {containers}; echo '{{}}' >{containers}/gone.4194305.7; $ctl metrics; ls -A {containers}")
    assert (done.returncode, done.stdout.endswith("# EOF\n")) == (0, True), done


def test_reasons_of_any_text_are_escaped(script, tmp_path):
    """A row as it may stand in the file: label values must not be able to forge lines."""
    row = bytes([1, 1, 255]) + b'a"} 1\n\\\xff\x1b'.ljust(32, b"\0")  # via shim, skipped, no backing
    fill = tmp_path / "fill.py"
    fill.write_text("file = open('/run/hugexec/metrics', 'r+b')\n"
                    f"file.seek(12)  # the magic, and the state of the first row\nfile.write({row!r})\n")
    done = script(f": >/run/hugexec/metrics; $hugexec true >&2; /usr/bin/python3 {fill}; $ctl metrics")
    assert done.returncode == 0, done.stderr
    values, _ = samples(done.stdout)
    assert values["hugexec_launches_total", labels(outcome="skipped", reason='a"} 1?\\??')] == 1
