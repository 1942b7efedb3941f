# SPDX-License-Identifier: Apache-2.0
"""hugexecctl metrics: what it prints is OpenMetrics, and says what happened."""
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest

from lib.launched import remapped
from lib.machine import MIB
from lib.policies import ALL, policy_with
from lib.process import Process, run, wait_for
from lib.programs import UNPACKED
from lib.surroundings import ROOT

parser = pytest.importorskip("prometheus_client.openmetrics.parser", reason="python3-prometheus-client is not installed")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")

ALERTS = ROOT / "config/prometheus/hugexec.rules.yml"
DASHBOARD = ROOT / "config/grafana/hugexec.json"

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
            labels.pop("unit", None)  # whatever the tests run in
            if labels.get("namespace") == "none":
                labels.pop("namespace")
            limit = labels.pop("le", None)
            key = tuple(sorted(labels.items()))
            if limit is None:
                assert (sample.name, key) not in values
                values[sample.name, key] = sample.value
            else:
                buckets.setdefault(key, []).append((float(limit), sample.value))
    return values, buckets


def labels(**given):
    return tuple(sorted({"via": "shim", "backing": "none", "reason": "none", "rule": "all", **given}.items()))


def kind(**given):
    """Of a histogram."""
    return tuple(sorted({"via": "shim", "backing": "none", **given}.items()))


def test_launches_are_counted(script, bigtext):
    launch = f"$hugexec --backing=thp {bigtext()} >&2;"
    done = script(f": >/run/hugexec/metrics; {launch} {launch} $ctl metrics")
    assert done.returncode == 0, done.stderr
    values, buckets = samples(done.stdout)
    key = labels(outcome="remapped", backing="thp")
    assert values["hugexec_launches_total", key] == 2
    assert values["hugexec_held_seconds_count", kind(outcome="remapped", backing="thp")] == 2
    assert 0 < values["hugexec_held_seconds_sum", kind(outcome="remapped", backing="thp")] < 60
    assert values["hugexec_huge_bytes_total", key] >= 4 * MIB
    assert values["hugexec_text_bytes_total", key] >= values["hugexec_huge_bytes_total", key]
    limits = buckets[kind(outcome="remapped", backing="thp")]
    assert limits[-1] == (float("inf"), 2)
    assert [limit for limit, _ in limits] == sorted(limit for limit, _ in limits)
    assert values["hugexec_counting", ()] == 1


def test_observed_bytes_are_counted(script, bigtext):
    done = script(f": >/run/hugexec/metrics; $hugexec {bigtext(8)} >&2; $ctl metrics", policy=policy_with(action="observe"))
    values, _ = samples(done.stdout)
    key = labels(outcome="skipped", reason="observed")
    assert values["hugexec_launches_total", key] == 1 and values["hugexec_huge_bytes_total", key] == 0
    assert 4 * MIB <= values["hugexec_observed_bytes_total", key] <= values["hugexec_text_bytes_total", key]


def test_many_kinds_are_one_histogram(script):
    """Of two rules and two reasons, with one outcome."""
    rules = [{"name": "one", "match": {"exe": "**/true"}, "action": "skip"}, {"name": "two", "match": {"exe": "**/cat"}, "min_text": "1G"}]
    done = script(": >/run/hugexec/metrics; $hugexec true; $hugexec cat </dev/null; $hugexec true; $ctl metrics", policy={"version": 1, "rules": rules})
    values, buckets = samples(done.stdout)
    assert values["hugexec_launches_total", labels(outcome="skipped", reason="rule-skip", rule="one")] == 2
    assert values["hugexec_launches_total", labels(outcome="skipped", reason="text-small", rule="two")] == 1
    assert values["hugexec_held_seconds_count", kind(outcome="skipped")] == 3 == buckets[kind(outcome="skipped")][-1][1]


def test_what_is_there_now(script, hugexec_command, bigtext):
    """Processes on huge pages, policy, switch and pools, without a launch."""
    with remapped(hugexec_command, [bigtext(8), "sleep"], backing="thp") as (_, line):
        done = script(": >/run/hugexec/metrics; $ctl metrics")
        values, _ = samples(done.stdout)
    assert values["hugexec_processes", ()] >= 1
    assert line["huge_bytes"] <= values["hugexec_process_huge_bytes", ()] <= values["hugexec_process_text_bytes", ()]
    version, = [dict(key)["version"] for name, key in values if name == "hugexec_build_info"]
    assert f" {version}" in run([hugexec_command(["true"])[0][0], "--version"]).stdout
    assert (values["hugexec_policy_valid", ()], values["hugexec_policy_rules_left_out", ()], values["hugexec_switched_off", ()]) == (1, 0, 0)
    pool = int(pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").read_text())
    assert abs(values["hugexec_pool_pages", (("page_bytes", str(2 * MIB)), ("state", "total"))] - pool) < 512  # other tests take some


@pytest.mark.parametrize("text, valid, left_out", [("{", 0, 0), (json.dumps({"version": 1, "rules": [{"match": {}, "x": 1}, {"match": {}}]}), 1, 1)])
def test_a_policy_that_cannot_be_used_is_a_metric(script, text, valid, left_out):
    done = script(f"mkdir /run/hugexec/policy.d; touch /run/hugexec/disabled; echo '{text}' >/run/hugexec/policy.d/zz.json; $ctl metrics --no-processes")
    values, _ = samples(done.stdout)
    assert (values["hugexec_policy_valid", ()], values["hugexec_policy_rules_left_out", ()], values["hugexec_switched_off", ()]) == (valid, left_out, 1)


def of_prometheus(name):
    """A program of Debian's package prometheus, installed or unpacked."""
    found = shutil.which(name) or shutil.which(name, path=UNPACKED / "usr/bin")
    if not found:
        pytest.skip(f"{name} is not there: tests/get-programs unpacks it")
    return found


def promtool():
    return of_prometheus("promtool")


def test_promtool_likes_it(script, bigtext):
    """What the node exporter's files may have is stricter; and every metric has its help."""
    done = script(f": >/run/hugexec/metrics; $hugexec --backing=thp {bigtext()} >&2; $ctl metrics --format=prometheus")
    assert "# EOF" not in done.stdout and "# UNIT" not in done.stdout
    checked = run([promtool(), "check", "metrics"], input=done.stdout, stdin=None)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_alerts(tmp_path):
    """The rules are valid, and each fires when it should and not before: tests/lib/alerts.yml."""
    checked = run([promtool(), "check", "rules", ALERTS])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tests = tmp_path / "alerts.yml"
    tests.write_text((ROOT / "tests/lib/alerts.yml").read_text().replace("RULES", str(ALERTS)))
    checked = run([promtool(), "test", "rules", tests])
    assert checked.returncode == 0, checked.stdout + checked.stderr
    names = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert names == set(re.findall(r"alertname=\"(\w+)\"", tests.read_text()))


def metrics_named(text):
    return {re.sub("_(total|bucket|sum|count|info)$", "", name) for name in re.findall(r"\bhugexec_\w+", text)}


def test_alerts_and_dashboard_name_what_there_is(script, bigtext):
    done = script(f": >/run/hugexec/metrics; $hugexec --backing=thp {bigtext()} >&2; $ctl metrics")
    there = {name.removesuffix("_info") for name in re.findall(r"^# TYPE (\S+)", done.stdout, re.MULTILINE)}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for text in (ALERTS.read_text(), *asked):
        assert metrics_named(text) and metrics_named(text) <= there, text
    manual = (ROOT / "docs/hugexecctl.1").read_text().replace("\\", "")
    assert there - {"hugexec_launches"} == metrics_named(manual.partition(".SS metrics")[2].partition(".SS advise")[0]) - {"hugexec_launches", "hugexec_metrics"}


def test_a_prometheus_scrapes_it(script, bigtext, tmp_path):
    """A real server reads it by HTTP in both formats, and answers the dashboard's questions."""
    prometheus = of_prometheus("prometheus")
    texts = {path: script(f": >/run/hugexec/metrics; $hugexec --backing=thp {bigtext()} >&2; $ctl metrics {words}").stdout
             for path, words in (("/metrics", ""), ("/older", "--format=prometheus"))}
    assert_scraped(prometheus, texts, tmp_path)


def assert_scraped(prometheus, texts, folder):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4" if self.path == "/older" else "application/openmetrics-text; version=1.0.0")
            self.end_headers()
            self.wfile.write(texts[self.path].encode())

        def log_message(self, *_arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, socket.socket() as free:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        (folder / "prometheus.yml").write_text(f"""
global: {{ scrape_interval: 1s }}
rule_files: [ {ALERTS} ]
scrape_configs:
  - {{ job_name: hugexec, static_configs: [ {{ targets: [ "127.0.0.1:{server.server_port}" ] }} ] }}
  - {{ job_name: older, metrics_path: /older, static_configs: [ {{ targets: [ "127.0.0.1:{server.server_port}" ] }} ] }}
""")
        words = [prometheus, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        with Process(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            def ask(question):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": question}), timeout=30) as answer:
                    return json.load(answer)["data"]["result"]
            wait_for(lambda: len(ask("hugexec_launches_total")) == 2, process=process)
            assert [sample["value"][1] for sample in ask("hugexec_launches_total")] == ["1", "1"]
            assert [sample["value"][1] for sample in ask("hugexec_policy_valid")] == ["1", "1"]
            assert {sample["metric"]["version"] for sample in ask("hugexec_build_info")}
            for panel in json.loads(DASHBOARD.read_text())["panels"]:
                for target in panel.get("targets", []):
                    ask(target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*"))  # it is a question that has an answer
            process.terminate()
        server.shutdown()


def test_only_what_a_rule_is_about(script):
    rules = [{"match": {"exe": "/bin/true"}, "action": "skip"}, {"match": {"exe": "/usr/bin/true"}, "action": "skip"}]
    done = script(": >/run/hugexec/metrics; $hugexec true; $hugexec false || :; $ctl metrics",
                  policy={"version": 1, "rules": [*rules, {"match": {"exe": "/nowhere"}}]})
    values, _ = samples(done.stdout)
    rule, = [dict(key)["rule"] for name, key in values if name == "hugexec_launches_total"]
    assert re.match(r"rule [12] of /", rule)
    assert {key: value for key, value in values.items() if key[0] == "hugexec_launches_total"} == {
        ("hugexec_launches_total", labels(outcome="skipped", reason="rule-skip", rule=rule)): 1}


def test_counting_is_off_without_the_file(script):
    done = script("$hugexec true; ls -A /run/hugexec >&2; $ctl metrics --no-processes")
    values, _ = samples(done.stdout)
    assert done.returncode == 0 and values["hugexec_counting", ()] == 0
    assert not [name for name, _ in values if "launches" in name]
    assert "nothing is counted: /run/hugexec/metrics" in done.stderr


def test_nothing_counted_yet(script):
    done = script(": >/run/hugexec/metrics; $ctl metrics")
    assert done.returncode == 0
    values, buckets = samples(done.stdout)
    assert not buckets and not [name for name, _ in values if name.endswith("_total")] and values["hugexec_containers", ()] == 0


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
                    f"file.seek(16)  # the magic, and the first row's state and user\nfile.write({row!r})\n")
    done = script(f": >/run/hugexec/metrics; $hugexec true >&2; /usr/bin/python3 {fill}; $ctl metrics")
    assert done.returncode == 0, done.stderr
    values, _ = samples(done.stdout)
    assert values["hugexec_launches_total", labels(outcome="skipped", reason='a"} 1?\\??')] == 1
