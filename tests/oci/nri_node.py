# SPDX-License-Identifier: Apache-2.0
"""
A node with an engine that has NRI and whose configuration does not know of hugexec, and hugexec-nri, which is started, ended and stopped.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import containerd as containerd_module
import pytest

from lib.process import wait_for
from lib.surroundings import BUILD, PROGRAMS
from programs import bigtext

BINARIES = containerd_module.find_with_nri(PROGRAMS)
PROGRAMS_OF_A_NODE = ("hugexec-nri", "hugexec-oci-hook", "hugexec-bundle-reader")
BUSYBOX = ["/bin/busybox", "sh", "-c"]
HUGE = ["/bin/static", "sleep"]
TEXT_BYTES = 4 << 20
NEEDED = [pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root"),
          pytest.mark.skipif(not BINARIES or not shutil.which("runc"),
                             reason="no containerd 2 or no runc here (tests/oci/get_containerd.py and tests/deps fetch them)")]


def text_of(pid):
    """(Pss, what is mapped by huge entries of the page cache) of the server's text in process PID."""
    lines = pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines()
    pss = huge = 0
    in_text = False
    for line in lines:
        if line.split()[0].count("-") == 1 and not line.split()[0].endswith(":"):
            in_text = " r-xp " in line and line.endswith("/bin/static")
        elif in_text and line.startswith("Pss:"):
            pss += int(line.split()[1]) << 10
        elif in_text and line.startswith("FilePmdMapped:"):
            huge += int(line.split()[1]) << 10
    return pss, huge


def policy_of(*matches, **settings):
    settings = {"min_text": "4M", "backing": ["thp"], "hold_timeout": "10s", **settings}
    return {"version": 1, "rules": [{"name": f"rule {number}", "match": match, **settings} for number, match in enumerate(matches)]}


def has_large_folios(folder, program):
    """Whether the file system of FOLDER has them, as hugexec finds out."""
    copy, report, policy = folder / "try", folder / "try.report", folder / "try.policy"
    shutil.copy(program, copy)
    subprocess.run(["sync", copy], check=True, timeout=120)
    policy.write_text(json.dumps(policy_of({}, backing=["file"], file_timeout="60s")))
    subprocess.run([BUILD / "shim" / "hugexec", f"--policy={policy}", f"--report={report}", copy, "exit", "0"], timeout=120, check=True)
    return json.loads(report.read_text())["backing"] == "file"


class Node:
    """
    An engine, and a plugin of it that is started, ended and stopped. RUNC: the folder of another one than this machine's.
    MAKE_ENGINE: gives a CriPods; without, it is containerd 2 or newer.
    """

    def __init__(self, folder, text_mib=8, runc=None, make_engine=None):
        self.program = str(folder / "static")  # of its images
        bigtext.build(text_mib, self.program, ("cc", "-static"))
        os.sync()
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in PROGRAMS_OF_A_NODE:
            shutil.copy(BUILD / "oci-hook" / name, self.bin)
        for name in ("hugexecctl", "hugexec-elf-reader"):
            shutil.copy(BUILD / "shim" / name, self.bin)
        self.daemon = make_engine(folder, runc) if make_engine else containerd_module.Containerd(folder, BINARIES, runc=runc)
        self.log = folder / "plugin.log"
        self.plugin = None
        try:
            self.daemon.add_image("localhost/pause:1", {"/bin/busybox": "/bin/busybox"}, ["/bin/busybox", "sleep", "100000"])
            self.daemon.add_image("localhost/shop/static:1", {"/bin/busybox": "/bin/busybox", "/bin/static": self.program},
                                  ["/bin/busybox", "true"])
            self.policy(policy_of({"via": "hook"}))
            self.start()
        except BaseException:
            self.close()
            raise

    def policy(self, policy):
        self.daemon.sandbox.write({"hugexec/policy.json": policy}, {})

    def start(self, command=None):
        """Start the plugin, and wait until the engine has it."""
        before = self.registrations()
        with open(self.log, "ab") as log:
            self.plugin = subprocess.Popen(self.daemon.sandbox.inside(command or [self.bin / "hugexec-nri"]), stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, start_new_session=True)
        wait_for(lambda: self.registrations() > before, what="the plugin's registration")

    def registrations(self):
        return self.daemon.registrations()

    def plugin_pid(self):
        """nsenter has a child in the namespace of process ids."""
        (pid,) = pathlib.Path(f"/proc/{self.plugin.pid}/task/{self.plugin.pid}/children").read_text().split()
        return int(pid)

    def end(self, number=signal.SIGTERM):
        os.kill(self.plugin_pid(), number)
        self.plugin.wait(60)

    def pod(self, name, command=None, **how):
        """A pod with one container; whether that has the hook."""
        sandbox = self.daemon.run_sandbox(name, how.pop("annotations", None), handler="", **how)
        return self.daemon.start_container(sandbox, f"c-{name}", "localhost/shop/static:1", command or [*BUSYBOX, "sleep 100000"],
                                           privileged=how.get("privileged", False))

    def is_of_sandbox(self, pid):
        """Orphans are adopted by PID 1 of the sandbox's namespace, which is a child of its keeper."""
        while pid > 1 and pid != self.daemon.sandbox.keeper.pid:
            pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        return pid > 1

    def host_pid(self, container):
        """Of the init of CONTAINER, whose PID the engine tells as its own namespace has it."""
        inside = str(self.daemon.client.pid(container))
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pids = re.search(r"^NSpid:\s+(.*)$", (entry / "status").read_text(), re.MULTILINE)[1].split()
                if pids[1:2] == [inside] and self.is_of_sandbox(int(entry.name)):
                    return int(entry.name)
        raise AssertionError(f"no process of {container}")

    @staticmethod
    def inside_pid(pid):
        """What process PID is called in the namespace of the node."""
        return re.search(r"^NSpid:\s+\d+\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1]

    def end_pods(self):
        """All pods, after which nothing of hugexec is left of them; and the plugin runs again, for the next test."""
        self.daemon.remove_all()
        wait_for(lambda: "hugexec-tracer" not in str(self.daemon.processes()), what="the tracers' end")
        assert self.daemon.sandbox.run(["ls", "-A", "/run/hugexec/containers"]).stdout == "", "records are left"
        if self.plugin.poll() is not None:
            self.start()

    def hooks(self, container):
        return self.daemon.hooks(container)

    def status(self):
        """What hugexecctl says of containers' processes with text on huge pages."""
        done = self.daemon.sandbox.run([self.bin / "hugexecctl", "status", "--json"])
        assert done.returncode == 0, done.stderr
        return [process for process in json.loads(done.stdout)["processes"] if process["container"]]

    def huge(self):
        """{pod: bytes} of those with text on huge pages."""
        return {process["container"]["pod"]: sum(one["huge_bytes"] for one in process["objects"]) for process in self.status()}

    def huge_pod(self, name, **how):
        """Start the server in a pod; how many bytes of its text are on huge pages."""
        self.pod(name, HUGE, **how)
        wait_for(lambda: "ready" in self.daemon.output(f"c-{name}"), what="the server")
        return self.huge().get(name, 0)

    def close(self):
        try:
            if self.plugin and self.plugin.poll() is None:
                self.end(signal.SIGKILL)
        finally:
            self.daemon.close()


class BareNode(Node):
    """Without a policy and a plugin, for a DaemonSet to bring them; /opt is the node's own."""

    def __init__(self, folder, runc=None):
        super().__init__(folder, runc=runc)
        try:
            done = self.daemon.sandbox.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/opt"])
            assert done.returncode == 0, done.stderr
        except BaseException:
            self.close()
            raise

    def start(self, command=None):
        pass

    def policy(self, policy):
        pass

    def on_node(self, *words):
        return self.daemon.sandbox.run(list(words), env=self.daemon.environment).stdout
