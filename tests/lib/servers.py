# SPDX-License-Identifier: Apache-2.0
"""Servers that tests start, ask and end."""
import os
import pwd
import socket
import subprocess
import urllib.request

import pytest

from lib.process import Process, wait_for
from lib.programs import UNPACKED, needed
from lib.surroundings import open_up


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=120) as answer:
        return answer.status == 200


def prometheus(folder):
    port = free_port()
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    command = [needed(UNPACKED / "usr/bin/prometheus"), f"--config.file={folder}/prometheus.yml",
               f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    return command, lambda: answers(port, "/-/ready")


def etcd(folder):
    client, peer = free_port(), free_port()
    command = [needed(UNPACKED / "usr/bin/etcd"), f"--data-dir={folder}/data",
               f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
               f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
               f"--initial-cluster=default=http://127.0.0.1:{peer}"]
    return command, lambda: answers(client, "/health")


def connects(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        return bool(client.recv(1))


def mariadbd(folder):
    (folder / "data").mkdir()
    command = [needed(UNPACKED / "usr/sbin/mariadbd"), "--no-defaults", f"--datadir={folder}/data", "--user=root",
               "--skip-networking", "--skip-grant-tables", f"--socket={folder}/s", f"--pid-file={folder}/pid",
               f"--lc-messages-dir={UNPACKED}/usr/share/mysql", "--innodb-buffer-pool-size=16M"]
    return command, lambda: connects(folder / "s")


def postgres(folder):
    binaries = UNPACKED / "usr/lib/postgresql/15/bin"
    needed(binaries / "postgres")
    as_nobody = []
    if os.geteuid() == 0:  # it refuses to be started by root
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
        open_up(folder)
    else:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            pytest.skip("initdb wants a user who is in /etc/passwd")
    made = subprocess.run([*as_nobody, binaries / "initdb", "-D", folder / "data", "-A", "trust", "-N"],
                          capture_output=True, text=True, cwd=folder, check=False)
    assert made.returncode == 0, made.stderr
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-k", str(folder), "-h", ""]

    def is_ready():
        return subprocess.run([binaries / "pg_isready", "-h", folder], capture_output=True,
                              check=False).returncode == 0 if (binaries / "pg_isready").exists() \
            else (folder / ".s.PGSQL.5432").exists()

    return [*as_nobody, *command], is_ready


SERVERS = {"prometheus": prometheus, "etcd": etcd, "mariadbd": mariadbd, "postgres": postgres}


def serve(words, is_ready, look=lambda pid: None, prepare=None):
    """Start a server (after PREPARE in its process), wait until it serves, LOOK at it, end it with SIGTERM; returns its status."""
    process = Process(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=prepare)
    try:
        wait_for(is_ready, process=process)
        look(process.pid)
        process.terminate()
        return process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
