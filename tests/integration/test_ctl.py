"""hugexecctl, as an operator uses it; and the journal, as hugexec writes to it."""
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import socket
import struct
import subprocess
import termios
import time

import pytest

MIB = 1 << 20
NOBODY = 65534


@contextlib.contextmanager
def running(command):
    """Run COMMAND, which must be at rest in sleep or read soon; yields its Popen."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    return condition()


# The command line

def test_help_fits_a_screen(run, hugexecctl):
    for words in ([], ["check"], ["explain"], ["doctor"], ["status"]):
        done = run([hugexecctl, *words, "--help"])
        assert done.returncode == 0 and done.stderr == ""
        assert len(done.stdout.splitlines()) <= 24
        assert max(map(len, done.stdout.splitlines())) <= 100


def test_version(run, hugexecctl):
    done = run([hugexecctl, "--version"])
    assert done.returncode == 0
    assert re.fullmatch(r"hugexecctl \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("words", [[], ["chekc"], ["doctor", "--jsno"], ["doctor", "x"], ["status", "x"], ["status", "-1"],
                                   ["status", "1", "2"], ["explain"], ["explain", "a", "b"], ["explain", "--policy"],
                                   ["check", "--nonsense"]])
def test_wrong_usage_is_2_with_a_hint(run, hugexecctl, words):
    done = run([hugexecctl, *words])
    assert done.returncode == 2
    assert done.stdout == "" and done.stderr != ""


def test_output_that_cannot_be_written_is_a_failure(hugexecctl):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([hugexecctl, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == 1 and b"standard output" in done.stderr


# doctor

def doctor(run, hugexecctl, before=(), **options):
    done = run([*before, hugexecctl, "doctor", "--json"], **options)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["usable"] else 1)
    return said


def finding(said, topic, name):
    return next(one for one in said["findings"] if one["topic"] == topic and one["name"] == name)


def test_doctor_json_and_text_say_the_same(run, hugexecctl):
    said = doctor(run, hugexecctl)
    assert said["kernel"] == os.uname().release
    for locale, signs in {"C": "+-? ", "C.UTF-8": "✓✗– "}.items():
        text = run([hugexecctl, "doctor"], env={**os.environ, "LC_ALL": locale}, encoding="utf-8").stdout
        assert said["kernel"] in text
        for one in said["findings"]:
            # Counts of free memory and pages may have changed meanwhile.
            sign = signs[("good", "bad", "unknown", "fact").index(one["mark"])]
            assert re.search(rf"^  {re.escape(sign)} {re.escape(one['name'])} ", text, re.MULTILINE), one
            assert one["mark"] != "bad" or one["advice"] or "noexec" in one["text"], one


def test_doctor_leaves_nothing_behind(run, hugexecctl):
    before = {folder: sorted(os.listdir(folder)) for folder in ("/usr/bin", "/var/tmp")}
    pool = pathlib.Path("/proc/sys/vm/nr_hugepages").read_text(encoding="ascii")
    doctor(run, hugexecctl)
    assert before == {folder: sorted(os.listdir(folder)) for folder in before}
    assert pool == pathlib.Path("/proc/sys/vm/nr_hugepages").read_text(encoding="ascii")


def test_doctor_sees_the_pool(run, hugexecctl, hugetlb_pool):
    with hugetlb_pool(0):
        said = doctor(run, hugexecctl)
        assert said["backings"]["hugetlb"] is False
        assert re.match(r"sysctl vm.nr_hugepages=\d+$", finding(said, "backings", "hugetlb, 2M")["advice"])
    with hugetlb_pool(2):
        said = doctor(run, hugexecctl)
        assert said["backings"]["hugetlb"] is True
        assert finding(said, "backings", "hugetlb, 2M")["advice"] is None
        free = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text(encoding="ascii")
        assert int(free) == 2  # given back


@pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups")
def test_doctor_sees_the_hugetlb_limit(run, hugexecctl, hugetlb_pool):
    root = next((pathlib.Path(line.split()[1]) for line in open("/proc/mounts", encoding="utf-8")
                 if line.split()[2] == "cgroup2"), None)
    if not root or "hugetlb" not in (root / "cgroup.controllers").read_text(encoding="ascii").split():
        pytest.skip("no hugetlb controller on a v2 tree")
    control = root / "cgroup.subtree_control"
    was_on = "hugetlb" in control.read_text(encoding="ascii").split()
    group = root / f"hugexec-test-{os.getpid()}"
    try:
        if not was_on:
            control.write_text("+hugetlb", encoding="ascii")
        group.mkdir()
        (group / "hugetlb.2MB.max").write_text("0", encoding="ascii")
        with hugetlb_pool(2):
            enter = ["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec \"$@\"", "sh"]
            said = doctor(run, hugexecctl, before=enter)
        assert said["backings"]["hugetlb"] is False
        one = finding(said, "backings", "hugetlb, 2M")
        assert "cgroup allows no more" in one["text"]
        assert f"hugetlb.2MB.max in {group}" in one["advice"]
        limit = finding(said, "limits", "hugetlb, 2M")
        assert limit["mark"] == "bad" and "0 B left" in limit["text"]
    finally:
        if group.exists():
            group.rmdir()
        if not was_on:
            control.write_text("-hugetlb", encoding="ascii")


@pytest.mark.skipif(os.geteuid() != 0, reason="makes cgroups")
def test_doctor_sees_the_memory_limit(run, hugexecctl):
    root = pathlib.Path("/sys/fs/cgroup/memory")
    if not (root / "memory.limit_in_bytes").exists():
        pytest.skip("no v1 memory controller")
    group = root / f"hugexec-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 * MIB), encoding="ascii")
        said = doctor(run, hugexecctl, before=["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec \"$@\"", "sh"])
        text = finding(said, "limits", "memory")["text"]
        left = float(re.match(r"([\d.]+) MiB left; cgroup", text)[1])
        assert 32 < left < 64 and str(group) in text
    finally:
        # The last process's charge may take a moment to go.
        wait_for(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"))
        group.rmdir()


def test_doctor_sees_limits_of_the_caller(run, hugexecctl):
    said = doctor(run, hugexecctl, before=["sh", "-c", "ulimit -n 12; ulimit -f 1; exec \"$@\"", "sh"])
    files = finding(said, "limits", "open files")
    assert files["mark"] == "bad" and files["text"] == "12" and "LimitNOFILE" in files["advice"]
    assert finding(said, "limits", "file size")["mark"] == "bad"


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_doctor_for_a_user_without_rights(run, hugexecctl):
    said = doctor(run, hugexecctl, user=NOBODY, group=NOBODY, extra_groups=[])
    assert finding(said, "tracing", "CAP_SYS_PTRACE")["text"].startswith("no")
    assert finding(said, "tracing", "ptrace")["mark"] == "good"


NAMESPACE = ["unshare", "--mount", "--propagation=private", "sh", "-c"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_doctor_where_no_file_can_be_made(run, hugexecctl):
    """What is there already serves as well; where nothing large is, the question stays open."""
    usual = doctor(run, hugexecctl)["backings"]["file"]
    said = doctor(run, hugexecctl, before=[
        *NAMESPACE, "mount --bind /usr/bin /usr/bin && mount -o remount,bind,ro /usr/bin && "
        "mount -t tmpfs -o ro none /var/tmp && exec \"$@\"", "sh"])
    assert said["backings"]["file"] is usual
    one = finding(said, "backings", "file, /var/tmp")
    assert one["mark"] == "unknown" and "Read-only file system" in one["text"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_doctor_without_proc(run, hugexecctl):
    said = doctor(run, hugexecctl, before=[*NAMESPACE, "mount -t tmpfs none /proc && exec \"$@\"", "sh"])
    assert said["usable"] is False
    one = finding(said, "tracing", "/proc")
    assert one["mark"] == "bad" and "mount -t proc" in one["advice"]
    for name in ("file, /usr/bin", "thp"):
        assert finding(said, "backings", name)["mark"] == "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_doctor_sees_noexec(run, hugexecctl):
    said = doctor(run, hugexecctl, before=[*NAMESPACE, "mount -t tmpfs -o noexec none /var/tmp && exec \"$@\"", "sh"])
    one = finding(said, "backings", "file, /var/tmp")
    assert one["mark"] == "bad" and "noexec" in one["text"]


def test_doctor_sees_that_thp_is_switched_off_for_it(run, hugexecctl):
    def switch_off():
        assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE

    said = doctor(run, hugexecctl, preexec_fn=switch_off)
    assert said["backings"]["thp"] is False
    assert "PR_SET_THP_DISABLE" in finding(said, "backings", "thp")["advice"]


def refuse_ptrace(action):
    """Put this process under a seccomp filter that answers ptrace with ACTION (x86-64 only: it is a test's filter)."""
    libc = ctypes.CDLL(None, use_errno=True)
    # load the call's number; is it 101 (ptrace)? then ACTION, else allow
    code = struct.pack("HBBI" * 4, 0x20, 0, 0, 0, 0x15, 0, 1, 101, 0x06, 0, 0, action, 0x06, 0, 0, 0x7fff0000)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter is for x86-64")
@pytest.mark.parametrize("action, text", [(0x80000000, "kills"), (0x00050001, "Operation not permitted")])
def test_doctor_under_a_filter_that_refuses_ptrace(run, hugexecctl, action, text):
    said = doctor(run, hugexecctl, preexec_fn=lambda: refuse_ptrace(action))
    one = finding(said, "tracing", "ptrace")
    assert said["usable"] is False
    assert one["mark"] == "bad" and text in one["text"] and "SystemCallFilter" in one["advice"]
    assert "filter" in finding(said, "tracing", "seccomp")["text"]


# status

def test_status_of_a_process_that_there_is_not(run, hugexecctl):
    done = run([hugexecctl, "status", "2147483647"])
    assert done.returncode == 1 and "2147483647" in done.stderr and done.stdout == ""
    done = run([hugexecctl, "status", "--json", "2147483647"])
    assert done.returncode == 1 and done.stdout == ""


def test_status_shows_small_text_of_a_process_asked_for(run, hugexecctl):
    with running(["sleep", "60"]) as process:
        wait_for(lambda: "sleep" in os.readlink(f"/proc/{process.pid}/exe"))
        said = json.loads(run([hugexecctl, "status", "--json", process.pid]).stdout)
        entry, = said["processes"]
        assert entry["pid"] == process.pid and entry["command"] == "sleep"
        exe = os.path.realpath("/bin/sleep")
        one = next(one for one in entry["objects"] if one["path"] == exe)
        assert one["text_bytes"] > 0 and one["huge_bytes"] == 0
        assert one["backing"] is None and one["shared"] is None
        text = run([hugexecctl, "status", process.pid]).stdout
        assert exe in text and "0 %" in text


@pytest.mark.parametrize("backing", ["thp", "hugetlb", "file"])
def test_status_agrees_with_the_report(run, hugexecctl, hugexec_command, hugetlb_pool, bigtext, backing):
    from conftest import read_report
    program = bigtext(8)
    probe = json.loads(run([hugexecctl, "doctor", "--json"]).stdout)["backings"]
    pool = hugetlb_pool(8) if backing == "hugetlb" else contextlib.nullcontext()
    if backing != "hugetlb" and not probe[backing]:
        pytest.skip(f"{backing} does not work here")
    with pool:
        words, report = hugexec_command([program, "sleep"], backing=backing)
        with running(words) as process:
            line, = wait_for(lambda: read_report(report))
            if line["outcome"] != "remapped":
                pytest.skip(f"not remapped: {line['reason']}")
            said = json.loads(run([hugexecctl, "status", "--json"]).stdout)
            entry = next(one for one in said["processes"] if one["pid"] == process.pid)
            one, = entry["objects"]
            assert one["path"] == program
            assert one["huge_bytes"] == line["huge_bytes"] > 0
            assert one["text_bytes"] == line["text_bytes"]
            assert one["backing"] == backing
            assert one["shared"] is (backing == "file")
            text = run([hugexecctl, "status"]).stdout
            row = next(row for row in text.splitlines() if row.split()[0] == str(process.pid))
            assert f"{100 * one['huge_bytes'] // one['text_bytes']} %" in row
            assert ("shared" if backing == "file" else "private") in row
        said = json.loads(run([hugexecctl, "status", "--json"]).stdout)
        assert process.pid not in [one["pid"] for one in said["processes"]]


def status_of(run, hugexecctl, pid, name):
    """The object NAME of a process, which is there."""
    entry, = json.loads(run([hugexecctl, "status", "--json", pid]).stdout)["processes"]
    return next(one for one in entry["objects"] if one["name"] == name)


@contextlib.contextmanager
def remapped(hugexec_command, command, **arguments):
    """COMMAND, on huge pages and at rest; yields its Popen and its report."""
    from conftest import read_report
    words, report = hugexec_command(command, **arguments)
    with running(words) as process:
        lines = wait_for(lambda: read_report(report))
        assert lines, process.poll()
        if lines[0]["outcome"] != "remapped":
            pytest.skip(f"not remapped: {lines[0]['reason']}")
        yield process, lines[0]


def test_status_of_node(run, hugexecctl, hugexec_command):
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    with remapped(hugexec_command, [node, "-e", "setTimeout(() => {}, 60000)"], backing="thp") as (process, line):
        one = status_of(run, hugexecctl, process.pid, os.path.realpath(node))
        assert one["huge_bytes"] == line["huge_bytes"] > 16 * MIB
        assert one["text_bytes"] == line["text_bytes"]
        assert one["backing"] == "thp" and one["shared"] is False


def test_status_of_a_program_that_was_deleted(run, hugexecctl, hugexec_command, bigtext, tmp_path):
    program = tmp_path / "soon-gone"
    shutil.copy(bigtext(4, "static", ("cc", "-static")), program)
    with remapped(hugexec_command, [program, "sleep"], backing="thp") as (process, line):
        program.unlink()
        one = status_of(run, hugexecctl, process.pid, str(program))
        assert one["path"] == f"{program} (deleted)" and one["huge_bytes"] == line["huge_bytes"]
        assert run([hugexecctl, "status", process.pid]).stdout.rstrip().splitlines()[-1].endswith(f" {program}")


def test_status_draws_bars_on_a_terminal_only(run, hugexecctl, hugexec_command, bigtext):
    def on_terminal(locale):
        main, other = pty.openpty()
        try:
            fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            subprocess.run([hugexecctl, "status", str(process.pid)], stdout=other, check=True, timeout=20,
                           env={**os.environ, "LC_ALL": locale})
            return os.read(main, 65536).decode()
        finally:
            os.close(main)
            os.close(other)

    with remapped(hugexec_command, [bigtext(8), "sleep"], backing="thp") as (process, line):
        tenths = 10 * line["huge_bytes"] // line["text_bytes"]
        bars = {"C.UTF-8": "█" * tenths + "░" * (10 - tenths), "C": "#" * tenths + "." * (10 - tenths)}
        for locale, bar in bars.items():
            assert f"  {bar} " in on_terminal(locale)
            assert bar not in run([hugexecctl, "status", process.pid], env={**os.environ, "LC_ALL": locale}).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_status_counts_what_it_may_not_read(run, hugexecctl):
    done = run([hugexecctl, "status", "--json"], user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 0 and json.loads(done.stdout)["unreadable"] > 0
    done = run([hugexecctl, "status", os.getpid()], user=NOBODY, group=NOBODY, extra_groups=[])
    assert done.returncode == 1 and "Permission denied" in done.stderr


def test_status_cannot_be_fooled_by_names(run, hugexecctl, tmp_path):
    program = tmp_path / "x\033[2J\nFilePmdMapped: 4096 kB"
    program.write_bytes(pathlib.Path("/bin/sleep").resolve().read_bytes())
    program.chmod(0o755)
    with running([str(program), "60"]) as process:
        wait_for(lambda: "[2J" in os.readlink(f"/proc/{process.pid}/exe"))
        done = run([hugexecctl, "status", process.pid])
        assert done.returncode == 0 and "\033" not in done.stdout and "x?[2J?FilePmdMapped" in done.stdout
        said = json.loads(run([hugexecctl, "status", "--json", process.pid]).stdout)
        one = next(one for one in said["processes"][0]["objects"] if one["path"] == str(program))
        assert one["huge_bytes"] == 0


# explain

def explain(run, hugexecctl, policy, program, **options):
    done = run([hugexecctl, "explain", f"--policy={policy}", "--json", "--", program], **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_explain_names_the_rule(run, hugexecctl, write_policy, bigtext):
    program = bigtext(8)
    policy = write_policy({"version": 1, "rules": [
        {"name": "shells", "match": {"exe": "/usr/bin/*sh"}, "action": "skip"},
        {"match": {"exe": program}, "backing": ["thp"], "min_text": "4M"}]})
    said = explain(run, hugexecctl, policy, program)
    assert said["exe"] == program
    assert said["rule"] == {"name": None, "number": 2, "file": policy}
    assert 6 * MIB <= said["fewest_huge_bytes"] <= said["most_huge_bytes"] <= said["text_bytes"]
    assert [one["backing"] for one in said["backings"]] == ["thp"]
    assert said["would_remap"] is said["backings"][0]["possible"]
    said = explain(run, hugexecctl, policy, "bash")
    assert said["rule"]["name"] == "shells" and said["would_remap"] is False
    assert said["reason"].startswith("rule-skip")
    said = explain(run, hugexecctl, policy, "ls")
    assert said["rule"] is None and said["reason"].startswith("no-rule")
    text = run([hugexecctl, "explain", f"--policy={policy}", program]).stdout
    assert f"rule 2 of all, from {policy}" in text and "whole slots of 2.0 MiB" in text


def test_explain_matches_by_build_id(run, hugexecctl, write_policy):
    notes = run(["readelf", "-n", "/bin/bash"]).stdout
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes)[1]
    policy = write_policy({"version": 1, "rules": [{"name": "that", "match": {"build_id": build_id[:12]}}]})
    said = explain(run, hugexecctl, policy, "/bin/bash")
    assert said["build_id"] == build_id and said["rule"]["name"] == "that"


def test_explain_and_hugexec_agree(run, hugexecctl, hugexec_run, write_policy, bigtext):
    program = bigtext(8)
    policy = {"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0, "backing": ["thp"]}]}
    said = explain(run, hugexecctl, write_policy(policy), program)
    if not said["would_remap"]:
        pytest.skip(said["reason"])
    done, report = hugexec_run([program], policy=policy)
    assert done.returncode == 0 and report[0]["outcome"] == "remapped"
    assert said["fewest_huge_bytes"] <= report[0]["huge_bytes"] <= said["most_huge_bytes"]
    assert said["text_bytes"] == report[0]["text_bytes"]
    assert said["build_id"] == report[0]["objects"][0]["build_id"]


def test_explain_gives_the_reason_that_a_launch_would(run, hugexecctl, hugexec_run, write_policy, hugetlb_pool, bigtext):
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
            said = explain(run, hugexecctl, write_policy(policy), program)
            _, (line,) = hugexec_run([program], policy=policy)
            assert said["would_remap"] is False and line["outcome"] != "remapped", word
            assert said["reason"].split(":")[0] == line["reason"].split(":")[0] == word
            assert said["action"] == ("skip" if word in ("rule-skip", "no-rule") else "remap")


def test_explain_tells_pages_of_different_sizes_apart(run, hugexecctl, write_policy, bigtext):
    policy = write_policy({"version": 1, "rules": [
        {"match": {}, "min_text": 0, "backing": ["hugetlb", "thp"], "page_size": "1G", "keep_free": "10%", "rebase": False}]})
    said = explain(run, hugexecctl, policy, bigtext(8))
    hugetlb, thp = said["backings"]
    assert hugetlb["possible"] is False and hugetlb["huge_bytes"] == 0 and hugetlb["reason"].startswith("no-huge-slot")
    assert thp["huge_bytes"] == said["most_huge_bytes"] >= 6 * MIB
    assert said["settings"]["page_size"] == 1 << 30 and said["settings"]["keep_free"] == "10%"
    assert said["settings"]["rebase"] is False and said["settings"]["max_text"] is None
    text = run([hugexecctl, "explain", f"--policy={policy}", bigtext(8)]).stdout
    assert "0 whole slots of 1.0 GiB" in text and "no rebase" in text and "keep_free 10%" in text


def test_explain_says_what_may_follow(run, hugexecctl, write_policy, bigtext):
    then = "is asked about again"
    wrapper = write_policy({"version": 1, "rules": [{"match": {"exe": bigtext(8)}}]})
    assert then in run([hugexecctl, "explain", f"--policy={wrapper}", "env"]).stdout
    assert then not in run([hugexecctl, "explain", f"--policy={wrapper}", "--backing=thp", bigtext(8)]).stdout
    for policy in ({"rules": []}, {"settings": {"follow": "none"}, "rules": [{"match": {"exe": bigtext(8)}}]},
                   {"rules": [{"match": {"exe": "/**/env"}, "action": "skip"}, {"match": {}}]}):
        path = write_policy({"version": 1, **policy})
        assert then not in run([hugexecctl, "explain", f"--policy={path}", "env"]).stdout


def test_explain_speaks_of_libraries(run, hugexecctl, write_policy, bigtext):
    policy = write_policy({"version": 1, "rules": [{"match": {}, "libraries": True}]})
    assert "libraries  those it loads" in run([hugexecctl, "explain", f"--policy={policy}", "env"]).stdout
    static = bigtext(4, "static", ("cc", "-static"))
    assert "libraries  it loads none" in run([hugexecctl, "explain", f"--policy={policy}", static]).stdout


def test_dry_run_is_explain_and_runs_nothing(run, hugexec, hugexecctl, write_policy, tmp_path):
    policy, made = write_policy({"version": 1, "rules": [{"match": {}}]}), tmp_path / "made"
    said = run([hugexecctl, "explain", f"--policy={policy}", "touch"]).stdout
    for environment in ({}, {"HUGEXEC": "off"}):
        done = run([hugexec, f"--policy={policy}", "--dry-run", "--", "touch", made], env={**os.environ, **environment})
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "") and not made.exists()
    done = run([hugexec, "--dry-run", "--", "no-such-program"])
    assert done.returncode == 127 and done.stdout == ""
    done = run([hugexec, f"--policy={write_policy('{')}", "--dry-run", "--", "touch", made])
    assert done.returncode == 125 and "policy-invalid" in done.stderr and not made.exists()


def test_explain_follows_scripts(run, hugexecctl, write_policy, tmp_path):
    policy = write_policy({"version": 1, "rules": []})
    script, outer, env = tmp_path / "script", tmp_path / "outer", tmp_path / "env-script"
    script.write_text("#!/bin/bash -e\n")
    outer.write_text(f"#! {script}\n")
    env.write_text("#!/usr/bin/env bash\n")
    for path in (script, outer, env):
        path.chmod(0o755)
    bash = os.path.realpath("/bin/bash")
    said = explain(run, hugexecctl, policy, outer)
    assert said["scripts"] == [str(outer), str(script)] and said["exe"] == bash
    said = explain(run, hugexecctl, policy, env, env={**os.environ, "PATH": "/usr/bin:/bin"})
    assert said["scripts"] == [str(env)] and said["exe"] == bash
    text = run([hugexecctl, "explain", f"--policy={policy}", script]).stdout
    assert f"{script} is run by {bash}" in text
    script.write_text("#!/nonexistent/interpreter\n")
    done = run([hugexecctl, "explain", f"--policy={policy}", script])
    assert done.returncode == 1 and "interpreter" in done.stderr
    script.write_text(f"#!{script}\n")
    done = run([hugexecctl, "explain", f"--policy={policy}", script])
    assert done.returncode == 1 and "too many" in done.stderr


def test_explain_what_there_is_not(run, hugexecctl, write_policy, tmp_path):
    for program in ("no-such-program", tmp_path, "/etc/passwd", ""):
        done = run([hugexecctl, "explain", program])
        assert done.returncode == 1 and done.stdout == "" and "no such program" in done.stderr
    done = run([hugexecctl, "explain", f"--policy={write_policy('{')}", "ls"])
    assert done.returncode == 1 and "policy-invalid" in done.stderr


def test_explain_a_broken_program(run, hugexecctl, write_policy, tmp_path):
    program = tmp_path / "broken"
    program.write_bytes(pathlib.Path("/bin/ls").resolve().read_bytes()[:100])
    program.chmod(0o755)
    said = explain(run, hugexecctl, write_policy({"version": 1, "rules": [{"match": {}}]}), program)
    assert said["would_remap"] is False and said["reason"].startswith("elf-invalid")


# check

def test_check(run, hugexecctl, write_policy):
    good = write_policy({"version": 1, "rules": []})
    bad = write_policy('{"version": 1,\n "rules": [{"match": {}, "min_txt": 3}]}')
    assert run([hugexecctl, "check", good]).returncode == 0
    done = run([hugexecctl, "check", good, bad])
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(bad)}:2:\d+: .*min_txt", done.stdout + done.stderr, re.MULTILINE)


# The journal: a socket in its place, in a mount namespace of our own

JOURNAL = "/run/systemd/journal"


@pytest.fixture
def journal(tmp_path):
    """A listening socket, and the words that put it where the journal's is for what they run."""
    if os.geteuid() != 0:
        pytest.skip("mounts")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(5)
        put = f"mount -t tmpfs none /run && mkdir -p {JOURNAL} && touch {JOURNAL}/socket && " \
              f"mount --bind {path} {JOURNAL}/socket && exec \"$@\""
        yield listener, ["unshare", "--mount", "--propagation=private", "sh", "-c", put, "sh"]


def test_journal_gets_the_fields(run, hugexec_command, journal, bigtext):
    from conftest import read_report
    listener, inside = journal
    words, report = hugexec_command([bigtext(8)], backing="thp")
    done = run([*inside, *words])
    assert done.returncode == 0, done.stderr
    line, = read_report(report)
    fields = dict(field.split("=", 1) for field in listener.recv(65536).decode().splitlines())
    assert fields["SYSLOG_IDENTIFIER"] == "hugexec"
    assert re.fullmatch("[0-9a-f]{32}", fields["MESSAGE_ID"])
    assert fields["HUGEXEC_OUTCOME"] == line["outcome"]
    assert fields["HUGEXEC_RULE"] == line["rule"]
    assert fields["HUGEXEC_EXE"] == line["exe"]
    assert fields["HUGEXEC_PID"] == fields["OBJECT_PID"] == str(line["pid"])
    assert fields["HUGEXEC_HUGE_BYTES"] == str(line["huge_bytes"])
    assert fields["HUGEXEC_TEXT_BYTES"] == str(line["text_bytes"])
    assert fields["HUGEXEC_LATENCY_US"] == str(line["latency_us"])
    assert fields["PRIORITY"] == ("6" if line["outcome"] != "failed" else "4")
    assert fields["MESSAGE"].startswith(pathlib.Path(line["exe"]).name)


def test_a_stopped_journal_holds_nobody(run, hugexec_command, journal, bigtext):
    listener, inside = journal
    program = bigtext(8)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"MESSAGE=x\n", listener.getsockname())
        words, _ = hugexec_command([program], backing="thp")
        began = time.monotonic()
        done = run([*inside, *words], timeout=30)
        assert done.returncode == 0
        assert time.monotonic() - began < 5
