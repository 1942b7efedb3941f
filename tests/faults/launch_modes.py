# SPDX-License-Identifier: Apache-2.0
"""Launch modes: how a program comes to be remapped, each run under the injector (inject.c) and compared with a plain run."""
import collections
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from errno_table import leaves_memory, may_end_it

NO_FAULT = ("none", 0, 0, 0)
# More pointers than are read from the stack at once.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "MARK": "fault-run", **{f"V{number}": "" for number in range(600)}}
COUNTS_MAX = 40  # of one call in one role: smaps is read in many pieces

# Calls of one role and name that are many: all steps of the tracer's.
COUNTS_OF = {"ptrace": 500, "wait4": 500, "mmap": 200}

# Ways to launch: policy settings, backing, options of the injector, words before the program, program, and what it goes
# through: a helper, where calls of the client fail or those of the helper; or the container hook, before the container's
# program begins ("hook") or when all is over ("poststop").
LAUNCH_MODES = {
    "thp": ({}, "thp", [], [], "probe"),
    "file": ({}, "file", [], [], "probe"),
    "file, legacy layout": ({}, "file", [], [], "probe"),
    "file, static PIE": ({}, "file", [], [], "probe-static-pie"),
    "file, static PIE out of step": ({}, "file", [], [], "probe-static-odd"),
    "file, cold": ({}, "file", [], ["/bin/sh", "-c", 'dd if="$1" iflag=nocache count=0 status=none; exec "$@"', "sh"], "probe-large"),
    "file, read-only data": ({"rodata": True}, "file", [], ["/bin/sh", "-c", 'dd if="$1" iflag=nocache count=0 status=none; exec "$@"', "sh"], "probe-rodata"),
    "file, much text": ({}, "file", [], [], "probe-large"),
    "hugetlb": ({}, "hugetlb", [], [], "probe"),
    "hugetlb, no pages for the cgroup": ({}, "hugetlb", [], [], "probe"),
    "thp, much text": ({"perf_map": True}, "thp", [], [], "probe-large"),
    "thp, much text rounded out": ({"round_out": True}, "thp", [], [], "probe-large"),
    "thp, a perf map is there": ({"perf_map": True}, "thp", [], ["/bin/sh", "-c", 'touch /tmp/perf-$$.map; exec "$@"', "sh"], "probe"),
    "thp, rounded out": ({"round_out": True, "perf_map": True}, "thp", [], [], "probe"),
    "libraries, thp": ({"libraries": True, "perf_map": True}, "thp", [], [], "probe"),
    "a library, file": ({"libraries": {"include": ["/**/libtext.so"], "exclude": ["/**/libc.so*"]}, "follow": "none"}, "file", [], [], "probe-lib"),
    "a library that comes later": ({"libraries": {"prepare": ["/tmp/hugexec-faults-*/libtext.so"]}, "coverage": "full", "min_text": "2M",
                                    "follow": "none"}, "file", [], [], "probe-small"),
    "a library, by its path": ({"libraries": {"include": ["/**/libtext.so"]}, "follow": "none"}, "thp", [], [], "probe-lib"),
    "a library, perf map": ({"libraries": True, "perf_map": True, "round_out": True, "follow": "none"}, "thp", [], [], "probe-lib-large"),
    "libraries that take long": ({"libraries": True}, "thp", [], [], "probe-slow"),
    "file, else thp": ({"libraries": True}, "file,thp", [], [], "probe"),
    "through a script": ({"follow": "exec"}, "thp", [], ["/bin/sh", "-c", 'exec "$@"', "sh"], "probe"),
    "with a filter in sight": ({}, "thp", ["--honest"], [], "probe"),
    "through hugexecd": ({}, "thp", ["--honest"], [], "probe", "client"),
    "through hugexecd, libraries": ({"libraries": True}, "file,thp", ["--honest"], [], "probe", "client"),
    "hugexecd itself": ({}, "thp", ["--honest"], [], "probe", "helper"),
    "the hook, thp": ({}, "thp", ["--honest"], [], "probe", "hook"),
    "the hook, file": ({}, "file", ["--honest"], [], "probe", "hook"),
    "the hook, libraries": ({"libraries": True}, "hugetlb,file,thp", ["--honest"], [], "probe", "hook"),
    "the hook, blind to its filter": ({}, "thp", [], [], "probe", "hook"),
    "the hook, at the end": ({}, "thp", ["--honest"], [], "probe", "poststop"),
    "the runtime": ({}, "thp", ["--honest"], [], "probe", "runtime"),
    "attach, thp": ({"perf_map": True}, "thp", ["--honest"], [], "probe", "attach"),
    "attach, libraries": ({"libraries": True}, "file,hugetlb,thp", ["--honest"], [], "probe", "attach"),
    "attach, in a call with a time limit": ({}, "thp", ["--honest"], [], "probe", "attach"),
    "hugexecctl explain": ({}, "file", ["--honest"], [], "probe", "tool"),
    "hugexecctl doctor": ({}, "file", ["--honest"], [], "probe", "tool"),
    "hugexecctl status": ({}, "file", ["--honest"], [], "probe", "tool"),
    "hugexecctl warm": ({}, "file", ["--honest"], [], "probe", "tool"),
}
# What comes of a way without a failure, where that is not "remapped".
OUTCOMES = {"a library, file": "skipped", "a library that comes later": "skipped", "libraries that take long": "skipped",
            "hugetlb, no pages for the cgroup": "failed", "the hook, blind to its filter": "failed"}
# Words before all of a way: ld.so where programs are moved to; without the right to use /proc/PID/map_files (and so none
# to set filters, but for who gives up privileges).
SURROUNDINGS = {"file, legacy layout": ["setarch", "-L"],
                "a library, by its path": ["setpriv", "--bounding-set=-sys_admin,-checkpoint_restore", "--inh-caps=-all", "--no-new-privs"]}
# Modes in a cgroup of their own (provoked_reasons.CGROUPS).
IN_CGROUP = {"hugetlb, no pages for the cgroup": "unified"}

# Ways that take more than a second: only these calls of the tracer's fail, without which it would not hear of anything.
ONLY_CALLS = {"libraries that take long": ("ptrace", "wait4", "rt_sigtimedwait")}

CONTAINER = "fault-run-1"
# As the policy of the host, from below FOLDER.
ON_HOST = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t overlay -o lowerdir=$1:/etc none /etc && shift && exec "$@"', "sh"]
# A runtime that tells what it is asked for, and of which bundle.
RUNTIME = '#!/bin/sh\necho "$@"\nls -A "$3"\ncat "$3/config.json"\nexit 42\n'
OPTED_IN = {"io.hugexec.remap": "true"}

# (role, call) whose failure may show, and what then is right.
ALLOWED = {
    # COMMAND could not be executed: 126 or 127 and a line about it, as env(1) does, and nothing has run.
    ("hugexec", "execve"): lambda plain, ours: ours[0] in (126, 127) and re.fullmatch("hugexec: [^\n]*\n", ours[1]),
}

# The container's init, waiting for leave to execute its program as a runtime's does: in a mount namespace of its own.
INIT = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'echo ready; read go; exec "$@" </dev/null', "sh"]
# Root attaches to another user's process.
AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# The hook leaves words in /run.
PRIVATE_RUN = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
# Words of two containers that have ended, as the hook writes them: what a poststop hook has to sweep.
ENDED = ["sh", "-c", 'mkdir -p /run/hugexec/containers && cd /run/hugexec/containers && touch one.4194300.1 two.4194301.1 && exec "$@"',
         "sh"]


def difference(plain, ours):
    """A few lines of what one says and the other does not."""
    before, after = plain[1].splitlines() if plain else [], ours[1].splitlines()
    lines = [line for line in after if line not in before] + [f"(missing) {line}" for line in before if line not in after]
    return f"status {ours[0]}, plain {plain and plain[0]}\n    " + "\n    ".join(line[:200] for line in lines[:6])


def extra_mappings_only(plain, ours):
    plain, ours = plain.splitlines(), ours.splitlines()
    counted = collections.Counter(ours)
    counted.subtract(plain)
    return all(line.startswith(("map: ", "text: ")) for line, count in counted.items() if count)


class LaunchMode:
    def __init__(self, name, folder, build):
        settings, backing, self.options, before, program, *through = LAUNCH_MODES[name]
        self.through = through[0] if through else None
        self.socket, self.environment = folder / f"{name.replace(' ', '-')}.socket", dict(ENVIRONMENT)
        if self.through:
            self.environment["HUGEXEC_HELPER"] = str(self.socket)
        self.name, self.folder = name, folder
        self.surroundings = SURROUNDINGS.get(name, [])  # words before all others
        self.preload = {}  # environment of hugexec's own programs: a libc that says no (malloc_fail.c)
        self.waits_for_libraries = bool(settings.get("libraries"))
        self.program = [*before, str(folder / program)]
        policy = folder / f"{name.replace(' ', '-')}.json"
        policy.write_text(json.dumps({"version": 1, "rules": [{"match": {"exe": str(folder / program)}, "min_text": 0,
                                                               **self.settings(backing), **settings}]}))
        policy.chmod(0o644)
        self.helper = [str(build / "shim" / "hugexecd"), f"--policy={policy}"]
        self.report = folder / f"{name.replace(' ', '-')}.report"
        self.ours = [str(build / "shim" / "hugexec"), f"--policy={policy}", f"--backing={backing}", f"--report={self.report}", "--",
                     *self.program]

    @staticmethod
    def settings(backing):  # of the rule; the backing is said on the command line
        return {}

    @contextlib.contextmanager
    def daemon(self, words):
        """hugexecd through the injector, on a socket of its own."""
        path = pathlib.Path(f"{self.socket}.{threading.get_ident()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen(64)
            number = listener.fileno()
            process = subprocess.Popen([*self.injector(words), *self.helper], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env={**self.environment, **self.preload, "LISTENER": str(number)},
                                       pass_fds=[number], start_new_session=True)
            try:
                yield path
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(40)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)

    def injector(self, words):
        return [str(self.folder / "inject"), *map(str, words), *self.options, "--"]

    def run(self, words, command):
        """(status, output) of COMMAND, with the injector for it or for the helper that it asks."""
        if self.through == "helper":
            with self.daemon(words) as path:
                return self.run_command(NO_FAULT, command, path)
        if self.through == "client":
            with self.daemon(NO_FAULT) as path:
                return self.run_command(words, command, path)
        return self.run_command(words, command, None)

    def run_command(self, words, command, path):
        environment = {**self.environment, **self.preload, **({"HUGEXEC_HELPER": str(path)} if path else {})}
        done = subprocess.run([*self.surroundings, *self.injector(words), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=environment, timeout=60, check=False, cwd="/")
        return done.returncode, self.without_chance(done.stdout.decode(errors="replace"), path)

    @staticmethod
    def without_numbers(text):
        """The numbers of pipes, processes, namespaces."""
        text = re.sub(r"pipe:\[\d+\]", "pipe", text)
        text = re.sub(r"^(map: \w+ \S+ \w+) 00:\w+", r"\1 00", text, flags=re.M)  # a filesystem's that is mounted anew for each run
        text = re.sub(r"(mnt|user):\[\d+\]", r"\1", text)
        text = re.sub(r"status PPid:\t\d+", "status PPid", text)
        # Signals 32 and 33 are libc's own: posix_spawn(3) has a child ignore them or not, by what its parent has done before.
        text = re.sub(r"(status SigIgn:\t\w{7})\w(\w{8})", lambda found: f"{found[1]}-{int(found[2], 16) & 0x7fffffff:08x}", text)
        return text

    def without_chance(self, text, path):
        """The probe's output without what differs from one plain run to the next."""
        text = self.without_numbers(text)
        text = text.replace(str(path), "HELPER") if path else text
        text = re.sub(r"(environ: )\d+", r"\1", text)
        if "round_out" in LAUNCH_MODES[self.name][0]:
            # Whether a slot is filled by what lies before and behind the text depends on the load address.
            text = re.sub(r"^(text: .*|map: \w+ r--p .*/probe[-\w]*)\n", "", text, flags=re.M)
        if "probe-static" in str(self.program[-1]) or "legacy" in self.name:  # the vDSO and ld.so lie above or below it, by chance
            text = "".join(sorted(text.splitlines(True)))
        if "probe-lib" in str(self.program[-1]):
            # Where an aligned library comes to stand is chance, and so are the order of mappings and which of them join.
            copied = "file" not in LAUNCH_MODES[self.name][1]
            text = "".join(sorted(line for line in text.splitlines(True) if not re.fullmatch(r"map: \w+ rw-p 0 00 \n", line) and
                                  not (copied and re.match(r"map: \w+ r-xp .*/libtext.so|text: ", line))))
        return text

    def record(self):
        """Note the calls of a launch without a failure, by (role, number, count), and what is the same in all plain runs."""
        self.plain = self.run(NO_FAULT, self.program)
        assert self.plain[0] == 42, self.plain
        self.recorded = self.calls()

    def calls(self):
        file = self.folder / "record"
        calls = collections.OrderedDict()
        for _ in range(2):  # what only one of two launches did may be met, too
            for _ in range(5):  # a busy machine, or a build that counts lines, may be too slow to write the report in time
                ours = self.run(["record", file], self.ours)
                if "cannot write the report" not in ours[1]:
                    break
            assert ours == self.plain or self.plain is None, f"{self.name}: differs without a failure: {difference(self.plain, ours)}"
            for line in file.read_text().splitlines():
                role, number, count, by_loader, argument = line.split()
                if role != "workload" and by_loader == "0" and int(count) < COUNTS_OF.get(self.names[int(number)], COUNTS_MAX):
                    calls[role, int(number), int(count)] = int(argument)
        self.check_outcome()
        return calls

    def check_outcome(self):
        outcome = json.loads(self.report.read_text().splitlines()[-1])["outcome"]
        assert outcome == OUTCOMES.get(self.name, "remapped"), f"{self.name}: {self.report.read_text()}"

    def is_right(self, role, name, fault, ours):
        # Also where what was begun could be neither finished nor undone: better no program than one that is wrong.
        if may_end_it(role, name, fault) and self.has_been_killed(ours):
            return True
        # That a report which was asked for cannot be written is said on standard error.
        plain, ours = self.plain, (ours[0], re.sub("hugexec: cannot write the report to [^\n]*\n", "", ours[1]))
        if fault == "suicide" or name == "ptrace":
            # A tracer that is killed, or that may not let the workload go, stays its zombie.
            plain, ours = [(status, re.sub("^children.*\n", "", text, flags=re.M)) for status, text in (plain, ours)]
        if leaves_memory(role, name, fault) and ours[0] == plain[0] and extra_mappings_only(plain[1], ours[1]):
            return True
        allowed = ALLOWED.get((role, name))
        return ours == plain or (allowed is not None and allowed(plain, ours))

    @staticmethod
    def has_been_killed(ours):
        """The program has, and nothing else: what it had said by then does not matter."""
        return ours[0] == 128 + signal.SIGKILL


class HookWay(LaunchMode):
    """The hook is called for a container's init, which then executes the program. Only the hook's calls fail, its tracer's
    among them: what the container is made to call is as through hugexecd. "hugexec" is the hook, "tracer" the process that
    starts the tracer, "child" the tracer and its children."""

    def __init__(self, name, folder, build):
        super().__init__(name, folder, build)
        self.ours = [str(build / "oci-hook" / "hugexec-oci-hook"), f"--policy={folder / name.replace(' ', '-')}.json",
                     f"--report={self.report}", "createRuntime"]
        (folder / "config.json").write_text(json.dumps({"annotations": {"io.kubernetes.pod.name": "pod"}}))

    @staticmethod
    def settings(backing):
        return {"backing": backing.split(",")}

    @contextlib.contextmanager
    def init(self):
        """A process that executes the program when a line is written to its standard input."""
        process = subprocess.Popen([*INIT, *self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=ENVIRONMENT, cwd="/", start_new_session=True)
        try:
            assert os.read(process.stdout.fileno(), 6) == b"ready\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    @staticmethod
    def has_been_killed(ours):
        return ours[0] == -signal.SIGKILL and re.search(r"the hook: 0 (hugexec-oci-hook: [^\n]*\n)?$", ours[1])

    def hook(self, words, command, state):
        """Popen of the hook with its injector, and a descriptor from which a byte comes when the hook has ended."""
        ended = os.pipe()
        with tempfile.TemporaryFile() as said:
            said.write(json.dumps({"ociVersion": "1.0.2", "id": CONTAINER, "bundle": str(self.folder), **state}).encode())
            said.seek(0)
            process = subprocess.Popen([*PRIVATE_RUN, *ENDED, *self.injector([*words, f"--tell={ended[1]}", f"--victim={state.get('pid', 0)}"]),
                                        *command], stdin=said,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**ENVIRONMENT, **self.preload},
                                       pass_fds=[ended[1]])
        os.close(ended[1])
        return process, ended[0]

    def run(self, words, command):
        if command is self.program:
            command = ["/bin/true"]
        with self.init() as init:
            state = {"status": "created", "pid": init.pid, "annotations": OPTED_IN}
            hook, ended = self.hook(words, command, state)
            try:
                assert select.select([ended], [], [], 40)[0], "the hook does not end"
                text = init.communicate(b"go\n", timeout=60)[0].decode(errors="replace")
                said = hook.communicate(timeout=60)[0].decode(errors="replace")
            finally:
                os.close(ended)
                hook.kill()
                hook.wait(10)
        return init.returncode, f"{self.without_chance(text, None)}the hook: {hook.returncode} {said}"

    def is_right(self, role, name, fault, ours):
        # Why it can do nothing is said to the runtime.
        return super().is_right(role, name, fault, (ours[0], re.sub(r"(?<=the hook: 0 )hugexec-oci-hook: [^\n]*\n$", "", ours[1])))


class PoststopWay(HookWay):
    """The container has ended: the hook forgets it, and those that ended without anybody's telling it so."""

    def run(self, words, command):
        command = ["/bin/true"] if command is self.program else command
        hook, ended = self.hook(words, command, {"status": "stopped"})
        said = hook.communicate(timeout=60)[0].decode(errors="replace")
        os.close(ended)
        return hook.returncode, f"the hook: {hook.returncode} {said}"

    def record(self):
        self.plain = self.run(NO_FAULT, self.program)
        self.recorded = self.calls()

    def check_outcome(self):
        pass


class RuntimeWay(LaunchMode):
    """hugexec-runtime stands in a runtime's place: that must be executed, with a bundle that is as it was or has the hook."""

    def __init__(self, name, folder, build):
        super().__init__(name, folder, build)
        etc = folder / "etc" / "hugexec"
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "policy.json").write_text(json.dumps({"version": 1, "rules": [{"match": {"via": "hook"}}]}))
        runtime = folder / "runtime"
        runtime.write_text(RUNTIME)
        runtime.chmod(0o755)
        self.program, self.ours = [runtime], [build / "oci-hook" / "hugexec-runtime", f"--runtime={runtime}"]

    def run(self, words, command):
        with tempfile.TemporaryDirectory(dir=self.folder) as bundle:
            (pathlib.Path(bundle) / "config.json").write_text(json.dumps({"ociVersion": "1.0.2", "process": {"args": ["/bin/true"]}}))
            done = subprocess.run([*ON_HOST, self.folder / "etc", *self.injector(words), *command, "create", "--bundle", bundle, CONTAINER],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  env={**ENVIRONMENT, **self.preload}, timeout=60, check=False)
            return done.returncode, self.without_hook(done.stdout.decode(errors="replace").replace(bundle, "BUNDLE"))

    @staticmethod
    def without_hook(text):
        *lines, config = text.splitlines() or [""]
        with contextlib.suppress(json.JSONDecodeError, AttributeError):
            config = json.loads(config)
            for stage in ("createRuntime", "poststop"):
                hooks = config.get("hooks", {}).pop(stage, [])
                assert all(hook["path"].endswith("/hugexec-oci-hook") and hook["args"][1] == stage for hook in hooks)
            if not config.get("hooks"):
                config.pop("hooks", None)
        return "\n".join([*lines, str(config)])

    def check_outcome(self):
        pass

    def is_right(self, role, name, fault, ours):
        # Where the one that was chosen cannot be found, the next is taken, which knows no such bundle.
        statuses = {"execve": (126, 127), "access": (1,), "faccessat": (1,), "newfstatat": (1,)}
        return super().is_right(role, name, fault, ours) or ours[0] in statuses.get(name, ())


class AttachWay(LaunchMode):
    """hugexecctl attach while the program waits for a line. "tracer" is the process that attaches."""

    def __init__(self, name, folder, build):
        super().__init__(name, folder, build)
        self.ours = [str(build / "shim" / "hugexecctl"), "attach", "--json", f"--policy={folder / name.replace(' ', '-')}.json",
                     f"--backing={LAUNCH_MODES[name][1]}"]

    def run(self, words, command):
        process = subprocess.Popen([*AS_NOBODY, *self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env={**ENVIRONMENT, "PROBE_WAITS": "poll" if "time limit" in self.name else ""}, cwd="/",
                                   start_new_session=True)
        try:
            assert os.read(process.stdout.fileno(), 6) == b"ready\n"
            attach = ["/bin/true"] if command is self.program else [*command, str(process.pid)]
            said = subprocess.run([*self.injector([*words, f"--victim={process.pid}"]), *attach], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**ENVIRONMENT, **self.preload}, timeout=60,
                                  check=False)
            self.told = said.stdout
            assert said.returncode in (0, 1), said
            text = process.communicate(b"\n", timeout=60)[0].decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        return process.returncode, self.without_chance(text, None)

    @staticmethod
    def has_been_killed(ours):
        return ours[0] == -signal.SIGKILL

    def check_outcome(self):
        assert json.loads(self.told)["outcome"] == "remapped", self.told


class ToolWay(LaunchMode):
    """hugexecctl looks at the program: it answers, or says why not, and ends by itself."""

    def __init__(self, name, folder, build):
        super().__init__(name, folder, build)
        verb = name.split()[-1]
        policy = f"--policy={folder / name.replace(' ', '-')}.json"
        words = {"explain": [policy, *self.program], "doctor": [str(folder)], "status": [str(os.getpid())], "warm": self.program}
        self.ours = [str(build / "shim" / "hugexecctl"), verb, *words[verb]]

    def record(self):
        self.plain = None
        assert self.run(NO_FAULT, self.ours)[0] in (0, 1)  # 1: this filesystem has no huge pages to be warmed
        self.recorded = self.calls()

    def check_outcome(self):
        pass

    def is_right(self, role, name, fault, ours):
        if name == "newfstatat" and ours[0] == 2:  # a folder that it was asked about is none: wrong usage
            return True
        return ours[0] in (0, 1) or (fault == "killed" and self.has_been_killed(ours))  # hugexecctl itself has been


def launch_by_name(name, folder, build, names):
    """NAMES: of system calls, by number."""
    made = kind_of(name)(name, folder, build)
    made.names = names
    return made


def kind_of(name):
    kinds = {"attach": AttachWay, "hook": HookWay, "poststop": PoststopWay, "tool": ToolWay, "runtime": RuntimeWay}
    return kinds.get(LAUNCH_MODES[name][-1], LaunchMode)
