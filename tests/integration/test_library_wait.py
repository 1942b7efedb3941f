# SPDX-License-Identifier: Apache-2.0
"""The time between exec and a program's entry point, where its libraries are waited for: nobody is needed there for it to go on."""
import json
import os
import signal
import subprocess
import time

import pytest

from lib.filters import SURROUNDINGS
from lib.machine import HUGE
from lib.policies import policy_with
from lib.process import Process, children_of, marked, run, status_of, wait_for
from lib.report import read_report
from lib.smaps import smaps
from programs import bigtext as bigtext_generator

SLOW = "#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { char c; read(0, &c, 1); }\n"
MAIN = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts("ran"); fflush(stdout); read(0, &(char){0}, 1); return 7; }\n'


STUB_TRACER = 144  # x86-64: offsetof(struct arch_entry_stub, tracer)


@pytest.fixture(scope="module")
def slow_program(tmp_path_factory):
    """It waits in the constructor of a large library for a byte on standard input, and ends with 7 when that does."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.c").write_text(SLOW)
    (folder / "main.c").write_text(MAIN)
    (folder / "text.s").write_text(bigtext_generator.assembly(6))
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", "libslow.so", "slow.c", "text.s"], cwd=folder, check=True)
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
    """It sleeps: nowhere else than in that constructor, while somebody traces it."""
    status = status_of(process.pid)
    return (status["Name"], status["State"][0]) == ("main", "S")


def goes_on(process):
    """The constructor returns."""
    process.stdin.write("x")
    process.stdin.flush()


def tracer_of(process):
    return int(status_of(process.pid)["TracerPid"])


def stub_pages(pid):
    """What is mapped below the program."""
    return [entry for entry in smaps(pid) if entry["start"] < HUGE]


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_libraries_that_take_longer_than_follow_timeout(start, mark, surroundings):
    """The program is let go on its way: it does not wait for anybody when it comes to its entry point, and no child is left."""
    process, report = start(surroundings, follow_timeout=1)
    wait_for(lambda: read_report(report), process=process)  # the tracer has left
    goes_on(process)
    assert process.stdout.readline() == "ran\n"
    assert (tracer_of(process), children_of(process.pid)) == (0, [])
    out, err = process.communicate("", timeout=120)
    assert (out, err, process.returncode) == ("", "", 7)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["no-breakpoint"]
    wait_for(lambda: not marked(mark))


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("how", ["leaves", "is killed"])
def test_pid_1_whose_tracer(slow_program, hugexec_command, how):
    """The tracer is its child, as nobody else would reap it; the program does, on the way to its entry point."""
    words, report = hugexec_command([slow_program], policy_with(libraries=True, follow="none", follow_timeout=1), "thp")
    prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with Process([*prefix, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: len(children_of(process.pid)) == 1 and status_of(children_of(process.pid)[0])["Name"] == "main")
        wait_for(lambda: status_of(children_of(process.pid)[0])["State"].startswith("S"))  # in its constructor, its registers its own
        [first] = children_of(process.pid)
        [tracer] = children_of(first)
        if how == "is killed":
            os.kill(int(tracer), signal.SIGKILL)
        wait_for(lambda: status_of(tracer)["State"][0] == "Z")
        goes_on(process)
        assert process.stdout.readline() == "ran\n"
        assert children_of(first) == [] and status_of(first)["TracerPid"] == "0"
        process.communicate("", timeout=120)
    assert process.returncode == 7 and (how == "is killed" or read_report(report)[0]["reason"].startswith("no-breakpoint: "))


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_tracer_that_is_killed_meanwhile(start, surroundings):
    """The program does not wait for it: the word by which it would is changed by the kernel."""
    process, _ = start(surroundings)
    wait_for(lambda: is_loading(process) and tracer_of(process))
    [page] = stub_pages(process.pid)
    with open(f"/proc/{process.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(page["start"])
        stub = memory.read(4096).index(b"\xf3\x0f\x1e\xfa")

        def waits_for():
            memory.seek(page["start"] + stub + STUB_TRACER)
            return int.from_bytes(memory.read(4), "little") & 0x3fffffff

        assert waits_for() == tracer_of(process)
        os.kill(tracer_of(process), signal.SIGKILL)
        wait_for(lambda: waits_for() == 0)
    goes_on(process)
    assert process.stdout.readline() == "ran\n" and children_of(process.pid) == []
    assert (process.communicate("", timeout=120), process.returncode) == (("", ""), 7)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_stopped_meanwhile(start, surroundings):
    """^Z and fg while libraries are loaded."""
    process, report = start(surroundings, follow_timeout=600)
    wait_for(lambda: is_loading(process))
    os.kill(process.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    time.sleep(0.2)
    assert status_of(process.pid)["State"][0] in "tT"
    os.kill(process.pid, signal.SIGCONT)
    assert (process.communicate("x", timeout=120), process.returncode) == (("ran\n", ""), 7)
    assert len(read_report(report)) == 1


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_not_traced_for_long(start, surroundings):
    """A constructor that takes its time runs untraced; the library is on huge pages all the same, and nothing stays behind."""
    process, report = start(surroundings, follow_timeout=600)
    wait_for(lambda: is_loading(process) and tracer_of(process) == 0)
    assert len(stub_pages(process.pid)) == 1
    goes_on(process)
    assert process.stdout.readline() == "ran\n"
    [line] = read_report(report)
    assert line["outcome"] == "remapped" and any(item["path"].endswith("/libslow.so") and item["huge_bytes"] for item in line["objects"]), line
    assert (tracer_of(process), stub_pages(process.pid), children_of(process.pid)) == (0, [], [])
    assert process.communicate("", timeout=120)[0] == "" and process.returncode == 7


# What a program knows of where it starts: the auxiliary vector, what ld.so keeps of it, and whether a page of ours is there.
ENTRY = r"""
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
extern char _start[];
int main(int argc, char **argv)
{
	char line[256];
	const unsigned long *words = (const unsigned long *)_r_debug.r_map;
	unsigned kept = 0;
	for (unsigned i = 0; i < 140; i++)
		kept += words[i] == (unsigned long)_start;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, maps))
		if (strstr(line, "/memfd:"))
			fputs(line, stdout);
	printf("%d %u\n", getauxval(AT_ENTRY) == (unsigned long)_start, kept);
	return 7;
}
"""


@pytest.fixture(name="compile_c")
def compile_c_fixture(tmp_path):
    def call(name, text, *flags):
        (tmp_path / f"{name}.c").write_text(text)
        subprocess.run(["cc", "-w", "-o", tmp_path / name, tmp_path / f"{name}.c", *flags], check=True)
        return tmp_path / name

    return call


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("randomised", [True, False])
def test_the_entry_point_is_put_right(hugexec_command, compile_c, surroundings, randomised):
    program = compile_c("entry", ENTRY)
    words, report = hugexec_command([program], policy_with(libraries=True, follow="none"), "thp")
    prefix = [] if randomised else ["setarch", "-R"]
    plain, ours = (subprocess.run([*prefix, *command], capture_output=True, text=True, check=False, preexec_fn=SURROUNDINGS[surroundings])
                   for command in ([program], words))
    assert plain.stdout.startswith("1 ") and (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 7)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["no-huge-slot"]


FORKS = r"""
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
	if (fork() > 0)
		wait(NULL);
}
"""


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_constructor_that_forks(hugexec_command, compile_c, tmp_path, surroundings):
    """Both of them come to the entry point, and one of them knows no tracer."""
    library = compile_c("forks.so", FORKS, "-shared", "-fPIC")
    program = compile_c("entry", "#include <unistd.h>\nint main(void) { return write(1, \"x\", 1) - 1; }\n", "-Wl,--no-as-needed", library)
    words, report = hugexec_command([program], policy_with(libraries=True, follow="none"), "thp")
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=SURROUNDINGS[surroundings], timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("xx", "", 0)
    assert len(read_report(report)) == 1


# Takes the entry point from the program's ELF header, and knows nothing of AT_ENTRY.
OTHER_LOADER = r"""
__asm__(".globl _start\n_start: mov %rsp, %rdi\nmov %rsp, %r12\ncall find\nmov %r12, %rsp\njmp *%rax\n");
__attribute__((used)) static unsigned long find(unsigned long *at)
{
	for (at += *at + 2; *at; at++)
		;
	for (at++; *at != 3; at += 2) /* AT_PHDR */
		;
	unsigned long header = at[1] - 64;
	return header + *(unsigned long *)(header + 24);
}
"""
# Ends with 7 once AT_ENTRY is right, where that takes less than half a minute.
UNDER_OTHER_LOADER = r"""
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
void _start(void);
static long call(long nr, long a, long b)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(0) : "rcx", "r11", "memory");
	return result;
}
__attribute__((used)) static void begin(volatile unsigned long *at)
{
	long tenth[2] = {0, 100000000};
	for (at += *at + 2; *at; at++)
		;
	for (at++; *at != 9; at += 2) /* AT_ENTRY */
		;
	for (int i = 0; i < 300 && at[1] != (unsigned long)_start; i++)
		call(35, (long)tenth, 0); /* nanosleep */
	call(60, at[1] == (unsigned long)_start ? 7 : 1, 0);
}
"""


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_loader_that_passes_us_by(hugexec_command, compile_c, surroundings):
    """The program runs, is not traced for long, and finds AT_ENTRY right in the end."""
    bare = ("-nostdlib", "-fno-stack-protector", "-O1")
    loader = compile_c("loader", OTHER_LOADER, *bare, "-static-pie")
    program = compile_c("other", UNDER_OTHER_LOADER, *bare, "-fPIE", "-pie", f"-Wl,--dynamic-linker={loader}")
    assert run([program]).returncode == 7
    words, report = hugexec_command([program], policy_with(libraries=True, follow="none", follow_timeout=1), "thp")
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=SURROUNDINGS[surroundings], timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 7)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["no-breakpoint"]


SIGNAL_STATE = ('#include <stdio.h>\n#include <string.h>\nint main(void) { FILE *f = fopen("/proc/self/status", "r"); char line[256];\n'
                'while (fgets(line, sizeof line, f)) if (!strncmp(line, "Sig", 3) && line[3] != \'Q\' || !strncmp(line, "ShdPnd", 6)) '
                'fputs(line, stdout); return 0; }\n')


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_signals_ignored_or_blocked(hugexec_command, compile_c, surroundings, how):
    """The program still ignores or blocks all, and finds none pending."""
    program = compile_c("state", SIGNAL_STATE)
    words, report = hugexec_command([program], policy_with(libraries=True, follow="none"), "thp")
    signals = [signal.SIGTRAP, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGUSR1]

    def prepare():
        if SURROUNDINGS[surroundings]:
            SURROUNDINGS[surroundings]()
        for number in signals if how == "ignored" else []:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals if how == "blocked" else [])

    plain, ours = (subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=prepare)
                   for command in ([program], words))
    assert plain.stdout.count("\n") == 5 and (ours.stdout, ours.stderr) == (plain.stdout, "")
    assert read_report(report)[0]["reason"].startswith("no-huge-slot: ")


# Sets a handler that must not run, then blocks all signals, and leaves the state of its signals so.
BLOCKS = r"""
#include <signal.h>
#include <unistd.h>
static void handle(int number) { _exit(99); }
__attribute__((constructor)) static void block(void)
{
	sigset_t all;
	sigfillset(&all);
	signal(SIGSEGV, handle);
	signal(SIGTRAP, SIG_IGN);
	sigprocmask(SIG_BLOCK, &all, NULL);
}
"""


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_signals_blocked_on_the_way(hugexec_command, compile_c, surroundings):
    """By a constructor, which has a handler, too."""
    library = compile_c("blocks.so", BLOCKS, "-shared", "-fPIC")
    program = compile_c("state", SIGNAL_STATE, "-Wl,--no-as-needed", library)
    words, report = hugexec_command([program], policy_with(libraries=True, follow="none"), "thp")
    plain, ours = (subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=SURROUNDINGS[surroundings])
                   for command in ([program], words))
    assert plain.stdout.count("\n") == 5 and (ours.stdout, ours.stderr) == (plain.stdout, "")
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["no-huge-slot"]


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


REFUSED_REQUESTS = {"PTRACE_SETSIGMASK": 0x420b, "PTRACE_GETREGSET": 0x4204, "PTRACE_GETSIGMASK": 0x420a, "PTRACE_INTERRUPT": 0x4207,
                    "PTRACE_SETREGSET": 0x4205, "PTRACE_SETOPTIONS": 0x4200, "PTRACE_CONT": 7, "PTRACE_SYSCALL": 24, "PTRACE_DETACH": 17}


@pytest.mark.parametrize("libraries", [False, True])
@pytest.mark.parametrize("request_name", REFUSED_REQUESTS)
def test_ptrace_request_refused(bigtext, hugexec_command, request_name, libraries):
    """By a filter, for good: what cannot be asked for is found out before anything depends on it."""
    seccomp = pytest.importorskip("seccomp", reason="python3-seccomp is not installed")

    def load():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), "ptrace", seccomp.Arg(0, seccomp.EQ, REFUSED_REQUESTS[request_name]))
        rules.load()

    words, report = hugexec_command([bigtext(4), "exit", "9"], policy_with(libraries=libraries, follow_timeout=600), "thp")
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


@pytest.mark.skipif(os.geteuid() != 0, reason="real-time classes take root")
@pytest.mark.parametrize("how", ["--fifo", "--rr"])
def test_real_time_on_one_processor(slow_program, hugexec_command, how):
    """A tracer that is of no such class, as it was forked, would not get the processor to see the program arrive."""
    processor = str(min(os.sched_getaffinity(0)))
    words, report = hugexec_command([slow_program], policy_with(libraries=True, follow="none"), "thp")
    done = run(["taskset", "-c", processor, "chrt", "--reset-on-fork", how, "20", *words])
    if "failed to set pid" in done.stderr:
        pytest.skip("real-time classes are refused here")
    assert (done.stdout, done.returncode) == ("ran\n", 7)
    [line] = read_report(report)
    assert "it would occupy the only processor" in json.dumps(line)
