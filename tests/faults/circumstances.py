"""Reasons for which the engine leaves a program alone that are no failed call: what is not there, too small, too large, not
allowed. Each is provoked for real; the program must run as without hugexec, and the report must name the reason."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

from ways import ROOT, Way

sys.path.insert(0, str(ROOT / "tests" / "programs"))
from elf import elf32, elf64, write  # noqa: E402  (found through the line above)

MIB = 1 << 20
GIB = 1 << 30
ANSWER = 42  # the status of every program here
TEXT = (1, 5, 0, 0x400000, 8 * MIB, 8 * MIB)
TWO_GAPS = [(1, 5, 0, 0x400000, 4 * MIB, 4 * MIB), (1, 5, 4 * MIB, 0x900000, 4 * MIB, 4 * MIB)]

MADE = {  # by hand: content and size
    "made-32-bit": (elf32(8 * MIB, ANSWER), 8 * MIB),
    "made-5G": (elf64([(1, 5, 0, 0x400000, 5 * GIB, 5 * GIB)], status=ANSWER), 5 * GIB),
    "made-short": (elf64([TEXT], status=ANSWER), 5 * MIB),
    "made-writable": (elf64([(1, 7, 0, 0x400000, 8 * MIB, 8 * MIB)], status=ANSWER), 8 * MIB),
    "made-two": (elf64(TWO_GAPS, status=ANSWER), 8 * MIB),
    "made-adjoining": (elf64([(1, 5, 0, 0x400000, 0x280000, 0x280000), (1, 5, 0x281000, 0x680000, 4 * MIB, 4 * MIB)], status=ANSWER), 8 * MIB),
    "made-between": (elf64([(1, 5, 0, 0x400000, 0x1000, 0x1000), (1, 5, 0x1000, 0x601000, 3 * MIB, 3 * MIB)], status=ANSWER), 4 * MIB),
}
WITHOUT_THP = [sys.executable, "-c", "import ctypes, os, sys; ctypes.CDLL(None).prctl(41, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"]
# On a filesystem that has small folios only, and on one whose pages are always dirty, so that they are not read anew.
ON_JOURNAL = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
              'mount -o loop,data=journal "$1/image" "$1/mounted" && cp "$1/probe" "$1/mounted" && sync && shift && exec "$@"', "sh", "{folder}"]
# What nobody has read yet.
ON_COLD = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
           'mount -o loop "$1/image" "$1/mounted" && cp "$1/probe-large" "$1/mounted" && sync && '
           'dd if="$1/mounted/probe-large" iflag=nocache count=0 status=none && shift && exec "$@"', "sh", "{folder}"]
ON_RAMFS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            'mount -t ramfs none "$1/mounted" && cp "$1/probe" "$1/mounted" && shift && exec "$@"', "sh", "{folder}"]

# Policy settings, backing, words before hugexec, program, how the reason begins.
CIRCUMSTANCES = {
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
    "cannot be moved": ({}, "file", [], "probe-fixed", "rebase-refused"),
    "addresses that are not random": ({}, "file", ["setarch", "-R"], "probe", "rebase-refused"),
    "no address space": ({}, "thp", ["prlimit", "--as={}".format(45 * MIB)], "probe-large", "address-space-limit"),
    "no huge pages for this process": ({}, "file", WITHOUT_THP, "probe", "file-unsupported"),
    "no huge pages to collapse": ({}, "thp", WITHOUT_THP, "probe", "thp-refused: the process"),
    "a filesystem without": ({}, "file", ON_JOURNAL, "mounted/probe", "file-unsupported"),
    "a slow disk": ({"file_timeout": "1ms"}, "file", ON_COLD, "mounted/probe-large", "file-timeout"),
    "pages that are always dirty": ({}, "file", ON_RAMFS, "mounted/probe", "file-busy"),
    "empty pool": ({}, "hugetlb", [], "probe", "hugetlb-pool"),
    "no such pool": ({"page_size": "1G"}, "hugetlb", [], "probe", "no-huge-slot"),
    "a pool that is kept": ({"keep_free": 1000}, "hugetlb", [], "probe", "hugetlb-reserved"),
    "a pool of which all is kept": ({"keep_free": "100%"}, "hugetlb", [], "probe", "hugetlb-reserved"),
    "no huge pages for the cgroup": ({}, "hugetlb", "unified", "probe", "hugetlb-limit"),
    "little memory for the cgroup": ({}, "thp", "memory", "probe-large", "memory-limit"),
}
NEEDS_POOL = {"a pool that is kept", "a pool of which all is kept", "no huge pages for the cgroup"}
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


def prepare(folder):
    for name, (content, size) in MADE.items():
        write(folder / name, content, size)
    (folder / "mounted").mkdir()
    with open(folder / "image", "wb") as image:
        image.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", folder / "image"], check=True)


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                          env={"PATH": os.environ["PATH"], "MARK": "circumstances"}, cwd="/")
    return done.returncode, Way.without_numbers(done.stdout.decode(errors="replace"))


def can_run(words):
    """Whether this machine lets us have what WORDS set up for a command: mounts, loop devices, limits."""
    return shutil.which(words[0]) and subprocess.run([*words, "/bin/true"], capture_output=True, timeout=60, check=False).returncode == 0


def one(name, before, folder, build):
    """What is wrong: "" where nothing is."""
    settings, backing, _, program, reason = CIRCUMSTANCES[name]
    policy, report, path = folder / "circumstance.json", folder / "circumstance.report", folder / program
    policy.write_text(json.dumps({"version": 1, "rules": [{"match": {"exe": str(path)}, "min_text": 0, "follow": "none", **settings}]}))
    policy.chmod(0o644)
    report.unlink(missing_ok=True)
    plain = run([*before, path])
    ours = run([*before, build / "shim" / "hugexec", f"--policy={policy}", f"--backing={backing}", f"--report={report}", "--", path])
    told = json.loads(report.read_text().splitlines()[-1]) if report.exists() else {}
    found = told.get("reason")
    if plain[0] != ANSWER or ours != plain:
        lines = [text.splitlines() for _, text in (plain, ours)]
        return f"status {plain[0]} plain, {ours[0]}; " + "\n    ".join(
            [f"plain: {line}" for line in lines[0] if line not in lines[1]] + [f"ours: {line}" for line in lines[1] if line not in lines[0]])
    if not (found.startswith(reason) if found and reason else found == reason):
        return f"reason {found}, outcome {told.get('outcome')}"
    return ""


def run_all(folder, build, pool):
    """Returns how many circumstances did not come out as they should; prints a line for each of these, and for those that
    this machine cannot bring about."""
    prepare(folder)
    wrong = 0
    for name, (_, _, before, _, _) in CIRCUMSTANCES.items():
        with contextlib.ExitStack() as stack:
            words = stack.enter_context(cgroup(before)) if isinstance(before, str) else before
            if name in NEEDS_POOL:
                stack.enter_context(pool(16))
            words = words and [word.format(folder=folder) if "{folder}" in word else word for word in words]
            if words is None or (words and not can_run(words)):
                print(f"circumstance, {name}: cannot be had here")
                continue
            problem = one(name, words, folder, build)
        if problem:
            print(f"DIFFERENT circumstance, {name}: {problem}")
            wrong += 1
    print(f"circumstances: {len(CIRCUMSTANCES)}, {wrong} come out in another way than they should", flush=True)
    return wrong
