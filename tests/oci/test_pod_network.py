# SPDX-License-Identifier: Apache-2.0
"""Pods with a network of their own, by the bridge plugin of CNI, as most pods of clusters have."""
import os
import subprocess

import pytest

from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cri
import pod_network
from nri_node import HUGE, NEEDED, TEXT_BYTES, Node

POD = 0  # NamespaceMode: of its own
pytestmark = [*NEEDED,
              pytest.mark.skipif(bool(pod_network.missing()), reason=f"no {', '.join(pod_network.missing())} here")]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    with pod_network.bridge(folder) as give_to:
        made = Node(folder)
        try:
            give_to(made.daemon)
            yield made
        finally:
            made.close()


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
