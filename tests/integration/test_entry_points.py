# SPDX-License-Identifier: Apache-2.0
"""Entry points as container images have them, each as PID 1 of a PID namespace: the server is on huge pages by the shipped policy."""
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from lib.machine import MIB
from lib.process import Process, status_of, wait_for
from lib.smaps import huge_text_bytes
from lib.surroundings import ROOT

SHIPPED = ROOT / "config" / "policy.json"
SU_EXEC = r"""
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	if (argc < 3 || setgid(atoi(argv[1])) < 0 || setuid(atoi(argv[1])) < 0)
		return 1;
	execvp(argv[2], argv + 2);
	return 127;
}
"""

ENTRY_POINTS = {
    "script, exec": ["{script}", 'exec "$@"'],
    "script, child": ["{script}", '"$@"; exit $?'],
    "script, in the background": ["{script}", '"$@" & wait'],
    "script that prepares": ["{script}", 'for i in 1 2 3; do ls / >/dev/null; done; sleep 0.2; exec "$@"'],
    "tini": ["tini", "--"],
    "tini, script": ["tini", "--", "{script}", 'ls / >/dev/null; exec "$@"'],
    "dumb-init": ["dumb-init"],
    "dumb-init, single child": ["dumb-init", "--single-child"],
    "catatonit": ["catatonit", "--"],
    "gosu": ["gosu", "nobody"],
    "su-exec": ["{su_exec}", "65534"],
    "tini, script, gosu": ["tini", "--", "{script}", 'exec gosu nobody "$@"'],
    "s6, shell": ["s6-svscan", "{services}"],
    "s6, execline": ["s6-svscan", "{execline_services}"],
    "setpriv, env, nice": ["setpriv", "--reuid=65534", "env", "A=1", "nice"],
}


def make(folder, program):
    """What the entry points need, by name."""
    made = {"script": folder / "script", "su_exec": folder / "su-exec", "services": folder / "services", "execline_services": folder / "execline"}
    made["script"].write_text("#!/bin/sh\ncommand=$1\nshift\neval \"$command\"\n")
    (folder / "su-exec.c").write_text(SU_EXEC)
    subprocess.run(["cc", "-w", "-o", made["su_exec"], folder / "su-exec.c"], check=True)
    for name, text in (("services", f"#!/bin/sh\nexec 2>&1\nexec {program} sleep\n"),
                       ("execline_services", f"#!/usr/bin/execlineb -P\nfdmove -c 2 1\nforeground {{ true }}\n{program} sleep\n")):
        run = made[name] / "server" / "run"
        run.parent.mkdir(parents=True)
        run.write_text(text)
        run.chmod(0o755)
    made["script"].chmod(0o755)
    return made


def below(pid):
    """All processes below PID."""
    found = []
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            found += [int(child), *below(child)]
    return found


def runs(pid, program):
    """Told by the file: the link's text begins at another root if this is a chroot and PID has mounts of its own."""
    try:
        return os.path.samefile(f"/proc/{pid}/exe", program)
    except OSError:
        return False


def start(words):
    return Process(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def find_server(process, program):
    server = []
    wait_for(lambda: server.extend(pid for pid in below(process.pid) if runs(pid, program)) or server, process=process)
    return server[0]


def tracers(process):
    return [pid for pid in below(process.pid) if status_of(pid)["Name"].startswith("hugexec")]


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_server_behind(hugexec, bigtext, public_folder, name):
    """On huge pages, and not traced any more."""
    program = shutil.copy(bigtext(8), public_folder / "server")
    program = str(program)
    os.sync()  # dirty pages are left alone
    made = make(public_folder, program)
    words = [word.format(**made) for word in ENTRY_POINTS[name]]
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    command = words if name.startswith("s6") else [*words, program, "sleep"]
    with start([hugexec, f"--policy={SHIPPED}", "--", *command]) as process:
        pid = find_server(process, program)
        wait_for(lambda: status_of(pid)["TracerPid"] == "0" and huge_text_bytes(pid) >= 6 * MIB, process=process)
        becomes_it = ENTRY_POINTS[name][0] not in ("tini", "dumb-init", "catatonit", "s6-svscan") and name not in ("script, child", "script, in the background")
        if becomes_it:
            wait_for(lambda: not tracers(process))
        os.kill(pid, signal.SIGKILL)
        if not name.startswith("s6"):
            process.wait(60)
        process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
@pytest.mark.parametrize("init", ["tini", "dumb-init", "catatonit"])
def test_an_init_gets_no_zombie(hugexec, write_policy, bigtext, init):
    """It cannot reap a tracer that is its child, which therefore stays when the time is over, and does nothing."""
    if not shutil.which(init):
        pytest.skip(f"{init} is not installed")
    policy = {"version": 1, "rules": [{"match": {}}], "settings": {"follow_timeout": 1}}
    with start([hugexec, f"--policy={write_policy(policy)}", "--backing=thp", "--", init, "--", bigtext(4), "sleep"]) as process:
        pid = find_server(process, bigtext(4))
        wait_for(lambda: status_of(pid)["TracerPid"] == "0", process=process)
        time.sleep(1.5)
        wait_for(lambda: [status_of(pid)["State"][0] for pid in tracers(process)] == ["S"])
        process.kill()
