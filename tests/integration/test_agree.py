# SPDX-License-Identifier: Apache-2.0
"""hugexecctl explain says what a launch does: a table of cases, each asked of both, by root and by a user."""
import json
import os
import pathlib
import shutil

import pytest

from lib import policies
from lib.process import run
from lib.report import read_report

pytestmark = [pytest.mark.usefixtures("public_folder")]

PATIENT = {"min_text": 0, "backing": ["thp"], **policies.PATIENT}
EVERYTHING = {"match": {}, **PATIENT}


def rules(*several, **more):
    return {"version": 1, "rules": list(several), **more}


class Place:
    """Where a case puts its files."""

    def __init__(self, folder, bigtext):
        self.folder, self.large, self.bigtext = folder, folder / "large", bigtext
        shutil.copy(bigtext(4), self.large)

    def script(self, line, name="script"):
        path = self.folder / name
        path.write_text(line + "\n")
        path.chmod(0o755)
        return path

    def link(self, name, to=None):
        path = self.folder / name
        path.symlink_to(to or self.large)
        return path

    def static(self):
        path = self.folder / "static"
        shutil.copy(self.bigtext(4, "static", ("cc", "-static")), path)
        return path

    def foreign(self):
        content = bytearray(pathlib.Path("/bin/true").resolve().read_bytes())
        content[18:20] = (243).to_bytes(2, "little")  # EM_RISCV
        path = self.script("", "foreign")
        path.write_bytes(content)
        return path

    def set_uid(self):
        if os.geteuid() != 0 or os.statvfs(self.folder).f_flag & os.ST_NOSUID:
            pytest.skip("takes root, and a folder that is not mounted nosuid")
        self.large.chmod(0o4755)
        return self.large

    def busybox(self, name):
        path = shutil.which("busybox")
        if not path:
            pytest.skip("busybox is not installed")
        return self.link(name, path)


SH, ENV = shutil.which("sh"), shutil.which("env")

# Each: what is started, by which policy.
CASES = {
    "large": lambda at: ([at.large], rules(EVERYTHING)),
    "static": lambda at: ([at.static()], rules(EVERYTHING)),
    "default remaps": lambda at: ([at.large], rules(default="remap", settings=PATIENT)),
    "no rule": lambda at: ([at.large], rules({"match": {"exe": "/nothing"}})),
    "rule skips": lambda at: ([at.large], rules({"match": {}, "action": "skip"})),
    "text too small": lambda at: ([at.large], rules({"match": {}, "min_text": "1G"})),
    "text too large": lambda at: ([at.large], rules({"match": {}, "max_text": "1M", "min_text": 0})),
    "no whole slot": lambda at: (["true"], rules(EVERYTHING)),
    "no program of this processor": lambda at: ([at.foreign()], rules(EVERYTHING)),
    "set-uid": lambda at: ([at.set_uid()], rules(EVERYTHING)),
    # Wrappers
    "wrapper": lambda at: ([SH, "-c", ":"], rules(EVERYTHING)),
    "wrapper and no rule": lambda at: ([SH, "-c", ":"], rules({"match": {"exe": "/nothing"}})),
    "wrapper and a rule that skips it": lambda at: ([SH, "-c", ":"], rules({"match": {"exe": "/**/*sh"}, "action": "skip"}, EVERYTHING)),
    "wrapper that is not followed": lambda at: ([SH, "-c", ":"], rules({**EVERYTHING, "follow": "none"})),
    "wrapper of the policy's": lambda at: ([at.large], rules({**EVERYTHING, "wrappers": ["lar*"]})),
    "wrapper by a link's name": lambda at: ([at.link("front")], rules({**EVERYTHING, "wrappers": ["front"]})),
    "link to a wrapper of the policy's": lambda at: ([at.link("front")], rules({**EVERYTHING, "wrappers": ["large"]})),
    "link whose name says nothing": lambda at: ([at.link("sh")], rules(EVERYTHING)),
    "busybox as a shell": lambda at: ([at.busybox("sh"), "-c", ":"], rules(EVERYTHING)),
    "busybox as a tool": lambda at: ([at.busybox("true")], rules({**EVERYTHING, "min_text": "1G"})),
    # Scripts
    "script": lambda at: ([at.script("#!/bin/sh")], rules(EVERYTHING)),
    "script and no rule": lambda at: ([at.script("#!/bin/sh")], rules({"match": {"exe": "/nothing"}})),
    "script and a rule that skips its interpreter": lambda at: ([at.script("#!/bin/sh")], rules({"match": {"exe": "/**/*sh"}, "action": "skip"}, EVERYTHING)),
    "script without interpreter": lambda at: ([at.script("exit 0")], rules(EVERYTHING)),
    "script that is not followed": lambda at: ([at.script("#!/bin/sh")], rules({**EVERYTHING, "follow": "none"})),
    "script in a large interpreter": lambda at: ([at.script(f"#!{at.large} exit")], rules(EVERYTHING)),
    "script in a large interpreter that no rule names": lambda at: ([at.script(f"#!{at.large} exit")], rules({"match": {"exe": "/nothing"}})),
    "script in an interpreter with too little text": lambda at: ([at.script(f"#!{at.large} exit")], rules({**EVERYTHING, "min_text": "1G"})),
    "script of a script": lambda at: ([at.script(f"#!{at.script('#!/bin/sh', 'inner')}")], rules(EVERYTHING)),
    "script of a wrapper's name": lambda at: ([at.script(f"#!{at.large} exit", "pg_ctlcluster")], rules(EVERYTHING)),
    "script by env": lambda at: ([at.script(f"#!{ENV} sh")], rules(EVERYTHING)),
    "script by env that is not followed": lambda at: ([at.script(f"#!{ENV} sh")], rules({**EVERYTHING, "follow": "none"})),
    "script by env and a rule that skips env": lambda at: ([at.script(f"#!{ENV} sh")], rules({"match": {"exe": "/**/env"}, "action": "skip"}, EVERYTHING)),
    # Rules by the name of a link
    "link that a rule names": lambda at: ([at.link("front")], rules({"name": "by link", "match": {"exe": str(at.folder / "front")}, **PATIENT})),
    "link that a rule skips": lambda at: ([at.link("front")], rules({"name": "by link", "match": {"exe": str(at.folder / "front")}, "action": "skip"}, EVERYTHING)),
    "file that a rule names, by another link": lambda at: ([at.link("front")], rules({"match": {"exe": str(at.folder / "back")}, **PATIENT})),
    "link, and a rule about its file": lambda at: ([at.link("front")], rules({"match": {"exe": str(at.large)}, **PATIENT})),
    "script that a rule names": lambda at: ([at.script(f"#!{at.large} exit")], rules({"match": {"exe": str(at.folder / "script")}, **PATIENT})),
    "link to a script": lambda at: ([at.link("front", at.script(f"#!{at.large} exit"))], rules({"match": {"exe": str(at.folder / "front")}, **PATIENT})),
    # Libraries
    "libraries of a program that has none": lambda at: ([at.static()], rules({**EVERYTHING, "min_text": "1G", "libraries": True})),
    "libraries that are too small": lambda at: (["true"], rules({**EVERYTHING, "min_text": "1G", "libraries": True})),
    "libraries that are not wanted": lambda at: (["true"], rules({**EVERYTHING, "libraries": {"include": ["/nothing"]}})),
    "files to prepare that are not there": lambda at: (["true"], rules({**EVERYTHING, "libraries": {"include": ["/nothing"], "prepare": ["/usr/nothing/*.so"]}})),
    # Users
    "rule for root": lambda at: ([at.large], rules({"match": {"user": "root"}, **PATIENT})),
    "rule for nobody": lambda at: ([at.large], rules({"match": {"user": ["nobody", 65534]}, **PATIENT})),
}


def word(reason):
    return reason and reason.split(":")[0]


def ask_both(as_user, explain, hugexec, policy, command, report):
    """What explain says, and the report of the launch."""
    environment = {**os.environ, "HUGEXEC_HELPER": "off"}
    done = run([*explain, f"--policy={policy}", "--json", "--", command[0]], env=environment)
    assert done.returncode == 0, done.stderr
    report.touch()
    report.chmod(0o666)
    launched = run([*as_user, hugexec, f"--policy={policy}", f"--report={report}", "--", *command], env=environment)
    lines = read_report(report)
    assert len(lines) == 1, (lines, launched)
    return json.loads(done.stdout), lines[0]


@pytest.mark.parametrize("user", ["caller", "nobody", "nobody without new privileges"])
@pytest.mark.parametrize("case", CASES)
def test_explain_and_launch(hugexecctl, hugexec, write_policy, bigtext, nobody, public_folder, case, user):
    as_user = {"caller": [], "nobody": nobody, "nobody without new privileges": [*nobody, "--no-new-privs"]}[user]
    command, policy = CASES[case](Place(public_folder, bigtext))
    said, line = ask_both(as_user, [*as_user, hugexecctl, "explain"], hugexec, write_policy(policy), command, public_folder / "report")
    assert word(said["reason"]) == word(line["reason"]), (said, line)
    assert said["would_remap"] is (line["outcome"] == "remapped"), (said, line)
    rule = said["rule"] if word(line["reason"]) != "not-native" else None  # the kernel refuses that before a rule is asked
    assert line["rule"] == (rule and (rule["name"] or f"rule {rule['number']} of {rule['file']}"))
    is_planned = word(said["reason"]) not in ("rule-skip", "no-rule", "wrapper", "unprivileged-wrapper", "privileged-program", "not-native")
    if not is_planned:
        assert said["backings"] == [] and said["most_huge_bytes"] == 0
        assert not any(library["huge_bytes"] or library["copied_bytes"] or library["needs_stop"] for library in said["libraries"])


@pytest.mark.skipif(os.geteuid() != 0, reason="being somebody else takes root")
@pytest.mark.parametrize("case", ["large", "wrapper", "set-uid", "rule for root", "rule for nobody", "script by env"])
def test_explain_for_another_user(hugexecctl, hugexec, write_policy, bigtext, nobody, public_folder, case):
    command, policy = CASES[case](Place(public_folder, bigtext))
    said, line = ask_both(nobody, [hugexecctl, "explain", "--user=nobody"], hugexec, write_policy(policy), command, public_folder / "report")
    assert word(said["reason"]) == word(line["reason"]) and said["would_remap"] is (line["outcome"] == "remapped"), (said, line)


def test_explain_for_a_user_that_one_is_not(hugexecctl, nobody):
    done = run([*nobody, hugexecctl, "explain", "--user=root", "true"])
    assert done.returncode == 1 and "only root can see" in done.stderr
    done = run([hugexecctl, "explain", "--user=nosuchuser", "true"])
    assert done.returncode == 2 and "there is no user 'nosuchuser'" in done.stderr


def test_explain_for_a_unit(hugexecctl, write_policy):
    """Rules by unit and cgroup can be tried; a unit's cgroup is not guessed."""
    policy = write_policy(rules({"name": "unit", "match": {"unit": "mariadb.service"}}, {"name": "cgroup", "match": {"cgroup": "/system.slice/*"}}))
    for options, name in ((["--unit=mariadb"], "unit"), (["--unit=mariadb.service"], "unit"), (["--unit=redis.service"], None),
                          (["--cgroup=/system.slice/x.service"], "cgroup"), (["--unit=redis", "--cgroup=/system.slice/y"], "cgroup")):
        done = run([hugexecctl, "explain", "--json", f"--policy={policy}", *options, "true"])
        assert (json.loads(done.stdout)["rule"] or {}).get("name") == name, done
    text = run([hugexecctl, "explain", f"--policy={policy}", "--unit=mariadb", "true"]).stdout
    assert "unit mariadb.service, cgroup not known" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="a root of its own takes root")
def test_rule_about_a_link_in_another_root(hugexec_command, bigtext, tmp_path):
    """The name is looked up where the program runs, and a file of that name elsewhere is no match."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    shutil.copy(bigtext(4, "static", ("cc", "-static")), root / "bin" / "large")
    (root / "bin" / "front").symlink_to("large")
    rule = {"name": "front", "match": {"exe": "/bin/front"}, **PATIENT}
    words, report = hugexec_command(["chroot", root, "/bin/front"], rules(rule))
    assert run(words).returncode == 0
    assert [(line["exe"], line["rule"], line["outcome"]) for line in read_report(report)] == [(f"{root}/bin/large", "front", "remapped")]
    words, report = hugexec_command(["chroot", root, "/bin/large"], rules(rule))
    assert run(words).returncode == 0 and not [line for line in read_report(report) if line["rule"]]
