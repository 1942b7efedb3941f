# SPDX-License-Identifier: Apache-2.0
"""
containerd in a mount sandbox: started for the tests with folders, sockets and a configuration of its own, and spoken to as ctr
and as a kubelet do. The handlers are those that hugexec-node configures on a node.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess

from cri_pods import SUPERVISOR, CriPods
from image import build_image
from mount_sandbox import MountSandbox

SOCKET = "/run/containerd/containerd.sock"
INSTALL = pathlib.Path(__file__).resolve().parents[2] / "oci-hook" / "kubernetes" / "image" / "hugexec-node"
CONFIG = """\
version = 2
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
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


def find_containerd(programs):
    """The folder of containerd, its shim and ctr: installed, or unpacked by tests/get-programs; None: there is none."""
    unpacked = pathlib.Path(programs) / "root" / "usr" / "bin"
    if (unpacked / "containerd").exists():
        return unpacked
    installed = shutil.which("containerd")
    return pathlib.Path(installed).parent if installed else None


def version_of(folder):
    """(major, minor) of the containerd in FOLDER; nothing if there is none."""
    told = subprocess.run([folder / "containerd", "--version"], capture_output=True, text=True, timeout=60, check=False) \
        if folder and (folder / "containerd").exists() else None
    found = re.search(r"\b(\d+)\.(\d+)\.\d+", told.stdout) if told else None
    return (int(found[1]), int(found[2])) if found else ()


def find_first(programs, wanted):
    """The same of the first whose version is WANTED: fetched by get_containerd.py, or installed."""
    fetched = (pathlib.Path(programs) / "newer" / name / "usr" / "bin" for name in ("containerd", "containerd-trixie"))
    return next((folder for folder in (*fetched, find_containerd(programs)) if wanted(version_of(folder))), None)


def find_with_nri(programs):
    """Of one that has NRI on by default."""
    return find_first(programs, lambda version: version >= (2,))


def find_1_7(programs):
    """Of one that has NRI, but off."""
    return find_first(programs, lambda version: version == (1, 7))


class Containerd(CriPods):
    """
    PREFIX: where hugexec is, of which hugexec-node has put the handler into the configuration beforehand. Without, the
    node has none, and containerd is a service that is started again when it ends. MORE: of its configuration.
    """
    program, socket = "containerd", SOCKET

    def __init__(self, folder, binaries, prefix=None, policy=None, runc=None, more=""):
        super().__init__(folder, binaries, runc)
        log = self.folder / "containerd.log"
        if prefix:
            self.sandbox = MountSandbox(self.folder / "sandbox", install(self.folder, prefix, policy))
        else:
            config = CONFIG.format(root=self.folder / "root", socket=SOCKET) + more
            self.sandbox = MountSandbox(self.folder / "sandbox", {"containerd/config.toml": config},
                                        init=["sh", "-c", SUPERVISOR, log, binaries / "containerd"], env=self.environment)
        try:
            if prefix:
                with open(log, "wb") as file:
                    self.process = subprocess.Popen(self.sandbox.inside(["containerd"]), stdin=subprocess.DEVNULL,
                                                    stdout=file, stderr=file, env=self.environment,
                                                    start_new_session=True)
            self.connect()
        except BaseException:
            self.close()
            raise

    def ctr(self, *words, **options):
        return self.sandbox.run(["ctr", "-n", "k8s.io", *words], env=self.environment, **options)

    def add_image(self, name, files, entrypoint):
        archive = self.folder / "image.tar"
        build_image(archive, name, files, entrypoint)
        done = self.ctr("images", "import", archive, timeout=120)
        assert done.returncode == 0, done.stderr
        archive.unlink()

    def hooks(self, container):
        """Of config.json containerd has a copy while the container has not been removed."""
        return json.loads(self.ctr("containers", "info", container).stdout)["Spec"].get("hooks", {})


def state_of(path):
    return json.loads(path.read_text())
