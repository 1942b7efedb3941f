# SPDX-License-Identifier: Apache-2.0
"""Many launches, several at once, under memory pressure; nothing is left of them: run.py BUILD [LAUNCHES [AT-ONCE]]

The launches (20,000; 12 at once) run in a memory cgroup that is kept full by a process that fills and drops memory and page
cache, with the three backings in turn and a pool that is now enough, now empty. Each must end as the plain program does.
Afterwards the machine has as many huge pages, as little shared memory, and no process, zombie or descriptor more than
before. Prints how long launches took. Exit 1: something was left, or a launch went wrong; 77: no memory cgroup to be had.
"""
import collections
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from programs import bigtext

BACKINGS = ("file,thp", "hugetlb,thp", "thp", "plain")
POOL = pathlib.Path("/proc/sys/vm/nr_hugepages")
FREE = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
LOCK = "/tmp/hugexec-test-pool.lock"
MIB = 1 << 20
LIMIT_MIB = 384
MARK = f"hugexec-soak-{os.getpid()}"
PR_SET_CHILD_SUBREAPER = 36
POOL_SECONDS = 40
SHARED_SLACK_MIB = 64  # others use the machine too

CHURN = """
import mmap, os, sys, time
path = sys.argv[1]
with open(path, 'wb') as file: file.write(os.urandom(1 << 20) * 200)
while True:
    memory = mmap.mmap(-1, 220 << 20)
    for page in range(0, len(memory), 4096): memory[page] = 1
    with open(path, 'rb') as file:
        while file.read(1 << 20): pass
    memory.close()
"""


@contextlib.contextmanager
def memory_cgroup():
    """A new memory cgroup; yields its cgroup.procs."""
    v1, v2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
    parent, limit = (v1, "memory.limit_in_bytes") if (v1 / "cgroup.procs").exists() else (v2, "memory.max")
    folder = parent / MARK
    try:
        folder.mkdir()
        (folder / limit).write_text(str(LIMIT_MIB * MIB))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        print(f"soak: no memory cgroup can be had here: {error}", file=sys.stderr)
        sys.exit(77)
    try:
        yield folder / "cgroup.procs"
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def marked():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if MARK.encode() in path.read_bytes():
                found.append(path.parent.name)
    return found


def meminfo(name):
    lines = dict(line.split(":") for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return int(lines[name].split()[0]) // 1024


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0


class Soak:
    def __init__(self, build, folder, launches):
        self.folder, self.launches = folder, launches
        self.program = str(folder / "bigtext")
        bigtext.build(4, self.program)
        os.sync()
        policy = folder / "policy.json"
        policy.write_text('{"version": 1, "rules": [{"name": "all", "match": {}, "min_text": 0}]}')
        policy.chmod(0o644)
        self.hugexec = [str(build / "shim" / "hugexec"), f"--policy={policy}"]
        self.expected = None
        self.wall_ms = collections.defaultdict(list)
        self.wrong, self.next, self.lock = [], 0, threading.Lock()

    def launch(self, number):
        backing = BACKINGS[number % len(BACKINGS)]
        words = [self.program, "exit", "9"]
        if backing != "plain":
            words = [*self.hugexec, f"--backing={backing}", f"--report={self.folder}/{backing}.report", "--", *words]
        began = time.monotonic()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            out, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
            out += b" (hangs)"
        result = process.returncode, out
        if self.expected is None:
            self.expected = result
        with self.lock:
            self.wall_ms[backing].append((time.monotonic() - began) * 1000)
            if result != self.expected:
                self.wrong.append((backing, result))

    def work(self):
        while not self.wrong[20:]:
            with self.lock:
                number, self.next = self.next, self.next + 1
            if number >= self.launches:
                return
            self.launch(number)

    def run(self, at_once):
        self.launch(len(BACKINGS) - 1)  # plain: what is expected
        threads = [threading.Thread(target=self.work) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def table(self):
        print("| backing | launches | remapped, by | ms, p50 | ms, p99 | held, ms, p50 | held, ms, p99 | not, because |\n|---|---|---|---|---|---|---|---|")
        for backing in BACKINGS:
            path = self.folder / f"{backing}.report"
            lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
            held = [line["latency_us"] / 1000 for line in lines if line["outcome"] == "remapped"]
            why = collections.Counter((line["reason"] or "?").split(":")[0] for line in lines if line["outcome"] != "remapped")
            wall = self.wall_ms[backing]
            by = collections.Counter(line["backing"] for line in lines if line["outcome"] == "remapped")
            print(f"| {backing} | {len(wall)} | {', '.join(f'{name} {count}' for name, count in by.most_common())} | "
                  f"{percentile(wall, .5):.1f} | {percentile(wall, .99):.1f} | "
                  f"{percentile(held, .5):.1f} | {percentile(held, .99):.1f} | "
                  + ", ".join(f"{word} {count}" for word, count in why.most_common(3)) + " |")


def change_pool(stop, taken):
    """For a while, with the lock that the tests take: now 32 pages more, now none, for the launches that come then."""
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = POOL.read_text()
        taken.set()
        deadline = time.monotonic() + POOL_SECONDS
        try:
            while time.monotonic() < deadline and not stop.is_set():
                POOL.write_text(str(int(before) + 32))
                stop.wait(4)
                POOL.write_text(before)
                stop.wait(1)
        finally:
            POOL.write_text(before)


def used_pages():
    return int(POOL.read_text()) - int(FREE.read_text())


def soak_inside(soak, procs, at_once):
    """All of it in the cgroup; what is left behind."""
    left = []
    shared = meminfo("Shmem")
    procs.write_text(str(os.getpid()))
    churn = subprocess.Popen([sys.executable, "-c", CHURN, str(soak.folder / "churn")])
    try:
        soak.run(at_once)
    finally:
        churn.kill()
        churn.wait()
        (procs.parent.parent / "cgroup.procs").write_text(str(os.getpid()))
    try:
        while True:
            left.append(f"process {os.waitpid(-1, os.WNOHANG)} was left to us")
            if len(left) > 20:
                break
    except ChildProcessError:
        pass
    if meminfo("Shmem") - shared > SHARED_SLACK_MIB:
        left.append(f"{meminfo('Shmem') - shared} MiB more of shared memory are in use")
    return left


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    launches = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    at_once = int(sys.argv[3]) if len(sys.argv) > 3 else 12
    os.environ["MARK"] = MARK
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    stop, taken = threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory(prefix=f"hugexec-soak-{os.getpid()}-", dir="/var/tmp") as folder, memory_cgroup() as procs:
        soak = Soak(build, pathlib.Path(folder), launches)
        files = len(os.listdir("/proc/self/fd"))
        used = used_pages()
        pool = threading.Thread(target=change_pool, args=(stop, taken))
        pool.start()
        taken.wait(600)
        try:
            began = time.monotonic()
            left = soak_inside(soak, procs, at_once)
            took = time.monotonic() - began
        finally:
            stop.set()
            pool.join()
        time.sleep(1)  # pages of the last launches
        if used_pages() != used:
            left.append(f"{used_pages() - used} huge pages are not free again")
        if len(os.listdir("/proc/self/fd")) != files:
            left.append("descriptors are open")
        others = [pid for pid in marked() if pid != str(os.getpid())]
        if others:
            left.append(f"processes {others} run")
        print(f"{soak.next - at_once} launches, {at_once} at once, in {took:.0f} s, in {LIMIT_MIB} MiB of memory that others fill too; "
              f"{len(soak.wrong)} ended wrong; left behind: {left or 'nothing'}")
        soak.table()
        for backing, result in soak.wrong[:5]:
            print(f"WRONG {backing}: {result}, expected {soak.expected}")
        return 1 if soak.wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())
