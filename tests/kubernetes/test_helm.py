# SPDX-License-Identifier: Apache-2.0
"""hugexec comes to a cluster by `helm install`, gets another policy by `helm upgrade`, and goes, as docs/kubernetes.md says."""
import json
import os
import shutil
import subprocess

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cluster as cluster_module
import daemonset
import pods
from node_image import KUBERNETES
from pods import NEEDS, wait_huge, wait_running

HELM = shutil.which("helm", path=f"{cluster_module.PROGRAMS_OF_KUBERNETES}:{os.environ['PATH']}")
MISSING = [*daemonset.missing(), *([] if HELM else ["helm"])]
pytestmark = [*NEEDS, pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here (make check-kubernetes gets them)")]
ON = {"io.hugexec.remap": "true"}
SHOP, SYSTEM = "shop", daemonset.SYSTEM


@pytest.fixture
def cluster(tmp_path):
    made = daemonset.Cluster(tmp_path)
    try:
        made.make_images("0.2.0")
        made.make_namespace(SHOP)
        made.kubectl("label", "node", cluster_module.NODE, "hugexec.io/node=true")
        yield made
    finally:
        made.close()


def helm(cluster, *words):
    done = subprocess.run([HELM, f"--kubeconfig={cluster.folder}/kubeconfig", "-n", SYSTEM, *map(str, words)], capture_output=True, text=True,
                          timeout=300, stdin=subprocess.DEVNULL, check=False, env={**os.environ, "HOME": str(cluster.folder)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_install_upgrade_remove(cluster):
    chart, image = KUBERNETES / "chart", "--set=image=hugexec-node:0.2.0"
    cluster.kubectl("create", "namespace", SYSTEM)
    cluster.kubectl("label", "namespace", SYSTEM, "pod-security.kubernetes.io/enforce=privileged")
    helm(cluster, "install", "hugexec", chart, image)
    cluster.wait_rolled_out()
    assert cluster.on_node("cat", daemonset.NODE_POLICY) == (chart / "policy.json").read_text()
    pods.start(cluster, "wanted", annotations=ON)
    pods.start(cluster, "left-alone")
    wait_running(cluster, "wanted", "left-alone")
    wait_huge(cluster, "wanted")
    assert set(cluster.node.huge()) == {"wanted"}

    policy = cluster.folder / "policy.json"
    policy.write_text(json.dumps({"version": 1, "rules": [{"match": {"label": {"app": "web"}}, "min_text": "4M", "backing": ["thp"]}]}))
    helm(cluster, "upgrade", "hugexec", chart, image, f"--set-file=policy={policy}")
    cluster.wait_rolled_out()
    cluster.wait(lambda: cluster.on_node("cat", daemonset.NODE_POLICY) == policy.read_text(), "the policy")
    pods.start(cluster, "labelled", labels={"app": "web"})
    wait_running(cluster, "labelled")
    wait_huge(cluster, "wanted", "labelled")

    cluster.call("DELETE", f"/api/v1/namespaces/{SHOP}/pods", {"gracePeriodSeconds": 0})
    cluster.wait_gone(SHOP)
    helm(cluster, "upgrade", "hugexec", chart, image, "--set=remove=true")
    cluster.wait_rolled_out()
    helm(cluster, "uninstall", "hugexec")
    cluster.wait_gone(SYSTEM)
    cluster.wait(lambda: "hugexec" not in str([command for _, command in cluster.node.daemon.processes()]).replace(str(cluster.folder), ""),
                 "the processes' end")
    assert cluster.on_node("find", "/opt/hugexec", "/etc/hugexec", "/run/hugexec", "-mindepth", "1") == ""
    assert json.loads(cluster.kubectl("get", "daemonsets", "-A", "-o", "json"))["items"] == []
