# SPDX-License-Identifier: Apache-2.0
"""hugexec-oci-hook under real runtimes: what a container executes has its text on huge pages, and nothing else differs."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from containers import Containers, big, tracers

from lib.machine import HUGE, POOL, changed_pool
from lib.process import wait_for
from lib.smaps import huge_text_bytes
from lib.surroundings import BUILD, PROGRAMS, ROOT, open_up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and containers need root")
RUNTIMES = ["runc", "crun"]


def script(text):
    def prepare(rootfs):
        path = rootfs / "bin" / "entrypoint"
        path.write_text(text)
        path.chmod(0o755)
    return prepare


def musl():
    return big(8, "dynamic-musl", ("musl-gcc", "-fPIE", "-pie"))


# What runs in the container: arguments, programs, settings of the rule, what else to prepare, huge bytes at least.
KINDS = {
    "static PIE": (["/bin/big", "exit", "9"], lambda: {"/bin/big": big()}, {}, None, 3 * HUGE),
    "PIE with libraries": (["/bin/big", "exit", "9"], lambda: {"/bin/big": big(8, "pie", ("cc",))}, {}, None, 3 * HUGE),
    "musl": (["/bin/big", "exit", "9"], lambda: {"/bin/big": musl()}, {}, None, 3 * HUGE),
    "static busybox": (["/bin/busybox", "sh", "-c", "echo out; echo err >&2; exit 7"], dict, {}, None, 0),
    "entrypoint script": (["/bin/entrypoint", "9"], lambda: {"/bin/big": big()}, {},
                          script("#!/bin/sh\necho begins\nexec /bin/big exit $1\n"), 3 * HUGE),
    "not PID 1": (["/bin/sh", "-c", "/bin/big exit 9; echo $?; exit 8"], lambda: {"/bin/big": big()}, {"follow": "fork"}, None,
                  3 * HUGE),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", KINDS)
def test_same_as_without(containers, runtime, kind):
    args, programs, settings, prepare, least = KINDS[kind]
    if kind == "musl" and not shutil.which("musl-gcc"):
        pytest.skip("musl-gcc is not installed")
    ours = containers(runtime, **settings)
    told = []
    for name, hook in (("plain", False), ("ours", True)):
        done = ours.run(ours.bundle(name, args, programs(), prepare=prepare, hook=hook))
        told.append((done.returncode, done.stdout, done.stderr))
    assert told[0] == told[1]
    lines = wait_for(ours.reports, what="a report")
    if least == 0:
        assert lines[-1]["outcome"] == "skipped" and lines[-1]["reason"].startswith("wrapper")
        return
    line, = [line for line in lines if line["outcome"] == "remapped"]
    assert line["via"] == "hook" and line["rule"] == "opted in" and line["reason"] is None
    assert line["exe"] == "/bin/big" and line["huge_bytes"] >= least
    assert ours.records() == []


@pytest.mark.parametrize("told", [["--namespace=shop", f"--annotation=io.hugexec.remap={value}"] for value in ("true", "false")])
def test_a_hook_that_was_told_nothing_leaves_the_container_to_one_that_was(containers, told):
    """CRI-O reads hugexec.json, and asks the plugin: the container's own annotation says yes, what the plugin says counts."""
    def change(config):
        (entry,) = config["hooks"]["createRuntime"]
        config["hooks"]["createRuntime"].append({**entry, "args": [*entry["args"][:-1], *told, "createRuntime"]})
    ours = containers()
    done = ours.run(ours.bundle("both", ["/bin/big", "exit", "9"], {"/bin/big": big()}, change=change))
    assert done.returncode == 9 and done.stderr == ""
    wait_for(lambda: not tracers(), what="the tracer's end")
    assert [line["outcome"] for line in ours.reports()] == (["remapped"] if told[1].endswith("true") else [])


def has_ended(pid):
    try:
        return "\nState:\tZ" in pathlib.Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_text_is_huge_and_nothing_stays(containers, runtime, backing):
    ours = containers(runtime, backing=[backing])
    bundle = ours.bundle("sleeps", ["/bin/big", "sleep"], {"/bin/big": big()}, annotations={
        "io.hugexec.remap": "true", "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.sandbox-namespace": "shop"})
    name, pid = ours.start(bundle)
    line = ours.report()
    assert line["backing"] == backing and line["pid"] == pid
    assert huge_text_bytes(pid) == line["huge_bytes"] >= 3 * HUGE
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "TracerPid:\t0\n" in status
    assert pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
    assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
    wait_for(lambda: not tracers(), what="the tracer to be gone")
    assert len(ours.records()) == 1
    said = ours.sandbox.run([BUILD / "shim" / "hugexecctl", "status"]).stdout
    assert "shop/web-1" in said, said
    ours.call("kill", name, "KILL")
    wait_for(lambda: has_ended(pid), what="the container's end")  # crun deletes a container that is being killed, too
    ours.delete(name)
    assert ours.records() == []


@pytest.mark.parametrize("value, rule, outcome", [("true", "pods that opted in", "remapped"), ("strict", "pods that insist", "failed"),
                                                  ("no", None, None), ("else", None, None)])
def test_the_example_for_pods(tmp_path, value, rule, outcome):
    """config/examples/opt-in-pods.json, whose entry point is a shell script, where there are no hugetlb pages."""
    rules = json.loads((ROOT / "config" / "examples" / "opt-in-pods.json").read_text())
    ours = Containers("runc", tmp_path / "pods", rules)
    try:
        bundle = ours.bundle("pod", ["/bin/entrypoint", "9"], {"/bin/big": big()}, {"io.hugexec.remap": value},
                             prepare=script("#!/bin/sh\nexec /bin/big exit $1\n"))
        with changed_pool(lambda before: 0):
            done = ours.run(bundle)
        assert done.returncode == (125 if outcome == "failed" else 9), done.stderr
        if not outcome:
            assert ours.reports() == []
            return
        line = wait_for(ours.reports, what="a report")[-1]
        assert (line["exe"], line["outcome"]) == ("/bin/big", outcome) and line["rule"].startswith(rule), line
    finally:
        ours.close()


@pytest.fixture
def no_huge_pages():
    """Make a version 2 cgroup that allows no huge pages, as a pod has that requests none, of the name that is given."""
    root = pathlib.Path("/sys/fs/cgroup/unified")
    switch = root / "cgroup.subtree_control"
    if not switch.exists() or "hugetlb" not in (root / "cgroup.controllers").read_text().split():
        pytest.skip("the hugetlb controller is not on a version 2 hierarchy beside version 1 here")
    was_on = "hugetlb" in switch.read_text().split()
    folders = []

    def make(name):
        folders.append(root / name)
        folders[-1].mkdir()
        (folders[-1] / "hugetlb.2MB.max").write_text("0")

    try:
        if not was_on:
            switch.write_text("+hugetlb")
        yield make
    finally:
        for folder in folders:
            if folder.exists():
                folder.rmdir()
        if not was_on:
            switch.write_text("-hugetlb")


def test_hugetlb_limit_of_0(no_huge_pages, containers):
    """A clear reason and the next backing, no SIGBUS. Beside version 1 runc takes the container's id for the cgroup's name."""
    with changed_pool(lambda before: before + 8):
        ours = containers(backing=["hugetlb", "thp"])
        bundle = ours.bundle("limited", ["/bin/big", "exit", "9"], {"/bin/big": big()})
        no_huge_pages(ours.name(bundle))
        done = ours.run(bundle)
        assert done.returncode == 9, done.stderr
        line = ours.report()
        assert line["backing"] == "thp" and line["reason"].startswith("hugetlb-limit"), line


def test_hugetlb_is_the_containers_own(containers):
    """With pages in the pool and no limit: from the pool, and back to it."""
    with changed_pool(lambda before: before + 8) as before:
        ours = containers(backing=["hugetlb"])
        name, pid = ours.start(ours.bundle("pool", ["/bin/big", "sleep"], {"/bin/big": big()}))
        line = ours.report()
        assert line["backing"] == "hugetlb" and huge_text_bytes(pid) == line["huge_bytes"] >= 3 * HUGE
        ours.delete(name)
        wait_for(lambda: int((POOL / "free_hugepages").read_text()) >= before + 8, what="the pool")


def memory_of(pid):
    """The memory controller's files of a process, for version 1 and 2."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return pathlib.Path("/sys/fs/cgroup/memory" + path)
    pytest.skip("the memory controller is not on a version 1 hierarchy here")


def test_memory_is_charged_to_the_container(containers):
    ours = containers(backing=["thp"])
    _, pid = ours.start(ours.bundle("charged", ["/bin/big", "sleep"], {"/bin/big": big()}))
    line = ours.report()

    def charged():
        return int(dict(text.split() for text in (memory_of(pid) / "memory.stat").read_text().splitlines())["shmem"])

    assert line["huge_bytes"] >= 3 * HUGE
    wait_for(lambda: charged() == line["huge_bytes"], what="the charge to be told")  # the kernel sums up now and then


def test_memory_limit_near_the_text(containers):
    """No room for a copy: the container runs as without."""
    def limit(config):
        config["linux"]["resources"]["memory"] = {"limit": 9 << 20}

    ours = containers(backing=["thp"])
    done = ours.run(ours.bundle("limited", ["/bin/big", "exit", "9"], {"/bin/big": big()}, change=limit))
    assert done.returncode == 9, done.stderr
    assert ours.report()["reason"].startswith("memory-limit")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("call", ["memfd_create", "mremap"])
@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
def test_seccomp_profile_of_its_own(containers, runtime, call, action):
    """The container's own filter does not see what is done for it."""
    def filtered(config):
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                                      "syscalls": [{"names": [call], "action": action}]}

    ours = containers(runtime, backing=["thp"])
    done = ours.run(ours.bundle("filtered", ["/bin/big", "exit", "9"], {"/bin/big": big()}, change=filtered))
    assert done.returncode == 9, done.stderr
    assert ours.report()["outcome"] == "remapped"


def locked_down(config):
    config["root"]["readonly"] = True
    config["process"]["noNewPrivileges"] = True
    config["process"]["capabilities"] = {}
    config["process"]["user"] = {"uid": 12345, "gid": 12345}


def in_a_user_namespace(config):
    config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("change", [locked_down, in_a_user_namespace])
@pytest.mark.parametrize("backing", ["file", "thp"])
def test_walls(containers, runtime, change, backing):
    ours = containers(runtime, backing=[backing])
    bundle = ours.bundle("walled", ["/bin/big", "exit", "9"], {"/bin/big": big()}, change=change)
    open_up(bundle)  # a user of the namespace has to reach its root
    done = ours.run(bundle, stdin=subprocess.PIPE)  # runtimes give the standard files to that user, /dev/null too
    assert done.returncode == 9, done.stderr
    line = ours.report()
    assert line["outcome"] == "remapped" and line["backing"] == backing


@pytest.mark.parametrize("backing", ["file", "thp"])
def test_no_procfs(containers, backing):
    """A container without a procfs, whose image has another program in its place (runc does not start those)."""
    def without_proc(config):
        config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/proc"]
        config["linux"].pop("maskedPaths", None)
        config["linux"].pop("readonlyPaths", None)

    def link(rootfs):
        (rootfs / "proc" / "self").mkdir(parents=True)
        (rootfs / "proc" / "self" / "exe").symlink_to("/bin/busybox")

    ours = containers("crun", backing=[backing])
    told = []
    for name, hook in (("plain", False), ("ours", True)):
        done = ours.run(ours.bundle(name, ["/bin/big", "exit", "9"], {"/bin/big": big(8, "pie", ("cc",))}, hook=hook, change=without_proc, prepare=link))
        told.append((done.returncode, done.stdout, done.stderr))
    assert told[0] == told[1] and told[0][0] == 9, told
    line = ours.report()
    assert line["outcome"] == "remapped" and line["backing"] == backing and line["rebased"] is (backing == "file")


@pytest.mark.parametrize("asks", [False, True])
def test_configuration_from_elsewhere(containers, asks):
    """crun --config: the bundle has no config.json, which matters only where a rule asks for annotations."""
    ours = containers("crun", **({} if asks else {"match": {"via": "hook"}}))
    bundle = ours.bundle("elsewhere", ["/bin/big", "exit", "9"], {"/bin/big": big()}, annotations={})
    config = bundle.parent / "config.json"
    shutil.move(bundle / "config.json", config)
    done = ours.call("run", "--bundle", bundle, "--config", config, ours.name(bundle))
    assert done.returncode == 9, done.stderr
    line = ours.report()
    if asks:
        assert line["outcome"] == "failed" and line["reason"].startswith("bundle: a rule asks for annotations"), line
    else:
        assert line["outcome"] == "remapped" and line["reason"] is None, line


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_prestart(containers, runtime):
    """The older name of the same moment."""
    def prestart(config):
        config["hooks"]["prestart"] = config["hooks"].pop("createRuntime")

    ours = containers(runtime)
    done = ours.run(ours.bundle("prestart", ["/bin/big", "exit", "9"], {"/bin/big": big()}, change=prestart))
    assert done.returncode == 9, done.stderr
    assert ours.report()["outcome"] == "remapped"


def test_not_asked_for(containers):
    """No annotation, no tracer and no report."""
    ours = containers()
    bundle = ours.bundle("plain", ["/bin/big", "sleep"], {"/bin/big": big()}, annotations={"io.hugexec.remap": "no"})
    _, pid = ours.start(bundle)
    assert ours.reports() == [] and tracers() == [] and huge_text_bytes(pid) == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_waits_for_start(containers, runtime):
    """Created, and started much later; meanwhile the tracer sleeps, holds no file of the runtime's, and is nobody's child."""
    ours = containers(runtime)
    bundle = ours.bundle("waits", ["/bin/big", "sleep"], {"/bin/big": big()})
    name = ours.create(bundle)
    tracer, = tracers()
    time.sleep(3)
    assert tracers() == [tracer] and ours.reports() == []
    files = {os.readlink(f"/proc/{tracer}/fd/{fd}") for fd in os.listdir(f"/proc/{tracer}/fd")}
    assert files == {"/dev/null"}
    status = pathlib.Path(f"/proc/{tracer}/status").read_text()
    assert "State:\tS" in status
    assert ours.call("start", name).returncode == 0
    wait_for(lambda: "ready" in (bundle / "out").read_text(), what="the program")
    assert ours.report()["outcome"] == "remapped"
    assert huge_text_bytes(ours.pid(name)) >= 3 * HUGE


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("way", ["delete", "kill"])
def test_ended_while_it_waits(containers, runtime, way):
    ours = containers(runtime)
    name = ours.create(ours.bundle("ended", ["/bin/big", "sleep"], {"/bin/big": big()}))
    assert len(tracers()) == 1
    if way == "kill":
        assert ours.call("kill", name, "KILL").returncode == 0
        wait_for(lambda: json.loads(ours.call("state", name).stdout)["status"] == "stopped", what="its end")
    assert ours.delete(name).returncode == 0
    wait_for(lambda: not tracers(), what="the tracer to be gone")
    assert ours.reports() == [] and ours.records() == []


def test_tracer_killed_while_it_waits(containers):
    """The container starts as if there had been no hook."""
    ours = containers()
    bundle = ours.bundle("orphaned", ["/bin/big", "exit", "9"], {"/bin/big": big()})
    name = ours.create(bundle)
    os.kill(tracers()[0], signal.SIGKILL)
    wait_for(lambda: not tracers(), what="the tracer to be gone")
    assert ours.call("start", name).returncode == 0
    wait_for(lambda: json.loads(ours.call("state", name).stdout)["status"] == "stopped", what="its end")
    assert "bigtext:" in (bundle / "out").read_text() and ours.reports() == []


def test_exec_pause_and_resume(containers):
    ours = containers()
    name, pid = ours.start(ours.bundle("paused", ["/bin/big", "sleep"], {"/bin/big": big()}))
    done = ours.call("exec", name, "/bin/echo", "inside")
    assert (done.returncode, done.stdout) == (0, "inside\n")
    for verb, status in (("pause", "paused"), ("resume", "running")):
        assert ours.call(verb, name).returncode == 0
        assert json.loads(ours.call("state", name).stdout)["status"] == status
    assert huge_text_bytes(pid) >= 3 * HUGE


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_many_at_once(containers, runtime):
    """None lost, and nothing left."""
    ours = containers(runtime)
    bundles = [ours.bundle(f"many{i}", ["/bin/big", "exit", "9"], {"/bin/big": big()}) for i in range(12)]
    running = [subprocess.Popen(ours.sandbox.inside(ours.words("run", "--bundle", bundle, ours.name(bundle))),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for bundle in bundles]
    try:
        assert {process.wait(120) for process in running} == {9}
    finally:
        for process in running:
            process.kill()
            process.wait(20)
    assert [line["outcome"] for line in ours.reports()] == ["remapped"] * len(bundles)
    assert ours.records() == []
    wait_for(lambda: not tracers(), what="all tracers to be gone")


@pytest.mark.parametrize("program", ["prometheus"])
def test_go_server(containers, program):
    path = PROGRAMS / "root" / "usr" / "bin" / program
    if not path.exists():
        pytest.skip(f"{path} is not there (tests/get-programs fetches it from Debian)")
    ours = containers()
    told = []
    for name, hook in (("plain", False), ("ours", True)):
        done = ours.run(ours.bundle(name, ["/bin/server", "--version"], {"/bin/server": path}, hook=hook))
        told.append((done.returncode, done.stdout, done.stderr))
    assert told[0] == told[1] and told[0][0] == 0
    assert ours.report()["outcome"] == "remapped" and ours.report()["huge_bytes"] > 8 * HUGE
