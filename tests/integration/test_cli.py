# SPDX-License-Identifier: Apache-2.0
"""The command line: what is printed where, exit statuses, options, the report file."""
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess

import pytest

from lib.machine import take_hugetlb_pool
from lib.policies import ALL, policy_with
from lib.process import Process, at_rest, run
from lib.report import read_report

KEYS = {"version", "pid", "exe", "via", "rule", "outcome", "reason", "backing", "rebased", "text_bytes", "huge_bytes", "copied_bytes", "prepared_bytes", "observed_bytes",
        "latency_us", "objects"}
OBJECT_KEYS = {"path", "build_id", "start", "end", "text_bytes", "huge_bytes", "copied_bytes", "prepared_bytes", "shared_bytes",
               "backing", "reason"}


def test_help_and_version(hugexec):
    for option, word in (("--help", "Usage:"), ("--version", "hugexec ")):
        done = run([hugexec, option])
        assert done.returncode == 0 and done.stdout.startswith(word) and done.stderr == ""
    documented = run([hugexec, "--help"]).stdout
    for option in ("--policy", "--backing", "--coverage", "--argv0", "--report", "--dry-run", "--verbose", "--quiet"):
        assert option in documented
    assert len(documented.splitlines()) <= 24 and max(map(len, documented.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [[], ["--nonsense", "true"], ["--backing=nonsense", "true"], ["--backing=", "true"], ["--coverage=all", "true"],
                                       ["--policy"], ["--verbose=1", "true"], ["--"], ["-x", "true"],
                                       ["--backing", "ls", "-l"], ["--policy", "ls"]])
def test_wrong_usage(hugexec, arguments):
    done = run([hugexec, *arguments])
    assert (done.returncode, done.stdout) == (125, "")
    assert "hugexec: " in done.stderr.splitlines()[0] and done.stderr.splitlines()[1] == "Try 'hugexec --help'."


@pytest.mark.parametrize("arguments, text", [
    (["--backing", "ls", "-l"], "--backing=LIST: no backing 'ls': choose from file, hugetlb, thp"),
    (["--coverage=Full", "ls"], "--coverage=WORD: no coverage 'Full': choose cheap or full"),
    (["--policy", "ls"], "no COMMAND given: 'ls' is the value of --policy"),
    (["--policy=", "true"], "--policy=FILE: the name of the file is empty"),
    (["--report=", "true"], "--report=FILE: the name of the file is empty"),
    (["--policy"], "option '--policy' lacks its value"),
    (["--verbose=1", "true"], "option '--verbose=1' takes no value"),
    (["--nonsense", "true"], "unknown option '--nonsense'"),
    (["-vx", "true"], "unknown option '-x'"),
])
def test_wrong_usage_says_what_is_wrong(hugexec, arguments, text):
    assert run([hugexec, *arguments]).stderr.splitlines()[0] == f"hugexec: {text}"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["--dry-run", "true"]])
def test_standard_output_that_is_full_or_closed(hugexec, words):
    for where in (">/dev/full", ">&-"):
        done = run(["sh", "-c", f'exec "$@" {where}', "sh", hugexec, *words])
        assert done.returncode == 125 and done.stderr.startswith("hugexec: standard output: "), done.stderr


def test_quiet_by_default(hugexec_run, bigtext):
    """Not a byte of ours on the terminal, whether it works or not."""
    program = [bigtext(4), "exit", "9"]
    plain = run(program)
    for backing, outcome in (("thp", "remapped"), ("hugetlb", "failed")):
        with take_hugetlb_pool(0):
            done, report = hugexec_run(program, backing=backing)
        assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, "", 9)
        assert report[0]["outcome"] == outcome


def test_quiet_says_why_nothing_is_started(hugexec, bigtext, write_policy):
    """One line, or nobody would know; of a rule's failure and of a broken policy."""
    with take_hugetlb_pool(0):
        for policy in (policy_with(on_error="fail"), {"version": 1, "settings": {"on_error": "fail"}, "default": 7}):
            done = run([hugexec, "-q", f"--policy={write_policy(policy)}", "--backing=hugetlb", "--", bigtext(4)])
            assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (125, "", 1) and "not started" in done.stderr, done.stderr


def on_a_terminal(words):
    """What WORDS write to a terminal, and their exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    said = b""
    with contextlib.suppress(OSError):  # EIO: nobody has it open any more
        while chunk := os.read(terminal, 65536):
            said += chunk
    os.close(terminal)
    return said.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("kind, word", [("absent", "policy-unreadable"), ("broken", "policy-invalid"), ("untrusted", "policy-untrusted")])
def test_policy_that_cannot_be_used_is_seen(hugexec, run_policy, kind, word):
    """By whoever sits at a terminal, though nobody has asked; and the program runs."""
    policy = run_policy(kind)
    words = [hugexec, f"--policy={policy}", "--", "/bin/sh", "-c", "exit 9"]
    said, status = on_a_terminal(words)
    assert status == 9 and len(said.splitlines()) == 1 and word in said and policy in said, said
    assert on_a_terminal([hugexec, "-q", *words[1:]]) == ("", 9)
    done = run(words)
    assert (done.returncode, done.stdout, done.stderr) == (9, "", "")


@pytest.fixture
def run_policy(write_policy):
    def make(kind):
        if kind == "absent":
            return "/nonexistent/policy.json"
        path = write_policy("{" if kind == "broken" else ALL)
        if kind == "untrusted":
            if os.geteuid() != 0:
                pytest.skip("only root asks who owns a policy")
            os.chmod(path, 0o666)
        return path
    return make


def test_text_that_is_too_small_is_told(hugexec_run, bigtext):
    """However early that is found out."""
    _, (line,) = hugexec_run([bigtext(4)], {"version": 1, "rules": [{"match": {}, "min_text": "1G"}]})
    assert line["reason"].startswith("text-small: ") and 4 * 2**20 <= line["text_bytes"] < 5 * 2**20, line


def test_options_end_at_the_command(hugexec):
    for words in (["echo", "--help", "-v"], ["--", "echo", "--", "x"], ["-q", "--", "echo", "--report=-"]):
        done = run([hugexec, *words])
        plain = run(words[words.index("echo"):])
        assert (done.stdout, done.stderr, done.returncode) == (plain.stdout, "", 0)


def test_argv0(hugexec_run):
    done, _ = hugexec_run(["bash", "-c", "echo $0"], options=["--argv0=another name"])
    assert done.stdout == run(["bash", "-c", "exec -a 'another name' bash -c 'echo $0'"]).stdout == "another name\n"


def test_off(hugexec_run, bigtext):
    """HUGEXEC=off: the command at once, whatever the policy; its environment is as it was."""
    done, report = hugexec_run([bigtext(4), "exit", "9"], env={**os.environ, "HUGEXEC": "off"})
    assert done.returncode == 9 and report == []
    done, report = hugexec_run(["printenv", "HUGEXEC"], "not a policy", env={**os.environ, "HUGEXEC": "off"})
    assert done.stdout == "off\n" and report == []
    done, report = hugexec_run([bigtext(4)], env={**os.environ, "HUGEXEC": "on"}, backing="thp")
    assert report[0]["outcome"] == "remapped"


@pytest.mark.parametrize("value, is_off", [("OFF", True), ("no", True), ("False", True), ("0", True), ("", False), ("offset", False)])
def test_words_that_switch_it_off(hugexec_run, bigtext, value, is_off):
    done, report = hugexec_run([bigtext(4), "exit", "9"], env={**os.environ, "HUGEXEC": value}, backing="thp")
    assert done.returncode == 9 and (report == []) == is_off, report


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a /run of its own")
def test_switched_off_for_the_host(hugexec, hugexecctl, write_policy, bigtext, tmp_path):
    """As long as /run/hugexec/disabled is there; doctor says so."""
    script = ("mount -t tmpfs tmpfs /run && mkdir /run/hugexec && $hugexec $program; touch /run/hugexec/disabled && $hugexec $program;"
              "$ctl doctor /tmp; echo $?; rm /run/hugexec/disabled; $hugexec $program")
    report = tmp_path / "report.json"
    done = run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], env={
        **os.environ, "hugexec": f"{hugexec} --policy={write_policy(ALL)} --backing=thp --report={report}", "program": bigtext(4), "ctl": hugexecctl})
    assert done.returncode == 0 and len(report.read_text().splitlines()) == 2, done.stderr
    assert "hugexec is switched off" in done.stdout and "\n1\n" in done.stdout, done.stdout


def test_the_last_of_quiet_and_verbose_counts(hugexec_run, bigtext):
    for options, says in ((["-q", "-v"], True), (["-v", "-q"], False)):
        done, _ = hugexec_run([bigtext(4)], options=options, backing="thp")
        assert bool(done.stderr) == says, done.stderr


def test_verbose(hugexec_run, bigtext):
    for option in ("-v", "--verbose"):
        done, report = hugexec_run([bigtext(8)], backing="thp", options=[option])
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("hugexec: ") and "thp" in lines[0]
        assert f"{report[0]['huge_bytes'] / 2**20:.1f}" in lines[0]


def test_dry_run(hugexec, write_policy, bigtext, tmp_path):
    """Prints what would be done, and does nothing."""
    report = tmp_path / "report.json"
    done = run([hugexec, "--dry-run", f"--policy={write_policy(ALL)}", f"--report={report}", "--", "touch",
                tmp_path / "touched"])
    assert done.returncode == 0 and done.stdout + done.stderr
    assert not (tmp_path / "touched").exists() and not report.exists()
    done = run([hugexec, "--dry-run", f"--policy={write_policy(ALL)}", "--", bigtext(8)])
    assert "bigtext: " not in done.stdout and bigtext(8) in done.stdout + done.stderr


def test_report_contract(hugexec_run, bigtext):
    done, report = hugexec_run([bigtext(8)], backing="thp")
    assert done.returncode == 0
    line = report[0]
    assert set(line) == KEYS and set(line["objects"][0]) == OBJECT_KEYS
    assert line["version"] == 1 and line["via"] == "shim" and line["rule"] == "all" and line["exe"] == bigtext(8)
    assert line["outcome"] == "remapped" and line["reason"] is None and line["backing"] == "thp"
    first = line["objects"][0]
    assert int(first["end"], 16) - int(first["start"], 16) >= first["text_bytes"] >= first["huge_bytes"] > 0
    assert sum(entry["huge_bytes"] for entry in line["objects"]) == line["huge_bytes"]
    notes = subprocess.run(["readelf", "-n", bigtext(8)], capture_output=True, text=True, check=True).stdout
    assert first["build_id"] in notes
    assert 0 < line["latency_us"] < 60_000_000


def test_build_id_needs_no_reader(tmp_path, hugexec, bigtext):
    """From Linux 6.11 on the kernel says it; a hugexec that finds no reader beside itself still reports it."""
    if tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) < (6, 11):
        pytest.skip("PROCMAP_QUERY is of Linux 6.11")
    alone, report = tmp_path / "hugexec", tmp_path / "report"
    shutil.copy(hugexec, alone)
    subprocess.run([alone, f"--report={report}", "--backing=thp", bigtext(8)], check=True, timeout=60, capture_output=True)
    notes = subprocess.run(["readelf", "-n", bigtext(8)], capture_output=True, text=True, check=True).stdout
    assert json.loads(report.read_text())["objects"][0]["build_id"] in notes


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_report_counts_nothing_twice(hugexec_run, bigtext, backing):
    """Where libraries are wanted the program's own copy, a mapping of a memfd by then, is not taken for one."""
    _, without = hugexec_run([bigtext(8)], backing=backing)
    done, report = hugexec_run([bigtext(8)], policy_with(libraries=True), backing)
    assert done.returncode == 0 and report[0]["outcome"] == "remapped"
    extents = sorted((int(entry["start"], 16), int(entry["end"], 16)) for entry in report[0]["objects"])
    assert all(before[1] <= after[0] for before, after in zip(extents, extents[1:]))
    assert report[0]["objects"][0]["text_bytes"] == without[0]["text_bytes"]
    assert not [entry["path"] for entry in report[0]["objects"] if "memfd" in entry["path"]]


def test_report_to_standard_error(hugexec, write_policy, bigtext):
    done = run([hugexec, f"--policy={write_policy(ALL)}", "--backing=thp", "--report=-", "--", bigtext(4)])
    assert json.loads(done.stderr)["outcome"] == "remapped" and done.stdout.startswith("bigtext: ")


@pytest.mark.parametrize("path", ["/nowhere/report", "/", "/dev/full"])
def test_report_that_cannot_be_written(hugexec, write_policy, bigtext, path):
    """A word about it on standard error; the workload runs, on huge pages."""
    words = [hugexec, f"--policy={write_policy(ALL)}", "--backing=thp", f"--report={path}"]
    done = run([*words, "--", bigtext(4), "exit", "9"])
    assert done.returncode == 9 and len(done.stderr.splitlines()) == 1 and path in done.stderr
    assert run([*words, "-q", "--", bigtext(4), "exit", "9"]).stderr == ""


def test_report_to_a_fifo_without_reader(hugexec, write_policy, bigtext, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    done = run([hugexec, f"--policy={write_policy(ALL)}", f"--report={tmp_path}/fifo", "--", bigtext(4), "exit", "9"],
               timeout=120)
    assert done.returncode == 9


def test_reports_of_many_at_once(hugexec_command, bigtext):
    """Lines do not mix."""
    words, report = hugexec_command([bigtext(4)], backing="thp")
    running = [Process(words, stdout=subprocess.DEVNULL) for _ in range(40)]
    assert {process.wait(60) for process in running} == {0}
    lines = read_report(report)
    assert sorted(line["pid"] for line in lines) == sorted(process.pid for process in running)


def test_strange_names(hugexec_run, tmp_path, bigtext):
    """A program whose path is not UTF-8, has newlines, quotes and the words of the kernel's own: valid JSON all the same."""
    for name in (b"new\nline", b'quo"te\\', b"\xff\xfe", b"gone (deleted)", b"[vdso]", b"spaces  and\ttab", b"a" * 200):
        path = os.path.join(os.fsencode(tmp_path), name)
        shutil.copy(bigtext(4), path)
        done, report = hugexec_run([os.fsdecode(path), "exit", "9"], backing="thp")
        assert done.returncode == 9 and len(report) == 1
        assert report[0]["outcome"] == "remapped", report


def test_name_that_looks_deleted(hugexec_run, hugexecctl, write_policy, tmp_path, bigtext):
    """The kernel's mark on a file that was unlinked, and a name that is just like it: rules are about names."""
    program, like = tmp_path / "gone", tmp_path / "gone (deleted)"
    shutil.copy(bigtext(4), program)
    shutil.copy(bigtext(4), like)
    os.sync()
    for path, named, outcome in ((program, program, "remapped"), (like, like, "remapped"), (like, program, "skipped"), (program, like, "skipped")):
        policy = policy_with(match={"exe": str(named)}, follow="none")
        done, report = hugexec_run([path, "exit", "9"], policy, "thp")
        assert done.returncode == 9 and report[-1]["outcome"] == outcome, (path, named, report)
        assert outcome == "skipped" or report[-1]["exe"] == str(path)
    for has_other_name in (False, True):
        shutil.copy(bigtext(4), program)
        with at_rest([program, "sleep"]) as process:
            assert process.stdout.readline()
            if has_other_name:
                os.link(program, tmp_path / "link")
            program.unlink()
            for named, outcome in ((program, "remapped"), (like, "skipped")):
                policy = write_policy(policy_with(match={"exe": str(named)}, backing=["thp"]))
                done = run([hugexecctl, "attach", f"--policy={policy}", "--json", str(process.pid)])
                line = json.loads(done.stdout)
                assert line["outcome"] == outcome, (named, line)


def test_backing_overrides_the_rule(hugexec_run, bigtext):
    with take_hugetlb_pool(8):
        _, report = hugexec_run([bigtext(4)], policy_with(backing=["thp"]), backing="hugetlb")
        assert report[0]["backing"] == "hugetlb"
        _, report = hugexec_run([bigtext(4)], policy_with(backing=["thp"]))
        assert report[0]["backing"] == "thp"


def test_built_in_policy(hugexec, bigtext, tmp_path):
    """Where a host has no policy, programs of at least 4 MiB of text that are started through hugexec are remapped."""
    if any(os.path.exists(f"{root}/hugexec") for root in ("/etc", "/run", "/usr/lib")):
        pytest.skip("this host has a policy of its own")
    for mib, outcome in ((8, "remapped"), (2, "skipped")):
        report = tmp_path / f"{mib}.json"
        assert run([hugexec, f"--report={report}", "--backing=thp", "--", bigtext(mib)]).returncode == 0
        assert read_report(report)[0]["outcome"] == outcome


REPORTS_TO = {"standard output": ("/dev/stdout", "{words}"), "standard error": ("/dev/stderr", "{words} 2>&1"), "a descriptor": ("/dev/fd/5", "{words} 5>&1"),
              "by /proc": ("/proc/self/fd/7", "{words} 7>&1"), "a pipe": (None, "{words}")}


@pytest.mark.parametrize("name", REPORTS_TO)
def test_report_to_a_descriptor(hugexec, bigtext, write_policy, name):
    """Names of descriptors mean those of who wrote them down, although it is another process that reports."""
    path, line = REPORTS_TO[name]
    words = f"{hugexec} --policy={write_policy(policy_with())} --backing=thp --report={path or '>(cat)'} -- {bigtext(4)} exit 9"
    done = subprocess.run(["bash", "-c", f"{line.format(words=words)} | cat; status=${{PIPESTATUS[0]}}; sleep 0.2; exit $status"],
                          capture_output=True, text=True, check=False)
    report, = [json.loads(each) for each in done.stdout.splitlines() if each.startswith("{")]
    assert (done.returncode, done.stderr, report["outcome"]) == (9, "", "remapped"), done
