# SPDX-License-Identifier: Apache-2.0
"""
hugexec-nri with engines whose configuration does not know of hugexec: pods as a kubelet starts them, by the handler that there is anyway. All
cases with containerd 2, most of them with containerd 1.7, whose NRI has to be switched on, and with CRI-O. And what else can add the hook: the
hook-injector, NRI's own plugin for files of hooks.d, and CRI-O, which reads these files itself.
"""
import concurrent.futures
import functools
import json
import os
import shutil
import signal
import time

import pytest

from lib.process import wait_for
from lib.surroundings import BUILD, PROGRAMS

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cri
import crio
import engines
from nri_node import BUSYBOX, HUGE, TEXT_BYTES, Node, has_large_folios, policy_of, text_of

INJECTOR = shutil.which("hook-injector", path=f"{PROGRAMS}/newer:{os.environ['PATH']}")
ON = {"io.hugexec.remap": "true"}

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="engines need root"),
              pytest.mark.skipif(not shutil.which("runc"), reason="no runc here (tests/deps fetches it)")]


def on(*names):
    """The decorator of a test that is for the engines of these NAMES."""
    return pytest.mark.parametrize("module_node", names, indirect=True, scope="module")


NEWEST, CRI_O = on("containerd-2"), on("cri-o")
EVERY = on(*engines.ENGINES)


@pytest.fixture(scope="module")
def module_node(request, tmp_path_factory):
    binaries, reason, _ = engines.ENGINES[request.param]
    if not binaries:
        pytest.skip(reason)
    if request.param == "cri-o" and crio.missing():
        pytest.skip(f"no {', '.join(crio.missing())} here (tests/deps fetches them)")
    node = Node(tmp_path_factory.mktemp("node"), make_engine=functools.partial(engines.make, request.param))
    yield node
    node.close()


@pytest.fixture
def node(module_node):
    module_node.policy(policy_of({"via": "hook"}))
    yield module_node
    module_node.end_pods()


WANTED = {
    "namespace": {"namespace": "shop"}, "pod": {"pod": "wanted-*"}, "container": {"container": "c-wanted*"},
    "image": {"image": "localhost/shop/*"}, "label": {"label": {"app": "web"}}, "annotation": {"annotation": ON},
}


@EVERY
@pytest.mark.parametrize("kind", WANTED)
def test_a_pod_gets_huge_text_by(node, kind):
    """containerd passes no annotation and no label on: hugexec-nri tells the hook."""
    node.policy(policy_of(WANTED[kind]))
    assert node.huge_pod(f"wanted-{kind}", labels={"app": "web"}, annotations=ON) >= TEXT_BYTES
    if kind != "image":
        assert node.huge_pod(f"other-{kind}", namespace="another", labels={"app": "db"}) == 0


@EVERY
def test_a_hostile_pod_gets_no_other_pods_rule(node):
    """Annotations with all names that an engine or hugexec could take facts from."""
    node.policy(policy_of({"namespace": "trusted"}, {"pod": "trusted"}, {"container": "trusted"}, {"image": "trusted"},
                          {"label": {"trusted": "yes"}}))
    names = ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name",
             "io.kubernetes.cri.image-name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name",
             "io.kubernetes.cri-o.ImageName", "io.hugexec.namespace", "namespace", "trusted")
    container = node.pod("hostile", annotations=dict.fromkeys(names, "trusted"), labels={"x": "--label=trusted=yes"})
    assert node.hooks(container) == {}


@EVERY
def test_a_container_that_no_rule_wants_has_no_hook(node):
    node.policy(policy_of({"via": "shim"}))
    assert node.hooks(node.pod("plain")) == {}


@EVERY
def test_output_and_exit_status_are_as_without(node):
    seen = []
    for name in ("with", "without"):
        if name == "without":
            node.policy({"version": 1})
        container = node.pod(f"exit-{name}", ["/bin/static", "exit", "7"])
        seen.append((node.daemon.wait_exit(container), node.daemon.output(f"c-exit-{name}"), bool(node.hooks(container))))
    assert seen[0][:2] == seen[1][:2] == (7, seen[0][1]) and [one[2] for one in seen] == [True, False]


@EVERY
def test_many_pods_at_once(node):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        starts = [threads.submit(node.pod, f"many-{number}", HUGE) for number in range(16)]
        for start in starts:
            start.result(timeout=120)
    for number in range(16):
        wait_for(lambda n=number: "ready" in node.daemon.output(f"c-many-{n}"), what="all servers")
    huge = node.huge()
    assert all(huge.get(f"many-{number}", 0) >= TEXT_BYTES for number in range(16))


@NEWEST
def test_pods_share_one_copy_from_the_first_on(node, tmp_path):
    """The image was unpacked a moment ago and is not on the disk yet: that of the first pod is written, and none has a copy of its own."""
    if not has_large_folios(tmp_path, node.program):
        pytest.skip("this filesystem and kernel have no large folios")
    node.policy(policy_of({"via": "hook"}, backing=["file"], file_timeout="60s", hold_timeout="120s"))
    (tmp_path / "mark").write_text(str(time.time_ns()))  # another layer than any before
    node.daemon.add_image("localhost/shop/static:1", {"/bin/busybox": "/bin/busybox", "/bin/static": node.program,
                                                      "/mark": str(tmp_path / "mark")}, ["/bin/busybox", "true"])
    count = 30
    pids = []
    for number in range(count):
        container = node.pod(f"share-{number}", HUGE)
        wait_for(lambda n=number: "ready" in node.daemon.output(f"c-share-{n}"), what="the server")
        pids.append(node.host_pid(container))
        assert text_of(pids[-1])[1] >= TEXT_BYTES, f"pod {number} has a copy of its own"
    shown = [text_of(pid) for pid in pids]
    text_bytes = max(huge for _, huge in shown) + (2 << 20)  # and ends on small pages
    assert sum(pss for pss, _ in shown) <= 1.1 * text_bytes


@EVERY
def test_killed_and_started_again(node):
    """Without a plugin pods start without hugexec, at once; it comes back to an engine that never ended."""
    assert node.hooks(node.pod("before"))
    node.end(signal.SIGKILL)
    assert node.hooks(node.pod("between")) == {}
    node.start()
    assert node.hooks(node.pod("after"))


@EVERY
def test_stopped_it_holds_one_pod_as_long_as_the_engine_lets_it(node):
    """The engine waits two seconds (plugin_request_timeout), and gives it up; when it goes on, it registers itself again."""
    before = node.registrations()
    pid = node.plugin_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        took = []
        for number in range(3):
            began = time.monotonic()
            container = node.pod(f"stopped-{number}")
            took.append(time.monotonic() - began)
            assert node.hooks(container) == {}
        assert took[0] >= 2 and min(took[1:]) < took[0], took
    finally:
        os.kill(pid, signal.SIGCONT)
        node.plugin.send_signal(signal.SIGCONT)  # nsenter stops itself when its child does
    wait_for(lambda: node.registrations() > before, what="the plugin's return")
    assert node.hooks(node.pod("continued"))


@EVERY
def test_the_engine_ends_and_is_started_again(node):
    """Pods that run do not notice; the plugin comes back by itself."""
    old = node.pod("old", HUGE)
    wait_for(lambda: "ready" in node.daemon.output("c-old"), what="the server")
    before = node.registrations()
    node.daemon.restart()
    wait_for(lambda: node.registrations() > before and node.daemon.answers(), what="the engine and the plugin")
    assert node.daemon.client.ContainerStatus(container_id=old).status.state == cri.RUNNING
    assert node.huge()["old"] >= TEXT_BYTES
    assert node.hooks(node.pod("new"))


@EVERY
def test_a_policy_that_is_broken_stops_no_pod(node):
    node.policy("{")
    assert node.daemon.wait_exit(node.pod("broken", [*BUSYBOX, "exit 5"])) == 5


@EVERY
def test_a_hook_that_is_gone_stops_no_pod(node):
    """hugexec is being removed: the plugin looks before it adds a hook whose absence would fail the container."""
    hook = node.bin / "hugexec-oci-hook"
    hook.rename(node.bin / "elsewhere")
    try:
        container = node.pod("gone", [*BUSYBOX, "exit 6"])
        assert node.daemon.wait_exit(container) == 6 and node.hooks(container) == {}
    finally:
        (node.bin / "elsewhere").rename(hook)


@pytest.fixture
def hooks_d(node):
    """The file that `make install` puts there, in the folder that CRI-O watches; what hook it has in it."""
    hook = json.loads((BUILD / "oci-hook" / "hugexec.json").read_text())
    hook["hook"]["path"] = str(node.bin / "hugexec-oci-hook")
    file = node.daemon.inside(crio.HOOKS) / "hugexec.json"
    file.write_text(json.dumps(hook))
    yield hook["hook"]["path"]
    file.unlink()


def wait_for_file(node):
    """Until CRI-O has seen that of hooks_d, while there is no plugin."""
    wait_for(lambda: node.hooks(node.pod(f"probe-{time.monotonic_ns()}", annotations=ON)), what="CRI-O's notice of the file")


@CRI_O
def test_cri_o_reads_hooks_d_itself(node, hooks_d):
    """Without the plugin: pods with the annotation get the hook, which CRI-O tells their annotations and names, but not their labels."""
    node.end()
    wait_for_file(node)
    container = node.pod("opted-in", annotations=ON)
    assert {stage: [hook["path"] for hook in hooks] for stage, hooks in node.hooks(container).items()} == {"createRuntime": [hooks_d], "poststop": [hooks_d]}
    assert node.hooks(node.pod("other")) == {}
    for kind, match in {**WANTED, "pod": {"pod": "hooked-*"}, "container": {"container": "c-hooked-*"}}.items():
        node.policy(policy_of(match))
        huge = node.huge_pod(f"hooked-{kind}", labels={"app": "web"}, annotations=ON)
        assert (huge >= TEXT_BYTES) == (kind != "label"), kind
    node.policy(policy_of({"annotation": {"io.hugexec.remap": "false"}}))
    assert node.huge_pod("another-value", annotations=ON) == 0
    assert node.daemon.wait_exit(node.pod("exits", [*BUSYBOX, "exit 7"], annotations=ON)) == 7


@CRI_O
def test_cri_o_with_both(node, hooks_d):
    """CRI-O has added that of the file before it asks the plugin: one hook does the work, and if rules ask for anything it is the plugin's."""
    node.end()
    wait_for_file(node)
    node.start()
    container = node.pod("both", annotations=ON)
    assert [len(hooks) for hooks in node.hooks(container).values()] == [1, 1]
    assert node.huge_pod("both-huge", annotations=ON) >= TEXT_BYTES
    rule = policy_of(WANTED["label"], backing=["thp"])
    skip = {"name": "never", "match": {"label": {"app": "db"}}, "action": "skip"}
    node.policy({**rule, "rules": [skip, *rule["rules"], *policy_of({"annotation": ON})["rules"]]})
    for name, labels, is_wanted in (("labelled", {"app": "web"}, True), ("annotated", {}, True), ("never", {"app": "db"}, False)):
        assert (node.huge_pod(name, labels=labels, annotations=ON) >= TEXT_BYTES) == is_wanted, name


@NEWEST
@pytest.mark.skipif(not INJECTOR, reason="no hook-injector here (go install github.com/containerd/nri/plugins/hook-injector)")
def test_the_hook_injector_in_its_place(node):
    """
    It adds the same hook from hugexec.json, for pods with the annotation. But the annotation does not reach the hook, which knows only
    what containerd writes into config.json: rules may ask for the namespace and the names, not for annotations and labels.
    """
    node.end()
    hook = json.loads((BUILD / "oci-hook" / "hugexec.json").read_text())
    hook["hook"]["path"] = str(node.bin / "hugexec-oci-hook")
    node.daemon.sandbox.write({"containers/oci/hooks.d/hugexec.json": hook}, {})
    try:
        node.start([INJECTOR, "-idx", "10", "-disableWatch"])
        node.policy(policy_of({"namespace": "shop"}))
        assert node.huge_pod("injected", annotations=ON) >= TEXT_BYTES
        assert node.huge_pod("not-injected") == 0
        node.policy(policy_of({"annotation": ON}))
        assert node.hooks(node.pod("unheard", annotations=ON))["createRuntime"][0]["path"] == hook["hook"]["path"]
        assert node.huge_pod("unheard-of", annotations=ON) == 0
    finally:
        node.end(signal.SIGKILL)
        (node.daemon.sandbox.etc / "containers/oci/hooks.d/hugexec.json").unlink()
