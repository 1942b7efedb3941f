"""What a wrapper may do on the way from hugexec's exec to that of the program."""
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import HUGE, Process, policy_with, read_report
from test_fail_open import cgroup, seccomp_filter

# Executes a program by a system call of the 32-bit table, which a 64-bit program can make, too.
CALL_OF_32_BIT = r"""
	.globl _start
_start:	mov $11, %eax
	mov $path, %ebx
	mov $argv, %ecx
	xor %edx, %edx
	int $0x80
	mov $60, %eax
	mov $99, %edi
	syscall
	.data
path:	.asciz "PROGRAM"
argv:	.quad path, 0
"""

# The kernel lets nobody without privileges read its memory, a tracer neither.
UNREADABLE = r"""
#include <sys/prctl.h>
#include <unistd.h>
int main(void) { prctl(PR_SET_DUMPABLE, 0); execl("PROGRAM", "PROGRAM", (char *)0); return 99; }
"""

IDS = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d %d\\n", getuid(), geteuid()); return 9; }\n'


def compiled(folder, name, text, *flags):
    """The program NAME in FOLDER, from a source text (assembly where it has a _start)."""
    source = folder / f"{name}{'.s' if '_start' in text else '.c'}"
    source.write_text(text)
    subprocess.run(["cc", "-w", "-o", folder / name, source, *flags], check=True)
    return folder / name


@pytest.fixture
def set_uid(public_folder):
    """A program that is set-uid root and prints its user's numbers."""
    program = compiled(public_folder, "ids", IDS, "-static")
    program.chmod(0o4755)
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        pytest.skip("the test folder's filesystem is mounted nosuid")
    return program


def wrapper_of(way, folder, program):
    """Words of a command that executes PROGRAM."""
    if way == "call of the 32-bit table":
        return [compiled(folder, "wrapper", CALL_OF_32_BIT.replace("PROGRAM", str(program)), "-nostdlib", "-static", "-no-pie")]
    if way == "unreadable":
        return [compiled(folder, "wrapper", UNREADABLE.replace("PROGRAM", str(program)))]
    return ["/bin/sh", "-c", f"exec {'/' * 3000}{program}"]


@pytest.mark.parametrize("way", ["call of the 32-bit table", "long path", "unreadable"])
def test_privileged_program_by(hugexec_command, nobody, public_folder, set_uid, way):
    """A user's wrapper executes a set-uid program, which has its privileges; the report says why it was left alone."""
    command = ["/bin/sh", "-c", 'exec "$@"', "sh", *map(str, wrapper_of(way, public_folder, set_uid))]
    plain = subprocess.run([*nobody, *command], capture_output=True, text=True, check=False)
    if plain.returncode == 99 or plain.returncode < 0:
        pytest.skip("this kernel makes no calls of the 32-bit table")
    assert (plain.stdout, plain.returncode) == ("65534 0\n", 9)
    words, report = hugexec_command(command, policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    ours = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 9)
    lines = read_report(report)
    assert [line["reason"].split(":")[0] for line in lines] == ["privileged-program"]
    assert os.path.realpath(lines[0]["exe"]) == str(public_folder / "wrapper" if way == "unreadable" else set_uid)


# Opens PROGRAM and executes it by a name that means another file to everybody else.
BY_OWN_NAME = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>
int main(void)
{
	int fd = open("PROGRAM", O_PATH);
	dup2(fd, 9);
	chdir("FOLDER");
	execl("NAME", "name", (char *)NULL);
	return 98;
}
"""


@pytest.mark.parametrize("name", ["/proc/self/fd/9", "/proc/thread-self/fd/9", "/dev/fd/9", "/proc/self/cwd/program", "FOLDER/link", "FOLDER/self/cwd/program",
                                  "link", "/proc/self/root/FOLDER/program", "program", "../FOLDERS-NAME/program", "FOLDER/absolute"])
def test_privileged_program_by_its_own_name(hugexec_command, nobody, public_folder, set_uid, name):
    """Names that lead through /proc/self lead a tracer elsewhere."""
    folder = public_folder / "names"
    folder.mkdir()
    set_uid.rename(folder / "program")
    (folder / "link").symlink_to("/proc/self/fd/9")
    (folder / "self").symlink_to("/proc/self")
    (folder / "absolute").symlink_to(folder / "program")
    name = name.replace("FOLDERS-NAME", folder.name).replace("FOLDER", str(folder))
    source = BY_OWN_NAME.replace("PROGRAM", str(folder / "program")).replace("NAME", name).replace("FOLDER", str(folder))
    wrapper = compiled(public_folder, "wrapper", source)
    plain = subprocess.run([*nobody, wrapper], capture_output=True, text=True, check=False)
    assert (plain.stdout, plain.returncode) == ("65534 0\n", 9)
    words, report = hugexec_command([wrapper], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    ours = subprocess.run([*nobody, *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 9)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["privileged-program"]


@pytest.mark.parametrize("name", ["/proc/self/fd/9", "FOLDER/absolute", "program"])
def test_program_by_its_own_name(hugexec_command, bigtext, nobody, public_folder, name):
    """And one without privileges, where it can be told."""
    folder = public_folder / "names"
    folder.mkdir()
    shutil.copy(bigtext(4), folder / "program")
    (folder / "absolute").symlink_to(folder / "program")
    name = name.replace("FOLDER", str(folder))
    source = BY_OWN_NAME.replace("PROGRAM", str(folder / "program")).replace('"name"', '"name", "exit", "9"').replace("NAME", name)
    words, report = hugexec_command([compiled(public_folder, "wrapper", source.replace("FOLDER", str(folder)))], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, *words], capture_output=True, check=False)
    assert (done.returncode, [line["outcome"] for line in read_report(report)]) == (9, ["remapped"])


def test_program_looked_for_by_a_users_wrapper(hugexec_command, bigtext, nobody, public_folder):
    """In one folder after the other: that it is not in the first, or that one may not be searched, is no reason to let go."""
    program = public_folder / "program"
    shutil.copy(bigtext(4), program)
    (public_folder / "roots").mkdir(0o700)
    words, report = hugexec_command(["/usr/bin/env", "program", "exit", "9"], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, "/usr/bin/env", f"PATH=/usr/nowhere:/bin/sh:{public_folder}/roots:{public_folder}", *words], capture_output=True,
                          check=False)
    assert (done.returncode, [line["outcome"] for line in read_report(report)]) == (9, ["remapped"])


@pytest.mark.parametrize("action", ["errno", "kill"])
def test_looked_for_where_openat2_is_filtered(hugexec_command, bigtext, nobody, public_folder, action):
    """A filter that is older than this call: what cannot be told is let go, and who tells is not ended for it."""
    program = public_folder / "program"
    shutil.copy(bigtext(4), program)
    words, report = hugexec_command(["/usr/bin/env", "program", "exit", "9"], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    done = subprocess.run([*nobody, "/usr/bin/env", f"PATH=/usr/nowhere:{public_folder}", *words], capture_output=True, check=False,
                          preexec_fn=seccomp_filter(action, "openat2"))
    assert (done.returncode, done.stderr) == (9, b"")
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["privileged-program"]


@pytest.mark.parametrize("first", ["without its interpreter", "a script that cannot be run"])
def test_privileged_program_that_is_found_second(hugexec_command, bigtext, nobody, public_folder, set_uid, first):
    """execvp(3) passes over what cannot be executed: COMMAND is another file than the first of its name."""
    (public_folder / "first").mkdir()
    (public_folder / "second").mkdir()
    if first == "without its interpreter":
        program = (public_folder / "first" / "program")
        program.write_bytes(pathlib.Path(bigtext(4)).read_bytes().replace(b"/lib64/ld-linux-x86-64.so.2", b"/lib64/ld-nowhere-64-64.so."))
    else:
        interpreter = public_folder / "interpreter"
        interpreter.write_text("")
        program = public_folder / "first" / "program"
        program.write_text(f"#!{interpreter}\n")
    program.chmod(0o755)
    set_uid.rename(public_folder / "second" / "program")
    path = ["env", f"PATH={public_folder}/first:{public_folder}/second:/usr/bin:/bin"]
    plain = subprocess.run([*nobody, *path, "env", "program"], capture_output=True, text=True, check=False)
    assert (plain.stdout, plain.returncode) == ("65534 0\n", 9), plain
    words, report = hugexec_command(["program"], policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    ours = subprocess.run([*nobody, *path, *words], capture_output=True, text=True, check=False)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, "", 9)
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["privileged-program"]


def test_privileged_program_in_another_root(hugexec_command, nobody, public_folder, set_uid):
    """Its path names another file there."""
    root = public_folder / "root"
    (root / "bin").mkdir(parents=True)
    set_uid.rename(root / "bin" / "true")
    prefix = [*nobody, "--inh-caps=+sys_chroot", "--ambient-caps=+sys_chroot"]
    command = ["/usr/sbin/chroot", str(root), "/bin/true"]
    words, report = hugexec_command(command, policy_with(), "thp")
    report.touch()
    report.chmod(0o666)
    for way in (command, words):
        done = subprocess.run([*prefix, *way], capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("65534 0\n", 9), done.stderr
    assert [line["reason"].split(":")[0] for line in read_report(report)] == ["privileged-program"]


def test_wrapper_that_goes_to_another_cgroup(hugexec_command, bigtext):
    """As cgexec and systemd-run --scope do: the copy is charged to where the program runs."""
    with cgroup("memory", {}) as procs:
        words, report = hugexec_command(["sh", "-c", f'echo $$ >{procs} && exec "$@"', "sh", bigtext(8), "sleep"], policy_with(), "thp")
        with Process(words, stdout=subprocess.PIPE, text=True) as process:
            assert [process.stdout.readline() for _ in range(2)][1] == "ready\n"
            stat = dict(line.split() for line in (procs.parent / "memory.stat").read_text().splitlines())
            process.kill()
        assert int(stat["shmem"]) >= read_report(report)[0]["huge_bytes"] >= 3 * HUGE


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_wrapper_that_unmounts_its_working_directory(hugexec, write_policy, tmp_path):
    """It is not busy with the tracer, and a report's relative path means what it did."""
    (tmp_path / "mounted").mkdir()
    command = ["sh", "-c", f"cd / && umount {tmp_path}/mounted && exit 9"]
    words = [hugexec, f"--policy={write_policy(policy_with())}", "--report=../report", "--", *command]
    script = f'mount -t tmpfs none {tmp_path}/mounted && cd {tmp_path}/mounted && exec "$@"'
    for way in (command, words):
        done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", *way], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (9, "")
    assert [line["outcome"] for line in read_report(tmp_path / "report")] == ["skipped"]
