"""The time between exec and a program's entry point, where its libraries are waited for: nobody is needed there for it to go on."""
import ctypes
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import ROOT, Process, marked, policy_with, read_report, status_of, wait_until

SLOW = "#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { usleep(1700000); }\n"
MAIN = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("ran"); fflush(stdout); read(0, &(char){0}, 1); return 7; }\n'
PTRACE_PEEKUSER, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 3, 17, 0x4206, 0x4207
DEBUG_REGISTER_7 = 848 + 7 * 8  # x86-64: offsetof(struct user, u_debugreg[7])
LIBC = ctypes.CDLL(None, use_errno=True)


def with_filter():
    """One that allows everything: hugexec cannot know that, and takes its careful way, without perf events."""
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    rules.add_rule(seccomp.ERRNO(1), "reboot")
    rules.load()


SURROUNDINGS = {"perf event": None, "debug register": with_filter}


@pytest.fixture(scope="module")
def slow_program(tmp_path_factory):
    """It spends 1.7 seconds in a library's constructor, and ends with 7 when its standard input does."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.c").write_text(SLOW)
    (folder / "main.c").write_text(MAIN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libslow.so", "slow.c"], cwd=folder, check=True)
    subprocess.run(["cc", "-w", "-o", "main", "main.c", "-Wl,--no-as-needed", "-L.", "-lslow", f"-Wl,-rpath,{folder}"], cwd=folder, check=True)
    return str(folder / "main")


@pytest.fixture
def start(slow_program, hugexec_command, mark):
    def call(surroundings, **settings):
        words, report = hugexec_command([slow_program], policy_with(libraries=True, follow="none", **settings), "thp")
        process = Process(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=SURROUNDINGS[surroundings], env={**os.environ, "MARK": mark})
        return process, report

    return call


def is_loading(process):
    status = status_of(process.pid)
    return (status["Name"], status["State"][0]) == ("main", "S")


def tracer_of(process):
    return int(status_of(process.pid)["TracerPid"])


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_libraries_that_take_longer_than_follow_timeout(start, mark, surroundings):
    """The program is let go on its way; no breakpoint is there any more when it comes to its entry point."""
    process, report = start(surroundings, follow_timeout=1)
    out, err = process.communicate("", timeout=30)
    assert (out, err, process.returncode) == ("ran\n", "", 7)
    assert [line["outcome"] for line in read_report(report)] == ["skipped"]
    wait_until(lambda: not marked(mark))


def test_tracer_that_is_killed_meanwhile(start):
    process, _ = start("perf event")
    wait_until(lambda: is_loading(process))
    os.kill(tracer_of(process), signal.SIGKILL)
    assert (process.communicate("", timeout=30), process.returncode) == (("ran\n", ""), 7)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_stopped_meanwhile(start, surroundings):
    """^Z and fg while libraries are loaded."""
    process, report = start(surroundings, follow_timeout=20)
    wait_until(lambda: is_loading(process))
    os.kill(process.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    time.sleep(0.2)
    assert status_of(process.pid)["State"][0] in "tT"
    os.kill(process.pid, signal.SIGCONT)
    assert (process.communicate("", timeout=30), process.returncode) == (("ran\n", ""), 7)
    assert len(read_report(report)) == 1


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_no_breakpoint_stays(start, surroundings):
    """Nothing of it is left in the program that has come to its entry point: neither debug registers nor a tracer."""
    process, report = start(surroundings)
    assert process.stdout.readline() == "ran\n" and read_report(report)
    assert status_of(process.pid)["TracerPid"] == "0"
    LIBC.ptrace.restype = ctypes.c_long
    LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    assert LIBC.ptrace(PTRACE_SEIZE, process.pid, None, None) == 0
    assert LIBC.ptrace(PTRACE_INTERRUPT, process.pid, None, None) == 0
    os.waitpid(process.pid, 0x40000000)
    ctypes.set_errno(0)
    enabled = LIBC.ptrace(PTRACE_PEEKUSER, process.pid, DEBUG_REGISTER_7, None)
    assert (ctypes.get_errno(), enabled & 0xff) == (0, 0)
    LIBC.ptrace(PTRACE_DETACH, process.pid, None, None)
    assert process.communicate("", timeout=30)[0] == "" and process.returncode == 7


SIGNAL_STATE = ('#include <stdio.h>\n#include <string.h>\nint main(void) { FILE *f = fopen("/proc/self/status", "r"); char line[256];\n'
                'while (fgets(line, sizeof line, f)) if (!strncmp(line, "Sig", 3) && line[3] != \'Q\' || !strncmp(line, "ShdPnd", 6)) '
                'fputs(line, stdout); return 0; }\n')


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_sigtrap_ignored_or_blocked(hugexec_command, tmp_path, surroundings, how):
    """The breakpoint's own signal: the program still ignores or blocks it, and finds none pending."""
    (tmp_path / "state.c").write_text(SIGNAL_STATE)
    subprocess.run(["cc", "-w", "-o", tmp_path / "state", tmp_path / "state.c"], check=True)
    words, report = hugexec_command([tmp_path / "state"], policy_with(libraries=True, follow="none"), "thp")

    def prepare():
        if SURROUNDINGS[surroundings]:
            SURROUNDINGS[surroundings]()
        if how == "ignored":
            signal.signal(signal.SIGTRAP, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTRAP])

    plain, ours = (subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=prepare)
                   for command in ([tmp_path / "state"], words))
    assert plain.stdout.count("\n") == 5 and (ours.stdout, ours.stderr) == (plain.stdout, "")
    left_alone = how == "blocked" or surroundings == "debug register"
    assert read_report(report)[0]["reason"].startswith("no-breakpoint: " if left_alone else "no-huge-slot: ")


# Its library (programs/blocking.c) has a constructor that blocks SIGTRAP, which is what the breakpoint sends.
BLOCKS = r"""
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
extern sigset_t before;
int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "exec") == 0)
		return execl("/proc/self/exe", "again", "unblock", (char *)NULL);
	if (argc > 1 && strcmp(argv[1], "wait") == 0)
		usleep(1700000);
	sigset_t pending;
	sigprocmask(SIG_SETMASK, &before, NULL);
	sigpending(&pending);
	printf("alive %d\n", sigismember(&pending, SIGTRAP));
	return 7;
}
"""


@pytest.fixture(scope="module")
def blocking_program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "blocks.c").write_text(BLOCKS)
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", "libblocking.so", ROOT / "tests/programs/blocking.c"], cwd=folder, check=True)
    subprocess.run(["cc", "-w", "-o", "blocks", "blocks.c", "-L.", "-lblocking", f"-Wl,-rpath,{folder}"], cwd=folder, check=True)
    return folder / "blocks"


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("way", ["go on", "wait", "exec"])
def test_sigtrap_blocked_on_the_way(blocking_program, hugexec_command, surroundings, way):
    """The breakpoint's signal, come too late, or not before follow_timeout, or to the next program: nobody dies of it."""
    words, report = hugexec_command([blocking_program, way], policy_with(libraries=True, follow_timeout=1 if way == "wait" else 20), "thp")
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=SURROUNDINGS[surroundings], timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("alive 0\n", "", 7)
    reasons = [line["reason"].split(":")[0] for line in read_report(report)]
    if surroundings == "perf event":
        assert reasons == ["no-huge-slot" if way == "wait" else "no-breakpoint"]


# Executes itself from a constructor, 12 times, as programs do whose sanitizer wants another environment.
AGAIN = r"""
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void again(int argc, char **argv)
{
	char left[12], *words[] = {argv[0], argv[1], left, NULL};
	int times = argc > 2 ? atoi(argv[2]) : 12;
	sprintf(left, "%d", times - 1);
	if (times > 0)
		execv("/proc/self/exe", words);
}
"""


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_constructor_that_executes_its_program_again(bigtext, hugexec_command, tmp_path, surroundings):
    """Each time it is remapped, and that is told; the last is not left without its libraries."""
    (tmp_path / "again.c").write_text(AGAIN)
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-include", "stdio.h", "-o", tmp_path / "again.so", tmp_path / "again.c"], check=True)
    command = ["env", f"LD_PRELOAD={tmp_path}/again.so", bigtext(4), "exit"]
    words, report = hugexec_command(command, policy_with(libraries=True), "thp")
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=SURROUNDINGS[surroundings], timeout=60)
    assert done.returncode == subprocess.run([bigtext(4), "exit", "0"], stdout=subprocess.DEVNULL, check=False).returncode, done
    lines = [line for line in read_report(report) if line["exe"].endswith("bigtext-pie-4")]
    assert [(line["outcome"], line["reason"]) for line in lines] == [("remapped", None)] * 13


def test_fail_is_before_constructors(bigtext, hugexec_command, tmp_path):
    """What a policy wants to fail has not begun, neither have its libraries."""
    (tmp_path / "says.c").write_text('#include <unistd.h>\n__attribute__((constructor)) static void say(void) { write(1, "begun\\n", 6); }\n')
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", tmp_path / "says.so", tmp_path / "says.c"], check=True)
    command = ["env", f"LD_PRELOAD={tmp_path}/says.so", bigtext(4), "exit", "9"]
    policy = policy_with(libraries=True, on_error="fail", match={"exe": bigtext(4)}, page_size="2M", keep_free=100000)
    words, report = hugexec_command(command, policy, "hugetlb")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, ""), done
    assert [line["outcome"] for line in read_report(report)] == ["failed"]


REFUSED_REQUESTS = {"PTRACE_SETSIGMASK": 0x420b, "PTRACE_GETREGSET": 0x4204, "PTRACE_GETSIGMASK": 0x420a, "PTRACE_GETSIGINFO": 0x4202,
                    "PTRACE_SETREGSET": 0x4205, "PTRACE_SETOPTIONS": 0x4200, "PTRACE_PEEKSIGINFO": 0x4209}


@pytest.mark.parametrize("libraries", [False, True])
@pytest.mark.parametrize("request_name", REFUSED_REQUESTS)
def test_ptrace_request_refused(bigtext, hugexec_command, request_name, libraries):
    """By a filter, for good: what cannot be asked for is found out before anything depends on it."""
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def load():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), "ptrace", seccomp.Arg(0, seccomp.EQ, REFUSED_REQUESTS[request_name]))
        rules.load()

    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(libraries=libraries), "thp")
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=load, timeout=60)
    assert (done.returncode, done.stderr) == (9, ""), done
    assert len(read_report(report)) == 1


THREAD = ("#include <pthread.h>\n#include <unistd.h>\nstatic void *rest(void *unused) { pause(); return unused; }\n"
          "__attribute__((constructor)) static void start(void) { pthread_t thread; pthread_create(&thread, 0, rest, 0); }\n")


def test_a_constructor_that_starts_a_thread(hugexec_command, bigtext, tmp_path):
    """Text is not switched under it, and the report says that the libraries were left alone for that; the program was not."""
    (tmp_path / "thread.c").write_text(THREAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "thread.so", tmp_path / "thread.c"], check=True)
    command = ["env", f"LD_PRELOAD={tmp_path}/thread.so", bigtext(4), "exit", "9"]
    words, report = hugexec_command(command, policy_with(libraries=True), "thp")
    assert subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode == 9
    line = read_report(report)[-1]
    assert (line["outcome"], str(line["reason"]).split(":")[0]) == ("remapped", "threads-busy")


def test_the_perf_event_is_used(start):
    """Where it may be: the tracer holds one, and the debug registers are left to debuggers."""
    process, _ = start("perf event")
    wait_until(lambda: is_loading(process))
    links = [os.readlink(path) for path in pathlib.Path(f"/proc/{tracer_of(process)}/fd").iterdir()]
    if pathlib.Path("/proc/sys/kernel/perf_event_paranoid").exists():
        assert "anon_inode:[perf_event]" in links
    process.communicate("", timeout=30)
