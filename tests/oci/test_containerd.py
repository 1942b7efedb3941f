"""containerd with hugexec-runtime: through ctr, and through the CRI as a kubelet does it."""
import os
import pathlib
import shutil

import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import containerd as containerd_module  # noqa: E402  (needs what is asked for above)
import cri  # noqa: E402
from box import wait_for  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HUGEXEC_BUILD", ROOT / "build")).resolve()
PROGRAMS = pathlib.Path(os.environ.get("HUGEXEC_PROGRAMS", ROOT / "build" / "programs")).resolve()
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
    shutil.copy(BUILD / "oci-hook" / "hugexec-runtime", folder)
    shutil.copy(BUILD / "shim" / "hugexecctl", folder)
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
    inside = pathlib.Path(f"/proc/{containers.box.keeper.pid}/root/etc/hugexec/policy.d/60-kubernetes.json")
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
