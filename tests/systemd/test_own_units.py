# SPDX-License-Identifier: Apache-2.0
"""What hugexec itself installs for systemd: its services, their sandboxes, the journal's catalog, templates."""
import platform
import re
import shutil
import time

import pytest
from service import ENOUGH, PROGRAM, ask, on_huge_pages

from lib import two_texts
from lib.machine import POOL, take_hugetlb_pool
from lib.policies import PATIENT
from lib.process import wait_for
from lib.programs import GENERATED

UNITS = "/usr/lib/systemd/system"
# What systemd-analyze may find at most. The helper traces and reads others' processes, and joins their cgroups.
SERVICES = {"hugexec-pool.service": 2.0, "hugexec-warm.service": 2.0, "hugexecd.service": 2.0, "hugexec-nri.service": 2.0,
            "hugexec-counter.service": 2.0, "hugexec-metrics.service": 2.5}
MASKED = ("hugexec-pool.service", "hugexec-warm.service")


@pytest.mark.parametrize("name", SERVICES)
def test_exposure(container, name):
    done = container.run(["systemd-analyze", "security", "--offline=true", "--no-pager", f"{UNITS}/{name}"])
    exposure = float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout).group(1))
    assert exposure <= SERVICES[name], done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_units_are_right(container, name):
    done = container.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"{UNITS}/{name}"], check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


@pytest.fixture
def unmasked(container):
    """The services that the container does not start at boot."""
    masks = [container.path(f"/etc/systemd/system/{name}") for name in MASKED]
    for mask in masks:
        mask.unlink()
    container.systemctl("daemon-reload")
    yield container
    container.systemctl("stop", *MASKED, check=False)
    container.systemctl("reset-failed", check=False)
    for mask in masks:
        mask.symlink_to("/dev/null")
    container.path("/etc/hugexec/pool.conf").unlink(missing_ok=True)
    container.systemctl("daemon-reload")


def messages(container, unit):
    return [entry["MESSAGE"] for entry in container.journal(f"_SYSTEMD_UNIT={unit}", "_TRANSPORT=stdout")]


def test_pool(unmasked):
    container, unit = unmasked, "hugexec-pool.service"
    with take_hugetlb_pool(3):
        have = int((POOL / "nr_hugepages").read_text())
        container.write("/etc/hugexec/pool.conf", f"# two more\n2M {have + 2}\n")
        container.systemctl("start", unit)
        assert int((POOL / "nr_hugepages").read_text()) == have + 2
        assert wait_for(lambda: messages(container, unit))[-1] == f"2.0 MiB pages: {have + 2}, asked for {have + 2}"
        # What is there already is not taken away.
        container.write("/etc/hugexec/pool.conf", "2M 1\n")
        container.systemctl("restart", unit)
        assert int((POOL / "nr_hugepages").read_text()) == have + 2
        container.write("/etc/hugexec/pool.conf", f"2M {have + 3} node=0\n")
        container.systemctl("restart", unit)
        assert int((POOL / "nr_hugepages").read_text()) >= have + 3
    for text, reason in (("2M 1 node=99\n", "pool-size"), ("2M\n", "/etc/hugexec/pool.conf:1: ")):
        container.write("/etc/hugexec/pool.conf", text)
        assert container.systemctl("restart", unit, check=False).returncode != 0
        wait_for(lambda: any(reason in message for message in messages(container, unit)), what=reason)


def test_pool_without_a_file(unmasked):
    """Nothing is asked for: the service does not run, and has not failed."""
    unmasked.systemctl("start", "hugexec-pool.service")
    assert unmasked.show("hugexec-pool.service", "ConditionResult", "Result") == {"ConditionResult": "no", "Result": "success"}


def test_warm(unmasked):
    container = unmasked
    container.write("/etc/hugexec/policy.json", {"version": 1, "rules": [{"match": {"exe": PROGRAM}}]})
    container.systemctl("start", "hugexec-warm.service")
    line = wait_for(lambda: [text for text in messages(container, "hugexec-warm.service") if PROGRAM in text])[-1]
    assert line.split()[2] == "8.0", line  # the ends of the text come with it


@pytest.mark.skipif(platform.machine() not in two_texts.RETURNS, reason="no function for this processor")
def test_warm_makes_copies_for_all(unmasked):
    """A rule that wants all text of a library has a copy made of what is out of step: root's, in the unit's own folder, where the unit is root."""
    container, folder = unmasked, GENERATED / "two-texts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    two_texts.build(folder)
    time.sleep(3.5)  # what was changed a moment ago is not copied
    container.write("/etc/hugexec/policy.json", {"version": 1, "rules": [
        {"match": {"exe": "/srv/programs/two-texts/program"}, "min_text": "1M", "libraries": True, "coverage": "full"}]})
    container.systemctl("start", "hugexec-warm.service")
    said = wait_for(lambda: [text for text in messages(container, "hugexec-warm.service") if "copies for all processes" in text])[-1]
    listed = container.run(["stat", "-c", "%F %U %A", "/var/cache/hugexec"]).stdout
    copies = container.run(["find", "/var/cache/hugexec", "-type", "f", "-uid", "0", "!", "-perm", "/0333"]).stdout.split()
    assert said.startswith("/var/cache/hugexec has 1 copies") and len(copies) == 1, (said, messages(container, "hugexec-warm.service"))
    assert listed.startswith("directory root drwxr-xr-x")
    shutil.rmtree(folder)


def test_warm_of_a_service_that_is_enabled(unmasked, make_unit):
    """No rule names its program, but one is about what is started with hugexec."""
    container = unmasked
    name = make_unit("warmed.service", f"[Service]\nExecStart={PROGRAM} --socket=/run/warmed\n")
    container.write("/etc/hugexec/policy.json", {"version": 1, "rules": [{"match": {"via": "shim"}}]})
    before = len(messages(container, "hugexec-warm.service"))
    container.run(["hugexecctl", "enable", name])
    container.systemctl("start", "hugexec-warm.service")
    wait_for(lambda: any(PROGRAM in text for text in messages(container, "hugexec-warm.service")[before:]), what="its program")
    container.run(["hugexecctl", "disable", name])


@pytest.fixture
def no_policy(unmasked):
    """No policy file but the shipped one."""
    path = unmasked.path("/etc/hugexec/policy.json")
    before = path.read_text()
    path.unlink()
    yield unmasked
    path.write_text(before)


def test_warm_by_drop_ins_of_packages(no_policy):
    """Without any the service has nothing to do, and does not run."""
    container, unit = no_policy, "hugexec-warm.service"
    before = len(messages(container, unit))
    container.systemctl("start", unit)
    assert len(messages(container, unit)) == before
    drop_in = container.write("/usr/lib/hugexec/policy.d/50-package.json", {"version": 1, "rules": [{"match": {"exe": PROGRAM}}]})
    try:
        container.systemctl("start", unit)
        wait_for(lambda: any(PROGRAM in text for text in messages(container, unit)[before:]), what="its message")
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()


def test_catalog(container, make_unit):
    """journalctl -x explains the message."""
    container.run(["journalctl", "--update-catalog"])
    unit = make_unit("told.service", f"[Service]\nExecStart=/usr/bin/hugexec {PROGRAM} --socket=/run/told\n")
    container.systemctl("start", unit)
    ask(container, "/run/told")
    wait_for(lambda: container.journal(f"HUGEXEC_UNIT={unit}"))
    text = container.run(["journalctl", "-x", "--no-pager", f"HUGEXEC_UNIT={unit}"]).stdout
    assert f"hugexec looked at the machine code of {PROGRAM}: remapped" in text
    assert re.search(r"remapped: \d+ of its \d+ bytes", text) and "man:hugexec(1)" in text


HIDDEN = "User=nobody\nProtectProc=invisible"


@pytest.mark.parametrize("sandbox", ["", HIDDEN, "Slice=deep-er.slice"])
@pytest.mark.parametrize("name, matches", [("matched-a.service", True), ("other.service", False)])
@pytest.mark.parametrize("match", [{"unit": "matched-*.service"}, {"cgroup": "/**/matched-*"}], ids=["unit", "cgroup"])
def test_rules_that_name_units(container, make_unit, match, name, matches, sandbox):
    """Also where process 1 is hidden from the service."""
    container.write("/etc/hugexec/policy.json", {"version": 1, "rules": [{"match": match, "min_text": 0, **PATIENT}]})
    make_unit("rules.socket", f"[Socket]\nListenStream=/run/rules\nSocketMode=0666\nService={name}\n")
    make_unit(name, f"[Service]\nExecStart=/usr/bin/hugexec {PROGRAM}\n{sandbox}\n")
    container.systemctl("start", "rules.socket")
    assert ask(container, "/run/rules")["right"] == "1"
    # By chance a plain program's text may be mapped in huge pages too: whether hugexec did it the journal knows.
    if matches:
        assert on_huge_pages(container, name) >= ENOUGH
    assert bool(container.journal(f"HUGEXEC_UNIT={name}")) == matches
    container.systemctl("stop", "rules.socket", name, check=False)


def test_status_of_a_unit(container, make_unit):
    one = make_unit("seen-one.service", f"[Service]\nExecStart={PROGRAM} --socket=/run/seen-one --child\n", enable=True)
    two = make_unit("seen-two.service", f"[Service]\nExecStart={PROGRAM} --socket=/run/seen-two\n")
    container.systemctl("start", one, two)
    ask(container, "/run/seen-one"), ask(container, "/run/seen-two")
    lines = container.run(["hugexecctl", "status", "--unit", "seen-one"]).stdout.splitlines()
    assert len([line for line in lines if line.endswith(PROGRAM)]) == 2, lines  # and its child, which has not run yet
    assert any("6.0 MiB" in line for line in lines), lines
    lines = container.run(["hugexecctl", "status", "--unit", two]).stdout.splitlines()
    assert len([line for line in lines if line.endswith(PROGRAM)]) == 1, lines
    done = container.run(["hugexecctl", "status", "--unit", "no-such"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "hugexecctl: no-such.service has no process: systemctl status no-such.service\n")
    assert container.run(["hugexecctl", "status", "--unit", one, "1"], check=False).returncode == 2


def test_drop_in_template(container, make_unit):
    """The template as it is installed, with a program of ours, does what it says."""
    unit = make_unit("by-hand.service", f"[Service]\nEnvironment=ARGS=--socket=/run/by-hand\nExecStart={PROGRAM} $ARGS\n")
    text = container.path("/usr/share/doc/hugexec/drop-in.conf").read_text(encoding="utf-8")
    container.write(f"/etc/systemd/system/{unit}.d/50-hugexec.conf", text.replace("/usr/bin/prometheus", PROGRAM))
    container.systemctl("daemon-reload")
    container.systemctl("start", unit)
    assert ask(container, "/run/by-hand")["right"] == "1"
    assert on_huge_pages(container, unit) >= ENOUGH


def metric(container, name, **labels):
    """The sum of the samples of NAME with these labels."""
    text = container.run(["hugexecctl", "metrics"]).stdout
    found = re.findall(rf"^{name}\{{(.*)\}} (\d+)$", text, re.MULTILINE)
    return sum(int(value) for given, value in found if set(labels.items()) <= set(re.findall(r'(\w+)="([^"]*)"', given)))


def test_services_of_users_are_counted(container, make_unit):
    """One that may write nowhere; and which unit it was."""
    container.run(["rm", "-f", "/run/hugexec/metrics"])
    container.run(["systemd-tmpfiles", "--create", "hugexec.conf"])
    container.systemctl("start", "hugexec-counter.socket")
    unit = make_unit("hx-counted.service", "[Service]\nType=notify\nUser=nobody\nProtectSystem=strict\nRuntimeDirectory=hx-counted\n"
                     f"ExecStart={PROGRAM} --notify --socket=/run/hx-counted/socket\n", enable=True)
    try:
        for number in range(1, 4):  # one at a time: of a process that has ended nobody could say which unit it was
            container.systemctl("restart", unit)
            wait_for(lambda: metric(container, "hugexec_launches_total", rule="all") >= number, what="the launch to be counted")
        assert metric(container, "hugexec_launches_total", unit=unit, outcome="remapped", rule="all") == 3
        assert metric(container, "hugexec_processes", unit=unit) == 1
        assert ENOUGH <= metric(container, "hugexec_process_huge_bytes", unit=unit) <= metric(container, "hugexec_process_text_bytes", unit=unit)
        # All of its processes, by the unit's name; they are on huge pages already. Rows without a heading.
        done = container.run(["hugexecctl", "attach", "--no-legend", "--unit", unit])
        assert re.fullmatch(rf" *{container.show(unit, 'MainPID')['MainPID']} .* file .*/service-8\n", done.stdout), done.stdout
        assert container.run(["hugexecctl", "attach", "--unit", "nothing.service"], check=False).returncode == 1
        assert "UNIT" not in container.run(["hugexecctl", "list", "--no-legend"]).stdout
    finally:
        container.systemctl("stop", "hugexec-counter.socket", "hugexec-counter.service", check=False)


def test_metrics_for_the_node_exporter(container):
    """A file that is whole at any moment, and readable for the exporter's user."""
    unit, folder = "hugexec-metrics.service", "/var/lib/prometheus/node-exporter"
    container.run(["systemd-tmpfiles", "--create", "hugexec.conf"])
    container.run(["rm", "-rf", folder])
    container.systemctl("start", unit)
    assert container.show(unit, "ConditionResult") == {"ConditionResult": "no"}
    container.run(["mkdir", "-p", folder])
    try:
        container.systemctl("start", unit)
        path = container.path(f"{folder}/hugexec.prom")
        assert "hugexec_policy_valid 1\n" in path.read_text() and path.stat().st_mode & 0o777 == 0o644
        assert [entry.name for entry in container.path(folder).iterdir()] == ["hugexec.prom"]
    finally:
        container.run(["rm", "-rf", folder])
