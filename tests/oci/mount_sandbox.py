# SPDX-License-Identifier: Apache-2.0
"""
A host of one's own for tests of the container pieces: a mount namespace in which /etc/hugexec is ours, /run is empty, and a
hugexec that the machine has is not installed. Nothing that happens in it to these places can be seen outside, and nothing of it is left.
"""
import json
import os
import pathlib
import signal
import subprocess

from lib.process import ENDS_WITH_US

# Made private first. What is written to /etc in here lands in the upper layer, a folder of the test.
SET_UP = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/etc,workdir=$0/work" /etc
mount -t tmpfs -o mode=755 tmpfs /run
for of_the_machine in /usr/lib/hugexec /usr/libexec/hugexec /usr/share/containers/oci/hooks.d; do
	if [ -d "$of_the_machine" ]; then mount -t tmpfs -o mode=755 tmpfs "$of_the_machine"; fi
done
exec "$@"
"""


class MountSandbox:
    """
    Processes that share the namespace: the first command is started with unshare, and the others join it. With INIT,
    the words of a command, that is PID 1 of a namespace of process ids, too.
    """

    def __init__(self, folder, etc, modes=None, init=None, env=None):
        self.etc = pathlib.Path(folder) / "etc"
        (self.etc / "hugexec").mkdir(parents=True)
        os.setxattr(self.etc / "hugexec", "trusted.overlay.opaque", b"y")  # what the machine has there is not seen
        (self.etc.parent / "work").mkdir()
        os.chmod(self.etc, 0o755)
        self.write(etc, modes or {})
        self.has_init = bool(init)
        pid_options = ["--pid", "--fork", "--kill-child", "--mount-proc"] if init else []
        self.keeper = subprocess.Popen(
            [*ENDS_WITH_US, "unshare", "--mount", "--propagation", "private", *pid_options, "sh", "-c", SET_UP, str(self.etc.parent),
             "sh", "-c", 'echo ready; exec "$@"', "sh", *(init or ["sleep", "100000"])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env=env)
        first = self.keeper.stdout.readline()
        if first != "ready\n":
            self.close()
            raise RuntimeError(f"no mount namespace: {first}")

    def write(self, etc, modes):
        """Files below /etc, by name: text, or anything else as JSON."""
        for name, content in etc.items():
            path = self.etc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            path.chmod(modes.get(name, 0o644))

    def inside(self, command):
        """The words of a command line that runs COMMAND in the sandbox."""
        pid_options = [f"--pid=/proc/{self.keeper.pid}/ns/pid_for_children"] if self.has_init else []
        return ["nsenter", f"--mount=/proc/{self.keeper.pid}/ns/mnt", *pid_options, f"--wd={os.getcwd()}",
                *map(str, command)]

    def run(self, command, **options):
        options.setdefault("timeout", 120)
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.inside(command), capture_output=True, text=True, **options)

    def close(self):
        self.keeper.send_signal(signal.SIGKILL)
        self.keeper.wait(60)
        self.keeper.stdout.close()
