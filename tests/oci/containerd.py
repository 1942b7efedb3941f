# SPDX-License-Identifier: Apache-2.0
"""
containerd in a mount sandbox: started for the tests with folders, sockets and a configuration of its own, and spoken to as ctr
and as a kubelet do. The handlers are those that hugexec-node configures on a node.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import cri
from image import build_image
from mount_sandbox import MountSandbox

from lib.process import wait_for

SOCKET = "run/containerd/containerd.sock"
INSTALL = pathlib.Path(__file__).resolve().parents[2] / "oci-hook" / "kubernetes" / "image" / "hugexec-node"
CONFIG = """\
version = 2
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "/{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  # As a service that may not lower its own oom_score_adj.
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


def install(folder, prefix, policy):
    """What hugexec-node makes of a node with CONFIG, for programs in PREFIX: files below /etc."""
    node = folder / "node"
    config = node / "etc" / "containerd" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG.format(root=folder / "root", socket=SOCKET))
    (folder / "policy.json").write_text(json.dumps(policy))
    done = subprocess.run([INSTALL, "install"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={**os.environ, "NODE_ROOT": str(node), "SOURCE": str(prefix), "PREFIX": str(prefix),
                               "POLICY": str(folder / "policy.json"), "RESTART": "no", "ENGINE": "containerd-1"})
    assert done.returncode == 0, done.stdout + done.stderr
    etc = node / "etc"
    return {str(path.relative_to(etc)): path.read_text() for path in etc.rglob("*") if path.is_file()}


# PID 1 that has containerd as its service, as systemd has it (Restart=always).
SUPERVISOR = 'while :; do "$0" >>"$1" 2>&1; sleep 0.2; done'


def find_containerd(programs):
    """The folder of containerd, its shim and ctr: installed, or unpacked by tests/get-programs; None: there is none."""
    unpacked = pathlib.Path(programs) / "root" / "usr" / "bin"
    if (unpacked / "containerd").exists():
        return unpacked
    installed = shutil.which("containerd")
    return pathlib.Path(installed).parent if installed else None


def find_with_nri(programs):
    """The same of one that has NRI on by default, which is 2.0 and newer: fetched by get_containerd.py, or installed."""
    for folder in (pathlib.Path(programs) / "newer" / "containerd" / "usr" / "bin", find_containerd(programs)):
        told = subprocess.run([folder / "containerd", "--version"], capture_output=True, text=True, timeout=60, check=False) \
            if folder and (folder / "containerd").exists() else None
        version = re.search(r"\b(\d+)\.\d+\.\d+", told.stdout) if told else None
        if version and int(version[1]) >= 2:
            return folder
    return None


class Containerd:
    """
    PREFIX: where hugexec is, of which hugexec-node has put the handler into the configuration beforehand. Without, the
    node has none, and containerd is a service that is started again when it ends. RUNC: a folder in which it looks for its runtime first.
    """

    def __init__(self, folder, binaries, prefix, policy, runc=None):
        self.folder = pathlib.Path(folder)
        self.cgroup = f"/hugexec-test-{os.getpid()}-{time.monotonic_ns()}"
        self.containers, self.sandboxes = [], []
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self.environment = {**os.environ, "PATH": ":".join(map(str, filter(None, (binaries, runc, "/usr/sbin:/usr/bin:/sbin:/bin"))))}
        self.process = self.client = None
        log = self.folder / "containerd.log"
        if prefix:
            self.sandbox = MountSandbox(self.folder / "sandbox", install(self.folder, prefix, policy))
        else:
            config = CONFIG.format(root=self.folder / "root", socket=SOCKET)
            self.sandbox = MountSandbox(self.folder / "sandbox", {"containerd/config.toml": config},
                           init=["sh", "-c", SUPERVISOR, str(binaries / "containerd"), str(log)], env=self.environment)
        try:
            if prefix:
                with open(log, "wb") as file:
                    self.process = subprocess.Popen(self.sandbox.inside(["containerd"]), stdin=subprocess.DEVNULL,
                                                    stdout=file, stderr=file, env=self.environment,
                                                    start_new_session=True)
            socket = f"/proc/{self.sandbox.keeper.pid}/root/{SOCKET}"
            wait_for(lambda: self.process and self.process.poll() is not None or os.path.exists(socket),
                     what="containerd's socket")
            self.client = cri.Cri(socket)
        except BaseException:
            self.close()
            raise

    def log(self):
        return (self.folder / "containerd.log").read_text(errors="replace")

    def ctr(self, *words, **options):
        return self.sandbox.run(["ctr", "-n", "k8s.io", *words], env=self.environment, **options)

    def answers(self):
        """Whether its CRI does: after a restart it takes a moment."""
        try:
            self.client.ContainerStatus(container_id="none")
        except cri.grpc.RpcError as error:
            return error.code() == cri.grpc.StatusCode.NOT_FOUND
        return False

    def add_image(self, name, files, entrypoint):
        archive = self.folder / "image.tar"
        build_image(archive, name, files, entrypoint)
        done = self.ctr("images", "import", archive, timeout=120)
        assert done.returncode == 0, done.stderr
        archive.unlink()

    def run_sandbox(self, name, annotations=None, handler="hugexec", namespace="shop", labels=None, **security):
        config = {"metadata": {"name": name, "uid": f"uid-{name}", "namespace": namespace}, "labels": cri.entries(labels or {}),
                  "log_directory": str(self.logs), "annotations": cri.entries(annotations or {}),
                  "linux": {"cgroup_parent": self.cgroup,
                            "security_context": {"namespace_options": {"network": cri.NODE}, **security}}}
        sandbox = self.client.RunPodSandbox(config=config, runtime_handler=handler).pod_sandbox_id
        self.sandboxes.append(sandbox)
        return sandbox, config

    def start_container(self, sandbox, name, image, command, **security):
        """As a kubelet does: the pod's annotations are told of the sandbox only."""
        sandbox_id, sandbox_config = sandbox
        config = {"metadata": {"name": name}, "image": {"image": image}, "command": command,
                  "log_path": f"{name}.log", "annotations": cri.entries({"io.kubernetes.container.restartCount": "0"}),
                  "linux": {"security_context": {"namespace_options": {"network": cri.NODE}, **security}}}
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
        """What runs in the sandbox, but for its keeper and containerd: (pid, command line)."""
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


def state_of(path):
    return json.loads(path.read_text())
