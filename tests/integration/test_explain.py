# SPDX-License-Identifier: Apache-2.0
"""hugexecctl explain and hugexec --dry-run: what would be done, and that it is what is done."""
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess

import pytest

from lib.cached_files import KERNEL, cached, drop, image, read_small, small_user
from lib.machine import MIB
from lib.process import run
from lib.report import read_report
from lib.surroundings import ROOT


def explain(hugexecctl, policy, program, **options):
    done = run([hugexecctl, "explain", f"--policy={policy}", "--json", "--", program], **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_rule_without_a_name_is_told_by_its_number(hugexec, write_policy, bigtext, tmp_path):
    policy = write_policy({"version": 1, "rules": [{"match": {"exe": "/no/such"}}, {"match": {}}]})
    report = tmp_path / "report.json"
    assert run([hugexec, f"--policy={policy}", "--backing=thp", f"--report={report}", bigtext(4)]).returncode == 0
    assert read_report(report)[0]["rule"] == f"rule 2 of {policy}"


@pytest.mark.skipif(os.geteuid() != 0, reason="others may not follow a wrapper without hugexecd")
@pytest.mark.parametrize("follow, says", [("exec", "what its children execute is not"), ("fork", "what it and its children execute is looked at")])
def test_a_wrapper_is_not_said_to_be_followed_further_than_it_is(hugexec, hugexecctl, write_policy, tmp_path, follow, says):
    policy, report = write_policy({"version": 1, "rules": [{"match": {}, "min_text": 0, "follow": follow, "wrappers": ["bash"]}]}), tmp_path / "report.json"
    assert says in explain(hugexecctl, policy, "bash")["reason"]
    assert run([hugexec, f"--policy={policy}", f"--report={report}", "bash", "-c", "true; exit 0"]).returncode == 0
    assert says in read_report(report)[-1]["reason"], read_report(report)


def test_options_behind_the_program(hugexecctl, write_policy, bigtext):
    policy = write_policy({"version": 1, "rules": [{"match": {}}]})
    done = run([hugexecctl, "explain", bigtext(4), "--json", f"--policy={policy}"])
    assert done.returncode == 0 and json.loads(done.stdout)["version"] == 1, done.stderr
    assert run([hugexecctl, "explain", bigtext(4), "--help"]).stdout.startswith("Usage: ")


def test_explain_names_the_rule(hugexecctl, write_policy, bigtext):
    program = bigtext(8)
    policy = write_policy({"version": 1, "rules": [
        {"name": "shells", "match": {"exe": "/usr/bin/*sh"}, "action": "skip"},
        {"match": {"exe": program}, "backing": ["thp"], "min_text": "4M"}]})
    said = explain(hugexecctl, policy, program)
    assert said["exe"] == program
    assert said["rule"] == {"name": None, "number": 2, "file": policy}
    assert 6 * MIB <= said["fewest_huge_bytes"] <= said["most_huge_bytes"] <= said["text_bytes"]
    assert [one["backing"] for one in said["backings"]] == ["thp"]
    assert said["would_remap"] is said["backings"][0]["possible"]
    said = explain(hugexecctl, policy, "bash")
    assert said["rule"]["name"] == "shells" and said["would_remap"] is False
    assert said["reason"].startswith("rule-skip")
    said = explain(hugexecctl, policy, "ls")
    assert said["rule"] is None and said["reason"].startswith("no-rule")
    text = run([hugexecctl, "explain", f"--policy={policy}", program]).stdout
    assert f"rule 2, in {policy}" in text and "whole slots of 2.0 MiB" in text


def test_explain_matches_by_build_id(hugexecctl, write_policy):
    notes = run(["readelf", "-n", "/bin/bash"]).stdout
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes)[1]
    policy = write_policy({"version": 1, "rules": [{"name": "that", "match": {"build_id": build_id[:12]}}]})
    said = explain(hugexecctl, policy, "/bin/bash")
    assert said["build_id"] == build_id and said["rule"]["name"] == "that"


def test_explain_and_hugexec_agree(hugexecctl, hugexec_run, write_policy, bigtext):
    program = bigtext(8)
    policy = {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, "backing": ["thp"]}]}
    said = explain(hugexecctl, write_policy(policy), program)
    if not said["would_remap"]:
        pytest.skip(said["reason"])
    done, report = hugexec_run([program], policy=policy)
    assert done.returncode == 0 and report[0]["outcome"] == "remapped"
    assert said["fewest_huge_bytes"] <= report[0]["huge_bytes"] <= said["most_huge_bytes"]
    assert said["text_bytes"] == report[0]["text_bytes"]
    assert said["build_id"] == report[0]["objects"][0]["build_id"]


def test_explain_gives_the_reason_that_a_launch_would(hugexecctl, hugexec_run, write_policy, hugetlb_pool, bigtext):
    program = bigtext(8)
    policies = {
        "hugetlb-pool": {"match": {}, "min_text": 0, "backing": ["hugetlb"]},
        "no-huge-slot": {"match": {}, "min_text": 0, "backing": ["hugetlb"], "page_size": "1G"},
        "text-small": {"match": {}, "min_text": "9M"},
        "text-large": {"match": {}, "max_text": "7M"},
        "rule-skip": {"match": {"exe": program}, "action": "skip"},
        "no-rule": {"match": {"exe": "/nothing"}},
    }
    with hugetlb_pool(0):
        for word, rule in policies.items():
            policy = {"version": 1, "rules": [rule, {"match": {"exe": "/another"}}]}
            said = explain(hugexecctl, write_policy(policy), program)
            _, (line,) = hugexec_run([program], policy=policy)
            assert said["would_remap"] is False and line["outcome"] != "remapped", word
            assert said["reason"].split(":")[0] == line["reason"].split(":")[0] == word
            assert said["action"] == ("skip" if word in ("rule-skip", "no-rule") else "remap")


def test_explain_tells_pages_of_different_sizes_apart(hugexecctl, write_policy, bigtext):
    policy = write_policy({"version": 1, "rules": [
        {"match": {}, "min_text": 0, "backing": ["hugetlb", "thp"], "page_size": "1G", "keep_free": "10%", "rebase": False}]})
    said = explain(hugexecctl, policy, bigtext(8))
    hugetlb, thp = said["backings"]
    assert hugetlb["possible"] is False and hugetlb["huge_bytes"] == 0 and hugetlb["reason"].startswith("no-huge-slot")
    assert thp["huge_bytes"] == said["most_huge_bytes"] >= 6 * MIB
    assert said["settings"]["page_size"] == 1 << 30 and said["settings"]["keep_free"] == "10%"
    assert said["settings"]["rebase"] is False and said["settings"]["max_text"] is None
    text = run([hugexecctl, "explain", f"--policy={policy}", bigtext(8)]).stdout
    assert "0 whole slots of 1.0 GiB" in text and "no rebase" in text and "keep_free 10%" in text


def test_explain_json_has_every_setting(hugexecctl, write_policy):
    """Under the policy's own names: all that the schema knows."""
    schema = json.loads((ROOT / "config" / "policy.schema.json").read_text(encoding="utf-8"))
    rule = {"match": {}, "libraries": {"include": ["/**/libv8*"], "exclude": ["/opt/**"]}, "file_timeout": "2s", "perf_map": True}
    settings = explain(hugexecctl, write_policy({"version": 1, "rules": [rule]}), "env")["settings"]
    assert set(settings) - {"libraries_include", "libraries_exclude", "libraries_prepare"} == set(schema["properties"]["settings"]["properties"])
    assert (settings["libraries"], settings["libraries_include"], settings["libraries_exclude"]) == (True, ["/**/libv8*"], ["/opt/**"])
    assert (settings["file_timeout"], settings["perf_map"]) == ("2s", True)
    settings = explain(hugexecctl, write_policy({"version": 1, "rules": []}), "env")["settings"]
    assert (settings["libraries"], settings["libraries_include"], settings["libraries_exclude"]) == (False, None, None)
    assert (settings["file_timeout"], settings["perf_map"]) == ("500ms", False)


def test_explain_says_what_may_follow(hugexecctl, write_policy, bigtext):
    then = "judged in the same way"
    wrapper = write_policy({"version": 1, "rules": [{"match": {"exe": bigtext(8)}}]})
    assert then in run([hugexecctl, "explain", f"--policy={wrapper}", "env"]).stdout
    assert then not in run([hugexecctl, "explain", f"--policy={wrapper}", "--backing=thp", bigtext(8)]).stdout
    for policy in ({"rules": []}, {"settings": {"follow": "none"}, "rules": [{"match": {"exe": bigtext(8)}}]},
                   {"rules": [{"match": {"exe": "/**/env"}, "action": "skip"}, {"match": {}}]}):
        path = write_policy({"version": 1, **policy})
        assert then not in run([hugexecctl, "explain", f"--policy={path}", "env"]).stdout


def reason_of_launch(hugexec_run, command, policy, **options):
    done, report = hugexec_run(command, policy=policy, **options)
    return [line["reason"] for line in report if line["exe"] == os.path.realpath(command[0])], done


def test_explain_follows_whom_a_launch_does(hugexecctl, hugexec_run, write_policy, bigtext, tmp_path):
    """Wrappers by their names, and scripts; whatever else no rule matches is let go."""
    then, child = "judged in the same way", bigtext(4)
    script = tmp_path / "script"
    script.write_text(f"#!{bigtext(12)} spawns {child}\n")
    script.chmod(0o755)
    for follow, program, follows in (("exec", "env", True), ("none", "env", False), ("fork", bigtext(12), False),
                                     ("fork", "/bin/true", False), ("exec", str(script), True), ("none", str(script), False)):
        policy = {"version": 1, "settings": {"follow": follow}, "rules": [{"match": {"exe": child}}]}
        said = run([hugexecctl, "explain", f"--policy={write_policy(policy)}", program]).stdout
        assert (then in said) is follows, said
    # A wrapper is not put on huge pages itself, whatever its size.
    policy = {"version": 1, "settings": {"wrappers": ["bigtext-*"]}, "rules": [{"match": {}}]}
    said = run([hugexecctl, "explain", f"--policy={write_policy(policy)}", bigtext(12)]).stdout
    assert "wrapper: " in said and then in said
    # A program that is none is not followed for having too much text, either.
    policy = {"version": 1, "rules": [{"match": {"exe": bigtext(12)}, "max_text": "11M"}]}
    said = run([hugexecctl, "explain", f"--policy={write_policy(policy)}", bigtext(12)]).stdout
    assert "text-large" in said and then not in said


def test_children_of_a_large_supervisor(hugexec_run, bigtext, tmp_path):
    """Its size says nothing: it is followed where it is called a wrapper, and not put on huge pages itself."""
    source, supervisor, child = tmp_path / "supervisor.c", tmp_path / "supervisor", bigtext(4)
    source.write_text('#include <stdlib.h>\n__attribute__((section(".text.ballast"))) const char ballast[9 << 20] = {1};\n'
                      'int main(int argc, char **argv) { return argc > 1 ? system(argv[1]) : ballast[0]; }\n')
    subprocess.run(["cc", "-w", "-o", supervisor, source], check=True)
    for settings, about in (({"follow": "fork"}, [str(supervisor)]), ({"follow": "fork", "wrappers": ["+", "supervisor"]}, [child])):
        policy = {"version": 1, "settings": settings, "rules": [{"match": {}, "backing": ["thp"]}]}
        done, report = hugexec_run([supervisor, child], policy)
        assert done.returncode == 0
        assert [line["exe"] for line in report if line["outcome"] == "remapped"] == about, report


def test_explain_a_program_of_another_kind(hugexecctl, hugexec_run, write_policy, tmp_path):
    """As the launch would, where binfmt_misc has no emulator for it."""
    foreign = tmp_path / "foreign"
    content = bytearray(pathlib.Path("/bin/ls").resolve().read_bytes())
    content[18:20] = (243).to_bytes(2, "little")  # EM_RISCV
    foreign.write_bytes(content)
    foreign.chmod(0o755)
    for rule in ({"match": {}, "min_text": 0}, {"match": {"exe": "/nothing"}}):
        policy = {"version": 1, "rules": [rule]}
        (reason,), _ = reason_of_launch(hugexec_run, [str(foreign)], policy)
        said = explain(hugexecctl, write_policy(policy), foreign)
        assert said["reason"] == reason and reason.startswith("not-native") and said["backings"] == []
        text = run([hugexecctl, "explain", f"--policy={write_policy(policy)}", foreign]).stdout
        assert "should work" not in text and "emulator" in text and "judged in the same way" not in text and "slots" not in text


def test_rule_that_leaves_everything_alone(hugexecctl, hugexec_run, write_policy, tmp_path):
    """It is a rule, and the reason says so: for a program, and for a script, whose interpreter it is about, too."""
    policy = {"version": 1, "rules": [{"name": "nothing", "match": {}, "action": "skip"}]}
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    for command in ("true", script):
        _, (line,) = hugexec_run([command], policy=policy)
        assert (line["rule"], line["outcome"]) == ("nothing", "skipped")
        assert line["reason"] == explain(hugexecctl, write_policy(policy), command)["reason"]
        assert line["reason"].startswith("rule-skip")
    _, (line,) = hugexec_run(["true"], policy={"version": 1, "rules": []})
    assert line["rule"] is None and line["reason"].startswith("no-rule")


def test_explain_that_libraries_will_be_looked_at(hugexecctl, hugexec_run, write_policy, bigtext, hugetlb_pool, tmp_path):
    """Where its own text has no slot or cannot be had, theirs may: that is not known before they are there."""
    library, program = tmp_path / "libbig.so", tmp_path / "program"
    (tmp_path / "big.c").write_text('__attribute__((section(".text.ballast"))) const char ballast[9 << 20] = {1};\n')
    (tmp_path / "main.c").write_text("extern const char ballast[];\nint main(void) { return ballast[0] - 1; }\n")
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", library, tmp_path / "big.c"], check=True)
    subprocess.run(["cc", "-o", program, tmp_path / "main.c", library], check=True)
    rule = {"match": {}, "min_text": 0, "backing": ["thp"], "libraries": {"include": ["/**/libbig*"]}}
    said = explain(hugexecctl, write_policy({"version": 1, "rules": [rule]}), program)
    assert said["would_remap"] is None and said["would_start"] is True and said["reason"].startswith("no-huge-slot")
    text = run([hugexecctl, "explain", f"--policy={write_policy({'version': 1, 'rules': [rule]})}", program]).stdout
    assert "text of its libraries may come on huge pages" in text and "its text would be left alone" not in text
    _, (line,) = hugexec_run([program], policy={"version": 1, "rules": [rule]})
    assert line["outcome"] == "remapped" and [entry["path"] for entry in line["objects"]][-1] == str(library)
    static = bigtext(4, "static", ("cc", "-static"))
    rule |= {"min_text": "1G"}
    assert explain(hugexecctl, write_policy({"version": 1, "rules": [rule]}), static)["would_remap"] is False
    rule |= {"min_text": 0, "backing": ["hugetlb"], "on_error": "fail"}  # then the libraries' turn does not come
    with hugetlb_pool(0):
        said = explain(hugexecctl, write_policy({"version": 1, "rules": [rule]}), bigtext(8))
    assert (said["would_remap"], said["would_start"]) == (False, False)


def test_explain_says_what_would_not_be_started(hugexecctl, hugexec, hugexec_run, write_policy, hugetlb_pool, bigtext):
    program = bigtext(8)
    with hugetlb_pool(0):
        for settings, starts in (({"on_error": "fail"}, False), ({}, True), ({"on_error": "fail", "min_text": "1G"}, True),
                                 ({"on_error": "fail", "action": "skip"}, True)):
            policy = {"version": 1, "rules": [{"match": {}, "min_text": 0, "backing": ["hugetlb"], **settings}]}
            said = explain(hugexecctl, write_policy(policy), program)
            assert (said["would_remap"], said["would_start"]) == (False, starts)
            text = run([hugexec, f"--policy={write_policy(policy)}", "--dry-run", program]).stdout
            assert ("would not be started" in text) is not starts
            done, _ = hugexec_run([program, "exit", "9"], policy=policy)
            assert done.returncode == (9 if starts else 125)


def test_explain_speaks_of_libraries(hugexecctl, write_policy, bigtext):
    policy = write_policy({"version": 1, "rules": [{"match": {}, "libraries": True}]})
    assert "libraries  1 with less than 2.0 MiB of text each" in run([hugexecctl, "explain", f"--policy={policy}", bigtext(8)]).stdout
    assert "librar" not in run([hugexecctl, "explain", f"--policy={policy}", "sh"]).stdout.split("settings")[1].split("\n", 1)[1], "a wrapper's do not matter"
    every = write_policy({"version": 1, "rules": [{"match": {}}]})
    assert "libraries  none with 2.0 MiB of text or more" in run([hugexecctl, "explain", f"--policy={every}", bigtext(1)]).stdout
    static = bigtext(4, "static", ("cc", "-static"))
    assert "libraries  it loads none" in run([hugexecctl, "explain", f"--policy={policy}", static]).stdout


def test_dry_run_is_explain_and_runs_nothing(hugexec, hugexecctl, write_policy, tmp_path):
    policy, made = write_policy({"version": 1, "rules": [{"match": {}}]}), tmp_path / "made"
    said = run([hugexecctl, "explain", f"--policy={policy}", "touch"]).stdout
    for environment in ({}, {"HUGEXEC": "off"}):
        done = run([hugexec, f"--policy={policy}", "--dry-run", "--", "touch", made], env={**os.environ, **environment})
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "") and not made.exists()
    done = run([hugexec, "--dry-run", "--", "no-such-program"], env={"PATH": "/usr/bin:/bin"})  # folders that anyone may look into
    assert done.returncode == 127 and done.stdout == ""
    done = run([hugexec, f"--policy={write_policy('{')}", "--dry-run", "--", "touch", made])
    assert done.returncode == 125 and "policy-invalid" in done.stderr and not made.exists()


def test_explain_follows_scripts(hugexecctl, write_policy, tmp_path):
    policy = write_policy({"version": 1, "rules": []})
    script, outer, env = tmp_path / "script", tmp_path / "outer", tmp_path / "env-script"
    script.write_text("#!/bin/bash -e\n")
    outer.write_text(f"#! {script}\n")
    env.write_text("#!/usr/bin/env bash\n")
    for path in (script, outer, env):
        path.chmod(0o755)
    bash = os.path.realpath("/bin/bash")
    said = explain(hugexecctl, policy, outer)
    assert said["scripts"] == [str(outer), str(script)] and said["exe"] == bash
    said = explain(hugexecctl, policy, env, env={**os.environ, "PATH": "/usr/bin:/bin"})
    assert said["scripts"] == [str(env)] and said["exe"] == bash
    text = run([hugexecctl, "explain", f"--policy={policy}", script]).stdout
    assert f"{script} is run by {bash}" in text
    script.write_text("#!/nonexistent/interpreter\n")
    done = run([hugexecctl, "explain", f"--policy={policy}", script])
    assert done.returncode == 1 and "interpreter" in done.stderr
    script.write_text(f"#!{script}\n")
    done = run([hugexecctl, "explain", f"--policy={policy}", script])
    assert done.returncode == 1 and "Too many levels" in done.stderr


def test_explain_what_there_is_not(hugexec, hugexecctl, write_policy, tmp_path):
    """What cannot be executed is told as its execution would tell it, with the same status."""
    script, folder = tmp_path / "script", tmp_path / "folder"
    script.write_text("#!/etc/passwd\n")
    script.chmod(0o755)
    folder.mkdir()
    (folder / "tool").write_text("")
    environment = {**os.environ, "PATH": f"{folder}:/nowhere"}
    for program in ("no-such-program", tmp_path, "/etc/passwd", "/etc/passwd/below", "", script, "tool", "/nowhere/tool"):
        plain = run([hugexec, program], env=environment)
        dry = run([hugexec, "--dry-run", program], env=environment)
        done = run([hugexecctl, "explain", program], env=environment)
        assert dry.returncode == plain.returncode in (126, 127) and done.returncode == 1
        assert dry.stdout == done.stdout == ""
        assert dry.stderr.rsplit(": ")[-1] == done.stderr.rsplit(": ")[-1] == plain.stderr.rsplit(": ")[-1]
        assert dry.stderr == plain.stderr or program == script
    done = run([hugexecctl, "explain", f"--policy={write_policy('{')}", "ls"])
    assert done.returncode == 1 and "policy-invalid" in done.stderr


def test_explain_a_broken_program(hugexecctl, write_policy, tmp_path):
    program = tmp_path / "broken"
    program.write_bytes(pathlib.Path("/bin/ls").resolve().read_bytes()[:100])
    program.chmod(0o755)
    said = explain(hugexecctl, write_policy({"version": 1, "rules": [{"match": {}}]}), program)
    assert said["would_remap"] is False and said["reason"].startswith("elf-invalid")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
@pytest.mark.usefixtures("public_folder")
def test_explain_a_program_that_cannot_be_looked_at(hugexecctl, write_policy, bigtext):
    """Then it is not known whether it would be started, either."""
    for on_error, starts in (("continue", True), ("fail", None)):
        policy = write_policy({"version": 1, "rules": [{"match": {}, "min_text": 0, "on_error": on_error}]})
        said = explain(hugexecctl, policy, bigtext(8), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)),
                       user=65533, group=65533, extra_groups=[])
        assert (said["would_remap"], said["would_start"]) == (None, starts) and said["reason"].startswith("elf-reader")


# Nothing is changed, and what is said is what is done

WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TMPFILE|TRUNC)")
COUNTS = (".gcda",) if "HUGEXEC_COVERAGE" in os.environ else ()  # what a build that counts its lines writes at its end
CHANGES = ("fadvise64", "fallocate", "ftruncate", "memfd_create", "mkdir", "mknod", "rename", "unlink", "link", "symlink", "chmod", "readahead")


def changing_calls(trace):
    """Of what strace has written: the calls that could change a file, a pool or what the page cache holds."""
    found = []
    for line in trace.splitlines():
        opened = re.search(r"\bopen(at|at2)?\(.*", line)
        if opened and WRITES.search(line) and '"/dev/null"' not in line and not line.split('"')[1].endswith(COUNTS):
            found.append(line)
        if re.search(rf"\b({'|'.join(CHANGES)})(at|at2)?\(", line):
            found.append(line)
        if "MADV_HUGEPAGE" in line or re.search(r"madvise\([^N].*0x19", line) or "MADV_COLLAPSE" in line and "NULL, 0" not in line:
            found.append(line)
    return found


@pytest.mark.parametrize("state", ["small", "cold"])
def test_explain_changes_nothing(hugexec, hugexecctl, write_policy, bigtext, huge_ext4, hugetlb_pool, state):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    program = huge_ext4 / "explained"
    shutil.copy(bigtext(8), program)
    run(["sync", program])
    read_small(program) if state == "small" else drop(program)
    policy = write_policy({"version": 1, "rules": [{"match": {}, "min_text": 0, "libraries": True}]})
    before, entries, trace = cached(program), sorted(os.listdir(huge_ext4)), huge_ext4.parent / "trace"
    with hugetlb_pool(8):
        for words in ([hugexecctl, "explain", f"--policy={policy}", program], [hugexec, f"--policy={policy}", "--dry-run", program]):
            done = run(["strace", "-f", "-qq", "-o", trace, *words])
            assert done.returncode == 0 and "hugetlb    should work" in done.stdout, done
            assert "execve" in trace.read_text() and not changing_calls(trace.read_text())
    after = cached(program)
    assert all(now or not then for then, now in zip(before, after)) and sum(after) - sum(before) < 512, "but for its headers"
    assert sorted(os.listdir(huge_ext4)) == entries
    done = run(["strace", "-f", "-qq", "-o", trace, hugexecctl, "doctor", huge_ext4])
    assert changing_calls(trace.read_text()), "doctor is what tries"


@contextlib.contextmanager
def in_state(program, state):
    """The file PROGRAM, fresh on the disk, with its page cache in STATE."""
    if state == "dirty":
        pathlib.Path(program).write_bytes(pathlib.Path(program).read_bytes())
        yield
        return
    read_small(program) if state in ("small", "busy") else drop(program)
    with small_user(program, os.path.getsize(program)) if state == "busy" else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("backing", ["file", "file,thp"])
@pytest.mark.parametrize("state", ["cold", "small", "busy", "dirty", "warm"])
def test_explain_and_launch_agree_about_the_page_cache(hugexecctl, hugexec_command, write_policy, bigtext, huge_ext4, state, backing):
    program = huge_ext4 / f"agreed-{state}-{backing}"
    shutil.copy(bigtext(8), program)
    run(["sync", program])
    if state == "warm":
        run([hugexecctl, "warm", program])
    policy = {"version": 1, "rules": [{"match": {}, "min_text": 0, "file_timeout": "60s", "backing": backing.split(",")}]}
    with in_state(program, state) if state != "warm" else contextlib.nullcontext():
        said = explain(hugexecctl, write_policy(policy), program)
        words, report = hugexec_command([program, "exit", "9"], policy)
        assert run(words).returncode == 9
    line, = read_report(report)
    assert said["would_remap"] is (line["outcome"] == "remapped"), (said, line)
    by_file, = [one for one in said["backings"] if one["backing"] == "file"]
    assert by_file["possible"] is (line["backing"] == "file"), (said, line)
    if not by_file["possible"]:
        assert by_file["reason"].split(":")[0] == "file-busy" and line["reason"].startswith("file-busy"), (said, line)


@pytest.mark.parametrize("feature, name", [("verity", "verity"), ("encrypt", "encryption")])
def test_explain_knows_of_ext4_without_large_folios(hugexecctl, hugexec_command, write_policy, bigtext, huge_ext4, tmp_path, feature, name):
    if KERNEL >= (7, 2) and feature == "verity":
        pytest.skip("it has large folios from Linux 7.2 on")
    if not os.path.exists(f"/sys/fs/ext4/features/{name}"):
        pytest.skip(f"this kernel is built without {feature} and does not tell which filesystems have it")
    policy = {"version": 1, "rules": [{"match": {}, "min_text": 0, "file_timeout": "60s", "backing": ["file"]}]}
    with image("ext4", tmp_path, features=["-b", "4096", "-O", feature]) as where:
        program = where / "program"
        shutil.copy(bigtext(8), program)
        run(["sync", program])
        said = explain(hugexecctl, write_policy(policy), program)
        words, report = hugexec_command([program, "exit", "9"], policy)
        assert run(words).returncode == 9
    line, = read_report(report)
    assert said["would_remap"] is False and said["reason"] == line["reason"] and feature in said["reason"], (said, line)
