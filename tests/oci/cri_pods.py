# SPDX-License-Identifier: Apache-2.0
"""
An engine with a CRI in a mount sandbox, spoken to as a kubelet does: pods, their containers, what these print; and nothing is left of them.
containerd.py and crio.py start one.
"""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time

import cri

from lib.process import wait_for

# PID 1 that has the engine as its service, as systemd has it (Restart=always).
SUPERVISOR = 'log=$0; while :; do "$@" >>"$log" 2>&1; sleep 0.2; done'
OPTIONS = {"network": cri.NODE, "pid": cri.CONTAINER}  # the second as a kubelet has it unless a pod shares its processes
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class CriPods:
    """
    What its makers add: sandbox (a MountSandbox), client, process (the engine, if it is no service in there), add_image(), and hooks(), those of
    a container's config.json. RUNC: a folder in which the engine looks for its runtime first.
    """
    program = socket = None  # its name, and where its CRI is

    def __init__(self, folder, binaries, runc=None):
        self.folder = pathlib.Path(folder)
        self.cgroup = f"/hugexec-test-{os.getpid()}-{time.monotonic_ns()}"
        self.containers, self.sandboxes = [], []
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.environment = {**os.environ, "PATH": ":".join(map(str, filter(None, (binaries, runc, PATH))))}
        self.process = self.client = self.sandbox = None

    def connect(self):
        """Once its socket is there."""
        path = self.inside(self.socket)
        wait_for(lambda: self.process and self.process.poll() is not None or path.exists(), what=f"the socket of {self.program}")
        self.client = cri.Cri(path)

    def inside(self, path):
        """Of a file in the sandbox, its path out here."""
        return pathlib.Path(f"/proc/{self.sandbox.keeper.pid}/root") / str(path).lstrip("/")

    def log(self):
        return (self.folder / f"{self.program}.log").read_text(errors="replace")

    def registrations(self):
        """How many plugins the engine has taken in so far."""
        return len(re.findall(r'plugin \\"[^"\\]+\\" connected', self.log()))

    def answers(self):
        """Whether its CRI does: after a restart it takes a moment."""
        try:
            self.client.ContainerStatus(container_id="none")
        except cri.grpc.RpcError as error:
            return error.code() == cri.grpc.StatusCode.NOT_FOUND
        return False

    def restart(self):
        """End the service, which comes again."""
        (pid,) = [pid for pid, command in self.processes() if command.split(b"\0")[0].endswith(f"/{self.program}".encode())]
        os.kill(pid, signal.SIGTERM)

    def run_sandbox(self, name, annotations=None, handler="hugexec", namespace="shop", labels=None, **security):
        of_kubelet = {f"io.kubernetes.pod.{key}": value for key, value in (("name", name), ("namespace", namespace), ("uid", f"uid-{name}"))}
        config = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": namespace},
                  "labels": cri.entries({**(labels or {}), **of_kubelet}),
                  "log_directory": str(self.logs), "annotations": cri.entries(annotations or {}),
                  "linux": {"cgroup_parent": self.cgroup,
                            "security_context": {"namespace_options": OPTIONS, **security}}}
        sandbox = self.client.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id
        self.sandboxes.append(sandbox)
        return sandbox, config

    def start_container(self, sandbox, name, image, command, **security):
        """As a kubelet does: the pod's annotations and labels are told of the sandbox only."""
        sandbox_id, sandbox_config = sandbox
        of_kubelet = {entry["key"]: entry["value"] for entry in sandbox_config["labels"] if entry["key"].startswith("io.kubernetes.pod.")}
        config = {"metadata": {"name": name}, "image": {"image": image, "user_specified_image": image}, "command": command,
                  "labels": cri.entries({"io.kubernetes.container.name": name, **of_kubelet}),
                  "log_path": f"{name}.log", "annotations": cri.entries({"io.kubernetes.container.restartCount": "0"}),
                  "linux": {"security_context": {"namespace_options": OPTIONS, **security}}}
        container = self.client.CreateContainer(pod_sandbox_id=sandbox_id, config=config,
                                                sandbox_config=sandbox_config).container_id
        self.containers.append(container)
        self.client.StartContainer(container_id=container)
        return container

    def output(self, name):
        """What a container has printed: the log's lines without their times, and put together where they were cut."""
        text = ""
        path = self.logs / f"{name}.log"
        for line in path.read_text().splitlines() if path.exists() else []:
            _, _, tag, part = line.split(" ", 3)
            text += part + ("\n" if tag == "F" else "")
        return text

    def wait_exit(self, container):
        def status():
            answer = self.client.ContainerStatus(container_id=container).status
            return answer if answer.state == cri.EXITED else None
        return wait_for(status, what="the container's end").exit_code

    def remove_all(self):
        """End and remove every container and sandbox; raises what the first of them says that cannot be."""
        while self.containers:
            container = self.containers.pop()
            self.client.StopContainer(container_id=container, timeout=0)
            self.client.RemoveContainer(container_id=container)
        while self.sandboxes:
            sandbox = self.sandboxes.pop()
            self.client.StopPodSandbox(pod_sandbox_id=sandbox)
            self.client.RemovePodSandbox(pod_sandbox_id=sandbox)

    def processes(self):
        """What runs in the sandbox, but for its keeper and an engine that is no service: (pid, command line)."""
        namespace = os.stat(f"/proc/{self.sandbox.keeper.pid}/ns/mnt").st_ino
        mine = {self.sandbox.keeper.pid, self.process.pid if self.process else 0}
        found = []
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit() and int(entry) not in mine and \
                        os.stat(f"/proc/{entry}/ns/mnt").st_ino == namespace:
                    found.append((int(entry), pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()))
        return found

    def close(self):
        """Whatever state the test left: no process, mount or cgroup stays."""
        if self.client:
            with contextlib.suppress(Exception):
                self.remove_all()
            self.client.close()
        if self.process:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()
            self.process.wait(20)
        self.end_cgroups()
        for pid, _ in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.sandbox.close()

    def end_cgroups(self):
        """Containers that a failed test left are in our cgroup, in each hierarchy."""
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"*{self.cgroup}"):
            folders = sorted((folder for folder, _, _ in os.walk(top)), key=len, reverse=True)
            for folder in folders:
                for pid in pathlib.Path(folder, "cgroup.procs").read_text().split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            for folder in folders:
                with contextlib.suppress(OSError, AssertionError):
                    wait_for(lambda: not pathlib.Path(folder, "cgroup.procs").read_text(), 10)
                    os.rmdir(folder)
