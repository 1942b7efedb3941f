# SPDX-License-Identifier: Apache-2.0
"""What a test of the cluster needs, and the pods that it starts there."""
import os
import shutil

import cluster as cluster_module
import pytest
from nri_node import BINARIES, HUGE, TEXT_BYTES, policy_of

MISSING = cluster_module.missing()
NEEDS = [pytest.mark.skipif(os.geteuid() != 0, reason="a cluster needs root"),
         pytest.mark.skipif(not BINARIES or not shutil.which("runc") or not shutil.which("openssl"),
                            reason="no containerd 2, runc or openssl here (tests/kubernetes/get-programs and tests/deps fetch them)"),
         pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here (make check-kubernetes builds them)")]
STATIC = "localhost/shop/static:1"
RESTRICTED = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]},
              "seccompProfile": {"type": "RuntimeDefault"}, "readOnlyRootFilesystem": True}


def container(name="server", command=None, **more):
    return {"name": name, "image": STATIC, "imagePullPolicy": "Never", "command": command or HUGE, **more}


def spec(*containers, **more):
    return {"hostNetwork": True, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
            "containers": list(containers or [container()]), **more}


def start(cluster, name, namespace="shop", labels=None, annotations=None, pod_spec=None):
    cluster.call("POST", f"/api/v1/namespaces/{namespace}/pods", {
        "metadata": {"name": name, "labels": labels or {}, "annotations": annotations or {}}, "spec": pod_spec or spec()})


def wait_running(cluster, *names, namespace="shop"):
    for name in names:
        cluster.wait(lambda n=name: cluster.phase(namespace, n) == "Running", f"pod {name}")


def wait_huge(cluster, *names):
    """The server needs a moment to execute."""
    cluster.wait(lambda: all(cluster.node.huge().get(name, 0) >= TEXT_BYTES for name in names), f"huge text of {names}")


ON = {"io.hugexec.remap": "true"}
# How a rule may ask for the pod that pods_by() starts, and not for the other.
WANTED = {"namespace": {"namespace": "shop"}, "label": {"label": {"app": "web"}}, "annotation": {"annotation": ON},
          "image": {"image": "localhost/shop/*", "pod": "wanted"}, "container": {"container": "server", "pod": "wanted"}}


def pods_by(cluster, kind):
    cluster.node.policy(policy_of(WANTED[kind]))
    start(cluster, "wanted", labels={"app": "web"}, annotations=ON)
    start(cluster, "left-alone", namespace="other", labels={"app": "db"})
    wait_running(cluster, "wanted")
    wait_running(cluster, "left-alone", namespace="other")
    wait_huge(cluster, "wanted")
    assert set(cluster.node.huge()) == {"wanted"}
