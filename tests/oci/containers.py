# SPDX-License-Identifier: Apache-2.0
"""Containers of real runtimes with hugexec's hook, in a mount sandbox (mount_sandbox.py) so that the host's policy is ours."""
import json
import os
import pathlib
import re
import shutil
import subprocess

from mount_sandbox import MountSandbox

from lib.policies import PATIENT
from lib.process import wait_for
from lib.programs import build_bigtext
from lib.surroundings import BUILD

HOOK = BUILD / "oci-hook" / "hugexec-oci-hook"
OPTED_IN = {"io.hugexec.remap": "true"}


def policy(**settings):
    """A policy that remaps every program of a container that asks for it."""
    return {"version": 1, "rules": [{"name": "opted in", "match": {"via": "hook", "annotation": OPTED_IN}, "min_text": 0,
                                     **PATIENT, **settings}]}


def big(mib=8, name="static-pie", command=("cc", "-static-pie")):
    """A program with MIB of text (tests/programs/bigtext.c)."""
    return pathlib.Path(build_bigtext(mib, name, command))


def libraries_of(program):
    """What ldd says that PROGRAM needs, the ELF interpreter among it; nothing for a static one. Musl's is all that it needs."""
    headers = subprocess.run(["readelf", "-lW", program], capture_output=True, text=True, timeout=60, check=False).stdout
    interpreter = re.search(r"interpreter: (/\S*musl\S*)\]", headers)
    if interpreter:
        return [pathlib.Path(interpreter[1])]
    told = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60, check=False).stdout
    return [pathlib.Path(path) for path in re.findall(r"(?:=> |^\s*)(/\S+)", told, re.M)]


def copy_in(rootfs, program, to):
    """PROGRAM at TO in ROOTFS, and its libraries where it looks for them."""
    for source, target in [(program, to), *((library, library) for library in libraries_of(program))]:
        copy = rootfs / str(target).lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copy(source, copy)
            copy.chmod(0o755)


class Containers:
    """Bundles and containers of one runtime, with reports of the hook in a file; all end with close()."""

    def __init__(self, runtime, folder, rules):
        self.runtime, self.folder = runtime, folder
        self.sandbox = MountSandbox(folder / "sandbox", {"hugexec/policy.json": rules})
        self.report_file = folder / "report.json"
        self.ids = []
        if runtime == "crun":  # it works on pure version 2 only
            self.sandbox.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"])

    def words(self, *words):
        options = ["--root", self.folder / "state"]
        if self.runtime == "crun":
            options.append("--cgroup-manager=disabled")
        return [self.runtime, *options, *words]

    def call(self, *words, **options):
        return self.sandbox.run(self.words(*words), **options)

    def bundle(self, name, args, programs=(), annotations=None, hook=True, change=None, prepare=None):
        """A bundle with busybox and PROGRAMS (path in the container -> file); CHANGE is called with its config."""
        folder = self.folder / f"bundle-{name}"
        rootfs = folder / "rootfs"
        for directory in ("bin", "proc", "dev", "tmp", "sys", "etc"):
            (rootfs / directory).mkdir(parents=True)
        shutil.copy("/bin/busybox", rootfs / "bin" / "busybox")
        for applet in ("sh", "cat", "sleep", "echo", "true"):
            (rootfs / "bin" / applet).symlink_to("busybox")
        for to, program in dict(programs).items():
            copy_in(rootfs, program, to)
        if prepare:
            prepare(rootfs)
        subprocess.run(["runc", "spec"], cwd=folder, check=True, timeout=120)
        path = folder / "config.json"
        config = json.loads(path.read_text())
        config["process"].update(terminal=False, args=[str(word) for word in args])
        config["process"].pop("rlimits", None)
        config["annotations"] = OPTED_IN if annotations is None else annotations
        if self.runtime == "crun":
            config["linux"].pop("resources", None)
        if hook:
            entry = {"path": str(HOOK), "args": [HOOK.name, f"--report={self.report_file}", "createRuntime"]}
            stop = {"path": str(HOOK), "args": [HOOK.name, "poststop"]}
            config["hooks"] = {"createRuntime": [entry], "poststop": [stop]}
        if change:
            change(config)
        path.write_text(json.dumps(config))
        os.sync()  # what is not written yet cannot be brought into huge pages of the page cache
        return folder

    def name(self, bundle):
        name = f"t{os.getpid()}-{bundle.name}"
        if name not in self.ids:
            self.ids.append(name)
        return name

    def run(self, bundle, **options):
        """From start to exit: CompletedProcess."""
        return self.call("run", "--bundle", bundle, self.name(bundle), **options)

    def create(self, bundle):
        """Create a container whose output goes to files; its name."""
        name = self.name(bundle)
        with open(bundle / "out", "wb") as out, open(bundle / "err", "wb") as err:
            done = subprocess.run(self.sandbox.inside(self.words("create", "--bundle", bundle, name)), stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=err, timeout=60, check=False)
        assert done.returncode == 0, (bundle / "err").read_text()
        return name

    def start(self, bundle, ready="ready\n"):
        """Create and start it, wait until it has said that it is ready; name and PID."""
        name = self.create(bundle)
        assert self.call("start", name).returncode == 0
        wait_for(lambda: ready in (bundle / "out").read_text(errors="replace"), what=f"{name} to be ready")
        return name, self.pid(name)

    def pid(self, name):
        return json.loads(self.call("state", name).stdout)["pid"]

    def reports(self):
        if not self.report_file.exists():
            return []
        return [json.loads(line) for line in self.report_file.read_text().splitlines()]

    def report(self):
        """The one report that there is, once it is there."""
        lines = wait_for(self.reports, what="a report")
        assert len(lines) == 1, lines
        return lines[0]

    def records(self):
        return self.sandbox.run(["ls", "/run/hugexec/containers"]).stdout.split()

    def delete(self, name):
        return self.call("delete", "--force", name)

    def close(self):
        for name in self.ids:
            self.delete(name)
        self.sandbox.close()


def tracers():
    """PIDs of the tracers of hooks that run."""
    found = []
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_bytes() == b"hugexec-tracer\n" and os.readlink(comm.parent / "exe").startswith(str(HOOK)):
                found.append(int(comm.parent.name))
        except OSError:
            pass
    return found
