# SPDX-License-Identifier: Apache-2.0
"""
The Kubernetes pieces: manifests that say what they should, programs that need nothing of the node, and hugexec-node,
which installs and removes them, on a node that is a folder.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import pytest

from lib.process import Process, wait_for
from lib.surroundings import PROGRAMS, ROOT

pytest.importorskip("yaml", reason="python3-yaml is not installed")
sys.path.insert(0, str(ROOT / "tests" / "house"))
import manifests
import yaml
from node_image import KUBERNETES, build_tree

SCRIPT = KUBERNETES / "image" / "hugexec-node"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root")


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What the image has in /opt/hugexec, built as the Containerfile does."""
    return build_tree(tmp_path_factory.mktemp("tree"))


class Node:
    """A node that is a folder, and hugexec-node on it."""

    def __init__(self, folder, tree, config=None):
        self.root = folder / "host"
        self.root.mkdir()
        self.config = self.root / "etc" / "containerd" / "config.toml"
        self.config.parent.mkdir(parents=True)
        if config is not None:
            self.config.write_text(config)
        self.policy = folder / "policy.json"
        shutil.copy(KUBERNETES / "chart" / "policy.json", self.policy)
        self.source = folder / "image"
        shutil.copytree(tree, self.source)
        # The image's programs are linked for /opt/hugexec, which this machine does not have.
        check = self.source / "bin" / "hugexecctl"
        check.write_text(f'#!/bin/sh\nexec chroot {tree.parent.parent} /opt/hugexec/bin/hugexecctl "$1" /policy.json\n')
        self.chroot_policy = tree.parent.parent / "policy.json"

    def environment(self, **more):
        shutil.copy(self.policy, self.chroot_policy)
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NODE_ROOT": str(self.root), "SOURCE": str(self.source), "POLICY": str(self.policy),
                "RESTART": "no", "ENGINE": "containerd-1", "STAY": "no", **more}

    def run(self, verb, wrap=(), **environment):
        return subprocess.run([*wrap, SCRIPT, verb], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
                              env=self.environment(**environment))

    def files(self):
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def make_node(tmp_path, tree):
    return lambda config=None: Node(tmp_path, tree, config)


def test_the_chart_is_the_one_source():
    done = subprocess.run([sys.executable, ROOT / "tests" / "house" / "manifests.py"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_renders_the_chart_knows_its_language():
    values = {"a": True, "b": "x", "c": {"d": [1]}}
    for template, shown in (("{{- if .Values.a }}\n1\n{{- else }}\n2\n{{- end }}\n", "1\n"),
                            ('{{- if or (not .Values.a) (eq .Values.b "y") }}\n1\n{{- else }}\n2\n{{- end }}\n3\n', "2\n3\n"),
                            ("{{- if not .Values.a }}\n{{- if .Values.a }}\n1\n{{- end }}\n2\n{{- end }}\n", ""),
                            ("a: {{ .Values.b }} {{ .Values.c | toJson }}\n", 'a: x {"d":[1]}\n')):
        assert manifests.render(template, values) == shown


@pytest.mark.parametrize("values", [{}, {"nodeFeatures": True}, {"prefix": "/home/kubernetes/bin/hugexec"}, {"bundles": "/run/other"}])
def test_helm_renders_the_same(values):
    helm = shutil.which("helm", path=f"{PROGRAMS}/kubernetes:{os.environ['PATH']}")
    if not helm:
        pytest.skip("no helm here (tests/kubernetes/get-programs builds it); what renders the kustomizations from its chart is not compared with it")
    for more in manifests.VALUES.values():
        settings = ",".join(f"{key}={str(value).lower()}" for key, value in {**more, **values}.items())
        words = ["--set", settings] if settings else []
        done = subprocess.run([helm, "template", "hugexec", KUBERNETES / "chart", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        by_helm = {one["kind"]: one for one in yaml.safe_load_all(done.stdout) if one}
        config = by_helm.pop("ConfigMap")
        assert config["data"]["policy.json"] == (KUBERNETES / "chart" / "policy.json").read_text()
        assert by_helm == {one["kind"]: one for one in yaml.safe_load_all(manifests.rendered({**more, **values})) if one}


def pod_of(**values):
    return next(one for one in yaml.safe_load_all(manifests.rendered(values)) if one["kind"] == "DaemonSet")["spec"]["template"]["spec"]


def mounts(pod):
    return {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize("name", manifests.VALUES)
def test_manifests(name):
    kinds = {}
    for document in documents(KUBERNETES / name / "hugexec.yaml"):
        assert document["apiVersion"]
        kinds[document["kind"]] = document
    pod = kinds["DaemonSet"]["spec"]["template"]["spec"]
    assert set(kinds) - {"RuntimeClass"} == {"DaemonSet", "ResourceQuota"}
    assert kinds["ResourceQuota"]["spec"]["scopeSelector"]["matchExpressions"][0]["values"] == [pod["priorityClassName"]]
    assert ("RuntimeClass" in kinds) == name.endswith("containerd-1")
    if "RuntimeClass" in kinds:
        assert f"containerd.runtimes.{kinds['RuntimeClass']['handler']}]" in (SCRIPT.parent / "containerd-1").read_text()
    assert f"\n{pod['containers'][0]['args'][0]})" in SCRIPT.read_text()
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    for volume, path in ((volume["name"], volume["hostPath"]["path"]) for volume in pod["volumes"] if "hostPath" in volume):
        assert [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume] == [path]


@pytest.mark.parametrize("values", [*manifests.VALUES.values(), {"nodeFeatures": True}])
def test_the_daemonset_has_no_privilege_that_it_does_not_need(values):
    pod = pod_of(**values)
    assert pod["automountServiceAccountToken"] is False
    assert not pod.get("hostNetwork") and not pod.get("hostIPC")
    assert pod.get("hostPID", False) == (values.get("engine") == "containerd-1")
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["privileged"] is False and security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
    paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert not {"/", "/etc", "/usr", "/run", "/run/containerd", "/var/lib/kubelet"} & set(paths)
    # Others' configurations have their secrets: they are looked at only to take hugexec off, and never written.
    assert [readonly for path, readonly in mounts(pod).items() if "runtime.v2.task" in path] == ([True] if "remove" in values else [])


@pytest.mark.parametrize("engine", ["nri", "containerd-1"])
def test_it_writes_only_where_the_daemonset_lets_it(make_node, engine):
    """All that is installed on a node lies below a writable mount of the manifest, at the mount's own path."""
    writable = [path for path, readonly in mounts(pod_of(engine=engine)).items() if not readonly]
    node = make_node()
    done = node.run("install", ENGINE=engine)
    assert done.returncode == 0, done.stderr
    strays = [path for path in node.files() if not any(f"/{path}".startswith(mount + "/") for mount in writable)]
    assert not strays
    assert {"opt/hugexec/bin/hugexec-runtime", "opt/hugexec/sbin/hugexec-nri", "opt/hugexec/lib/libc.so.6",
            "etc/hugexec/policy.d/60-kubernetes.json", "run/hugexec/metrics"} <= set(node.files())
    assert ("etc/containerd/config.toml" in node.files()) == (engine == "containerd-1")


def test_the_programs_need_nothing_of_the_node(tree):
    """In a root that has nothing else: no library, no loader, no shell."""
    root = tree.parent.parent
    for name in ("bin/hugexec", "bin/hugexecctl", "sbin/hugexec-nri", "libexec/hugexec/hugexec-oci-hook"):
        done = subprocess.run(["chroot", root, f"/opt/hugexec/{name}", "--version"], capture_output=True, text=True,
                              timeout=120)
        assert (done.returncode, done.stdout.split()[0]) == (0, os.path.basename(name)), done.stderr
    done = subprocess.run(["chroot", root, "/opt/hugexec/bin/hugexec-runtime", "state", "x"], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 127 and "there is no runc and no crun" in done.stderr
    for name in ("elf", "bundle"):  # locked up, an unknown word is no deed
        done = subprocess.run(["chroot", root, f"/opt/hugexec/libexec/hugexec/hugexec-{name}-reader", str(os.getpid()), "nothing"],
                              capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    for program in [*(tree / "bin").iterdir(), *(tree / "sbin").iterdir(), *(tree / "libexec" / "hugexec").iterdir()]:
        listed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, timeout=120).stdout
        for library in re.findall(r"\(NEEDED\).*\[(.*)\]", listed):
            assert (tree / "lib" / library).exists(), (program, library)


KUBEADM = """\
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.example/pause:3.9"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
          runtime_type = "io.containerd.runc.v2"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
            BinaryName = ""
            SystemdCgroup = true
[timeouts]
  "io.containerd.timeout.shim.cleanup" = "5s"
"""
OTHER_RUNTIME = """\
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = 'nvidia'   # not runc
[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia.options]
  BinaryName = "/usr/bin/nvidia-container-runtime"
"""
CONFIGS = {
    "none": (None, 2, False, None, ["hugexec", "runc"]),
    "version only": ("version = 2\n", 2, False, None, ["hugexec", "runc"]),
    "no newline at the end": ("version = 2", 2, False, None, ["hugexec", "runc"]),
    "kubeadm": (KUBEADM, 2, True, None, ["hugexec", "runc"]),
    "another runtime": (OTHER_RUNTIME, 2, False, "/usr/bin/nvidia-container-runtime", ["hugexec", "nvidia"]),
    "version 3": ("version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]\n"
                  "SystemdCgroup = true\n", 3, True, None, ["hugexec", "runc"]),
}
CRI = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}


@pytest.mark.parametrize("name", CONFIGS)
def test_containerds_configuration(make_node, name):
    before, version, systemd_cgroup, binary, runtimes = CONFIGS[name]
    node = make_node(before)
    done = node.run("install")
    assert done.returncode == 0, done.stderr
    config = tomllib.loads(node.config.read_text())
    handlers = config["plugins"][CRI[version]]["containerd"]["runtimes"]
    assert sorted(handlers) == runtimes
    assert handlers["hugexec"] == {
        "runtime_type": "io.containerd.runc.v2", "pod_annotations": ["io.hugexec.*"],
        "container_annotations": ["io.hugexec.*"],
        "options": {"BinaryName": "/opt/hugexec/bin/hugexec-runtime", "SystemdCgroup": systemd_cgroup}}
    runtime = node.root / "etc" / "hugexec" / "runtime.json"
    assert (f'"{binary}"' in runtime.read_text()) if binary else not runtime.exists()
    assert node.config.read_text().startswith(before or "")
    containerd = shutil.which("containerd", path=f"{PROGRAMS}/root/usr/bin:/usr/bin")
    if containerd and version == 2:
        dumped = subprocess.run([containerd, "--config", node.config, "config", "dump"], capture_output=True, text=True,
                                timeout=120)
        assert dumped.returncode == 0, dumped.stderr
        assert sorted(tomllib.loads(dumped.stdout)["plugins"][CRI[2]]["containerd"]["runtimes"]) == runtimes

    once = node.files()
    assert node.run("install").returncode == 0
    assert node.files() == once

    done = node.run("remove")
    assert done.returncode == 0, done.stderr
    left = {path: content for path, content in node.files().items() if path != "tmp/removed"}
    assert left == ({} if before is None else {"etc/containerd/config.toml": before.rstrip("\n").encode() + b"\n"})


@pytest.mark.parametrize("text", ["# the old format\n[plugins.cri]\n", "version = 1\n", "version = 4\n"])
def test_an_unknown_format_is_left_alone(make_node, text):
    node = make_node(text)
    done = node.run("install")
    assert done.returncode == 1 and "version 2 or 3 is needed" in done.stderr
    assert node.config.read_text() == text
    assert node.run("ready").returncode == 1


def test_a_broken_policy_does_not_reach_the_node(make_node):
    node = make_node()
    target = node.root / "etc" / "hugexec" / "policy.d" / "60-kubernetes.json"
    assert node.run("install").returncode == 0
    good = target.read_text()
    node.policy.write_text('{"version": 1, "rules": [{"match": {"vai": "hook"}}]}')
    done = node.run("install")
    assert done.returncode == 0 and "vai" in done.stderr
    assert target.read_text() == good
    node.policy.write_text('{"version": 1}')
    assert node.run("install").returncode == 0
    assert target.read_text() == '{"version": 1}'


def test_programs_stay_while_containers_need_them(make_node):
    node = make_node(KUBEADM)
    assert node.run("install").returncode == 0
    bundle = node.root / "run/containerd/io.containerd.runtime.v2.task/k8s.io/0123"
    bundle.mkdir(parents=True)
    (bundle / "options.json").write_text('{"binary_name":"/opt/hugexec/bin/hugexec-runtime"}')
    # hugexec-node's own container is none of them.
    (bundle.parent / "own").mkdir()
    (bundle.parent / "own" / "config.json").write_text('{"args":["/opt/hugexec/bin/hugexec-node","remove"]}')
    done = node.run("remove")
    assert done.returncode == 1 and "1 containers still run with it: 0123" in done.stdout
    assert node.config.read_text() == KUBEADM  # no new ones can come
    assert (node.root / "opt/hugexec/bin/hugexec-runtime").exists()
    shutil.rmtree(bundle)
    bundle = node.root / "run/containers/storage/overlay-containers/4567/userdata"  # CRI-O's
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text('{"path":"/opt/hugexec/libexec/hugexec/hugexec-oci-hook"}')
    done = node.run("remove")
    assert done.returncode == 1 and "1 containers still run with it: 4567" in done.stdout
    shutil.rmtree(bundle)
    assert node.run("remove").returncode == 0
    assert not (node.root / "opt/hugexec/bin/hugexec-runtime").exists()


def test_what_an_administrator_has_made_stays(make_node):
    node = make_node(OTHER_RUNTIME)
    runtime = node.root / "etc" / "hugexec" / "runtime.json"
    runtime.parent.mkdir(parents=True)
    runtime.write_text('{"version": 1, "runtime": "/usr/bin/crun"}')
    assert node.run("install").returncode == 0
    assert node.run("remove").returncode == 0
    assert runtime.read_text() == '{"version": 1, "runtime": "/usr/bin/crun"}'


def test_a_disk_that_is_full_leaves_no_half_program(make_node, tmp_path):
    """The node's folder is a file system that is too small: nothing that is there is cut short, and it is told."""
    node = make_node(KUBEADM)
    prefix = node.root / "opt" / "hugexec"
    prefix.mkdir(parents=True)
    script = f'mount -t tmpfs -o size=600k tmpfs {prefix} && "$0" install; echo $?; ls -RA {prefix}'
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, SCRIPT],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NODE_ROOT": str(node.root),
                               "SOURCE": str(node.source), "POLICY": str(node.policy), "RESTART": "no", "ENGINE": "containerd-1"})
    assert "cannot write" in done.stderr and "\n1\n" in "\n" + done.stdout
    assert node.config.read_text() == KUBEADM
    assert "hugexec-new" not in done.stdout


def test_in_an_update_the_old_pod_does_not_bring_its_policy_back(make_node, tmp_path):
    """Both follow their own for a while: the one that ends leaves alone what the other has put there, until its own changes."""
    node, commands, ticks = make_node(KUBEADM), tmp_path / "commands", tmp_path / "ticks"
    commands.mkdir()
    (commands / "sleep").write_text(f"#!/bin/sh\necho >>{ticks}\nexec /bin/sleep 0.1\n")
    (commands / "sleep").chmod(0o755)
    placed = node.root / "etc" / "hugexec" / "policy.d" / "60-kubernetes.json"
    with Process([SCRIPT, "run"], env=node.environment(PATH=f"{commands}:/usr/sbin:/usr/bin:/sbin:/bin"), stdin=subprocess.DEVNULL,
                 start_new_session=True) as process:
        try:
            wait_for((node.root / "tmp" / "ready").exists, what="the node's programs", process=process)
            placed.write_text("another pod's")
            before = ticks.stat().st_size if ticks.exists() else 0
            wait_for(lambda: ticks.stat().st_size > before + 10, what="some looks at the policy")
            assert placed.read_text() == "another pod's"
            node.policy.write_text('{"version": 1, "rules": [{"match": {"namespace": "shop"}}]}')
            node.environment()
            wait_for(lambda: placed.read_text() == node.policy.read_text(), what="its own policy, which has changed")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


SUPERVISE = """
# As PID 1: start containerd again whenever it ends; end with the status of the command.
"$@" & command=$!
start() { "$CONTAINERD" <&- >&- 2>&- & daemon=$!; }
start
while kill -0 $command 2>/dev/null; do
	kill -0 $daemon 2>/dev/null || { wait $daemon; start; }
	sleep 0.1
done
wait $command
"""
FAKE = """#!/bin/sh
echo $$ >>"$PIDS"
if grep -q hugexec "$NODE_ROOT/etc/containerd/config.toml" && [ "$TASTE" = bad ]; then exit 1; fi
trap 'exit 0' TERM
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("taste", ["good", "bad"])
def test_containerd_is_restarted_and_a_bad_configuration_taken_back(make_node, tmp_path, taste):
    node = make_node(KUBEADM)
    fake = tmp_path / "containerd"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    pids = tmp_path / "pids"
    supervisor = tmp_path / "supervisor"
    supervisor.write_text(f"#!/bin/sh\n{SUPERVISE}")
    supervisor.chmod(0o755)
    wrap = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", supervisor]
    environment = {"RESTART": "yes", "PATIENCE": "8", "CONTAINERD": str(fake), "PIDS": str(pids), "TASTE": taste}
    done = node.run("install", wrap=wrap, **environment)
    starts = pids.read_text().split()
    if taste == "good":
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(starts) == 2 and "containerd is back" in done.stdout
        assert "hugexec" in node.config.read_text()
    else:
        assert done.returncode == 1 and "as before again" in done.stdout
        assert len(starts) > 2
        assert node.config.read_text() == KUBEADM
        # A pod that fails is started again and again; containerd must not be.
        pids.unlink()
        done = node.run("install", wrap=wrap, **environment)
        assert done.returncode == 1 and "did not come back with this configuration" in done.stdout
        assert len(pids.read_text().split()) == 1
    assert not list(node.config.parent.glob("*.hugexec-*"))
