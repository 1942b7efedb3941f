# SPDX-License-Identifier: Apache-2.0
"""
A real systemd as PID 1 of namespaces of its own, with this build installed in /usr, for tests of what needs one.

  pytest -> setpriv --pdeathsig KILL -> unshare --fork --kill-child -> boot.sh, which becomes systemd

It ends by SIGKILL of that PID 1, which is the end of every process in it: in SystemdContainer.close(), or because its parent (unshare)
or pytest is gone, which the kernel tells by the signals of parents' deaths. Its cgroups are below one of our own.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from lib.process import wait_for, without_wrapping
from lib.surroundings import ROOT

BOOT_SECONDS = 240

# What a restart changes by itself.
OF_A_RUN = re.compile("Timestamp|PID$|InvocationID|Current$|NSec$|CPUUsage|ControlGroupId|^IO(Read|Write)|^IP.*gress|^Memory.*"
                      "(Peak|Available)|^NRestarts|^SubState|^ActiveState|^Result|^ExecMain|^ControlGroup$|^StatusErrno")


# Sets of units, which systemd shows in no order.
SETS = re.compile("(Requires|RequiresMountsFor|WantsMountsFor|Requisite|Wants|BindsTo|PartOf|Conflicts|Before|After|RequiredBy|WantedBy|TriggeredBy|Names)=")


def unified_cgroups():
    """Where the v2 tree of cgroups is mounted."""
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="ascii").splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2":
            return pathlib.Path(where)
    raise RuntimeError("no cgroup v2 tree is mounted")


def remove_cgroups(top):
    """Remove a cgroup and those below it; whether nothing of it is left."""
    for folder, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not top.exists()


class SystemdContainer:
    """LAYERS: folders laid over the machine's /usr, /etc and /var. PROGRAMS: a folder seen as /srv/programs. ROOT and WRITTEN: a
    root in place of the machine's, and a folder for what is written to it."""

    def __init__(self, layers=(), programs=None, root=None, written=None):
        self.folder = tempfile.mkdtemp(prefix=f"hugexec-systemd-{os.getpid()}-")
        self.cgroup = unified_cgroups() / f"hugexec-systemd-{os.getpid()}-{time.monotonic_ns()}"
        self.keeper = None
        self.pid = 0  # of the systemd, as the machine sees it
        self.root, self.written = root, written
        try:
            self._boot([str(layer) for layer in layers], programs)
        except BaseException:
            self.close()
            raise

    def _boot(self, layers, programs):
        for left in self.cgroup.parent.glob("hugexec-systemd-*"):  # by a pytest that was killed
            if not pathlib.Path("/proc", left.name.split("-")[2]).exists():
                remove_cgroups(left)
        self.cgroup.mkdir()
        environment = dict(os.environ, CONTAINER_PROGRAMS=str(programs or ""), CONTAINER_ROOT=str(self.root or ""),
                           CONTAINER_WRITTEN=str(self.written or ""))
        # Joins its cgroup before unshare(1) makes that the root of what systemd sees.
        join = f"echo $$ >{self.cgroup}/cgroup.procs && exec \"$@\""
        with open(f"{self.folder}.log", "wb") as log:
            self.keeper = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", join, "sh",
                 "unshare", "--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--net", "--kill-child",
                 str(ROOT / "tests" / "systemd" / "boot.sh"), self.folder, *layers],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        children = pathlib.Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")

        def systemd():
            self._alive()
            for child in children.read_text(encoding="ascii").split():
                if pathlib.Path(f"/proc/{child}/comm").read_text(encoding="ascii") == "systemd\n":
                    self.pid = int(child)
            return self.pid

        wait_for(systemd, BOOT_SECONDS, "systemd to be started")
        wait_for(lambda: self._alive() and
                 self.run(["systemctl", "is-active", "--quiet", "tests.target"], check=False).returncode == 0,
                 BOOT_SECONDS, "tests.target")

    def _alive(self):
        if self.keeper.poll() is not None:
            log = pathlib.Path(f"{self.folder}.log").read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the container ended with {self.keeper.returncode}: {log}")
        return True

    def close(self):
        """Ends every process of it; may be called again."""
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
            self.pid = 0
        if self.keeper:
            if self.keeper.poll() is None:
                self.keeper.send_signal(signal.SIGKILL)  # --kill-child: its child too, where that has no name yet
            self.keeper.wait(60)
        for _ in range(1200):  # processes end when they do
            if remove_cgroups(self.cgroup):
                break
            time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(f"{self.folder}.log")

    def inside(self, words, seconds=120):
        """The words of a command line that runs WORDS in the container, for SECONDS at most."""
        return ["nsenter", "-t", str(self.pid), "-a", "timeout", "--kill-after=5", str(seconds), *map(str, words)]

    def run(self, words, check=True, seconds=120, **options):
        """Run WORDS in the container to their end; where CHECK, they must succeed."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("env", without_wrapping())
        done = subprocess.run(self.inside(words, seconds), capture_output=True, text=True, timeout=seconds + 20, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def systemctl(self, *words, **options):
        return self.run(["systemctl", *words], **options)

    def needs_version(self, wanted, what):
        """Skip a test of WHAT, which this systemd is too old for."""
        version = int(self.systemctl("--version").stdout.split()[1])
        if version < wanted:
            pytest.skip(f"{what} is of systemd {wanted}, this is {version} (Debian 13 has a newer one: make check-debian13)")

    def show(self, unit, *properties):
        """Properties of a unit (all where none is named) as systemctl shows them, as a dict."""
        words = [f"--property={name}" for name in properties]
        lines = self.systemctl("show", "--all", *words, "--", unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def settings_of(self, unit):
        """All that systemctl show has of a unit but what is of a run."""
        lines = self.systemctl("show", "--all", "--", unit).stdout.splitlines()
        lines = [" ".join(sorted(re.split("[= ]", line))) if SETS.match(line) else line for line in lines]
        return [re.sub(r" ; start_time=.*", "", line) for line in lines if not OF_A_RUN.search(line.split("=", 1)[0])]

    def journal(self, *matches):
        """What the journal has about MATCHES ("FIELD=VALUE", or options of journalctl), oldest first, as dicts."""
        self.run(["journalctl", "--sync"], check=False)
        done = self.run(["journalctl", "--output=json", "--no-pager", "--all", *matches])
        return [json.loads(line) for line in done.stdout.splitlines()]

    def path(self, name):
        """The file NAME of the container, as it can be opened from outside. Links with absolute targets lead out of it."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(name).lstrip("/")

    def write(self, name, content, mode=0o644):
        """A file of the container: text, or anything else as JSON."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        path.chmod(mode)
        return path

    def pids_of(self, unit, below="system.slice"):
        """PIDs of all processes of a unit, as the machine sees them."""
        pids = []
        for procs in (self.cgroup / below / unit).glob("**/cgroup.procs"):
            with contextlib.suppress(OSError):
                pids += [int(pid) for pid in procs.read_text(encoding="ascii").split()]
        return pids

    def main_pid(self, unit):
        """PID of a unit's main process as the machine sees it; 0: there is none."""
        inner = self.show(unit, "MainPID")["MainPID"]
        for pid in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                status = (pid / "status").read_text(encoding="utf-8", errors="replace")
                numbers = status.split("NSpid:")[1].split("\n", 1)[0].split()
                if numbers[1:2] == [inner] and os.readlink(pid / "ns/pid") == os.readlink(f"/proc/{self.pid}/ns/pid"):
                    return int(pid.name)
        return 0
