# SPDX-License-Identifier: Apache-2.0
"""hugexecctl, as an operator uses it: the command line, doctor, check."""
import ctypes
import fcntl
import json
import os
import pathlib
import re
import socket
import struct
import subprocess

import pytest

from lib.machine import MIB, lock
from lib.process import run, wait_for
from lib.surroundings import BUILD, ROOT

NOBODY = 65534


# The command line

VERBS = ("advise", "attach", "check", "compare", "disable", "doctor", "enable", "explain", "list", "metrics", "pool", "status", "warm")
PROGRAMS = ("shim/hugexec", "shim/hugexecctl", "shim/hugexecd", "oci-hook/hugexec-oci-hook", "oci-hook/hugexec-nri")


@pytest.mark.parametrize("words", [[program] for program in PROGRAMS] + [["shim/hugexecctl", verb] for verb in VERBS],
                         ids=lambda words: words[-1])
def test_help_fits_a_screen(words):
    words = [str(BUILD / words[0]), *words[1:]]
    done = run([*words, "--help"])
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("Usage: ")
    assert len(done.stdout.splitlines()) <= 24
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert run([*words, "-h"]).stdout == done.stdout
    if len(words) == 2:
        assert run([words[0], "help", words[1]]).stdout == done.stdout


def test_the_manual_says_of_each_verb_what_it_changes(hugexecctl):
    told = re.search(r"^What its verbs change:\n(.*?)^\.SH VERBS", (ROOT / "docs/hugexecctl.1").read_text(), re.M | re.S)[1]
    listed = re.findall(r"^  ([a-z]+) .* {2}", run([hugexecctl, "--help"]).stdout, re.M)
    assert tuple(sorted(listed)) == VERBS
    assert [verb for verb in VERBS if not re.search(rf"^\.BR?\b.*\b{verb}\b", told, re.M)] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_version(program):
    version = re.search(r"version: '(\d+\.\d+\.\d+)'", (ROOT / "meson.build").read_text())[1]
    for option in ("--version", "-V"):
        done = run([str(BUILD / program), option])
        assert done.returncode == 0
        assert re.fullmatch(rf"{os.path.basename(program)} {version}( \(commit [0-9a-f]{{12,}}(-dirty)?\))?\n\w+ \+file( [-+][\w-]+)+\n", done.stdout), done.stdout


@pytest.mark.parametrize("words", [[], ["chekc"], ["doctor", "--jsno"], ["doctor", "x"], ["doctor", "/etc/passwd"], ["status", "x"], ["status", "-1"],
                                   ["status", "1", "2"], ["explain"], ["explain", "a", "b"], ["explain", "--policy"], ["explain", "--policy=", "true"],
                                   ["compare", "--policy=", "true"], ["attach", "--policy=", "1"], ["warm", "--policy="],
                                   ["check", "--nonsense"]])
def test_wrong_usage_is_2_with_a_hint(hugexecctl, words):
    done = run([hugexecctl, *words])
    assert done.returncode == 2 and done.stdout == ""
    verb = f" {words[0]}" if words and words[0] in VERBS else ""
    assert done.stderr.splitlines()[-1] == f"Try 'hugexecctl{verb} --help'." and done.stderr.startswith(f"hugexecctl{verb}: ")


@pytest.mark.parametrize("typed, meant", [("chekc", "check"), ("stauts", "status"), ("explian", "explain"), ("xyzzy", None), ("pol", "pool"), ("pull", None),
                                         ("book", None), ("--vresion", None)])
def test_did_you_mean(hugexecctl, typed, meant):
    said = run([hugexecctl, typed]).stderr
    assert f"'{typed}'" in said and (f"did you mean '{meant}'?" in said if meant else "the verbs are" in said), said


def test_enable_takes_services_only(hugexecctl):
    for name in ("x.timer", "x.socket", "x.target"):
        done = run([hugexecctl, "enable", name])
        assert done.returncode == 2 and f"'{name}' is not a service" in done.stderr


@pytest.mark.parametrize("words", [[program] for program in PROGRAMS if program != "shim/hugexecctl"] + [["shim/hugexecctl", verb] for verb in VERBS],
                         ids=lambda words: words[-1])
def test_every_program_and_verb_has_the_same_words_for_a_wrong_option(words):
    name = " ".join([os.path.basename(words[0]), *words[1:]])
    value = {"hugexec": "backing", "hugexecd": "idle", "hugexec-oci-hook": "policy", "hugexec-nri": "socket"}
    of_verb = {"advise": "seconds", "compare": "pairs", "metrics": "format", "attach": "policy", "explain": "policy", "status": "unit"}
    value = value.get(name, of_verb.get(words[-1]))
    wrong = [("--nonsense", "unknown option '--nonsense'"), ("--nonsense=1", "unknown option '--nonsense=1'"), ("-x", "unknown option '-x'"),
             ("-xh", "unknown option '-x'"), ("--help=1", "option '--help=1' takes no value")]
    if value:
        wrong.append((f"--{value}", f"option '--{value}' lacks its value"))
    for option, said in wrong:
        done = run([BUILD / words[0], *words[1:], option])
        assert (done.stdout, done.stderr) == ("", f"{name}: {said}\nTry '{name} --help'.\n")
        assert done.returncode == (125 if name == "hugexec" else 2)


@pytest.mark.parametrize("program", ["shim/hugexec-elf-reader", "shim/hugexec-generator", "shim/hugexec-counter", "oci-hook/hugexec-bundle-reader"])
def test_what_is_started_by_programs_says_so(program, tmp_path):
    """In one line, and does nothing."""
    done = run([BUILD / program, "--help"], cwd=tmp_path)
    assert done.returncode != 0 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done
    assert done.stderr.startswith(f"{os.path.basename(program)}: ") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["status"], ["attach"], ["advise"], ["compare", "--before=/nowhere/file"]], ids=lambda words: words[0])
def test_every_verb_has_the_same_words_for_a_process_that_is_not_there(hugexecctl, words):
    with subprocess.Popen(["true"]) as ended:
        pass
    for pid in (2147483647, ended.pid):
        done = run([hugexecctl, *words, pid])
        said = f"there is no process {pid} (any more); 'ps -e' shows those that there are\n"
        assert done.returncode == 1 and (done.stderr == f"hugexecctl: {said}" or (words[0] == "attach" and done.stdout.endswith(f"tracee-gone: {said}"))), done
    for word in ("x", "0", "1x", "99999999999"):
        done = run([hugexecctl, *words, word])
        assert (done.returncode, done.stderr) == (2, f"hugexecctl {words[0]}: '{word}' is no PID\nTry 'hugexecctl {words[0]} --help'.\n")


@pytest.mark.parametrize("verb", ["attach", "status"])
def test_a_unit_without_processes(hugexecctl, verb):
    done = run([hugexecctl, verb, "--unit=no-such"])
    assert (done.returncode, done.stderr) == (1, "hugexecctl: no-such.service has no process: systemctl status no-such.service\n")


@pytest.mark.parametrize("words", [["enable", "x"], ["disable", "x"], ["list"]], ids=lambda words: words[0])
def test_without_systemd_it_says_what_to_do(hugexecctl, words):
    done = run([hugexecctl, *words], env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"})
    assert done.returncode == 1 and "no-systemd: " in done.stderr and done.stderr.endswith("'hugexec -- PROGRAM'\n"), done


def test_options_of_enable_are_not_those_of_disable(hugexecctl):
    for option in ("--runtime", "--dry-run"):
        done = run([hugexecctl, "disable", option, "x"])
        assert done.returncode == 2 and f"'{option}'" in done.stderr


@pytest.mark.parametrize("name", ["", "a b", ".service", "x/y", "x" * 300])
def test_what_is_no_name_of_a_unit(hugexecctl, name):
    for words in (["status", f"--unit={name}"], ["enable", name]):
        done = run([hugexecctl, *words])
        assert (done.returncode, done.stdout) == (2, "") and f"'{name}' is not a unit's name" in done.stderr


def test_status_of_a_unit_without_process(hugexecctl):
    for name, full in (("no-such-unit", "no-such-unit.service"), ("no-such.scope", "no-such.scope")):
        done = run([hugexecctl, "status", f"--unit={name}"])
        assert done.returncode == 1 and f"{full} has no process" in done.stderr


def test_a_number_that_no_process_has_is_no_wrong_usage(hugexecctl, write_policy):
    policy = write_policy({"version": 1, "rules": []})
    for number in ("99999999", "2147483647"):
        assert run([hugexecctl, "status", number]).returncode == 1
        done = run([hugexecctl, "attach", f"--policy={policy}", "--json", number])
        assert done.returncode == 1 and json.loads(done.stdout)["reason"].startswith("tracee-gone")
    for word in ("0", "1x", "", " 1", "+1", "2147483648"):
        for verb in ("status", "attach"):
            done = run([hugexecctl, verb, word])
            assert done.returncode == 2 and f"'{word}' is no PID" in done.stderr


def test_output_that_cannot_be_written_is_a_failure(hugexecctl):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([hugexecctl, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 1 and b"standard output" in done.stderr


# doctor

def doctor(hugexecctl, before=(), **options):
    done = run([*before, hugexecctl, "doctor", "--json"], **options)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["usable"] else 1)
    return said


def finding(said, topic, name):
    return next(one for one in said["findings"] if one["topic"] == topic and one["name"] == name)


def test_doctor_json_and_text_say_the_same(hugexecctl):
    said = doctor(hugexecctl)
    assert said["kernel"] == os.uname().release
    for locale, signs in {"C": "+-? ", "C.UTF-8": "✓✗– "}.items():
        text = run([hugexecctl, "doctor"], env={**os.environ, "LC_ALL": locale}, encoding="utf-8").stdout
        assert said["kernel"] in text
        for one in said["findings"]:
            # Counts of free memory and pages may have changed meanwhile.
            sign = signs[("good", "bad", "unknown", "fact").index(one["mark"])]
            if one["name"] == "TLB":  # is timed each time
                sign = f"[{re.escape(signs)}]"
            assert re.search(rf"^  {sign if one['name'] == 'TLB' else re.escape(sign)} {re.escape(one['name'])} ", text, re.MULTILINE), one
            assert one["mark"] != "bad" or one["advice"] or "noexec" in one["text"], one


def test_doctor_says_whether_the_tlb_profits(hugexecctl):
    one = finding(doctor(hugexecctl), "host", "TLB")
    assert one["mark"] in ("good", "bad", "unknown") and ("splits" in one["text"]) == (one["mark"] == "bad")


def test_doctor_leaves_nothing_behind(hugexecctl):
    before = {folder: sorted(os.listdir(folder)) for folder in ("/usr/bin", "/var/tmp")}
    pool = pathlib.Path("/proc/sys/vm/nr_hugepages").read_text(encoding="ascii")
    doctor(hugexecctl)
    assert before == {folder: sorted(os.listdir(folder)) for folder in before}
    assert pool == pathlib.Path("/proc/sys/vm/nr_hugepages").read_text(encoding="ascii")


def test_doctor_tries_other_folders(hugexecctl, tmp_path):
    done = run([hugexecctl, "doctor", "--json", tmp_path, "/usr/lib"])
    names = [one["name"] for one in json.loads(done.stdout)["findings"] if one["name"].startswith("file, ")]
    assert names == [f"file, {tmp_path}", "file, /usr/lib"] and not os.listdir(tmp_path)


def test_doctor_starts_a_program_with_libraries(hugexecctl):
    """Whether programs can be had to wait at their entry points; not where they may not create memory files."""
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def refuse(call):
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), call)
        rules.load()

    for refused, mark in (("perf_event_open", "good"), ("memfd_create", "bad")):
        one = finding(doctor(hugexecctl, preexec_fn=lambda call=refused: refuse(call)), "tracing", "libraries")
        assert one["mark"] == mark and (mark == "good" or "no-breakpoint: memfd_create" in one["text"]), one


def test_doctor_sees_the_pool(hugexecctl, hugetlb_pool):
    with hugetlb_pool(0):
        said = doctor(hugexecctl)
        assert said["backings"]["hugetlb"] is False
        assert re.match(r"sysctl vm.nr_hugepages=\d+$", finding(said, "backings", "hugetlb, 2M")["advice"])
    with hugetlb_pool(2):
        said = doctor(hugexecctl)
        assert said["backings"]["hugetlb"] is True
        assert finding(said, "backings", "hugetlb, 2M")["advice"] is None
        free = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text(encoding="ascii")
        assert int(free) == 2  # given back


@pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup takes root")
def test_doctor_sees_the_hugetlb_limit(hugexecctl, hugetlb_pool):
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
            said = doctor(hugexecctl, before=enter)
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


@pytest.mark.skipif(os.geteuid() != 0, reason="making a cgroup takes root")
def test_doctor_sees_the_memory_limit(hugexecctl):
    root = pathlib.Path("/sys/fs/cgroup/memory")
    if not (root / "memory.limit_in_bytes").exists():
        pytest.skip("no v1 memory controller")
    group = root / f"hugexec-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(64 * MIB), encoding="ascii")
        said = doctor(hugexecctl, before=["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec \"$@\"", "sh"])
        text = finding(said, "limits", "memory")["text"]
        left = float(re.match(r"([\d.]+) MiB left; cgroup", text)[1])
        assert 32 < left < 64 and str(group) in text
    finally:
        # The last process's charge may take a moment to go.
        wait_for(lambda: not (group / "cgroup.procs").read_text(encoding="ascii"))
        group.rmdir()


def test_doctor_sees_limits_of_the_caller(hugexecctl):
    said = doctor(hugexecctl, before=["sh", "-c", "ulimit -n 12; ulimit -f 1; exec \"$@\"", "sh"])
    files = finding(said, "limits", "open files")
    assert files["mark"] == "bad" and files["text"] == "12" and "LimitNOFILE" in files["advice"]
    assert finding(said, "limits", "file size")["mark"] == "bad"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
def test_doctor_for_a_user_without_rights(hugexecctl):
    said = doctor(hugexecctl, user=NOBODY, group=NOBODY, extra_groups=[])
    assert finding(said, "tracing", "CAP_SYS_PTRACE")["text"].startswith("no")
    assert finding(said, "tracing", "ptrace")["mark"] == "good"


NAMESPACE = ["unshare", "--mount", "--propagation=private", "sh", "-c"]


def doctor_in_namespace(script):
    """What doctor says after a script has changed mounts; the build may lie below one that it covers."""
    script = f'mount -t tmpfs none /mnt && mkdir /mnt/shim && mount --bind "$0" /mnt/shim && cd /mnt && {script} && exec "$@"'
    return doctor("/mnt/shim/hugexecctl", before=[*NAMESPACE, script, BUILD / "shim"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_doctor_where_no_file_can_be_made(hugexecctl):
    """What is there already serves as well; where nothing large is, the question stays open."""
    usual = doctor(hugexecctl)["backings"]["file"]
    said = doctor_in_namespace("mount --bind /usr/bin /usr/bin && mount -o remount,bind,ro /usr/bin && "
                                    "mount -t tmpfs -o ro none /var/tmp")
    assert said["backings"]["file"] is usual
    one = finding(said, "backings", "file, /var/tmp")
    assert one["mark"] == "unknown" and "Read-only file system" in one["text"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_doctor_without_proc():
    said = doctor_in_namespace("mount -t tmpfs none /proc")
    assert said["usable"] is False
    one = finding(said, "tracing", "/proc")
    assert one["mark"] == "bad" and "mount -t proc" in one["advice"]
    for name in ("file, /usr/bin", "thp"):
        assert finding(said, "backings", name)["mark"] == "unknown"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_doctor_sees_noexec():
    said = doctor_in_namespace("mount -t tmpfs -o noexec none /var/tmp")
    one = finding(said, "backings", "file, /var/tmp")
    assert one["mark"] == "bad" and "noexec" in one["text"]


def test_doctor_sees_that_thp_is_switched_off_for_it(hugexecctl):
    def switch_off():
        assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE

    said = doctor(hugexecctl, preexec_fn=switch_off)
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
def test_doctor_under_a_filter_that_refuses_ptrace(hugexecctl, action, text):
    said = doctor(hugexecctl, preexec_fn=lambda: refuse_ptrace(action))
    one = finding(said, "tracing", "ptrace")
    assert said["usable"] is False
    assert one["mark"] == "bad" and text in one["text"] and "SystemCallFilter" in one["advice"]
    assert "filter" in finding(said, "tracing", "seccomp")["text"]


def doctor_with_policy(hugexecctl, text, mode=0o644):
    """Of a host whose policy is TEXT: in a mount namespace of its own. (exit status, text, JSON)"""
    if os.geteuid() != 0:
        pytest.skip("mounts")
    script = """mount -t tmpfs -o mode=755 none /etc && mkdir /etc/hugexec && echo root:x:0:0::/: >/etc/passwd &&
printf %s "$2" >/etc/hugexec/policy.json && chmod "$3" /etc/hugexec/policy.json; shift 3; exec "$@" """
    inside = ["unshare", "--mount", "sh", "-c", script, "sh", "-", text, f"{mode:o}", hugexecctl, "doctor"]
    done = run(inside)
    return done.returncode, done.stdout, json.loads(run([*inside, "--json"]).stdout)


@pytest.mark.parametrize("text, mode, word", [('{"version": 1', 0o644, "the JSON ends too early"),
                                              ('{"version": 1, "rules": []}', 0o666, "chmod go-w")])
def test_doctor_fails_where_the_policy_cannot_be_used(hugexecctl, text, mode, word):
    status, said, as_json = doctor_with_policy(hugexecctl, text, mode)
    assert status == 1 and "the policy is broken" in said.splitlines()[-1] and word in said
    assert as_json["usable"] is False and "bad" in [one["mark"] for one in as_json["findings"] if one["topic"] == "policy"]


def test_doctor_sees_a_policy(hugexecctl):
    _, said, as_json = doctor_with_policy(hugexecctl, '{"version": 1, "rules": [{"match": {}}]}')
    assert "/etc/hugexec/policy.json: 1 rule" in said and {one["mark"] for one in as_json["findings"] if one["topic"] == "policy"} == {"good"}


@pytest.mark.usefixtures("public_folder")
def test_doctor_sees_that_a_socket_cannot_be_reached(hugexecctl, nobody, tmp_path):
    path = tmp_path / "hugexecd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        for mode, mark in ((0o666, "good"), (0o600, "bad")):
            path.chmod(mode)
            done = run([*nobody, hugexecctl, "doctor", "--json"], env={**os.environ, "HUGEXEC_HELPER": str(path)})
            one = finding(json.loads(done.stdout), "tracing", "hugexecd")
            assert one["mark"] == mark and (mark == "good" or "SocketMode" in one["advice"]), one


# pool

def test_pool_dry_run(hugexecctl, tmp_path):
    """It says what would be done, and does it not."""
    pool = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    if not pool.exists():
        pytest.skip("this kernel has no hugetlb pages of 2 MiB")
    with lock("pool", fcntl.LOCK_EX):  # no other test changes it meanwhile
        says_what_it_would_do(hugexecctl, pool, int(pool.read_text()), tmp_path)


def says_what_it_would_do(hugexecctl, pool, before, tmp_path):
    conf = tmp_path / "pool.conf"
    conf.write_text(f"2M {before + 3}\n")
    done = run([hugexecctl, "pool", "--dry-run", str(conf)])
    assert done.returncode == 0 and done.stdout == f"2.0 MiB pages: {before}, asked for {before + 3}: 3 would be reserved\n"
    done = run([hugexecctl, "pool", "--dry-run", "--json", str(conf)])
    assert done.returncode == 0 and json.loads(done.stdout) == {
        "version": 1, "pools": [{"page_bytes": 2 * MIB, "node": None, "asked_pages": before + 3, "pages": before, "reason": None}]}
    conf.write_text("2M 1 node=1000\n")
    told, = json.loads(run([hugexecctl, "pool", "--json", str(conf)]).stdout)["pools"]
    assert told["node"] == 1000 and told["pages"] == 0 and told["reason"] == "pool-size: there is no NUMA node 1000"
    for option in ([], ["--dry-run"]):
        done = run([hugexecctl, "pool", *option, str(conf)])
        assert done.returncode == 1 and "there is no NUMA node 1000" in done.stderr
    conf.write_text("128K 1\n")
    assert "this kernel has no huge pages of 128 KiB" in run([hugexecctl, "pool", str(conf)]).stderr
    assert int(pool.read_text()) == before


@pytest.mark.skipif(os.path.exists("/etc/hugexec/pool.conf"), reason="this host has a pool.conf")
def test_pool_without_a_file(hugexecctl):
    done = run([hugexecctl, "pool"])
    assert done.returncode == 1 and "there is no /etc/hugexec/pool.conf" in done.stderr and "name a FILE" in done.stderr
