# SPDX-License-Identifier: Apache-2.0
"""
A cluster whose node knows nothing of hugexec: it comes by `kubectl apply`, as an image that is made here as image/Containerfile does.
Pods have a network of their own, by the bridge plugin of CNI.
"""
import contextlib
import json
import os
import re
import shutil
import subprocess

import cluster as cluster_module
import pod_network
from node_image import KUBERNETES, add_images
from nri_node import BareNode

from lib.surroundings import PROGRAMS

# A newer runc, if get-programs could build it. It is not mounted over the machine's: runc opens its own program again, by its name.
RUNC = cluster_module.PROGRAMS_OF_KUBERNETES / "runc"
SYSTEM, NODE_POLICY = "hugexec-system", "/etc/hugexec/policy.d/60-kubernetes.json"


def kubectl_program():
    return shutil.which("kubectl") or shutil.which("kubectl", path=PROGRAMS / "newer" / "kubectl" / "usr" / "bin")


def missing():
    return [*([] if kubectl_program() else ["kubectl"]), *pod_network.missing()]


class Cluster(cluster_module.Cluster):
    """FOLDER also gets the images' parts and a copy of the manifests, for tests to change."""

    def __init__(self, folder):
        self.network = contextlib.ExitStack()
        super().__init__(folder)

    def make_node(self):
        give_to = self.network.enter_context(pod_network.bridge(self.folder))
        node = BareNode(self.folder / "node", RUNC.parent if RUNC.exists() else None)
        give_to(node.daemon)
        return node

    def kubectl(self, *words, check=True):
        done = subprocess.run([kubectl_program(), f"--kubeconfig={self.folder}/kubeconfig", *map(str, words)], capture_output=True, text=True,
                              timeout=300, stdin=subprocess.DEVNULL, check=False, env={**os.environ, "HOME": str(self.folder)})
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout

    def make_images(self, *tags):
        (self.folder / "image").mkdir()
        add_images(self.node.daemon, self.folder / "image", *tags)

    def manifests(self, name, tag="0.2.0", policy=None):
        """A copy of the kustomization NAME, with the image's tag and the policy."""
        folder = self.folder / "manifests" / name
        shutil.copytree(KUBERNETES / name, folder, dirs_exist_ok=True)
        kustomization = folder / "kustomization.yaml"
        kustomization.write_text(re.sub("newTag: .*", f"newTag: {tag}", kustomization.read_text()))
        if policy:
            (folder / "policy.json").write_text(json.dumps(policy))
        return folder

    def apply(self, name, **how):
        self.kubectl("apply", "-k", self.manifests(name, **how))
        self.wait_rolled_out()
        assert self.on_node("cat", NODE_POLICY) == (self.folder / "manifests" / name / "policy.json").read_text(), self.log_of_daemonset()

    def wait_rolled_out(self):
        try:
            self.kubectl("-n", SYSTEM, "rollout", "status", "daemonset", "hugexec-node", "--timeout=240s")
        except AssertionError as error:
            raise AssertionError(self.kubectl("-n", SYSTEM, "describe", "pods") + self.log_of_daemonset()) from error

    def log_of_daemonset(self):
        """As the node has it: the API server does not reach a kubelet on the loopback, so `kubectl logs` would not tell."""
        return "".join(log.read_text() for log in sorted((self.folder / "pod-logs").glob(f"{SYSTEM}_*/node/*.log"), key=os.path.getmtime))

    def pid(self, name, namespace="shop"):
        """Of the pod's first container."""
        pod = self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        return self.node.host_pid(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://"))

    def allocatable(self):
        return self.call("GET", f"/api/v1/nodes/{cluster_module.NODE}")["status"]["allocatable"]

    def on_node(self, *words):
        return self.node.on_node(*words)

    def close(self):
        with self.network:
            super().close()
