# SPDX-License-Identifier: Apache-2.0
"""
The DaemonSet's container on a containerd 2 that knows nothing of hugexec, with the mounts, arguments and environment of the manifest: it
brings hugexec to the node, is its engine's plugin, is updated, and takes hugexec away. tests/kubernetes has the same with a kubelet.
"""
import shutil
import sys

import pytest
from node_image import KUBERNETES, add_images
from nri_node import HUGE, NEEDED, TEXT_BYTES, BareNode

from lib.process import wait_for
from lib.surroundings import ROOT

pytest.importorskip("yaml", reason="python3-yaml is not installed")
sys.path.insert(0, str(ROOT / "tests" / "house"))
import manifests
import yaml

pytestmark = NEEDED
ON = {"io.hugexec.remap": "true"}
DEFAULT_CAPABILITIES = ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP",
                        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")


class DaemonSet:
    """Starts containers as a kubelet starts the DaemonSet's."""

    def __init__(self, node, folder):
        self.node, self.ctr, self.folder = node, node.daemon.ctr, folder
        self.policy = folder / "policy"
        self.policy.mkdir()
        shutil.copy(KUBERNETES / "chart" / "policy.json", self.policy)

    def mount_words(self, pod, name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for mount in pod["containers"][0]["volumeMounts"]:
            volume = volumes[mount["name"]]
            source = volume["hostPath"]["path"] if "hostPath" in volume else str(self.policy if "configMap" in volume else self.folder / name)
            if volume.get("hostPath", {}).get("type") == "DirectoryOrCreate" or "emptyDir" in volume:
                self.node.on_node("mkdir", "-p", source)
            how = "ro" if mount.get("readOnly") else "rw"
            yield from ("--mount", f"type=bind,src={source},dst={mount['mountPath']},options=rbind:{how}")

    def start(self, name, tag="0.2.0", **values):
        documents = yaml.safe_load_all(manifests.rendered(values))
        pod = next(one for one in documents if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        container = pod["containers"][0]
        environment = [word for one in container["env"] for word in ("--env", f"{one['name']}={one['value']}")]
        dropped = [word for one in DEFAULT_CAPABILITIES for word in ("--cap-drop", f"CAP_{one}")]
        done = self.ctr("run", "-d", "--read-only", "--cgroup", f"{self.node.daemon.cgroup}/{name}",
                        "--log-uri", f"file://{self.folder}/{name}.log", *dropped, *environment,
                        *self.mount_words(pod, name), f"docker.io/library/hugexec-node:{tag}", name,
                        "/hugexec/bin/hugexec-node", *container["args"])
        assert done.returncode == 0, done.stderr

    def said(self, name):
        return (self.folder / f"{name}.log").read_text()

    def is_ready(self, name):
        done = self.ctr("task", "exec", "--exec-id", "probe", name, "/hugexec/bin/hugexec-node", "ready")
        return done.returncode == 0

    def wait_ready(self, name):
        wait_for(lambda: self.is_ready(name), what=f"{name}'s readiness")

    def end(self, name):
        assert self.ctr("task", "kill", "-s", "TERM", name).returncode == 0
        wait_for(lambda: self.ctr("task", "delete", name).returncode == 0, what=f"{name}'s end")
        assert self.ctr("containers", "delete", name).returncode == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    made = BareNode(folder)
    try:
        (folder / "image").mkdir()
        add_images(made.daemon, folder / "image", "0.2.0", "next")
        yield made
    finally:
        made.close()


@pytest.fixture
def daemonset(node, tmp_path):
    made = DaemonSet(node, tmp_path)
    made.start("first")
    made.wait_ready("first")
    yield made
    node.daemon.remove_all()
    for name in node.daemon.ctr("tasks", "ls", "-q").stdout.split():
        made.end(name)


def test_it_is_the_plugin_of_an_engine_that_is_left_alone(node, daemonset):
    config = node.on_node("cat", "/etc/containerd/config.toml")
    assert node.huge_pod("wanted", annotations=ON) >= TEXT_BYTES
    assert node.huge_pod("left-alone") == 0
    assert "hugexec" not in config.replace(str(node.bin.parent), "") and node.on_node("cat", "/etc/containerd/config.toml") == config
    assert node.daemon.log().count("starting containerd") == 1
    assert "registered with containerd" in daemonset.said("first")


def test_a_policy_that_changes_arrives(node, daemonset):
    (daemonset.policy / "policy.json").write_text('{"version": 1, "rules": [{"match": {"vai": "hook"}}]}')
    wait_for(lambda: "the policy is wrong; the node keeps the one it has" in daemonset.said("first"), what="a word about the policy")
    (daemonset.policy / "policy.json").write_text('{"version": 1, "rules": [{"match": {"namespace": "shop"}, "backing": ["thp"]}]}')
    wait_for(lambda: "new policy" in daemonset.said("first").split("the policy is wrong")[1], what="the new policy")
    assert node.huge_pod("by-namespace") >= TEXT_BYTES


def test_an_update_leaves_no_container_without(node, daemonset):
    """The new one begins before the old one ends, and each container gets one hook."""
    daemonset.start("second", tag="next")
    daemonset.wait_ready("second")
    both = node.pod("both", HUGE, annotations=ON)
    assert [len(hooks) for hooks in node.hooks(both).values()] == [1, 1]
    daemonset.end("first")
    assert daemonset.is_ready("second")
    assert node.on_node("cat", "/opt/hugexec/etc/tag") == "next"
    assert node.huge_pod("after", annotations=ON) >= TEXT_BYTES
    wait_for(lambda: node.huge().get("both", 0) >= TEXT_BYTES, what="huge text")


def test_it_ends_and_what_runs_stays(node, daemonset):
    """A drained node, a deleted DaemonSet: running containers keep their text, and are removed without a fault."""
    assert node.huge_pod("old", annotations=ON) >= TEXT_BYTES
    daemonset.end("first")
    assert node.huge_pod("without", annotations=ON) == 0
    assert node.huge()["old"] >= TEXT_BYTES
    node.daemon.remove_all()


def test_it_is_removed_when_nobody_needs_it_any_more(node, daemonset):
    assert node.huge_pod("old", annotations=ON) >= TEXT_BYTES
    daemonset.end("first")
    daemonset.start("remove", remove=True)
    wait_for(lambda: "1 containers still run with it" in daemonset.said("remove"), what="the removal's beginning")
    assert not daemonset.is_ready("remove")
    assert node.huge_pod("new", annotations=ON) == 0
    assert node.on_node("ls", "/opt/hugexec/libexec/hugexec/hugexec-oci-hook")
    node.daemon.remove_all()
    daemonset.wait_ready("remove")
    assert node.on_node("find", "/opt/hugexec", "/etc/hugexec", "/run/hugexec", "-mindepth", "1") == ""
