# SPDX-License-Identifier: Apache-2.0
"""
The Kubernetes pieces: manifests that say what they should, programs that need nothing of the node, and hugexec-node,
which installs and removes them, on a node that is a folder.
"""
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest

from lib.surroundings import PROGRAMS, ROOT

yaml = pytest.importorskip("yaml", reason="python3-yaml is not installed")
KUBERNETES = ROOT / "oci-hook" / "kubernetes"
SCRIPT = KUBERNETES / "image" / "hugexec-node"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="chroot and namespaces need root")


def documents(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """What the image has in /opt/hugexec, built as the Containerfile does."""
    folder = tmp_path_factory.mktemp("tree")
    done = subprocess.run([KUBERNETES / "image" / "build-tree", ROOT, folder / "build", folder / "out"],
                          capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out" / "opt" / "hugexec"


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
        shutil.copy(KUBERNETES / "base" / "policy.json", self.policy)
        self.source = folder / "image"
        shutil.copytree(tree, self.source)
        # The image's programs are linked for /opt/hugexec, which this machine does not have.
        check = self.source / "bin" / "hugexecctl"
        check.write_text(f'#!/bin/sh\nexec chroot {tree.parent.parent} /opt/hugexec/bin/hugexecctl "$1" /policy.json\n')
        self.chroot_policy = tree.parent.parent / "policy.json"

    def run(self, verb, wrap=(), **environment):
        shutil.copy(self.policy, self.chroot_policy)
        return subprocess.run([*wrap, SCRIPT, verb], capture_output=True, text=True, timeout=120,
                              stdin=subprocess.DEVNULL,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NODE_ROOT": str(self.root),
                                   "SOURCE": str(self.source), "POLICY": str(self.policy), "RESTART": "no",
                                   "STAY": "no", **environment})

    def files(self):
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def make_node(tmp_path, tree):
    return lambda config=None: Node(tmp_path, tree, config)


def test_manifests():
    names = {}
    for path in KUBERNETES.rglob("*.yaml"):
        for document in documents(path):
            assert document["apiVersion"] and document["kind"], path
            names[path.relative_to(KUBERNETES)] = document
            for resource in document.get("resources", []):
                assert (path.parent / resource).exists(), resource
            for patch in document.get("patches", []):
                assert yaml.safe_load(patch["patch"]), path
            for generator in document.get("configMapGenerator", []):
                assert all((path.parent / file).exists() for file in generator["files"])
    kinds = {document["kind"] for document in names.values()}
    assert kinds == {"Kustomization", "Namespace", "RuntimeClass", "DaemonSet"}
    script = SCRIPT.read_text()
    runtime_class = names[pathlib.Path("base/runtimeclass.yaml")]
    assert f"containerd.runtimes.{runtime_class['handler']}]" in script
    pod = names[pathlib.Path("base/daemonset.yaml")]["spec"]["template"]["spec"]
    assert pod["nodeSelector"].items() >= runtime_class["scheduling"]["nodeSelector"].items()
    assert f"\n{pod['containers'][0]['args'][0]})" in script


def test_what_the_variant_for_cri_o_leaves_out_is_there():
    """A patch that deletes by a name that the base does not have would delete nothing."""
    base = documents(KUBERNETES / "base" / "daemonset.yaml")[0]["spec"]["template"]["spec"]
    (variant,) = documents(KUBERNETES / "cri-o" / "kustomization.yaml")
    patches = [yaml.safe_load(patch["patch"]) for patch in variant["patches"]]
    (daemonset,) = [patch for patch in patches if patch["kind"] == "DaemonSet"]
    assert [patch for patch in patches if patch.get("$patch") == "delete"][0]["kind"] == "RuntimeClass"
    pod = daemonset["spec"]["template"]["spec"]
    for mine, its, key in ((pod["volumes"], base["volumes"], "name"),
                           (pod["containers"][0]["volumeMounts"], base["containers"][0]["volumeMounts"], "mountPath")):
        deleted = {item[key] for item in mine if item.get("$patch") == "delete"}
        there = {item[key] for item in its}
        added = {item[key] for item in mine} - deleted
        assert deleted and deleted <= there and added and not added & there
    volumes = {item["name"] for item in base["volumes"] + pod["volumes"]} - {
        item["name"] for item in pod["volumes"] if item.get("$patch") == "delete"}
    mounts = {item["mountPath"]: item.get("name") for item in
              base["containers"][0]["volumeMounts"] + pod["containers"][0]["volumeMounts"]}
    assert {name for name in mounts.values() if name} == volumes


def test_the_daemonset_has_no_privilege_that_it_does_not_need():
    pod = documents(KUBERNETES / "base" / "daemonset.yaml")[0]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert not pod.get("hostNetwork") and not pod.get("hostIPC")
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["privileged"] is False and security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
    paths = [volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume]
    assert not {"/", "/etc", "/usr", "/run", "/run/containerd", "/var/lib/kubelet"} & set(paths)


def test_it_writes_only_where_the_daemonset_lets_it(make_node):
    """All that is installed on a node lies below a writable mount of the manifest, at the mount's own path."""
    container = documents(KUBERNETES / "base" / "daemonset.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    writable = [mount["mountPath"].removeprefix("/host/") for mount in container["volumeMounts"]
                if mount["mountPath"].startswith("/host/") and not mount.get("readOnly")]
    node = make_node()
    done = node.run("install")
    assert done.returncode == 0, done.stderr
    strays = [path for path in node.files() if not any(path.startswith(mount + "/") for mount in writable)]
    assert not strays
    assert {"opt/hugexec/bin/hugexec-runtime", "opt/hugexec/lib/libc.so.6", "etc/containerd/config.toml",
            "etc/hugexec/policy.d/60-kubernetes.json", "run/hugexec/metrics"} <= set(node.files())
    assert node.run("ready").returncode == 0


def test_the_programs_need_nothing_of_the_node(tree):
    """In a root that has nothing else: no library, no loader, no shell."""
    root = tree.parent.parent
    for name in ("bin/hugexec", "bin/hugexecctl", "libexec/hugexec/hugexec-oci-hook"):
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
    for program in [*(tree / "bin").iterdir(), *(tree / "libexec" / "hugexec").iterdir()]:
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
    left = {path: content for path, content in node.files().items() if not path.endswith("/.ready")}
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


def test_cri_o_gets_a_hooks_d_file(make_node):
    node = make_node()
    done = node.run("install", CONTAINER_RUNTIME="cri-o")
    assert done.returncode == 0, done.stderr
    hook = yaml.safe_load((node.root / "usr/share/containers/oci/hooks.d/hugexec.json").read_text())
    assert hook["version"] == "1.0.0" and hook["stages"] == ["createRuntime", "poststop"]
    assert hook["hook"]["path"] == "/opt/hugexec/libexec/hugexec/hugexec-oci-hook"
    (pattern, value), = hook["when"]["annotations"].items()
    assert re.search(pattern, "io.hugexec.remap") and not re.search(pattern, "xio.hugexec.remapx")
    assert re.search(value, "anything")
    assert not node.config.exists()
    assert node.run("remove", CONTAINER_RUNTIME="cri-o").returncode == 0
    assert [path for path in node.files() if not path.endswith(".ready")] == []


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
                               "SOURCE": str(node.source), "POLICY": str(node.policy), "RESTART": "no"})
    assert "cannot write" in done.stderr and "\n1\n" in "\n" + done.stdout
    assert node.config.read_text() == KUBEADM
    assert ".ready" not in done.stdout and "hugexec-new" not in done.stdout


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
