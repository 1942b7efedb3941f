# SPDX-License-Identifier: Apache-2.0
"""containerd with hugexec-runtime: through ctr, and through the CRI as a kubelet does it."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from lib.process import wait_for
from lib.surroundings import BUILD, PROGRAMS
from programs import bigtext as bigtext_generator

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import containerd as containerd_module
import cri

BINARIES = containerd_module.find_containerd(PROGRAMS)
ON = {"io.hugexec.remap": "true"}
POLICY = {"version": 1, "rules": [{"name": "opted in", "match": {"via": "hook", "annotation": ON}, "min_text": 0}]}
BUSYBOX = ["/bin/busybox", "sh", "-c"]

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="containerd needs root"),
              pytest.mark.skipif(not BINARIES or not shutil.which("runc"),
                                 reason="no containerd or runc here (tests/get-programs and tests/deps fetch them)")]

# In place of the hook: leaves the states it is given, one file a call.
STAND_IN = """#!/bin/sh
exec cat >"$(dirname "$0")/states/$1.$$"
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """What is installed on a node, with a stand-in for the hook beside the wrapper."""
    folder = tmp_path_factory.mktemp("stand-in") / "bin"
    (folder / "states").mkdir(parents=True)
    for name in ("oci-hook/hugexec-runtime", "oci-hook/hugexec-bundle-reader", "shim/hugexecctl"):
        shutil.copy(BUILD / name, folder)
    (folder / "hugexec-oci-hook").write_text(STAND_IN)
    (folder / "hugexec-oci-hook").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, stand_in):
    daemon = containerd_module.Containerd(tmp_path_factory.mktemp("containerd"), BINARIES,
                                          stand_in.parent, POLICY)
    try:
        daemon.add_image("localhost/pause:1", {"/bin/busybox": "/bin/busybox"}, ["/bin/busybox", "sleep", "100000"])
        yield daemon
    finally:
        daemon.close()


@pytest.fixture
def containers(daemon, stand_in):
    """The daemon, with nothing in it and no state told; afterwards nothing may be left of what the test ran."""
    for path in (stand_in / "states").iterdir():
        path.unlink()
    yield daemon
    daemon.remove_all()
    wait_for(lambda: not daemon.processes(), what="the shims' end")


def states(folder, stage):
    return [containerd_module.state_of(path) for path in sorted((folder / "states").glob(f"{stage}.*"))]


def test_a_pod_as_a_kubelet_starts_it(containers, stand_in):
    sandbox = containers.run_sandbox("web-0", ON)
    container = containers.start_container(sandbox, "server", "localhost/pause:1", [*BUSYBOX, "echo out; exit 7"])
    assert containers.wait_exit(container) == 7
    assert containers.output("server") == "out\n"
    told = {state["id"]: state for state in states(stand_in, "createRuntime")}
    assert set(told) == {sandbox[0], container}
    annotations = told[container]["annotations"]
    assert told[container]["status"] == "creating" and told[container]["pid"] > 0
    assert annotations["io.hugexec.remap"] == "true"
    assert annotations["io.kubernetes.cri.sandbox-namespace"] == "shop"
    assert annotations["io.kubernetes.cri.sandbox-name"] == "web-0"
    assert annotations["io.kubernetes.cri.container-name"] == "server"
    containers.remove_all()
    assert {state["id"] for state in states(stand_in, "poststop")} == {sandbox[0], container}


@pytest.mark.parametrize("annotations", [{}, {"io.hugexec.remap": "false"}, {"io.kubernetes.other": "true"}])
def test_pods_that_did_not_opt_in(containers, stand_in, annotations):
    sandbox = containers.run_sandbox("web-1", annotations)
    container = containers.start_container(sandbox, "plain", "localhost/pause:1", [*BUSYBOX, "exit 3"])
    assert containers.wait_exit(container) == 3
    containers.remove_all()
    assert not list((stand_in / "states").iterdir())


def test_the_plain_handler_is_as_before(containers, stand_in):
    sandbox = containers.run_sandbox("web-2", ON, handler="runc")
    container = containers.start_container(sandbox, "plain-handler", "localhost/pause:1", [*BUSYBOX, "exit 4"])
    assert containers.wait_exit(container) == 4
    assert not list((stand_in / "states").iterdir())


def test_a_broken_policy_stops_no_pod(containers, stand_in):
    inside = pathlib.Path(f"/proc/{containers.sandbox.keeper.pid}/root/etc/hugexec/policy.d/60-kubernetes.json")
    before = inside.read_text()
    try:
        inside.write_text("{")
        sandbox = containers.run_sandbox("web-3", ON)
        container = containers.start_container(sandbox, "broken", "localhost/pause:1", [*BUSYBOX, "exit 5"])
        assert containers.wait_exit(container) == 5
    finally:
        inside.write_text(before)
    assert not list((stand_in / "states").iterdir())


def test_a_container_that_cannot_start_says_why(containers):
    """containerd reads the runtime's log for the reason: it must be runc's, not a line of ours."""
    sandbox = containers.run_sandbox("web-4", ON)
    with pytest.raises(cri.grpc.RpcError) as caught:
        containers.start_container(sandbox, "missing", "localhost/pause:1", ["/no/such/program"])
    assert "/no/such/program" in caught.value.details() and "hugexec" not in caught.value.details()


def test_ctr_run(containers, stand_in, tmp_path):
    (tmp_path / "bin").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "bin")
    told = []
    for extra in ([], ["--runc-binary", stand_in / "hugexec-runtime"]):
        done = containers.ctr("run", "--rm", "--rootfs", "--annotation", "io.hugexec.remap=true", "--cgroup",
                              f"{containers.cgroup}/ctr", *extra, tmp_path, f"ctr-{len(told)}", *BUSYBOX,
                              "echo out; echo err >&2; exit 9")
        told.append((done.returncode, done.stdout, done.stderr))
    assert told == [(9, "out\n", "err\n")] * 2
    assert [state["id"] for state in states(stand_in, "createRuntime")] == ["ctr-1"]
    assert [state["id"] for state in states(stand_in, "poststop")] == ["ctr-1"]


# From here on with the real hook.

def libraries_of(program):
    """{path: path} of what the dynamic loader would map for PROGRAM."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=120).stdout
    words = [word for line in listed.splitlines() for word in line.split() if word.startswith("/")]
    return {word: os.path.realpath(word) for word in words}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """{path in the image: path here}: programs with 8 MiB of text, and what starts them."""
    folder = tmp_path_factory.mktemp("programs")
    files = {"/bin/busybox": "/bin/busybox"}
    compilers = {"pie": ("cc",), "static": ("cc", "-static"), "musl": ("musl-gcc", "-static")}
    for name, command in compilers.items():
        if not shutil.which(command[0]):
            continue
        files[f"/bin/{name}"] = str(folder / name)
        bigtext_generator.build(8, files[f"/bin/{name}"], command)
    files.update(libraries_of(files["/bin/pie"]))
    go_server = PROGRAMS / "root" / "usr" / "bin" / "prometheus"
    if go_server.exists():
        files["/bin/prometheus"] = str(go_server)
        files.update(libraries_of(go_server))
    files["/bin/sh"] = "/bin/busybox"
    (folder / "start").write_text('#!/bin/busybox sh\nexec "$@"\n')
    (folder / "start").chmod(0o755)
    files["/bin/start"] = str(folder / "start")
    (folder / "prometheus.yml").touch()
    files["/etc/prometheus.yml"] = str(folder / "prometheus.yml")
    os.sync()
    return files


RULE = {"name": "opted in", "min_text": "4M", "backing": ["thp"], "follow": "fork"}


def copy_programs(folder):
    folder.mkdir()
    for name in ("oci-hook/hugexec-runtime", "oci-hook/hugexec-oci-hook", "oci-hook/hugexec-bundle-reader", "shim/hugexecctl",
                 "shim/hugexec-elf-reader"):
        shutil.copy(BUILD / name, folder)


@pytest.fixture(scope="module")
def node(tmp_path_factory, programs):
    """containerd on a node on which hugexec is installed; launches are counted there."""
    folder = tmp_path_factory.mktemp("installed") / "bin"
    copy_programs(folder)
    policy = {"version": 1, "rules": [{**RULE, "match": {"via": "hook", "annotation": ON}}]}
    node = containerd_module.Containerd(tmp_path_factory.mktemp("node"), BINARIES, folder.parent, policy)
    try:
        node.add_image("localhost/pause:1", {"/bin/busybox": "/bin/busybox"}, ["/bin/busybox", "sleep", "100000"])
        node.add_image("localhost/programs:1", programs, ["/bin/busybox", "true"])
        done = node.sandbox.run(["sh", "-c", "mkdir -p /run/hugexec && : >/run/hugexec/metrics"])
        assert done.returncode == 0, done.stderr
        node.ctl = [folder / "hugexecctl"]
        yield node
    finally:
        node.close()


@pytest.fixture
def pods(node):
    yield node
    node.remove_all()
    wait_for(lambda: not node.processes(), what="the end of shims and tracers")
    left = node.sandbox.run(["ls", "-A", "/run/hugexec/containers"])
    assert left.stdout == "", "records are left"


def status_of(node, pod):
    """What hugexecctl says of the processes of POD."""
    done = node.sandbox.run([*node.ctl, "status", "--json"])
    assert done.returncode == 0, done.stderr
    return [process for process in json.loads(done.stdout)["processes"]
            if process["container"] and process["container"]["pod"] == pod]


SERVERS = {
    "pie": (["/bin/pie", "sleep"], "ready"),
    "static": (["/bin/static", "sleep"], "ready"),
    "musl": (["/bin/musl", "sleep"], "ready"),
    "script": (["/bin/start", "/bin/pie", "sleep"], "ready"),
    "child": (["/bin/sh", "-c", "/bin/pie sleep & wait"], "ready"),
    "go": (["/bin/prometheus", "--config.file=/etc/prometheus.yml", "--storage.tsdb.path=/tmp/data",
            "--web.listen-address=127.0.0.1:0"], "Server is ready"),
}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_pods_server_runs_on_huge_pages(pods, programs, kind):
    command, ready = SERVERS[kind]
    if command[0] not in programs:
        pytest.skip(f"{command[0]} could not be fetched or built")
    sandbox = pods.run_sandbox(f"web-{kind}", ON)
    pods.start_container(sandbox, f"server-{kind}", "localhost/programs:1", command)
    wait_for(lambda: ready in pods.output(f"server-{kind}"), what="the server")
    (process,) = status_of(pods, f"web-{kind}")
    assert process["container"] == {**process["container"], "namespace": "shop", "name": f"server-{kind}",
                                    "image": "localhost/programs:1"}
    assert sum(one["huge_bytes"] for one in process["objects"]) >= 4 << 20
    assert f"shop/web-{kind}/server-{kind}" in pods.sandbox.run([*pods.ctl, "status"]).stdout


@pytest.mark.parametrize("kind,command", [
    ("pie", ["/bin/pie", "exit", "7"]), ("static", ["/bin/static", "exit", "0"]),
    ("busybox", [*BUSYBOX, "echo out; exit 3"]),
    ("script", ["/bin/start", "/bin/pie", "exit", "9"]), ("go", ["/bin/prometheus", "--version"])])
def test_output_and_exit_status_are_as_without(pods, programs, kind, command):
    if command[0] not in programs:
        pytest.skip(f"{command[0]} could not be fetched")
    seen = []
    for name, annotations in (("with", ON), ("without", {})):
        sandbox = pods.run_sandbox(f"exit-{kind}-{name}", annotations)
        container = pods.start_container(sandbox, f"exit-{kind}-{name}", "localhost/programs:1", command)
        seen.append((pods.wait_exit(container), pods.output(f"exit-{kind}-{name}")))
        pods.remove_all()
    assert seen[0] == seen[1] and seen[0][1]


def remapped(node):
    """How many launches of containers have been counted that came on huge pages."""
    text = node.sandbox.run([*node.ctl, "metrics"]).stdout
    assert text.endswith("# EOF\n")
    return sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith("hugexec_launches_total{")
               and 'via="hook",outcome="remapped",backing="thp"' in line)


def test_many_containers_at_once(pods):
    """None is lost: each is on huge pages, named, counted once; afterwards each record is gone (the fixture looks)."""
    count, before = 16, remapped(pods)
    sandbox = pods.run_sandbox("many", ON)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        starts = [threads.submit(pods.start_container, sandbox, f"many-{number}", "localhost/programs:1",
                                 ["/bin/pie", "sleep"]) for number in range(count)]
        for start in starts:
            start.result(timeout=60)
    for number in range(count):
        wait_for(lambda n=number: "ready" in pods.output(f"many-{n}"), what="all servers")
    processes = status_of(pods, "many")
    assert {process["container"]["name"] for process in processes} == {f"many-{number}" for number in range(count)}
    assert all(sum(one["huge_bytes"] for one in process["objects"]) >= 4 << 20 for process in processes)
    assert remapped(pods) == before + count
    assert f"\nhugexec_containers {count}\n" in pods.sandbox.run([*pods.ctl, "metrics"]).stdout


def test_ctr_run_with_the_hook(pods, programs, tmp_path):
    for inside, outside in programs.items():
        if inside != "/bin/prometheus":
            (tmp_path / inside[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(outside, tmp_path / inside[1:])
    told, before = [], remapped(pods)
    for number, extra in enumerate(([], ["--runc-binary", pods.ctl[0].parent / "hugexec-runtime"])):
        done = pods.ctr("run", "--rm", "--rootfs", "--annotation", "io.hugexec.remap=true", "--cgroup",
                        f"{pods.cgroup}/ctr", *extra, tmp_path, f"ctr-hook-{number}", "/bin/pie", "exit", "9")
        told.append((done.returncode, done.stdout, done.stderr))
    assert told[0] == told[1] and told[0][0] == 9
    assert remapped(pods) == before + 1


def test_the_containers_that_need_hugexec_are_known(pods):
    """What keeps hugexec-node from removing the programs: the shims of all that this handler started, hook or not."""
    def users():
        done = subprocess.run([containerd_module.INSTALL, "users"], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "NODE_ROOT": f"/proc/{pods.sandbox.keeper.pid}/root",
                                   "PREFIX": str(pods.ctl[0].parent.parent)})
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    pods.run_sandbox("not-ours", ON, handler="runc")
    assert users() == set()
    sandbox = pods.run_sandbox("ours", {})
    container = pods.start_container(sandbox, "ours", "localhost/programs:1", ["/bin/pie", "sleep"])
    assert users() == {sandbox[0], container}


def test_a_node_gets_hugexec_and_loses_it_again(tmp_path, programs):
    """
    hugexec-node beside a containerd that pods run on: it restarts containerd, which they do not notice; new pods are on
    huge pages; it is not removed before these have gone, and then the node is as it was.
    """
    prefix = tmp_path / "hugexec"
    prefix.mkdir()
    copy_programs(prefix / "bin")
    (tmp_path / "policy.json").write_text(json.dumps(
        {"version": 1, "rules": [{**RULE, "match": {"via": "hook", "annotation": ON}}]}))
    daemon = containerd_module.Containerd(tmp_path, BINARIES, None, None)
    try:
        daemon.ctl = [prefix / "bin" / "hugexecctl"]
        daemon.add_image("localhost/pause:1", {"/bin/busybox": "/bin/busybox"}, ["/bin/busybox", "sleep", "100000"])
        daemon.add_image("localhost/programs:1", {path: file for path, file in programs.items() if "prom" not in path},
                         ["/bin/busybox", "true"])
        config = pathlib.Path(f"/proc/{daemon.sandbox.keeper.pid}/root/etc/containerd/config.toml")
        before = config.read_text()

        def hugexec_node(verb):
            return daemon.sandbox.run([containerd_module.INSTALL, verb], timeout=100,
                                  env={**daemon.environment, "NODE_ROOT": "/", "SOURCE": str(prefix), "STAY": "no",
                                       "ENGINE": "containerd-1", "TMPDIR": str(tmp_path), "PREFIX": str(prefix), "POLICY": str(tmp_path / "policy.json")})

        old = daemon.start_container(daemon.run_sandbox("old", ON, handler="runc"), "old", "localhost/programs:1",
                                     ["/bin/pie", "sleep"])
        done = hugexec_node("install")
        assert done.returncode == 0 and "containerd is back" in done.stdout, done.stdout + done.stderr
        wait_for(daemon.answers, what="containerd's answer")
        assert daemon.client.ContainerStatus(container_id=old).status.state == cri.RUNNING

        sandbox = daemon.run_sandbox("new", ON)
        daemon.start_container(sandbox, "new", "localhost/programs:1", ["/bin/pie", "sleep"])
        wait_for(lambda: "ready" in daemon.output("new"), what="the server")
        (process,) = status_of(daemon, "new")
        assert sum(one["huge_bytes"] for one in process["objects"]) >= 4 << 20

        done = hugexec_node("remove")
        assert done.returncode == 1 and "2 containers still run with it" in done.stdout, done.stdout + done.stderr
        assert config.read_text() == before
        wait_for(daemon.answers, what="containerd's answer")
        assert daemon.client.ContainerStatus(container_id=old).status.state == cri.RUNNING
        with pytest.raises(cri.grpc.RpcError, match='no runtime for "hugexec"'):
            daemon.run_sandbox("late", ON)
        daemon.remove_all()
        done = hugexec_node("remove")
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (prefix / "bin").exists()
    finally:
        daemon.close()
