# SPDX-License-Identifier: Apache-2.0
"""hugexec-nri and an engine that the tests play: what it adds to which container, and that nothing an engine sends harms it."""
import os
import pathlib
import random
import signal
import struct
import subprocess

import nri_engine
import pytest
from mount_sandbox import MountSandbox
from nri_engine import Engine, create_container, field

from lib.process import status_of, wait_for
from lib.surroundings import BUILD

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")

PLUGIN = BUILD / "oci-hook" / "hugexec-nri"
HOOK = str(BUILD / "oci-hook" / "hugexec-oci-hook")


def policy_of(*matches):
    return {"version": 1, "rules": [{"match": match} for match in matches]}


class Plugin:
    """hugexec-nri, started with its own /etc/hugexec, and the engine at its socket."""

    def __init__(self, folder, policy):
        self.sandbox = MountSandbox(folder / "sandbox", {"hugexec/policy.json": policy})
        self.socket = folder / "nri.sock"
        self.log = folder / "nri.log"
        self.engine = Engine(self.socket)
        self.start()

    def start(self, *options):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.sandbox.inside([PLUGIN, f"--socket={self.socket}", *options]), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=log)

    def policy(self, policy):
        self.sandbox.write({"hugexec/policy.json": policy}, {})

    def said(self):
        return self.log.read_text()

    def peak_kib(self):
        return int(status_of(self.process.pid)["VmHWM"].split()[0])

    def close(self):
        self.process.kill()
        self.process.wait(60)
        self.engine.close()
        self.sandbox.close()


@pytest.fixture
def plugin(tmp_path):
    plugin = Plugin(tmp_path, policy_of({"via": "hook"}))
    yield plugin
    plugin.close()


@pytest.fixture
def engine(plugin):
    plugin.engine.register()
    return plugin.engine


def test_it_registers_itself_for_new_containers_only(plugin):
    (name, index), configured = plugin.engine.register()
    assert (name, index) == ("hugexec", "90")
    assert nri_engine.every(configured, 2) == [1 << 3]
    wait_for(lambda: "registered with fake 1.2" in plugin.said(), what="the plugin's word")


def test_the_ready_file_is_there_while_an_engine_has_it(plugin, tmp_path):
    """It is its maker's: a plugin that has been replaced does not take the new one's with it."""
    ready = tmp_path / "ready"
    ready.write_text("left by one that was killed")
    plugin.engine.register()
    plugin.process.kill()
    plugin.process.wait(60)
    plugin.start(f"--ready-file={ready}")
    plugin.engine.register()
    wait_for(lambda: "ready=true" in subprocess.run(["cat", ready], capture_output=True, text=True, check=False).stdout, what="the file")
    assert ready.read_text() == "hugexec.io/ready=true\n"
    plugin.engine.close()
    wait_for(lambda: not ready.exists(), what="the file's end")
    plugin.engine = Engine(plugin.socket)
    plugin.engine.register()
    wait_for(ready.exists, what="the file")
    ready.unlink()
    ready.write_text("another plugin's")
    plugin.process.terminate()
    assert plugin.process.wait(60) == 0
    assert ready.read_text() == "another plugin's"


def test_the_hook_is_added_with_what_it_has_to_know(plugin, engine):
    added = engine.create(image="registry.example/web:7", labels={"app": "web"}, pod_annotations={"io.hugexec.remap": "true"})
    assert added.hooks["createRuntime"][0] == HOOK
    # No rule asks for a label or an annotation.
    assert added.told == ["--namespace=shop", "--pod=web-0", "--container=server", "--image=registry.example/web:7"]
    plugin.policy(policy_of({"label": {"app": "web"}, "annotation": {"io.hugexec.remap": "t*"}}))
    added = engine.create(labels={"app": "web", "tier": "x"}, pod_annotations={"io.hugexec.remap": "true", "other": "y"})
    assert added.told == ["--namespace=shop", "--pod=web-0", "--container=server", "--annotation=io.hugexec.remap=true",
                          "--label=app=web"]


MATCHES = {
    "namespace": ({"namespace": "sh?p"}, {"namespace": "shop2"}),
    "pod": ({"pod": "web-*"}, {"pod": "db-0"}),
    "container": ({"container": "server"}, {"name": "sidecar"}),
    "image": ({"image": "registry.example/*:7"}, {"image": "registry.example/web:8"}),
    "label": ({"label": {"app": "web"}}, {"labels": {"app": "db"}}),
    "a label that is none": ({"label": {"app": "web"}}, {"labels": {}, "pod_annotations": {"app": "web"}}),
    "annotation": ({"annotation": {"on": "true"}}, {"pod_annotations": {"on": "false"}}),
    "an annotation that is none": ({"annotation": {"on": "true"}}, {"pod_annotations": {}, "labels": {"on": "true"}}),
}


@pytest.mark.parametrize("name", MATCHES)
def test_the_policy_says_which_containers(plugin, engine, name):
    match, other = MATCHES[name]
    wanted = {"image": "registry.example/web:7", "labels": {"app": "web"}, "pod_annotations": {"on": "true"}}
    plugin.policy(policy_of(match))
    assert engine.create(**wanted).hooks
    assert not engine.create(**{**wanted, **other}).hooks


def test_a_pod_cannot_name_itself_what_the_engine_does(plugin, engine):
    """The container's annotations are the engine's; those of the pod's with the same names do not count, nor do another engine's."""
    mine = {"io.kubernetes.cri.sandbox-namespace": "trusted", "io.kubernetes.cri.image-name": "trusted:1",
            "io.kubernetes.cri-o.ImageName": "trusted:1"}
    engines = {"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.image-name": "web:7"}
    plugin.policy(policy_of({"annotation": {"io.kubernetes.cri.sandbox-namespace": "trusted"}}))
    assert not engine.create(pod_annotations=mine, annotations=engines).hooks
    plugin.policy(policy_of({"namespace": "trusted"}, {"image": "trusted:1"}))
    assert not engine.create(pod_annotations=mine, annotations=engines).hooks
    assert not engine.create(pod_annotations=mine).hooks
    # An engine that hands on what it does not know: one of the two names is not its own.
    assert not engine.create(annotations={**engines, "io.kubernetes.cri-o.ImageName": "trusted:1"}).hooks
    plugin.policy(policy_of({"image": "web:7"}))
    assert engine.create(annotations=engines).hooks


def test_what_no_rule_wants_and_what_is_there_already(plugin, engine):
    there = field(10, field(2, field(1, HOOK) + field(2, "hugexec-oci-hook")))
    another = field(10, field(2, field(1, "/usr/bin/another")))
    assert not engine.create(hooks=there).hooks
    assert engine.create(hooks=another).hooks
    plugin.policy(policy_of({"via": "shim"}))
    assert not engine.create().hooks


def test_a_hook_that_the_engine_has_from_a_file(plugin, engine):
    """
    It knows no labels: if rules ask for anything of a pod, the plugin adds one that knows, to which the other leaves the container, also
    one that no rule wants. Not if there is one of another plugin's already.
    """
    plain, told = (field(10, field(2, field(1, "/elsewhere/hugexec-oci-hook") + b"".join(field(2, arg) for arg in args)))
                   for args in ((), ("hugexec-oci-hook", "--namespace=shop", "createRuntime")))
    plugin.policy(policy_of({"label": {"app": "web"}}))
    assert "--label=app=web" in engine.create(hooks=plain, labels={"app": "web"}).told
    assert engine.create(hooks=plain, labels={"app": "db"}).hooks
    assert not engine.create(hooks=plain + told, labels={"app": "web"}).hooks
    assert not engine.create(hooks=told, labels={"app": "web"}).hooks
    plugin.policy(policy_of({"via": "hook"}))
    assert not engine.create(hooks=plain, labels={"app": "web"}).hooks


def test_a_change_of_the_policy_holds_at_once_and_a_broken_one_adds_nothing(plugin, engine):
    plugin.policy({"version": 1})
    assert not engine.create().hooks
    plugin.policy("{")
    assert not engine.create().hooks
    wait_for(lambda: "policy-invalid" in plugin.said(), what="the plugin's word")
    plugin.policy(policy_of({"pod": "web-0"}))
    assert engine.create().hooks
    assert plugin.sandbox.run(["sh", "-c", "mkdir -p /run/hugexec && : >/run/hugexec/disabled"]).returncode == 0
    assert not engine.create().hooks


@pytest.mark.parametrize("value", ["x" * 4001, "a\0b", b"\xff\xfe"])
def test_what_could_not_be_told_on_counts_as_unknown(plugin, engine, value):
    """Text that is no UTF-8 in an answer would fail the container."""
    plugin.policy(policy_of({"label": {"app": "*"}}, {"namespace": "shop"}))
    assert engine.create(labels={"app": value}).told == ["--namespace=shop", "--pod=web-0", "--container=server"]
    assert not engine.create(labels={"app": value}, namespace="other").hooks


def test_more_than_can_be_told_is_cut(plugin, engine):
    names = {f"a{number}": "y" * 4000 for number in range(300)}
    plugin.policy(policy_of(*({"annotation": {name: "y*"}} for name in names)))
    told = engine.create(pod_annotations=names).told
    assert 10 < len(told) < 130 and told[:3] == ["--namespace=shop", "--pod=web-0", "--container=server"]
    assert len("".join(told)) < 128 * 1024


@pytest.mark.parametrize("method", ["Shutdown", "RunPodSandbox", "StateChange", "NotYetInvented", ""])
def test_what_it_does_not_know_gets_an_empty_answer(engine, method):
    assert engine.ask(method, create_container()) == b""
    assert engine.create().hooks


def test_a_synchronisation_in_parts_is_acknowledged(engine):
    containers = field(2, field(1, "x") * 3) * 5
    assert nri_engine.every(engine.ask("Synchronize", containers + field(3, 1)), 2) == [1]
    assert engine.ask("Synchronize", containers) == b""


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_messages_in_many_frames(plugin, engine, piece):
    assert nri_engine.Adjustment(engine.ask("CreateContainer", create_container(), piece=piece)).hooks


def test_frames_of_connections_that_are_none_are_passed_over(engine):
    engine.frame(7, b"x" * 100000)
    engine.frame(1, b"")
    assert engine.create().hooks


MALFORMED = {
    "a frame that is too large": struct.pack(">II", 1, 0xffffffff),
    "a message that is too large": struct.pack(">IIIIBB", 1, 10, 5 << 20, 3, 1, 0),
    "nothing but ones": b"\xff" * 5000,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_stream_that_makes_no_sense_ends_the_connection_only(plugin, engine, name):
    engine.raw(MALFORMED[name])
    with pytest.raises((EOFError, ConnectionError)):
        engine.take(1)
    engine.register()
    assert engine.create().hooks
    assert "nri: a " in plugin.said()


def test_a_request_that_makes_no_sense_gets_an_empty_answer(plugin, engine):
    whole = create_container(labels={"app": "web"}, image="web:7")
    for length in range(1, len(whole)):
        answer = nri_engine.Adjustment(engine.ask("CreateContainer", whole[:length]))
        assert not answer.hooks or answer.told[0] == "--namespace=shop"
    dice = random.Random(1)
    for _ in range(300):
        engine.ask("CreateContainer", bytes(dice.randrange(256) for _ in range(dice.randrange(200))))
    assert engine.create().hooks
    assert plugin.process.poll() is None


def test_an_engine_that_ends_and_comes_back(plugin, engine):
    for _ in range(3):
        engine.close()
        plugin.engine = engine = Engine(plugin.socket)
        engine.register()
        assert engine.create().hooks
    assert "the engine has closed the connection" in plugin.said()


def test_an_engine_that_refuses_it_is_asked_again(plugin):
    plugin.engine.refuse("not now")
    plugin.engine.refuse("not now")
    plugin.engine.register()
    assert plugin.engine.create().hooks
    assert plugin.said().count("the engine refuses the plugin: not now") == 1


def test_killed_and_started_again(plugin, engine):
    plugin.process.kill()
    plugin.process.wait(60)
    plugin.start()
    engine.register()
    assert engine.create().hooks


def test_it_ends_on_sigterm_with_and_without_an_engine(plugin, engine):
    plugin.process.terminate()
    assert plugin.process.wait(60) == 0
    engine.close()
    plugin.start()
    wait_for(lambda: "no engine at" in plugin.said(), what="the plugin's word")
    plugin.process.send_signal(signal.SIGINT)
    assert plugin.process.wait(60) == 0
    plugin.engine = Engine(plugin.socket)


def test_memory_with_many_containers(plugin, engine):
    """1,000 containers known: they come in one message of almost 4 MiB, as large as there are."""
    container = field(1, "0" * 64) + field(3, "server") + field(8, "X=" + "y" * 3700)
    known = field(2, container) * 1000
    assert 3 << 20 < len(known) < 4 << 20
    engine.ask("Synchronize", known)
    for number in range(1000):
        assert engine.create(pod=f"web-{number}", more=field(8, "Y=" + "z" * 20000)).hooks
    assert plugin.peak_kib() < 8 * 1024


def test_it_holds_no_descriptors_and_no_children(plugin, engine):
    before = len(os.listdir(f"/proc/{plugin.process.pid}/fd"))
    for _ in range(100):
        engine.create()
    assert len(os.listdir(f"/proc/{plugin.process.pid}/fd")) == before
    children = pathlib.Path(f"/proc/{plugin.process.pid}/task/{plugin.process.pid}/children").read_text()
    assert children == ""


@pytest.mark.parametrize("words", [["--socket"], ["--socket=" + "x" * 108], ["extra"], ["--no-such"]])
def test_wrong_usage(words):
    done = subprocess.run([PLUGIN, *words], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "") and "hugexec-nri --help" in done.stderr
