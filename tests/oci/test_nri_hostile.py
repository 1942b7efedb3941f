# SPDX-License-Identifier: Apache-2.0
"""
Pods that mean no good, on a node with hugexec-nri: they cannot choose what the policy does not offer, nor have the host look at a file that
is not their own, nor forge what is shown of them. And an engine's messages that somebody garbles on the way.
"""
import contextlib
import ctypes
import json
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading

import pytest

from lib.process import Process, wait_for
from lib.surroundings import BUILD, LIBC
from programs import bigtext as bigtext_generator

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cri
from nri_node import BUSYBOX, HUGE, NEEDED, TEXT_BYTES, Node, policy_of

CTL = BUILD / "shim" / "hugexecctl"
IN_OPEN, IN_ACCESS, IN_MODIFY = 0x20, 0x1, 0x2
pytestmark = NEEDED


@pytest.fixture(scope="module")
def module_node(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("node"))
    yield node
    node.close()


@pytest.fixture
def node(module_node):
    module_node.policy(policy_of({"via": "hook"}))
    run = module_node.daemon.sandbox.run
    assert run(["sh", "-c", "mkdir -p /run/hugexec && : >/run/hugexec/metrics"]).returncode == 0
    yield module_node
    module_node.end_pods()
    assert sorted(run(["ls", "-A", "/run/hugexec"]).stdout.split()) in (["containers", "metrics"], ["metrics"]), "something else is left"
    run(["rm", "/run/hugexec/metrics"])


class Canaries:
    """Files of the host's that no pod has, and whether anybody has opened them."""

    def __init__(self, folder, programs):
        self.folder = folder / "of-the-host"
        self.folder.mkdir()
        for name, path in programs.items():
            shutil.copy(path, self.folder / name)
        for name in ("policy.json", "disabled", "report"):
            (self.folder / name).write_text("{}")
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK)
        for path in self.folder.iterdir():
            assert LIBC.inotify_add_watch(self.fd, ctypes.c_char_p(os.fsencode(path)), IN_OPEN | IN_ACCESS | IN_MODIFY) > 0

    def are_opened(self):
        ready, _, _ = select.select([self.fd], [], [], 0)
        return bool(ready and os.read(self.fd, 4096))


@pytest.fixture
def canaries(tmp_path, node):
    made = Canaries(tmp_path, {"static": node.program, "libbig.so": library(tmp_path / "libhost.so"), "ld.so.cache": "/etc/ld.so.cache"})
    yield made
    os.close(made.fd)


def library(path):
    """A library with 8 MiB of text."""
    bigtext_generator.build(8, str(path), ("cc", "-shared", "-fPIC"))
    return str(path)


def start_image(node, name, files, command, **how):
    """A pod of an image of its own, with FILES besides the usual ones."""
    node.daemon.add_image(f"localhost/hostile/{name}:1", {"/bin/busybox": "/bin/busybox", **files}, ["/bin/busybox", "true"])
    sandbox = node.daemon.run_sandbox(name, how.pop("annotations", None), handler="", **how)
    return node.daemon.start_container(sandbox, f"c-{name}", f"localhost/hostile/{name}:1", command)


def of_pod(node, name):
    """What status says of the processes in pod NAME."""
    return [process for process in node.status() if process["container"]["pod"] == name]


def link(folder, name, to):
    path = folder / name
    path.symlink_to(to)
    return str(path)


def wait_ready(node, name):
    wait_for(lambda: "ready" in node.daemon.output(f"c-{name}"), what="the server")


def test_canaries_tell(tmp_path):
    """Otherwise the tests below would prove nothing."""
    made = Canaries(tmp_path, {})
    assert not made.are_opened()
    (made.folder / "policy.json").read_text()
    assert made.are_opened() and not made.are_opened()
    os.close(made.fd)


WISH = {"version": 1, "rules": [{"match": {}, "min_text": 0, "backing": ["file", "hugetlb"], "on_error": "fail"}]}


def test_a_pod_brings_a_policy_of_its_own(node, tmp_path, canaries):
    """In its image, at all places where the host has it, and named in its annotations: the host's counts, which says thp."""
    wish = tmp_path / "wish.json"
    wish.write_text(json.dumps(WISH))
    places = ("/etc/hugexec/policy.json", "/etc/hugexec/policy.d/99.json", "/run/hugexec/policy.json", "/usr/lib/hugexec/policy.json",
              "/usr/lib/hugexec/policy.d/99.json")
    names = ("backing", "policy", "report", "min_text", "rule", "on_error", "remap")
    annotations = {f"io.hugexec.{name}": value for name in names for value in ("hugetlb", str(canaries.folder / "policy.json"))}
    start_image(node, "wishes", {"/bin/static": node.program, "/run/hugexec/disabled": str(wish), **dict.fromkeys(places, str(wish))}, HUGE,
                annotations=annotations)
    wait_ready(node, "wishes")
    (process,) = of_pod(node, "wishes")
    assert {one["backing"] for one in process["objects"]} == {"thp"}
    assert not canaries.are_opened()


def test_links_in_an_image_lead_to_no_file_of_the_host(node, tmp_path, canaries):
    """hugexec's own places, which the host's side opens by name, are links to files of the host's that the container does not have."""
    links = {"/etc/hugexec": canaries.folder, "/run/hugexec": canaries.folder, "/usr/lib/hugexec": canaries.folder,
             "/etc/ld.so.cache": canaries.folder / "ld.so.cache", "/etc/ld.so.conf": "../" * 20 + str(canaries.folder / "policy.json")}
    files = {place: link(tmp_path, f"link-{number}", to) for number, (place, to) in enumerate(links.items())}
    start_image(node, "links", {"/bin/static": node.program, **files}, HUGE)
    wait_ready(node, "links")
    assert of_pod(node, "links")
    assert not canaries.are_opened()


def dynamic(tmp_path, canaries):
    """A program whose library is searched in folders that lead to the host's, before its own: {path in the image: path here}."""
    own = library(tmp_path / "libbig.so")
    program = tmp_path / "dynamic"
    source = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"ready\"); fflush(stdout); for (;;) pause(); }\n"
    subprocess.run(["cc", "-x", "c", "-", "-x", "none", own, "-Wl,--no-as-needed", f"-L{tmp_path}", "-lbig", "-o", program, "-Wl,--disable-new-dtags",
                    f"-Wl,-rpath,{canaries.folder}:/links:/up:/own"], input=source, text=True, check=True, timeout=60)
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=60,
                           env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}).stdout
    libraries = [word for word in found.split() if word.startswith(("/lib/", "/lib64/", "/usr/lib/"))]
    return {"/bin/dynamic": str(program), "/own/libbig.so": own, **{path: os.path.realpath(path) for path in libraries},
            "/links": link(tmp_path, "to-host", canaries.folder), "/up/libbig.so": link(tmp_path, "up", "../" * 20 + str(canaries.folder / "libbig.so")),
            "/etc/ld.so.cache": link(tmp_path, "cache", canaries.folder / "ld.so.cache")}


def test_libraries_are_looked_up_in_the_container(node, tmp_path, canaries):
    """What ld.so would not find in the container, the host does not open either; and the pod has its own library."""
    files = dynamic(tmp_path, canaries)
    canaries.are_opened()  # by the linker and ldd
    node.policy(policy_of({"via": "hook"}, min_text="0", libraries=True, backing=["file", "thp"], file_timeout="60s", hold_timeout="120s"))
    start_image(node, "libraries", files, ["/bin/dynamic"])
    wait_ready(node, "libraries")
    assert node.daemon.client.ContainerStatus(container_id=node.daemon.containers[-1]).status.state == cri.RUNNING
    assert not canaries.are_opened()


PROGRAMS = {"a link to the host's program": lambda canaries: str(canaries.folder / "static"),
            "a link out of the root": lambda canaries: "../" * 20 + str(canaries.folder / "static"),
            "by its init's root": lambda canaries: f"/proc/1/root{canaries.folder}/static",
            "by the runtime's own": lambda canaries: "/proc/self/exe"}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_program_that_is_the_hosts(node, tmp_path, canaries, kind):
    """The engine refuses it, or it does what it does: the same with and without hugexec; and nobody opens the host's."""
    said = []
    for number, policy in enumerate((policy_of({"via": "hook"}, min_text="0"), {"version": 1})):
        node.policy(policy)
        name = f"program-{number}"
        files = {"/bin/server": link(tmp_path, name, PROGRAMS[kind](canaries))}
        try:
            said.append(node.daemon.wait_exit(start_image(node, name, files, ["/bin/server", "exit", "0"])))
        except cri.grpc.RpcError as error:
            said.append(error.code())
    assert said[0] == said[1]
    assert not canaries.are_opened()


def test_annotations_as_large_as_kubernetes_allows(node):
    """256 KiB in all; a rule asks for each of them. The pod runs, and what could not be told on counts as unknown."""
    names = [f"io.hugexec.{number}" for number in range(64)]
    rules = policy_of({"annotation": dict.fromkeys(names, "*")}, *({"annotation": {name: "x*"}} for name in names))
    node.policy(rules)
    assert node.daemon.wait_exit(node.pod("large", [*BUSYBOX, "exit 3"], annotations=dict.fromkeys(names, "x" * 3900))) == 3
    assert node.daemon.wait_exit(node.pod("one", [*BUSYBOX, "exit 4"], annotations={names[0]: "x" * (250 << 10)})) == 4


NASTY = "\n\x1b[2J\x9b\r}\"] 1\nHUGEXEC_OUTCOME=remapped\n--image=trusted:1"


class Journal:
    """What is sent to the journal's socket in the node's sandbox."""

    def __init__(self, node, folder):
        self.path = folder / "entries"
        listen = ("import os, socket, sys; os.makedirs('/run/systemd/journal', exist_ok=True); s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
                  "s.bind('/run/systemd/journal/socket'); print(flush=True)\n"
                  "f = open(sys.argv[1], 'ab', buffering=0)\n"
                  "while True: f.write(s.recv(1 << 16) + b'\\0\\0\\0END')")
        self.node = node
        self.process = Process([str(word) for word in node.daemon.sandbox.inside([sys.executable, "-I", "-c", listen, self.path])],
                               stdout=subprocess.PIPE)
        self.process.stdout.readline()

    def entries(self):
        """[{field: value}], as the journal's protocol has it."""
        found = []
        for entry in (self.path.read_bytes() if self.path.exists() else b"").split(b"\0\0\0END")[:-1]:
            fields = {}
            while entry:
                line, _, rest = entry.partition(b"\n")
                name, equals, value = line.partition(b"=")
                if not equals:
                    (length,) = struct.unpack("<Q", rest[:8])
                    value, rest = rest[8:8 + length], rest[9 + length:]
                assert name not in fields, "a field is forged"
                fields[name.decode()], entry = value.decode(errors="replace"), rest
            found.append(fields)
        return found

    def close(self):
        for pid, words in self.node.daemon.processes():
            if str(self.path).encode() in words:
                os.kill(pid, 9)
        self.process.wait(60)
        self.node.daemon.sandbox.run(["rm", "/run/systemd/journal/socket"])


@pytest.fixture
def journal(node, tmp_path):
    made = Journal(node, tmp_path)
    yield made
    made.close()


def test_names_that_forge_lines(node, journal):
    """An engine that hands on any name: none of what is shown of the pod has a line, a field or a label more than it should."""
    node.policy(policy_of({"pod": "*nasty*"}))
    node.pod(f"nasty{NASTY}", HUGE, namespace=f"space{NASTY}", labels={"x": NASTY}, annotations={"y": NASTY})
    wait_for(lambda: [one for one in node.status() if one["container"]["pod"].startswith("nasty")], what="the server")
    for words in (["status"], ["status", "--pods"], ["metrics"]):
        done = node.daemon.sandbox.run([CTL, *words])
        assert done.returncode == 0 and not set(done.stdout) & {"\x1b", "\r", "\x9b"}, done.stdout
        assert not [line for line in done.stdout.splitlines() if line.startswith(("--image", "HUGEXEC", "}"))]
        assert "trusted:1\n" not in done.stdout
    labels = [line for line in done.stdout.splitlines() if line.startswith("hugexec_launches_total") and 'namespace="space?' in line]
    assert len(labels) == 1 and 'outcome="remapped"' in labels[0] and labels[0].endswith("} 1")
    (entry,) = wait_for(journal.entries, what="the entry")
    assert entry["HUGEXEC_POD"] == f"nasty{NASTY}" and entry["HUGEXEC_NAMESPACE"] == f"space{NASTY}"
    assert entry["HUGEXEC_IMAGE"] == "localhost/shop/static:1"


def test_launches_count_by_namespace(node, journal):
    """By what the engine says: a pod that gives itself the other's name does not count there."""
    node.huge_pod("counted", namespace="shop", annotations={"io.kubernetes.cri.sandbox-namespace": "other", "io.kubernetes.pod.namespace": "other"})
    shown = node.daemon.sandbox.run([CTL, "metrics"]).stdout
    assert 'namespace="shop"} 1' in shown and 'namespace="other"' not in shown
    assert {entry["HUGEXEC_NAMESPACE"] for entry in wait_for(journal.entries, what="the entry")} == {"shop"}


def test_a_process_that_fakes_what_proc_says(node):
    """A file and a process whose names look like lines of smaps and the end of stat: status has the kernel's numbers, and the record stays."""
    name = "/bin/x) Z 1 1 1\nFilePmdMapped:   999999 kB\nAnonHugePages:   999999 kB"
    start_image(node, "faker", {name: node.program}, [name, "sleep"])
    wait_ready(node, "faker")
    (process,) = of_pod(node, "faker")
    assert TEXT_BYTES <= sum(one["huge_bytes"] for one in process["objects"]) < 2 * (8 << 20)
    done = node.daemon.sandbox.run([CTL, "status", "--pods", "--no-legend"])
    assert len(done.stdout.splitlines()) == 1 and done.stdout.split()[0] == "1"


def test_a_privileged_pod_hides_its_proc(node):
    """By files of its own: the host looks at its own /proc."""
    fake = "mount -t tmpfs tmpfs /proc && mkdir -p /proc/1/ns /proc/self && echo fake | tee /proc/1/stat >/proc/self/smaps && exec /bin/static sleep"
    node.pod("proc", ["/bin/busybox", "sh", "-c", f"export PATH=/bin; alias mount='busybox mount' mkdir='busybox mkdir' tee='busybox tee'\n{fake}"],
             privileged=True)
    wait_ready(node, "proc")
    (process,) = wait_for(lambda: of_pod(node, "proc"), what="huge text")
    assert process["command"] == "static" and sum(one["huge_bytes"] for one in process["objects"]) >= TEXT_BYTES


def test_others_are_left_alone(node):
    """What one pod says of itself, with all names that hugexec knows, does nothing for or to another."""
    node.policy(policy_of({"annotation": {"io.hugexec.remap": "true"}}))
    node.pod("asks", HUGE, annotations={"io.hugexec.remap": "true", "io.hugexec.pod": "silent", "io.hugexec.namespace": "*"},
             labels={"io.hugexec.remap": "true"})
    silent = node.pod("silent", HUGE)
    wait_ready(node, "asks")
    wait_ready(node, "silent")
    assert node.hooks(silent) == {} and set(node.huge()) == {"asks"}


class Garbling:
    """Between the plugin and the engine: hands on what both say, and changes some of the engine's bytes once it is told to."""

    def __init__(self, path, engine):
        self.engine, self.dice, self.share = engine, random.Random(1), 0.0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.connections = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                plugin, _ = self.listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self.engine)
                self.connections += 1
                threading.Thread(target=self.pump, args=(engine, plugin, self.garble), daemon=True).start()
                threading.Thread(target=self.pump, args=(plugin, engine, bytes), daemon=True).start()

    def garble(self, data):
        data = bytearray(data)
        for at in range(len(data)):
            if self.dice.random() < self.share:
                data[at] = self.dice.randrange(256)
        return bytes(data)

    @staticmethod
    def pump(source, to, change):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                to.sendall(change(data))
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_messages_that_are_garbled_on_the_way(node, tmp_path):
    """The plugin gets nonsense while pods start: every pod starts, and the plugin comes back."""
    node.end()
    engine = f"/proc/{node.daemon.sandbox.keeper.pid}/root/run/nri/nri.sock"
    garbling = Garbling(tmp_path / "between", engine)
    try:
        node.start([node.bin / "hugexec-nri", f"--socket={tmp_path}/between"])
        assert node.hooks(node.pod("before"))
        for number, share in enumerate((0.001, 0.01, 0.1, 0.5) * 3):
            garbling.share = share
            assert node.daemon.wait_exit(node.pod(f"garbled-{number}", [*BUSYBOX, "exit 7"])) == 7
        garbling.share = 0.0
        assert garbling.connections > 1
        assert node.plugin.poll() is None
        wait_for(lambda: node.hooks(node.pod(f"after-{garbling.connections}-{os.urandom(4).hex()}")), what="the plugin's return")
    finally:
        if node.plugin.poll() is None:
            node.end()
        garbling.close()
