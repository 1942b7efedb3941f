# SPDX-License-Identifier: Apache-2.0
"""A policy for many hosts: rules that only observe, that hold on a share of the hosts, and that an older version does not understand."""
import contextlib
import json
import os
import pathlib
import re

import pytest

from lib.machine import MIB
from lib.policies import PATIENT, policy_with
from lib.process import at_rest, run, status_of, wait_for
from lib.report import split_report

OBSERVING = policy_with(action="observe")
FLEET = pathlib.Path(__file__).resolve().parents[2] / "docs/fleet.md"


@pytest.mark.parametrize("backing, variant", [("file", ("pie", ("cc",))), ("thp", ("pie", ("cc",))), ("thp", ("no-pie", ("cc",)))])
def test_observe_says_what_would_be_done(hugexec_run, bigtext, backing, variant):
    """Within a huge page of what is done if the rule remaps, and nothing is."""
    program = [bigtext(8, *variant), "exit", "9"]
    done, (line,) = hugexec_run(program, OBSERVING, backing=backing)
    plain = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (9, plain.stdout, plain.stderr)
    assert (line["outcome"], line["huge_bytes"], line["copied_bytes"], line["backing"]) == ("skipped", 0, 0, None)
    assert line["reason"].startswith("observed: nothing was done: up to ") and line["reason"].endswith(f"({backing})")
    assert 8 * MIB <= line["text_bytes"] < 9 * MIB and line["rule"] == "all"
    assert 4 * MIB <= line["observed_bytes"] <= line["text_bytes"]
    _, (remapped,) = hugexec_run(program, policy_with(), backing=backing)
    if remapped["outcome"] == "remapped" and remapped["backing"] == backing:
        assert abs(line["observed_bytes"] - remapped["huge_bytes"]) <= 2 * MIB


def test_observe_does_nothing(hugexec, write_policy, bigtext):
    with at_rest([hugexec, f"--policy={write_policy(OBSERVING)}", "--", bigtext(8), "sleep", "600"]) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == bigtext(8) and status_of(process.pid)["TracerPid"] == "0")
        with pathlib.Path(f"/proc/{process.pid}/smaps").open(encoding="utf-8") as smaps:
            text = smaps.read()
        assert "/memfd:" not in text and not re.search(r"FilePmdMapped:\s+[1-9]", text)


def test_observe_never_ends_a_program(hugexec_run, bigtext):
    done, (line,) = hugexec_run([bigtext(8), "exit", "9"], policy_with(action="observe", on_error="fail"), backing="hugetlb")
    assert done.returncode == 9 and line["outcome"] == "skipped"


def test_observe_behind_a_wrapper(hugexec_run, bigtext):
    done, (line,) = hugexec_run(["env", "A=b", bigtext(8), "exit", "9"], OBSERVING)
    assert done.returncode == 9 and line["exe"] == bigtext(8) and line["reason"].startswith("observed: ")


def test_observe_of_little_text(hugexec_run, bigtext):
    _, (line,) = hugexec_run([bigtext(4)], policy_with(action="observe", min_text="1G"))
    assert line["reason"].startswith("text-small: ") and line["observed_bytes"] == 0


def test_attach_observes(attach, bigtext):
    with at_rest([bigtext(8), "sleep", "600"]) as process:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == bigtext(8))
        _, report, _ = attach(process.pid, OBSERVING)
        assert report["reason"].startswith("observed: ") and report["huge_bytes"] == 0


def test_explain_of_a_rule_that_observes(hugexecctl, write_policy, bigtext):
    """It tries the backings as always; the result is that nothing is done."""
    words = [hugexecctl, "explain", f"--policy={write_policy(OBSERVING)}"]
    told = json.loads(run([*words, "--json", bigtext(8)]).stdout)
    assert told["action"] == "observe" and told["would_remap"] is False and told["reason"].startswith("observed: ")
    assert any(backing["huge_bytes"] for backing in told["backings"])
    assert ": observe\n" in run([*words, bigtext(8)]).stdout


NEWER = {"version": 1, "settings": {"on_error": "fail"},
         "rules": [{"name": "newer", "match": {"exe": "**/bigtext*"}, "placement": "near"},
                   {"name": "all", "match": {}, "min_text": 0, **PATIENT}]}


def test_a_rule_that_is_not_understood_is_left_out(hugexec_run, hugexec, hugexecctl, write_policy, bigtext):
    """What it matches is left alone, and not the next rule's; everything else is as without it."""
    done, (line,) = hugexec_run([bigtext(8), "exit", "9"], NEWER, backing="thp")
    assert done.returncode == 9 and line["outcome"] == "skipped" and line["rule"] == "newer" and line["huge_bytes"] == 0
    assert re.match(r'rule-unknown: .*:1:\d+: unknown key "placement", ', line["reason"]), line["reason"]
    other = {**NEWER, "rules": [{**NEWER["rules"][0], "match": {"exe": "/nowhere"}}, NEWER["rules"][1]]}
    _, (line,) = hugexec_run([bigtext(8)], other, backing="thp")
    assert line["outcome"] == "remapped" and line["rule"] == "all"
    path = write_policy(NEWER)
    done = run([hugexecctl, "check", path])
    assert done.returncode == 1 and f"{path}:1:" in done.stderr and 'unknown key "placement"' in done.stderr
    told = json.loads(run([hugexecctl, "explain", f"--policy={path}", "--json", bigtext(8)]).stdout)
    assert told["would_remap"] is False and told["would_start"] is True and told["reason"].startswith("rule-unknown: ")
    done = run([hugexec, f"--policy={path}", "--report=-", "--", "sh", "-c", f"exec {bigtext(8)} exit 9"])
    assert done.returncode == 9 and split_report(done.stderr)[1][-1]["reason"].startswith("rule-unknown: ")


@contextlib.contextmanager
def a_host(words, machine_id, tmp_path):
    """The words that run WORDS where /etc/machine-id says MACHINE_ID; None: nothing."""
    if os.geteuid() != 0:
        pytest.skip("another machine ID for a process takes a mount, and that root")
    if not os.path.exists("/etc/machine-id"):
        pytest.skip("there is no /etc/machine-id to mount another one over")
    path = tmp_path / "machine-id"
    path.write_text(f"{machine_id}\n" if machine_id else "uninitialized\n")
    yield ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/machine-id && exec "$@"', str(path), *words]


def test_share_goes_by_the_machine_id(hugexec, write_policy, bigtext, tmp_path):
    """Half of the hosts is half of them, always the same ones; and a host without an ID is none."""
    policy = {"version": 1, "rules": [{"name": "canary", "match": {"share": 50}, "min_text": 0, **PATIENT},
                                      {"name": "rest", "match": {}, "action": "observe", "min_text": 0}]}
    words = [hugexec, f"--policy={write_policy(policy)}", "--backing=thp", "--report=-", "--", bigtext(4)]
    rules = []
    for machine_id in [f"{number:032x}" for number in range(12)] * 2 + [None]:
        with a_host(words, machine_id, tmp_path) as there:
            rules.append(split_report(run(there).stderr)[1][0]["rule"])
    assert rules[:12] == rules[12:24] and set(rules[:12]) == {"canary", "rest"} and rules[24] == "rest"


def test_the_policies_of_the_guide(hugexecctl, write_policy):
    shown = re.findall(r"^```json\n(.*?)^```", FLEET.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(shown) >= 3
    for text in shown:
        done = run([hugexecctl, "check", write_policy(text)])
        about_others = ("if root starts it", "no program is ever put on huge pages")  # its owner; a file of several
        said = [line for line in done.stderr.splitlines() if not any(text in line for text in about_others)]
        assert (done.returncode, said) == (0, []), text
