# SPDX-License-Identifier: Apache-2.0
"""
What a program's text is replaced by is the file that the kernel executed or ld.so mapped, whatever names lead to by then.

The program tells a checksum of the text of each large object that it has mapped, read from its own memory.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import zlib

import pytest

from lib.helper_daemon import asking
from lib.policies import policy_with
from lib.process import Process, marked, run, status_of, wait_for
from lib.report import read_report
from programs import bigtext as bigtext_generator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="changing roots and mounts takes root")

SOURCE = r"""
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
extern unsigned long bigtext_walk(unsigned long);
static unsigned table[256];
static unsigned crc(const unsigned char *at, unsigned long bytes)
{
	unsigned sum = ~0U;
	for (; bytes > 0; bytes--)
		sum = table[(sum ^ *at++) & 255] ^ sum >> 8;
	return ~sum;
}
static int look(struct dl_phdr_info *info, size_t size, void *context)
{
	const char *name = strrchr(info->dlpi_name, '/');
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *phdr = &info->dlpi_phdr[i];
		if (phdr->p_type == PT_LOAD && (phdr->p_flags & PF_X) && phdr->p_filesz > 4 << 20)
			printf("%s %08x\n", name ? name + 1 : "program", crc((void *)(info->dlpi_addr + phdr->p_vaddr), phdr->p_filesz));
	}
	return 0;
}
int main(void)
{
	for (unsigned i = 0; i < 256; i++) {
		unsigned value = i;
		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0xedb88320U : value >> 1;
		table[i] = value;
	}
	printf("this is %s, %lx\n", NAME, bigtext_walk(1));
	dl_iterate_phdr(look, NULL);
	return 7;
}
"""
LIBRARY = "extern unsigned long bigtext_walk(unsigned long);\nunsigned long library_walk(void) { return bigtext_walk(2); }\n"


def text_checksum(path):
    """Of the large executable segment of the ELF file at PATH, read from the file."""
    data = pathlib.Path(path).read_bytes()
    phoff, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    for number in range(count):
        kind, flags, offset, _, _, size = struct.unpack_from("<IIQQQQ", data, phoff + 56 * number)
        if kind == 1 and flags & 1 and size > 4 << 20:
            return f"{zlib.crc32(data[offset:offset + size]):08x}"
    raise AssertionError(f"{path} has no large text")


def libraries_of(program):
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", run(["ldd", program]).stdout, re.M)


@pytest.fixture(scope="module", name="built")
def built_fixture(tmp_path_factory):
    """Programs A and B, and a library of theirs in two builds: from one source each, so that all but some bytes agree."""
    folder = tmp_path_factory.mktemp("right-file")
    (folder / "main.c").write_text(SOURCE)
    (folder / "library.c").write_text(LIBRARY)
    assembly = bigtext_generator.assembly(8)
    for name, factor in (("a", "2654435761"), ("b", "2654435769")):
        (folder / f"{name}.s").write_text(assembly.replace("2654435761", factor))
        run(["cc", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-o", folder / f"lib-{name}.so", folder / "library.c", folder / f"{name}.s"], check=True)
        run(["cc", "-w", "-D_GNU_SOURCE", "-O1", "-fPIE", "-pie", f'-DNAME="{name.upper()}"', "-o", folder / name, folder / "main.c",
             folder / f"{name}.s"], check=True)
    # glibc places it itself, so that it does not come in place without a stop at the entry point, where all are looked at.
    run(["cc", "-shared", "-fPIC", "-Wl,-Bsymbolic", "-Wl,-z,max-page-size=0x8000", "-o", folder / "stops.so", folder / "a.s"], check=True)
    os.sync()
    return folder


@pytest.fixture(scope="module", name="steps")
def steps_fixture(hugexec):
    listed = run([hugexec, "--list-steps"])
    if listed.returncode != 0:
        pytest.skip("built without -Dfaults=true; the sanitizer build has it")
    return listed.stdout.split()


@pytest.fixture(name="root")
def root_fixture(tmp_path, built):
    """A root folder with both programs, what they load, and no procfs."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    for name in ("a", "b"):
        shutil.copy(built / name, root / "bin")
    for library in libraries_of(built / "a"):
        target = root / library[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    os.sync()
    return root


def told_by(built, name, *libraries):
    """What the program must tell of itself."""
    first = run([built / name]).stdout.splitlines()[0]
    return "\n".join([first, f"program {text_checksum(built / name)}",
                      *(f"lib.so {text_checksum(built / library)}" for library in libraries)]) + "\n"


def link(path, _):
    path.symlink_to("/bin/b")


def fifo(path, _):
    os.mkfifo(path)


def folder(path, _):
    path.mkdir()


def file(path, root):
    shutil.copy(root / "bin" / "b", path)


def nothing(_path, _root):
    pass


def full_device(path, _):
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 7))


@pytest.mark.parametrize("what", [link, fifo, folder, file, nothing, full_device])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_proc_that_is_no_procfs(hugexec_run, built, root, backing, what):
    """Sandboxes have a folder with a link in the place of /proc."""
    (root / "proc/self").mkdir(parents=True)
    what(root / "proc/self/exe", root)
    done, report = hugexec_run(["chroot", root, "/bin/a"], policy_with(min_text="4M", file_timeout="60s"), backing)
    assert (done.stdout, done.returncode) == (told_by(built, "a"), 7), done
    line = report[-1]
    assert line["outcome"] == "remapped" and line["backing"] == backing and line["rebased"] is (backing == "file"), line
    assert line["reason"] is None, line


@pytest.mark.parametrize("refused", ["socketpair", "recvmsg", "sendmsg", "pidfd_getfd"])
def test_file_that_cannot_be_passed_on(hugexec_command, built, refused):
    """Then the program's own mappings are moved: it has no other file either."""
    seccomp = pytest.importorskip("seccomp")

    def filter_call():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), refused)
        rules.load()

    words, report = hugexec_command([built / "a"], backing="file")
    done = run(words, preexec_fn=filter_call)
    assert (done.stdout, done.returncode) == (told_by(built, "a"), 7), done
    line, = read_report(report)
    assert line["outcome"] == "remapped" and line["rebased"] is True and line["reason"] is None, line


@pytest.mark.usefixtures("public_folder")
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_file_that_root_may_not_read(hugexec_command, built, tmp_path, backing):
    """As on a user's FUSE mount: executed as plain, and the reason is about the file, not about /proc."""
    program = tmp_path / "executable"
    shutil.copy(built / "a", program)
    os.chown(program, 65534, 65534)
    program.chmod(0o711)
    words, report = hugexec_command([program], backing=backing)
    done = run(["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *words])
    assert (done.stdout, done.returncode) == (told_by(built, "a"), 7), done
    assert [line["reason"] for line in read_report(report)] == [f"text-unreadable: {program}: Permission denied"]


def test_moved_and_then_blind(steps, hugexec_command, built, mark):
    """A tracer that loses its /proc after the move plans with no address that the program has left, and tells that it was moved."""
    assert "rebase-fixed" in steps
    # A report file is opened by way of /proc as well, so it tells on standard error.
    words, _ = hugexec_command([built / "a"], backing="file,thp", options=["--report=-"])
    with Process(["unshare", "--mount", "--propagation", "private", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                 env={**os.environ, "MARK": mark, "HUGEXEC_FAULT": "stop:rebase-fixed"}) as process:
        tracer = None

        def stands():
            nonlocal tracer
            stopped = [pid for pid in marked(mark) if status_of(pid)["Name"] == "hugexec-tracer" and status_of(pid)["State"][0] == "T"]
            tracer = stopped[0] if stopped else None
            return tracer

        wait_for(stands, process=process)
        assert run(["nsenter", "--mount", "-t", str(tracer), "mount", "-t", "tmpfs", "none", "/proc"]).returncode == 0
        os.kill(tracer, signal.SIGCONT)
        told, report = process.communicate(timeout=60)
        assert (told, process.returncode) == (told_by(built, "a"), 7)
    line, = map(json.loads, report.splitlines())
    assert line["rebased"] is True and line["outcome"] == "failed" and line["reason"].startswith("no-proc"), line


def test_moved_and_not_populated(start_daemon, hugexec_command, built):
    """What fails after the move leaves a program that was moved, and the report says so."""
    seccomp = pytest.importorskip("seccomp")

    def filter_calls():
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        rules.add_rule(seccomp.ERRNO(1), "ptrace")
        rules.add_rule(seccomp.ERRNO(12), "madvise", seccomp.Arg(2, seccomp.EQ, 22))  # MADV_POPULATE_READ
        rules.load()

    daemon = start_daemon(prefix=["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"])
    words, report = hugexec_command([built / "a"], backing="file")
    done = run(words, env=asking(daemon.path), preexec_fn=filter_calls)
    assert (done.stdout, done.returncode) == (told_by(built, "a"), 7), done
    line, = read_report(report)
    assert line["rebased"] is True and "MADV_POPULATE_READ" in line["reason"], line
    # The report's range is where it is.
    assert 0x200000000000 <= int(line["objects"][0]["start"], 16) < 0x500000000000, line


# Unmaps its program, and has another file stand for that: one that is mounted where what it has mapped as text has come from.
DISGUISE = r"""
#include <fcntl.h>
#include <linux/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>
#define BYTES (6UL << 20)
static unsigned long fields[53];
static void read_stat(void)
{
	char text[4096] = "", *at;
	int fd = open("/proc/self/stat", O_RDONLY);
	if (read(fd, text, sizeof text - 1) < 0)
		_exit(90);
	at = strrchr(text, ')') + 4;
	for (int i = 4; i < 53; i++)
		fields[i] = strtoul(at, &at, 10);
}
static void unmap_program(void)
{
	char exe[4096] = "", line[8192];
	if (readlink("/proc/self/exe", exe, sizeof exe - 1) < 0)
		_exit(91);
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, list[64][2], count = 0;
	while (fgets(line, sizeof line, maps))
		if (strstr(line, exe) && sscanf(line, "%lx-%lx", &start, &end) == 2)
			list[count][0] = start, list[count++][1] = end;
	while (count--)
		munmap((void *)list[count][0], list[count][1] - list[count][0]);
}
__attribute__((constructor)) static void disguise(void)
{
	const char *path = getenv("DISGUISED"), *command = getenv("COMMAND");
	int fd = open(path, O_RDONLY);
	char *was = malloc(BYTES), *text = mmap(NULL, BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	memcpy(was, text, BYTES);
	unsetenv("LD_PRELOAD"); /* or it would be done again by the shell, and so on */
	if (system(command) != 0)
		_exit(97);
	read_stat();
	unmap_program();
	struct prctl_mm_map map = {fields[26], fields[27], fields[45], fields[46], fields[47], (unsigned long)sbrk(0), fields[28], fields[48],
		fields[49], fields[50], fields[51], NULL, 0, open(path, O_RDONLY)};
	if (prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0) < 0)
		_exit(98);
	puts("ready");
	fflush(stdout);
	getchar();
	puts(memcmp(text, was, BYTES) ? "changed" : "kept");
	fflush(stdout);
	_exit(7);
}
"""


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_process_that_changes_what_its_program_is(hugexecctl, write_policy, built, tmp_path, backing):
    """/proc/PID/exe leads where the process says (PR_SET_MM_EXE_FILE), and its name to what is mounted there."""
    (tmp_path / "disguise.c").write_text(DISGUISE)
    (tmp_path / "main.c").write_text("int main(void) { return 0; }\n")
    library, program, place = tmp_path / "disguise.so", tmp_path / "main", tmp_path / "a"
    run(["cc", "-w", "-D_GNU_SOURCE", "-shared", "-fPIC", "-Wl,-z,now", "-o", library, tmp_path / "disguise.c"], check=True)
    run(["cc", "-o", program, tmp_path / "main.c"], check=True)
    shutil.copy(built / "a", place)
    os.sync()
    environment = {**os.environ, "LD_PRELOAD": str(library), "DISGUISED": str(place),
                   "COMMAND": f"mount --bind {built / 'b'} {place}"}
    with Process(["unshare", "--mount", "--propagation", "private", "env", *(f"{name}={environment[name]}" for name in ("LD_PRELOAD", "DISGUISED", "COMMAND")),
                  program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "ready\n":
            assert process.wait(60) == 98
            pytest.skip("this kernel does not let it")
        assert os.path.samefile(f"/proc/{process.pid}/exe", built / "b")
        policy = write_policy(policy_with(match={}, backing=[backing]))
        done = run([hugexecctl, "attach", f"--policy={policy}", "--json", str(process.pid)])
        assert process.communicate("\n", timeout=60)[0] == "kept\n" and process.returncode == 7
    line = json.loads(done.stdout)
    assert line["huge_bytes"] == 0 and line["reason"].startswith("no-text"), line


# What somebody does to the names by which the program and its library are known, while the launch stands at a step.
SWAPS = {
    "renamed over": 'cp "$PLACE/b" "$PLACE/new" && mv "$PLACE/new" "$PLACE/a" && cp "$PLACE/lib-b.so" "$PLACE/new" && mv "$PLACE/new" "$PLACE/lib.so"',
    "mounted over": 'mount --bind "$PLACE/b" "$PLACE/a" && mount --bind "$PLACE/lib-b.so" "$PLACE/lib.so"',
    "links": 'rm "$PLACE/a" "$PLACE/lib.so" && ln -s b "$PLACE/a" && ln -s lib-b.so "$PLACE/lib.so"',
    "folder mounted over": 'mount -t tmpfs none "$PLACE/over" && cp "$PLACE/b" "$PLACE/over/a" && cp "$PLACE/lib-b.so" "$PLACE/over/lib.so" && '
                           'mount --move "$PLACE/over" "$PLACE"',
    "proc": 'mount -t tmpfs none /proc && mkdir -p /proc/self "/proc/$PID" && ln -s "$PLACE/b" /proc/self/exe && ln -s "$PLACE/b" "/proc/$PID/exe"',
}


def has_mapped(pid, about):
    """Whether process PID has the file with this stat mapped."""
    return any(line.split()[4] == str(about.st_ino) for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines())


def swapped_at(step, words, swap, mark, environment, about):
    """
    Run WORDS to the end, and SWAP in its mount namespace when the tracer has come to STEP and the process has the file with
    the stat ABOUT mapped. Returns what it came to, and whether there was a swap.
    """
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                      env={**os.environ, **environment, "MARK": mark, "HUGEXEC_FAULT": f"stop:{step}"})
    swapped = False

    def has_ended():
        nonlocal swapped
        if process.poll() is not None:
            return True
        for tracer in marked(mark):
            if status_of(tracer)["Name"] != "hugexec-tracer" or status_of(tracer)["State"][0] != "T":
                continue
            if not swapped and has_mapped(process.pid, about):
                done = run(["nsenter", "--mount", "-t", str(process.pid), "sh", "-c", swap], env={**os.environ, **environment, "PID": str(process.pid)})
                assert done.returncode == 0, (step, done.stderr)
                swapped = True
            os.kill(tracer, signal.SIGCONT)
        return False

    wait_for(has_ended)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(words, process.returncode, out, err), swapped


# What is done about a program that was executed, whatever becomes of its text.
PROGRAM_STEPS = {"exec-stop", "exec-finished", "decided", "borrowed", "returned", "verified", "entry-mapped", "entry-set", "library-stop", "reported"}
STEPS = {
    ("program", "file"): {*PROGRAM_STEPS, "file-prepared", "libraries-prepared", "pass-opened", "pass-received", "rebase-passed", "rebase-moved",
                          "rebase-fixed", "map-hinted"} - {"returned"},
    ("program", "thp"): {*PROGRAM_STEPS, "memfd-created", "memfd-fetched", "aside", "aside-returned", "fd-closed", "allocated", "filled", "sealed",
                         "populated", "switching", "switched"},
    ("library", "thp"): {"library-stop", "borrowed", "returned", "memfd-created", "memfd-fetched", "aside", "aside-returned", "fd-closed", "allocated",
                         "filled", "sealed", "populated", "switching", "switched", "reported"},
}
# Steps at which there is no name to be swapped: the program is not executed yet, or has its text already; those of other doors
# (hugexecd, the hook, attach), of a cgroup that is to pay, and of a process that runs with what it has. What a copy for all processes is
# taken for, test_shared_text attacks.
NO_NAMES = {"tracer-started", "seized", "handoff-borrowed", "handoff-entry", "handoff-set", "handoff-free", "handoff-stub", "allocated-inside", "widened", "fill-helper",
            "helper-accepted", "helper-received", "helper-seized", "helper-answered", "hook-seized", "attached", "frozen", "frozen-call", "awaiting", "awaited",
            "shared-prepared", "shared-opened", "shared-mapped"}


def test_each_step_is_one_of_these(steps):
    """A step that is new has to be attacked, too."""
    assert set(steps) == NO_NAMES.union(*STEPS.values())


@pytest.mark.parametrize("mapped, backing", STEPS)
@pytest.mark.parametrize("swap", SWAPS)
def test_names_are_swapped(steps, hugexec_command, built, tmp_path, mark, mapped, backing, swap):
    """At each step after the program, or its library, is MAPPED: the text that runs never differs from that file's."""
    place = tmp_path / "place"
    expected = told_by(built, "a", "lib-a.so")
    policy = policy_with(libraries=True, follow="exec", match={"exe": "/**/a*"})
    reached, missed = set(), {}
    # Once more if a busy machine left the text where it was.
    for step in [step for step in sorted(STEPS[mapped, backing].intersection(steps)) for _ in range(3)]:
        if step in reached:
            continue
        shutil.rmtree(place, ignore_errors=True)
        (place / "over").mkdir(parents=True)
        for name in ("a", "b", "lib-b.so"):
            os.link(built / name, place / name)
        os.link(built / "lib-a.so", place / "lib.so")
        about = os.stat(place / ("a" if mapped == "program" else "lib.so"))
        words, report = hugexec_command(["unshare", "--mount", "--propagation", "private", "env",
                                         f"LD_PRELOAD={place}/lib.so:{built}/stops.so", f"{place}/a"], policy, backing)
        done, swapped = swapped_at(step, words, SWAPS[swap], mark, {"PLACE": str(place)}, about)
        if swapped:
            reached.add(step)
        else:
            missed[step] = read_report(report)
        told = "".join(line for line in done.stdout.splitlines(True) if not line.startswith("stops.so "))
        if mapped == "program":  # ld.so has opened its library later, and by its name
            told = told.replace(text_checksum(built / "lib-b.so"), text_checksum(built / "lib-a.so"))
        assert (told, done.returncode) == (expected, 7), (step, done, read_report(report))
    assert reached == STEPS[mapped, backing], missed
