# SPDX-License-Identifier: Apache-2.0
"""
CRI-O in a mount sandbox, started for the tests with folders, sockets and a configuration of its own. Its images come out of archives, by podman, which
has the same store.
"""
import json
import pathlib
import shutil

from cri_pods import SUPERVISOR, CriPods
from image import build_image
from mount_sandbox import MountSandbox

SOCKET = "/run/crio/crio.sock"
RUN = "/run/crio/storage"
HOOKS = "/etc/containers/oci/hooks.d"
CONFIG = """\
[crio]
root = "{folder}/root"
runroot = "{run}"
storage_driver = "overlay"
log_dir = "{folder}/logs"
version_file = "/run/crio/version"
version_file_persist = "{folder}/version"
clean_shutdown_file = "{folder}/clean"
[crio.api]
listen = "{socket}"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
container_exits_dir = "/run/crio/exits"
container_attach_socket_dir = "/run/crio"
namespaces_dir = "/run/crio/ns"
pinns_path = "{binaries}/pinns"
hooks_dir = ["{hooks}"]
apparmor_profile = "unconfined"
default_runtime = "runc"
[crio.runtime.runtimes.runc]
runtime_path = "{runc}"
runtime_root = "/run/runc"
monitor_path = "{conmon}"
[crio.image]
pause_image = "localhost/pause:1"
pause_command = ""
signature_policy = "{folder}/policy.json"
[crio.network]
network_dir = "/etc/cni/net.d"
plugin_dirs = ["/opt/cni/bin"]
"""


def find_crio(programs):
    """The folder of crio and pinns, which tests/kubernetes/get-programs has built; None: there is none."""
    folder = pathlib.Path(programs) / "kubernetes"
    return folder if (folder / "crio").exists() and (folder / "pinns").exists() else None


def missing():
    """What it would need, and is not there."""
    return [name for name in ("conmon", "podman") if not shutil.which(name)]


class Crio(CriPods):
    """As a service that is started again when it ends."""
    program = "crio"

    def __init__(self, folder, binaries, runc=None):
        super().__init__(folder, binaries, runc)
        folder = self.folder
        (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        config = CONFIG.format(folder=folder, run=RUN, socket=SOCKET, hooks=HOOKS, binaries=binaries, conmon=shutil.which("conmon"),
                               runc=runc / "runc" if runc else shutil.which("runc"))
        self.sandbox = MountSandbox(folder / "sandbox", {"crio/crio.conf": config, f"{HOOKS.removeprefix('/etc/')}/.keep": ""}, env=self.environment, init=[
            "sh", "-c", SUPERVISOR, folder / "crio.log", binaries / "crio", "--config=/etc/crio/crio.conf", "--config-dir="])
        try:
            self.connect(SOCKET)
        except BaseException:
            self.close()
            raise

    def add_image(self, name, files, entrypoint):
        archive = self.folder / "image.tar"
        build_image(archive, name, files, entrypoint)
        done = self.sandbox.run(["podman", "--root", self.folder / "root", "--runroot", RUN, "--storage-driver=overlay", "--events-backend=none",
                                 "--cgroup-manager=cgroupfs", "load", f"--signature-policy={self.folder}/policy.json", "--input", archive])
        assert done.returncode == 0, done.stderr
        archive.unlink()

    def hooks(self, container):
        return json.loads(self.inside(f"{RUN}/overlay-containers/{container}/userdata/config.json").read_text()).get("hooks", {})
