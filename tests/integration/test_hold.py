# SPDX-License-Identifier: Apache-2.0
"""Nothing but its own work holds the workload: full or dead places to write to, a name service that does not answer, slow disks."""
import contextlib
import os
import pathlib
import pty
import signal
import socket
import subprocess
import time

import pytest

from lib.machine import mounted
from lib.policies import PATIENT, policy_with
from lib.process import Process, run, status_of, wait_for
from lib.report import read_report
from lib.unwritable import STANDARD_ERRORS, default_signals, fill, full_file, full_pipe, full_socket, opened, stopped_terminal

HANG = 60  # seconds: far more than any of these takes, however slow the machine
HELD = 22  # hold_timeout and what may be added to it, on a machine ten times slower: without a limit these would last for ever


def run_within_hold_timeout(words):
    began = time.monotonic()
    done = run(words, timeout=HANG)
    assert time.monotonic() - began < HELD
    return done

# Places for the report, as in lib/unwritable.py


@contextlib.contextmanager
def full_fifo(folder):
    os.mkfifo(folder / "report", 0o666)
    (folder / "report").chmod(0o666)
    with opened(os.open(folder / "report", os.O_RDWR)) as (fifo,):
        fill(fifo)
        yield subprocess.PIPE, [f"--report={folder / 'report'}"]


@contextlib.contextmanager
def fifo_without_reader(folder):
    os.mkfifo(folder / "report")
    yield subprocess.PIPE, [f"--report={folder / 'report'}"]


@contextlib.contextmanager
def report_to_full_device(_):
    yield subprocess.PIPE, ["--report=/dev/full"]


@contextlib.contextmanager
def full_report(folder):
    yield subprocess.PIPE, [f"--report={folder / 'report'}"]


PLACES = {**STANDARD_ERRORS, **{place.__name__: place for place in (full_fifo, fifo_without_reader, report_to_full_device, full_report)}}

REMAPS = policy_with(hold_timeout="2s")
WHAT = {
    "remapped": (REMAPS, None, 9),
    "left alone": ({"version": 1, "rules": [{"match": {}, "action": "skip"}]}, None, 9),
    "no rule": ({"version": 1, "rules": []}, None, 9),
    "broken policy": ("{", None, 9),
    "not started": ({**REMAPS, "rules": [{"match": {}, "min_text": 0, "on_error": "fail", "backing": ["hugetlb"],
                                          "keep_free": "100%"}]}, None, 125),
    "not found": (REMAPS, "/nowhere/program", 127),
    "not executable": (REMAPS, "/dev/null", 126),
}


@pytest.mark.parametrize("who", ["root", "nobody"])
@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_places_that_take_nothing(request, hugexec, write_policy, bigtext, public_folder, place, what, who):
    """It starts, prints, and ends as plain; where it is not to be started, the status says so."""
    prefix = request.getfixturevalue("nobody") if who == "nobody" else []
    policy, program, status = WHAT[what]
    program = [program or bigtext(8), "exit", "9"]
    with place(public_folder) as (stderr, options):
        words = [*prefix, hugexec, f"--policy={write_policy(policy)}", "--backing=thp" if status == 9 else "--backing=hugetlb",
                 *(options or ["-v", "--report=-"]), "--", *program]
        done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL,
                              timeout=HELD, check=False, preexec_fn=default_signals(stderr, is_limited=place in (full_file, full_report)))
    plain = run(program).stdout if status == 9 else ""
    assert (done.stdout.decode(), done.returncode) == (plain, status)


@pytest.mark.parametrize("wrapper", [[], ["env"]], ids=["itself", "behind a wrapper"])
@pytest.mark.parametrize("place", [full_pipe, stopped_terminal, full_socket, full_fifo], ids=lambda place: place.__name__)
def test_killed_while_it_is_held(hugexec, write_policy, bigtext, public_folder, place, wrapper):
    """SIGKILL ends it at once: the kernel does not wait for its tracer, here one that cannot even run."""
    with place(public_folder) as (stderr, options):
        words = [hugexec, f"--policy={write_policy(policy_with())}", "--backing=thp", *(options or ["-v"]), "--", *wrapper, bigtext(8), "idle"]
        with Process(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, stderr=stderr) as process:
            tracer = held_by(process)
            os.kill(tracer, signal.SIGSTOP)
            try:
                wait_for(lambda: status_of(tracer)["State"][0] in "Tt", seconds=HANG)
                process.kill()
                wait_for(lambda: status_of(process.pid)["State"][0] == "Z", seconds=HANG)
            finally:
                os.kill(tracer, signal.SIGCONT)
            assert process.wait(HANG) == -signal.SIGKILL


def held_by(process):
    """The tracer that PROCESS stands still for, while it writes."""
    found = []

    def is_held():
        status = status_of(process.pid)
        tracer = int(status["TracerPid"])
        children = pathlib.Path(f"/proc/{tracer}/task/{tracer}/children").read_text() if tracer else ""
        found[:] = [tracer]
        return status["State"][0] == "t" and pathlib.Path(f"/proc/{process.pid}/exe").resolve().name.startswith("bigtext") and children

    wait_for(is_held, seconds=HANG, process=process)
    return found[0]


@pytest.fixture
def compile_library(tmp_path):
    """A shared library of SOURCE, as FILE in a folder for LD_LIBRARY_PATH."""
    def compile_to(file, source):
        (tmp_path / "library.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / file, tmp_path / "library.c"], check=True)
    return compile_to


# The report's file


def test_report_file_is_the_one_that_was_named(hugexec, write_policy, bigtext, tmp_path):
    """Relative to the folder that hugexec was started in, and a descriptor of its own, whatever a wrapper does before it executes."""
    policy = write_policy(policy_with(wrappers=["+", "python3*"]))
    (tmp_path / "elsewhere").mkdir()
    with open(tmp_path / "by-number", "wb") as file:
        number = file.fileno()
        script = f"cd elsewhere; exec python3 -c 'import os; os.close({number}); os.execv(\"{bigtext(8)}\", [\"b\"])'"
        for name in ("report", f"/dev/fd/{number}"):
            words = [hugexec, f"--policy={policy}", "--backing=thp", f"--report={name}", "--", "sh", "-c", script]
            done = subprocess.run(words, cwd=tmp_path, pass_fds=[number], capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
    for name in ("report", "by-number"):
        lines = [line for line in read_report(tmp_path / name) if line["outcome"] == "remapped"]
        assert len(lines) == 1, name
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_terminal_as_report_does_not_become_the_controlling_one(hugexec, write_policy, bigtext):
    with opened(*pty.openpty()) as (master, terminal):
        words = [hugexec, f"--policy={write_policy(policy_with())}", "--backing=thp", f"--report={os.ttyname(terminal)}", "--", bigtext(8), "idle"]
        with Process(words, stdin=subprocess.DEVNULL, start_new_session=True) as process:
            line = os.read(master, 4096)
            assert b'"outcome":"remapped"' in line
            assert pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()[4] == "0"
            process.kill()


def test_a_frozen_filesystem(hugexec, write_policy, bigtext, tmp_path):
    """Nothing ends who writes there, so somebody else has to be left with it."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    if run(["mkfs.ext4", "-q", image]).returncode != 0:
        pytest.skip("needs mkfs.ext4")
    with mounted(["-o", "loop", image], tmp_path / "frozen") as folder:
        (folder / "report").touch()
        if run(["fsfreeze", "--freeze", folder]).returncode != 0:
            pytest.skip("needs fsfreeze")
        try:
            for policy in (policy_with(file_timeout="500ms", hold_timeout="2s"), WHAT["left alone"][0]):
                done = run([hugexec, f"--policy={write_policy(policy)}", "--backing=thp", f"--report={folder / 'report'}", "--",
                            bigtext(8), "exit", "9"], timeout=HANG)
                assert done.returncode == 9
        finally:
            run(["fsfreeze", "--unfreeze", folder])


# The journal

JOURNAL = "/run/systemd/journal"


@pytest.mark.parametrize("journal", ["full", "dead", "absent", "a folder"])
@pytest.mark.parametrize("what", ["remapped", "left alone", "broken policy"])
def test_journal_that_takes_nothing(hugexec, write_policy, bigtext, tmp_path, journal, what):
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    path, put = tmp_path / "socket", f"mount -t tmpfs none /run && mkdir -p {JOURNAL} && "
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        if journal == "a folder":
            put += f"mkdir {JOURNAL}/socket && "
        elif journal != "absent":
            listener.bind(str(path))
            put += f"touch {JOURNAL}/socket && mount --bind {path} {JOURNAL}/socket && "
        if journal == "dead":
            listener.close()
        elif journal == "full":
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"MESSAGE=x\n", str(path))
        words = [hugexec, f"--policy={write_policy(WHAT[what][0])}", "--backing=thp", "--", bigtext(8), "exit", "9"]
        done = run_within_hold_timeout(["unshare", "--mount", "--propagation=private", "sh", "-c", put + 'exec "$@"', "sh", *words])
    assert (done.returncode, done.stderr) == (9, "")


# The journal's library, which was loaded into hugexec once, by its name

CRASHES = "#include <signal.h>\n__attribute__((constructor)) static void die(void) { raise(SIGSEGV); }\n"


@pytest.mark.parametrize("what", ["remapped", "left alone", "broken policy"])
def test_nothing_is_loaded_by_name(hugexec, write_policy, bigtext, compile_library, tmp_path, what):
    """Libraries that end whoever loads them, first in LD_LIBRARY_PATH, and rules that want to know units."""
    compile_library("libsystemd.so.0", CRASHES)
    policy = WHAT[what][0]
    if isinstance(policy, dict):
        policy = {**policy, "rules": [{"match": {"unit": "nothing.service"}}, *policy["rules"]]}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(HANG)
        if os.geteuid() != 0:
            pytest.skip("mounts need root")
        put = (f"mount -t tmpfs none /run && mkdir -p {JOURNAL} && touch {JOURNAL}/socket && "
               f'mount --bind {tmp_path / "socket"} {JOURNAL}/socket && LD_LIBRARY_PATH={tmp_path} exec "$@"')
        words = [hugexec, f"--policy={write_policy(policy)}", "--backing=thp", "--", bigtext(8), "exit", "9"]
        done = run(["unshare", "--mount", "--propagation=private", "sh", "-c", put, "sh", *words], timeout=HANG)
        assert done.returncode == 9
        assert b"HUGEXEC_OUTCOME=" in listener.recv(65536)


# The name service

NAMES = """#include <nss.h>
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
enum nss_status _nss_test_getpwnam_r(const char *name, struct passwd *out, char *buf, size_t bytes, int *error)
{
	if (strcmp(name, "hangs") == 0)
		for (;;)
			pause();
	if (strcmp(name, "dies") == 0)
		*(volatile char *)0 = 0;
	if (strcmp(name, "is-large") == 0 && bytes < 100000) {
		*error = ERANGE;
		return NSS_STATUS_TRYAGAIN;
	}
	if (strcmp(name, "is-root") != 0 && strcmp(name, "is-large") != 0)
		return NSS_STATUS_NOTFOUND;
	*out = (struct passwd){.pw_name = (char *)name, .pw_passwd = "x", .pw_uid = 0, .pw_gecos = "", .pw_dir = "/", .pw_shell = ""};
	return NSS_STATUS_SUCCESS;
}
"""


@pytest.fixture
def with_names(compile_library, tmp_path):
    """Words before a command for which the name service is a library of our own, behind /etc/passwd."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    compile_library("libnss_test.so.2", NAMES)
    (tmp_path / "nsswitch.conf").write_text("passwd: files test\n")
    put = f'mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf && LD_LIBRARY_PATH={tmp_path} exec "$@"'
    return ["unshare", "--mount", "--propagation=private", "sh", "-c", put, "sh"]


@pytest.mark.parametrize("name, outcome, reason", [
    ("hangs", "skipped", "user-unknown"), ("dies", "skipped", "user-unknown"), ("nobody-knows", "skipped", "no-rule"),
    ("is-root", "remapped", None), ("is-large", "remapped", None), ("root", "remapped", None), ("bin", "skipped", "no-rule")])
@pytest.mark.parametrize("wrapper", [[], ["env"]], ids=["itself", "behind a wrapper"])
def test_name_service(hugexec_command, with_names, bigtext, name, outcome, reason, wrapper):
    """Whatever it does, the program starts, and the rule holds where the name is this user's."""
    rule = {"match": {"exe": "**/bigtext*", "user": name}, "min_text": 0, **({} if name == "hangs" else PATIENT)}
    words, report = hugexec_command([*wrapper, bigtext(8), "exit", "9"], {"version": 1, "rules": [rule]}, "thp")
    done = run_within_hold_timeout([*with_names, *words])
    assert (done.returncode, done.stderr) == (9, "")
    line = read_report(report)[-1]
    assert (line["outcome"], (line["reason"] or "").split(":")[0] or None) == (outcome, reason)


def test_other_rules_hold_without_a_name(hugexec_command, with_names, bigtext):
    """A name that nobody tells concerns its own rule only, and is asked for only where all else of that rule holds."""
    rules = [{"match": {"exe": "/nowhere/*", "user": "dies"}}, {"match": {"user": "hangs"}, "action": "skip"},
             {"name": "other", "match": {"user": ["hangs", 0]}, "min_text": 0, "file_timeout": "60s"}]
    words, report = hugexec_command([bigtext(8), "exit", "9"], {"version": 1, "rules": rules}, "thp")
    done = run([*with_names, *words], timeout=HANG)
    assert (done.returncode, [line["rule"] for line in read_report(report)]) == (9, ["other"])


