# SPDX-License-Identifier: Apache-2.0
"""hugexec-nri in a cluster: a real kubelet, scheduler, controllers and API server (make check-kubernetes)."""
import os
import signal

import pytest

from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cluster as cluster_module
from nri_node import policy_of
from pods import NEEDS, RESTRICTED, WANTED, container, pods_by, spec, start, wait_huge, wait_running

pytestmark = NEEDS
NAMESPACES = ("shop", "other")


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    made = cluster_module.Cluster(folder)
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
        for kind in ("apis/apps/v1/namespaces/{}/deployments", "apis/batch/v1/namespaces/{}/jobs", "api/v1/namespaces/{}/pods"):
            module_cluster.call("DELETE", f"/{kind.format(namespace)}", {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    module_cluster.wait_gone(*NAMESPACES)
    daemon = module_cluster.node.daemon
    wait_for(lambda: "hugexec-tracer" not in str(daemon.processes()), what="the tracers' end")
    wait_for(lambda: daemon.sandbox.run(["ls", "-A", "/run/hugexec/containers"]).stdout == "", what="the records' end")
    if module_cluster.node.plugin.poll() is not None:
        module_cluster.node.start()


@pytest.mark.parametrize("kind", WANTED)
def test_pods_by(cluster, kind):
    pods_by(cluster, kind)


def test_a_deployment(cluster):
    cluster.call("POST", "/apis/apps/v1/namespaces/shop/deployments", {
        "metadata": {"name": "web"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": spec()}}})
    cluster.wait(lambda: len([pod for pod in cluster.pods("shop") if pod["status"]["phase"] == "Running"]) == 3, "three pods")
    wait_huge(cluster, *(pod["metadata"]["name"] for pod in cluster.pods("shop")))


def test_a_job(cluster):
    cluster.call("POST", "/apis/batch/v1/namespaces/shop/jobs", {
        "metadata": {"name": "once"}, "spec": {"backoffLimit": 0, "template": {"spec": spec(
            container(command=["/bin/static", "exit", "0"]), restartPolicy="Never")}}})
    cluster.wait(lambda: cluster.call("GET", "/apis/batch/v1/namespaces/shop/jobs/once")["status"].get("succeeded") == 1, "the job")


def test_an_init_container_and_a_sidecar(cluster):
    cluster.node.policy(policy_of({"container": ["server", "sidecar"]}))
    start(cluster, "both", pod_spec=spec(
        container(), initContainers=[container("first", ["/bin/static", "exit", "0"]), container("sidecar", restartPolicy="Always")]))
    wait_running(cluster, "both")
    cluster.wait(lambda: sum(process["container"]["pod"] == "both" for process in cluster.node.status()) == 2, "two servers")


@pytest.mark.parametrize("kind", ["restricted", "privileged", "shared processes"])
def test_other_pods(cluster, kind):
    more = {"shareProcessNamespace": True} if kind == "shared processes" else {}
    security = {"restricted": RESTRICTED, "privileged": {"privileged": True}}.get(kind, {})
    start(cluster, "special", pod_spec=spec(container(securityContext=security), **more))
    wait_running(cluster, "special")
    wait_huge(cluster, "special")


def test_the_plugin_is_stopped_and_killed_while_pods_start(cluster):
    """No pod fails, and none is started twice for it."""
    pid = cluster.node.plugin_pid()
    os.kill(pid, signal.SIGSTOP)
    start(cluster, "while-stopped")
    wait_running(cluster, "while-stopped")
    os.kill(pid, signal.SIGKILL)
    cluster.node.plugin.send_signal(signal.SIGCONT)
    cluster.node.plugin.wait(60)
    start(cluster, "while-killed")
    wait_running(cluster, "while-killed")
    cluster.node.start()
    start(cluster, "afterwards")
    wait_running(cluster, "afterwards")
    wait_huge(cluster, "afterwards")
    assert set(cluster.node.huge()) == {"afterwards"}
    for pod in cluster.pods("shop"):
        assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]


def test_kubelet_and_containerd_are_started_again(cluster):
    start(cluster, "old")
    wait_running(cluster, "old")
    wait_huge(cluster, "old")
    cluster.end_kubelet(signal.SIGKILL)
    before = cluster.node.registrations()
    cluster.node.daemon.restart()
    wait_for(lambda: cluster.node.registrations() > before and cluster.node.daemon.answers(), what="containerd and the plugin")
    cluster.start_kubelet()
    start(cluster, "new")
    wait_running(cluster, "new")
    wait_huge(cluster, "old", "new")
    assert [one["restartCount"] for pod in cluster.pods("shop") for one in pod["status"]["containerStatuses"]] == [0, 0]


def of_hugexec(cluster):
    """What the node has of hugexec's: files in /run, and programs that run."""
    daemon = cluster.node.daemon
    running = [command.split(b"\0")[0].rpartition(b"/")[2] for _, command in daemon.processes()]
    return daemon.sandbox.run(["find", "/run/hugexec", "!", "-path", "/run/hugexec/containers"]).stdout, sorted(name for name in running if b"hugexec" in name)


@pytest.mark.timeout(3600)
def test_pods_come_and_go(cluster):
    """500 in all, none of which fails or is started twice; the fixture looks for records, too."""
    before = of_hugexec(cluster)
    assert before[1] == [b"hugexec-nri"]
    for round_number in range(20):
        names = [f"round-{round_number}-{number}" for number in range(25)]
        for name in names:
            start(cluster, name)
        wait_running(cluster, *names)
        assert {one["restartCount"] for pod in cluster.pods("shop") for one in pod["status"]["containerStatuses"]} == {0}
        cluster.call("DELETE", "/api/v1/namespaces/shop/pods", {"gracePeriodSeconds": 0})
        cluster.wait_gone("shop")
    failed = [event["message"] for event in cluster.call("GET", "/api/v1/namespaces/shop/events")["items"]
              if event["reason"] in ("Failed", "FailedCreatePodSandBox", "BackOff") and event["involvedObject"]["name"].startswith("round-")]
    assert failed == []
    wait_for(lambda: of_hugexec(cluster) == before, what="nothing to be left")
