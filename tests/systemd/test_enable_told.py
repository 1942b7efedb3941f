# SPDX-License-Identifier: Apache-2.0
"""hugexecctl enable and disable: JSON, screens, and what many enabled units cost."""
import json

import pytest
from service import ENOUGH, PROGRAM, SYSTEM, named, service_unit

from lib.terminal import on_terminal


def test_json(container, make_unit):
    """Of each unit what was done, in one document, whatever became of it."""
    name = make_unit("told.service", service_unit("/run/told"))

    def told(*words, status=0):
        done = container.run(["hugexecctl", *words, "--json"], check=False)
        assert done.returncode == status, done
        return json.loads(done.stdout)["units"]

    dry, = told("enable", "--dry-run", name)
    assert dry["done"] and "hugexec-launch" in dry["drop_in"] and "text" in dry["forecast"] and "added" not in dry
    unit, other = told("enable", "--now", name, "no-such-unit", status=1)
    assert (unit["unit"], unit["done"], unit["reason"], unit["added"]) == (name, True, None, named(name)) and "drop_in" not in unit
    restarted, = unit["restarted"]
    assert (restarted["unit"], restarted["active"]) == (name, "active") and ENOUGH <= restarted["huge_bytes"] <= restarted["text_bytes"]
    assert (other["unit"], other["done"]) == ("no-such-unit.service", False) and other["reason"].startswith("no-unit: ")
    assert told("disable", "--now", name) == [{"removed": [named(name)], "unit": name, "done": True, "reason": None}]
    assert told("disable", name) == [{"unit": name, "done": True, "reason": None}] and told("disable", "--all") == []


def test_parts_are_named(container, make_unit):
    """A unit that starts nothing itself: its services are, in lines and in JSON; a part that is no service is not."""
    make_unit("heap-part.target", "[Unit]\nPartOf=heap.service\n")
    part = make_unit("heap-a.service", "[Unit]\nPartOf=heap.service\n" + service_unit("/run/heap"))
    name = make_unit("heap.service", f"[Unit]\nWants={part} heap-part.target\n[Service]\nType=oneshot\nRemainAfterExit=on\nExecStart=/bin/true\n")
    done = container.run(["hugexecctl", "enable", "--dry-run", name])
    assert "its text would stay on small pages: " in done.stderr, done
    assert f"{name}: {part} is part of it, and is enabled by its own name\n" in done.stderr and "heap-part" not in done.stderr
    assert json.loads(container.run(["hugexecctl", "enable", "--dry-run", "--json", name]).stdout)["units"][0]["parts"] == [part]


def test_screens(container, make_unit):
    """enable, list, status and disable on a terminal of 80 columns."""
    name = make_unit(f"{'a-service-with-a-long-name-' * 2}.service", service_unit("/run/screens"))
    for words in (["enable", "--dry-run"], ["enable"], ["enable", "--now"], ["status", "--unit"], ["list"], ["disable", "--now"], ["disable"], ["list"]):
        text = on_terminal(container.inside(["hugexecctl", *words, *([] if words == ["list"] else [name])]))
        lines = [line for line in text.splitlines() if not line.startswith(("ExecStart", "Enabled ", "Removed ", "#"))]
        assert text and max(map(len, lines), default=0) <= 80, text


MANY = 200


@pytest.mark.alone
def test_many_units_do_not_slow_a_reload(container, make_unit):
    """Units that systemd has loaded, so that it reads their drop-ins, with and without their names in units.d in turn: the fastest of each."""
    make_unit("many@.service", f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={PROGRAM} --say $FOO \"two words\"\n")
    names = [f"many@{number}.service" for number in range(MANY)]
    for name in names:  # files of their own, as services have
        container.run(["cp", f"{SYSTEM}/many@.service", f"{SYSTEM}/{name.replace('@', '-')}"])
    names = [name.replace("@", "-") for name in names]
    try:
        container.systemctl("daemon-reload")
        container.systemctl("start", *names)
        container.run(["sh", "-ec", "mkdir -p /etc/hugexec/units.d.off; cd /etc/hugexec/units.d.off; touch \"$@\"", "sh", *names])
        said = container.run(["sh", "-ec", """cd /etc/hugexec; test -d units.d && rmdir units.d
for turn in 1 2 3 4 5 6 7; do
	for kind in plain enabled; do
		test $kind = plain || mv units.d.off units.d
		begin=$(date +%s%N); systemctl daemon-reload; echo $kind $(($(date +%s%N) - begin)) $(ls /run/systemd/generator | grep -c '^many-')
		test $kind = plain || mv units.d units.d.off
	done
done"""], seconds=600).stdout
        runs = [line.split() for line in said.splitlines()]
        assert {(kind, made) for kind, _, made in runs} == {("plain", "0"), ("enabled", str(MANY))}
        plain, enabled = (min(int(ns) / 1e6 for kind, ns, _ in runs if kind == wanted) for wanted in ("plain", "enabled"))
        print(f"daemon-reload: plain {plain:.0f} ms, with {MANY} enabled units {enabled:.0f} ms")
        # 100 ms, or half of what plain takes if that is more: a slow machine.
        assert enabled - plain <= max(100, plain / 2), said
    finally:
        container.systemctl("stop", *names, check=False)
        container.run(["sh", "-c", f"rm -rf /etc/hugexec/units.d.off {SYSTEM}/many-*; mkdir -p /etc/hugexec/units.d"])
        container.systemctl("daemon-reload")
