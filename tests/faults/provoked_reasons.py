# SPDX-License-Identifier: Apache-2.0
"""Reasons for which the engine leaves a program alone that are no failed call: what is not there, too small, too large, not
allowed. Each is provoked for real; the program must run as without hugexec, and the report must name the reason."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from launch_modes import ROOT, LaunchMode

sys.path.insert(0, str(ROOT / "tests"))
from lib.policies import PATIENT
from programs import bigtext
from programs.elf import MOVABLE, elf32, elf64, write

MIB = 1 << 20
GIB = 1 << 30
ANSWER = 42  # the status of every program here
TEXT = (1, 5, 0, 0x400000, 8 * MIB, 8 * MIB)
INTERPRETER = f"/tmp/hugexec-faults-interpreter-{os.geteuid()}"
HEADERS = (1, 5, 0, 0, 0x1000, 0x1000)  # of a program that can be moved
# Movable, offset and address out of step: 8 MiB of text behind its headers, and what else there may be.
OUT_OF_STEP = [HEADERS, (1, 5, 0x1000, 0x11000, 8 * MIB, 8 * MIB)]
AT_ODDS = [(1, 5, 0, 0x400000, 0x1000, 0x1000), (1, 5, 0x1000, 0x601000, 0x3fe000, 0x3fe000), (1, 5, 0x401000, 0xa00000, 2 * MIB, 2 * MIB)]


def many(count, flags, memory, gap, start=12 * MIB):
    """COUNT small segments behind the text of OUT_OF_STEP, GAP apart."""
    return [(1, flags, (number + 1) << 12, start + number * gap, 0x1000, memory) for number in range(count)]


# Code and data in turn, a page each, and then text enough; without a hole.
IN_PIECES = [(1, 5, 0, 0x400000, 0x1000, 0x1000),
             *((1, 5 if number % 2 else 4, number << 12, 0x400000 + (number << 12), 0x1000, 0x1000) for number in range(1, 80)),
             (1, 5, 80 << 12, 0x400000 + (80 << 12), 4 * MIB, 4 * MIB)]
TWO_GAPS = [(1, 5, 0, 0x400000, 4 * MIB, 4 * MIB), (1, 5, 4 * MIB, 0x900000, 4 * MIB, 4 * MIB)]

MADE = {  # by hand: content and size
    "made-32-bit": (elf32(8 * MIB, ANSWER), 8 * MIB),
    "made-5G": (elf64([(1, 5, 0, 0x400000, 5 * GIB, 5 * GIB)], status=ANSWER), 5 * GIB),
    "made-short": (elf64([TEXT], status=ANSWER), 5 * MIB),
    "made-writable": (elf64([(1, 7, 0, 0x400000, 8 * MIB, 8 * MIB)], status=ANSWER), 8 * MIB),
    "made-two": (elf64(TWO_GAPS, status=ANSWER), 8 * MIB),
    "made-adjoining": (elf64([(1, 5, 0, 0x400000, 0x280000, 0x280000), (1, 5, 0x281000, 0x680000, 4 * MIB, 4 * MIB)], status=ANSWER), 8 * MIB),
    "made-full": (elf64([TEXT], status=ANSWER) + b"\x90" * (5 * MIB - 200), 5 * MIB),
    "made-odds": (elf64(AT_ODDS, status=ANSWER), 7 * MIB),
    "made-interpreted": (elf64([(1, 5, 0, 0x30000000, 8 * MIB, 8 * MIB)], base=0x30000000, entry=0x10000000, interpreter=INTERPRETER), 8 * MIB),
    "made-40-segments": (elf64([*OUT_OF_STEP, *many(40, 4, 0x1000, 0x2000)], kind=MOVABLE, base=0, status=ANSWER), 12 * MIB),
    "made-40-mappings": (elf64([*OUT_OF_STEP, *many(20, 6, 0x3000, 0x4000)], kind=MOVABLE, base=0, status=ANSWER), 12 * MIB),
    "made-aligned": (elf64(OUT_OF_STEP, kind=MOVABLE, base=0, align=2 * MIB, status=ANSWER), 12 * MIB),
    "made-scattered": (elf64([(1, 5, 0, 0x400000, 2 * MIB, 2 * MIB), *((1, 5, number * 2 * MIB, 0x400000 + number * 4 * MIB, 2 * MIB, 2 * MIB)
                                                                      for number in range(1, 40))], status=ANSWER), 80 * MIB),
    "made-pieces": (elf64(IN_PIECES, status=ANSWER), 8 * MIB),
    "made\nline": (elf64([TEXT], status=ANSWER), 8 * MIB),
    "made-between": (elf64([(1, 5, 0, 0x400000, 0x1000, 0x1000), (1, 5, 0x1000, 0x601000, 3 * MIB, 3 * MIB)], status=ANSWER), 4 * MIB),
}
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# Somebody else has the first two slots of the text in small pages all the while.
WITH_OTHERS = [sys.executable, "-c", """if True:
    import mmap, os, sys
    path = sys.argv[1]
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    view = mmap.mmap(fd, 6 << 20, mmap.MAP_SHARED, mmap.PROT_READ)
    view.madvise(mmap.MADV_RANDOM)
    seen = [view[at] for at in range(0, 6 << 20, 4096)]
    pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""", "{folder}/probe-large"]
WITHOUT_THP = [sys.executable, "-c", "import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"]
# On a filesystem that has small folios only, and on one whose pages are always dirty, so that they are not read anew.
ON_JOURNAL = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
              'mount -o loop,data=journal "$1/image" "$1/mounted" && cp "$1/probe" "$1/mounted" && sync && shift && exec "$@"', "sh", "{folder}"]
# What nobody has read yet.
ON_COLD = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
           'mount -o loop "$1/image" "$1/mounted" && cp "$1/probe-large" "$1/mounted" && sync && '
           'dd if="$1/mounted/probe-large" iflag=nocache count=0 status=none && shift && exec "$@"', "sh", "{folder}"]
ON_TMPFS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount -t tmpfs -o huge=never none "$1/mounted" && cp "$1/probe" "$1/mounted" && shift && exec "$@"', "sh", "{folder}"]
LARGE_ON_TMPFS = [word.replace("$1/probe", "$1/probe-large") for word in ON_TMPFS]
# Root there, but none that may see which files are mapped.
IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
ON_RAMFS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount -t ramfs none "$1/mounted" && cp "$1/probe" "$1/mounted" && shift && exec "$@"', "sh", "{folder}"]

# Policy settings, backing, words before hugexec, program, how the reason begins.
PROVOKED = {
    "no slot of its file": ({}, "file", [], "made-odds", "no-huge-slot: no whole huge page of the file"),
    "its entry point is not mapped": ({}, "thp", [], "made-interpreted", "no-text: the program is no mapped file"),
    "more segments than are followed": ({}, "file", [], "made-40-segments", "rebase-refused: its program headers"),
    "more mappings than are moved": ({}, "file", [], "made-40-mappings", "rebase-refused: its mappings"),
    "a segment that asks for its place": ({}, "file", [], "made-aligned", "rebase-refused: a segment of it"),
    "text in many places": ({}, "thp", [], "made-scattered", "text-scattered"),
    "text in many pieces": ({"round_out": True}, "thp", [], "made-pieces", "text-scattered"),
    "a name of two lines": ({}, "thp", [], "made\nline", None),
    "a memory filesystem": ({}, "file", ON_TMPFS, "mounted/probe", None),
    "more text than is looked at": ({}, "file", [], "made-5G", "file-unsupported: more than"),
    "32 bits behind a script": ({"match": {}, "follow": "exec"}, "thp", [], "script-32", "not-native"),
    "the end of a file on huge pages": ({}, "file", [], "made-full", "file-unsupported: madvise"),
    "and of one of another user's": ({}, "file", NOBODY, "made-full", "file-unsupported: madvise"),
    "slots that somebody else uses": ({}, "file", WITH_OTHERS, "probe-large", "file-busy"),
    "a library that changes its file": ({"libraries": True}, "thp", IN_NAMESPACE, "probe-swaps", "no-huge-slot"),
    "a memory filesystem that is slow": ({"file_timeout": "2ms"}, "file", LARGE_ON_TMPFS, "mounted/probe-large", ("file-timeout", None)),
    "signals blocked on the way": ({"libraries": True}, "thp", [], "blocks-0", "no-huge-slot"),
    "signals blocked for the next program": ({"libraries": True, "follow": "exec"}, "thp", [], "blocks-1", "no-huge-slot"),
    "libraries that take too long": ({"libraries": True, "follow_timeout": 1}, "thp", [], "loads-slowly", "no-breakpoint"),
    "little text": ({"min_text": "1G"}, "thp", [], "probe", "text-small"),
    "much text": ({"max_text": "1M"}, "file", [], "probe", "text-large"),
    "no whole slot": ({}, "thp", [], "probe-small", "no-huge-slot"),
    "no whole slot of the file": ({}, "file", [], "probe-small", "no-huge-slot"),
    "no slot of one mapping": ({}, "file,thp", [], "made-between", "no-huge-slot"),
    "two texts": ({"round_out": True}, "thp", [], "made-two", None),
    "two texts in a slot": ({"round_out": True}, "thp", [], "made-adjoining", None),
    "code that is writable": ({}, "thp", [], "made-writable", "text-writable"),
    "text of 5 GiB": ({}, "thp", [], "made-5G", "text-large"),
    "a file that is too short": ({}, "file", [], "made-short", "file-unsupported"),
    "a file that is too short to copy": ({}, "thp", [], "made-short", "text-unreadable"),
    "32 bits": ({}, "thp", [], "made-32-bit", "not-native"),
    "not to be moved": ({"rebase": False}, "file", [], "probe", "file-misaligned"),
    "cannot be moved": ({}, "file", [], "probe-fixed", "file-misaligned"),
    "addresses that are not random": ({}, "file", ["setarch", "-R"], "probe", "rebase-refused"),
    "no address space": ({}, "thp", ["prlimit", f"--as={45 * MIB}"], "probe-large", "address-space-limit"),
    "no huge pages for this process": ({}, "file", WITHOUT_THP, "probe", "file-unsupported"),
    "no huge pages to collapse": ({}, "thp", WITHOUT_THP, "probe", "thp-refused: the process"),
    "a filesystem without": ({}, "file", ON_JOURNAL, "mounted/probe", "file-unsupported"),
    "a slow disk": ({"file_timeout": "1ms"}, "file", ON_COLD, "mounted/probe-large", "file-timeout"),
    **{f"a disk that has {ms} ms": ({"file_timeout": f"{ms}ms"}, "file", ON_COLD, "mounted/probe-large", ("file-timeout", None))
       for ms in (3, 6, 9, 12, 16, 22, 30, 40)},
    "pages that are always dirty": ({}, "file", ON_RAMFS, "mounted/probe", "file-busy"),
    "empty pool": ({}, "hugetlb", [], "probe", "hugetlb-pool"),
    "no such pool": ({"page_size": "1G"}, "hugetlb", [], "probe", "no-huge-slot"),
    "a pool that is kept": ({"keep_free": 1000}, "hugetlb", [], "probe", "hugetlb-reserved"),
    "a pool of which all is kept": ({"keep_free": "100%"}, "hugetlb", [], "probe", "hugetlb-reserved"),
    "no huge pages for the cgroup": ({}, "hugetlb", "unified", "probe", "hugetlb-limit"),
    "little memory for the cgroup": ({}, "thp", "memory", "probe-large", "memory-limit"),
}
NEEDS_POOL = {"empty pool": 0, "a pool that is kept": 16, "a pool of which all is kept": 16, "no huge pages for the cgroup": 16}
CGROUPS = {"unified": ("hugetlb.2MB.max", "0"), "memory": ("memory.limit_in_bytes", str(16 * MIB))}


@contextlib.contextmanager
def cgroup(hierarchy):
    """Words that run a command in a cgroup of its own with the limit from CGROUPS; None where that cannot be had here."""
    root = pathlib.Path("/sys/fs/cgroup") / hierarchy
    name, value = CGROUPS[hierarchy]
    switch, controller = root / "cgroup.subtree_control", name.split(".", maxsplit=1)[0]
    was_on = not switch.exists() or controller in switch.read_text().split()
    group = root / f"hugexec-faults-{os.getpid()}"
    try:
        if not was_on:
            switch.write_text(f"+{controller}")
        group.mkdir()
        (group / name).write_text(value)
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    except OSError:
        yield None
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()
        if not was_on:
            with contextlib.suppress(OSError):
                switch.write_text(f"-{controller}")


# Has another file be where its library was when that is loaded.
SWAPS = """
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((constructor)) static void swap(void)
{
	struct stat st;
	char other[64];
	int from = open("swaps/libswaps.so", O_RDONLY);
	fstat(from, &st);
	snprintf(other, sizeof other, "swaps/%d", (int)getpid());
	int to = open(other, O_WRONLY | O_CREAT, 0755);
	sendfile(to, from, NULL, st.st_size);
	close(from);
	close(to);
	mount(other, "swaps/libswaps.so", NULL, MS_BIND, NULL);
	unlink(other);
}
"""
# Its library (tests/programs/blocking.c) has blocked all signals when it comes to its entry point.
BLOCKS = """
#include <signal.h>
#include <unistd.h>
extern sigset_t before;
int main(int argc, char **argv)
{
	if (WAY == 1 && argc == 1)
		return execl("/proc/self/exe", "again", "unblock", (char *)0);
	return sigprocmask(SIG_SETMASK, &before, 0) == 0 ? 42 : 1;
}
"""
# Takes its time before its entry point.
SLOW = "#include <unistd.h>\n__attribute__((constructor)) static void slow(void) { usleep(1500000); }\n"
# Has all of its address space in use.
FILLS = """
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void)
{
	for (unsigned long bytes = 1UL << 46; bytes >= 1UL << 16; bytes >>= 1)
		while (mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED)
			;
	puts("ready");
	fflush(stdout);
	read(0, &(char){0}, 1);
	return 42;
}
"""


def prepare(folder):
    for name, (content, size) in MADE.items():
        write(folder / name, content, size)
    write(pathlib.Path(INTERPRETER), elf64([(1, 5, 0, 0x400000, 0x1000, 0x1000)], status=ANSWER), 0x1000)
    (folder / "script-32").write_text(f"#!/bin/sh\nexec {folder}/made-32-bit\n")
    (folder / "script-32").chmod(0o755)
    (folder / "swaps").mkdir()
    (folder / "swaps.c").write_text(SWAPS.replace("swaps/", f"{folder}/swaps/"))
    (folder / "fills.c").write_text(FILLS)
    (folder / "blocks.c").write_text(BLOCKS)
    (folder / "slow.c").write_text(SLOW)
    (folder / "slowly.c").write_text("int main(void) { return 42; }\n")
    (folder / "fills.s").write_text(bigtext.assembly(4))
    for words in (["-shared", "-fPIC", "-o", "swaps/libswaps.so", "swaps.c", "text.s"],
                  ["-o", "probe-swaps", ROOT / "tests/programs/probe.c", "-DPROBE_WITHOUT_PIDS", "-Wl,--no-as-needed", "-Lswaps", "-lswaps",
                   f"-Wl,-rpath,{folder}/swaps"],
                  ["-o", "fills", "fills.c", "fills.s"], ["-shared", "-fPIC", "-o", "libblocking.so", ROOT / "tests/programs/blocking.c"],
                  *(["-o", f"blocks-{launch}", f"-DWAY={launch}", "blocks.c", "-L.", "-lblocking", f"-Wl,-rpath,{folder}"] for launch in range(2)),
                  ["-shared", "-fPIC", "-o", "libslow.so", "slow.c"],
                  ["-o", "loads-slowly", "slowly.c", "-Wl,--no-as-needed", "-L.", "-lslow", f"-Wl,-rpath,{folder}"]):
        subprocess.run(["cc", "-O1", "-w", *words], cwd=folder, check=True)
    for path in (folder / "swaps", folder / "swaps" / "libswaps.so"):
        path.chmod(0o777)
    os.sync()
    (folder / "mounted").mkdir()
    with open(folder / "image", "wb") as image:
        image.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", folder / "image"], check=True)


def without_order(text):
    """The probe's output where a large library comes to stand above or below the others, and joins their bss or not, by chance."""
    anonymous = re.compile(r"map: (\w+) rw-p 0 00 \n")
    bss_bytes = sum(int(size, 16) for size in anonymous.findall(text))
    return f"{''.join(sorted(anonymous.sub('', text).splitlines(True)))}bss: {bss_bytes:x}\n"


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                          env={"PATH": os.environ["PATH"], "MARK": "provoked-reasons"}, cwd="/")
    text = LaunchMode.without_numbers(done.stdout.decode(errors="replace"))
    return done.returncode, without_order(text) if "probe-swaps" in str(command[-1]) else text


def can_run(words):
    """Whether this machine lets us have what WORDS set up for a command: mounts, loop devices, limits."""
    return shutil.which(words[0]) and subprocess.run([*words, "/bin/true"], capture_output=True, timeout=60, check=False).returncode == 0


def runs_32_bits(folder):
    """Kernels can be built, or booted, to refuse these programs."""
    try:
        return subprocess.run([folder / "made-32-bit"], check=False).returncode == ANSWER
    except OSError:
        return False


def one(name, before, folder, build):
    """What is wrong: "" where nothing is."""
    settings, backing, _, program, reason = PROVOKED[name]
    policy, report, path = folder / "provoked.json", folder / "provoked.report", folder / program
    policy.write_text(json.dumps({"version": 1, "rules": [{"match": {"exe": str(path)}, "min_text": 0, "follow": "none", **PATIENT, **settings}]}))
    policy.chmod(0o644)
    report.write_text("")
    report.chmod(0o666)
    plain = run([*before, path])
    ours = run([*before, build / "shim" / "hugexec", f"--policy={policy}", f"--backing={backing}", f"--report={report}", "--", path])
    told = json.loads((report.read_text().splitlines() or ["{}"])[-1])
    found = told.get("reason")
    reasons = reason if isinstance(reason, tuple) else (reason,)
    if plain[0] != ANSWER or ours != plain:
        lines = [text.splitlines() for _, text in (plain, ours)]
        return f"status {plain[0]} plain, {ours[0]}; " + "\n    ".join(
            [f"plain: {line}" for line in lines[0] if line not in lines[1]] + [f"ours: {line}" for line in lines[1] if line not in lines[0]])
    if not any(found.startswith(each) if found and each else found == each for each in reasons):
        return f"reason {found}, outcome {told.get('outcome')}"
    return ""


def attach(folder, build):
    """To a process that has no room for a copy. What is wrong: "" where nothing is."""
    process = subprocess.Popen([folder / "fills"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        done = subprocess.run([build / "shim" / "hugexecctl", "attach", "--json", "--backing=thp", str(process.pid)], capture_output=True, timeout=60,
                              check=False)
        process.communicate(b"\n", timeout=60)
    finally:
        process.kill()
        process.wait(10)
    told = json.loads(done.stdout)
    as_expected = process.returncode == ANSWER and told["reason"].startswith("address-space-limit: no free address range")
    return "" if as_expected else f"status {process.returncode}, {told['reason']}"


# What busy.c does while somebody attaches, again and again; and how the reason may begin then (None: remapped).
AT_WORK = {"dispatch": ("syscall-dispatch",), "add": (None, "already-huge"),
           "again 400": (None, "already-huge", "tracee-gone", "no-proc", "ptrace-refused", "text-changed", "no-text", "image")}


def attach_at_work(folder, build):
    """To programs that dispatch system calls themselves, are in restartable sequences, and whose threads execute programs."""
    subprocess.run(["cc", "-O1", "-w", "-D_GNU_SOURCE", "-pthread", "-o", folder / "busy", ROOT / "tests/programs/busy.c", folder / "much-text.s"],
                   check=True)
    for work, reasons in AT_WORK.items():
        process = subprocess.Popen([folder / "busy", *work.split()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            while process.stdout.readline() not in ("ready\n", ""):
                pass
            time.sleep(0.1)
            for _ in range(200 if work.startswith("again") else 20):
                done = subprocess.run([build / "shim" / "hugexecctl", "attach", "--json", "--backing=thp", str(process.pid)], capture_output=True,
                                      timeout=60, check=False)
                if process.poll() is not None:
                    break
                found = json.loads(done.stdout)["reason"]
                if not any(found.startswith(each) if found and each else found == each for each in reasons):
                    return f"{work}: {found}"
            process.send_signal(0 if work.startswith("again") else signal.SIGTERM)
            said = process.communicate(timeout=60)[0].splitlines()
        finally:
            process.kill()
            process.wait(10)
        if process.returncode != 0 or not said[-1].startswith("ok"):
            return f"{work}: status {process.returncode}, {said[-1:]}"
    return ""


def attach_overtaken(folder, build):
    """Another thread executes a program while the main thread is borrowed. Where the build can be held at a step."""
    if subprocess.run([build / "shim" / "hugexec", "--list-steps"], capture_output=True, check=False).returncode != 0:
        return ""
    for step in ("allocated-inside", "populated"):
        process = subprocess.Popen([folder / "busy", "becomes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        tool = None
        try:
            while process.stdout.readline() not in ("ready\n", ""):
                pass
            tool = subprocess.Popen([build / "shim" / "hugexecctl", "attach", "--json", "--backing=thp", str(process.pid)], stdout=subprocess.PIPE,
                                    env={**os.environ, "HUGEXEC_FAULT": f"stop:{step}"})
            children = pathlib.Path(f"/proc/{tool.pid}/task/{tool.pid}/children")
            stopped = None
            for _ in range(200):
                for pid in (str(tool.pid), *children.read_text().split()):
                    if "\nState:\tT" in pathlib.Path(f"/proc/{pid}/status").read_text():
                        stopped = int(pid)
                if stopped:
                    break
                time.sleep(0.05)
            process.stdin.write("x")
            process.stdin.flush()
            process.stdout.readline()
            os.kill(stopped, signal.SIGCONT)
            told = json.loads(tool.communicate(timeout=60)[0])["reason"]
            said = process.communicate(timeout=60)[0]
        finally:
            for each in filter(None, (process, tool)):
                each.kill()
                each.wait(10)
        if process.returncode != 0 or not told.startswith("tracee-gone") or not said.endswith("in time\n"):
            return f"{step}: status {process.returncode}, {told}"
    return ""


def explain(folder, build):
    """Programs whose headers are in no order, or that cannot be moved. What is wrong: "" where nothing is."""
    for program in ("made-40-segments", "made-pieces", "made-odds", "probe-fixed"):
        done = subprocess.run([build / "shim" / "hugexecctl", "explain", folder / program], capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            return f"{program}: status {done.returncode}: {done.stderr}"
    return ""


def run_all(folder, build, pool):
    """Returns how many did not come out as they should; prints a line for each of these, and for those that
    this machine cannot bring about."""
    prepare(folder)
    wrong = 0
    for name, (_, _, before, _, _) in PROVOKED.items():
        with contextlib.ExitStack() as stack:
            words = stack.enter_context(cgroup(before)) if isinstance(before, str) else before
            if name in NEEDS_POOL:
                stack.enter_context(pool(NEEDS_POOL[name]))
            words = words and [word.format(folder=folder) if "{folder}" in word else word for word in words]
            if words is None or (words and not can_run(words)) or ("32 bits" in name and not runs_32_bits(folder)):
                print(f"passed over: provoked reason, {name}: cannot be had here")
                continue
            problem = one(name, words, folder, build)
        if problem:
            print(f"DIFFERENT provoked reason, {name}: {problem}")
            wrong += 1
    for name, provoke in {"no room for a copy": attach, "attach to what is at work": attach_at_work,
                          "attach is overtaken": attach_overtaken, "programs that are explained": explain}.items():
        problem = provoke(folder, build)
        if problem:
            print(f"DIFFERENT provoked reason, {name}: {problem}")
            wrong += 1
    pathlib.Path(INTERPRETER).unlink()
    print(f"provoked reasons: {len(PROVOKED) + 4}, {wrong} come out in another way than they should", flush=True)
    return wrong
