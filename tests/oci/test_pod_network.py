# SPDX-License-Identifier: Apache-2.0
"""Pods with a network of their own, by the bridge plugin of CNI, as most pods of clusters have."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cri
from nri_node import HUGE, NEEDED, TEXT_BYTES, Node

CNI = pathlib.Path("/usr/lib/cni")
BRIDGE = "hugexec-test0"
CACHE = pathlib.Path("/var/lib/cni")
POD = 0  # NamespaceMode: of its own
pytestmark = [*NEEDED,
              pytest.mark.skipif(not (CNI / "bridge").exists() or not shutil.which("ip"),
                                 reason="no containernetworking-plugins or iproute2 here")]

@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    is_new = not CACHE.exists()
    CACHE.mkdir(exist_ok=True)
    made = Node(folder)
    try:
        plugin = {"type": "bridge", "bridge": BRIDGE,
                  "ipam": {"type": "host-local", "dataDir": str(folder / "addresses"), "ranges": [[{"subnet": "10.231.0.0/16"}]]}}
        (folder / "bridge.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [plugin]}))
        done = made.daemon.sandbox.run(["sh", "-ec", f"""
            mount -t tmpfs -o mode=755 tmpfs /opt
            mkdir -p /opt/cni /etc/cni/net.d
            ln -s {CNI} /opt/cni/bin
            mount -t tmpfs tmpfs {CACHE}
            cp '{folder}/bridge.conflist' /etc/cni/net.d/10-bridge.conflist"""])
        assert done.returncode == 0, done.stderr
        yield made
    finally:
        made.close()
        if is_new:
            CACHE.rmdir()
        if pathlib.Path(f"/sys/class/net/{BRIDGE}").exists():
            subprocess.run(["ip", "link", "delete", BRIDGE], check=True, timeout=60)


def run_sandbox(node):
    """None as long as containerd has not looked at the network's configuration."""
    try:
        return node.daemon.run_sandbox("networked", handler="", namespace_options={"network": POD})
    except cri.grpc.RpcError as error:
        if "cni" in error.details():
            return None
        raise


def test_a_network_of_its_own(node):
    pod = wait_for(lambda: run_sandbox(node), what="the pod")
    container = node.daemon.start_container(pod, "server", "localhost/shop/static:1", HUGE, namespace_options={"network": POD})
    wait_for(lambda: "ready" in node.daemon.output("server"), what="the server")
    pid = node.host_pid(container)
    assert node.huge()["networked"] >= TEXT_BYTES
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert "10.231." in subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-4", "address"], capture_output=True, text=True, timeout=60, check=True).stdout
    node.daemon.remove_all()
