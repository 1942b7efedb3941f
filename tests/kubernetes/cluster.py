# SPDX-License-Identifier: Apache-2.0
"""
Kubernetes on this machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and a node: a kubelet in the namespaces in which
its engine runs (nri_node.py). Everything listens on the loopback only, and nothing of it is left.

Pods share the host's network, so no network plugin is needed; on a machine in a container the kubelet may not set what it sets
(KubeletInUserNamespace). The programs are those that get-programs has built.
"""
import contextlib
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

from nri_node import Node

from lib.process import ENDS_WITH_US, wait_for
from lib.surroundings import PROGRAMS

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
PROGRAMS_OF_KUBERNETES = PROGRAMS / "kubernetes"
ETCD = PROGRAMS / "newer" / "etcd-server" / "usr" / "bin" / "etcd"
NODE, TOKEN = "node-1", "secret"


def remove_cgroups():
    """
    Those that no process is in, where containerd puts pods whose kubelet has no cgroups of its own: of a cluster that has ended, or was
    killed. Whether none is left.
    """
    top = pathlib.Path("/sys/fs/cgroup")
    of_pods = [path for path in (top / "k8s.io", *top.glob("*/k8s.io")) if path.exists()]
    for pods in of_pods:
        for folder, _, _ in os.walk(pods, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
    return not any(path.exists() for path in of_pods)


def missing():
    """What the cluster would need, and is not there."""
    return [path.name for path in (ETCD, *(PROGRAMS_OF_KUBERNETES / name for name in COMPONENTS)) if not path.exists()]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """TEXT_MIB: of /bin/static in the image localhost/shop/static:1."""

    def __init__(self, folder, text_mib=8):
        self.folder, self.text_mib = folder, text_mib
        self.processes = {}
        self.node = None
        self.port = free_port()
        remove_cgroups()
        try:
            self.make_keys()
            self.start_control_plane()
            (folder / "node").mkdir()
            self.node = self.make_node()
            self.configure_kubelet()
            self.start_kubelet()
            self.wait(lambda: self.is_ready(), "the node")
        except BaseException:
            self.close()
            raise

    def make_node(self):
        return Node(self.folder / "node", self.text_mib)

    def make_keys(self):
        folder = self.folder
        for words in (["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
                       "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
                      ["genrsa", "-out", folder / "accounts.key", "2048"],
                      ["rsa", "-in", folder / "accounts.key", "-pubout", "-out", folder / "accounts.pub"]):
            subprocess.run(["openssl", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        self.context = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        (folder / "tokens").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        server = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(folder / "cert.pem")}
        (folder / "kubeconfig").write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "all", "clusters": [{"name": "all", "cluster": server}],
            "users": [{"name": "all", "user": {"token": TOKEN}}],
            "contexts": [{"name": "all", "context": {"cluster": "all", "user": "all"}}]}))

    def start(self, name, words, **options):
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([*ENDS_WITH_US, *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    start_new_session=True, **options)

    def start_control_plane(self):
        folder, kubeconfig = self.folder, f"--kubeconfig={self.folder}/kubeconfig"
        clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.start("etcd", [ETCD, "--data-dir", folder / "etcd", "--listen-client-urls", clients, "--advertise-client-urls", clients,
                            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"])
        self.start("kube-apiserver", [
            PROGRAMS_OF_KUBERNETES / "kube-apiserver", f"--etcd-servers={clients}", "--bind-address=127.0.0.1", f"--secure-port={self.port}",
            f"--tls-cert-file={folder}/cert.pem", f"--tls-private-key-file={folder}/key.pem", f"--token-auth-file={folder}/tokens",
            "--authorization-mode=AlwaysAllow", "--service-account-issuer=https://localhost", f"--cert-dir={folder}/certs",
            f"--service-account-key-file={folder}/accounts.pub", f"--service-account-signing-key-file={folder}/accounts.key",
            "--service-cluster-ip-range=10.200.0.0/24", "--endpoint-reconciler-type=none", "--allow-privileged=true"])
        self.wait(lambda: self.call("GET", "/readyz") == b"ok", "the API server")
        self.start("kube-controller-manager", [
            PROGRAMS_OF_KUBERNETES / "kube-controller-manager", kubeconfig, f"--service-account-private-key-file={folder}/accounts.key",
            "--leader-elect=false", f"--secure-port={free_port()}", f"--cert-dir={folder}/certs", f"--root-ca-file={folder}/cert.pem"])
        self.start("kube-scheduler", [PROGRAMS_OF_KUBERNETES / "kube-scheduler", kubeconfig, "--leader-elect=false",
                                      f"--secure-port={free_port()}", f"--cert-dir={folder}/certs"])

    def configure_kubelet(self):
        (self.folder / "kubelet.yaml").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": "127.0.0.1", "port": free_port(),
            "healthzPort": free_port(), "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"}, "cgroupDriver": "cgroupfs", "cgroupsPerQOS": False, "enforceNodeAllocatable": [],
            "failSwapOn": False, "failCgroupV1": False, "localStorageCapacityIsolation": False,
            "containerRuntimeEndpoint": f"unix://{self.node.daemon.socket}", "featureGates": {"KubeletInUserNamespace": True},
            "podLogsDir": str(self.folder / "pod-logs"), "resolvConf": "", "enableControllerAttachDetach": False,
            "nodeStatusUpdateFrequency": "2s", "syncFrequency": "10s", "maxPods": 200, "registryPullQPS": 0, "kubeAPIQPS": 100,
            # The machine's own shortages are none of the test's.
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%",
                             "imagefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99}))

    def start_kubelet(self):
        daemon, folder = self.node.daemon, self.folder
        self.start("kubelet", daemon.sandbox.inside([
            PROGRAMS_OF_KUBERNETES / "kubelet", f"--config={folder}/kubelet.yaml", f"--kubeconfig={folder}/kubeconfig",
            f"--root-dir={folder}/kubelet", f"--cert-dir={folder}/kubelet/pki", f"--hostname-override={NODE}", "--node-ip=127.0.0.1"]),
            env=daemon.environment)

    def end_kubelet(self, number=signal.SIGTERM):
        process = self.processes.pop("kubelet")
        self.signal(process, number)
        process.wait(60)

    @staticmethod
    def signal(process, number):
        """nsenter hands no signal on to its child in the namespace of process ids."""
        with contextlib.suppress(OSError):
            for child in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), number)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    def call(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
        with urllib.request.urlopen(request, context=self.context, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text

    def wait(self, condition, what):
        """As wait_for(); fails at once if one of the cluster's programs has ended."""
        def looked():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} has ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                return condition()
            return None
        return wait_for(looked, seconds=180, what=what)

    def is_ready(self):
        conditions = self.call("GET", f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def make_namespace(self, name):
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.wait(lambda: self.call("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default"), "the namespace's account")

    def pods(self, namespace):
        return self.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]

    def phase(self, namespace, name):
        return self.call("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")["status"]["phase"]

    def wait_gone(self, *namespaces):
        self.wait(lambda: not any(self.pods(namespace) for namespace in namespaces), "the pods' end")

    def close(self):
        for process in reversed(list(self.processes.values())):
            self.signal(process, signal.SIGTERM)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            self.signal(process, signal.SIGKILL)
            process.wait(20)
        if self.node:
            self.node.close()
            with contextlib.suppress(AssertionError):
                wait_for(remove_cgroups, seconds=20)  # of processes that are about to end
