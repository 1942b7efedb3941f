# SPDX-License-Identifier: Apache-2.0
"""A network for pods, by the bridge plugin of CNI, as most pods of clusters have."""
import contextlib
import json
import pathlib
import shutil
import subprocess

PLUGINS = pathlib.Path("/usr/lib/cni")
BRIDGE = "hugexec-test0"
CACHE = pathlib.Path("/var/lib/cni")  # CNI's own notes, which a node has on a file system of its own
ADDRESSES = "10.231.0.0/16"


def missing():
    """What it would need, and is not there."""
    return [name for name, there in (("containernetworking-plugins", (PLUGINS / "bridge").exists()), ("iproute2", shutil.which("ip"))) if not there]


@contextlib.contextmanager
def bridge(folder):
    """Gives a function that gives the network to a containerd (containerd.py), which has to be closed before it ends."""
    is_new = not CACHE.exists()
    CACHE.mkdir(exist_ok=True)
    plugin = {"type": "bridge", "bridge": BRIDGE,
              "ipam": {"type": "host-local", "dataDir": str(folder / "addresses"), "ranges": [[{"subnet": ADDRESSES}]]}}
    (folder / "bridge.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}))

    def give_to(daemon):
        done = daemon.sandbox.run(["sh", "-ec", f"""
            mountpoint -q /opt || mount -t tmpfs -o mode=755 tmpfs /opt
            mkdir -p /opt/cni /etc/cni/net.d
            ln -s {PLUGINS} /opt/cni/bin
            mount -t tmpfs tmpfs {CACHE}
            cp '{folder}/bridge.conflist' /etc/cni/net.d/10-bridge.conflist"""])
        assert done.returncode == 0, done.stderr

    try:
        yield give_to
    finally:
        if is_new:
            CACHE.rmdir()
        if pathlib.Path(f"/sys/class/net/{BRIDGE}").exists():
            subprocess.run(["ip", "link", "delete", BRIDGE], check=True, timeout=60)
