# SPDX-License-Identifier: Apache-2.0
"""
hugexec comes to a cluster's node by `kubectl apply`, is updated while pods start, and goes; the node's configuration is as before all
the time. Pods as there are in clusters, in networks of their own.
"""
import json
import pathlib
import threading

import pytest

from lib.machine import take_hugetlb_pool
from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cluster as cluster_module
import daemonset
import pods
import real_programs
from nri_node import TEXT_BYTES
from pods import NEEDS, RESTRICTED, STATIC, wait_huge, wait_running

MISSING = daemonset.missing()
pytestmark = [*NEEDS, pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)} here (make check-kubernetes gets them)")]

ON = {"io.hugexec.remap": "true"}
SHOP, LOCKED = "shop", "locked"
SETTINGS = {"min_text": "4M", "backing": ["thp"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemonset")
    made = daemonset.Cluster(folder)
    try:
        made.make_images("0.2.0", "next")
        made.make_namespace(SHOP)
        made.make_namespace(LOCKED)
        made.kubectl("label", "namespace", LOCKED, "pod-security.kubernetes.io/enforce=restricted")
        made.kubectl("label", "node", cluster_module.NODE, "hugexec.io/node=true")
        made.config_before = made.on_node("cat", "/etc/containerd/config.toml")
        made.apply("base")
        made.has_daemonset = True
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def as_before_afterwards(cluster):
    """No pods, and the DaemonSet as it is shipped."""
    yield
    for namespace in (SHOP, LOCKED):
        cluster.kubectl("-n", namespace, "delete", "deployments,jobs,pods", "--all", "--grace-period=0", "--force", "--wait=false")
    cluster.wait_gone(SHOP, LOCKED)
    if cluster.has_daemonset:
        cluster.apply("base")


def networked(command=None, image=STATIC, security=None, **more):
    """Of a pod in a network of its own."""
    return pods.spec(pods.container(command=command, securityContext=security or {}, image=image), hostNetwork=False, **more)


def start(cluster, name, spec=None, **how):
    pods.start(cluster, name, pod_spec=spec or networked(), **how)


def restarts(cluster, namespace):
    return [one["restartCount"] for pod in cluster.pods(namespace) for one in pod["status"].get("containerStatuses", [])]


def test_pods_that_opted_in(cluster):
    """By the policy as it is; the node's engine is not restarted, and its configuration not edited."""
    start(cluster, "wanted", annotations=ON)
    start(cluster, "left-alone")
    wait_running(cluster, "wanted", "left-alone")
    wait_huge(cluster, "wanted")
    assert set(cluster.node.huge()) == {"wanted"}
    assert cluster.on_node("cat", "/etc/containerd/config.toml") == cluster.config_before
    assert cluster.node.daemon.log().count("starting containerd") == 1
    (pod,) = cluster.pods(daemonset.SYSTEM)
    assert all(condition["status"] == "True" for condition in pod["status"]["conditions"]), cluster.log_of_daemonset()


def test_a_policy_by_namespace_and_label(cluster):
    cluster.apply("base", policy={"version": 1, "rules": [{"match": {"namespace": SHOP, "label": {"app": "web"}}, **SETTINGS}]})
    start(cluster, "wanted", labels={"app": "web"})
    start(cluster, "another-label", labels={"app": "db"})
    wait_running(cluster, "wanted", "another-label")
    wait_huge(cluster, "wanted")
    assert set(cluster.node.huge()) == {"wanted"}


def test_an_update_while_pods_start(cluster):
    """Another image, whose programs replace those of the node; the plugin that comes is there before the one that ends."""
    cluster.kubectl("apply", "-k", cluster.manifests("base", tag="next"))
    rolled_out = threading.Thread(target=cluster.wait_rolled_out)
    rolled_out.start()
    names = []
    while rolled_out.is_alive() or len(names) < 10:
        names.append(f"meanwhile-{len(names)}")
        start(cluster, names[-1], annotations=ON)
        wait_running(cluster, names[-1])
    rolled_out.join()
    assert cluster.on_node("cat", "/opt/hugexec/etc/tag") == "next"
    wait_huge(cluster, *names)
    assert set(restarts(cluster, SHOP)) == {0}


def test_a_node_is_drained_and_used_again(cluster):
    start(cluster, "before", annotations=ON)
    wait_running(cluster, "before")
    wait_huge(cluster, "before")
    cluster.kubectl("drain", cluster_module.NODE, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=120s")
    assert not cluster.pods(SHOP) and len(cluster.pods(daemonset.SYSTEM)) == 1
    cluster.kubectl("uncordon", cluster_module.NODE)
    start(cluster, "after", annotations=ON)
    wait_running(cluster, "after")
    wait_huge(cluster, "after")


def test_a_namespace_that_admits_restricted_pods_only(cluster):
    with pytest.raises(OSError, match="403"):
        start(cluster, "too-much", namespace=LOCKED, annotations=ON)
    start(cluster, "restricted", namespace=LOCKED, annotations=ON, spec=networked(security=RESTRICTED))
    wait_running(cluster, "restricted", namespace=LOCKED)
    wait_huge(cluster, "restricted")


def test_pods_have_a_network_of_their_own(cluster):
    start(cluster, "networked", annotations=ON)
    wait_running(cluster, "networked")
    wait_huge(cluster, "networked")
    assert cluster.call("GET", f"/api/v1/namespaces/{SHOP}/pods/networked")["status"]["podIP"].startswith("10.231.")


def has_user_namespaces(cluster):
    """runc before 1.2 does not map what is mounted."""
    return "1.1." not in cluster.on_node("runc", "--version").splitlines()[0]


KINDS = ["init container and sidecar", "shared processes", "privileged", "user namespace"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_pods(cluster, kind):
    if kind == "user namespace" and not has_user_namespaces(cluster):
        pytest.skip("runc is older than 1.2, and gives pods no user namespace")
    spec = networked(security={"privileged": True} if kind == "privileged" else None)
    (server,) = spec["containers"]
    more = {"shared processes": {"shareProcessNamespace": True}, "user namespace": {"hostUsers": False},
            "init container and sidecar": {"initContainers": [
                {**server, "name": "first", "command": ["/bin/static", "exit", "0"]}, {**server, "name": "sidecar", "restartPolicy": "Always"}]}}
    start(cluster, "special", annotations=ON, spec={**spec, **more.get(kind, {})})
    wait_running(cluster, "special")
    wait_huge(cluster, "special")
    servers = 2 if "sidecar" in kind else 1
    cluster.wait(lambda: sum(process["container"]["pod"] == "special" for process in cluster.node.status()) == servers, "the servers")
    if kind == "user namespace":
        assert "0 0 4294967295" not in " ".join(pathlib.Path(f"/proc/{cluster.pid('special')}/uid_map").read_text().split())


def test_a_go_server(cluster):
    etcd = str(cluster_module.ETCD)
    cluster.node.daemon.add_image("localhost/shop/etcd:1", {**real_programs.closure(etcd), "/bin/etcd": etcd}, ["/bin/etcd"])
    start(cluster, "etcd", annotations=ON, spec=networked(["/bin/etcd", "--data-dir=/tmp/data"], "localhost/shop/etcd:1"))
    wait_running(cluster, "etcd")
    wait_huge(cluster, "etcd")


def test_a_jvm(cluster):
    """
    All of its code is in a library that it loads later, which overlayfs maps where huge pages of the file do not fit: so the pod runs as
    it would, until somebody on the node attaches.
    """
    if not (real_programs.JAVA.parents[1] / "bin" / "rmiregistry").exists():
        pytest.skip("default-jre-headless is not installed")
    real_programs.add_java(cluster)
    library = {"include": [f"{real_programs.JAVA.parents[1]}/**/libjvm.so"]}
    cluster.apply("base", policy={"version": 1, "rules": [
        {"match": {"namespace": SHOP}, "libraries": {"prepare": library["include"]}, "file_timeout": "60s", "hold_timeout": "120s"},
        {"match": {"via": "attach"}, "libraries": library, "backing": ["thp"], "hold_timeout": "120s"}]})
    command = [str(real_programs.JAVA), "-Xmx64m", "-m", "java.rmi/sun.rmi.registry.RegistryImpl"]
    start(cluster, "jvm", spec=networked(command, "localhost/shop/java:1"))
    wait_running(cluster, "jvm")
    pid = cluster.pid("jvm")
    cluster.wait(lambda: "libjvm.so" in pathlib.Path(f"/proc/{pid}/maps").read_text(), "the library")
    done = cluster.node.daemon.sandbox.run(["/opt/hugexec/bin/hugexecctl", "attach", "--json", cluster.node.inside_pid(pid)])
    assert done.returncode == 0 and json.loads(done.stdout)["huge_bytes"] >= TEXT_BYTES, done.stdout + done.stderr
    assert cluster.phase(SHOP, "jvm") == "Running" and restarts(cluster, SHOP) == [0]


def test_postgres_with_huge_pages_of_its_own(cluster):
    """A request of hugepages-2Mi pays for its shared memory and its text. The kubelet counts the pool when it starts."""
    if not real_programs.POSTGRES:
        pytest.skip("postgresql is not installed")
    real_programs.add_postgres(cluster)
    cluster.apply("base", policy={"version": 1, "rules": [
        {"match": {"label": {"app": "db"}}, "min_text": "2M", "backing": ["hugetlb"], "follow_timeout": 600}]})  # initdb comes first
    serve = (f"{real_programs.POSTGRES}/initdb -D /data/db -U postgres --no-locale -E UTF8 --no-sync && "
             f"exec {real_programs.POSTGRES}/postgres -D /data/db -k /data -c huge_pages=on -c shared_buffers=32MB")
    spec = networked(["/bin/busybox", "sh", "-ec", serve], "localhost/shop/postgres:1", {"runAsUser": 1000, "runAsGroup": 1000},
                    securityContext={"fsGroup": 1000}, volumes=[{"name": "data", "emptyDir": {}}])
    spec["containers"][0].update(volumeMounts=[{"name": "data", "mountPath": "/data"}],
                                 resources={"limits": {"memory": "512Mi", "cpu": "1", "hugepages-2Mi": "96Mi"}})
    with take_hugetlb_pool(64):
        cluster.end_kubelet()
        cluster.start_kubelet()
        cluster.wait(lambda: cluster.allocatable().get("hugepages-2Mi") == "128Mi", "the node's pool")
        start(cluster, "db", labels={"app": "db"}, spec=spec)
        wait_running(cluster, "db")
        cluster.wait(lambda: cluster.node.huge().get("db", 0) >= TEXT_BYTES, "huge text of postgres")
        assert restarts(cluster, SHOP) == [0]
        cluster.kubectl("-n", SHOP, "delete", "pod", "db", "--grace-period=0", "--force")
        cluster.wait_gone(SHOP)
    cluster.end_kubelet()
    cluster.start_kubelet()


def test_it_is_removed_when_the_last_pod_has_gone(cluster):
    """The last test: of hugexec nothing is left but empty folders."""
    start(cluster, "old", annotations=ON)
    wait_running(cluster, "old")
    wait_huge(cluster, "old")
    cluster.has_daemonset = False
    cluster.kubectl("apply", "-k", cluster.manifests("remove"))
    cluster.wait(lambda: "1 containers still run with it" in cluster.log_of_daemonset(), "the removal's beginning")
    start(cluster, "new", annotations=ON)
    wait_running(cluster, "new")
    assert set(cluster.node.huge()) == {"old"}
    cluster.kubectl("-n", SHOP, "delete", "pod", "old", "--grace-period=0", "--force")
    cluster.wait_rolled_out()
    assert cluster.phase(SHOP, "new") == "Running" and set(restarts(cluster, SHOP)) == {0}
    cluster.kubectl("delete", "-k", cluster.manifests("remove"), "--timeout=120s")
    wait_for(lambda: "hugexec" not in str([command for _, command in cluster.node.daemon.processes()]).replace(str(cluster.folder), ""),
             what="the processes' end")
    assert cluster.on_node("find", "/opt/hugexec", "/etc/hugexec", "/run/hugexec", "-mindepth", "1") == ""
    assert cluster.on_node("cat", "/etc/containerd/config.toml") == cluster.config_before
