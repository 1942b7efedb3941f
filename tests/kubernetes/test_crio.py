# SPDX-License-Identifier: Apache-2.0
"""hugexec-nri in a cluster whose node has CRI-O: a real kubelet, scheduler and API server (make check-kubernetes)."""
import os
import signal

import pytest

from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cluster as cluster_module
import crio
import pod_network
from nri_node import Node, policy_of
from pods import NEEDS, RESTRICTED, WANTED, container, pods_by, spec, start, wait_huge, wait_running

from lib.surroundings import PROGRAMS

BINARIES = crio.find_crio(PROGRAMS)
NAMESPACES = ("shop", "other")
pytestmark = [*NEEDS, pytest.mark.skipif(not BINARIES, reason="no CRI-O here (make check-kubernetes builds it)"),
              pytest.mark.skipif(bool(crio.missing() + pod_network.missing()), reason=f"no {', '.join(crio.missing() + pod_network.missing())} here")]


class CrioCluster(cluster_module.Cluster):
    def make_node(self):
        return Node(self.folder / "node", self.text_mib, make_engine=lambda folder, runc: crio.Crio(folder, BINARIES, runc))


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory):
    made = CrioCluster(tmp_path_factory.mktemp("cluster"))
    try:
        for namespace in NAMESPACES:
            made.make_namespace(namespace)
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(module_cluster):
    """The cluster, with nothing in it; afterwards all that hugexec keeps of pods is gone with them."""
    module_cluster.node.policy(policy_of({"via": "hook"}))
    yield module_cluster
    for namespace in NAMESPACES:
        module_cluster.call("DELETE", f"/api/v1/namespaces/{namespace}/pods", {"gracePeriodSeconds": 0})
    module_cluster.wait_gone(*NAMESPACES)
    daemon = module_cluster.node.daemon
    wait_for(lambda: "hugexec-tracer" not in str(daemon.processes()), what="the tracers' end")
    wait_for(lambda: daemon.sandbox.run(["ls", "-A", "/run/hugexec/containers"]).stdout == "", what="the records' end")


@pytest.mark.parametrize("kind", WANTED)
def test_pods_by(cluster, kind):
    """A kubelet names an image by its digest; CRI-O tells the plugin its name."""
    pods_by(cluster, kind)


def test_a_restricted_pod_with_an_init_container(cluster):
    start(cluster, "special", pod_spec=spec(container(securityContext=RESTRICTED),
                                            initContainers=[container("first", ["/bin/static", "exit", "0"])]))
    wait_running(cluster, "special")
    wait_huge(cluster, "special")


def test_plugin_kubelet_and_engine_are_started_again(cluster):
    start(cluster, "old")
    wait_running(cluster, "old")
    wait_huge(cluster, "old")
    cluster.node.end(signal.SIGKILL)
    start(cluster, "without-plugin")
    wait_running(cluster, "without-plugin")
    cluster.node.start()
    os.kill(cluster.node.plugin_pid(), signal.SIGSTOP)
    start(cluster, "while-stopped")
    wait_running(cluster, "while-stopped")
    os.kill(cluster.node.plugin_pid(), signal.SIGCONT)
    cluster.node.plugin.send_signal(signal.SIGCONT)  # nsenter stops itself when its child does
    cluster.end_kubelet(signal.SIGKILL)
    before = cluster.node.registrations()
    cluster.node.daemon.restart()
    wait_for(lambda: cluster.node.registrations() > before and cluster.node.daemon.answers(), what="CRI-O and the plugin")
    cluster.start_kubelet()
    start(cluster, "new")
    wait_running(cluster, "new")
    wait_huge(cluster, "old", "new")
    assert set(cluster.node.huge()) == {"old", "new"}
    assert [one["restartCount"] for pod in cluster.pods("shop") for one in pod["status"]["containerStatuses"]] == [0, 0, 0, 0]
