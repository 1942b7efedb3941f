# SPDX-License-Identifier: Apache-2.0
"""
CRI-O in a mount sandbox, started for the tests with folders, sockets and a configuration of its own. Its images come out of archives, by podman, which
has the same store.
"""
import contextlib
import json
import pathlib
import re
import shutil

from cri_pods import SUPERVISOR, CriPods
from image import build_image
from mount_sandbox import MountSandbox

from lib.process import wait_for

CGROUPS = pathlib.Path("/sys/fs/cgroup")
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
plugin_dirs = ["/usr/lib/cni"]
"""


WITHOUT_LIMITS = """\
#!/usr/bin/python3
import json, os, pathlib, sys
for option, value in zip(sys.argv, sys.argv[1:]):
    if option in ("-b", "--bundle"):
        path = pathlib.Path(value, "config.json")
        config = json.loads(path.read_text())
        config["linux"]["resources"].pop("hugepageLimits", None)
        path.write_text(json.dumps(config))
os.execv("{runc}", ["runc", *sys.argv[1:]])
"""
# Of pods that have their host's: a node is ready only if there is any.
NETWORK = {"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "loopback"}]}


def find_crio(programs):
    """The folder of crio and pinns, which tests/kubernetes/get-programs has built; None: there is none."""
    folder = pathlib.Path(programs) / "kubernetes"
    return folder if (folder / "crio").exists() and (folder / "pinns").exists() else None


def missing():
    """What it would need, and is not there."""
    return [name for name in ("conmon", "podman") if not shutil.which(name)]


class Crio(CriPods):
    """As a service that is started again when it ends."""
    program, socket = "crio", SOCKET

    def __init__(self, folder, binaries, runc=None):
        super().__init__(folder, binaries, runc)
        folder = self.folder
        (folder / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        config = CONFIG.format(folder=folder, run=RUN, socket=SOCKET, hooks=HOOKS, binaries=binaries, conmon=shutil.which("conmon"),
                               runc=self.runtime(runc / "runc" if runc else shutil.which("runc")))
        etc = {"crio/crio.conf": config, "cni/net.d/00-none.conflist": NETWORK, f"{HOOKS.removeprefix('/etc/')}/.keep": ""}
        self.sandbox = MountSandbox(folder / "sandbox", etc, env=self.environment, init=[
            "sh", "-c", SUPERVISOR, folder / "crio.log", binaries / "crio", "--config=/etc/crio/crio.conf", "--config-dir="])
        try:
            self.connect()
        except BaseException:
            self.close()
            raise

    def runtime(self, runc):
        """RUNC itself; on a machine whose cgroups of version 1 do not limit huge pages a script, for CRI-O always asks for such limits."""
        if (CGROUPS / "cgroup.controllers").exists() or (CGROUPS / "hugetlb").exists():
            return runc
        script = self.folder / "runc-without-limits"
        script.write_text(WITHOUT_LIMITS.format(runc=runc))
        script.chmod(0o755)
        return script

    def close(self):
        """CRI-O leaves empty cgroups, of each conmon, and of pods whose kubelet has no cgroups of its own."""
        super().close()
        mine = set(re.findall(r"\b[0-9a-f]{64}\b", self.log()))
        for path in [path for pattern in ("crio/crio-*", "crio-*", "crio") for path in (*CGROUPS.glob(f"*/{pattern}"), *CGROUPS.glob(pattern))]:
            if path.name == "crio" or path.name.rpartition("-")[2] in mine:
                with contextlib.suppress(OSError, AssertionError):
                    wait_for(lambda folder=path: not (folder / "cgroup.procs").read_text(), 10)
                    path.rmdir()

    def add_image(self, name, files, entrypoint):
        archive = self.folder / "image.tar"
        build_image(archive, name, files, entrypoint)
        done = self.sandbox.run(["podman", "--root", self.folder / "root", "--runroot", RUN, "--storage-driver=overlay", "--events-backend=none",
                                 "--cgroup-manager=cgroupfs", "load", f"--signature-policy={self.folder}/policy.json", "--input", archive])
        assert done.returncode == 0, done.stderr
        archive.unlink()

    def hooks(self, container):
        return json.loads(self.inside(f"{RUN}/overlay-containers/{container}/userdata/config.json").read_text()).get("hooks", {})
