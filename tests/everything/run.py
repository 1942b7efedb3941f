# SPDX-License-Identifier: Apache-2.0
"""Every program of this machine, plain and under hugexec: run.py BUILD [PATTERN]

Every executable ELF file below /usr/bin, /usr/sbin and /usr/lib that answers --version or --help within two seconds is run
plain, and under hugexec with each backing, on all of its text and that of its libraries, however small. Standard output,
standard error and status must be the same. All runs are nobody's, in mount, PID, network and IPC namespaces of their
own in which no disk can be written to; a list of names is left out all the same. Prints a table; the whole is
in BUILD/everything/results.json. Exit 1: some program differed.
"""
import argparse
import collections
import contextlib
import ctypes
import fcntl
import fnmatch
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec")
BACKINGS = ("file", "hugetlb", "thp")
WORDS = ("--version", "--help")
ANSWER_SECONDS = 2
PATIENCE_SECONDS = 30
CHUNK = 40
POOL = "/proc/sys/vm/nr_hugepages"
POOL_PAGES = 256
LOCK = "/tmp/hugexec-test-pool.lock"  # the integration tests change the pool under it, too
POLICY = {"version": 1, "settings": {"min_text": 0, "libraries": True, "round_out": True},
          "rules": [{"name": "all", "match": {}}]}
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin", "HOME": "/tmp/home", "LC_ALL": "C", "TERM": "dumb"}
NOBODY = 65534
PR_SET_NO_NEW_PRIVS = 38
LIBC = ctypes.CDLL(None)

# What ends a machine, a session or a disk, should it ever take --help for something else.
DANGEROUS = ("shutdown", "reboot", "halt", "poweroff", "init", "telinit", "runlevel", "systemd", "systemctl", "kexec", "mkfs*",
             "mke2fs", "mkswap", "wipefs", "blkdiscard", "fdisk", "cfdisk", "sfdisk", "sgdisk", "parted", "dd", "badblocks",
             "swapoff", "swapon", "killall*", "pkill", "kill", "rtcwake", "systemd-shutdown", "systemd-sleep", "fsfreeze",
             "nologin", "sulogin", "login", "agetty")


def is_program(path):
    """An ELF file that can be started: of fixed address, or with an interpreter, or a PIE by its name."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02":
                return False
            kind = int.from_bytes(head[16:18], "little")
            file.seek(int.from_bytes(head[32:40], "little"))
            headers = file.read(56 * int.from_bytes(head[56:58], "little"))
    except OSError:
        return False
    has_interpreter = any(headers[at:at + 4] == b"\x03\0\0\0" for at in range(0, len(headers), 56))
    return kind == 2 or kind == 3 and has_interpreter


def find_programs(pattern):
    found = set()
    for folder in FOLDERS:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                if os.path.islink(path) or not os.path.isfile(path) or not os.access(path, os.X_OK):
                    continue
                if any(fnmatch.fnmatch(name, danger) for danger in DANGEROUS):
                    continue
                if fnmatch.fnmatch(path, pattern) and is_program(path):
                    found.add(path)
    return sorted(found)


def become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def run(words, seconds):
    """(status, stdout, stderr) of a run; None where it does not end in time, or nobody may not execute it."""
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=ENVIRONMENT, cwd="/tmp/home", preexec_fn=become_nobody, start_new_session=True)
    except OSError:
        return None
    try:
        out, err = process.communicate(timeout=seconds)
        return [process.returncode, out.decode(errors="replace"), err.decode(errors="replace")]
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.stdout.close()
        process.stderr.close()
        process.wait(PATIENCE_SECONDS)


def without_numbers(result):
    """What is left where PIDs, times and addresses are taken out."""
    return [result[0], *(re.sub(r"\b(0x)?[0-9a-fA-F]*\d[0-9a-fA-F]*\b", "#", text) for text in result[1:])]


def status_only(result):
    return result[:1]


def answer_of(program):
    """How PROGRAM answers when plain: {"words", "plain", "view"}; None where it does not."""
    for word in WORDS:
        plain = run([program, word], ANSWER_SECONDS)
        if plain is None or plain[0] < 0 or not (plain[1] or plain[2]):
            continue
        again = run([program, word], PATIENCE_SECONDS)
        if again is None:
            continue
        for view in (list, without_numbers, status_only):
            if view(plain) == view(again):
                return {"words": [program, word], "plain": view(plain), "view": view}
    return None


def compare(answer, backing):
    """One run under hugexec: "same" or "different", what the report says, and the two results where they differ."""
    report = pathlib.Path("/tmp/home/report")
    report.unlink(missing_ok=True)
    words = ["/tmp/hugexec/hugexec", "--policy=/tmp/hugexec/policy.json", f"--backing={backing}", f"--report={report}", "--"]
    for tries in range(3):  # noqa: B007  (it is printed after the loop)
        ours = run(words + answer["words"], PATIENCE_SECONDS)
        if ours is not None and answer["view"](ours) == answer["plain"]:
            break
        # It may be the program that is unsteady: only what never looks like any plain run is different.
        plain = run(answer["words"], PATIENCE_SECONDS)
        if ours is not None and plain is not None and answer["view"](plain) == answer["view"](ours):
            break
    else:
        return {"verdict": "different", "plain": answer["plain"], "ours": ours}
    lines = report.read_text().splitlines() if report.exists() else []
    first = json.loads(lines[0]) if lines else {"outcome": "no report", "reason": None, "huge_bytes": 0}
    return {"verdict": "same", "tries": tries + 1, "outcome": first["outcome"], "huge_bytes": first["huge_bytes"],
            "reason": (first["reason"] or "").split(":")[0]}


@contextlib.contextmanager
def larger_pool(lock, results):
    """More pages in the pool, for this machine's other tests to wait for. RESULTS knows, should we be killed meanwhile."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = pathlib.Path(POOL).read_text()
    print(json.dumps({"pool": before}), file=results, flush=True)
    try:
        pathlib.Path(POOL).write_text(str(int(before) + POOL_PAGES))
        yield
    finally:
        pathlib.Path(POOL).write_text(before)
        print(json.dumps({"pool": None}), file=results, flush=True)
        fcntl.flock(lock, fcntl.LOCK_UN)


def inside(build, programs, lock, results):
    """In the namespaces, as root still: no disk can be written to, and nothing of the machine's is in /tmp and /run."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    tools = {name: (build / "shim" / name).read_bytes() for name in ("hugexec", "hugexec-elf-reader")}
    for folder in ("/tmp", "/run", "/var/tmp", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", "/"], check=True)
    os.mkdir("/tmp/hugexec")
    for name, data in tools.items():
        path = pathlib.Path("/tmp/hugexec", name)
        path.write_bytes(data)
        path.chmod(0o755)
    pathlib.Path("/tmp/hugexec/policy.json").write_text(json.dumps(POLICY))
    os.mkdir("/tmp/home")
    os.chown("/tmp/home", NOBODY, NOBODY)
    for first in range(0, len(programs), CHUNK):
        chunk = programs[first:first + CHUNK]
        answers = {program: answer_of(program) for program in chunk}
        found = {program: {"answers": answer is not None, "view": answer["view"].__name__ if answer else None}
                 for program, answer in answers.items()}
        for backing in BACKINGS:
            with larger_pool(lock, results) if backing == "hugetlb" else contextlib.nullcontext():
                for program, answer in answers.items():
                    if answer:
                        found[program][backing] = compare(answer, backing)
        for program, result in found.items():
            print(json.dumps({"program": program, **result}), file=results, flush=True)


def print_table(results):
    answering = [result for result in results if result["answers"]]
    views = collections.Counter(result["view"] for result in answering)
    print(f"{len(results)} programs, {len(answering)} answer {' or '.join(WORDS)} in {ANSWER_SECONDS} s; compared byte by byte: "
          f"{views['list']}, without numbers: {views['without_numbers']}, by status only: {views['status_only']}")
    print(f"| {'backing':8} | runs | same | different | with text on huge pages | MiB of it | not, because |")
    print("|---|---|---|---|---|---|---|")
    for backing in BACKINGS:
        runs = [result[backing] for result in answering if backing in result]
        same = [one for one in runs if one["verdict"] == "same"]
        huge = [one for one in same if one["huge_bytes"]]
        why = collections.Counter(one["reason"] for one in same if not one["huge_bytes"])
        print(f"| {backing} | {len(runs)} | {len(same)} | {len(runs) - len(same)} | {len(huge)} | "
              f"{sum(one['huge_bytes'] for one in huge) >> 20} | "
              + ", ".join(f"{word or 'no reason'} {count}" for word, count in why.most_common(6)) + " |")
    different = [(result["program"], backing, result[backing]) for result in answering for backing in BACKINGS
                 if result.get(backing, {}).get("verdict") == "different"]
    for program, backing, how in different:
        print(f"DIFFERENT {program} ({backing}):\n  plain {str(how['plain'])[:300]}\n  ours  {str(how['ours'])[:300]}")
    return 1 if different or not answering else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--inside", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    folder = build / "everything"
    if arguments.inside is not None:
        with open(arguments.inside[0], "w", encoding="utf-8") as results:
            inside(build, find_programs(arguments.pattern), arguments.inside[1], results)
        return 0
    if os.geteuid() != 0:
        print("run.py: the namespaces take root", file=sys.stderr)
        return 77
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open(folder / "lines", "w+", encoding="utf-8") as lines, open(LOCK, "w", encoding="ascii") as lock:
        command = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc",
                   sys.executable, os.path.abspath(__file__), str(build), arguments.pattern,
                   "--inside", str(lines.fileno()), str(lock.fileno())]
        try:
            subprocess.run(command, pass_fds=[lines.fileno(), lock.fileno()], check=True)
        finally:
            lines.seek(0)
            told = [json.loads(line) for line in lines]
            pools = [line["pool"] for line in told if "pool" in line]
            if pools and pools[-1] is not None:
                pathlib.Path(POOL).write_text(pools[-1])
    results = [line for line in told if "program" in line]
    (folder / "results.json").write_text(json.dumps(results, indent=1))
    return print_table(results)


if __name__ == "__main__":
    sys.exit(main())
